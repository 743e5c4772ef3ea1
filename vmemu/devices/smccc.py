# SPDX-License-Identifier: GPL-2.0-or-later
"""The SMC calling convention (Arm DEN 0028), and the vendor-specific hypervisor service under KVM's UID.

x0 = function id, x1..x7 arguments, x0..x3 results. Protocols register functions of the vendor service by number; a guest finds
them in the service's bitmap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu

SMCCC_VERSION, SMCCC_ARCH_FEATURES = 0x80000000, 0x80000001
VERSION_1_1 = 0x10001
SMC64 = 1 << 30
SUCCESS, NOT_SUPPORTED, NOT_REQUIRED, INVALID_PARAMETER = 0, -1, -2, -3

VENDOR = 0x86000000  # fast call, 32-bit convention, owner 6: function N is VENDOR + N
VENDOR_UID = 0x8600FF01
#: 28b46fb6-2ec5-11e9-a9ca-4b564d003a74, as the four words that the call returns (include/linux/arm-smccc.h)
KVM_UID = (0xB66FB428, 0xE911C52E, 0x564BCAA9, 0x743A004D)
VENDOR_FUNCTIONS = 128

#: Serves one function of the vendor service: answers in the vCPU's registers. True: the CPU waits afterwards.
VendorFunction = Callable[["CoreVcpu"], bool]


def arguments(vcpu: CoreVcpu) -> list[int]:
    """x1..x7; of a 32-bit call only the low halves count (DEN 0028 3.1)."""
    mask = (1 << 64) - 1 if vcpu.get("x0") & SMC64 else 0xFFFFFFFF
    return [vcpu.get(f"x{i}") & mask for i in range(1, 8)]


def answer(vcpu: CoreVcpu, *results: int) -> None:
    """x0.. := results; negative numbers are error codes."""
    for i, result in enumerate(results):
        vcpu.set(f"x{i}", result & (1 << 64) - 1)


class VendorService:
    """Functions 1..127 by number; function 0 is the bitmap of them."""

    def __init__(self) -> None:
        self._functions: dict[int, VendorFunction] = {}

    def add(self, number: int, serve: VendorFunction) -> None:
        """Raises ValueError for a number that is taken or out of range."""
        if not 0 < number < VENDOR_FUNCTIONS or number in self._functions:
            raise ValueError(f"vendor function {number}")
        self._functions[number] = serve

    def remove(self, number: int) -> None:
        del self._functions[number]

    def known(self, function: int) -> bool:
        """Somebody serves this function id."""
        return function in (VENDOR_UID, VENDOR) or function - VENDOR in self._functions

    def call(self, vcpu: CoreVcpu) -> bool:
        """Serve the call in vcpu's registers. True: the CPU waits afterwards."""
        function = vcpu.get("x0") & 0xFFFFFFFF
        if function == VENDOR_UID:
            answer(vcpu, *KVM_UID)
        elif function == VENDOR:
            bitmap = 1 | sum(1 << number for number in self._functions)
            answer(vcpu, *(bitmap >> 32 * i & 0xFFFFFFFF for i in range(4)))
        elif function - VENDOR in self._functions:
            return self._functions[function - VENDOR](vcpu)
        else:
            answer(vcpu, NOT_SUPPORTED)
        return False
