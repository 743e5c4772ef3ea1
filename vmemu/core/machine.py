# SPDX-License-Identifier: GPL-2.0-or-later
"""The typed face of a machine's engine: frames, stage-2 map, snapshots, traps, ring of events; and what C calls back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vmemu.core.native import check, ffi, last_error, lib, selftest
from vmemu.core.observe import Observer, Seen, What
from vmemu.core.values import EVENT_LAYOUT, NO_LIMIT, PAGE_SIZE, CoreTrap, DmaEnd, Event, IoKind, IoResult, S2Result, TrapKind
from vmemu.core.vcpu import CoreVcpu
from vmemu.errors import ConfigError, EngineError
from vmemu.isa import load_isa
from vmemu.isa.base import Isa

#: By value: a look-up costs a tenth of an enum's call.
_S2_RESULTS = tuple(S2Result)

#: io(vcpu, kind, address, size, value) -> (result, value)
IoHandler = Callable[["CoreVcpu", int, int, int, Any], tuple[int, Any]]


@ffi.def_extern(name="vmemu_io", error=int(IoResult.STOP))  # type: ignore[untyped-decorator]
def _io(ctx: Any, vcpu: int, kind: int, addr: int, size: int, value: Any) -> int:
    machine: CoreMachine = ffi.from_handle(ctx)
    try:
        if kind == IoKind.CPUID:
            result, answer = machine.io(machine.vcpus[vcpu], kind, addr, size, None)
            for i in range(4):
                value[i] = answer[i]
            return int(result)
        given = bytes(ffi.buffer(value, size)) if kind == IoKind.PASTE else value[0]
        result, answer = machine.io(machine.vcpus[vcpu], kind, addr, size, given)
        value[0] = answer & 0xFFFFFFFFFFFFFFFF
        return int(result)
    except BaseException as error:  # must not unwind through Unicorn: run() raises it again
        machine.io_error = error
        return int(IoResult.STOP)


@ffi.def_extern(name="vmemu_ring_full")  # type: ignore[untyped-decorator]
def _ring_full(ctx: Any) -> None:
    machine: CoreMachine = ffi.from_handle(ctx)
    try:
        if machine.on_ring_full is not None:
            machine.on_ring_full()
    except BaseException as error:  # must not unwind through Unicorn: run() raises it again
        machine.io_error = error


@dataclass(frozen=True, slots=True)
class CoreSnapshot:
    """Handle of a snapshot in the C unit; valid until it, or an older one, is restored over or dropped."""

    machine: CoreMachine
    ptr: Any
    turns: list[tuple[bool, int]]

    @property
    def pages(self) -> int:
        """Frames copied since it was taken."""
        return int(lib.snap_pages(self.ptr))


class CoreMachine:
    """Frames, stage-2 map, event ring and vCPUs of one machine.

    Args:
        isa: "x86_64", "arm64" or "ppc64".
        frames: resident limit in pages.
        regions: (gpa, bytes) of each RAM region, page aligned.
        io: serves device memory, ports and system registers.
    """

    def __init__(self, isa: str, frames: int, regions: list[tuple[int, int]], io: IoHandler) -> None:
        selftest(isa)
        self.isa: Isa = load_isa(isa)
        self.io = io
        self.io_error: BaseException | None = None
        #: Told of all that crosses the border between guest and host (vmemu.core.observe).
        self.observe: Observer | None = None
        self.on_ring_full: Callable[[], None] | None = None
        #: Where the guest keeps its running tasks' numbers, and how many words (`watch_tasks`).
        self.tasks: tuple[int, int] | None = None
        self._drained: Any = ()
        self.vcpus: list[CoreVcpu] = []
        self._handle = ffi.new_handle(self)
        ptr = lib.machine_new(isa.encode(), frames, lib.vmemu_io, self._handle)
        if ptr == ffi.NULL:
            raise EngineError(last_error())
        self.ptr = ffi.gc(ptr, lib.machine_free)
        self._ready = self.ptr.ready
        for gpa, size in regions:
            if lib.s2_add_region(self.ptr, gpa, size) < 0:
                raise ConfigError(last_error())

    def add_vcpu(self) -> CoreVcpu:
        ptr = lib.vcpu_new(self.ptr)
        if ptr == ffi.NULL:
            raise EngineError(last_error())
        self.vcpus.append(CoreVcpu(self, ptr))
        return self.vcpus[-1]

    def ready(self, window: int) -> Any:
        """Which vCPUs may run (core.h, struct ready): n of them, ids and clocks in order; `near` lie within `window` CYC units."""
        lib.machine_ready(self.ptr, window)
        return self._ready

    def add_mmio(self, page: int) -> None:
        """Declare the guest-physical page of a device window (one page)."""
        page &= ~(PAGE_SIZE - 1)
        n, most = int(self.ptr.nmmio), len(self.ptr.mmio) - 1  # the last one is the open bus
        if page in [int(self.ptr.mmio[i]) for i in range(n)]:
            return
        if n >= most:
            raise ConfigError(f"more than {most} pages of device windows")
        self.ptr.mmio[n] = page
        self.ptr.nmmio = n + 1

    def use_c_store(self) -> None:
        """Keep swapped pages in the C unit's own `ram:` store."""
        check(lib.s2_use_c_store(self.ptr))

    def set_timing(self, latency: int, depth: int) -> None:
        """Page-in latency in CYC units and the number of requests served at once (1 to 64)."""
        if not 1 <= depth <= 64 or latency < 0:
            raise ConfigError(f"store latency {latency} with queue depth {depth}: depth must be 1 to 64")
        self.ptr.timing.latency = latency
        self.ptr.timing.depth = depth

    # --------------------------------------------------------------- memory
    def pin(self, lo: int, hi: int) -> None:
        """Never page out [lo, hi). Raises ConfigError when it is not RAM or no frame is left."""
        if lib.s2_pin(self.ptr, lo, hi) < 0:
            raise ConfigError(last_error())

    def index(self, gpa: int) -> int:
        """Page index of gpa, -1 when it is not RAM."""
        return int(lib.s2_index(self.ptr, gpa))

    def gpa(self, index: int) -> int:
        return int(lib.s2_gpa(self.ptr, index))

    def ensure(self, vcpu: CoreVcpu | None, gpa: int, write: bool = False) -> S2Result:
        """Make a page resident if the C unit can (zero page, C store)."""
        return _S2_RESULTS[int(lib.s2_ensure(self.ptr, ffi.NULL if vcpu is None else vcpu.ptr, gpa, write))]

    def read_resident(self, gpa: int, size: int) -> bytes:
        """Up to `size` bytes; shorter when a page is not resident or not RAM."""
        buf = ffi.new("uint8_t[]", max(size, 1))
        n = lib.machine_copy(self.ptr, gpa, buf, size, False)
        return bytes(ffi.buffer(buf, n))

    def write_resident(self, gpa: int, data: bytes) -> int:
        """Bytes written; stops at the first page that is not resident."""
        return int(lib.machine_copy(self.ptr, gpa, ffi.from_buffer(data), len(data), True))

    def dma_read(self, pid: int, ea: int, size: int) -> tuple[bytes, DmaEnd, int]:
        """Up to `size` bytes at effective address `ea` of process `pid`, in problem state; how it ended; the page's gpa then.

        ppc64 only. TABLE and ZERO ask for a resident page at that gpa; the access can then go on where it stopped.
        """
        buf = ffi.new("uint8_t[]", max(size, 1))
        out = ffi.new("uint64_t[2]")
        n = lib.ppc64_dma(self.ptr, pid, ea, buf, size, False, out)
        return bytes(ffi.buffer(buf, n)), DmaEnd(int(out[0])), int(out[1])

    def dma_write(self, pid: int, ea: int, data: bytes) -> tuple[int, DmaEnd, int]:
        """As `dma_read`, the other way round: bytes written, how it ended, gpa."""
        out = ffi.new("uint64_t[2]")
        n = int(lib.ppc64_dma(self.ptr, pid, ea, ffi.from_buffer(data), len(data), True, out))
        if self.observe is not None and n:
            self.observe(Seen(What.DMA_WRITE, -1, ea, pid, data=bytes(data[:n])))
        return n, DmaEnd(int(out[0])), int(out[1])

    def page(self, index: int) -> Any:
        """The C struct s2_page of a page: state, flags, frame, slot, crc."""
        return self.ptr.s2[index]

    def frame_bytes(self, index: int) -> Any:
        """Buffer over a resident page's bytes."""
        return ffi.buffer(self.ptr.ram + int(self.ptr.s2[index].frame) * PAGE_SIZE, PAGE_SIZE)

    def page_bytes_cstore(self, index: int) -> bytes:
        """A page swapped to the C store, without paging it in."""
        buf = ffi.new("uint8_t[]", PAGE_SIZE)
        check(lib.s2_peek(self.ptr, index, buf))
        return bytes(ffi.buffer(buf))

    def not_zero_pages(self) -> Iterator[int]:
        """Indexes of pages that are not known to be zero, ascending."""
        i = -1
        while (i := int(lib.machine_nonzero(self.ptr, i + 1))) < int(self.ptr.npages):
            yield i

    # --------------------------------------------------- Python-kept stores
    def reclaim(self, vcpu: CoreVcpu | None, limit: int = 64) -> list[int]:
        """Free frames; returns the dirty pages that Python must write out and then give back with `evicted`."""
        out = ffi.new("uint32_t[]", limit)
        n = lib.s2_reclaim(self.ptr, ffi.NULL if vcpu is None else vcpu.ptr, out, limit)
        return [int(out[i]) for i in range(n)]

    def evicted(self, vcpu: CoreVcpu | None, index: int, slot: int) -> None:
        check(lib.s2_evicted(self.ptr, ffi.NULL if vcpu is None else vcpu.ptr, index, slot))

    def page_in(self, vcpu: CoreVcpu | None, index: int, data: bytes | None) -> bool:
        """Fill a page from the store (None: zero page). False: the checksum differs, nothing was mapped."""
        arg = ffi.NULL if data is None else data
        return bool(lib.s2_page_in(self.ptr, ffi.NULL if vcpu is None else vcpu.ptr, index, arg) == 0)

    def mark_bad(self, index: int) -> None:
        """The content of a page is lost: every later touch is a memory error of the architecture."""
        lib.s2_bad(self.ptr, index)

    def discard(self, index: int) -> None:
        """A page is zero from now on: the guest wants its content no more. Raises EngineError for one that is pinned or lost."""
        check(lib.s2_discard(self.ptr, index))

    def dropped_slots(self) -> list[int]:
        """Slots of a Python-kept store that are free since the last call."""
        n = int(self.ptr.ndropped)
        slots = [int(self.ptr.dropped[i]) for i in range(n)]
        self.ptr.ndropped = 0
        return slots

    @property
    def free_frames(self) -> int:
        return int(self.ptr.nfree)

    def stats(self) -> dict[str, int]:
        s = self.ptr.stats
        names = ("zero", "swap_in", "swap_out", "clean_drop", "zero_drop", "resident", "resident_peak", "evictions", "flushes", "corrupt")
        return {name: int(getattr(s, name)) for name in names}

    # ------------------------------------------------------------ snapshots
    def take_snapshot(self) -> CoreSnapshot:
        """Remember this instant; cheap: frames are copied when they change."""
        ptr = lib.snap_take(self.ptr)
        if ptr == ffi.NULL:
            raise EngineError(last_error())
        return CoreSnapshot(self, ptr, [(v.online, v.parked) for v in self.vcpus])

    def restore_snapshot(self, snapshot: CoreSnapshot) -> None:
        """Back to a snapshot of this machine; newer ones are gone afterwards. Raises EngineError for one that is gone."""
        check(lib.snap_restore(self.ptr, snapshot.ptr))
        for vcpu, (online, parked) in zip(self.vcpus, snapshot.turns, strict=True):
            vcpu.online, vcpu.parked = online, parked

    @property
    def room_for_snapshot(self) -> bool:
        """Can every page change and go to the store before the next snapshot? Each owns the slots of the pages that it knows there."""
        return bool(lib.snap_spare_slots(self.ptr) > self.ptr.npages)

    def drop_snapshot(self, snapshot: CoreSnapshot) -> None:
        check(lib.snap_drop(self.ptr, snapshot.ptr))

    # ---------------------------------------------------------------- traps
    def set_break(self, va: int, on: bool) -> None:
        """An exact stop (DEBUG exit) before the instruction at `va`, on every vCPU. Raises EngineError: too many, or not there."""
        check(lib.debug_break(self.ptr, va, on))

    def add_watch(self, gpa: int, size: int, access: int) -> int:
        """A DEBUG exit before accesses (1 reads, 2 writes, 3 both) to these bytes of RAM; its number. Raises EngineError."""
        number = int(lib.debug_watch(self.ptr, gpa, size, access))
        check(number)
        return number

    def remove_watch(self, number: int) -> None:
        lib.debug_unwatch(self.ptr, number)

    def switch_traps(self, on: bool) -> None:
        """Off: nothing traps until they are switched on again."""
        lib.debug_switch(self.ptr, on)

    def stop_soon(self) -> None:
        """A DEBUG exit at the end of the block that runs, or at once in the next run."""
        lib.debug_ask(self.ptr)

    def take_trap(self) -> CoreTrap | None:
        """The trap that nobody has taken yet."""
        t = ffi.new("struct trap *")
        if not lib.debug_take(self.ptr, t):
            return None
        return CoreTrap(TrapKind(t.kind), int(t.vcpu), int(t.pc), int(t.va), int(t.gpa), int(t.size), int(t.access), bool(t.by_host))

    def code_written(self, gpa: int, size: int) -> None:
        """The host has changed the guest's program: what a vCPU is amid is decoded anew."""
        lib.debug_code_written(self.ptr, gpa, size)

    # --------------------------------------------------------------- events
    def enable_ring(self, log2: int = 16, on_full: Callable[[], None] | None = None) -> None:
        """Record events in a ring of 2**log2 entries, from now on: before the first run, or returns from handlers are missed.

        on_full is called in the middle of a run when the ring has no room. It drains, and touches nothing else; without it
        the oldest events go and `events_lost` counts them.
        """
        self.on_ring_full = on_full
        full = ffi.NULL if on_full is None else lib.vmemu_ring_full
        check(lib.machine_ring(self.ptr, log2, full, self._handle))

    def watch_tasks(self, gpa: int, count: int) -> None:
        """The guest keeps the number of each CPU's running task at gpa: `count` words of 64 bits in its byte order."""
        lib.machine_tasks(self.ptr, gpa, count)
        self.tasks = gpa, count

    def store_charge(self, now: int) -> int:
        """Issue one request to the store at `now`; when it ends. CYC units."""
        return int(lib.store_charge(self.ptr, now))

    @property
    def traced(self) -> bool:
        """Is there a ring for events?"""
        return bool(self.ptr.ring.size)

    def put_event(self, kind: int, a: int = 0, b: int = 0, c: int = 0, *, vcpu: CoreVcpu | None = None, cycles: int | None = None) -> None:
        """Put a protocol's event into the ring (vmemu.core.events); nothing happens while there is no ring.

        vcpu None: the host's own doing. cycles: when, in CYC units; None is now.
        """
        at = NO_LIMIT if cycles is None else cycles
        lib.machine_event(self.ptr, -1 if vcpu is None else vcpu.id, at, kind, a, b, c)

    @property
    def events_lost(self) -> int:
        return int(self.ptr.ring.lost)

    def drain_raw(self, limit: int = 4096) -> bytes:
        """Up to `limit` events, oldest first, as they lie in memory: EVENT_LAYOUT each."""
        if len(self._drained) < limit:
            self._drained = ffi.new("struct event[]", limit)
        n = lib.ring_drain(ffi.addressof(self.ptr, "ring"), self._drained, limit)
        return bytes(ffi.buffer(self._drained, n * EVENT_LAYOUT.size))

    def drain(self, limit: int = 4096) -> list[Event]:
        return [Event(*fields) for fields in EVENT_LAYOUT.iter_unpack(self.drain_raw(limit))]
