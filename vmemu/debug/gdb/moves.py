# SPDX-License-Identifier: GPL-2.0-or-later
"""Moves of the machine, and what gdb is told when it stops (RSP E.3 "Stop Reply Packets").

Break and watch points belong to one client. gdb gives watched bytes by guest-virtual address, as the selected vCPU maps them at
that moment; the machine watches the guest-physical bytes behind.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace

from vmemu.core import PAGE_SIZE, CoreVcpu
from vmemu.debug.gdb.stepping import step_range
from vmemu.debug.gdb.target import Target
from vmemu.debug.session import Session, Stop
from vmemu.errors import VmemuError
from vmemu.machine.view import translate

#: Signals by gdb's numbers (include/gdb/signals.def).
SIGINT, SIGTRAP, SIGABRT = 2, 5, 6
#: Kinds of points by the digit of Z: the stop's reason, and the access that is watched.
BREAKS = {0: "swbreak", 1: "hwbreak"}
WATCHES = {2: ("watch", "w"), 3: ("rwatch", "r"), 4: ("awatch", "rw")}
#: So many points, and so many watched bytes in one, make sense.
MOST_POINTS, MOST_WATCHED = 1024, 1 << 16


class Refused(Exception):
    """The request cannot be done: the number is an errno."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True)
class Point:
    """What a Z packet has set. ids: the session's numbers for it."""

    kind: int
    address: int
    ids: tuple[int, ...]


class Moves:
    """Runs a session for one client."""

    def __init__(self, session: Session, target: Target, tell: Callable[[str], None]) -> None:
        self.session, self.target, self._tell = session, target, tell
        self._points: dict[tuple[int, int, int], Point] = {}
        #: What the next move forwards has come to already, if the machine is where it was then.
        self._late: Stop | None = None
        #: The host's write that the machine has stopped behind, and not moved since.
        self._written: Stop | None = None
        #: The last reply: what `?` asks for.
        self.last = b"T%02xthread:1;" % SIGTRAP

    # --------------------------------------------------------------- points
    def insert(self, kind: int, address: int, size: int, vcpu: CoreVcpu) -> None:
        """Z. Setting one twice is setting it once. Raises Refused."""
        if (kind, address, size) in self._points:
            return
        if len(self._points) >= MOST_POINTS:
            raise Refused(errno.ENOSPC)
        if kind in BREAKS:
            try:
                ids = [self.session.add_break(address).id]
            except VmemuError:  # no room for more
                raise Refused(errno.ENOSPC) from None
        else:
            ids = self._watch(address, size, WATCHES[kind][1], vcpu)
        self._points[kind, address, size] = Point(kind, address, tuple(ids))

    def _watch(self, address: int, size: int, access: str, vcpu: CoreVcpu) -> list[int]:
        """Page by page: pages that follow each other need not do so in guest-physical memory."""
        if not 1 <= size <= MOST_WATCHED:
            raise Refused(errno.EINVAL)
        ids: list[int] = []
        end = address + size
        while address < end:
            part = min(end - address, PAGE_SIZE - address % PAGE_SIZE)
            gpa = translate(self.session.machine, vcpu, address)
            try:
                if gpa is None:
                    raise Refused(errno.EFAULT)
                ids.append(self.session.add_watch(gpa, part, access).id)
            except (Refused, VmemuError) as error:
                for number in ids:
                    self.session.remove(number)
                raise error if isinstance(error, Refused) else Refused(errno.EFAULT) from None
            address += part
        return ids

    def remove(self, kind: int, address: int, size: int) -> None:
        """z. What is not there needs no removing."""
        point = self._points.pop((kind, address, size), None)
        for number in point.ids if point is not None else ():
            if number in self.session.breakpoints or number in self.session.watchpoints:  # `monitor delete` may have been first
                self.session.remove(number)

    def remove_all(self) -> None:
        for key in list(self._points):
            self.remove(*key)

    # ---------------------------------------------------------------- moves
    def forwards(self, vcpu: int | None, stretch: tuple[int, int] | None = None) -> bytes:
        """Continue; or one instruction of `vcpu`, and more of them while its pc is in [lo, hi). The stop reply."""
        return self._move(lambda: self._forwards(vcpu, stretch), True)

    def _forwards(self, vcpu: int | None, stretch: tuple[int, int] | None) -> Stop:
        late, written = self._late, self._written
        self._late = self._written = None
        if late is not None and late.insns == self.session.machine.insns:
            if late.kind != "step":
                return late
            if vcpu is not None:
                self._written = written  # still behind it
                return late
        if vcpu is None:
            return self.session.cont()
        return self.session.stepi(1, vcpu) if stretch is None else step_range(self.session, self.target, vcpu, *stretch)

    def backwards(self, vcpu: int | None) -> bytes:
        """Back to the last point; or back by one instruction of `vcpu`. The stop reply."""
        return self._move(lambda: self._backwards(vcpu), False)

    def _backwards(self, vcpu: int | None) -> Stop:
        written, self._written, self._late = self._written, None, None
        if vcpu is not None:
            return self.session.back_stepi(1, vcpu)
        if written is not None and written.insns == self.session.machine.insns and self._hit(written) is not None:
            return written  # on the way back, it is the first
        return self.session.back_cont()

    def _move(self, move: Callable[[], Stop], forwards: bool) -> bytes:
        try:
            stop = move()
            if stop.kind == "watch" and stop.trap is not None:
                self._as_expected(stop, stop.trap.by_host, forwards)
        except VmemuError as error:
            self._tell(f"vmemu: {error}\n")
            self.last = b"T%02xthread:%x;" % (SIGABRT, self.session.vcpu + 1)
            return self.last
        self.last = self._reply(stop)
        return self.last

    def _as_expected(self, stop: Stop, by_host: bool, forwards: bool) -> None:
        """Stand where gdb takes a vCPU to be that hit a watchpoint.

        x86: behind the access. Others: before it, whatever the direction, and gdb steps over it to see what has changed. The
        host's own writes lie between two instructions: there is nothing to step over, and to see them undone takes one more.
        """
        if by_host and not forwards:
            self.session.back_stepi(1, stop.vcpu)
        elif by_host:
            self._written = stop
            if not self.target.port.after_write:
                self._late = replace(stop, kind="step")
        elif not by_host and forwards == self.target.port.after_write:
            after = self.session.stepi(1, stop.vcpu)
            if after.kind != "step":
                self._late = after

    def _reply(self, stop: Stop) -> bytes:
        machine = self.session.machine
        vcpu = stop.vcpu if 0 <= stop.vcpu < len(machine.vcpus) else self.session.vcpu
        self.session.vcpu = vcpu
        signal, reason = SIGTRAP, b""
        if stop.kind == "interrupt":
            signal = SIGINT
        elif stop.kind in ("start", "end"):
            reason = b"replaylog:%s;" % (b"begin" if stop.kind == "start" else b"end")
        elif stop.kind == "error":
            signal = SIGABRT
        elif (point := self._hit(stop)) is not None:
            reason = self._reason(point, stop)
        if stop.kind in ("end", "error", "event"):
            self._tell(f"vmemu: {stop.text}\n")
        expedited = b"".join(
            b"%02x:%s;" % (number, self.target.read(machine.vcpus[vcpu], number).hex().encode())
            for number in (self.target.number[name] for name in self.target.port.expedited)
        )
        return b"T%02xthread:%x;%s%s" % (signal, vcpu + 1, reason, expedited)

    def _hit(self, stop: Stop) -> Point | None:
        """The client's point that a stop is about; None: it is about none, or one of the shell's.

        By place and not by number: gdb removes all points at each stop, and sets them again before it goes on.
        """
        for point in self._points.values():
            if point.kind in BREAKS and stop.kind == "break" and point.address == stop.pc:
                return point
            if point.kind in WATCHES and stop.kind == "watch" and stop.trap is not None:
                at, end = stop.trap.gpa, stop.trap.gpa + max(stop.trap.size, 1)
                if any(w.gpa < end and at < w.gpa + w.size for n in point.ids if (w := self.session.watchpoints.get(n)) is not None):
                    return point
        return None

    @staticmethod
    def _reason(point: Point, stop: Stop) -> bytes:
        if point.kind in BREAKS:
            return BREAKS[point.kind].encode() + b":;"
        va = stop.trap.va if stop.trap is not None and stop.trap.va else point.address
        return b"%s:%x;" % (WATCHES[point.kind][0].encode(), va)
