# SPDX-License-Identifier: GPL-2.0-or-later
"""``walk`` and ``page``: how an address is translated, level by level, and where a page is."""

from __future__ import annotations

import re

from vmemu.core import PAGE_SIZE
from vmemu.debug import tasks as guest_tasks
from vmemu.debug.peek import Unreadable, stage2
from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.places import complete_symbols, parse, physical
from vmemu.debug.shell.registry import UsageError, command
from vmemu.debug.walks import FETCH, READ, WRITE, Walked
from vmemu.debug.walks import walk as explain

_ACCESS = {"read": READ, "write": WRITE, "fetch": FETCH}


@command("walk", topic="paging", usage="walk ADDRESS [read|write|fetch] [user]", complete=complete_symbols,
         example=("walk 0x200000016000 write user", "each level's entry in words, with the stage-2 state of its table's page"))
def walk(debugger: Debugger, text: str) -> None:
    """The page-table walk for an access, level by level, by the architecture's reference walker.

    ADDRESS as for `x`: task N:ADDRESS walks that task's table. For each level: where the entry lies, its raw value and its flags in
    words, and where the page of the table itself is at stage 2. Nothing is changed: no accessed bit is set.
    """
    match = re.fullmatch(r"(.+?)((?:\s+(?:read|write|fetch|user))*)", text)
    if match is None:
        raise UsageError("walk ADDRESS [read|write|fetch] [user]")
    words = match[2].split()
    space, value = parse(debugger, match[1])
    va = (value.number if value.address is None else value.address) & (1 << 64) - 1
    if space.kind == "physical":
        raise UsageError("walk: a guest-physical address is walked no further (`page p:ADDRESS` tells its stage-2 state)")
    access = next((word for word in words if word in _ACCESS), "read")
    user = "user" in words or (space.kind == "task" and va >> 47 == 0)
    found = explain(debugger.machine, debugger.vcpu, va, _ACCESS[access], user, space.root)
    debugger.say(f"{access} of {space.prefix()}{debugger.place(va)} with {'user' if user else 'kernel'} rights:")
    show_walk(debugger, found)


def show_walk(debugger: Debugger, found: Walked) -> None:
    """Levels, then the result and the page's own stage-2 state."""
    if found.off:
        debugger.say("  translation is off: the address is physical")
    for step in found.steps:
        debugger.say(f"  {step}")
        debugger.say(debugger.style(f"      its page {step.gpa & ~(PAGE_SIZE - 1):#x}: {stage2(debugger.machine, step.gpa)}", "dim"))
    if found.result.ok:
        result = found.result
        rights = "".join(c if may else "-" for c, may in (("r", result.read), ("w", result.write), ("x", result.execute)))
        debugger.say(f"  = guest-physical {result.gpa:#x} {rights}: {stage2(debugger.machine, result.gpa)}")
    else:
        debugger.say(debugger.style(f"  = fault: {found.why}", "error"))


@command("page", topic="paging", usage="page ADDRESS", complete=complete_symbols,
         example=("page p:0x1b000", "resident, away or zero; frame, flags, slot; what the kernel has there"))
def page(debugger: Debugger, text: str) -> None:
    """Stage-2 state of the page at an address: resident (frame, accessed, dirty, pinned), away (slot), zero, lost, or a device."""
    if not text:
        raise UsageError("page ADDRESS")
    space, value = parse(debugger, text)
    address = (value.number if value.address is None else value.address) & (1 << 64) - 1
    gpa = physical(debugger, space, address)
    debugger.say(f"page {gpa & ~(PAGE_SIZE - 1):#x} (number {gpa // PAGE_SIZE:#x}): {stage2(debugger.machine, gpa)}")
    for line in symbols_of_page(debugger, gpa):
        debugger.say(f"  {line}")


def symbols_of_page(debugger: Debugger, gpa: int) -> list[str]:
    """What the kernel's image has in a page."""
    base = gpa & ~(PAGE_SIZE - 1)
    for module in debugger.symbols.modules:
        if module.name != "kernel" or (low := module.virtual(base)) is None:
            continue
        names = [s.name for s in module.symbols if s.kind in ("func", "object") and s.address < low + PAGE_SIZE
                 and s.address + max(s.size, 1) > low]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return [f"kernel: {', '.join(names[:8])}{more}"] if names else []
    return []


@command("maps", topic="paging", usage="maps [task N]",
         example=("maps task 3", "its regions, and how many pages of each are resident or away"))
def maps(debugger: Debugger, text: str) -> None:
    """The regions of a task's address space (of the one that the vCPU runs), and where their pages are."""
    words = text.split()
    if words and (words[0] != "task" or len(words) != 2):
        raise UsageError("maps [task N]")
    number = debugger.number(words[1], "task") if words else debugger.current_task()
    task = guest_tasks.find(debugger.machine, number)
    regions = guest_tasks.regions(debugger.machine, task)
    if not regions:
        raise Unreadable(f"task {task.number} has no address space of its own")
    for region in regions:
        counts = guest_tasks.residency(debugger.machine, task, region)
        where = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        debugger.say(f"{region.start:#x}-{region.end:#x} {region.rights} {region.what}: {where or 'no page mapped'}")
