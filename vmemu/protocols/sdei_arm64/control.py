# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMM's control path: get and set of event, interrupt and control word per vCPU, as KVM_ARM_ASYNC_PF_COMMAND.

Three faces of the same operations: Python methods, the ioctl's bytes (`ioctl`), and the words of `vmemu ctl` (`command`).
Where the posted series let numbers change under an enabled service, this refuses (EBUSY); and it checks them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from vmemu.errors import ConfigError
from vmemu.machine.control import Refused
from vmemu.protocols.sdei_arm64.abi import SUCCESS, VERSION

if TYPE_CHECKING:
    from vmemu.protocols.sdei_arm64.pager import Arm64Pager

#: _IOWR(0xAE, 0xCF, struct kvm_arm_async_pf_cmd): u32 cmd, 4 bytes of padding, a union of 8 bytes.
KVM_ARM_ASYNC_PF_COMMAND = 0xC010AECF
COMMAND = struct.Struct("<I4xQ")


class Cmd(IntEnum):
    GET_VERSION = 0
    GET_SDEI = 1
    GET_IRQ = 2
    GET_CONTROL = 3
    SET_SDEI = 4
    SET_IRQ = 5
    SET_CONTROL = 6


#: Private peripheral interrupts, and those of them that are the generic timer's (BSA: 26 to 30).
PPIS, TIMERS = range(16, 32), range(26, 31)
#: Events that a VM may see (series of 2021): type 0x40 in bits 31:24, bits 23:22 = 01.
VISIBLE_MASK, VISIBLE = 0xFFC00000, 0x40400000


class ControlPath:
    """Of one machine. Every method raises Refused with an errno's name first."""

    def __init__(self, pager: Arm64Pager) -> None:
        self._pager = pager

    def _check(self, cpu: int) -> None:
        if not 0 <= cpu < len(self._pager.states):
            raise Refused(f"EINVAL: there is no vCPU {cpu}")

    # ----------------------------------------------------------------- Python
    def get_version(self) -> int:
        """major << 16 | minor << 8 | revision."""
        return VERSION

    def get_sdei(self, cpu: int) -> int:
        """Number of the event of "away"; 0: none."""
        self._check(cpu)
        return self._pager.states[cpu].event

    def get_irq(self, cpu: int) -> int:
        """INTID of the interrupt of "ready"; 0: none."""
        self._check(cpu)
        return self._pager.states[cpu].irq

    def get_control(self, cpu: int) -> int:
        """The control word, as the guest or SET_CONTROL left it."""
        self._check(cpu)
        return self._pager.states[cpu].control

    def set_sdei(self, cpu: int, event: int) -> None:
        """0, or an event that a VM may see. Whether firmware has it shows when the service is enabled."""
        self._check(cpu)
        if event and (event & VISIBLE_MASK != VISIBLE or event >> 32 or self._pager.sdei is None):
            raise Refused(f"EINVAL: event {event:#x} is none that a VM may see, or there is no SDEI")
        self._changeable(cpu)
        self._pager.states[cpu].event = event

    def set_irq(self, cpu: int, irq: int) -> None:
        """0, or a private peripheral interrupt that is not a timer's."""
        self._check(cpu)
        if irq and (irq not in PPIS or irq in TIMERS):
            raise Refused(f"EINVAL: interrupt {irq} is not a free private one ({PPIS.start} to {TIMERS.start - 1}, {PPIS.stop - 1})")
        self._changeable(cpu)
        self._pager.states[cpu].irq = irq

    def _changeable(self, cpu: int) -> None:
        if self._pager.states[cpu].enabled:
            raise Refused(f"EBUSY: vCPU {cpu} has the service enabled")

    def set_control(self, cpu: int, control: int) -> None:
        """The guest's ENABLE on its behalf. The word that is there already: nothing happens. Anything but success: EIO."""
        self._check(cpu)
        if not 0 <= control < 1 << 64:
            raise Refused(f"EINVAL: {control} is no control word")
        if control == self._pager.states[cpu].control:
            return
        result = self._pager.service.enable(self._pager.machine.vcpus[cpu], control)
        if result != SUCCESS:
            raise Refused(f"EIO: ENABLE of {control:#x} on vCPU {cpu} gives {result}")

    # ------------------------------------------------------------------ ioctl
    def ioctl(self, cpu: int | None, data: bytes) -> bytes:
        """KVM_ARM_ASYNC_PF_COMMAND on a vCPU's descriptor, or the VM's (None): struct kvm_arm_async_pf_cmd in and out."""
        if len(data) != COMMAND.size:
            raise Refused("EFAULT: struct kvm_arm_async_pf_cmd has 16 bytes")
        cmd, value = COMMAND.unpack(data)
        gets: dict[int, Callable[[int], int]] = {
            Cmd.GET_SDEI: self.get_sdei, Cmd.GET_IRQ: self.get_irq, Cmd.GET_CONTROL: self.get_control,
        }  # fmt: skip
        sets: dict[int, Callable[[int, int], None]] = {Cmd.SET_SDEI: self.set_sdei, Cmd.SET_CONTROL: self.set_control}
        if (cmd == Cmd.GET_VERSION) != (cpu is None):
            raise Refused(f"EINVAL: command {cmd} is not for this descriptor")
        if cpu is None:
            return COMMAND.pack(cmd, self.get_version())
        if cmd in gets:
            return COMMAND.pack(cmd, gets[cmd](cpu))
        if cmd == Cmd.SET_IRQ:
            self.set_irq(cpu, value & 0xFFFFFFFF)
        elif cmd in sets:
            sets[cmd](cpu, value)
        else:
            raise Refused(f"EINVAL: there is no command {cmd}")
        return data

    # ------------------------------------------------------------- vmemu ctl
    def command(self, words: list[str]) -> str:
        """``get-version``; ``get-sdei CPU``, ``get-irq``, ``get-control``; ``set-sdei CPU VALUE`` ...; ``state CPU``."""
        gets = {"get-sdei": self.get_sdei, "get-irq": self.get_irq, "get-control": self.get_control}
        sets = {"set-sdei": self.set_sdei, "set-irq": self.set_irq, "set-control": self.set_control}
        match words:
            case ["get-version"]:
                return f"{self.get_version():#x}"
            case [name, cpu] if name in gets:
                return f"{gets[name](_number(cpu)):#x}"
            case [name, cpu, value] if name in sets:
                sets[name](_number(cpu), _number(value))
                return "done"
            case ["state", cpu]:
                self._check(_number(cpu))
                return json.dumps(self._pager.states[_number(cpu)].save())
        raise ConfigError(f"apf {' '.join(words)}: write get-version, {', '.join(gets)} or state with a CPU, or "
                          f"{', '.join(sets)} with a CPU and a value")


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ConfigError(f"{text!r} is not a number") from None
