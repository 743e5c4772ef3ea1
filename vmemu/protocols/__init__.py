# SPDX-License-Identifier: GPL-2.0-or-later
"""Floor 5: what hypervisor and guest say to each other. Importing this makes the rooms' boot options known."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vmemu.machine.facility import Facility, Option, register
from vmemu.protocols import tce
from vmemu.protocols.async_page import switches  # noqa: F401 - registers
from vmemu.protocols.esn_pseries import switches as _esn_pseries  # noqa: F401
from vmemu.protocols.kvm_x86 import switches as _kvm_x86  # noqa: F401
from vmemu.protocols.sdei import switches as _sdei  # noqa: F401
from vmemu.protocols.sdei_arm64 import quirks  # noqa: F401 - registers
from vmemu.protocols.vas import switches as vas_switches  # noqa: F401 - registers

if TYPE_CHECKING:
    from vmemu.machine.boot import BootOptions
    from vmemu.machine.machine import Machine

ALL = ("x86_64", "arm64", "ppc64")

#: Profiles of asynchronous page faults: name -> (ISAs, help, module and class that speaks it; empty: nothing).
PROFILES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "off": (ALL, "the vCPU is blocked until the page is there", ""),
    "halt": (ALL, "the guest is not told; the vCPU waits, but takes interrupts", "async_page.halt:Halting"),
    "kvm": (("x86_64",), "KVM since Linux 5.8: away is a #PF, here an interrupt", "kvm_x86.host:KvmX86"),
    "kvm-2010": (("x86_64",), "KVM of 2010: both are #PFs, also in the kernel", "kvm_x86.host:KvmX86"),
    "sdei": (("arm64",), "away by an SDEI event, ready by a PPI (KVM/arm64 series, 2021)", "sdei_arm64.pager:Arm64Pager"),
    "ppi-only": (("arm64",), "away and ready by a PPI", "sdei_arm64.pager:Arm64Pager"),
    "papr": (("ppc64",), "Expropriation/Subvention Notification as LoPAR defines it", "esn_pseries.pager:Esn"),
    "rfc": (("ppc64",), "the same as KVM's RFC of 2021 has it, with its defects", "esn_pseries.pager:Esn"),
}


def _apf(machine: Machine, value: str, options: BootOptions) -> Facility | None:
    home = PROFILES[value][2]
    if not home:
        return None
    module, _, name = home.partition(":")
    made = getattr(importlib.import_module(f"vmemu.protocols.{module}"), name)(machine, value)
    assert isinstance(made, Facility)
    return made


def _cmo(machine: Machine, value: str, options: BootOptions) -> None:
    from vmemu.machine.boards.pseries import Pseries

    if isinstance(machine.board, Pseries):
        machine.board.offer_cmo(value == "on")


def _bolt(machine: Machine, value: str, options: BootOptions) -> None:
    """The loader and the pagers look at the option themselves."""


register(Option("cmo", {"on": (ALL, "the platform offers it"), "off": (("ppc64",), "it does not")}, _cmo))
register(Option("bolt", {"kernel": (ALL, "what the kernel declares is never away"), "none": (ALL, "it may be")}, _bolt))
register(Option("apf", {name: (isas, text) for name, (isas, text, _) in PROFILES.items()}, _apf))


#: Owners of the accelerator switchboard: value -> (ISAs, help, module and class).
OWNERS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "auto": (ALL, "native on ppc64, off elsewhere", ""),
    "off": (ALL, "no accelerator", ""),
    "native": (("ppc64",), "the guest's kernel owns the windows", "native:NativeVas"),
    "powervm": (("ppc64",), "the hypervisor owns the windows", "powervm:PowervmVas"),
}


def _vas(machine: Machine, value: str, options: BootOptions) -> Facility | None:
    if value == "auto":
        value = "native" if machine.board.isa == "ppc64" else "off"
    if value == "off":
        return None
    module, _, name = OWNERS[value][2].partition(":")
    made = getattr(importlib.import_module(f"vmemu.protocols.vas.{module}"), name)(machine, options)
    assert isinstance(made, Facility)
    return made


register(Option("vas", {name: (isas, text) for name, (isas, text, _) in OWNERS.items()}, _vas))
for _option in tce.OPTIONS:
    register(_option)
