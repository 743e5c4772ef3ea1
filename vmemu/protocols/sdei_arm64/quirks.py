# SPDX-License-Identifier: GPL-2.0-or-later
"""Defects of the posted series as switches; without one, the host does what the series should have done."""

from __future__ import annotations

from vmemu.bugs import Bug, register

ROOM = "protocols.sdei_arm64"

TOKEN_ZERO, REFAULT_SPIN, FAILED_INJECTION = "sdei-token-zero", "sdei-refault-spin", "sdei-failed-injection"
DISABLE_KEEPS_ACK, CRITICAL, ZERO_REGISTERS = "sdei-disable-keeps-ack", "sdei-critical", "sdei-zero-registers"

for _name, _sheet, _text in (
    (TOKEN_ZERO, "SDEI-4", "arm64: the first token of a vCPU is id 0, and again after 65536; of vCPU 0 that is no token (E. Auger, 2021)"),
    (REFAULT_SPIN, "SDEI-2", "arm64: a fault on a page that is under way resumes the guest, which faults again and again (J. Morse)"),
    (FAILED_INJECTION, "B51 SDEI-1", "arm64: an event that cannot be delivered leaves buffer and flags behind, and a ready for it follows"),
    (DISABLE_KEEPS_ACK, "B52 SDEI-5", "arm64: disabling leaves the interrupt high and its acknowledge owed"),
    (CRITICAL, "B50", "arm64: not-present is a critical event, which interrupts normal handlers"),
    (ZERO_REGISTERS, "SDEI-10", "arm64: x4 to x17 are zero at an SDEI handler's entry"),
):
    register(Bug(_name, ROOM, _text, _sheet))
