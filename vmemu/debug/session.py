# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine under a debugger: forwards, backwards, and changed by hand. Knows no terminal and no socket."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from vmemu.core.observe import Seen
from vmemu.debug.stops import Breakpoint, Condition, Stop, Watchpoint
from vmemu.errors import ConfigError
from vmemu.machine import control
from vmemu.machine.timeline import first_instant

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine
    from vmemu.machine.recording import Recorder

__all__ = ["Breakpoint", "Session", "Stop", "Watchpoint"]


class Session:
    """See docs of each method; every move returns a `Stop`. ConfigError: the call makes no sense, and nothing has happened."""

    def __init__(self, machine: Machine, recorder: Recorder | None = None) -> None:
        """Switches time travel on: nothing before this instant can be reached."""
        self.machine = machine
        self.recorder = recorder
        self.vcpu = 0
        self.breakpoints: dict[int, Breakpoint] = {}
        self.watchpoints: dict[int, Watchpoint] = {}
        self.timeline = machine.travel()
        self._next_id = 1
        self._interrupted = False

    # ------------------------------------------------------- where to stop
    def add_break(
        self, address: int, vcpu: int | None = None, condition: Condition | None = None, temporary: bool = False, text: str = ""
    ) -> Breakpoint:
        """Stop before the instruction at guest-virtual `address`."""
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

    # ------------------------------------------------------------ forwards
    def cont(self, limit: int | None = None) -> Stop:
        """Run to the next trap, the end of the run, `interrupt`, or instruction index `limit`."""
        while limit is None or self.machine.insns < limit:
            due = self.timeline.due()
            end = self.machine.run_to(due if limit is None else min(due, limit))
            if end is not None:
                return self._stop("end", end[1], status=end)
            if self._interrupted:
                self._interrupted = False
                return self._stop("interrupt", "interrupted")
        return self._stop("limit", f"instruction {limit}")

    def stepi(self, n: int = 1, vcpu: int | None = None) -> Stop:
        """n instructions of one vCPU (None: the selected one); others may run meanwhile, as the schedule says."""
        end = self.machine.step(n, self.vcpu if vcpu is None else vcpu)
        return self._stop("step", f"{n} instructions") if end is None else self._stop("end", end[1], status=end)

    def until(self, holds: Callable[[Machine], bool]) -> Stop:
        """To the first instant at which a condition holds that stays true once it is; breakpoints are passed."""
        end = first_instant(self.machine, holds)
        return self._stop("step", "the condition holds") if end is None else self._stop("end", end[1], status=end)

    def until_event(self, match: Callable[[Seen], bool]) -> Stop:
        """Until the machine has told of an event that matches (core.observe), and as soon after it as possible."""
        raise ConfigError("until_event is not here yet")

    def interrupt(self) -> None:
        """From a signal handler or another thread: the move that is under way ends soon."""
        self._interrupted = True

    # ----------------------------------------------------------- backwards
    def goto(self, index: int) -> Stop:
        """To exactly instruction `index` of all vCPUs together, past any breakpoint. Raises ConfigError before the first instant."""
        end = self.timeline.seek(index)
        return self._stop("step", f"instruction {index}") if end is None else self._stop("end", end[1], status=end)

    def back_stepi(self, n: int = 1, vcpu: int | None = None) -> Stop:
        """Back by n instructions of one vCPU."""
        return self.goto(max(self.machine.insns - n, self.timeline.marks[0].insns))

    def back_cont(self) -> Stop:
        """Back to the last breakpoint or watchpoint that was hit before now."""
        raise ConfigError("back_cont is not here yet")

    def back_event(self, match: Callable[[Seen], bool]) -> Stop:
        """Back to where the last matching event was told of."""
        raise ConfigError("back_event is not here yet")

    # ------------------------------------------------------- interventions
    def command(self, text: str) -> str:
        """Do a command of the machine's owner (machine.commands) here and now; its reply. Raises ConfigError, Refused.

        It is remembered, done again whenever this instant is passed again, and recorded; what lay in the future is no more.
        """
        return control.execute(self.machine, text)

    def retry(self, modules: Iterable[str]) -> Stop:
        """After "error": take over what was edited in these modules, and go on: the same event is handled again."""
        raise ConfigError("retry is not here yet")

    def _stop(self, kind: str, text: str, *, status: tuple[int, str] | None = None) -> Stop:
        machine = self.machine
        return Stop(kind, self.vcpu, machine.vcpus[self.vcpu].pc, machine.insns, machine.instant(), text, status=status)
