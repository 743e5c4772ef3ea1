# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of the host side."""

from __future__ import annotations

from vmemu.bugs import Bug, register

ROOM = "protocols.vas"
CCW_KEPT, FAULT_OVERRUN, IRQ_DROPPED = "vas-ccw-kept", "vas-fault-overrun", "vas-irq-dropped"

for _name, _text in (
    (CCW_KEPT, "the fault CRB keeps CCW bit 31: one with an odd function code looks consumed, and the FIFO stops there"),
    (FAULT_OVERRUN, "the engine pastes fault CRBs without a credit, over entries that nobody has read"),
    (IRQ_DROPPED, "powervm: a fault while the window's interrupt is in service raises none of its own"),
):
    register(Bug(_name, ROOM, _text))
