# SPDX-License-Identifier: GPL-2.0-or-later
"""Floor 0: the engine. One C unit and its typed face.

Nothing above this room knows Unicorn. Time is in `cycles` of 1/64 cycle (`CYC`), addresses are guest-physical unless named
otherwise, pages are 4 KiB.
"""

from vmemu.core.machine import CoreMachine, CoreSnapshot, IoHandler
from vmemu.core.native import crc32c, ffi, lib, selftest
from vmemu.core.values import (
    COUNTERS,
    CYC,
    EVENT_LAYOUT,
    NO_LIMIT,
    NO_SLOT,
    NO_TASK,
    NO_VCPU,
    PAGE_SIZE,
    Access,
    CoreTrap,
    Cycles,
    DmaEnd,
    Event,
    Exit,
    ExitKind,
    IoKind,
    IoResult,
    PageFlag,
    PageState,
    Pending,
    S2Result,
    Stage2,
    TrapKind,
    Walk,
)
from vmemu.core.vcpu import CoreVcpu

__all__ = [
    "COUNTERS", "CYC", "EVENT_LAYOUT", "NO_LIMIT", "NO_SLOT", "NO_TASK", "NO_VCPU", "PAGE_SIZE", "Access", "CoreMachine", "CoreSnapshot",
    "CoreTrap", "CoreVcpu", "Cycles", "DmaEnd", "Event", "Exit", "ExitKind", "IoHandler", "IoKind", "IoResult", "PageFlag", "PageState",
    "Pending", "S2Result", "Stage2", "TrapKind", "Walk", "crc32c", "ffi", "lib", "selftest",
]
