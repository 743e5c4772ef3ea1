# SPDX-License-Identifier: GPL-2.0-or-later
"""The host kernel's C part, typed (src/tce.h). Everything here but `real_call` is virtual mode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmemu.core import ffi as core_ffi
from vmemu.core import lib as core_lib
from vmemu.errors import ConfigError, EngineError
from vmemu.protocols.tce.wire import Marker, Refusal, Token

if TYPE_CHECKING:
    from vmemu.core import CoreMachine
    from vmemu.core.observe import Observer

try:
    from vmemu.protocols.tce import _tce  # type: ignore[attr-defined]
except ImportError as error:  # pragma: no cover - only without a build
    raise EngineError(f"the C unit of TCE is not built ({error}): run `python cffi_build.py`") from None

ffi, lib = _tce.ffi, _tce.lib

GIVEN, MAPPED = 0, 1
HELPERS = ("2013-05", "2013-06-05", "2013-06-27", "2013-07-15", "v7")
HEAD, TAIL, LARGE, GUEST = 1, 2, 4, 8
COMPOUND = (HEAD, TAIL)
ENTRIES_PER_PAGE = 512


@dataclass(frozen=True, slots=True)
class Shape:
    """How page structs lie. flat: one array; else blocks of 2**block_shift bytes, anywhere. pages: at least so many structs."""

    page_bytes: int = 64
    block_shift: int = 16
    flat: bool = False
    helpers: str = "v7"
    pages: int = 0
    table_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Table:
    """A TCE table: `size` IOMMU pages of 2**shift bytes from bus address `first` << shift."""

    number: int
    liobn: int
    first: int
    size: int
    shift: int
    in_kernel: bool

    @property
    def base(self) -> int:
        return self.first << self.shift

    @property
    def parts(self) -> int:
        """Host pages behind one entry."""
        return 1 << self.shift - 12


class Host:
    """One machine's host kernel; `core` None: page structs alone, for tests."""

    def __init__(self, core: CoreMachine | None, shape: Shape) -> None:
        made = ffi.new("struct tce_shape *")
        made.pages, made.table_bytes, made.flat = shape.pages, shape.table_bytes, shape.flat
        made.page_bytes, made.block_shift, made.helpers = shape.page_bytes, shape.block_shift, HELPERS.index(shape.helpers)
        self.shape = shape
        self._core = core  # outlives us: the C part calls it
        machine = 0 if core is None else int(core_ffi.cast("uintptr_t", core.ptr))
        api = int(core_ffi.cast("uintptr_t", core_lib.core_api()))
        reg3 = 0 if core is None else core.isa.registers.index("r3")
        ptr = lib.tce_new(ffi.cast("void *", api), ffi.cast("void *", machine), reg3, made)
        if ptr == ffi.NULL:
            raise ConfigError("no memory for the host's page structs, or somebody else watches the frames")
        self.ptr: Any = ptr
        self.tables: list[Table] = []

    def close(self) -> None:
        """Take the calls back from core. Nothing may be called afterwards."""
        if self.ptr is not None:
            lib.tce_free(self.ptr)
            self.ptr = None

    def check(self) -> None:
        """Raises EngineError when the host has broken a rule that would have brought a real one down."""
        if self.ptr.dead:
            raise EngineError(ffi.string(self.ptr.why).decode())

    # --------------------------------------------------------------- tables
    def add_table(self, liobn: int, base: int, size: int, shift: int = 12, *, in_kernel: bool = True) -> Table:
        """A window of `size` entries. Raises ConfigError as KVM would: EBUSY for a LIOBN that is taken, EINVAL for the rest."""
        first = base >> shift
        if not 12 <= shift <= 34 or size < 1 or base & (1 << shift) - 1 or first + size > (1 << 64) - 1 >> shift:
            raise ConfigError(f"TCE window {base:#x} of {size} entries of {1 << shift:#x} bytes cannot be")
        number = int(lib.tce_add_table(self.ptr, liobn, base, size, shift, in_kernel))
        if number < 0:
            raise ConfigError(f"LIOBN {liobn:#x} is taken, or there is no room for its table")
        self.tables.append(Table(number, liobn, first, size, shift, in_kernel))
        return self.tables[-1]

    def find(self, liobn: int) -> tuple[int, Table] | None:
        for table in self.tables:
            if table.liobn == liobn:
                return table.number, table
        return None

    def make_room(self, table: Table, half: int, index: int) -> None:
        if lib.tce_make_room(self.ptr, table.number, half, index) < 0:
            raise EngineError(f"no memory for the TCE table of LIOBN {table.liobn:#x}")

    def read(self, table: Table, half: int, index: int) -> int:
        return int(lib.tce_read(self.ptr, table.number, half, index))

    def exchange(self, table: Table, half: int, index: int, value: int) -> int:
        """Store an entry and return the old one; its page appears when it must."""
        if value:
            self.make_room(table, half, index)
        return int(lib.tce_exchange(self.ptr, table.number, half, index, value))

    def lock(self, table: Table) -> None:
        """Raises EngineError where a real host would spin for ever: one thread runs all of it, so the holder forgot it."""
        if not lib.tce_lock(self.ptr, table.number):
            raise EngineError(f"the host waits for ever: the table of LIOBN {table.liobn:#x} is locked, and nobody will unlock it")

    def unlock(self, table: Table) -> None:
        lib.tce_unlock(self.ptr, table.number)

    def flush(self) -> None:
        """What devices have cached of any table is forgotten."""
        lib.tce_flush(self.ptr)

    def pages_of(self, table: Table, half: int) -> list[int]:
        """Numbers of the pages of a table (512 entries each) that exist."""
        units = table.size * (table.parts if half == MAPPED else 1)
        n = -(-units // ENTRIES_PER_PAGE)
        return [i for i in range(n) if lib.tce_has_page(self.ptr, table.number, half, i)]

    def page_bytes(self, table: Table, half: int, number: int) -> Any:
        """Buffer over one page of a table, big-endian."""
        return ffi.buffer(lib.tce_page_bytes(self.ptr, table.number, half, number), 4096)

    # ---------------------------------------------------------------- pages
    def get_frame(self, pfn: int) -> bool:
        """One more reference; False: the page is free."""
        return bool(lib.tce_get_frame(self.ptr, pfn) == 0)

    def put_frame(self, pfn: int) -> None:
        """One less; the last one frees the page."""
        lib.tce_put_frame(self.ptr, pfn)

    def refs(self, pfn: int) -> int:
        """References besides the guest's own."""
        return int(lib.tce_refs(self.ptr, pfn))

    def count(self, pfn: int) -> int:
        return int(lib.tce_count(self.ptr, pfn))

    def flags(self, pfn: int) -> int:
        return int(lib.tce_page_flags(self.ptr, pfn))

    def head(self, pfn: int) -> int:
        return int(lib.tce_page_head(self.ptr, pfn))

    def set_page(self, pfn: int, flags: int, count: int, head: int | None = None) -> None:
        """Write a page struct: what the rest of the host does to it. Raises EngineError when it is nowhere."""
        if lib.tce_set_page(self.ptr, pfn, flags, count, pfn if head is None else head) < 0:
            raise EngineError(f"page {pfn} has no page struct")

    def restore_ref(self, pfn: int) -> None:
        """After `reset`: a table names the page."""
        lib.tce_restore_ref(self.ptr, pfn)

    def reset(self) -> None:
        """The machine was taken to another instant: tables empty, counts as core's frames have it."""
        lib.tce_reset(self.ptr)

    def pages_with(self, *, references: bool) -> Iterator[int]:
        """Frames with references besides the guest's own; or those that are parts of something larger."""
        pfn, end = -1, int(self._core.ptr.nframes) if self._core is not None else int(self.ptr.npages)
        while (pfn := int(lib.tce_next_page(self.ptr, pfn + 1, references))) < end:
            yield pfn

    # ---------------------------------------------------------------- calls
    def answer(self) -> None:
        """Real mode answers the calls from now on. Raises ConfigError when somebody does already."""
        if lib.tce_answer(self.ptr) < 0:
            raise ConfigError("the TCE calls are answered already")

    def real_call(self, cpu: int, token: Token, *args: int) -> tuple[Refusal, int]:
        """A call in real mode as core makes it: (why it was refused, result in r4)."""
        result = ffi.new("uint64_t *")
        why = lib.tce_real_call(self.ptr, cpu, token, [*args, 0, 0, 0, 0][:4], result)
        return Refusal(why), int(result[0])

    def cpu(self, number: int) -> Any:
        """struct tce_cpu: what real mode left."""
        return self.ptr.cpu[number]

    def left(self, number: int, half: int, n: int) -> list[int]:
        """The first n entries of one of the CPU's two pages."""
        return list(ffi.unpack(lib.tce_page_of_cpu(self.ptr, number, half), n)) if n else []

    def forget(self, number: int) -> None:
        """Nothing is left to do for this CPU."""
        cpu = self.ptr.cpu[number]
        cpu.marker, cpu.num, cpu.total, cpu.list_page, cpu.stray = Marker.NONE, 0, 0, 0, 0

    # ------------------------------------------------------------------ DMA
    def observer(self) -> Observer | None:
        """Who watches the machine."""
        return None if self._core is None else self._core.observe

    def cached(self) -> list[list[int]]:
        """The bridge's cache: place, LIOBN, page, device's side of each entry that is valid."""
        ptr = self.ptr
        return [[i, int(e.liobn), int(e.page), int(e.mapped)] for i, e in enumerate(ptr.iotlb) if e.filled == ptr.flushes]

    def cache(self, entries: list[list[int]]) -> None:
        """After `reset`: what `cached` gave."""
        for i, liobn, page, mapped in entries:
            e = self.ptr.iotlb[i]
            e.liobn, e.page, e.mapped, e.filled = liobn, page, mapped, self.ptr.flushes

    def dma(self, liobn: int, ioba: int, data: Any, length: int, *, write: bool) -> tuple[int, int]:
        """Move bytes for a device; (error, bytes done). Errors: 1 extent, 2 page fault, 3 permission."""
        done = ffi.new("uint32_t *")
        return int(lib.tce_dma(self.ptr, liobn, ioba, data, length, write, done)), int(done[0])
