# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's calls: what it may ask, and the algorithm of ENABLE, which the VMM's SET_CONTROL runs as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.core import CoreVcpu
from vmemu.devices.smccc import answer, arguments
from vmemu.protocols.sdei_arm64.abi import (
    ADDRESS,
    ENABLED,
    HOST_BYTES,
    INVALID_PARAMETER,
    NOT_REQUIRED,
    NOT_SUPPORTED,
    SLOTS,
    SUCCESS,
    VERSION,
    Sub,
)

if TYPE_CHECKING:
    from vmemu.protocols.sdei_arm64.pager import Arm64Pager


class Service:
    """Vendor function 2 of one machine."""

    def __init__(self, pager: Arm64Pager) -> None:
        self._pager = pager

    def call(self, vcpu: CoreVcpu) -> bool:
        """x1 = sub-function; x0 := result, x1 := what was asked for. A 32-bit call: upper halves of arguments do not count."""
        sub, low, high = arguments(vcpu)[:3]
        state = self._pager.states[vcpu.id]
        values = {Sub.VERSION: VERSION, Sub.SLOTS: SLOTS, Sub.SDEI: state.event, Sub.IRQ: state.irq}
        if sub in values:
            answer(vcpu, SUCCESS, values[Sub(sub)])
        elif sub == Sub.ENABLE:
            answer(vcpu, self.enable(vcpu, high << 32 | low), 0)
        elif sub == Sub.IRQ_ACK:
            self._pager.acknowledge(vcpu)
            answer(vcpu, SUCCESS, 0)
        else:
            answer(vcpu, NOT_SUPPORTED, 0)
        return False

    def enable(self, vcpu: CoreVcpu, control: int) -> int:
        """A new control word. What fails changes nothing."""
        state = self._pager.states[vcpu.id]
        if bool(control & ENABLED) == state.enabled:
            return NOT_REQUIRED
        if not control & ENABLED:
            self._pager.disable(vcpu)
            state.control = control
            return SUCCESS
        sdei = self._pager.sdei
        if not state.irq or (sdei is not None and not state.event):
            return INVALID_PARAMETER
        if sdei is not None and state.event not in sdei.state.events:
            return NOT_SUPPORTED
        if not self._pager.machine.is_ram(control & ADDRESS, HOST_BYTES):
            return NOT_SUPPORTED
        state.slots.clear()
        state.control = control
        self._pager.wake_all(vcpu)
        return SUCCESS
