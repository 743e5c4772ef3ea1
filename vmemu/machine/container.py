# SPDX-License-Identifier: GPL-2.0-or-later
"""The file format of snapshots and recordings: one JSON header, binary sections, one checksum over everything.

Layout, numbers little-endian: magic (8 bytes), version u32, header length u32, header (JSON, UTF-8), the sections one after
the other as the header's ``sections`` lists them ([name, bytes]), BLAKE2b-256 of all that stands before it.
A file appears under its name only when it is complete and on the disk: a full disk leaves the previous one whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from vmemu.errors import ConfigError, VmemuError

_HEAD = struct.Struct("<8sII")
_DIGEST = 32
_MOST_HEADER = 1 << 28


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file: `option` names it in messages."""

    magic: bytes
    version: int
    what: str


@dataclass(frozen=True, slots=True)
class Section:
    """A named run of bytes, given in pieces so that a big one need not be copied."""

    name: str
    size: int
    pieces: Iterable[bytes | memoryview]


def section(name: str, data: bytes | memoryview) -> Section:
    return Section(name, len(data), (data,))


def write(path: str, kind: Kind, header: dict[str, Any], sections: list[Section], option: str) -> int:
    """Write the file, or leave the one that is there; returns its size. Raises VmemuError, ConfigError for a bad path."""
    where = f"{option} {path}"
    final = os.path.realpath(path)
    if not path or "\0" in path:
        raise ConfigError(f"{where}: give a file name")
    if os.path.exists(final) and not os.path.isfile(final):
        raise ConfigError(f"{where}: is not a regular file")
    temporary = f"{final}.{os.getpid()}.tmp"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            size = _write_all(file, kind, header, sections)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
        folder = os.open(os.path.dirname(final), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return size
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError)):
            raise ConfigError(f"{where}: cannot write: {error.strerror}") from None
        raise VmemuError(f"{where}: cannot write: {error.strerror or error}") from None
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _write_all(file: BinaryIO, kind: Kind, header: dict[str, Any], sections: list[Section]) -> int:
    text = json.dumps(header | {"sections": [[s.name, s.size] for s in sections]}, sort_keys=True).encode()
    digest = hashlib.blake2b(digest_size=_DIGEST)
    size = 0

    def put(data: bytes | memoryview) -> None:
        nonlocal size
        digest.update(data)
        file.write(data)
        size += len(data)

    put(_HEAD.pack(kind.magic, kind.version, len(text)))
    put(text)
    for s in sections:
        before = size
        for piece in s.pieces:
            put(piece)
        assert size - before == s.size, s.name
    file.write(digest.digest())
    return size + _DIGEST


def read(path: str, kind: Kind, option: str) -> tuple[dict[str, Any], dict[str, memoryview]]:
    """Header and sections of a file that is complete and unchanged. Raises ConfigError with one clear line otherwise."""
    where = f"{option} {path}"
    data = _read_file(path, where)
    if len(data) < _HEAD.size or bytes(data[:8]) != kind.magic:
        raise ConfigError(f"{where}: is no vmemu {kind.what}")
    _, version, length = _HEAD.unpack(data[: _HEAD.size])
    if version != kind.version:
        raise ConfigError(f"{where}: {kind.what} of version {version}, this vmemu reads version {kind.version}")
    if len(data) < _HEAD.size + length + _DIGEST or length > _MOST_HEADER:
        raise ConfigError(f"{where}: the {kind.what} is cut short or damaged")
    body, digest = data[:-_DIGEST], bytes(data[-_DIGEST:])
    intact = hashlib.blake2b(body, digest_size=_DIGEST).digest() == digest
    try:
        header = json.loads(bytes(body[_HEAD.size : _HEAD.size + length]))
        sizes = [(str(name), int(size)) for name, size in header["sections"]]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{where}: the {kind.what} is damaged: its header cannot be read") from None
    want = _HEAD.size + length + sum(size for _, size in sizes)
    if len(body) < want:
        raise ConfigError(f"{where}: the {kind.what} is cut short: {len(data)} of {want + _DIGEST} bytes")
    if not intact or len(body) != want:
        raise ConfigError(f"{where}: the {kind.what} is damaged: its checksum differs")
    return header, dict(_split(body, _HEAD.size + length, sizes))


def _split(body: memoryview, at: int, sizes: list[tuple[str, int]]) -> Iterator[tuple[str, memoryview]]:
    for name, size in sizes:
        yield name, body[at : at + size]
        at += size


def _read_file(path: str, where: str) -> memoryview:
    if not path or "\0" in path:
        raise ConfigError(f"{where}: give a file name")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{where}: is not a regular file")
            return memoryview(file.read())
    except OSError as error:
        raise ConfigError(f"{where}: cannot read: {error.strerror}") from None
