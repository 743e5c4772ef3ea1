# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest kernel's VAS driver: vas-edge, known bugs, and what the host sees of the order in which faults are dealt with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vmemu.devices import vas_mmio
from vmemu.devices.nx_format import CRB_SIZE, is_free
from vmemu.devices.nx_memory import Space, TranslationFault
from vmemu.devices.vas import Kind
from vmemu.machine import disk
from vmemu.machine.machine import Machine
from vmemu.machine.result import LIMIT, RunResult
from vmemu.protocols.vas.facility import VasFacility
from vmemu.protocols.vas.native import NativeVas

OWNERS = ("native", "powervm")
SECOND = 2_000_000_000  # cycles
DEVICE, PASTE, REQUESTS, FAULTS, PROCESSES = range(5)


@contextmanager
def booted(append: str = "", **options: Any) -> Iterator[tuple[Machine, VasFacility]]:
    machine = Machine.boot("vas-edge", isa="ppc64", append=f"quiet {append}", **({"max_cycles": 20 * SECOND} | options))
    facility = machine.facilities["vas"]
    assert isinstance(facility, VasFacility)
    try:
        yield machine, facility
    finally:
        machine.close()


def text(result: RunResult) -> str:
    return result.output.decode()


def failures(result: RunResult) -> list[str]:
    return [line[6:] for line in text(result).splitlines() if line.startswith("FAIL  ")]


def all_home(facility: VasFacility) -> bool:
    return facility.vas.home and facility.invariants() == []


@pytest.mark.parametrize("owner", OWNERS)
def test_edge(owner: str) -> None:
    """H1 to H4, H6, H7, H9 to H15, H17, H19: as the program itself checks them."""
    with booted(vas=owner) as (machine, facility):
        result = machine.run()
        assert result.status == 0, text(result)
        assert failures(result) == []
        for case in (1, 2, 3, 4, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17, 19):
            assert f"PASS  H{case} " in text(result), case
        assert all_home(facility)


@pytest.mark.parametrize("owner", OWNERS)
def test_edge_on_two_cpus_with_little_memory(owner: str) -> None:
    """P10 among others: the fault thread and programs really run at the same time, and status blocks are away now and then."""
    with booted(vas=owner, smp=2, resident="4M", latency="zram", seed=5) as (machine, facility):
        result = machine.run()
        assert result.status == 0, text(result)
        assert all_home(facility)


@pytest.mark.parametrize(
    ("bug", "group", "seen"),
    [
        ("vas-no-cpabort", PASTE, "H14 paste: what another task's turn came after"),
        ("vas-cc-5", FAULTS, "fault: told"),
        ("vas-csb-unmasked", FAULTS, "H2 fault: nothing behind the CSB"),
        ("vas-csb-at-once", FAULTS, "fault: the byte that missed"),
        ("vas-lost-fault", FAULTS, "H9 two faults, shortly one after the other"),
    ],
)
def test_known_bugs_show(bug: str, group: int, seen: str) -> None:
    with booted(f"only={group}", bugs=[bug]) as (machine, _):
        assert seen in failures(machine.run())


def test_a_window_forgotten_too_early_never_closes() -> None:
    """P8, and the message of section 2: every 1000 tries of 10 ms."""
    with booted(f"only={PROCESSES}", bugs=["vas-free-early"], max_cycles=22 * SECOND) as (machine, facility):
        result = machine.run()
        assert result.status == LIMIT
        assert re.search(r"vas: pid \d+ stuck closing window 2: \d credits are out", text(result))
        assert "fault of window 2, which is not open" in text(result)
        assert not facility.vas.home


def test_a_window_that_does_not_wait_for_its_last_fault() -> None:
    """P7, with the hypervisor's windows: it does not know when the program has been told, so the driver must."""
    with booted(f"only={PROCESSES}", vas="powervm", bugs=["vas-close-no-wait"]) as (machine, _):
        assert "H12 close: the fault is told" in failures(machine.run())


@pytest.mark.parametrize("bug", [None, "vas-bad-window-stops"])
def test_a_fault_of_a_window_that_is_not_open(bug: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """H10: it is dropped, and the next one in the FIFO is served with the same interrupt; as the series had it first, it waits."""
    with booted("storm=3", bugs=[bug] if bug else []) as (machine, facility):
        vas, real = facility.vas, facility.vas.fault

        def fault(number: int, crb: bytes, why: TranslationFault) -> bool:
            if not vas.counts["bogus"]:
                target = vas.windows[vas.windows[number].fault]
                vas._put(target, crb[:76] + (0x1F5).to_bytes(4, "big") + crb[80:])
                target.credits -= 1
                vas.counts["bogus"] = 1
            return real(number, crb, why)

        monkeypatch.setattr(vas, "fault", fault)
        result = machine.run()
        assert "vas: fault of window 1f5, which is not open" in text(result)
        assert ("3 faults, 3 told" in text(result)) == (bug is None)


def test_the_order_of_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """P5, P6: copied and invalidated before the fault credit; answered before the send credit; P7: the page table is there."""
    seen: Counter[str] = Counter()
    with booted(f"only={FAULTS}") as (machine, facility):
        assert isinstance(facility, NativeVas)
        vas, real_fault, real_add, real_space = facility.vas, facility.vas.fault, facility.contexts._add, facility.vas.space
        waiting: dict[int, list[bytes]] = {}

        def space(number: int) -> Space:
            pid = vas.windows[number].pid
            table = machine.vcpus[0].get("prtbl") & ~0xFFF
            assert pid and any(machine.read_guest(table + 16 * pid, 8)), "the opener's page table has gone"
            return real_space(number)

        def fault(number: int, crb: bytes, why: TranslationFault) -> bool:
            waiting.setdefault(number, []).append(crb)
            return real_fault(number, crb, why)

        def add(number: int, register: int, n: int) -> None:
            window = vas.windows[number]
            if register == vas_mmio.LRX_WCRED_ADDER:
                at = (window.most - window.credits - 1 + seen["entries"]) * CRB_SIZE
                assert window.kind is Kind.FAULT and window.fifo is not None and n == 1
                assert is_free(machine.read_guest(window.fifo + at, CRB_SIZE)), "not invalidated yet"
                seen["entries"] += 1
            else:
                crb = waiting[number].pop(0)
                seen["told" if answer(number, crb) else "signalled"] += 1
            real_add(number, register, n)

        def answer(number: int, crb: bytes) -> bool:
            """Is the CSB complete?"""
            csb = int.from_bytes(crb[8:16], "big") & ~15
            try:
                block = bytes(real_space(number).read(csb, 16))
            except TranslationFault:
                return False
            if csb >> 62 or block[0] != 0x80:
                return False
            assert block[1:8] == bytes((0, 250, 0x40, 0, 0, 0, 0)), "P11"
            return True

        monkeypatch.setattr(vas, "space", space)
        monkeypatch.setattr(vas, "fault", fault)
        monkeypatch.setattr(facility.contexts, "_add", add)
        result = machine.run()
        assert result.status == 0, text(result)
        assert seen["entries"] == vas.counts["faults"] == seen["told"] + seen["signalled"]
        assert seen["told"] > 20 and seen["signalled"] >= 4
        assert not any(waiting.values())


@pytest.mark.parametrize("owner", OWNERS)
def test_a_snapshot_at_any_time_changes_nothing(owner: str, tmp_path: Path) -> None:
    """P15, with jobs, faults and windows in every state; the run that was saved and the one taken up end alike."""
    path = str(tmp_path / "half.snap")
    with booted(f"only={FAULTS}", vas=owner) as (machine, _):
        whole = machine.run()
    for part in (0.3, 0.7):
        at = int(whole.instructions * part)
        with booted(f"only={FAULTS}", vas=owner) as (machine, _):
            saved = machine.run(at=(at, lambda m: disk.save(m, path)))
        restored = disk.load(path, None, None)
        try:
            assert restored.run().state_hash == saved.state_hash == whole.state_hash
        finally:
            restored.close()


@pytest.mark.slow
def test_round_the_fault_fifo() -> None:
    """H8: more faults than the FIFO has entries, many in flight at a time: both sides wrap at 32768."""
    with booted("storm=33000 batch=48", max_cycles=60 * SECOND) as (machine, facility):
        result = machine.run()
        assert "33000 faults, 33000 told" in text(result)
        assert all_home(facility)
        assert {w.tail for w in facility.vas.windows.values() if w.kind is Kind.FAULT} == {33000 - 32768}
