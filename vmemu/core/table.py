# SPDX-License-Identifier: GPL-2.0-or-later
"""The hot tables of a machine (core/src/tokens.c): 64-bit keys and values, looked at by the C unit on the path of every fault."""

from __future__ import annotations

from vmemu.core import CoreMachine, ffi, lib
from vmemu.errors import EngineError

#: Upper part of the key of a gfn that all vCPUs share (core.h, gfn_key: MAX_VCPUS + 1); of vCPU n it is n + 1.
SHARED = 17
GFN_BITS = 52


class Table:
    """One of a machine's tables, "tokens" or "gfns". Key 0 is reserved. Snapshots of the machine contain it."""

    def __init__(self, core: CoreMachine, name: str) -> None:
        self._core = core  # owns the memory
        self._table = ffi.addressof(core.ptr, name)
        self._value = ffi.new("uint64_t *")

    def __len__(self) -> int:
        return int(self._table.live)

    def put(self, key: int, value: int) -> bool:
        """True when it was not there. Raises EngineError for key 0 or when memory is short."""
        result = int(lib.table_put(self._table, key, value))
        if result < 0:
            raise EngineError(f"hot table: key {key:#x} cannot be put")
        return bool(result)

    def get(self, key: int) -> int | None:
        return int(self._value[0]) if lib.table_get(self._table, key, self._value) else None

    def pop(self, key: int) -> int | None:
        """Remove; the value, or None when it was not there."""
        return int(self._value[0]) if lib.table_del(self._table, key, self._value) else None

    def items(self) -> list[tuple[int, int]]:
        """In the order of the keys."""
        pairs = ffi.new("uint64_t[]", 2 * len(self) + 1)
        n = int(lib.table_dump(self._table, pairs))
        return sorted((int(pairs[2 * i]), int(pairs[2 * i + 1])) for i in range(n))

    def clear(self) -> None:
        for key, _ in self.items():
            self.pop(key)
