# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that look at memory and values, and write them."""

from __future__ import annotations

import re

from vmemu.core import PAGE_SIZE
from vmemu.debug.peek import number as number_of
from vmemu.debug.shell.code import instructions
from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.expr import Value
from vmemu.debug.shell.places import (
    PHYSICAL,
    VIRTUAL,
    Space,
    complete_symbols,
    evaluate,
    locals_of,
    note_away,
    parse,
    physical,
    read,
    scope,
)
from vmemu.debug.shell.registry import CommandError, UsageError, command
from vmemu.debug.shell.show import FORMATS, show

_SIZES = {"b": 1, "h": 2, "w": 4, "g": 8}
_MASK = (1 << 64) - 1
#: Most units that one command prints.
MOST = 4096


def _format(text: str, default: str) -> tuple[int, str, str, str]:
    """``/8gx REST`` -> (8, "x", "g", "REST")."""
    match = re.match(r"/([0-9]{0,5})([a-z]*)(?:\s+|$)", text)
    if match is None:
        return 1, default, "", text
    letter, size = default, ""
    for c in match[2]:
        if c in _SIZES and not (c == "b" and size):
            size = c
        elif c in FORMATS + "is":
            letter = c
        else:
            raise UsageError(f"/{match[1]}{match[2]}: a count, then one of {FORMATS}is, then one of b h w g (1, 2, 4, 8 bytes)")
    count = int(match[1] or 1)
    if not 1 <= count <= MOST:
        raise UsageError(f"/{match[1]}: 1 to {MOST}")
    return count, letter, size, text[match.end() :]


@command("x", "examine", topic="state", usage="x[/COUNT FORMAT SIZE] ADDRESS", complete=complete_symbols, steps=True,
         example=("x/4gx p:0x1000", "four doublewords of guest-physical memory; x/s task 3:0x10001000 a string of task 3"))
def examine(debugger: Debugger, text: str) -> None:
    """Memory as x, d, u, o, t, c, a (number and symbol), s (string), i (instructions); SIZE is b, h, w or g.

    ADDRESS: an expression, as the selected vCPU translates it; p:ADDRESS guest-physical; task N:ADDRESS of another task. A page that
    is away is read in the store: looking pages nothing in and sets no bit.
    """
    count, letter, size, rest = _format(text, debugger.last_format[0])
    if rest:
        space, value = parse(debugger, rest)
        # a variable is looked at where it lies; a pointer, a register or a number says where
        in_memory = value.address is not None and (value.type is None or value.type.kind not in ("pointer", "uint", "int"))
        address = value.address if in_memory and value.address is not None else value.number
    elif debugger.next_address is not None:
        space, address = debugger.next_space, debugger.next_address
    else:
        raise UsageError("x: an address is missing (help x)")
    address &= _MASK
    size = size or debugger.last_format[1]
    if letter == "i":
        after = _code(debugger, space, address, count)
    elif letter == "s":
        after = _strings(debugger, space, address, count)
    else:
        after = _units(debugger, space, address, count, letter, size)
        debugger.last_format = letter, size
    debugger.next_address, debugger.next_space = after, space


def _code(debugger: Debugger, space: Space, address: int, count: int) -> int:
    after = address
    for at, raw, words in instructions(debugger, address, count, space):
        mark = debugger.style("=>", "mark") if at == debugger.pc and space == VIRTUAL else "  "
        debugger.say(f"{mark} {space.prefix()}{at:#x} <{debugger.symbols.name(at)}>: {words}")
        after = at + len(raw)
    return after


def _strings(debugger: Debugger, space: Space, address: int, count: int) -> int:
    for _ in range(count):
        raw = b""
        while b"\0" not in raw and len(raw) < PAGE_SIZE:
            raw += read(debugger, space, address + len(raw), 1)
        text = raw.split(b"\0")[0].decode("latin-1")
        shown = "".join(c if 32 <= ord(c) < 127 and c not in '"\\' else f"\\x{ord(c):02x}" for c in text)
        debugger.say(f'{space.prefix()}{address:#x}: "{shown}"')
        address += len(text) + 1
    return address


def _units(debugger: Debugger, space: Space, address: int, count: int, letter: str, size: str) -> int:
    step = _SIZES[size]
    a_line = 1 if letter == "a" else 8 if letter == "c" else 16 // step if step < 8 else 2
    noted = -1
    for first in range(0, count, a_line):
        at = address + first * step & _MASK
        units = min(a_line, count - first)
        raw = read(debugger, space, at, units * step)
        if at // PAGE_SIZE != noted:
            noted = at // PAGE_SIZE
            if remark := note_away(debugger, space, at):
                debugger.say(debugger.style(remark, "dim"))
        values = [number_of(debugger.machine, raw[i * step : (i + 1) * step]) for i in range(units)]
        words = [f"{v:0{2 * step}x}" if letter == "x" else _shown(debugger, v, step, letter) for v in values]
        name = debugger.symbols.name(at) if space == VIRTUAL else ""
        label = f" <{name}>" if name and not name.startswith("0x") else ""
        debugger.say(f"{space.prefix()}{at:#x}{label}: {'  '.join(words)}")
    return address + count * step & _MASK


def _shown(debugger: Debugger, value: int, step: int, letter: str) -> str:
    if letter == "a":
        name = debugger.symbols.name(value)
        return f"{value:#x}" + ("" if name.startswith("0x") else f" <{name}>")
    if letter == "d" and value >> 8 * step - 1:
        return str(value - (1 << 8 * step))
    if letter == "c":
        return repr(chr(value & 255))
    return f"{value:#o}" if letter == "o" else f"{value:0{8 * step}b}" if letter == "t" else str(value)


@command("print", "p", topic="state", usage="print[/FORMAT] EXPRESSION", complete=complete_symbols,
         example=("print cpus[$vcpu].task->mm->regions[0]", "a struct, through pointers; print/x $pstate & 0xf a number"))
def print_(debugger: Debugger, text: str) -> None:
    """The value of an expression in the manner of C, over symbols, struct members, registers ($rax) and memory.

    Casts are (struct task *)X, addresses &X, `module:name` chooses an image. $pc $sp $task $vcpu $insns $time are the shell's own.
    """
    _, letter, _, rest = _format(text, "")
    if not rest:
        raise UsageError("print: an expression is missing")
    space, value = parse(debugger, rest) if re.match(r"(p|phys|physical|task\s+[0-9]+)\s*:", rest) else (VIRTUAL, evaluate(debugger, rest))
    debugger.say(value_text(debugger, value, space, "" if letter in "is" else letter))


def value_text(debugger: Debugger, value: Value, space: Space = VIRTUAL, letter: str = "") -> str:
    """A value of an expression."""
    raw = None
    if value.type is not None and (value.type.composite or value.type.kind == "array") and value.address is not None:
        raw = scope(debugger, space).read(value.address, value.type.size)
    if value.type is None and value.address is None and not letter:
        return _number(debugger, value.number)
    return show(debugger.symbols, value.type, value.number, raw, letter)


def _number(debugger: Debugger, number: int) -> str:
    """A number without a type: decimal and hexadecimal, and the symbol that it may be the address of."""
    text = str(number) if -10 < number < 10 else f"{number} = {number:#x}"
    name = debugger.symbols.name(number & _MASK) if number > 4096 else "0x"
    return text if name.startswith("0x") else f"{number:#x} <{name}>"


@command("locals", topic="state", example=("locals", "arguments and local variables of the selected frame, as far as they are kept"))
def locals_(debugger: Debugger, text: str) -> None:
    """Arguments and local variables of the selected frame."""
    found = locals_of(debugger, debugger.vcpu)
    for name, (_, place) in found.items():
        shown = "(kept nowhere now)" if place is None else value_text(debugger, evaluate(debugger, name))
        debugger.say(f"{name} = {shown}")
    if not found:
        debugger.say(f"none are known for {debugger.place(debugger.pc)}")


@command("write", topic="intervene", usage="write[/SIZE] ADDRESS = VALUE ...", complete=complete_symbols,
         example=("write/w p:0x1000 = 1 2", "two words of guest-physical memory; write tasks[2].killed = 9 a member"))
def write(debugger: Debugger, text: str) -> None:
    """Write memory: a variable, a member, or numbers from an address on. Recorded as an intervention."""
    _, _, size, rest = _format(text, "x")
    match = re.fullmatch(r"(.+?)\s*(?<![=!<>])=(?!=)\s*(.+)", rest)
    if match is None:
        words = rest.split()
        if len(words) == 2 and re.fullmatch(r"(?:[0-9a-fA-F]{2})+", words[1]) and not size:
            debugger.say(debugger.session.command(f"write {words[0]} {words[1]}"))  # the machine's own form: GPA HEX
            return
        raise UsageError("write ADDRESS = VALUE ... (help write)")
    space, value = parse(debugger, match[1])
    known = value.type is not None and not value.type.composite and value.type.kind != "array" and value.address is not None
    step = _SIZES[size] if size else value.type.size if known and value.type is not None else 8
    address = (value.address if value.address is not None else value.number) & _MASK
    numbers = [evaluate(debugger, word).number for word in (match[2].split() if size or space == PHYSICAL or not known else [match[2]])]
    big = debugger.machine.core.isa.big_endian
    data = b"".join((n & (1 << 8 * step) - 1).to_bytes(step, "big" if big else "little") for n in numbers)
    gpa = physical(debugger, space, address)
    if gpa % PAGE_SIZE + len(data) > PAGE_SIZE:
        raise CommandError("these bytes lie in two pages: write each part")
    debugger.say(debugger.session.command(f"write {gpa:#x} {data.hex()}"))


@command("set", topic="intervene", usage="set $REGISTER = VALUE", example=("set $x0 = 5", "a register of the selected vCPU"),
         complete=complete_symbols)
def set_register(debugger: Debugger, text: str) -> None:
    """Write a register of the selected vCPU; for memory: `write`. Recorded as an intervention."""
    match = re.fullmatch(r"\$?(\w+)\s*=\s*(.+)", text)
    if match is None:
        raise UsageError("set $REGISTER = VALUE")
    if debugger.frame:
        raise CommandError("registers are written where the vCPU stands: `frame 0` first")
    known = {r.name for r in debugger.machine.core.isa.registers}
    name = {"pc": "rip"}.get(match[1], match[1]) if debugger.isa == "x86_64" else match[1]
    if name not in known:
        raise CommandError(f"no register ${match[1]}")
    debugger.say(debugger.session.command(f"reg {debugger.vcpu.id} {name} {evaluate(debugger, match[2]).number & _MASK:#x}"))


@command("assert", topic="shell", usage="assert EXPRESSION", complete=complete_symbols,
         example=("assert tasks[1].state != 4", "a script ends with status 1 when it is not so"))
def assert_(debugger: Debugger, text: str) -> None:
    """Fail if an expression is zero: for scripts."""
    if not evaluate(debugger, text).number:
        raise CommandError(f"assert {text}: it is not so")


