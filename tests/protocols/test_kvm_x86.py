# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's asynchronous page faults, host half: the rules of x86-apf.md 2, 5 and 6 one by one, and the first regression scenarios."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.apf_x86 import AREA, VECTOR, Rig

from vmemu.devices.lapic import SVR
from vmemu.machine.board import RegisterFault
from vmemu.machine.facility import Resolution
from vmemu.protocols.async_page.work import LIMIT
from vmemu.protocols.kvm_x86.abi import MSR_ACK, MSR_EN, MSR_INT

BROADCAST = 0xFFFFFFFF
PAGE_IN = 100_000  # ns: longer than nvme takes


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    made = Rig(**getattr(request, "param", {}))
    yield made
    assert not made.pager.invariants()
    made.close()


def options(**wanted: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rig", [wanted], indirect=True, ids=[" ".join(f"{k}={v}" for k, v in wanted.items())])


def enabled(rig: Rig) -> Rig:
    vcpu = rig.vcpus[0]
    rig.enable(vcpu)
    assert rig.take_interrupt(vcpu) == BROADCAST
    return rig


# ------------------------------------------------------------------ registers
@pytest.mark.parametrize(
    ("msr", "value"),
    [
        (MSR_EN, AREA | 0x19), (MSR_EN, AREA | 0x29), (MSR_EN, AREA | 0xD), (MSR_EN, 1 << 40 | 9), (MSR_EN, (1 << 64) - 64 | 9),
        (MSR_EN, 0xFEE00000 | 9), (MSR_EN, 0x1000000 | 9), (MSR_INT, 0x100), (MSR_INT, 1 << 63),
    ],
)  # fmt: skip
def test_refused_writes_change_nothing(rig: Rig, msr: int, value: int) -> None:
    vcpu = enabled(rig).vcpus[0]
    before = rig.pager.save()
    with pytest.raises(RegisterFault):
        rig.wrmsr(vcpu, msr, value)
    assert rig.pager.save() == before


def test_registers_read_as_written_and_ack_as_zero(rig: Rig) -> None:
    vcpu = rig.vcpus[0]
    rig.enable(vcpu, 0xB)
    read = rig.machine.board.read_register
    assert (read(vcpu, MSR_EN), read(vcpu, MSR_INT), read(vcpu, MSR_ACK)) == (AREA | 0xB, VECTOR, 0)
    rig.wrmsr(vcpu, MSR_ACK, 0)
    rig.wrmsr(vcpu, MSR_EN, 0)
    assert read(vcpu, MSR_EN) == 0


@options(profile="kvm-2010")
def test_the_protocol_of_2010_has_one_register(rig: Rig) -> None:
    vcpu = rig.vcpus[0]
    for msr in (MSR_INT, MSR_ACK):
        with pytest.raises(RegisterFault):
            rig.wrmsr(vcpu, msr, 0)
    for flags in (4, 8, 0x10, 0x20):
        with pytest.raises(RegisterFault):
            rig.wrmsr(vcpu, MSR_EN, AREA | 1 | flags)
    assert rig.machine.board.cpuid(vcpu, 0x40000001, 0)[0] == 1 << 4


def test_cpuid_says_kvm_and_what_is_offered(rig: Rig) -> None:
    vcpu = rig.vcpus[0]
    a, b, c, d = rig.machine.board.cpuid(vcpu, 0x40000000, 0)
    assert a == 0x40000001
    assert b"".join(r.to_bytes(4, "little") for r in (b, c, d)) == b"KVMKVMKVM\0\0\0"
    assert rig.machine.board.cpuid(vcpu, 0x40000001, 0)[0] == 1 << 4 | 1 << 14


def test_bit_0_without_bit_3_is_accepted_reported_and_delivers_nothing(rig: Rig) -> None:
    vcpu = rig.vcpus[0]
    rig.wrmsr(vcpu, MSR_INT, VECTOR)
    rig.wrmsr(vcpu, MSR_EN, AREA | 1)
    rig.swap_out(0)
    assert rig.fault(vcpu, 0) is Resolution.HALT
    assert rig.take_exception(vcpu) is None and rig.words(vcpu) == (0, 0)
    rig.advance(PAGE_IN)
    assert not vcpu.halted and not rig.is_away(0) and rig.take_interrupt(vcpu) is None
    assert any("bit 0 without bit 3" in note for note in rig.pager.summary()["tokens"]["notes"])


# -------------------------------------------------------------------- one life
def test_one_token_from_fault_to_ready(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    rig.swap_out(0)
    assert rig.fault(vcpu, 0) is Resolution.NOTIFIED
    assert rig.words(vcpu) == (1, 0)
    assert rig.take_exception(vcpu) == (14, 0, 0x1000)  # error code 0; CR2 is the token: id 1, vCPU 0
    rig.clear(vcpu, 0)
    rig.advance(PAGE_IN // 2)
    assert rig.is_away(0) and rig.take_interrupt(vcpu) is None
    rig.advance(PAGE_IN)
    assert not rig.is_away(0)
    assert rig.words(vcpu) == (0, 0x1000)
    assert rig.take_interrupt(vcpu) == 0x1000
    assert rig.take_interrupt(vcpu) is None
    tokens = rig.pager.summary()["tokens"]
    assert (tokens["notified"], tokens["ready"], tokens["outstanding_at_end"]) == (1, 1, 0)


def test_one_ready_event_at_a_time_in_the_order_of_completion(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    told = []
    for page in range(5):
        rig.swap_out(page)
        assert rig.fault(vcpu, page) is Resolution.NOTIFIED
        found = rig.take_exception(vcpu)
        assert found is not None
        told.append(found[2])
        rig.clear(vcpu, 0)
    rig.advance(PAGE_IN)
    first = rig.take_interrupt(vcpu, acknowledge=False)
    rig.advance(PAGE_IN)
    assert rig.words(vcpu)[1] == first == told[0]  # nobody overwrites the slot
    rig.wrmsr(vcpu, MSR_ACK, 1)
    assert rig.words(vcpu)[1] == first  # acknowledged, but not cleared: still in use
    rig.clear(vcpu, 4)
    rig.wrmsr(vcpu, MSR_ACK, 1)
    assert [first, *(rig.take_interrupt(vcpu) for _ in told[1:])] == told


def test_a_repeated_fault_waits_and_gets_no_second_token(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    rig.swap_out(0)
    assert rig.fault(vcpu, 0) is Resolution.NOTIFIED
    rig.take_exception(vcpu)
    rig.clear(vcpu, 0)
    assert rig.fault(vcpu, 0) is Resolution.HALT
    assert rig.take_exception(vcpu) is None
    rig.advance(PAGE_IN)
    assert not vcpu.halted and rig.take_interrupt(vcpu) == 0x1000


@pytest.mark.parametrize("user", [True, False])
@pytest.mark.parametrize("always", [True, False])
@pytest.mark.parametrize("interrupts", [True, False])
def test_who_is_told_in_which_mode(rig: Rig, user: bool, always: bool, interrupts: bool) -> None:
    vcpu = rig.vcpus[0]
    rig.enable(vcpu, 9 | 2 * always)
    assert rig.take_interrupt(vcpu) == BROADCAST
    rig.swap_out(0)
    rig.set_mode(vcpu, user, interrupts)
    expected = Resolution.RETRY if not interrupts else Resolution.NOTIFIED if user or always else Resolution.HALT
    assert rig.fault(vcpu, 0) is expected
    assert (rig.take_exception(vcpu) is not None) == (expected is Resolution.NOTIFIED)
    assert rig.is_away(0) == interrupts
    assert rig.pager.ledger.sync.get("interrupts off", 0) == (not interrupts)
    rig.advance(PAGE_IN)
    rig.set_mode(vcpu)
    assert rig.take_interrupt(vcpu) == (0x1000 if expected is Resolution.NOTIFIED else None)


def test_the_shadow_of_sti_and_paging_off(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    rig.swap_out(0)
    rig.swap_out(1)
    vcpu.set("hflags", vcpu.get("hflags") | 8)
    assert rig.fault(vcpu, 0) is Resolution.RETRY
    vcpu.set("hflags", vcpu.get("hflags") & ~8)
    vcpu.set("cr0", vcpu.get("cr0") & ~(1 << 31))
    assert rig.fault(vcpu, 1) is Resolution.HALT
    rig.advance(PAGE_IN)


def test_an_exception_that_is_being_entered_makes_it_synchronous(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    rig.swap_out(0)
    assert rig.fault(vcpu, 0, nr=1) is Resolution.RETRY
    assert rig.pager.ledger.sync == {"exception entry": 1} and not rig.is_away(0)


def test_the_65th_page_is_synchronous(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    for page in range(LIMIT + 1):
        rig.swap_out(page)
        assert rig.fault(vcpu, page) is (Resolution.NOTIFIED if page < LIMIT else Resolution.RETRY)
        rig.take_exception(vcpu)
        rig.clear(vcpu, 0)
    assert rig.pager.ledger.sync == {"queue full": 1}
    rig.advance(20 * PAGE_IN)
    assert len({rig.take_interrupt(vcpu) for _ in range(LIMIT)}) == LIMIT


def test_two_vcpus_and_one_page(rig: Rig) -> None:
    rig.close()
    two = Rig(smp=2)
    for vcpu in two.vcpus:
        two.enable(vcpu)
        assert two.take_interrupt(vcpu) == BROADCAST
    two.swap_out(0)
    assert [two.fault(vcpu, 0) for vcpu in two.vcpus] == [Resolution.NOTIFIED] * 2
    assert len(two.pager.io) == 1  # the store is asked once
    tokens = [two.take_exception(vcpu) for vcpu in two.vcpus]
    assert [t[2] for t in tokens if t] == [0x1000, 0x1001]
    two.advance(PAGE_IN)
    assert [two.take_interrupt(vcpu) for vcpu in two.vcpus] == [0x1000, 0x1001]
    assert not two.pager.invariants()
    two.close()


# ------------------------------------------------------- regression scenarios
def lapic_off_at_enable(rig: Rig) -> int | None:
    """The guest enables while its local APIC is software-disabled, and switches that on later. What it is told then."""
    vcpu = rig.vcpus[0]
    rig.lapic(vcpu).write(SVR, 4, 0xFF)
    rig.enable(vcpu)
    for _ in range(10):
        rig.advance(PAGE_IN)
    assert not rig.machine.requests  # nobody spins
    rig.lapic(vcpu).write(SVR, 4, 0x1FF)
    rig.enter(vcpu)
    return rig.take_interrupt(vcpu)


def test_lapic_software_disabled_at_enable_time(rig: Rig) -> None:
    assert lapic_off_at_enable(rig) == BROADCAST


@options(bugs=("kvm-lapic-off",))
def test_lapic_off_bug_loses_the_event(rig: Rig) -> None:
    assert lapic_off_at_enable(rig) is None
    assert any("local APIC is disabled" in text for text in rig.pager.ledger.losses)


def token_at_the_edge(rig: Rig) -> list[int]:
    vcpu = enabled(rig).vcpus[0]
    rig.pager.ids[0] = 0xFFFFD
    told = []
    for page in range(4):
        rig.swap_out(page)
        rig.fault(vcpu, page)
        found = rig.take_exception(vcpu)
        assert found is not None
        told.append(found[2])
        rig.clear(vcpu, 0)
    rig.advance(PAGE_IN)
    return told


def test_token_wrap_skips_zero(rig: Rig) -> None:
    assert token_at_the_edge(rig) == [0xFFFFE000, 0xFFFFF000, 0x1000, 0x2000]
    assert [rig.take_interrupt(rig.vcpus[0]) for _ in range(4)] == [0xFFFFE000, 0xFFFFF000, 0x1000, 0x2000]


@options(bugs=("kvm-token-zero",))
def test_token_zero_bug_makes_a_ready_event_invisible(rig: Rig) -> None:
    assert token_at_the_edge(rig)[2] == 0
    taken = [rig.take_interrupt(rig.vcpus[0]) for _ in range(4)]
    assert taken == [0xFFFFE000, 0xFFFFF000, 0x1000, None]  # 0 in the slot says "free", and was overwritten


def test_a_token_in_use_is_not_issued_again(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    rig.swap_out(0)
    rig.swap_out(1)
    rig.fault(vcpu, 0)
    assert rig.take_exception(vcpu) == (14, 0, 0x1000)
    rig.pager.ids[0] = 0
    rig.fault(vcpu, 1)
    assert rig.take_exception(vcpu) == (14, 0, 0x2000)
    rig.advance(PAGE_IN)


def always_failing_page(rig: Rig) -> list[Resolution]:
    """One page that the store never gives back: what the guest's tries end in, ready events taken in between."""
    vcpu = enabled(rig).vcpus[0]
    rig.swap_out(3)
    tries = []
    for _ in range(4):
        tries.append(rig.fault(vcpu, 3))
        rig.take_exception(vcpu)
        rig.clear(vcpu, 0)
        rig.advance(PAGE_IN)
        rig.take_interrupt(vcpu)
    return tries


@options(inject=("store.read:@1027:fail",))  # PAGES / 4096 + 3
def test_a_page_that_always_fails_ends_in_a_memory_error(rig: Rig) -> None:
    assert always_failing_page(rig) == [Resolution.NOTIFIED] + [Resolution.FATAL] * 3


@options(inject=("store.read:@1027:fail",), bugs=("apf-endless-retry",))
def test_endless_retry_bug_never_reports_it(rig: Rig) -> None:
    assert always_failing_page(rig) == [Resolution.NOTIFIED] * 4


@options(bugs=("kvm-ready-untold",))
def test_ready_untold_bug(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    rig.swap_out(0)
    rig.set_mode(vcpu, user=False)
    assert rig.fault(vcpu, 0) is Resolution.HALT
    rig.advance(PAGE_IN)
    assert rig.take_interrupt(vcpu) == 0x1000  # of which the guest never heard
    assert any("not outstanding" in text for text in rig.pager.invariants())
    rig.pager.ledger.problems.clear()


@options(bugs=("kvm-no-rescan",))
def test_no_rescan_bug_leaves_the_second_event_waiting(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    for page in range(2):
        rig.swap_out(page)
        rig.fault(vcpu, page)
        rig.take_exception(vcpu)
        rig.clear(vcpu, 0)
    rig.advance(PAGE_IN)
    assert rig.take_interrupt(vcpu) == 0x1000
    rig.advance(PAGE_IN)
    assert rig.take_interrupt(vcpu) is None
    assert rig.pager.done[0]


def test_disable_with_pages_away_forgets_them(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    for page in range(3):
        rig.swap_out(page)
        rig.fault(vcpu, page)
        rig.take_exception(vcpu)
    rig.wrmsr(vcpu, MSR_EN, 0)
    assert not rig.pager.works and not len(rig.pager.gfns) and not rig.pager.io
    rig.advance(PAGE_IN)
    assert rig.take_interrupt(vcpu) is None and rig.is_away(0)
    rig.clear(vcpu, 0)
    rig.enable(vcpu)
    assert rig.take_interrupt(vcpu) == BROADCAST
    assert rig.fault(vcpu, 0) is Resolution.NOTIFIED  # anew
    rig.advance(PAGE_IN)


def test_paging_and_init_flush(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    rig.swap_out(0)
    rig.fault(vcpu, 0)
    rig.take_exception(vcpu)
    rig.pager.paging_switched(vcpu)
    assert not rig.pager.works and rig.pager.on[0]
    rig.fault(vcpu, 0)
    rig.take_exception(vcpu)
    rig.pager.reset_vcpu(vcpu)
    assert not rig.pager.works and not rig.pager.on[0]
    assert rig.machine.board.read_register(vcpu, MSR_EN) == rig.machine.board.read_register(vcpu, MSR_INT) == 0


@options(profile="kvm-2010")
def test_2010_ready_is_a_page_fault_and_waits_for_interrupts(rig: Rig) -> None:
    vcpu = rig.vcpus[0]
    rig.enable(vcpu, 1)
    assert rig.take_exception(vcpu) == (14, 0, BROADCAST) and rig.words(vcpu)[0] == 2
    rig.clear(vcpu, 0)
    rig.swap_out(0)
    assert rig.fault(vcpu, 0) is Resolution.NOTIFIED
    assert rig.take_exception(vcpu) == (14, 0, 0x1000) and rig.words(vcpu)[0] == 1
    rig.clear(vcpu, 0)
    rig.set_mode(vcpu, user=False, interrupts=False)
    rig.advance(PAGE_IN)
    assert rig.take_exception(vcpu) is None and not rig.is_away(0)
    rig.set_mode(vcpu)
    rig.pager.on_exit(vcpu)
    assert rig.take_exception(vcpu) == (14, 0, 0x1000) and rig.words(vcpu)[0] == 2


@options(bugs=("kvm-paging-off",))
def test_paging_off_bug_injects_what_a_real_mode_guest_cannot_take(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    rig.swap_out(0)
    vcpu.set("cr0", vcpu.get("cr0") & ~(1 << 31))
    assert rig.fault(vcpu, 0) is Resolution.NOTIFIED
    assert rig.take_exception(vcpu) == (14, 0, 0x1000)
    rig.advance(PAGE_IN)


def told_while_a_wake_all_waits(rig: Rig) -> Resolution:
    """The wake-all of a second enable finds the slot in use, and waits; a page is touched meanwhile."""
    vcpu = rig.vcpus[0]
    rig.enable(vcpu)
    rig.enable(vcpu)
    assert rig.pager.waiting_broadcast(vcpu)
    rig.swap_out(0)
    return rig.fault(vcpu, 0)


def test_nobody_is_told_while_a_wake_all_waits(rig: Rig) -> None:
    assert told_while_a_wake_all_waits(rig) is Resolution.RETRY
    assert rig.pager.ledger.sync == {"wake-all waits": 1}


@options(bugs=("kvm-early-token",))
def test_early_token_bug_tells_the_sleeper_twice(rig: Rig) -> None:
    assert told_while_a_wake_all_waits(rig) is Resolution.NOTIFIED
    rig.take_exception(rig.vcpus[0])
    rig.advance(PAGE_IN)
    taken = [rig.take_interrupt(rig.vcpus[0]) for _ in range(3)]
    assert taken == [BROADCAST, BROADCAST, 0x1000]  # the wake-all wakes it, and the real event finds nobody


@options(inject=("apf.io:1:delay=500us",))
def test_a_delayed_page_in_is_noted(rig: Rig) -> None:
    vcpu = enabled(rig).vcpus[0]
    rig.swap_out(0)
    rig.fault(vcpu, 0)
    rig.take_exception(vcpu)
    rig.advance(PAGE_IN)
    assert rig.is_away(0) and any("500 us later" in text for text in rig.pager.ledger.notes)
    rig.advance(500_000)
    assert rig.take_interrupt(vcpu) == 0x1000
