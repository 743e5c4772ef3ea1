# SPDX-License-Identifier: GPL-2.0-or-later
"""``registers``: values, bit-fields in words, and what the last move has changed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from vmemu.core import CoreVcpu
from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.registry import CommandError, command
from vmemu.isa.base import Register

#: Groups that are shown when nothing is asked for, and how many plain values stand on one line.
PLAIN, COLUMNS = "general", 4


def _known(debugger: Debugger) -> list[Register]:
    return list(debugger.machine.core.isa.registers)


def complete(debugger: Debugger, words: Sequence[str], word: str) -> list[str]:
    """Groups and registers."""
    return [n for n in ("all", "-o", "json", *_groups(debugger), *(r.name for r in _known(debugger))) if n.startswith(word)]


def _groups(debugger: Debugger) -> list[str]:
    return sorted({r.group for r in _known(debugger)})


def _wanted(debugger: Debugger, words: Sequence[str]) -> list[Register]:
    registers = _known(debugger)
    if not words:
        # what has fields says more than a number: control registers belong to the usual view
        return [r for r in registers if r.group == PLAIN or (r.format is not None and r.group in ("control", "system", "hypervisor"))]
    found: list[Register] = []
    for word in words:
        name = word.removeprefix("$")
        more = [r for r in registers if r.name == name] or [r for r in registers if name in ("all", r.group)]
        if not more:
            raise CommandError(f"no register and no group {word!r}; groups are {', '.join([*_groups(debugger), 'all'])}")
        found += more
    return found


@command("registers", "reg", "regs", topic="state", usage="registers [-o json] [GROUP|NAME ...]", complete=complete,
         example=("registers pstate", "pstate 0x600003c5 (M=EL1h, F, I, A, D, C, Z)"))
def show_registers(debugger: Debugger, text: str) -> None:
    """Registers of the selected vCPU and frame; those that the last move has changed are marked with *."""
    words = text.split()
    as_json = words[:2] == ["-o", "json"]
    wanted = _wanted(debugger, words[2:] if as_json else words)
    vcpu = debugger.vcpu
    values = {r.name: _value(debugger, vcpu, r.name) for r in wanted}
    if as_json:
        debugger.say(json.dumps({"vcpu": vcpu.id, "frame": debugger.frame, "registers": values}))
        return
    before = debugger.before.get(vcpu.id, {}) if not debugger.frame else {}
    plain: list[str] = []
    lost: list[str] = []
    for register in wanted:
        value = values[register.name]
        if value is None:
            lost.append(register.name)
            continue
        changed = register.name in before and before[register.name] != value
        if register.format is None and register.bits == 64:
            plain.append(_cell(debugger, register.name, value, changed))
            if len(plain) == COLUMNS:
                debugger.say("  ".join(plain))
                plain = []
            continue
        if plain:
            debugger.say("  ".join(plain))
            plain = []
        mark = debugger.style("*", "changed") if changed else " "
        debugger.say(f"{mark}{register.name:>10} {register.show(value)}")
    if plain:
        debugger.say("  ".join(plain))
    if lost:
        debugger.say(f"not kept over the call: {', '.join(lost)}")


def _cell(debugger: Debugger, name: str, value: int, changed: bool) -> str:
    mark, text = ("*" if changed else " "), f"{value:016x}"
    return f"{debugger.style(mark, 'changed') if changed else mark}{name:>10} {debugger.style(text, 'changed') if changed else text}"


def _value(debugger: Debugger, vcpu: CoreVcpu, name: str) -> int | None:
    """In the selected frame; None: what it was there is not known any more. System registers are the vCPU's."""
    frame = debugger.selected_frame()
    if frame is None:
        return vcpu.get(name)
    if name in ("pc", "rip"):
        return frame.pc
    if name in frame.registers:
        return frame.registers[name]
    numbered = re.fullmatch(r"[xr][0-9]+|r[a-ds][xpi]|r[ds]i|lr", name) is not None
    return None if numbered else vcpu.get(name)
