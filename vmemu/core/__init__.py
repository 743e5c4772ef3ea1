# SPDX-License-Identifier: GPL-2.0-or-later
"""Floor 0: the engine. One C unit and its typed face.

Nothing above this room knows Unicorn. Time is in `cycles` of 1/64 cycle (`CYC`), addresses are guest-physical unless named
otherwise, pages are 4 KiB.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any, NamedTuple

from vmemu.core.observe import Observer, Seen, What
from vmemu.errors import ConfigError, EngineError
from vmemu.isa import load_isa
from vmemu.isa.base import Isa

try:
    from vmemu.core import _core  # type: ignore[attr-defined]
except ImportError as error:  # pragma: no cover - only without a build
    raise EngineError(f"the C unit is not built ({error}): run `python cffi_build.py`") from None

ffi, lib = _core.ffi, _core.lib

PAGE_SIZE = 4096
CYC = 64
NO_LIMIT = (1 << 64) - 1
NO_SLOT = 0xFFFFFFFF
NO_VCPU = 0xFFFF
NO_TASK = (1 << 64) - 1
#: Fields of Event as they lie in the ring (core.h, struct event).
EVENT_LAYOUT = struct.Struct("=4QI2H3Q")


class ExitKind(IntEnum):
    """Why `CoreVcpu.run` returned (core.h, enum exit_kind)."""

    NONE, LIMIT, STAGE2, HALT, HCALL, IRQ_WINDOW, MEM_ERROR, FATAL, STOP, ERROR, DEBUG = range(11)


class IoKind(IntEnum):
    """Synchronous accesses served in Python (core.h, enum io_kind)."""

    MMIO_READ, MMIO_WRITE, PORT_IN, PORT_OUT, REG_READ, REG_WRITE, CPUID, RECLAIM, PASTE = range(9)


class IoResult(IntEnum):
    """Answer to a synchronous access (core.h, enum io_result)."""

    OK, FAULT, STOP = range(3)


class Access(IntEnum):
    READ, WRITE, FETCH = range(3)


class PageState(IntEnum):
    """Stage-2 state of a guest page (core.h, enum s2_state)."""

    NONE, ZERO, RESIDENT, SWAPPED, BAD = range(5)


class Stage2(IntFlag):
    """`Exit.nr` of a STAGE2 exit (core.h, enum stage2)."""

    ENTERING, REPEATED = 1, 2


class Cycles(IntEnum):
    """What a vCPU spent time on that was no instruction (api.h)."""

    WORK, IDLE, BLOCKED = range(3)


class PageFlag(IntEnum):
    ACCESSED, DIRTY, PINNED = 1, 2, 4


class S2Result(IntEnum):
    OK, NOT_RAM, MISS, ERROR = range(4)


class Pending(IntEnum):
    """Kinds of events that the engine enters before the next instruction."""

    NONE, PAGE_FAULT, EXCEPTION, IRQ, MEM_ERROR = range(5)


class TrapKind(IntEnum):
    """Why a run stopped with a DEBUG exit (core.h, enum trap_kind)."""

    NONE, BREAK, WATCH, ASKED = range(4)


class CoreTrap(NamedTuple):
    """core.h, struct trap. access: 1 read, 2 write. vcpu: NO_VCPU for the host's own doing."""

    kind: TrapKind
    vcpu: int
    pc: int
    va: int
    gpa: int
    size: int
    access: int
    by_host: bool


#: Names of `vcpu.count` (core.h, enum counter).
COUNTERS = (
    "exit_limit", "exit_stage2", "exit_halt", "exit_hcall", "exit_irq", "exit_io", "exit_error",
    "fault_guest", "fault_zero", "fault_swap", "fault_mem_error", "syscall", "exception", "irq",
)  # fmt: skip


def _error() -> str:
    text: bytes = ffi.string(lib.core_error())
    return text.decode(errors="replace")


def _check(result: int) -> None:
    if result < 0:
        raise EngineError(_error())


def _package(name: str) -> Path:
    """Folder of an installed package, without importing it: its library is opened by the C unit alone."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(f"{name} is not installed: pip install {name}")
    return Path(next(iter(spec.submodule_search_locations)))


def _load() -> None:
    folder = _package("unicorn") / "lib"
    found = sorted(folder.glob("libunicorn.so.2")) or sorted(folder.glob("libunicorn*"))
    if not found:
        raise EngineError(f"no libunicorn in {folder}: pip install unicorn==2.1.4")
    if lib.core_init(str(found[0]).encode(), str(_package("capstone") / "lib" / "libcapstone.so").encode()) < 0:
        raise EngineError(_error())


_load()
_tested: set[str] = set()


def selftest(isa: str) -> None:
    """Check the facts about Unicorn that `isa` relies on, once a process.

    Raises:
        EngineError: a fact does not hold on this build; the text names it.
    """
    if isa not in _tested:
        _check(lib.core_selftest(isa.encode()))
        _tested.add(isa)


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """CRC-32C (RFC 3720 B.4) of `data`."""
    return lib.crc32c(data if type(data) is bytes else ffi.from_buffer(data), len(data))  # type: ignore[no-any-return]


#: By value: a look-up costs a tenth of an enum's call.
_EXIT_KINDS, _S2_RESULTS = tuple(ExitKind), tuple(S2Result)


class Exit(NamedTuple):
    """One exit of a vCPU. `pc` and `insns` are exact, `cycles` is in CYC units."""

    kind: ExitKind
    access: int
    nr: int
    gpa: int
    gva: int
    pc: int
    insns: int
    cycles: int
    why: str


@dataclass(frozen=True, slots=True)
class Walk:
    """Outcome of the C stage-1 walker: status 0 ok, 1 guest fault, 2 a table page is not resident."""

    status: int
    gpa: int
    prot: int
    fault: int
    table_error: bool


class DmaEnd(IntEnum):
    """How a device's access to a process's memory ended (api.h, enum dma_end)."""

    DONE = 0
    TABLE = 1  # a page of the translation tables is away
    ZERO = 2  # mapped, and known to hold zeros: it only needs a frame
    AWAY = 3  # mapped, and the host's store has it
    LOST = 4  # the store lost it
    NOT_RAM = 5
    UNMAPPED = 6  # no translation
    RIGHTS = 7


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the event ring (core.h, struct event); the meaning of a, b, c depends on `kind` (vmemu.core.events).

    cycles: CYC units of the vCPU's clock. task: number of the guest task that ran, NO_TASK when the guest does not say.
    vcpu: NO_VCPU for what the host did by itself. flags: EventFlag.
    """

    cycles: int
    insns: int
    pc: int
    task: int
    kind: int
    vcpu: int
    flags: int
    a: int
    b: int
    c: int


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


class CoreVcpu:
    """One vCPU: an engine, its registers, its clock."""

    def __init__(self, machine: CoreMachine, ptr: Any) -> None:
        self.machine = machine
        self.ptr = ptr
        self.id = int(ptr.id)
        self._index = machine.isa.registers.index
        self._exit = ptr.exit

    # ------------------------------------------------------------ registers
    def get(self, name: str) -> int:
        """Value of a register by its name in the isa room. Raises KeyError."""
        value: int = lib.vcpu_reg_get(self.ptr, self._index(name))
        return value

    def set(self, name: str, value: int) -> None:
        """Write a register. Raises KeyError, or EngineError where the register cannot be written."""
        _check(lib.vcpu_reg_set(self.ptr, self._index(name), value & 0xFFFFFFFFFFFFFFFF))

    def registers(self) -> dict[str, int]:
        """All declared registers."""
        get, ptr = lib.vcpu_reg_get, self.ptr
        return {r.name: int(get(ptr, i)) for i, r in enumerate(self.machine.isa.registers)}

    @property
    def pc(self) -> int:
        return int(lib.vcpu_pc(self.ptr))

    def reset(self) -> None:
        """Registers as after a reset, nothing pending, not halted. The clock goes on; interrupt lines keep their level."""
        _check(lib.vcpu_reset(self.ptr))

    def settle(self) -> bool:
        """Enter now what was to be entered before the next instruction. False: not here, `settled` says why; or it cannot be."""
        return bool(lib.vcpu_settle(self.ptr) == 0)

    def go_to(self, pc: int, status: int) -> None:
        """Send the guest elsewhere, as firmware does: PC and program status (PSTATE) in one step, the halt ends.

        Raises EngineError for a status the CPU does not have, or where nothing may be delivered.
        """
        _check(lib.vcpu_go_to(self.ptr, pc, status))
        if self.machine.observe is not None:
            self.machine.observe(Seen(What.GO_TO, self.id, pc, status))

    # ----------------------------------------------------------------- time
    @property
    def insns(self) -> int:
        """Instructions completed, exact."""
        return int(lib.vcpu_insns(self.ptr))

    @property
    def cycles(self) -> int:
        """Local time in CYC units, at the instruction that PC points to."""
        return int(lib.vcpu_now(self.ptr))

    @property
    def settled(self) -> bool:
        """False after an exact stop inside a block: no event may be delivered before the block is done."""
        return bool(lib.vcpu_settled(self.ptr))

    def add_cycles(self, cycles: int, kind: Cycles = Cycles.WORK) -> None:
        """Advance local time by `cycles` CYC units: host work charged to the guest, idle time, or time blocked by a page-in."""
        lib.vcpu_add_cycles(self.ptr, cycles, kind)

    @property
    def idle_cycles(self) -> int:
        return int(self.ptr.idle_cycles)

    @property
    def blocked_cycles(self) -> int:
        """Time spent waiting for page-ins, in CYC units."""
        return int(self.ptr.blocked_cycles)

    @property
    def halted(self) -> bool:
        return bool(self.ptr.halted)

    @halted.setter
    def halted(self, value: bool) -> None:
        lib.vcpu_set_halted(self.ptr, value)

    def host_halt(self) -> None:
        """Halt it until `halted` is cleared or an interrupt that is not masked arrives."""
        lib.vcpu_set_halted(self.ptr, True)
        self.ptr.host_halt = True
        self.parked = 0

    @property
    def host_halted(self) -> bool:
        return bool(self.ptr.host_halt)

    @property
    def online(self) -> bool:
        """Started, and not taken away."""
        return bool(self.ptr.online)

    @online.setter
    def online(self, value: bool) -> None:
        self.ptr.online = value

    @property
    def held(self) -> bool:
        """The host is amid something on its behalf: it does not run until that is done."""
        return bool(self.ptr.on_hold)

    @held.setter
    def held(self, value: bool) -> None:
        self.ptr.on_hold = value

    @property
    def benched(self) -> bool:
        """The machine's owner lets others run and not this one."""
        return bool(self.ptr.benched)

    @benched.setter
    def benched(self, value: bool) -> None:
        self.ptr.benched = value

    @property
    def parked(self) -> int:
        """Interrupt lines that were high when it was found to stay halted."""
        return int(self.ptr.parked)

    @parked.setter
    def parked(self, lines: int) -> None:
        self.ptr.parked = lines

    @property
    def runnable(self) -> bool:
        """Online, not held, and not halted; or halted with other interrupt lines high than when it was parked."""
        return bool(lib.vcpu_runnable(self.ptr))

    # ------------------------------------------------------------------ run
    def pass_break(self) -> None:
        """A breakpoint at the instruction where it stands does not stop it there."""
        lib.debug_pass(self.ptr)

    def stop_at(self, insns: int, cycles: int, settled: bool, pc: int) -> None:
        """A DEBUG exit where index, time and place are these: instants that an instruction limit alone cannot name."""
        lib.debug_until(self.ptr, True, insns, cycles, settled, pc)

    def stop_nowhere(self) -> None:
        """Takes `stop_at` back."""
        lib.debug_until(self.ptr, False, 0, 0, False, 0)

    def run(self, cycle_limit: int = NO_LIMIT, insn_limit: int = NO_LIMIT) -> Exit:
        """Run until an exit; limits are absolute values of `cycles` and `insns`.

        Raises whatever a device handler raised during the run; the vCPU stands behind the instruction that called it.
        """
        lib.vcpu_run(self.ptr, cycle_limit, insn_limit)
        if self.machine.io_error is not None:
            error, self.machine.io_error = self.machine.io_error, None
            raise error
        x = self._exit
        why = ffi.string(x.why).decode(errors="replace") if x.why else ""
        return Exit(_EXIT_KINDS[x.kind], x.access, x.nr, x.gpa, x.gva, x.pc, x.insns, x.cycles, why)

    def kick(self) -> None:
        """Make a running vCPU look at its limits and interrupt lines at the next block."""
        lib.vcpu_kick(self.ptr)

    def set_irq(self, line: int, level: bool) -> None:
        """Level of an interrupt line; lines are the architecture's own (arch_<isa>)."""
        lib.vcpu_set_irq(self.ptr, line, level)
        if self.machine.observe is not None:
            self.machine.observe(Seen(What.LINE, self.id, line, int(level)))

    @property
    def irq_lines(self) -> int:
        return int(self.ptr.irq_lines)

    @property
    def event_pending(self) -> bool:
        """An exception or interrupt is to be entered before the next instruction."""
        return bool(self.ptr.pend.kind)

    def inject_irq(self, vector: int) -> None:
        """Enter an external interrupt with `vector` before the next instruction."""
        _check(lib.vcpu_inject(self.ptr, Pending.IRQ, vector, 0, False, 0, 0))
        if self.machine.observe is not None:
            self.machine.observe(Seen(What.INTERRUPT, self.id, vector))

    def drop_event(self) -> None:
        """What was to be entered before the next instruction is forgotten."""
        self.ptr.pend.kind = 0

    def inject_exception(self, vector: int, error: int = 0, addr: int = 0, aux: int = 0, has_error: bool = False) -> None:
        """Enter an exception before the next instruction; fields as `struct pending` in core.h."""
        _check(lib.vcpu_inject(self.ptr, Pending.EXCEPTION, vector, error, has_error, addr, aux))
        if self.machine.observe is not None:
            self.machine.observe(Seen(What.EXCEPTION, self.id, vector, addr, error))

    def memory_error(self, gva: int, gpa: int, access: int) -> None:
        """Tell the guest that a page is lost, as its architecture does: #MC, external abort, machine check."""
        lib.vcpu_mem_error(self.ptr, gva, gpa, access)
        if self.machine.observe is not None:
            self.machine.observe(Seen(What.MEM_ERROR, self.id, gva, gpa, access))

    def walk(self, va: int, access: int) -> Walk:
        """Stage-1 walk by the C walker, in the vCPU's current mode."""
        out = ffi.new("uint64_t[4]")
        status = lib.vcpu_walk(self.ptr, va, access, out)
        _check(status)
        return Walk(int(status), int(out[0]), int(out[1]), int(out[2]), bool(out[3]))

    def flush_tlb(self) -> None:
        lib.vcpu_flush_tlb(self.ptr)

    def counters(self) -> dict[str, int]:
        return {name: int(self.ptr.count[i]) for i, name in enumerate(COUNTERS)}


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
            raise EngineError(_error())
        self.ptr = ffi.gc(ptr, lib.machine_free)
        self._ready = self.ptr.ready
        for gpa, size in regions:
            if lib.s2_add_region(self.ptr, gpa, size) < 0:
                raise ConfigError(_error())

    def add_vcpu(self) -> CoreVcpu:
        ptr = lib.vcpu_new(self.ptr)
        if ptr == ffi.NULL:
            raise EngineError(_error())
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
        _check(lib.s2_use_c_store(self.ptr))

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
            raise ConfigError(_error())

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
        _check(lib.s2_peek(self.ptr, index, buf))
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
        _check(lib.s2_evicted(self.ptr, ffi.NULL if vcpu is None else vcpu.ptr, index, slot))

    def page_in(self, vcpu: CoreVcpu | None, index: int, data: bytes | None) -> bool:
        """Fill a page from the store (None: zero page). False: the checksum differs, nothing was mapped."""
        arg = ffi.NULL if data is None else data
        return bool(lib.s2_page_in(self.ptr, ffi.NULL if vcpu is None else vcpu.ptr, index, arg) == 0)

    def mark_bad(self, index: int) -> None:
        """The content of a page is lost: every later touch is a memory error of the architecture."""
        lib.s2_bad(self.ptr, index)

    def discard(self, index: int) -> None:
        """A page is zero from now on: the guest wants its content no more. Raises EngineError for one that is pinned or lost."""
        _check(lib.s2_discard(self.ptr, index))

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
            raise EngineError(_error())
        return CoreSnapshot(self, ptr, [(v.online, v.parked) for v in self.vcpus])

    def restore_snapshot(self, snapshot: CoreSnapshot) -> None:
        """Back to a snapshot of this machine; newer ones are gone afterwards. Raises EngineError for one that is gone."""
        _check(lib.snap_restore(self.ptr, snapshot.ptr))
        for vcpu, (online, parked) in zip(self.vcpus, snapshot.turns, strict=True):
            vcpu.online, vcpu.parked = online, parked

    def drop_snapshot(self, snapshot: CoreSnapshot) -> None:
        _check(lib.snap_drop(self.ptr, snapshot.ptr))

    # ---------------------------------------------------------------- traps
    def set_break(self, va: int, on: bool) -> None:
        """An exact stop (DEBUG exit) before the instruction at `va`, on every vCPU. Raises EngineError: too many, or not there."""
        _check(lib.debug_break(self.ptr, va, on))

    def add_watch(self, gpa: int, size: int, access: int) -> int:
        """A DEBUG exit before accesses (1 reads, 2 writes, 3 both) to these bytes of RAM; its number. Raises EngineError."""
        number = int(lib.debug_watch(self.ptr, gpa, size, access))
        _check(number)
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
        _check(lib.machine_ring(self.ptr, log2, full, self._handle))

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


