# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of the layer that all protocols share: works, workers, references, flushes."""

from __future__ import annotations

from vmemu.lab.zoo.case import Case
from vmemu.lab.zoo.duels import duel
from vmemu.lab.zoo.kvm import DUEL, OFF

END = duel("end-of-vm", "the VM's owner lets go of it at any instant, with pages under way", "kvm", "tasks=1 pages=5",
           options={"smp": 1}, actions=("end-vm",), kinds=("step", "end"), models=("host",))  # fmt: skip
HALT = duel("halt", "a vCPU that is told nothing waits for its pages, and stores reach memory late", "halt", "tasks=1 pages=8",
            isa="x86_64", options={"smp": 1, "store_buffer": True})  # fmt: skip
LOST = duel("lost-pages", "the store cannot give pages back", "kvm", "tasks=2 lossy=1",
            options={"inject": ("store.read:*:fail",)})  # fmt: skip
#: What the guest is left with is not looked at: one that registers twice gets a wake-all, and wakes that nobody waits for any more.
REGISTER = duel("duel-kvm-register", "a CPU registers anew while tasks of its sleep", "kvm", "tasks=4 rewrite=1", models=("host",))

CASES = (
    Case("apf-schedule-first", DUEL, ("PAIR", "REF", "LIVE", "COUNT")),
    Case("apf-stale-gfns", OFF, ("COUNT", "HALT")),
    Case("apf-endless-retry", LOST, ("LIVE", "ERR")),
    Case("apf-cancel-leak", OFF, ("REF",)),
    Case("apf-worker-vm-reference", END, ("REF",)),
    Case("apf-flush-running", END, ("REF",)),
    Case("apf-flush-unlocked", END, ("PAIR", "COUNT", "REF")),
    Case("apf-mm-count", END, ("REF",)),
    Case("apf-wake-no-barrier", HALT, ("LIVE", "HALT")),
    Case("apf-blind-delete", REGISTER, ("COUNT", "TOK")),
    Case("apf-second-token", DUEL, ("TOK", "PAIR")),
)
OUTSIDE = {
    "apf-one-completion": "each ACK looks again, and so does a vCPU on its way to sleep: 10,000 executions of duel-kvm-spin found nothing",
    "kvm-sc1": "a platform's way with hypercalls from problem state, which breaks no rule",
}
