# SPDX-License-Identifier: GPL-2.0-or-later
"""DMA windows of a pseries partition: the H_PUT_TCE family, answered on a ladder of three levels (docs/tce.md).

    wire.py      the calls and their entries, as they cross the border
    profiles.py  what LoPAR, KVM and QEMU say to each case; the one place where arguments are checked
    src/         the host kernel in C: linear memory, page structs, tables; real mode, which may use nothing else
    native.py    its typed face
    kernel.py    pages for DMA: pinned and let go
    away.py      those that have to come from the store first
    virtual.py   user.py    the levels above real mode
    ladder.py    from level to level, and what each costs
    facility.py  all of it in a machine, with a network card
    bugs.py      bugs of real code, as switches
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vmemu.machine.facility import AUTO, Facility, Option
from vmemu.protocols.tce import bugs  # noqa: F401 - registers

if TYPE_CHECKING:
    from vmemu.machine.boot import BootOptions
    from vmemu.machine.machine import Machine

_ALL = ("x86_64", "arm64", "ppc64")
_PPC = ("ppc64",)


def _make(machine: Machine, value: str, options: BootOptions) -> Facility | None:
    if value in (AUTO, "off"):
        return None
    home = importlib.import_module("vmemu.protocols.tce.facility")  # late: it needs its C unit
    made = home.Tce(machine, value, real_mode=options.tce_real_mode == "on", shape=home.SHAPES[options.tce_pages],
                    busy=options.tce_away == "busy")  # fmt: skip
    assert isinstance(made, Facility)
    return made


def _nothing(machine: Machine, value: str, options: BootOptions) -> Facility | None:
    return None


OPTIONS = (
    Option("tce", {
        AUTO: (_ALL, "as the image asks, else off"),
        "off": (_ALL, "no DMA window"),
        "papr": (_PPC, "what LoPAR says"),
        "kvm": (_PPC, "KVM of 2022, with QEMU behind it"),
        "kvm-4.14": (_PPC, "KVM of 2017, with QEMU behind it"),
        "qemu": (_PPC, "QEMU of 2014 alone"),
    }, _make),
    Option("tce_real_mode", {"on": (_ALL, "first"), "off": (_ALL, "never, as with radix guests of real hosts")}, _nothing),
    Option("tce_away", {
        "busy": (_ALL, "a call that needs a page that is away answers long busy, to a guest that has agreed to CMO"),
        "suspend": (_ALL, "the vCPU waits"),
    }, _nothing),
    Option("tce_pages", {
        "vmemmap": (_ALL, "page structs of 64 bytes in a virtual array of scattered blocks"),
        "vmemmap-4k": (_ALL, "in blocks of 4 KiB: many of them"),
        "vmemmap-56": (_ALL, "of 56 bytes: some straddle two blocks"),
        "vmemmap-72": (_ALL, "of 72 bytes"),
        "flatmem": (_ALL, "one array in the linear map"),
    }, _nothing),
)  # fmt: skip
