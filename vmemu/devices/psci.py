# SPDX-License-Identifier: GPL-2.0-or-later
"""PSCI 1.1 (Arm DEN 0022), on the SMC calling convention (smccc.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vmemu.devices.base import Quiet, State
from vmemu.devices.smccc import SMC64, SMCCC_ARCH_FEATURES, SMCCC_VERSION, VERSION_1_1, answer, arguments

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu

# DEN 0022 table 5-1 ff.; the 64-bit forms of a call have bit 30 set
PSCI_VERSION, CPU_SUSPEND, CPU_OFF, CPU_ON, AFFINITY_INFO = 0x84000000, 0x84000001, 0x84000002, 0x84000003, 0x84000004
MIGRATE_INFO_TYPE, SYSTEM_OFF, SYSTEM_RESET, PSCI_FEATURES = 0x84000006, 0x84000008, 0x84000009, 0x8400000A

SUCCESS, NOT_SUPPORTED, INVALID_PARAMETERS, DENIED, ALREADY_ON = 0, -1, -2, -3, -4
ON, OFF = 0, 1
VERSION = 1 << 16 | 1


def cpu_of(affinity: int) -> int:
    """MPIDR affinity -> CPU number, as MPIDR_EL1 counts them: 16 to a cluster. -1: no such CPU can be."""
    if affinity & ~0xFFFF or affinity & 0xF0:
        return -1
    return (affinity >> 8) * 16 + (affinity & 15)


class Psci(Quiet):
    """Power states of the CPUs.

    ``power_off(status)`` ends the machine; ``start(cpu, entry, context)`` starts a CPU that is off, ``stop(cpu)`` takes one
    away; ``known(function)`` says whether somebody serves a function id.
    """

    def __init__(
        self,
        cpus: int,
        power_off: Callable[[int], None],
        start: Callable[[int, int, int], None],
        known: Callable[[int], bool],
        stop: Callable[[int], None] = lambda cpu: None,
    ) -> None:
        self._cpus, self._power_off, self._start, self._known, self._stop = cpus, power_off, start, known, stop
        self.reset()

    def reset(self) -> None:
        self.on = [True] + [False] * (self._cpus - 1)

    def call(self, vcpu: CoreVcpu) -> bool:
        """Serve the call in vcpu's registers. True: the CPU waits afterwards."""
        function = vcpu.get("x0") & 0xFFFFFFFF & ~SMC64
        args = arguments(vcpu)
        if function in (CPU_OFF, CPU_SUSPEND):
            if function == CPU_OFF:
                self.on[vcpu.id] = False
                self._stop(vcpu.id)
            answer(vcpu, SUCCESS)
            return True
        answer(vcpu, self._result(function, args))
        return False

    def _result(self, function: int, args: list[int]) -> int:
        if function == PSCI_VERSION:
            return VERSION
        if function == SMCCC_VERSION:
            return VERSION_1_1
        if function == CPU_ON:
            return self._cpu_on(*args[:3])
        if function == AFFINITY_INFO:
            cpu = cpu_of(args[0])
            if not 0 <= cpu < self._cpus or args[1] != 0:
                return INVALID_PARAMETERS
            return ON if self.on[cpu] else OFF
        if function == MIGRATE_INFO_TYPE:
            return 2  # no trusted OS to migrate
        if function in (SYSTEM_OFF, SYSTEM_RESET):
            self._power_off(
                0
            )  # a reset ends the run as well: the machine that would start again is the caller's to make
            return SUCCESS
        if function in (PSCI_FEATURES, SMCCC_ARCH_FEATURES):
            return SUCCESS if self._known(args[0] & 0xFFFFFFFF) else NOT_SUPPORTED
        return NOT_SUPPORTED

    def _cpu_on(self, affinity: int, entry: int, context: int) -> int:
        cpu = cpu_of(affinity)
        if not 0 <= cpu < self._cpus:
            return INVALID_PARAMETERS
        if self.on[cpu]:
            return ALREADY_ON
        self.on[cpu] = True
        self._start(cpu, entry, context)
        return SUCCESS

    # ------------------------------------------------------------------- device
    def read(self, offset: int, size: int) -> int:
        return 0  # reached by HVC and SMC only

    def write(self, offset: int, size: int, value: int) -> None:
        return None

    def save(self) -> State:
        return {"version": 1, "on": list(self.on)}

    def load(self, state: State) -> None:
        self.on = list(state["on"])
