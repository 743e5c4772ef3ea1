# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUID of the pc board: what the engine's CPU model has and the host can promise to be deterministic.

Nothing beyond SSE4.2: no AVX, XSAVE, RDRAND, PCID, SMAP. The TSC is invariant at twice a 1 GHz crystal, which also
drives the APIC timer. SDM 2, CPUID.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu

Leaf = tuple[int, int, int, int]

CRYSTAL_HZ = 1_000_000_000
TSC_RATIO = 2  # TSC = crystal * 2 = 2 GHz, the CPU's nominal clock


def _bits(*positions: int) -> int:
    return sum(1 << p for p in positions)


def _text(words: str) -> tuple[int, int, int]:
    data = words.encode().ljust(12, b"\0")
    return tuple(int.from_bytes(data[i : i + 4], "little") for i in (0, 4, 8))  # type: ignore[return-value]


def _vendor() -> Leaf:
    b, d, c = _text("GenuineIntel")
    return 0x16, b, c, d


FEATURES_EDX = _bits(
    0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15, 16, 19, 23, 24, 25, 26
)  # fpu de pse tsc msr pae mce cx8 apic sep pge mca cmov pat clflush mmx fxsr sse sse2
FEATURES_ECX = _bits(
    0, 9, 13, 19, 20, 21, 22, 23, 24, 31
)  # sse3 ssse3 cx16 sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline hypervisor
FEATURES_7_EBX = _bits(0, 3, 7, 8)  # fsgsbase bmi1 smep bmi2
HTT = 1 << 28  # leaf 1 EDX: EBX has the number of ids in a package
MOST_CPUS = 16
EXTENDED_EDX = _bits(11, 20, 26, 27, 29)  # syscall nx 1GiB-pages rdtscp lm


def _features(vcpu: CoreVcpu, _subleaf: int) -> Leaf:
    # family 15: REP_GOOD stays off in Linux, whose copies are then loops instead of slow `rep movs`
    several = len(vcpu.machine.vcpus) > 1
    ids = MOST_CPUS if several else 1
    return 0xF61, vcpu.id << 24 | ids << 16 | 8 << 8, FEATURES_ECX, FEATURES_EDX | (HTT if several else 0)


def _topology(vcpu: CoreVcpu, subleaf: int) -> Leaf:
    """One thread to a core, one package: levels 1 (SMT) and 2 (core), then none."""
    count = len(vcpu.machine.vcpus)
    exists = subleaf < 2
    shift = MOST_CPUS.bit_length() - 1 if subleaf == 1 and count > 1 else 0
    return shift, (1, count)[subleaf] if exists else 0, subleaf & 0xFF | (subleaf + 1 << 8 if exists else 0), vcpu.id


def _constant(*values: int) -> Callable[[CoreVcpu, int], Leaf]:
    a, b, c, d = values
    return lambda _vcpu, _subleaf: (a, b, c, d)


def _hypervisor() -> Leaf:
    b, c, d = _text("vmemuvmemu")
    return 0x40000000, b, c, d


CPUID_LEAVES: dict[int, Callable[[CoreVcpu, int], Leaf]] = {
    0x0: _constant(*_vendor()),
    0x1: _features,
    0x7: lambda _vcpu, subleaf: (0, FEATURES_7_EBX if subleaf == 0 else 0, 0, 0),
    0xB: _topology,
    0x15: _constant(1, TSC_RATIO, CRYSTAL_HZ, 0),
    0x16: _constant(CRYSTAL_HZ * TSC_RATIO // 1_000_000, CRYSTAL_HZ * TSC_RATIO // 1_000_000, 100, 0),
    0x40000000: _constant(*_hypervisor()),
    0x80000000: _constant(0x80000008, 0, 0, 0),
    0x80000001: _constant(0, 0, 1, EXTENDED_EDX),  # lahf
    0x80000007: _constant(0, 0, 0, 1 << 8),  # invariant TSC
    0x80000008: _constant(48 << 8 | 40, 0, 0, 0),  # linear and physical address bits
}
