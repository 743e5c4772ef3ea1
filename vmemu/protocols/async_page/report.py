# SPDX-License-Identifier: GPL-2.0-or-later
"""What a pager says of itself: the guest's own counters, why nothing runs, and what is wrong with its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vmemu.machine.elf import SLEEPER_WORDS
from vmemu.protocols.async_page.references import MM
from vmemu.protocols.async_page.work import LIMIT, Mishap

if TYPE_CHECKING:
    from vmemu.protocols.async_page.pager import AsyncPager


def sleepers(pager: AsyncPager) -> dict[str, int]:
    """What the guest says about its wait table, when it says anything (elf.py, SLEEPER_WORDS)."""
    if pager.machine.sleepers is None:
        return {}
    gpa, words = pager.machine.sleepers
    page = pager.machine.memory.peek(pager.core.index(gpa)) or bytes(4096)
    order: Literal["big", "little"] = "big" if pager.core.isa.big_endian else "little"
    values = [int.from_bytes(page[gpa % 4096 + 8 * i :][:8], order) for i in range(min(words, len(SLEEPER_WORDS)))]
    named = dict(zip(SLEEPER_WORDS, values, strict=False))
    return {"sleeping_at_end": named["sleeping"], "dummies_at_end": named["markers"], "guest": named}  # type: ignore[dict-item]


def stalled(pager: AsyncPager) -> str | None:
    """Nothing is runnable: what is under way, and what was lost."""
    parts = [f"{work}" for work in list(pager.works.values())[:5]]
    parts += [f"token {t:#x} of vCPU {w[0]} was never announced as ready" for t, w in list(pager.ledger.away.items())[:5]]
    asleep = sleepers(pager).get("sleeping_at_end")
    if asleep:
        parts.append(f"{asleep} guest tasks sleep on tokens")
    parts += pager.ledger.losses[:5]
    return f"async page faults ({pager.profile}): " + "; ".join(parts) if parts else None


def invariants(pager: AsyncPager) -> list[str]:
    """Named as in x86-apf.md and bugs.md: COUNT, TOK, PAIR, REF, HALT."""
    wrong = [f"PAIR: {text}" for text in pager.ledger.problems] + [f"REF: {text}" for text in pager.references.problems]
    for vcpu in pager.machine.vcpus:
        own = [w for w in pager.works.values() if w.vcpu == vcpu.id]
        busy = pager.sequencer.holder(vcpu.id)
        if busy is None and pager.queued[vcpu.id] != len(own):
            wrong.append(f"COUNT: vCPU {vcpu.id} counts {pager.queued[vcpu.id]} works and has {len(own)}")
        if not 0 <= pager.queued[vcpu.id] <= LIMIT + 1:
            wrong.append(f"COUNT: vCPU {vcpu.id} has {pager.queued[vcpu.id]} works, the limit is {LIMIT}")
        if busy is None and vcpu.host_halted and not any(not w.wake_all for w in own):
            wrong.append(f"HALT: vCPU {vcpu.id} waits for a page, and none of its is under way")
    live = [w for w in pager.works.values() if not w.wake_all and w.mishap != Mishap.AGAIN]
    told = [w.token for w in live if w.injected]
    if len(set(told)) != len(told):
        wrong.append("TOK: a token is outstanding twice")
    if not pager.sequencer.resting:
        held = {f"w{w.id}" for w in live if not w.done}
        holding = set(pager.references.holders[MM]) - {"owner"}
        if holding != held:
            wrong.append(f"REF: the address space is held by {sorted(holding)}, at work are {sorted(held)}")
        if len(pager.gfns) > len(live):
            wrong.append(f"COUNT: {len(pager.gfns)} gfns in the table, {len(live)} works")
        if not pager.announces_early:
            keys = [pager.gfn_key(pager.vcpus[w.vcpu], w.gpa) for w in live]
            if len(set(keys)) != len(keys):
                wrong.append("TOK: a page of one vCPU is under way with two tokens")
            if any(pager.gfns.get(key) is None for key in keys):
                wrong.append(f"COUNT: {len(pager.gfns)} gfns in the table, one of {len(live)} works is not among them")
    return wrong
