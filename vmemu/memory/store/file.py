# SPDX-License-Identifier: GPL-2.0-or-later
"""``file:PATH``: pages in a sparse file.

Layout, all numbers little-endian, in units of 4 KiB pages:

    page 0              header: magic, version, page size
    then groups of 513  one table page of 512 entries (checksum u32, live u32), then the 512 slots it describes

The tables are kept in memory while the store is open and written by flush(): the file is swap space, not a database. A
second machine on the same file would be a disaster, so the file is locked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from array import array

from vmemu.errors import ConfigError, StoreError
from vmemu.memory.store.base import PAGE_SIZE, Checksum, Page, check_page, check_put

MAGIC = b"vmemuswp"
VERSION = 1
_HEADER = struct.Struct("<8sII")
GROUP = 512
_LIVE = 1


def slot_offset(slot: int) -> int:
    """Byte offset of a slot's page in the file."""
    group, index = divmod(slot, GROUP)
    return (1 + group * (GROUP + 1) + 1 + index) * PAGE_SIZE


def table_offset(group: int) -> int:
    """Byte offset of a group's table page in the file."""
    return (1 + group * (GROUP + 1)) * PAGE_SIZE


class FileStore:
    """Swap in a file. `path` is created, or emptied if it is a vmemu store already; nothing else is overwritten."""

    def __init__(self, path: str, crc: Checksum, *, keep: bool = False) -> None:
        """With `keep`, an existing store is opened with its pages. ConfigError when the file cannot be used."""
        self.name = f"file:{path}"
        self._crc = crc
        self._tables: dict[int, array[int]] = {}  # group -> checksum, live, checksum, live, ...
        self._unsaved: set[int] = set()
        self._fd = self._open(path, keep)
        try:
            if keep:
                self._read_tables()
            else:
                os.ftruncate(self._fd, 0)
                os.pwrite(self._fd, _HEADER.pack(MAGIC, VERSION, PAGE_SIZE), 0)
        except OSError as error:
            os.close(self._fd)
            raise ConfigError(f"--store {self.name}: {_reason(error)}") from None
        except ConfigError:
            os.close(self._fd)
            raise

    def _open(self, path: str, keep: bool) -> int:
        where = f"--store {self.name}"
        if not path or "\0" in path:
            raise ConfigError(f"{where}: give a file name, as in file:swap")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | (0 if keep else os.O_CREAT), 0o600)
        except OSError as error:
            raise ConfigError(f"{where}: cannot open: {_reason(error)}") from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConfigError(f"{where}: is not a regular file")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            head = os.pread(fd, _HEADER.size, 0)
            if (head or keep) and not head.startswith(MAGIC):
                raise ConfigError(f"{where}: holds something that is no vmemu store; delete it or choose another file")
            if keep and head != _HEADER.pack(MAGIC, VERSION, PAGE_SIZE):
                raise ConfigError(f"{where}: a store of another version")
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise ConfigError(f"{where}: in use by another machine") from None
            raise ConfigError(f"{where}: {_reason(error)}") from None
        except ConfigError:
            os.close(fd)
            raise
        return fd

    def _read_tables(self) -> None:
        size = os.fstat(self._fd).st_size
        group = 0
        while table_offset(group) < size:
            raw = os.pread(self._fd, PAGE_SIZE, table_offset(group)).ljust(PAGE_SIZE, b"\0")
            table = array("I", struct.unpack(f"<{2 * GROUP}I", raw))
            if any(table):
                self._tables[group] = table
            group += 1

    def _entry(self, slot: int) -> tuple[array[int] | None, int]:
        group, index = divmod(slot, GROUP)
        return self._tables.get(group), 2 * index

    def put(self, slot: int, page: Page) -> None:
        check_put(self.name, slot, page)
        data = bytes(page)
        checksum = self._crc(data)
        done = 0
        try:
            while done < PAGE_SIZE:
                # A short write is how a full disk begins; the next attempt names the reason.
                count = os.pwrite(self._fd, data[done:], slot_offset(slot) + done)
                if count == 0:
                    raise StoreError(f"{self.name}: cannot write slot {slot}: the file takes no more bytes")
                done += count
        except OSError as error:
            raise StoreError(f"{self.name}: cannot write slot {slot}: {_reason(error)}") from None
        group, index = divmod(slot, GROUP)
        table = self._tables.get(group)
        if table is None:
            table = self._tables[group] = array("I", bytes(8 * GROUP))
        table[2 * index], table[2 * index + 1] = checksum, _LIVE
        self._unsaved.add(group)

    def get(self, slot: int) -> bytes:
        table, at = self._entry(slot)
        if table is None or table[at + 1] != _LIVE:
            raise StoreError(f"{self.name}: slot {slot} is empty")
        try:
            page = os.pread(self._fd, PAGE_SIZE, slot_offset(slot))
            if 0 < len(page) < PAGE_SIZE:
                page += os.pread(self._fd, PAGE_SIZE - len(page), slot_offset(slot) + len(page))
        except OSError as error:
            raise StoreError(f"{self.name}: cannot read slot {slot}: {_reason(error)}") from None
        if len(page) != PAGE_SIZE:
            raise StoreError(f"{self.name}: slot {slot} is cut short: {len(page)} of {PAGE_SIZE} bytes")
        return check_page(self.name, slot, page, table[at], self._crc)

    def discard(self, slot: int) -> None:
        table, at = self._entry(slot)
        if table is not None and table[at + 1]:
            table[at] = table[at + 1] = 0
            self._unsaved.add(slot // GROUP)

    def flush(self) -> None:
        """Write the tables; what a later `keep` needs."""
        try:
            for group in sorted(self._unsaved):
                raw = struct.pack(f"<{2 * GROUP}I", *self._tables[group])
                if os.pwrite(self._fd, raw, table_offset(group)) != PAGE_SIZE:
                    raise StoreError(f"{self.name}: cannot write the checksums: the file takes no more bytes")
        except OSError as error:
            raise StoreError(f"{self.name}: cannot write the checksums: {_reason(error)}") from None
        self._unsaved.clear()

    def close(self) -> None:
        """Flush and close; closing twice is allowed."""
        if self._fd < 0:
            return
        try:
            self.flush()
        finally:
            os.close(self._fd)
            self._fd = -1

    def damage(self, slot: int) -> None:
        offset = slot_offset(slot)
        byte = os.pread(self._fd, 1, offset)
        if byte:
            os.pwrite(self._fd, bytes([byte[0] ^ 1]), offset)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
