# SPDX-License-Identifier: GPL-2.0-or-later
"""`explain`: the last exits in words. What happened, what the host did about it and why, and what the guest will do next."""

from __future__ import annotations

from vmemu.core import Stage2
from vmemu.core.observe import What
from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.protocol import history, named, us
from vmemu.debug.shell.registry import command
from vmemu.machine.history import Moment
from vmemu.machine.insight import ACCESSES, Insight, Rule, insights

#: Observations with which an exit begins; the others belong to the one before them.
BEGIN = frozenset({What.FAULT, What.HCALL, What.REG_READ, What.REG_WRITE, What.MMIO_WRITE, What.PASTE, What.COMMAND})
#: Things that the host does by itself begin something, too, when no exit is being served.
ALONE = frozenset({What.PAGE_IN, What.ONLINE})
ENDS = {
    What.FAULT: What.FAULT_DONE, What.HCALL: What.HCALL_DONE, What.REG_READ: What.REG_READ_DONE, What.REG_WRITE: What.REG_WRITE_DONE,
    What.PASTE: What.PASTE_DONE,
}  # fmt: skip


def exits(moments: list[Moment]) -> list[list[Moment]]:
    """Observations in groups: an exit with all that the host did for it, or one thing that the host did by itself."""
    groups: list[list[Moment]] = []
    end: What | None = None
    for moment in moments:
        what = moment.seen.what
        new_turn = bool(groups) and groups[-1][-1].turn != moment.turn
        if end is None and (what in BEGIN or what in ALONE or not groups or (what is What.HOST_WRITE and new_turn)):
            groups.append([])
            end = ENDS.get(what)
        elif end is not None and what is end:
            end = None
        groups[-1].append(moment)
    return groups


def general(debugger: Debugger, moment: Moment) -> Rule | None:
    """An observation in the machine's own words."""
    seen, machine = moment.seen, debugger.machine
    who = f"vCPU {seen.vcpu}" + (f", task {moment.task}" if moment.task else "")
    match seen.what:
        case What.FAULT:
            bits = Stage2(seen.c >> 8)
            more = ", while an exception is entered" * bool(bits & Stage2.ENTERING) + ", again" * bool(bits & Stage2.REPEATED)
            return Rule(f"{who}: {ACCESSES[seen.c & 3]} at {named(debugger, seen.b)}{more}: page {seen.a & ~0xFFF:#x} is in the store")
        case What.REG_WRITE | What.REG_READ:
            register = machine.board.registers.get(seen.a)
            name = f"{seen.a:#x}" if register is None else register.name
            return Rule(f"{who} {'writes' if seen.what is What.REG_WRITE else 'reads'} system register {name}"
                        + (f" = {seen.b:#x}" if seen.what is What.REG_WRITE else ""))  # fmt: skip
        case What.MMIO_WRITE:
            window = next((w for w in machine.board.mmio.windows if w.base <= seen.a < w.base + w.size), None)
            return Rule(f"{who} writes {seen.b:#x} to {'a device' if window is None else window.name} at {seen.a:#x}")
        case What.HCALL:
            return Rule(f"{who} calls the hypervisor: {' '.join(f'{a:#x}' for a in moment.arguments)}")
        case What.PASTE:
            return Rule(f"{who} pastes 128 bytes to {seen.a:#x}")
        case What.PASTE_DONE:
            return Rule("they are taken" if seen.b else "they are refused: CR0 says so, and nothing else has changed")
        case What.HOST_WRITE:
            return Rule(f"the host writes {len(seen.data)} bytes to guest memory at gpa {seen.a:#x}")
        case What.EXCEPTION:
            return Rule(f"the host injects exception {seen.a:#x}, address {seen.b:#x}, error code {seen.c:#x}")
        case What.INTERRUPT:
            return Rule(f"{who} is to enter interrupt vector {seen.a:#x}")
        case What.LINE if seen.b:
            return Rule(f"interrupt line {seen.a} of vCPU {seen.vcpu} goes high")
        case What.GO_TO:
            return Rule(f"firmware sends {who} to {named(debugger, seen.a)}")
        case What.MEM_ERROR:
            return Rule(f"{who} gets a memory error: page {seen.b & ~0xFFF:#x} is lost")
        case What.PAGE_IN:
            return Rule(f"page {seen.a & ~0xFFF:#x} " + ("comes from the store" if seen.b else "is lost: the store has it not"))
        case What.ONLINE:
            return Rule(f"vCPU {seen.vcpu} {'starts' if seen.a else 'goes offline'}")
        case What.COMMAND:
            return Rule(f"the machine's owner commands: {seen.data.decode(errors='replace')}")
    return None


def _told(rooms: list[Insight], moment: Moment) -> Rule | None:
    return next((rule for room in rooms if (rule := room.tell(moment)) is not None), None)


@command("explain", topic="protocol", usage="explain [N]",
         example=("explain", "the last exit that asynchronous paging had a part in: what happened, what the host did, what comes next"))
def explain(debugger: Debugger, text: str) -> None:
    """The last exit (or the last N) that a protocol had a part in, in words: what happened, what the host did and why, with sections;
    and what the guest will do next.
    """
    count = debugger.number(text, "number of exits", 1)
    rooms = list(insights(debugger.machine))
    machine = debugger.machine
    groups = [g for g in exits(list(history(debugger).moments)) if any(_told(rooms, m) is not None for m in g)][-count:]
    if not groups:
        debugger.say("no exit since the debugger was attached had anything to do with asynchronous paging")
        return
    for group in groups:
        first = group[0]
        ago = max(machine.insns - first.insns, 0)  # amid a block the count is ahead
        debugger.say(f"at {us(first.ns)} us, instruction {first.insns} ({ago} ago):")
        for moment in group:
            rule = _told(rooms, moment)
            if rule is None or moment is first and first.seen.what is What.FAULT:
                plain = general(debugger, moment)
                debugger.say(f"  - {plain}") if plain is not None else None
            if rule is not None:
                debugger.say(f"  - {rule}")
    vcpu = next((m.seen.vcpu for m in groups[-1] if m.seen.vcpu >= 0), debugger.session.vcpu)
    coming = [rule for room in rooms for rule in room.next(vcpu)]
    if coming:
        debugger.say(f"next, on vCPU {vcpu}:")
        for rule in coming:
            debugger.say(f"  - {rule}")
