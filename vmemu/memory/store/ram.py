# SPDX-License-Identifier: GPL-2.0-or-later
"""``ram:`` in Python: what the C unit's built-in store does, for tests and for runs with injected store failures."""

from __future__ import annotations

from vmemu.errors import StoreError
from vmemu.memory.store.base import Checksum, Page, check_page, check_put


class RamStore:
    """Pages in a dict, each with its checksum."""

    name = "ram:"

    def __init__(self, crc: Checksum) -> None:
        self._crc = crc
        self._pages: dict[int, tuple[bytes, int]] = {}

    def __len__(self) -> int:
        return len(self._pages)

    def put(self, slot: int, page: Page) -> None:
        check_put(self.name, slot, page)
        data = bytes(page)
        self._pages[slot] = data, self._crc(data)

    def get(self, slot: int) -> bytes:
        entry = self._pages.get(slot)
        if entry is None:
            raise StoreError(f"{self.name}: slot {slot} is empty")
        return check_page(self.name, slot, entry[0], entry[1], self._crc)

    def discard(self, slot: int) -> None:
        self._pages.pop(slot, None)

    def flush(self) -> None:
        return None

    def close(self) -> None:
        self._pages.clear()

    def damage(self, slot: int) -> None:
        if slot in self._pages:
            data, checksum = self._pages[slot]
            self._pages[slot] = bytes([data[0] ^ 1]) + data[1:], checksum
