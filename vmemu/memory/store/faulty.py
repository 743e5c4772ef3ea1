# SPDX-License-Identifier: GPL-2.0-or-later
"""A store that fails when the injector says so, around one that works."""

from __future__ import annotations

from collections.abc import Callable

from vmemu.clock.inject import Do, Injector
from vmemu.errors import StoreError
from vmemu.memory.store.base import Page, Store


class FaultyStore:
    """Asks the injector about each `store.read` and `store.write`, with the guest page number as the key.

    A store knows slots only; whoever allocates them sets `page_of` (slot -> guest page number, gpa / 4096). Corruption
    is done to the medium, under the checksum, so that it is the real check that finds it.
    """

    def __init__(self, inner: Store, injector: Injector) -> None:
        self.inner = inner
        self.injector = injector
        self.name = inner.name
        self.page_of: Callable[[int], int] = lambda slot: slot
        self._delay_ns = 0

    def take_delay(self) -> int:
        """Virtual ns that injected delays have added since the last call."""
        delay, self._delay_ns = self._delay_ns, 0
        return delay

    def put(self, slot: int, page: Page) -> None:
        number = self.page_of(slot)
        action = self.injector.check("store.write", number)
        if action is None:
            self.inner.put(slot, page)
        elif action.do is Do.FAIL:
            raise StoreError(f"{self.name}: cannot write page {number:#x}: injected failure")
        else:
            self._delay_ns += action.delay_ns
            self.inner.put(slot, page)
            if action.do is Do.CORRUPT:
                self.inner.damage(slot)

    def get(self, slot: int) -> bytes:
        number = self.page_of(slot)
        action = self.injector.check("store.read", number)
        if action is not None:
            if action.do is Do.FAIL:
                raise StoreError(f"{self.name}: cannot read page {number:#x}: injected failure")
            if action.do is Do.CORRUPT:
                self.inner.damage(slot)
            self._delay_ns += action.delay_ns
        return self.inner.get(slot)

    def discard(self, slot: int) -> None:
        self.inner.discard(slot)

    def flush(self) -> None:
        self.inner.flush()

    def close(self) -> None:
        self.inner.close()

    def damage(self, slot: int) -> None:
        self.inner.damage(slot)
