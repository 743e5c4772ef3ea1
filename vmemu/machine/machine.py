# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine: vCPUs, memory, board and clock, and the loop that runs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vmemu.clock.choices import Choices
from vmemu.clock.queue import EventQueue
from vmemu.core import CYC, NO_LIMIT, CoreMachine, CoreVcpu, Cycles, Exit, ExitKind
from vmemu.core.observe import Fate, Seen, What
from vmemu.errors import EngineError, StoreError, VmemuError
from vmemu.machine import interventions, moves
from vmemu.machine.accesses import Accesses
from vmemu.machine.board import Board, Outcome
from vmemu.machine.console import Console
from vmemu.machine.facility import Facility, Pager, Resolution
from vmemu.machine.result import FAILED, HOST, LIMIT, OK, STALLED, RunResult, make_result
from vmemu.machine.timeline import MOST, SPACING, Timeline
from vmemu.machine.traps import Traps
from vmemu.memory.memory import Memory

if TYPE_CHECKING:
    from vmemu.machine.boot import BootOptions
    from vmemu.machine.history import History
    from vmemu.machine.journal import Journal

#: A lone vCPU comes back to Python at least this often (cycles), to show progress. At a block's end: no part of the guest's path.
SLICE = 400_000_000
#: Several vCPUs take turns of so many cycles (10 us): shorter than any latency preset but zram's, long enough for one Python turn.
QUANTUM = 20_000
#: So many events in a row that wake nobody: the guest sleeps with its interrupts masked.
IDLE_TURNS = 10_000

_FATES = {Resolution.RETRY: Fate.RETRY, Resolution.NOTIFIED: Fate.NOTIFIED, Resolution.HALT: Fate.HALT, Resolution.FATAL: Fate.FATAL}

Progress = Callable[["Machine"], None]
#: The words after the first -> reply. Raises Refused, or ConfigError.
Command = Callable[[list[str]], str]


class Machine:
    """A board with its CPUs. Made by `Machine.boot`, or by hand for tests.

    Public counters and figures are read through `run`'s RunResult.
    """

    def __init__(self, board: type[Board], core: CoreMachine, memory: Memory, memory_size: int, *, console: Console,
                 smp: int = 1, choices: Choices | None = None, max_cycles: int | None = None) -> None:
        self.core = core
        self.memory = memory
        self.memory_size = memory_size
        self.console = console
        self.choices = Choices() if choices is None else choices  # one that has decided nothing yet is false
        self.queue = EventQueue()
        self.max_cycles = max_cycles
        #: Longest turn of a lone vCPU, in cycles.
        self.slice = SLICE
        self.guest_status: int | None = None
        self.result: RunResult | None = None
        self.powered_off = False  # the guest has ended the run
        self._now_vcpu = 0
        self._running = False
        self._device_deadline: int | None = None
        self._devices_moved = True
        self._ran_due = False
        self._idle_turns = 0
        #: vCPU and cycle limit of a turn that an exact stop interrupted: it goes on, or stopping would change the schedule.
        self._turn_open: tuple[int, int] | None = None
        #: What it was made from, for recordings and snapshots on disk; set by `boot`.
        self.options: BootOptions | None = None
        self.images: dict[str, str] = {}
        #: Where the guest counts its sleepers, when it says so (elf.py): address and number of words.
        self.sleepers: tuple[int, int] | None = None
        #: Called after every complete turn: recordings. `turns` counts them.
        self.on_turn: Progress | None = None
        self.turns = 0
        #: Commands of the machine's owner (vmemu.machine.control), by first word.
        self.commands: dict[str, Command] = {}
        #: What people did to it, when somebody keeps that: recordings, debuggers.
        self.journal: Journal | None = None
        self.timeline: Timeline | None = None
        #: What has happened lately, if somebody wants to know (History.of).
        self.history: History | None = None
        self.traps = Traps(self)
        #: What floors above added, by boot option; and the one of them that decides about stage-2 faults.
        self.facilities: dict[str, Facility] = {}
        self.pager: Pager | None = None
        #: Called before a vCPU enters the guest for a new turn: what a facility wants done there, and not in mid-turn.
        self.on_entry: Callable[[CoreVcpu], None] | None = None
        #: vCPUs for which the pager was asked to look before they go on.
        self.requests: set[int] = set()
        self.queue.choose = self.choices.choose
        core.ptr.ask_reclaim = not self.choices.is_default  # a list of zeros decides as the default does
        self._run_limit = 0  # of the vCPU that runs, CYC
        self.time_units = 0  # CYC: how far every vCPU that is not halted has come
        self._units_per_us = board.cpu_hz // 1_000_000 * CYC
        core.io = Accesses(self).serve
        interventions.install(self)
        moves.install(self)
        for _ in range(smp):
            core.add_vcpu()
        self.vcpus[0].online = True
        self.board = board(self)
        for window in self.board.mmio.windows:
            for page in range(window.base & ~4095, window.base + window.size, 4096):
                core.add_mmio(page)

    @classmethod
    def boot(cls, image: str, **options: Any) -> Machine:
        """Build a machine and load `image` into it; see `vmemu.machine.boot.BootOptions` for the options.

        Raises ConfigError for anything wrong with the image or the options.
        """
        from vmemu.machine.boot import BootOptions, boot

        return boot(BootOptions(image=image, **options))

    # --------------------------------------------------- what boards may use
    @property
    def vcpus(self) -> list[CoreVcpu]:
        return self.core.vcpus

    def now(self) -> int:
        """Virtual time in ns, at the current vCPU's current instruction."""
        units = self.vcpus[self._now_vcpu].cycles if self._running else self.time_units
        return units * 1000 // self._units_per_us

    def instant(self) -> int:
        """Virtual time in ns between two turns, however far inside a turn an exact stop lies."""
        if self._turn_open is None:
            return self.now()
        return max(self.time_units, self.vcpus[self._turn_open[0]].cycles) * 1000 // self._units_per_us

    def nanoseconds(self, units: int) -> int:
        """First virtual ns at which a clock of `units` CYC has come that far."""
        return -(-units * 1000 // self._units_per_us)

    def units(self, ns: int) -> int:
        """First instant (CYC units) at which `now` is >= ns."""
        return -(-ns * self._units_per_us // 1000)

    def set_irq(self, vcpu: int, line: int, level: bool) -> None:
        """Level of a vCPU's interrupt line. A halted vCPU that it wakes has waited until now."""
        target = self.vcpus[vcpu]
        if level and target.halted:
            self._catch_up(target)
            self._make_room(vcpu)
        target.set_irq(line, level)

    def set_online(self, vcpu: int, online: bool) -> None:
        """Start a vCPU (its registers are set already) or take it away. Takes effect at the next turn."""
        target = self.vcpus[vcpu]
        target.online = online
        if self.core.observe is not None:
            self.core.observe(Seen(What.ONLINE, vcpu, int(online)))
        if not online:
            for facility in self.facilities.values():
                facility.reset_vcpu(target)
        if online:
            target.halted = False
            self._catch_up(target)
        self.vcpus[self._now_vcpu].kick()

    def wake(self, vcpu: int) -> None:
        """End a vCPU's halt without an interrupt (H_PROD, and the like)."""
        target = self.vcpus[vcpu]
        if target.halted:
            self._catch_up(target)
            self._make_room(vcpu)
            target.halted = False

    def hold(self, vcpu: int, held: bool) -> None:
        """The host is amid something on the vCPU's behalf, and it cannot run; False: it can again, from now on."""
        target = self.vcpus[vcpu]
        target.held = held
        if not held:
            self._catch_up(target)
            self._make_room(vcpu)

    def exit_soon(self, vcpu: int) -> None:
        """A request was made for the vCPU: its thread looks at it before it goes on in its guest."""
        self.requests.add(vcpu)
        self.vcpus[vcpu].kick()

    def _make_room(self, vcpu: int) -> None:
        """Another vCPU wants to run: whoever ran alone, for a long turn, must share the time from now on."""
        if self._running and vcpu != self._now_vcpu:
            self.vcpus[self._now_vcpu].kick()

    @property
    def running_vcpu(self) -> int:
        """The vCPU whose turn it is: the one that makes the access that a device serves."""
        return self._now_vcpu

    def _catch_up(self, vcpu: CoreVcpu) -> None:
        now = self.vcpus[self._now_vcpu].cycles if self._running else self.time_units
        if vcpu.cycles < now:
            vcpu.add_cycles(now - vcpu.cycles, Cycles.BLOCKED if vcpu.host_halted else Cycles.IDLE)

    def kick(self, vcpu: int) -> None:
        self.vcpus[vcpu].kick()

    def has_bug(self, name: str) -> bool:
        """Was this known bug switched on (`vmemu.bugs`)?"""
        return self.options is not None and name in self.options.bugs

    def deadline_changed(self) -> None:
        """A device's next deadline moved. A later one needs nothing: the run comes back at the old one and looks again."""
        self._devices_moved = True
        deadline = self._next_deadline()
        if self._turn_open is not None and deadline is not None:  # a command's doing: the turn that goes on ends in time
            number, limit = self._turn_open
            self._turn_open = number, min(limit, self.units(deadline))
        if self._running and deadline is not None and self.units(deadline) < self._run_limit:
            self.vcpus[self._now_vcpu].kick()

    def power_off(self, status: int) -> None:
        """The guest ends the run. Takes effect after the current instruction."""
        self.powered_off = True
        self.guest_status = status

    def read_guest(self, gpa: int, size: int) -> bytes:
        return self.memory.read(gpa, size)

    def write_guest(self, gpa: int, data: bytes) -> None:
        self.memory.write(gpa, data)

    def is_ram(self, gpa: int, size: int) -> bool:
        return self.memory.is_ram(gpa, size)

    # ---------------------------------------------------------------- what is due
    def _next_deadline(self) -> int | None:
        """Earliest of the queue's and the devices'. Theirs is looked at anew when one has moved or has come."""
        if self._devices_moved:
            self._devices_moved = False
            known = [d for device in self.board.devices.values() if (d := device.next_deadline()) is not None]
            self._device_deadline = min(known, default=None)
        found, other = self.queue.next_deadline(), self._device_deadline
        if found is None or (other is not None and other < found):
            return other
        return found

    def _run_due(self) -> int | None:
        """Run what is due; the next deadline after that."""
        found = self._next_deadline()
        self._ran_due = False
        if found is None or found > (now := self.now()):
            return found
        self._ran_due = True
        if self._device_deadline is not None and self._device_deadline <= now:
            self._devices_moved = True
        self.queue.run_due(now)
        for device in self.board.devices.values():
            deadline = device.next_deadline()
            if deadline is not None and deadline <= now:
                device.on_deadline(now)
        return self._next_deadline()

    # ------------------------------------------------------------------- run
    def run(self, on_progress: Progress | None = None, at: tuple[int, Progress] | None = None) -> RunResult:
        """Run to the end. Always returns; host failures are status 5 with a reason.

        `at` = (index, call): called once, with exactly so many instructions completed by all vCPUs.
        """
        started = time.perf_counter()
        try:
            status, reason = self._loop(on_progress, at)
        except StoreError as error:
            status, reason = HOST, f"store failure: {error}"
        except EngineError as error:
            status, reason = HOST, f"engine failure: {error}"
        except VmemuError as error:
            status, reason = error.status, str(error)
        self.console.flush()
        self.time_units = max(self.time_units, *(v.cycles for v in self.vcpus))
        self.result = make_result(self, status, reason, self.guest_status, time.perf_counter() - started)
        return self.result

    def step(self, instructions: int, vcpu: int = 0) -> tuple[int, str] | None:
        """Run until a vCPU has completed exactly so many instructions more; (status, reason) when the run ended before."""
        target = self.vcpus[vcpu].insns + instructions
        while self.vcpus[vcpu].insns < target:
            end = self._turn(vcpu, target)
            if end is not None:
                return end
        return None

    def _loop(self, on_progress: Progress | None, at: tuple[int, Progress] | None) -> tuple[int, str]:
        while True:
            stop = NO_LIMIT if self.timeline is None else self.timeline.due()
            if at is not None and self.insns >= at[0]:
                at[1](self)
                at = None
            end = self._turn(None, stop if at is None else min(stop, at[0]))
            if end is not None:
                return end
            if on_progress is not None:
                on_progress(self)

    def travel(self, most: int = MOST, spacing: int = SPACING, pace: float = 0.0) -> Timeline:
        """Switch time travel on, from here: at most so many automatic snapshots, `spacing` instructions apart at first."""
        if self.timeline is None:
            self.timeline = Timeline(self, most, spacing, pace)
        return self.timeline

    def seek(self, index: int) -> tuple[int, str] | None:
        """Go to exactly instruction `index` of all vCPUs together, forwards or backwards.

        None, or (status, reason) when the run ends before. Raises ConfigError for an index before `travel` was
        switched on.
        """
        return self.travel().seek(index)

    @property
    def insns(self) -> int:
        """Instructions completed by all vCPUs: the machine's own index of instants."""
        return self.vcpus[0].insns if len(self.vcpus) == 1 else sum(v.insns for v in self.vcpus)

    def run_to(self, index: int) -> tuple[int, str] | None:
        """Run to instruction `index`, exactly, of all vCPUs together; (status, reason) when the run ended before."""
        while self.insns < index:
            end = self._turn(None, index)
            if end is not None:
                return end
        return None

    def go_on(self, insn_limit: int = NO_LIMIT, vcpu: int | None = None) -> tuple[int, str] | None:
        """One turn, or the part of one up to the limit or a trap; how the run ended, if it did.

        The limit is an index of all vCPUs together, or one vCPU's own.
        """
        return self._turn(vcpu, insn_limit)

    @property
    def open_vcpu(self) -> int | None:
        """The vCPU whose turn an exact stop has interrupted; None between two turns."""
        return None if self._turn_open is None else self._turn_open[0]

    def turn(self) -> tuple[int, str] | None:
        """One turn of one vCPU with what its exit asks for, or a jump of the clock to the next event; how the run ended, if it did."""
        end = self._turn(None)
        while end is None and self._turn_open is not None:
            end = self._turn(None)
        return end

    def _turn(self, stop_vcpu: int | None = 0, insn_limit: int = NO_LIMIT) -> tuple[int, str] | None:
        """One run of one vCPU, and its exit served. `insn_limit` is of vCPU `stop_vcpu`; None: of all together."""
        if self.journal is not None:
            self.journal.now()
        if self._turn_open is not None:  # what an exact stop interrupted goes on: no event, no decision in between
            number, limit = self._turn_open
            return self._run_vcpu(self.vcpus[number], limit, stop_vcpu, insn_limit)
        if self.powered_off:
            return self._ended()
        ready = self.core.ready(QUANTUM * CYC)
        if ready.n and ready.clock[0] > self.time_units:
            self.time_units = ready.clock[0]
        deadline = self._run_due()
        if self.max_cycles is not None and self.time_units >= self.max_cycles * CYC:
            return LIMIT, f"limit of {self.max_cycles} cycles reached"
        if self._ran_due:  # what was due may have woken or stopped some
            self.core.ready(QUANTUM * CYC)
        if not ready.n:
            return self._idle()
        self._idle_turns = 0
        place = 0  # by default it is the turn of the one that is furthest behind
        if ready.near > 1 and not self.choices.is_default:
            place = self.choices.choose("vcpu", ready.near, [ready.id[i] for i in range(ready.near)])
        limit = self._limit(ready.clock[place], ready.n, deadline)
        return self._run_vcpu(self.vcpus[ready.id[place]], limit, stop_vcpu, insn_limit)

    def _run_vcpu(self, vcpu: CoreVcpu, limit: int, stop_vcpu: int | None, insn_limit: int) -> tuple[int, str] | None:
        if insn_limit != NO_LIMIT and stop_vcpu is None:
            if len(self.vcpus) > 1:
                insn_limit += vcpu.insns - self.insns
        elif stop_vcpu != vcpu.id:
            insn_limit = NO_LIMIT
        fresh, self._turn_open = self._turn_open is None, None
        self._now_vcpu, self._running = vcpu.id, True
        try:
            if vcpu.id in self.requests and self._attend(vcpu):
                return None
            self._run_limit = limit
            if fresh and self.on_entry is not None:
                self.on_entry(vcpu)
                if not vcpu.runnable:
                    return None
            ex = vcpu.run(limit, insn_limit) if self.journal is None else self.journal.run(vcpu, limit, insn_limit)
            if (ex.kind is ExitKind.LIMIT and ex.nr) or ex.kind is ExitKind.DEBUG:
                self._turn_open = vcpu.id, limit
                return None
            end = self._serve(vcpu, ex)
            if ex.kind is ExitKind.STAGE2 and self.pager is None and end is None:
                self._turn_open = vcpu.id, limit  # as when C serves the fault: no event, no decision, the turn goes on
                return None
            if self.pager is not None and ex.kind not in (ExitKind.LIMIT, ExitKind.IRQ_WINDOW):
                self.pager.on_exit(vcpu)
        finally:
            self._running = False
        self.turns += 1
        if self.core.observe is not None:
            self.core.observe(Seen(What.TURN, vcpu.id, self.turns))
        if self.on_turn is not None:
            self.on_turn(self)
        if self.journal is not None:
            self.journal.now()
        return end

    def _attend(self, vcpu: CoreVcpu) -> bool:
        """Serve the request for a vCPU that is about to enter its guest. True: it does not go on yet."""
        if not vcpu.settled:
            return False
        self.requests.discard(vcpu.id)
        if self.pager is not None:
            self.pager.on_exit(vcpu)
        return not vcpu.runnable

    def _limit(self, now: int, ready: int, deadline: int | None) -> int:
        """End of a turn that begins at `now` (CYC) while so many vCPUs want to run."""
        turn = self.slice
        if ready > 1:
            turn = QUANTUM if self.choices.is_default else QUANTUM >> 2 * self.choices.choose("quantum", 4)
        limit = now + turn * CYC
        if deadline is not None:
            limit = min(limit, max(self.units(deadline), now + CYC if ready > 1 else 0))
        if self.max_cycles is not None:
            limit = min(limit, self.max_cycles * CYC)
        return limit

    def _serve(self, vcpu: CoreVcpu, ex: Exit) -> tuple[int, str] | None:
        kind = ex.kind
        if self.powered_off:
            return self._ended()
        if kind in (ExitKind.LIMIT, ExitKind.STOP):
            return None
        if kind == ExitKind.STAGE2:
            self._page_fault(vcpu, ex)
            return None
        if kind == ExitKind.IRQ_WINDOW:
            if self.pager is not None:
                self.pager.on_exit(vcpu)
            if not vcpu.event_pending and not vcpu.held:  # else it is offered again
                self.board.on_irq_window(vcpu)
            return None
        if kind == ExitKind.HCALL:
            return self._hcall(vcpu, ex)
        if kind == ExitKind.HALT:
            vcpu.parked = vcpu.irq_lines
            return None
        if kind == ExitKind.FATAL:
            return FAILED, f"guest died: {ex.why} (vCPU {vcpu.id}, pc {ex.pc:#x})"
        return HOST, f"engine failure: {ex.why} (exit {kind.name}, vCPU {vcpu.id}, pc {ex.pc:#x})"

    def _page_fault(self, vcpu: CoreVcpu, ex: Exit) -> None:
        if self.pager is None or not self.memory.in_store(ex.gpa):  # a store kept by Python comes here for want of a frame, too
            if not self.memory.serve(vcpu, ex.gpa):
                vcpu.memory_error(ex.gva, ex.gpa, ex.access)
            return
        if self.core.observe is not None:
            self.core.observe(Seen(What.FAULT, vcpu.id, ex.gpa, ex.gva, ex.access | ex.nr << 8))
        resolution = self.pager.on_fault(vcpu, ex)
        if resolution is Resolution.FATAL:
            vcpu.memory_error(ex.gva, ex.gpa, ex.access)
        elif resolution is Resolution.HALT:
            vcpu.host_halt()
        if self.core.observe is not None:
            self.core.observe(Seen(What.FAULT_DONE, vcpu.id, ex.gpa, ex.gva, _FATES[resolution]))

    def _hcall(self, vcpu: CoreVcpu, ex: Exit) -> tuple[int, str] | None:
        if self.core.observe is not None:
            self.core.observe(Seen(What.HCALL, vcpu.id, ex.nr))
        outcome = self.board.on_hcall(vcpu, ex.nr)
        if self.core.observe is not None:
            self.core.observe(Seen(What.HCALL_DONE, vcpu.id, ex.nr))
        if self.powered_off:
            return self._ended()
        if outcome is Outcome.HALT:
            vcpu.halted, vcpu.parked = True, 0
        elif outcome is Outcome.STOP:
            return FAILED, "the board stopped the run"
        return None

    def _idle(self) -> tuple[int, str] | None:
        """Nothing runnable: the clock jumps to the next event."""
        deadline = self._next_deadline()
        self._idle_turns += 1
        if deadline is None or self._idle_turns > IDLE_TURNS:
            why = "no event is due" if deadline is None else "events wake nobody (interrupts masked)"
            waiting = ", ".join(f"vCPU {v.id} at pc {v.pc:#x}" for v in self.vcpus if v.online)
            known = [text for facility in self.facilities.values() if (text := facility.stalled())]
            return STALLED, "; ".join([f"stalled: {why}, and {waiting or 'no vCPU'} waits for an interrupt", *known])
        target = self.units(deadline)
        if self.max_cycles is not None:
            target = min(target, self.max_cycles * CYC)
        self.time_units = max(self.time_units, target)
        for vcpu in self.vcpus:
            if vcpu.online:
                self._catch_up(vcpu)
        return None

    def _ended(self) -> tuple[int, str]:
        if not self.guest_status:
            return OK, "the guest powered off"
        return FAILED, f"the guest powered off with status {self.guest_status}"

    @property
    def power(self) -> tuple[bool, int | None]:
        """Whether the guest ended the run, and with which status."""
        return self.powered_off, self.guest_status

    @power.setter
    def power(self, state: tuple[bool, int | None]) -> None:
        self.powered_off, self.guest_status = state

    @property
    def only(self) -> int | None:
        """The only vCPU that runs, from the next turn on; None: all do."""
        running = [v.id for v in self.vcpus if not v.benched]
        return running[0] if len(running) < len(self.vcpus) else None

    @only.setter
    def only(self, number: int | None) -> None:
        for vcpu in self.vcpus:
            was, vcpu.benched = vcpu.benched, number is not None and vcpu.id != number
            if was and not vcpu.benched and vcpu.online:
                self._catch_up(vcpu)
        self.vcpus[self._now_vcpu].kick()

    def save_turn(self) -> list[Any]:
        """Where the run loop stands."""
        turn = None if self._turn_open is None else list(self._turn_open)
        return [self._idle_turns, self._now_vcpu, turn, sorted(self.requests), self.turns, [v.benched for v in self.vcpus]]

    def load_turn(self, state: list[Any]) -> None:
        self._idle_turns, self._now_vcpu, turn, requests, self.turns, benched = state
        for vcpu, value in zip(self.vcpus, benched, strict=True):
            vcpu.benched = bool(value)
        self.requests = set(requests)
        self._devices_moved = True
        self._turn_open = None if turn is None else (int(turn[0]), int(turn[1]))
        self._running = False

    def close(self) -> None:
        """Give the store back. The machine cannot run afterwards."""
        for facility in self.facilities.values():
            facility.close()
        self.memory.close()
