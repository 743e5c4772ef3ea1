# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that look at code: disassembly, source, backtraces, symbols."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from vmemu.debug import tasks as guest_tasks
from vmemu.debug.peek import Unreadable
from vmemu.debug.shell.debugger import Debugger, disassembler
from vmemu.debug.shell.places import VIRTUAL, Space, complete_symbols, evaluate, location, parse, read
from vmemu.debug.shell.registry import CommandError, UsageError, command
from vmemu.debug.unwind import Frame, backtrace, task_backtrace
from vmemu.errors import VmemuError

AROUND = 10
#: Longest instruction in bytes.
LONGEST = {"x86_64": 15, "arm64": 4, "ppc64": 4}
_MASK = (1 << 64) - 1


def instructions(debugger: Debugger, address: int, count: int, space: Space = VIRTUAL) -> Iterator[tuple[int, bytes, str]]:
    """(address, bytes, text) of `count` instructions; those that are none show as bytes. Raises Unreadable at the first hole."""
    most = LONGEST[debugger.isa]
    mode = disassembler(debugger.isa, debugger.long_mode)
    for _ in range(count):
        raw = b""
        for size in range(most, 0, -1) if most > 4 else (4,):
            try:
                raw = read(debugger, space, address, size)
                break
            except Unreadable:
                if size == 1 or most == 4:
                    raise
        found = next(mode.disasm(raw, address, 1), None)
        if found is None:
            step = 1 if most > 4 else 4
            yield address, raw[:step], f"(no instruction) {raw[:step].hex()}"
        else:
            step = found.size
            yield address, raw[:step], _with_symbols(debugger, found.mnemonic, found.op_str)
        address = address + step & _MASK


def _with_symbols(debugger: Debugger, mnemonic: str, operands: str) -> str:
    """An instruction; the target of a branch gets its name."""
    text = f"{mnemonic} {operands}".rstrip()
    last = operands.replace("#", "").split(",")[-1].strip()
    if mnemonic[:1] in ("b", "c", "j", "t") and last.startswith("0x"):
        name = debugger.symbols.name(int(last, 16))
        if not name.startswith("0x"):
            text += f" <{debugger.style(name, 'name')}>"
    return text


def show_here(debugger: Debugger) -> None:
    """The line of source that comes next, else the instruction."""
    line = debugger.symbols.line(debugger.pc)
    lines = None if line is None else debugger.symbols.source(line.file)
    if line is not None and lines is not None and 0 < line.line <= len(lines):
        debugger.say(f"{line.line:>5}  {lines[line.line - 1]}")
        return
    try:
        for _, _, text in instructions(debugger, debugger.pc, 1):
            debugger.say(f"       {text}")
    except VmemuError as error:
        debugger.say(f"       ({error})")


def show_error(debugger: Debugger, error: BaseException) -> None:
    """Where the host's own code has failed: the last lines of its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in frames[-4:]:
        debugger.say(f"    {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}")
    debugger.say(debugger.style(f"    {type(error).__name__}: {error}", "error"))
    debugger.say("    The machine stands at the last instant before it. Edit the file, then `retry` handles the same event again.")


def span(debugger: Debugger, text: str) -> tuple[Space, int, int]:
    """``[PLACE] [COUNT]`` of disassemble and list."""
    words = text.rsplit(None, 1)
    count = AROUND
    if len(words) == 2 and words[1].isdigit():
        text, count = words[0], int(words[1])
    elif text.isdigit() and int(text) < 4096:
        text, count = "", int(text)
    if not text:
        frame = debugger.selected_frame()
        return VIRTUAL, debugger.pc if frame is None else frame.pc, count
    try:
        return VIRTUAL, location(debugger, text)[0], count
    except UsageError:
        space, value = parse(debugger, text)
        return space, value.number, count


@command("disassemble", "disas", "dis", topic="state", usage="disassemble [PLACE] [COUNT]", complete=complete_symbols,
         example=("disassemble vm_fault 6", "six instructions of that function, with lines of source between them"))
def disassemble(debugger: Debugger, text: str) -> None:
    """Instructions around the PC, or from a place on; with source where it is known. `=>` marks the PC."""
    space, address, count = span(debugger, text)
    start = _before(debugger, address, count // 2) if not text or text.isdigit() else address
    shown = None
    for at, raw, words in instructions(debugger, start, count, space):
        line = debugger.symbols.line(at)
        if line is not None and (line.file, line.line) != shown:
            shown = (line.file, line.line)
            source = debugger.symbols.source(line.file)
            words_of = source[line.line - 1].strip() if source and line.line <= len(source) else ""
            debugger.say(debugger.style(f"{line}: {words_of}", "dim"))
        mark = debugger.style("=>", "mark") if at == debugger.pc else "  "
        debugger.say(f"{mark} {at:#x} {'<' + debugger.symbols.name(at) + '>':<24} {raw.hex():<16} {words}")


def _before(debugger: Debugger, address: int, count: int) -> int:
    """Where to begin for `count` instructions before an address: at its function's start when instructions differ in size."""
    symbol = debugger.symbols.at(address)
    if symbol is None or not symbol.address <= address < symbol.address + max(symbol.size, 1):
        return address
    if LONGEST[debugger.isa] == 4:
        return max(symbol.address, address - 4 * count)
    starts: list[int] = []
    try:
        for at, _, _ in instructions(debugger, symbol.address, address - symbol.address):
            if at >= address:
                return starts[-count] if len(starts) >= count and at == address else symbol.address if at == address else address
            starts.append(at)
    except VmemuError:
        pass
    return address


@command("list", "l", topic="state", usage="list [PLACE] [COUNT]", example=("list vm_fault", "the source of that function's beginning"),
         complete=complete_symbols, steps=True)
def list_source(debugger: Debugger, text: str) -> None:
    """Source around the PC, or around a place; again, what comes after it."""
    if not text and debugger.next_line is not None:
        file, first = debugger.next_line
        count, mark = AROUND, 0
    else:
        _, address, count = span(debugger, text)
        line = debugger.symbols.line(address)
        if line is None:
            raise CommandError(f"no line of source is known for {debugger.place(address)}")
        file, first, mark = line.file, max(1, line.line - count // 2), line.line
    lines = debugger.symbols.source(file)
    if lines is None:
        raise CommandError(f"{file} is not at hand: run in a checkout of the repository")
    for number in range(first, min(first + count, len(lines) + 1)):
        arrow = debugger.style("=>", "mark") if number == mark else "  "
        debugger.say(f"{arrow} {number:>5}  {lines[number - 1]}")
    debugger.next_line = (file, first + count)


@command("where", "bt", "backtrace", topic="state", usage="where [task N]",
         example=("where", "from the kernel's fault handler through the trap into the program"))
def where(debugger: Debugger, text: str) -> None:
    """Backtrace of the selected vCPU, or of a task that runs nowhere: through traps into what they interrupted."""
    words = text.split()
    if words[:1] == ["task"] and len(words) == 2:
        task = guest_tasks.find(debugger.machine, debugger.number(words[1], "task"))
        if task.cpu is not None:
            frames, marked = backtrace(debugger.machine, debugger.machine.vcpus[task.cpu]), -1
        else:
            frames, marked = task_backtrace(debugger.machine, task), -1
            if not frames:
                raise CommandError(f"task {task.number} is {task.state}: it has no stack to look at")
    elif words:
        raise UsageError("where [task N]")
    else:
        frames, marked = backtrace(debugger.machine, debugger.vcpu), debugger.frame
    for number, frame in enumerate(frames):
        show_frame(debugger, number, frame, number == marked)


def show_frame(debugger: Debugger, number: int, frame: Frame, marked: bool = False) -> None:
    """One line; a trap says so."""
    name, line = debugger.symbols.name(frame.look()).partition("+")[0], debugger.symbols.line(frame.look())
    if frame.kind == "trap":
        debugger.say(debugger.style(f"    -- trap from {'user' if frame.user else 'kernel'} mode --", "dim"))
    if frame.kind.startswith("event"):
        text = f"    -- firmware's {frame.kind} (SDEI) interrupted {'user' if frame.user else 'kernel'} mode --"
        debugger.say(debugger.style(text, "dim"))
    head = f"{'*' if marked else ' '}#{number:<2} {frame.pc:#018x} {debugger.style(name, 'name')}"
    debugger.say(head + ("" if line is None else f" at {line}"))


@command("frame", "f", topic="state", usage="frame [N]", example=("frame 2", "registers, list and expressions look at the second caller"))
def frame_(debugger: Debugger, text: str) -> None:
    """Choose a frame of `where`; 0 is where the vCPU stands."""
    frames = backtrace(debugger.machine, debugger.vcpu)
    if text:
        if not text.isdigit() or int(text) >= len(frames):
            raise CommandError(f"frame {text}: there are 0 to {len(frames) - 1}")
        debugger.frame = int(text)
        debugger.next_line = None
    show_frame(debugger, debugger.frame, frames[min(debugger.frame, len(frames) - 1)])


@command("up", topic="state", example=("up", "the caller's frame"), steps=True)
def up(debugger: Debugger, text: str) -> None:
    """Choose the caller's frame."""
    frame_(debugger, str(debugger.frame + debugger.number(text, "count", 1)))


@command("down", topic="state", example=("down", "back towards where the vCPU stands"), steps=True)
def down(debugger: Debugger, text: str) -> None:
    """Choose the frame that this one has called."""
    frame_(debugger, str(max(0, debugger.frame - debugger.number(text, "count", 1))))


@command("symbol", topic="state", usage="symbol NAME|ADDRESS", complete=complete_symbols,
         example=("symbol 0xffff000040085284", "which function that is, and which line"))
def symbol_(debugger: Debugger, text: str) -> None:
    """What lies at an address, or where a name lies."""
    if not text:
        raise UsageError("symbol NAME|ADDRESS")
    found = debugger.symbols.find(text)
    if found is not None:
        size = f", {found.size} bytes" if found.size else ""
        line = debugger.symbols.line(found.address) if found.kind == "func" else None
        debugger.say(f"{text}: {found.kind} of the {found.module} at {found.address:#x}{size}" + ("" if line is None else f", {line}"))
    else:
        debugger.say(debugger.place(evaluate(debugger, text).number & _MASK))
