# SPDX-License-Identifier: GPL-2.0-or-later
"""MSRs and CPUID leaves, with every rule for what a guest may write (x86-apf.md 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.core import CoreVcpu
from vmemu.machine.board import RegisterFault, SystemRegister
from vmemu.machine.boards.pc_apic import CR0_PAGING
from vmemu.protocols.kvm_x86.abi import (
    AREA,
    AREA_BYTES,
    CPUID_FEATURES,
    CPUID_SIGNATURE,
    EN_RESERVED,
    EN_RESERVED_2010,
    MSR_ACK,
    MSR_EN,
    MSR_INT,
    SIGNATURE,
    En,
    Feature,
)

if TYPE_CHECKING:
    from vmemu.machine.boards.pc import Pc
    from vmemu.protocols.kvm_x86.host import KvmX86


def add(host: KvmX86, board: Pc) -> None:
    """Put the protocol's registers and leaves into the board's registries."""
    features = Feature.ASYNC_PF | (Feature(0) if host.legacy else Feature.ASYNC_PF_INT)
    board.cpuid_leaves[CPUID_SIGNATURE] = lambda _vcpu, _subleaf: SIGNATURE
    board.cpuid_leaves[CPUID_FEATURES] = lambda _vcpu, _subleaf: (int(features), 0, 0, 0)
    board.registers[MSR_EN] = SystemRegister(
        "KVM_ASYNC_PF_EN", lambda vcpu: host.en[vcpu.id], lambda vcpu, value: write_en(host, vcpu, value)
    )
    board.registers[CR0_PAGING] = SystemRegister("CR0.PG", lambda _vcpu: 0, lambda vcpu, _value: host.paging_switched(vcpu))
    if host.legacy:
        return
    board.registers[MSR_INT] = SystemRegister(
        "KVM_ASYNC_PF_INT", lambda vcpu: host.vector[vcpu.id], lambda vcpu, value: write_int(host, vcpu, value)
    )
    board.registers[MSR_ACK] = SystemRegister("KVM_ASYNC_PF_ACK", lambda _vcpu: 0, lambda vcpu, value: write_ack(host, vcpu, value))


def write_en(host: KvmX86, vcpu: CoreVcpu, value: int) -> None:
    """Raises RegisterFault for reserved bits, bits whose CPUID feature is absent, and an area that is not RAM."""
    wanted = En(value & 0xF)
    if "kvm-zero-refused" in host.bugs and not host.has_apic(vcpu):
        raise RegisterFault(f"KVM_ASYNC_PF_EN {value:#x}: no local APIC")
    if value & (EN_RESERVED_2010 if host.legacy else EN_RESERVED):
        raise RegisterFault(f"KVM_ASYNC_PF_EN {value:#x}: reserved bits")
    if En.AS_PF_VMEXIT in wanted:  # CPUID bit 10 is not offered
        raise RegisterFault(f"KVM_ASYNC_PF_EN {value:#x}: no delivery as VM exit")
    on = En.ENABLED in wanted and (host.legacy or En.AS_INT in wanted)
    if on and not host.machine.is_ram(value & AREA, AREA_BYTES):
        raise RegisterFault(f"KVM_ASYNC_PF_EN {value:#x}: the area is not in memory")
    if En.ENABLED in wanted and not on:
        host.ledger.note(f"vCPU {vcpu.id}: EN {value:#x} has bit 0 without bit 3: accepted, and nothing will be delivered")
    host.enable(vcpu, value, on)


def write_int(host: KvmX86, vcpu: CoreVcpu, value: int) -> None:
    """Raises RegisterFault for bits above the vector."""
    if value >> 8:
        raise RegisterFault(f"KVM_ASYNC_PF_INT {value:#x}: reserved bits")
    host.vector[vcpu.id] = value


def write_ack(host: KvmX86, vcpu: CoreVcpu, value: int) -> None:
    """Bit 0 says that the guest has taken the ready event; the others are ignored."""
    if value & 1:
        host.acknowledge(vcpu)
