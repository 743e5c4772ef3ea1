# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of KVM's protocol on x86, host side."""

from __future__ import annotations

from vmemu.lab.zoo.case import Case
from vmemu.lab.zoo.duels import duel

DUEL = duel("duel-kvm", "four tasks on two CPUs and a few pages that are away, told by KVM's protocol", "kvm", "tasks=4")
BOOT = duel("duel-kvm-boot", "the same from the machine's first instruction on", "kvm", "tasks=4", start="boot")
KERNEL = duel("duel-kvm-kernel", "two tasks whose pages are touched by system calls first", "kvm", "tasks=2 kernel=1")
#: A spinner's CPU leaves its guest for nothing but events: within its slice of 10 ms the others must be through.
SPIN = duel("duel-kvm-spin", "tasks share a CPU with one that computes, and leave it to the host to interrupt that", "kvm",
            "tasks=2 pages=4 shared=0 spin=1", options={"smp": 1, "latency": "zram", "store_buffer": True}, cycles=12_000_000)  # fmt: skip
OFF = duel("duel-kvm-off", "a CPU leaves and comes back while tasks of its sleep", "kvm", "tasks=4 off=1")
_BARE = "tasks=3 bare=1"
BARE = duel("duel-kvm-no-apic", "a CPU registers while its local APIC is off and tasks of its sleep", "kvm", _BARE, options={"smp": 1})
BARE_SPIN = duel("duel-kvm-no-apic-spin", "the same beside a task that computes", "kvm", f"{_BARE} shared=0 spin=1",
                 options={"smp": 1, "latency": "zram"}, cycles=12_000_000)  # fmt: skip
ZERO = duel("duel-kvm-zero", "a CPU takes its registration back while there is no local APIC", "kvm", "tasks=2 zero=1", options={"smp": 1})
WRAP = duel("duel-kvm-wrap", "the next tokens of both CPUs are the last before their ids begin anew", "kvm", "tasks=4 shared=0",
            setup=(*DUEL.setup, "token-id 0 0xfffff", "token-id 1 0xfffff"), actions=("evict-marked", "token-id"))  # fmt: skip
LEGACY = duel("duel-2010", "both are page faults: four tasks on two CPUs", "kvm-2010", "tasks=4")
LEGACY_KERNEL = duel("duel-2010-kernel", "both are page faults, also in system calls that must not sleep", "kvm-2010", "tasks=2 kernel=2")

CASES = (
    Case("kvm-token-zero", WRAP, ("TOK", "SLOT", "LIVE")),
    Case("kvm-ready-untold", KERNEL, ("PAIR", "RES")),
    Case("kvm-lapic-off", BARE, ("LIVE", "SLOT", "GUEST")),
    Case("kvm-apic-no-rescan", BARE_SPIN, ("LIVE",)),
    Case("kvm-any-cpl", KERNEL, ("GUEST", "LEGAL")),
    Case("kvm-zero-refused", ZERO, ("GUEST", "MSRW")),
    Case("kvm-token-reuse", WRAP, ("TOK", "PAIR", "LIVE")),
    Case("kvm-early-token", BARE, ("PAIR", "RES"), also=("kvm-apic-no-rescan",)),
    Case("kvm-no-rescan", SPIN, ("LIVE",)),
    Case("kvm-ack-no-barrier", SPIN, ("LIVE",)),
    Case("kvm-two-exceptions", LEGACY, ("SLOT", "GUEST", "LEGAL")),
    Case("kvm-blind-cancel", LEGACY, ("SLOT", "PAIR", "LIVE")),
)
OUTSIDE = {
    "kvm-paging-off": "needs a guest without paging: tests/protocols/test_kvm_x86.py has one",
}
