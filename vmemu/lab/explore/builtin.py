# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios that are always there: the smallest one of each architecture, and the storm."""

from __future__ import annotations

from vmemu.core import Access
from vmemu.lab.explore.scenario import Scenario, register
from vmemu.machine.machine import Machine
from vmemu.protocols.async_page.pager import AsyncPager

PROFILES = {"x86_64": "kvm", "arm64": "sdei", "ppc64": "papr"}
#: What may happen to a protocol that keeps its promises.
_BENIGN = ("apf.kick:delay=100us", "apf.io:delay=100us,delay=10us")
_HARMLESS = ("evict", "complete", "delay", "reload")
#: The topmost page of every program's stack (guest_images/kernel/task.h, USTACK_TOP).
_STACK = 0x3FFEF000


def _stack_away(machine: Machine) -> list[str]:
    """The page of the stack from which the program is about to return."""
    return [f"evict {machine.vcpus[0].walk(_STACK, Access.READ).gpa:#x}"]


def _told_and_back(machine: Machine) -> bool:
    """The guest was told of a page, and of its return, nothing is under way, and its task sleeps no more."""
    pager = machine.pager
    assert isinstance(pager, AsyncPager)
    if not pager.ledger.count["ready"] or pager.works or pager.sequencer.resting:
        return False
    return pager.sleepers().get("sleeping_at_end") == 0


for _isa, _apf in PROFILES.items():
    register(Scenario(
        name=f"smallest-{_isa}",
        text=f"one page fault of one program, told by {_apf}, until it is back",
        isa=_isa, image="hello", start="output:argument 1: go\n", setup=(_stack_away,), cycles=20_000_000,
        options={"apf": _apf, "latency": "zram", "memory": "16M", "append": "go"},
        actions=_HARMLESS, events=_BENIGN, until=_told_and_back,
    ))  # fmt: skip
    register(Scenario(
        name=f"storm-{_isa}",
        text=f"tasks that share pages on two vCPUs, little memory, told by {_apf}",
        isa=_isa, image="storm", start="exit_stage2:1", cycles=400_000_000,
        options={"apf": _apf, "latency": "nvme", "memory": "16M", "resident": "2M", "smp": 2, "store_buffer": True,
                 "append": "tasks=4 pages=40 passes=1 shared=8"},
        actions=_HARMLESS, events=(*_BENIGN, "store.read:delay=100us"),
    ))  # fmt: skip
