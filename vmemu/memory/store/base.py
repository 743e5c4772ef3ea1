# SPDX-License-Identifier: GPL-2.0-or-later
"""What a store is: numbered slots of one page each, checked on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from vmemu.errors import StoreError

PAGE_SIZE = 4096
#: Slots are 32-bit in the C unit, 0xffffffff is "none" (core.h, NO_SLOT).
MAX_SLOT = 0xFFFF_FFFE

#: CRC-32C of a page: vmemu.core.crc32c, or the reference in the tests.
Checksum = Callable[[bytes], int]
Page = bytes | bytearray | memoryview


class Store(Protocol):
    """A swap medium.

    Whoever uses a store allocates the slots and never overwrites a live one. `get` gives back exactly the 4,096 bytes
    that `put` took, or raises StoreError: a page that fails its checksum is never returned.
    """

    name: str

    def put(self, slot: int, page: Page) -> None: ...
    def get(self, slot: int) -> bytes: ...
    def discard(self, slot: int) -> None:
        """The slot's page is no longer wanted; discarding an empty slot is allowed."""

    def flush(self) -> None: ...
    def close(self) -> None: ...
    def damage(self, slot: int) -> None:
        """Spoil one bit of the medium under the checksum: for the injector and the tests."""


def check_put(name: str, slot: int, page: Page) -> None:
    """Refuse what no store can hold."""
    if not 0 <= slot <= MAX_SLOT:
        raise StoreError(f"{name}: slot {slot} is out of range")
    if len(page) != PAGE_SIZE:
        raise StoreError(f"{name}: a page is {PAGE_SIZE} bytes, not {len(page)}")


def check_page(name: str, slot: int, page: bytes, checksum: int, crc: Checksum) -> bytes:
    """The page, if it is the one that was stored."""
    found = crc(page)
    if found != checksum:
        raise StoreError(f"{name}: slot {slot} is corrupt: checksum {found:#010x}, stored {checksum:#010x}")
    return page
