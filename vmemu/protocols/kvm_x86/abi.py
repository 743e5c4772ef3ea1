# SPDX-License-Identifier: GPL-2.0-or-later
"""The wire format: MSRs, CPUID, the shared area, tokens. Source, where no other is named: Linux
Documentation/virt/kvm/x86/msr.rst and cpuid.rst (x86-apf.md 1).
"""

from __future__ import annotations

from enum import IntFlag

MSR_EN, MSR_INT, MSR_ACK = 0x4B564D02, 0x4B564D06, 0x4B564D07

CPUID_SIGNATURE, CPUID_FEATURES = 0x40000000, 0x40000001
#: EAX, EBX, ECX, EDX of the first leaf: the highest leaf, then "KVMKVMKVM".
SIGNATURE = (CPUID_FEATURES, 0x4B4D564B, 0x564B4D56, 0x0000004D)


class Feature(IntFlag):
    """EAX of the features leaf; those that concern asynchronous page faults."""

    ASYNC_PF = 1 << 4
    ASYNC_PF_VMEXIT = 1 << 10
    ASYNC_PF_INT = 1 << 14


class En(IntFlag):
    """MSR_KVM_ASYNC_PF_EN; bits 63:6 are the area's address, which is thereby 64-byte aligned."""

    ENABLED = 1
    SEND_ALWAYS = 2
    AS_PF_VMEXIT = 4
    AS_INT = 8


EN_RESERVED = 0x30
#: Until DELIVERY_AS_PF_VMEXIT came: bits 5:2 (Linux 3.11, kvm_pv_enable_async_pf).
EN_RESERVED_2010 = 0x3C
AREA = ~0x3F

#: The shared area: u32 flags (2010: reason) at 0, u32 token at 4. The host looks at no more than these 8 bytes.
FLAGS, TOKEN, AREA_BYTES = 0, 4, 8
NOT_PRESENT, READY_2010 = 1, 2

#: token = id << 12 | vCPU, 32 bits; id << 12 is never 0 (since 2022; x86-apf.md 1).
ID_SHIFT, TOKEN_MASK = 12, 0xFFFFFFFF

DF_VECTOR, PF_VECTOR = 8, 14
CR0_PG = 1 << 31
RFLAGS_IF = 1 << 9
#: hflags bit 3: an STI or MOV SS was the last instruction (isa/x86_64/registers.py).
HFLAGS_SHADOW = 1 << 3
