# SPDX-License-Identifier: GPL-2.0-or-later
"""A host of KVM's protocol that breaks one rule at a time, by hand: what each must be called."""

from __future__ import annotations

from collections.abc import Callable

from helpers.apf_x86 import VECTOR
from helpers.seen_x86 import SeenRig

from vmemu.core import CYC, CoreVcpu
from vmemu.core.observe import Fate, Seen, What
from vmemu.lab.models.x86 import MSR_EN, MSR_INT
from vmemu.machine.boards.pc_apic import CR0_PAGING
from vmemu.machine.result import STALLED, make_result


class Liar(SeenRig):
    """Two vCPUs that have enabled the protocol and taken their wake-alls."""

    def __init__(self, attach: Callable[..., object] | None = None) -> None:
        super().__init__(smp=2)
        if attach is not None:
            self.watch.detach()
            self.watch = attach(self.machine)  # type: ignore[assignment]
        for vcpu in self.vcpus:
            self.enable(vcpu)
            assert self.take_interrupt(vcpu) == 0xFFFFFFFF
            self.turn(vcpu)

    @property
    def cpu(self) -> CoreVcpu:
        return self.vcpus[0]

    def say(self, what: What, vcpu: int, a: int = 0, b: int = 0, c: int = 0) -> None:
        assert self.machine.core.observe is not None
        self.machine.core.observe(Seen(what, vcpu, a, b, c))

    def tell(self, token: int, gfn: int = 0x500, *, cpu: int = 0, error: int = 0, flag: int = 1) -> None:
        """ "Not present", about the page that the vCPU has just asked for; the guest takes note."""
        vcpu = self.vcpus[cpu]
        self.say(What.FAULT, cpu, gfn << 12, 0x7000_0000)
        if flag:
            self.machine.write_guest(self.area(vcpu), flag.to_bytes(4, "little"))
        vcpu.inject_exception(14, error, token, 0, True)
        self.say(What.FAULT_DONE, cpu, gfn << 12, 0x7000_0000, Fate.NOTIFIED)
        vcpu.ptr.pend.kind = 0
        self.clear(vcpu, 0)
        self.turn(vcpu)

    def arrive(self, gfn: int = 0x500, later_ns: int = 1_000) -> None:
        self.machine.time_units += later_ns * 2 * CYC
        self.say(What.PAGE_IN, -1, gfn << 12, 1)

    def ready(self, token: int, cpu: int = 0, *, take: bool = True, interrupt: bool = True) -> None:
        vcpu = self.vcpus[cpu]
        self.machine.write_guest(self.area(vcpu) + 4, token.to_bytes(4, "little"))
        if interrupt:
            self.lapic(vcpu).request(VECTOR)
        self.turn(vcpu)
        if take:
            self.take_interrupt(vcpu)
            self.turn(vcpu)

    def write(self, offset: int, data: bytes) -> None:
        self.machine.write_guest(self.area(self.cpu) + offset, data)

    def msr(self, msr: int, value: int, fault: int = 0) -> None:
        self.say(What.REG_WRITE_DONE, 0, msr, value, fault)

    def wait(self, ms: int) -> None:
        for _ in range(ms):
            self.machine.time_units += 1_000_000 * 2 * CYC
            self.turn(self.cpu)

    def end(self, status: int = STALLED) -> None:
        self.watch.at_end(make_result(self.machine, status, "stalled", None, 0.0))


def sixty_five(rig: Liar) -> None:
    for i in range(65):
        rig.tell(0x1000 * (i + 1), 0x500 + i)


def out_of_order(rig: Liar) -> None:
    rig.tell(0x1000, 0x500)
    rig.tell(0x2000, 0x501)
    rig.arrive(0x500)
    rig.arrive(0x501, later_ns=400_000)
    rig.ready(0x2000)


def after(what: Callable[[Liar], None]) -> Callable[[Liar], None]:
    """A token is outstanding; then this; then it is announced."""

    def drive(rig: Liar) -> None:
        rig.tell(0x1000)
        rig.arrive()
        what(rig)
        rig.ready(0x1000)

    return drive


def off_and_on(rig: Liar) -> None:
    rig.wrmsr(rig.cpu, MSR_EN, 0)
    rig.wrmsr(rig.cpu, MSR_EN, rig.area(rig.cpu) | 9)
    rig.take_interrupt(rig.cpu)


def went_away(rig: Liar) -> None:
    rig.machine.set_online(0, False)
    rig.machine.set_online(0, True)
    rig.wrmsr(rig.cpu, MSR_INT, VECTOR)
    rig.wrmsr(rig.cpu, MSR_EN, rig.area(rig.cpu) | 9)
    rig.take_interrupt(rig.cpu)


def amid(rig: Liar) -> None:
    rig.cpu.inject_irq(0x30)
    rig.say(What.FAULT, 0, 0x500000, 0x7000_0000)
    rig.cpu.ptr.pend.kind = 0
    rig.write(0, b"\1\0\0\0")
    rig.cpu.inject_exception(14, 0, 0x1000, 0, True)
    rig.say(What.FAULT_DONE, 0, 0x500000, 0x7000_0000, Fate.NOTIFIED)


def with_registers(**values: int) -> Callable[[Liar], None]:
    def drive(rig: Liar) -> None:
        for name, value in values.items():
            rig.cpu.set(name, value)
        rig.tell(0x1000)

    return drive


def told_nothing(rig: Liar) -> None:
    rig.say(What.FAULT, 0, 0x500000)
    rig.say(What.FAULT_DONE, 0, 0x500000, 0, Fate.NOTIFIED)


def still_in_service(rig: Liar) -> None:
    rig.lapic(rig.cpu).isr |= 1 << VECTOR
    rig.turn(rig.cpu)


def waits_for_nothing(rig: Liar) -> None:
    rig.tell(0x1000)
    rig.arrive()
    rig.wait(8)


def never_raised(rig: Liar) -> None:
    rig.tell(0x1000)
    rig.arrive()
    rig.ready(0x1000, take=False, interrupt=False)
    rig.wait(8)


def no_ack(rig: Liar) -> None:
    rig.tell(0x1000, 0x500)
    rig.tell(0x2000, 0x501)
    rig.arrive(0x500)
    rig.arrive(0x501)
    rig.ready(0x1000, take=False)
    rig.clear(rig.cpu, 4)
    rig.wait(8)


def stalled(rig: Liar) -> None:
    rig.tell(0x1000)
    rig.end()


def stalled_unraised(rig: Liar) -> None:
    rig.tell(0x1000)
    rig.arrive()
    rig.ready(0x1000, take=False, interrupt=False)
    rig.end()


def woken_twice(rig: Liar) -> None:
    rig.msr(MSR_EN, 0)
    rig.msr(MSR_EN, rig.area(rig.cpu) | 9)
    rig.tell(0x3000)
    rig.ready(0xFFFFFFFF)


def without_apic(rig: Liar) -> None:
    rig.apic(rig.cpu, False)
    rig.tell(0x1000)
    rig.arrive()
    rig.ready(0x1000, take=False)


def honest(rig: Liar) -> None:
    """No lie: whoever complains here is wrong."""
    for n in range(1, 4):
        rig.tell(0x1000 * n, 0x500 + n)
    rig.tell(0x1001, 0x600, cpu=1)
    for n in range(1, 4):
        rig.arrive(0x500 + n)
    for n in range(1, 4):
        rig.ready(0x1000 * n)
    rig.wait(10)
    rig.arrive(0x600)
    rig.ready(0x1001, cpu=1)
    rig.tell(0x7000)
    rig.msr(MSR_EN, rig.area(rig.cpu) | 9)  # once more: what sleeps is woken, and may be announced besides
    rig.ready(0xFFFFFFFF)
    rig.arrive()
    rig.ready(0x7000)
    off_and_on(rig)
    rig.msr(MSR_EN, 0x30, fault=1)
    rig.msr(MSR_EN, 0x40 | 4, fault=1)
    rig.msr(MSR_INT, 0x100, fault=1)
    rig.say(What.REG_READ_DONE, 0, MSR_INT, VECTOR)
    rig.say(What.REG_READ_DONE, 0, MSR_EN, rig.area(rig.cpu) | 9)
    rig.wait(10)
    rig.end(0)


def steps(*each: Callable[[Liar], None]) -> Callable[[Liar], None]:
    def drive(rig: Liar) -> None:
        for step in each:
            step(rig)

    return drive


def told(rig: Liar) -> None:
    """A token is outstanding, and its page is there."""
    rig.tell(0x1000)
    rig.arrive()


LIES: dict[str, tuple[Callable[[Liar], None], str]] = {
    "a write elsewhere": (lambda rig: rig.machine.write_guest(0x50_0000, bytes(4)), "OWN"),
    "beyond the host's bytes": (lambda rig: rig.write(4, b"\0" * 8), "OWN"),
    "a third word": (lambda rig: rig.write(8, b"\0" * 4), "OWN"),
    "a reason of 2010": (lambda rig: rig.write(0, b"\2\0\0\0"), "SLOT"),
    "flags over flags": (steps(lambda rig: rig.write(0, b"\1\0\0\0"), lambda rig: rig.write(0, b"\1\0\0\0")), "SLOT"),
    "a token over a token": (steps(told, lambda rig: rig.ready(0x1000, take=False), lambda rig: rig.ready(0x1000)), "SLOT"),
    "an error code": (lambda rig: rig.tell(0x1000, error=4), "CLASS"),
    "no flag": (lambda rig: rig.tell(0x1000, flag=0), "CLASS"),
    "another vCPU's token": (lambda rig: rig.tell(0x1001), "TOK"),
    "everybody's token": (lambda rig: rig.tell(0xFFFFFFFF), "TOK"),
    "token 0": (lambda rig: rig.tell(0), "TOK"),
    "a token twice": (steps(told, lambda rig: rig.tell(0x1000, 0x501)), "TOK"),
    "a page twice": (steps(told, lambda rig: rig.tell(0x2000)), "TOK"),
    "one too many": (sixty_five, "COUNT"),
    "ready of nothing": (lambda rig: rig.ready(0x9000), "PAIR"),
    "ready before the page": (steps(lambda rig: rig.tell(0x1000), lambda rig: rig.ready(0x1000)), "PAIR"),
    "ready elsewhere": (steps(told, lambda rig: rig.ready(0x1000, cpu=1)), "PAIR"),
    "a wake-all for nothing": (lambda rig: rig.ready(0xFFFFFFFF), "PAIR"),
    "woken twice": (woken_twice, "PAIR"),
    "without a local APIC": (without_apic, "LIVE"),
    "out of order": (out_of_order, "ORDER"),
    "ready after off and on": (after(off_and_on), "PAIR"),
    "ready after a reset": (after(went_away), "PAIR"),
    "ready after paging was switched": (after(lambda rig: rig.msr(CR0_PAGING, 0)), "PAIR"),
    "a double fault": (lambda rig: rig.cpu.inject_exception(8, 0, 0, 0, True), "LEGAL"),
    "interrupts off": (with_registers(rflags=2), "LEGAL"),
    "in a shadow": (with_registers(hflags=0xB), "LEGAL"),
    "in the kernel": (with_registers(hflags=0), "LEGAL"),
    "without paging": (with_registers(cr0=1), "LEGAL"),
    "over another event": (amid, "LEGAL"),
    "told nothing": (told_nothing, "PAIR"),
    "reserved bits accepted": (lambda rig: rig.msr(MSR_EN, 0x10), "MSRW"),
    "a VM exit accepted": (lambda rig: rig.msr(MSR_EN, 4), "MSRW"),
    "no memory accepted": (lambda rig: rig.msr(MSR_EN, 1 << 45 | 9), "MSRW"),
    "zero refused": (lambda rig: rig.msr(MSR_EN, 0, fault=1), "MSRW"),
    "a long vector accepted": (lambda rig: rig.msr(MSR_INT, 0x100), "MSRW"),
    "a vector refused": (lambda rig: rig.msr(MSR_INT, 0x40, fault=1), "MSRW"),
    "another value read": (lambda rig: rig.say(What.REG_READ_DONE, 0, MSR_EN, 0), "MSRW"),
    "no such register": (lambda rig: rig.say(What.REG_READ_DONE, 0, MSR_INT, 0, 1), "MSRW"),
    "a register that changes": (steps(lambda rig: rig.msr(MSR_INT, 0x41), lambda rig: rig.turn(rig.cpu)), "MSRW"),
    "no end of interrupt": (still_in_service, "EOI"),
    "nobody announces": (waits_for_nothing, "LIVE"),
    "no interrupt": (never_raised, "LIVE"),
    "no acknowledge": (no_ack, "LIVE"),
    "a stall": (stalled, "LIVE"),
    "a stall without an interrupt": (stalled_unraised, "LIVE"),
    "token 0 announced": (lambda rig: rig.ready(0), "TOK"),
}
