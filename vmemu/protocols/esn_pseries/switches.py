# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be made to go wrong, or otherwise, in Expropriation/Subvention Notification: switches, and events for the injector."""

from __future__ import annotations

from vmemu.bugs import Bug, register
from vmemu.clock.inject import Do, declare

ROOM = "protocols.esn_pseries"

ANY_OPCODE = "esn-any-opcode"
DEREGISTER_LIVE = "esn-deregister-live"
LITTLE_HOST = "esn-little-endian-host"
LATE_NUMBERS = "esn-late-numbers"
NO_KICK = "esn-no-kick"
NUMBER_ZERO = "esn-number-zero"
PULSE_RULE = "esn-pulse-rule"
REPLACE = "esn-replace-area"

#: Defects of the RFC that `papr` can have alone: switch -> its name in wire.py.
ALONE = {
    "esn-number-wraps": "A5", "esn-one-slot": "A6", "esn-unarmed-dropped": "A7", "esn-level-trigger": "A3", "esn-stale-dar": "A11",
    "esn-fetch-as-data": "A12", "esn-number-per-fault": "B48",
}  # fmt: skip
WRAPS = "esn-number-wraps"

for _sheet, _name, _text in (
    ("ESN-A1", ANY_OPCODE, "H_REG_SNS is answered at 0x2f8 and at 0x41c, whatever the profile: kernels of the other one get further"),
    ("B46 ESN-A13", DEREGISTER_LIVE, "events are written to the SNS area after it was taken back (RFC, 2021: the ring's pointer stays)"),
    ("B48 ESN-A17", LITTLE_HOST, "the RFC's host is little-endian: entries of the ring are too (with --apf rfc)"),
    ("B44", LATE_NUMBERS, "numbers begin at 0xfff0, so that they soon come round: papr goes on at 1, rfc at 0"),
    ("B45 ESN-A23", NO_KICK, "the interrupt waits until the vCPU that faulted leaves its guest by itself (RFC, 2021: long delays)"),
    ("", NUMBER_ZERO, "a page that is back before the partition goes on is notified all the same, with number 0, as LoPAR allows"),
    ("", PULSE_RULE, "an interrupt that is due before H_EOI of the last one is forgotten, as LoPAR allows virtual devices"),
    ("ESN-O3", REPLACE, "H_REG_SNS takes another area while one is registered, and forgets what is under way"),
    ("B44 ESN-A5", WRAPS, "papr: the counter of numbers, begun at 0xfffe, passes through 0: the ring ends there for good (RFC)"),
    ("B47 ESN-A6", "esn-one-slot", "papr: only the next entry is looked at, not how many events are under way: the ring overflows (RFC)"),
    ("B47 ESN-A7", "esn-unarmed-dropped", "papr: an event is dropped while the trigger bit is 0 (RFC)"),
    ("ESN-A3", "esn-level-trigger", "papr: every event interrupts, whether the partition has asked for it or not (RFC)"),
    ("ESN-A11", "esn-stale-dar", "papr: DAR keeps its old value, and DSISR never says that the access was a store (RFC)"),
    ("ESN-A12", "esn-fetch-as-data", "papr: an instruction fetch is notified by a data storage interrupt (RFC)"),
    ("B48", "esn-number-per-fault", "papr: a page has a new number at every fault, and the VPA names it before it is under way (RFC)"),
):
    register(Bug(_name, ROOM, _text, _sheet))

declare("esn.post", "a number is put into the SNS ring", Do.DROP, Do.DUPLICATE)
declare("esn.irq", "the subvention interrupt is signalled", Do.DROP, Do.DELAY, Do.DUPLICATE)
