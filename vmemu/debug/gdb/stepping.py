# SPDX-License-Identifier: GPL-2.0-or-later
"""`step` and `next`: many instructions on gdb's behalf, over the traps that come between.

gdb steps a line of source by its range of addresses (vCont;r). A page fault or an interrupt amid the line would leave the range, and
gdb would stop in the vectors, or take the handler for something that never comes back. So the handler runs to its end, and the
line goes on where it was interrupted. A single instruction (`stepi`) does enter the handler.
"""

from __future__ import annotations

from vmemu.core import CoreVcpu
from vmemu.debug.gdb.target import Target
from vmemu.debug.session import Session, Stop
from vmemu.machine.view import read_physical

#: Counters of a vCPU that go up when it takes a trap.
_TRAPS = ("fault_guest", "fault_mem_error", "syscall", "exception", "irq")


def task_of(session: Session, vcpu: CoreVcpu) -> int | None:
    """Number of the guest task that it runs; None: the guest does not say."""
    machine = session.machine
    at, count = machine.core.tasks or (0, 0)
    if vcpu.id >= count:
        return None
    return int.from_bytes(read_physical(machine, at + 8 * vcpu.id, 8), "big" if machine.core.isa.big_endian else "little")


def step_range(session: Session, target: Target, vcpu: int, lo: int, hi: int) -> Stop:
    """Step a vCPU until its pc is outside [lo, hi): at least once."""
    while True:
        v = session.machine.vcpus[vcpu]
        pc, taken, user = v.pc, _traps(v), target.port.user(v)
        sp, task = target.sp(v), task_of(session, v)
        stop = session.stepi(1, vcpu)
        if stop.kind != "step":
            return stop
        if _traps(v) != taken or user > target.port.user(v):
            stop, back = _come_back(session, target, pc, sp, task)
            if not back:
                return stop
            vcpu = stop.vcpu  # the task may have moved
        if not lo <= session.machine.vcpus[vcpu].pc < hi:
            return stop


def _traps(vcpu: CoreVcpu) -> int:
    counters = vcpu.counters()
    return sum(counters[name] for name in _TRAPS)


def _come_back(session: Session, target: Target, pc: int, sp: int, task: int | None) -> tuple[Stop, bool]:
    """Run until whoever was interrupted at `pc` goes on: there, or behind a system call. False: something else came first."""

    def same(session: Session) -> bool:
        v = session.machine.vcpus[session.vcpu]
        return target.sp(v) == sp and task_of(session, v) == task

    ids = [session.add_break(address, condition=same).id for address in (pc, pc + target.port.call_size)]
    try:
        stop = session.cont()
    finally:
        for number in ids:
            session.remove(number)
    return stop, stop.kind == "break" and stop.break_id in ids
