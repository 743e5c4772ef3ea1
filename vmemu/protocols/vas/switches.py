# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of the host side, and what the injector can spoil."""

from __future__ import annotations

from vmemu.bugs import Bug, register
from vmemu.clock.inject import Do, declare

ROOM = "protocols.vas"
CCW_KEPT, FAULT_OVERRUN, IRQ_DROPPED = "vas-ccw-kept", "vas-fault-overrun", "vas-irq-dropped"

for _sheet, _name, _text in (
    ("VAS-1", CCW_KEPT, "the fault CRB keeps CCW bit 31: one with an odd function code looks consumed, and the FIFO stops there"),
    ("VAS-P4", FAULT_OVERRUN, "the engine pastes fault CRBs without a credit, over entries that nobody has read"),
    ("VAS-P10", IRQ_DROPPED, "powervm: a fault while the window's interrupt is in service raises none of its own"),
):
    register(Bug(_name, ROOM, _text, _sheet))

JOB = declare("nx.job", "the engine begins a job: fail and corrupt end it with CC 10 and 20, drop hangs it (CC 224)",
              Do.FAIL, Do.CORRUPT, Do.DROP, Do.DELAY)  # fmt: skip
INTERRUPT = declare("nx.interrupt", "a fault paste raises its interrupt", Do.DROP, Do.DELAY, Do.DUPLICATE)
