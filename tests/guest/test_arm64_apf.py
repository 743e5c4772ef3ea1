# SPDX-License-Identifier: GPL-2.0-or-later
"""The arm64 guest's side of async page faults against a hypervisor of the tests' own, which pages nothing and may misbehave."""

from __future__ import annotations

import pytest
from helpers.arm64_apf import ACK, ENABLE, EVENT, GET_IRQ, GET_SDEI, SLOTS, VERSION, Hypervisor

from vmemu.machine.machine import Machine

LIMIT = 40_000_000  # cycles: 20 ms
PROFILES = pytest.mark.parametrize("sdei", [True, False], ids=["sdei", "ppi-only"])
STORM = "quiet tasks=6 pages=6 passes=60 shared=2"


def boot(smp: int, append: str = "", **options: object) -> tuple[Machine, Hypervisor, bytearray]:
    out = bytearray()
    machine = Machine.boot("storm", isa="arm64", smp=smp, append=f"{STORM} {append}", console=out.extend, max_cycles=LIMIT)
    return machine, Hypervisor(machine, **options), out  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def undisturbed() -> str:
    """What storm prints when nobody interrupts it."""
    out = bytearray()
    assert Machine.boot("storm", isa="arm64", append=STORM, console=out.extend).run().status == 0
    return next(line for line in out.decode().splitlines() if "checksum" in line)


@PROFILES
@pytest.mark.parametrize("smp", [1, 3])
def test_every_notification_is_taken_once(smp: int, sdei: bool, undisturbed: str) -> None:
    """Each token puts one task to sleep and wakes it, every "ready" is acknowledged, and nothing is left."""
    machine, host, out = boot(smp, sdei=sdei)
    assert machine.run().status == 0 and undisturbed in out.decode()
    counters = host.counters()
    assert host.told > 100 and counters["waits"] == counters["wakes"] == host.told - counters["early"]
    assert counters["sleeping"] == counters["markers"] == 0
    assert counters["broadcasts"] == smp  # the first "ready" after each ENABLE
    interrupts = host.announced + (0 if sdei else host.told)
    assert sum(vcpu.acks for vcpu in host.vcpus) == interrupts
    assert host.sdei.invariants() == []


@PROFILES
@pytest.mark.parametrize("smp", [1, 3])
def test_survives_what_no_hypervisor_may_do(smp: int, sdei: bool, undisturbed: str) -> None:
    """Tokens of nobody, wake-alls, senseless reasons, interrupts and events about nothing, "not present" in the kernel."""
    machine, host, out = boot(smp, sdei=sdei, mischief=0.3)
    assert machine.run().status == 0 and undisturbed in out.decode()
    counters = host.counters()
    assert host.pranks > 50 and counters["waits"] > 20
    assert counters["sleeping"] == counters["markers"] == 0


@PROFILES
def test_asks_in_order(sdei: bool) -> None:
    """Version, slots and numbers once, then ENABLE on each CPU; the buffers are 64-byte aligned and no two CPUs share one."""
    machine, host, _ = boot(3, sdei=sdei)
    machine.run()
    expected = [VERSION, SLOTS, GET_IRQ, GET_SDEI, ENABLE]
    assert [call for call in host.vcpus[0].calls if call != ACK][: len(expected)] == expected
    controls = [host.enabled[cpu] for cpu in range(3)]
    assert all(control & 63 == 1 for control in controls) and len(set(controls)) == 3


@PROFILES
def test_poweroff_takes_everything_back(sdei: bool) -> None:
    """The next kernel's memory is not written to: ENABLE(0) and, with SDEI, UNREGISTER on every CPU."""
    machine, host, _ = boot(3, sdei=sdei)
    machine.run()
    assert [vcpu.control for vcpu in host.vcpus] == [0, 0, 0]
    assert [vcpu.calls.count(ENABLE) for vcpu in host.vcpus] == [2, 2, 2]
    for cpu in range(3):
        handler = host.sdei.state.handler(EVENT, cpu)
        assert handler is not None and handler.state == 0


@pytest.mark.parametrize(("asked", "active"), [("off", False), ("ppi-only", True)])
def test_command_line_wins(asked: str, active: bool, undisturbed: str) -> None:
    machine, host, out = boot(1, f"apf={asked}")
    assert machine.run().status == 0 and undisturbed in out.decode()
    assert host.told == 0 and bool(host.enabled) == active  # the event is offered, but nobody has registered it


def test_a_front_end_that_is_not_offered_is_refused() -> None:
    machine, _, out = boot(1, "apf=sdei", sdei=False)
    assert machine.run().status == 1 and 'no front-end "sdei"' in out.decode()


@pytest.mark.parametrize("bug", ["sdei-no-clear", "sdei-no-ack", "sdei-stale-flag"])
def test_bugs_are_seen(bug: str, undisturbed: str) -> None:
    """Each ends in tasks that sleep for ever or CPUs that never come out of an interrupt: the limit is reached."""
    machine, host, out = boot(2, f"bug={bug}")
    assert machine.run().status == 4 and undisturbed not in out.decode()
    if bug != "sdei-no-ack":
        assert host.counters()["sleeping"] > 0
