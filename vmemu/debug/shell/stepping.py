# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps by lines of source: into calls, over them, out of them. Interrupts and faults on the way are run through."""

from __future__ import annotations

from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.places import stack_register
from vmemu.debug.shell.registry import CommandError, command
from vmemu.debug.shell.running import move, run_to, show_stop
from vmemu.debug.tasks import running
from vmemu.debug.unwind import backtrace, in_user_mode

#: Instructions that one line may take before the shell asks for patience: a loop that ends is far below.
MOST = 200_000
#: Register with a function's result.
RESULT = {"x86_64": "rax", "arm64": "x0", "ppc64": "r3"}


class _Start:
    """Where a step begins: line, function, stack, mode and task."""

    def __init__(self, debugger: Debugger) -> None:
        self.pc = debugger.pc
        self.line = debugger.symbols.line(self.pc)
        self.function = debugger.symbols.at(self.pc)
        self.user = in_user_mode(debugger.machine, debugger.vcpu)
        self.sp = _sp(debugger)
        self.task = _task(debugger)

    def same_line(self, debugger: Debugger) -> bool:
        line = debugger.symbols.line(debugger.pc)
        return line is not None and self.line is not None and (line.file, line.line) == (self.line.file, self.line.line)


def _sp(debugger: Debugger) -> int:
    return debugger.vcpu.get(stack_register(debugger.isa, debugger.vcpu))


def _task(debugger: Debugger) -> int:
    return running(debugger.machine, debugger.vcpu.id)


def _line_step(debugger: Debugger, over: bool) -> None:
    start = _Start(debugger)
    if start.line is None:
        raise CommandError(f"no line of source is known for {debugger.place(start.pc)}: `stepi` steps instructions, `finish` leaves")
    for _ in range(MOST):
        before = debugger.pc
        size = debugger.instruction_size(before)
        stop = move(debugger, debugger.session.stepi, quiet=True)
        if stop.kind != "step":
            show_stop(debugger, stop)
            return
        if debugger.pc == before:  # a loop of one instruction, or it waits
            continue
        if debugger.pc != before + size:
            if _trapped(debugger, start):
                if not _through_trap(debugger, start, before, size):
                    return
            elif (over or debugger.symbols.line(debugger.pc) is None) and not _ran_call(debugger, start, before + size):
                return
        if not start.same_line(debugger) and debugger.symbols.line(debugger.pc) is not None:
            show_stop(debugger, debugger.plain(stop))
            return
    show_stop(debugger, stop)
    debugger.say(f"(still in one line after {MOST} instructions: `until` and `finish` are faster)")


def _trapped(debugger: Debugger, start: _Start) -> bool:
    """Has the last instruction gone to a vector of the kernel's?"""
    if start.user:
        return not in_user_mode(debugger.machine, debugger.vcpu)
    symbol = debugger.symbols.at(debugger.pc)
    return symbol is None or symbol.name in _VECTORS[debugger.isa]


_VECTORS = {"x86_64": ("trap_stubs",), "arm64": ("vectors",), "ppc64": ("KBASE", "kernel_start", "_start")}


def _through_trap(debugger: Debugger, start: _Start, before: int, size: int) -> bool:
    """Run until the interrupted code goes on: with the same instruction or the next one, in the same task or on the same stack."""

    def back(_: Debugger) -> bool:
        if start.user:
            return in_user_mode(debugger.machine, debugger.vcpu) and (not start.task or _task(debugger) == start.task)
        return abs(_sp(debugger) - start.sp) < 65536

    return run_to(debugger, [(before, back), (before + size, back)], quiet=True)


def _called(debugger: Debugger, start: _Start, back_to: int) -> bool:
    """Is this the first instruction of a function that returns to `back_to`?"""
    vcpu, isa = debugger.vcpu, debugger.isa
    if isa == "x86_64":
        raw = debugger.try_read(vcpu.get("rsp"), 8)
        return raw is not None and int.from_bytes(raw, "little") == back_to
    return vcpu.get("x30" if isa == "arm64" else "lr") == back_to and debugger.symbols.at(debugger.pc) is not start.function


def _ran_call(debugger: Debugger, start: _Start, back_to: int) -> bool:
    """Run a function that has just been called to its end. False: something else has stopped it."""
    return not _called(debugger, start, back_to) or _run_back(debugger, back_to, start)


def _run_back(debugger: Debugger, address: int, start: _Start) -> bool:
    sp = start.sp
    return run_to(debugger, [(address, lambda _: _sp(debugger) >= sp and (not start.task or _task(debugger) == start.task))], quiet=True)


@command("step", "s", topic="run", usage="step [N]", example=("step", "to the next line of source, into functions"), steps=True)
def step(debugger: Debugger, text: str) -> None:
    """Run to another line of source, into functions that have source. Interrupts and faults are run through: `stepi` enters them."""
    for _ in range(debugger.number(text, "count", 1)):
        _line_step(debugger, over=False)


@command("next", "n", topic="run", usage="next [N]", example=("next", "to the next line of source, over functions"), steps=True)
def next_(debugger: Debugger, text: str) -> None:
    """Run to another line of source of this function or of its caller. Breakpoints in what is called stop it."""
    for _ in range(debugger.number(text, "count", 1)):
        _line_step(debugger, over=True)


@command("finish", "fin", topic="run", example=("finish", "until the current function returns; prints what it returned"), steps=True)
def finish(debugger: Debugger, text: str) -> None:
    """Run until the selected frame's function returns to its caller, or a trap handler to what was interrupted."""
    frames = backtrace(debugger.machine, debugger.vcpu)
    if len(frames) <= debugger.frame + 1:
        raise CommandError("no caller is known for this frame")
    caller = frames[debugger.frame + 1]
    task = _task(debugger)
    stack = "sp" if debugger.isa == "arm64" else "rsp" if debugger.isa == "x86_64" else "r1"
    sp = caller.registers.get(stack, 0)

    def returned(_: Debugger) -> bool:
        same = not task or _task(debugger) == task
        return same and (caller.user == in_user_mode(debugger.machine, debugger.vcpu)) and _sp(debugger) >= sp

    if run_to(debugger, [(caller.pc, returned)]) and caller.kind == "return":
        value = debugger.vcpu.get(RESULT[debugger.isa])
        debugger.say(f"it returned {value:#x}" + (f" ({value})" if value < 1 << 20 else ""))
