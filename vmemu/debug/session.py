# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine under a debugger: forwards, backwards, and changed by hand. Knows no terminal and no socket.

Going forwards runs the machine from snapshot to snapshot of its timeline; going backwards restores one and runs the rest again. What
was done to the machine on the way (commands, console input) is in its journal and is done again at its instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vmemu.core.observe import Seen, What
from vmemu.debug import reload
from vmemu.debug.stops import Breakpoint, Condition, Stop, Watchpoint
from vmemu.errors import ConfigError
from vmemu.machine import control, snapshot
from vmemu.machine.history import History
from vmemu.machine.journal import Journal
from vmemu.machine.result import RunResult, make_result
from vmemu.machine.timeline import first_instant
from vmemu.machine.traps import ACCESS, Trap

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine
    from vmemu.machine.recording import Recorder

__all__ = ["Breakpoint", "Session", "Stop", "Watchpoint"]

#: Host seconds between automatic snapshots. Each costs the run about 1 ms; going back re-runs about this much.
PACE = 0.06
#: What a search backwards looks for.
_FOUND = ("break", "watch", "event")

Match = Callable[[Seen], bool]


def event_text(seen: Seen) -> str:
    """An event in two words."""
    if seen.what is not What.NOTE:
        return seen.what.name.lower()
    return seen.data.decode() + (f" {seen.a & (1 << 64) - 1:#x}" if seen.a else "")


class Session:
    """Every move returns a `Stop`. ConfigError: the call makes no sense, and nothing has happened.

    A replay (recording.Replay) must be `quiet` before its machine comes here.
    """

    def __init__(self, machine: Machine, recorder: Recorder | None = None) -> None:
        """Switches time travel on: nothing before this instant can be reached."""
        self.machine = machine
        self.recorder = recorder
        self.journal = Journal(machine) if machine.journal is None else machine.journal
        self.vcpu = 0
        self.breakpoints: dict[int, Breakpoint] = {}
        self.watchpoints: dict[int, Watchpoint] = {}
        self.timeline = machine.travel(pace=PACE)
        History.of(machine)  # for people: what has happened, from here on
        self._next_id = 1
        self._interrupted = False
        self._seen: Seen | None = None

    # ------------------------------------------------------- where to stop
    def add_break(
        self, address: int, vcpu: int | None = None, condition: Condition | None = None, temporary: bool = False, text: str = ""
    ) -> Breakpoint:
        """Stop before the instruction at guest-virtual `address`. Raises ConfigError."""
        if vcpu is not None:
            self._check_vcpu(vcpu)
        self.machine.traps.add_break(address)
        point = Breakpoint(self._next_id, address, vcpu, condition, text, temporary=temporary)
        self._next_id += 1
        self.breakpoints[point.id] = point
        return point

    def add_watch(self, gpa: int, size: int, access: str = "w", text: str = "") -> Watchpoint:
        """Stop at accesses to guest-physical bytes. Raises ConfigError when they are not RAM."""
        self.machine.traps.add_watch(gpa, size, access)
        point = Watchpoint(self._next_id, gpa, size, access, text)
        self._next_id += 1
        self.watchpoints[point.id] = point
        return point

    def remove(self, number: int) -> None:
        """Forget a breakpoint or watchpoint. Raises ConfigError when there is none of that number."""
        if number in self.breakpoints:
            self.machine.traps.remove_break(self.breakpoints.pop(number).address)
        elif number in self.watchpoints:
            gone = self.watchpoints.pop(number)
            self.machine.traps.remove_watch(gone.gpa, gone.size, gone.access)
        else:
            raise ConfigError(f"no breakpoint or watchpoint {number}")

    def _check_vcpu(self, number: int) -> None:
        if not 0 <= number < len(self.machine.vcpus):
            raise ConfigError(f"no vCPU {number}: there are {len(self.machine.vcpus)}")

    # ------------------------------------------------------------ forwards
    def cont(self, limit: int | None = None) -> Stop:
        """Run to the next trap, the end of the run, `interrupt`, or instruction index `limit`."""
        return self._move(lambda: self._forward(limit))

    def stepi(self, n: int = 1, vcpu: int | None = None) -> Stop:
        """n instructions of one vCPU (None: the selected one); others may run meanwhile, as the schedule says."""
        number = self.vcpu if vcpu is None else vcpu
        self._check_vcpu(number)
        if not self.machine.vcpus[number].online:
            raise ConfigError(f"vCPU {number} is offline")
        target = self.machine.vcpus[number].insns + n
        return self._move(lambda: self._forward(own=(number, target)))

    def until(self, holds: Callable[[Machine], bool]) -> Stop:
        """To the first instant at which a condition holds that stays true once it is; breakpoints are passed."""
        return self._move(lambda: self._until(holds))

    def until_event(self, match: Match) -> Stop:
        """Until the machine has told of an event that matches (core.observe), and as soon after it as possible, or the next trap."""

        def move() -> Stop:
            with self._events(match):
                return self._forward()

        return self._move(move)

    def interrupt(self) -> None:
        """From a signal handler or another thread: the move that is under way ends soon, or the next one at once."""
        self._interrupted = True

    def forget_interrupt(self) -> None:
        """Nobody waits for the move any more that was to be interrupted."""
        self._interrupted = False

    # ----------------------------------------------------------- backwards
    def goto(self, index: int) -> Stop:
        """To exactly instruction `index` of all vCPUs together, past any breakpoint. Raises ConfigError before the first instant."""
        first = self.timeline.marks[0].insns
        if index < first:
            raise ConfigError(f"instruction {index} is before {first}, where the session began")
        return self._move(lambda: self._goto(index))

    def back_stepi(self, n: int = 1, vcpu: int | None = None) -> Stop:
        """Back by n instructions of one vCPU, past any breakpoint."""
        number = self.vcpu if vcpu is None else vcpu
        self._check_vcpu(number)
        return self._move(lambda: self._back_to_own(number, self.machine.vcpus[number].insns - n))

    def back_cont(self) -> Stop:
        """Back to the last breakpoint or watchpoint that was hit before now."""
        return self._move(self._search_back)

    def back_event(self, match: Match) -> Stop:
        """Back to right behind the last matching event before now; breakpoints are passed."""

        def move() -> Stop:
            with self.machine.traps.off(), self._events(match):
                return self._search_back()

        return self._move(move)

    # ------------------------------------------------------- interventions
    def command(self, text: str) -> str:
        """Do a command of the machine's owner (machine.commands) here and now; its reply. Raises ConfigError, Refused.

        It is remembered, done again whenever this instant is passed again, and recorded; what lay in the future is no more.
        """
        if self._ended is not None:
            raise control.Refused("ESRCH: the run is over")
        try:
            return control.perform(self.machine, text)
        finally:
            self.machine.traps.taken()  # a watchpoint is not for what the debugger itself writes

    def retry(self, modules: Iterable[str]) -> Stop:
        """After "error": take over what was edited in these modules, and go on: the same event is handled again.

        Raises ConfigError when a module cannot be taken over; nothing has changed then.
        """
        reload.take_over(list(modules))
        return self.cont()

    def finish(self) -> RunResult | None:
        """The figures of a run that is over; None while it is not."""
        end = self._ended
        if end is None:
            return None
        machine = self.machine
        machine.console.flush()
        machine.time_units = max(machine.time_units, *(v.cycles for v in machine.vcpus))
        machine.result = make_result(machine, *end, machine.guest_status, 0.0)
        return machine.result

    # ------------------------------------------------------------- inside
    _ended: tuple[int, str] | None = None

    def _move(self, move: Callable[[], Stop]) -> Stop:
        self._ended = None
        for number in {self.vcpu, self.machine.open_vcpu}:
            if number is not None:
                self.machine.vcpus[number].pass_break()
        self.machine.traps.taken()  # what nobody waited for
        try:
            stop = move()
        except Exception as error:
            stop = self._failed(error)
        self._ended = stop.status
        self.vcpu = stop.vcpu
        self.machine.console.flush()
        return stop

    def _stop(self, kind: str, text: str, *, vcpu: int | None = None, number: int | None = None, trap: Trap | None = None,
              status: tuple[int, str] | None = None, error: BaseException | None = None) -> Stop:
        machine = self.machine
        selected = self.vcpu if vcpu is None or vcpu < 0 else vcpu
        return Stop(kind, selected, machine.vcpus[selected].pc, machine.insns, machine.instant(), text, number, trap, status, error)

    def _end(self, end: tuple[int, str]) -> Stop:
        return self._stop("end", end[1], status=end)

    def _interrupt(self) -> Stop | None:
        if not self._interrupted:
            return None
        self._interrupted = False
        return self._stop("interrupt", f"interrupted at instruction {self.machine.insns}")

    def _forward(self, limit: int | None = None, own: tuple[int, int] | None = None, count: bool = True) -> Stop:
        """To a trap, an event, `limit`, or `own` = (vCPU, its instruction index), whatever comes first."""
        machine, timeline = self.machine, self.timeline
        target = None if own is None else machine.vcpus[own[0]]
        while True:
            if own is not None and target is not None and target.insns >= own[1]:
                return self._stop("step", f"instruction {machine.insns}", vcpu=own[0])
            if limit is not None and machine.insns >= limit:
                return self._stop("limit", f"instruction {machine.insns}")
            if self._interrupted and (stop := self._interrupt()) is not None:
                return stop
            due = timeline.due()
            if own is not None:
                end = machine.go_on(own[1], own[0])
            else:
                end = machine.go_on(due if limit is None else min(due, limit))
            trap = machine.traps.taken()
            if self._seen is not None:
                seen, self._seen = self._seen, None
                return self._stop("event", event_text(seen), vcpu=seen.vcpu, trap=trap)
            if trap is not None and (found := self._decide(trap, count)) is not None:
                return found
            if end is not None:
                return self._end(end)

    def _decide(self, trap: Trap, count: bool) -> Stop | None:
        """Is this trap one of ours?"""
        point: Breakpoint | Watchpoint | None = None
        if trap.kind == "break":
            point = next((p for p in self.breakpoints.values() if p.enabled and p.address == trap.pc and self._holds(p, trap)), None)
        elif trap.kind == "watch":
            point = next((p for p in self.watchpoints.values() if p.enabled and ACCESS[p.access] & ACCESS[trap.access]
                          and trap.gpa < p.gpa + p.size and p.gpa < trap.gpa + trap.size), None)
        if point is None:
            return None
        point.hits += count
        if isinstance(point, Breakpoint):
            stop = self._stop("break", f"breakpoint {point.id}" + (f", {point.text}" if point.text else ""),
                              vcpu=trap.vcpu, number=point.id, trap=trap)
            if point.temporary and count:
                self.remove(point.id)
            return stop
        what = {"r": "read", "w": "write"}[trap.access]
        by = " by the host" if trap.by_host else ""
        text = f"watchpoint {point.id}{', ' if point.text else ''}{point.text}: {what} of {trap.size} bytes at {trap.gpa:#x}{by}"
        return self._stop("watch", text, vcpu=trap.vcpu, number=point.id, trap=trap)

    def _holds(self, point: Breakpoint, trap: Trap) -> bool:
        if point.vcpu is not None and point.vcpu != trap.vcpu:
            return False
        if point.condition is None:
            return True
        before, self.vcpu = self.vcpu, trap.vcpu  # a condition is about the vCPU that came there
        try:
            return point.condition(self)
        except ConfigError:  # it cannot be said here: that is worth a look
            return True
        finally:
            self.vcpu = before

    @contextmanager
    def _events(self, match: Match) -> Iterator[None]:
        """The run stops after an event that matches."""
        core, traps = self.machine.core, self.machine.traps
        before = core.observe

        def observe(seen: Seen) -> None:
            if before is not None:
                before(seen)
            if self._seen is None and match(seen):
                self._seen = seen
                traps.stop_soon()

        core.observe = observe
        try:
            yield
        finally:
            core.observe = before
            self._seen = None

    def _until(self, holds: Callable[[Machine], bool]) -> Stop:
        machine, timeline = self.machine, self.timeline
        with machine.traps.off():
            while not holds(machine):
                limit = timeline.due()
                end = first_instant(machine, lambda m: self._interrupted or holds(m), limit, timeline.spacing)
                if (stop := self._interrupt()) is not None:
                    return stop
                if end is not None:
                    return self._end(end)
        return self._stop("step", f"instruction {machine.insns}")

    # ------------------------------------------------------ backwards, inside
    def _goto(self, index: int) -> Stop:
        machine, timeline = self.machine, self.timeline
        with machine.traps.off():
            if index < machine.insns:
                timeline.back_to(index)
            while index - machine.insns > 2 * timeline.spacing:
                if (stop := self._interrupt()) is not None:
                    return stop
                end = machine.run_to(timeline.due())
                if end is not None:
                    return self._end(end)
            end = timeline.seek(index)
        return self._stop("step", f"instruction {index}") if end is None else self._end(end)

    def _back_to_own(self, number: int, target: int) -> Stop:
        """To where a vCPU had completed `target` instructions."""
        machine, timeline = self.machine, self.timeline
        vcpu = machine.vcpus[number]
        index = machine.insns - (vcpu.insns - target)  # at the latest: others may have run meanwhile
        with machine.traps.off():
            while vcpu.insns > target:
                if index < timeline.marks[0].insns:
                    return self._start()
                timeline.back_to(index)
                index = timeline.marks[-1].insns - 1
            if len(machine.vcpus) == 1:
                timeline.seek(target)  # leaves snapshots on the way: the next step back is quick
            while vcpu.insns < target:
                if (stop := self._interrupt()) is not None:
                    return stop
                machine.go_on(target, number)
        return self._stop("step", f"instruction {machine.insns}", vcpu=number)

    def _start(self) -> Stop:
        self.timeline.back_to(self.timeline.marks[0].insns)
        return self._stop("start", f"instruction {self.machine.insns}, where the session began")

    def _search_back(self) -> Stop:
        """The last hit before this instruction: stretch by stretch between snapshots, the youngest first."""
        machine, timeline = self.machine, self.timeline
        end = machine.insns
        while end > timeline.marks[0].insns:
            timeline.back_to(end - 1)
            mark, hits = timeline.marks[-1], 0
            while (stop := self._forward(end, count=False)).kind in _FOUND and machine.insns < end:
                hits += 1
            if stop.kind == "interrupt":
                return stop
            if hits:
                timeline.back_to(mark.insns)
                for _ in range(hits):
                    stop = self._forward(end, count=False)
                return stop
            end = mark.insns
        return self._start()

    def _failed(self, error: Exception) -> Stop:
        """The host's own code has failed amid something: back to the last instant before."""
        machine, timeline = self.machine, self.timeline
        index = max(machine.insns - 1, timeline.marks[0].insns)
        self._seen = None
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        with machine.traps.off():
            timeline.back_to(index)
            try:
                machine.run_to(index)
            except Exception:  # sooner than it failed before: stay where nothing was wrong yet
                snapshot.restore(machine, timeline.marks[-1])
        return self._stop("error", text, status=None, error=error)
