# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that does anything at all, against a model that knows nothing of the host's queues: what was told comes back once, when
its page is there; nothing else comes; and once the guest behaves, everything comes.
"""

from __future__ import annotations

from typing import Any

from helpers.apf_x86 import AREA, VECTOR, Rig
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from vmemu.core import CoreVcpu
from vmemu.devices.lapic import EOI, SVR
from vmemu.machine import snapshot
from vmemu.machine.board import RegisterFault
from vmemu.machine.facility import Resolution
from vmemu.protocols.async_page.work import LIMIT
from vmemu.protocols.kvm_x86.abi import MSR_ACK, MSR_EN, MSR_INT

BROADCAST = 0xFFFFFFFF
CPUS = st.integers(0, 1)
PAGE = st.integers(0, 70)


class Guest(RuleBasedStateMachine):
    """`told`: token -> page, of each vCPU, that the guest was told of and that did not come back."""

    bugs: tuple[str, ...] = ()

    @initialize(seed=st.integers(0, 3), store_buffer=st.booleans())
    def boot(self, seed: int, store_buffer: bool) -> None:
        """Seed 0: every sequence of the host runs through; otherwise others come between its steps."""
        self.rig = Rig(smp=2, latency="100us", seed=seed, store_buffer=store_buffer, bugs=self.bugs)
        self.told: list[dict[int, int]] = [{}, {}]
        self.woken: list[set[int]] = [set(), set()]
        self.written = [False, False]  # the guest lost or overwrote what it was told: it may see anything
        self.evicted = False  # pages went away again after they had come
        for vcpu in self.rig.vcpus:
            self.rig.enable(vcpu)

    def teardown(self) -> None:
        if not hasattr(self, "rig"):
            return
        try:
            self.behave()
        finally:
            self.rig.close()

    def vcpu(self, cpu: int) -> CoreVcpu:
        return self.rig.vcpus[cpu]

    # ----------------------------------------------------------------- rules
    @rule(cpu=CPUS, page=PAGE, nr=st.sampled_from((0, 0, 0, 1)))
    def fault(self, cpu: int, page: int, nr: int) -> None:
        vcpu = self.vcpu(cpu)
        if vcpu.halted or vcpu.held or vcpu.event_pending:
            return
        self.evicted |= not self.rig.is_away(page)
        self.rig.swap_out(page)
        resolution = self.rig.fault(vcpu, page, nr)
        while vcpu.held:  # its own thread is amid the setup
            self.rig.advance(500)
        found = self.rig.take_exception(vcpu)
        if not self.rig.machine.choices.is_default:
            assert found is not None or resolution is not Resolution.NOTIFIED
        else:
            assert (found is not None) == (resolution is Resolution.NOTIFIED)
        if found is None:
            return
        assert nr == 0 and vcpu.get("rflags") & 0x200 and self.rig.pager.on[cpu]
        vector, error, token = found
        assert (vector, error) == (14, 0) and token & 0xFFF == cpu and token not in (0, BROADCAST)
        assert token not in self.told[cpu] and self.rig.words(vcpu)[0] == 1
        self.told[cpu][token] = page
        self.rig.clear(vcpu, 0)

    @rule(ns=st.integers(0, 300_000))
    def wait(self, ns: int) -> None:
        self.rig.advance(ns)

    @rule(cpu=CPUS, clear=st.booleans(), ack=st.booleans(), eoi=st.booleans())
    def interrupt(self, cpu: int, clear: bool, ack: bool, eoi: bool) -> None:
        vcpu = self.vcpu(cpu)
        lapic = self.rig.lapic(vcpu)
        if vcpu.held or not vcpu.get("rflags") & 0x200 or lapic.pending() != VECTOR:
            return
        lapic.acknowledge()
        vcpu.halted = False
        token = self.rig.words(vcpu)[1]
        if eoi:
            lapic.write(EOI, 4, 0)
        self.came(cpu, token)
        if clear:
            self.rig.clear(vcpu, 4)
        if ack:
            self.rig.wrmsr(vcpu, MSR_ACK, 1)

    def came(self, cpu: int, token: int) -> None:
        if token == BROADCAST:  # everybody is awake, and will fault again if need be; what was told before may still come
            self.woken[cpu] |= set(self.told[cpu])
            self.told[cpu].clear()
        elif token in self.woken[cpu]:
            self.woken[cpu].discard(token)
        elif not self.written[cpu]:
            assert token in self.told[cpu]
            assert not self.rig.is_away(self.told[cpu][token]) or self.evicted
            del self.told[cpu][token]

    @rule(cpu=CPUS, value=st.sampled_from((0, 1, 3, 8, 9, 11, 13, 0x19)), area=st.sampled_from((0, 1, 1 << 30, (1 << 58) - 1)))
    def write_en(self, cpu: int, value: int, area: int) -> None:
        vcpu = self.vcpu(cpu)
        if vcpu.held:
            return
        gpa = self.rig.area(vcpu) if area == 0 else AREA + 0x800 + 64 * cpu if area == 1 else area << 6
        valid = not value & 0x34 and (value & 9 != 9 or area < 2)
        try:
            self.rig.wrmsr(vcpu, MSR_EN, gpa & ~0x3F | value)
        except RegisterFault:
            assert not valid
            return
        assert valid
        if value & 9 != 9:
            self.told[cpu].clear()  # a guest that disables wakes its sleepers itself
        if area == 1:  # back to where this test looks; what went to the other place is lost
            self.rig.wrmsr(vcpu, MSR_EN, self.rig.area(vcpu) | value)
            self.written[cpu] = True

    @rule(cpu=CPUS, value=st.sampled_from((VECTOR, 0, 15, 0x100, 1 << 40)))
    def write_int(self, cpu: int, value: int) -> None:
        try:
            self.rig.wrmsr(self.vcpu(cpu), MSR_INT, value)
            self.written[cpu] |= value != VECTOR  # interrupts go astray
        except RegisterFault:
            assert value >> 8

    @rule(cpu=CPUS, value=st.integers(0, 3))
    def acknowledge(self, cpu: int, value: int) -> None:
        if not self.vcpu(cpu).held:
            self.rig.wrmsr(self.vcpu(cpu), MSR_ACK, value)

    @rule(cpu=CPUS, offset=st.sampled_from((0, 4)), value=st.integers(0, BROADCAST))
    def scribble(self, cpu: int, offset: int, value: int) -> None:
        self.written[cpu] = True
        self.rig.machine.write_guest(self.rig.area(self.vcpu(cpu)) + offset, value.to_bytes(4, "little"))

    @rule(cpu=CPUS, user=st.booleans(), interrupts=st.booleans())
    def mode(self, cpu: int, user: bool, interrupts: bool) -> None:
        self.rig.set_mode(self.vcpu(cpu), user, interrupts)

    @rule(cpu=CPUS, enabled=st.booleans())
    def lapic(self, cpu: int, enabled: bool) -> None:
        self.rig.lapic(self.vcpu(cpu)).write(SVR, 4, 0x1FF if enabled else 0xFF)

    @rule(cpu=CPUS)
    def reset(self, cpu: int) -> None:
        self.rig.pager.reset_vcpu(self.vcpu(cpu))
        self.told[cpu].clear()
        self.rig.enable(self.vcpu(cpu))

    @rule(ns=st.integers(0, 200_000))
    def there_and_back(self, ns: int) -> None:
        """A snapshot with pages in flight: what comes after it comes again."""
        machine = self.rig.machine
        taken = snapshot.take(machine)
        self.rig.advance(ns)
        first = self.seen()
        snapshot.restore(machine, taken)
        self.rig.advance(ns)
        assert self.seen() == first
        snapshot.drop(machine, taken)

    def seen(self) -> list[Any]:
        state = self.rig.pager.save()
        return [state, [self.rig.words(v) for v in self.rig.vcpus], [self.rig.lapic(v).save() for v in self.rig.vcpus]]

    # ------------------------------------------------------------ invariants
    @invariant()
    def host_is_sound(self) -> None:
        assert not self.rig.pager.invariants()
        assert len(self.rig.pager.works) <= 2 * (LIMIT + 1) and len(self.rig.machine.queue) <= 2 * LIMIT + 2

    @invariant()
    def nothing_is_told_twice(self) -> None:
        away = self.rig.pager.ledger.away
        assert len(away) <= 2 * LIMIT

    def behave(self) -> None:
        """From here on the guest is well behaved: everything it was told of comes back."""
        self.rig.advance(1_000_000)
        for cpu, vcpu in enumerate(self.rig.vcpus):
            while vcpu.held:
                self.rig.advance(500)
            self.rig.set_mode(vcpu)
            lapic = self.rig.lapic(vcpu)
            lapic.write(SVR, 4, 0x1FF)
            while lapic.isr:
                lapic.write(EOI, 4, 0)
            while (token := self.rig.take_interrupt(vcpu)) is not None:
                self.came(cpu, token)
            self.rig.wrmsr(vcpu, MSR_INT, VECTOR)
            if not self.rig.pager.on[cpu]:
                self.rig.enable(vcpu)
            if lapic.pending() != VECTOR:  # nothing is on its way: what is in the slot was lost
                self.rig.clear(vcpu, 4)
                self.rig.wrmsr(vcpu, MSR_ACK, 1)
        for _ in range(3 * LIMIT):
            self.rig.advance(200_000)
            for cpu, vcpu in enumerate(self.rig.vcpus):
                vector = self.rig.lapic(vcpu).pending()
                if vector is not None and vector != VECTOR:
                    self.rig.lapic(vcpu).acknowledge()
                    self.rig.lapic(vcpu).write(EOI, 4, 0)
                token = self.rig.take_interrupt(vcpu)
                if token is not None:
                    self.came(cpu, token)
        for cpu, vcpu in enumerate(self.rig.vcpus):
            assert not vcpu.halted
            assert self.written[cpu] or not self.told[cpu], f"told and never ready: {self.told[cpu]}"
        assert not self.rig.pager.works


TestHostileGuest = Guest.TestCase
TestHostileGuest.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
