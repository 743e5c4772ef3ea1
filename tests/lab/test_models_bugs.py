# SPDX-License-Identifier: GPL-2.0-or-later
"""Each known bug that shows at the border, and each injected failure that no protocol survives: the right invariant names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.apf_arm64 import SETUP, TOLD, ApfGuest, page
from helpers.sdei import HANDLER, IRQ_WINDOW, Line, task
from helpers.seen_x86 import SeenRig
from helpers.watched import names, storm, watched

from vmemu.lab.models import Watch, models_for
from vmemu.machine.boards.pc_apic import APIC_BASE
from vmemu.protocols.kvm_x86.abi import MSR_EN
from vmemu.protocols.sdei.calls import Call
from vmemu.protocols.sdei_arm64.abi import EVENT

SDEI_EDGE: dict[str, Any] = {"isa": "arm64", "apf": "sdei", "memory": "32M", "resident": "3M", "latency": "nvme", "append": "quiet"}


@pytest.mark.parametrize(("bug", "apf", "seed", "invariant"), [
    ("kvm-ready-untold", "kvm", 3, "PAIR"),
    ("apf-schedule-first", "kvm", 3, "PAIR"),
    ("apf-no-eoi", "kvm", 0, "EOI"),
    ("apf-no-ack", "kvm", 4, "LIVE"),
    ("apf-no-broadcast", "kvm", 0, "RES"),
    ("apf-enabled-at-64", "kvm", 0, "SLOT"),
    ("apf-doc-bits", "kvm", 0, "LIVE"),
    ("sdei-token-zero", "sdei", 0, "TOK"),
    ("sdei-refault-spin", "sdei", 0, "HALT"),
    ("sdei-zero-registers", "sdei", 0, "I-10"),
    ("sdei-no-clear", "sdei", 0, "LIVE"),
])  # fmt: skip
def test_in_a_storm(bug: str, apf: str, seed: int, invariant: str) -> None:
    _, found, _ = storm(apf, smp=2, seed=seed, bugs=(bug,), max_cycles=100_000_000)
    assert invariant in names(found), found


@pytest.mark.parametrize(("rule", "invariant"), [
    ("apf.flag:3:drop", "CLASS"), ("apf.token:9:corrupt", "PAIR"), ("apf.ready:9:drop", "LIVE"), ("apf.ready:9:duplicate", "PAIR"),
    ("apf.irq:9:drop", "LIVE"), ("apf.not_present:9:drop", "PAIR"),
])  # fmt: skip
def test_injected(rule: str, invariant: str) -> None:
    _, found, _ = storm("kvm", smp=2, inject=(rule,), max_cycles=100_000_000)
    assert invariant in names(found), found


def test_in_the_corners_of_sdei() -> None:
    _, found, _ = watched("sdei-edge", **SDEI_EDGE, bugs=("sdei-disable-keeps-ack",))
    assert "I-6" in names(found), found


def test_a_page_that_never_comes() -> None:
    """Announced as ready, and away again, without end: the guest ought to hear of the loss."""
    gfn = 0x14
    rule = f"store.read:@{gfn}:fail"
    _, found, _ = storm("kvm", smp=2, inject=(rule,), bugs=("apf-endless-retry",), max_cycles=30_000_000)
    assert "ERR" in names(found), found
    _, found, _ = storm("kvm", smp=2, inject=(rule,), max_cycles=30_000_000)
    assert "ERR" not in names(found), found


# ----------------------------------------------------------- the host by hand
def paging_off(rig: SeenRig) -> None:
    rig.enable(rig.vcpus[0])
    rig.take_interrupt(rig.vcpus[0])
    rig.vcpus[0].set("cr0", rig.vcpus[0].get("cr0") & ~(1 << 31))
    rig.away(1)


def in_the_kernel(rig: SeenRig) -> None:
    rig.enable(rig.vcpus[0])
    rig.take_interrupt(rig.vcpus[0])
    rig.set_mode(rig.vcpus[0], user=False)
    rig.away(1)


def apic_off(rig: SeenRig) -> None:
    rig.apic(rig.vcpus[0], False)
    rig.enable(rig.vcpus[0])


def apic_off_and_on(rig: SeenRig) -> None:
    apic_off(rig)
    rig.away(1)
    rig.apic(rig.vcpus[0], True)
    for _ in range(8):
        rig.advance(1_000_000)


def ids_begin_anew(rig: SeenRig) -> None:
    rig.enable(rig.vcpus[0])
    rig.take_interrupt(rig.vcpus[0])
    rig.away(1)
    rig.pager.ids[0] = 0xFFFFF
    rig.away(2)
    rig.pager.ids[0] = 0
    rig.away(3)


def two_come_together(rig: SeenRig) -> None:
    rig.enable(rig.vcpus[0])
    rig.take_interrupt(rig.vcpus[0])
    rig.away(1)
    rig.away(2)
    rig.advance(1_000_000)
    rig.take_interrupt(rig.vcpus[0])
    for _ in range(8):
        rig.advance(1_000_000)


def zero_without_apic(rig: SeenRig) -> None:
    rig.wrmsr(rig.vcpus[0], APIC_BASE, 0xFEE00000 | 1 << 8)
    rig.wrmsr(rig.vcpus[0], MSR_EN, 0)


def same_page_twice(rig: SeenRig) -> None:
    rig.enable(rig.vcpus[0])
    rig.take_interrupt(rig.vcpus[0])
    rig.away(1)
    rig.away(1)


def two_at_once(rig: SeenRig) -> None:
    """2010: a page comes while the guest is about to hear of another one that is away."""
    vcpu = rig.vcpus[0]
    rig.enable(vcpu, 1)
    rig.take_exception(vcpu)
    rig.clear(vcpu, 0)
    rig.away(1)
    rig.swap_out(2)
    rig.fault(vcpu, 2)
    rig.advance(1_000_000)


@pytest.mark.parametrize(("bug", "drive", "profile", "invariant"), [
    ("kvm-paging-off", paging_off, "kvm", "LEGAL"),
    ("kvm-any-cpl", in_the_kernel, "kvm", "LEGAL"),
    ("kvm-lapic-off", apic_off, "kvm", "LIVE"),
    ("kvm-apic-no-rescan", apic_off_and_on, "kvm", "LIVE"),
    ("kvm-no-rescan", two_come_together, "kvm", "LIVE"),
    ("kvm-early-token", apic_off_and_on, "kvm", "PAIR"),
    ("kvm-token-zero", ids_begin_anew, "kvm", "TOK"),
    ("kvm-token-reuse", ids_begin_anew, "kvm", "TOK"),
    ("kvm-zero-refused", zero_without_apic, "kvm", "MSRW"),
    ("apf-second-token", same_page_twice, "kvm", "TOK"),
    ("kvm-two-exceptions", two_at_once, "kvm-2010", "LEGAL"),
    ("kvm-blind-cancel", two_at_once, "kvm-2010", "SLOT"),
])  # fmt: skip
def test_by_hand(bug: str, drive: Callable[[SeenRig], None], profile: str, invariant: str) -> None:
    for bugs in ((bug,), ()):
        rig = SeenRig(profile, bugs=bugs)
        drive(rig)
        assert rig.names == [] if not bugs else invariant in rig.names, rig.found
        rig.close()


# ------------------------------------------------------- SDEI's client by hand
MASKED: list[Line] = [*SETUP, (Call.PE_MASK,), task(page(0)), *[(int(Call.VERSION),)] * 150, IRQ_WINDOW]
NESTED: list[Line] = [*SETUP, (Call.EVENT_GET_INFO, EVENT, 2), (Call.EVENT_REGISTER, 0, HANDLER, 9, 0, 0), (Call.EVENT_ENABLE, 0)]


@pytest.mark.parametrize(("bug", "lines", "invariant"), [
    ("sdei-failed-injection", MASKED, "LEGAL"),
    ("sdei-critical", NESTED, "CALL"),
    ("sdei-zero-registers", [*SETUP, task(page(0)), *TOLD], "I-10"),
])  # fmt: skip
def test_script_guests(bug: str, lines: list[Line], invariant: str, tmp_path: Path) -> None:
    for bugs in ((bug,), ()):
        guest = ApfGuest(tmp_path, bugs=bugs)
        guest.restart(lines)
        watch = Watch(guest.machine, models_for(guest.machine))
        guest.machine.run()
        assert names(watch.violations) == [] if not bugs else invariant in names(watch.violations), watch.violations
