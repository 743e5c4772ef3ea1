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

for _name, _text in (
    (ANY_OPCODE, "H_REG_SNS is answered at 0x2f8 and at 0x41c, whatever the profile: kernels of the other one get further"),
    (DEREGISTER_LIVE, "events are written to the SNS area after it was taken back (RFC, 2021: the ring's pointer stays)"),
    (LITTLE_HOST, "the RFC's host is little-endian: entries of the ring are too (with --apf rfc)"),
    (LATE_NUMBERS, "numbers begin at 0xfff0, so that they soon come round: papr goes on at 1, rfc at 0"),
    (NO_KICK, "the interrupt waits until the vCPU that faulted leaves its guest by itself (RFC, 2021: long delays)"),
    (NUMBER_ZERO, "a page that is back before the partition goes on is notified all the same, with number 0, as LoPAR allows"),
    (PULSE_RULE, "an interrupt that is due before H_EOI of the last one is forgotten, as LoPAR allows virtual devices"),
    (REPLACE, "H_REG_SNS takes another area while one is registered, and forgets what is under way"),
):
    register(Bug(_name, ROOM, _text))

declare("esn.post", "a number is put into the SNS ring", Do.DROP, Do.DUPLICATE)
declare("esn.irq", "the subvention interrupt is signalled", Do.DROP, Do.DELAY, Do.DUPLICATE)
