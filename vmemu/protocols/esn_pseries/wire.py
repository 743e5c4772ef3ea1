# SPDX-License-Identifier: GPL-2.0-or-later
"""Expropriation/Subvention Notification: what lies where, and in which bits. Two descriptions exist, and differ nearly everywhere.

"LoPAR" is the Linux on Power Architecture Reference 2.9, "Expropriation/Subvention Notification"; "RFC" are the KVM and QEMU patches
of 2021-08-05 (v0, never merged). What the RFC does otherwise is named by its defects, so that each can be had alone, and so that
what they lose can be called by its name. Everything in memory is big-endian (LoPAR, "Endian Support").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

H_REG_SNS = 0x2F8  # function set hcall-esn
H_REG_SNS_RFC = 0x41C  # unassigned in LoPAR; mainline Linux has H_PKS_GET_CONFIG there

#: Answers of H_REG_SNS: unit address for H_VIO_SIGNAL (ours to choose), and the XICS source (free in QEMU's map; the RFC's choice).
UNIT, SOURCE = 0x7100_0002, 0x1002

#: Byte 0xb9 of the VPA: the partition wants expropriation interrupts on this CPU (bit 6).
EXPROPRIATION_ENABLE = 0x02
VPA_FLAGS, VPA_NUMBER, VPA_NUMBER_RFC = 0x17D, 0x17E, 0x118
#: Expropriation flags, bit 7: the page's data will be restored; 0: it is, or will be, zero.
RESTORED = 0x01

#: SNS area: byte 0 is the partition's, byte 1 the platform's, then entries of two bytes, 0 = free.
CONTROL, STATE, RING = 0, 1, 2
ENTRY = 2
MIN_SIZE, AREA_PAGE = 256, 4096
#: The RFC checks no end; this one is ours, so that no guest can have us look through all of its memory (64 KiB pages: A16).
MAX_SIZE_RFC = 0x10000
NONE = (1 << 64) - 1  # address of H_REG_SNS that ends the registration

#: The interrupt image. SRR1 bit 46 marks an expropriation; the others are those of a translation fault.
SRR1_EXPROPRIATED = 0x0002_0000
NO_TRANSLATION, STORE = 0x4000_0000, 0x0200_0000  # DSISR; the former in SRR1 for fetches
DSI, ISI = 0x300, 0x400


class Defect(Enum):
    """What the RFC does otherwise than LoPAR. The names are used in messages; the text says what goes wrong."""

    A1 = "H_REG_SNS is hypercall 0x41c, not 0x2f8"
    A2 = "the trigger and overflow bits are 0x01, not 0x80"
    A3 = "the trigger is a level: every event interrupts"
    A4 = "the number lies at 0x118 of the VPA, not at 0x17e"
    A5 = "the 16-bit counter of numbers passes through 0, which means a free entry"
    A6 = "only the next entry is looked at, not how many events are under way"
    A7 = "an event is dropped unless the control byte is exactly 0x01, and when its entry is in use"
    A9 = "faults of the kernel are never notified"
    A11 = "DAR keeps its old value, and DSISR never says that the access was a store"
    A12 = "an instruction fetch is notified by a data storage interrupt"
    A17 = "entries are in the host's byte order"
    B48 = "a page has a new number at every fault, and the VPA names it before its page-in is under way"


@dataclass(frozen=True, slots=True)
class Profile:
    """One of the two descriptions. `little`: the host is little-endian, which matters to A17 alone."""

    name: str
    defects: frozenset[Defect] = frozenset()
    little: bool = False

    def has(self, defect: Defect) -> bool:
        return defect in self.defects

    @property
    def token(self) -> int:
        return H_REG_SNS_RFC if self.has(Defect.A1) else H_REG_SNS

    @property
    def mask(self) -> int:
        """The trigger bit of byte 0, and the overflow bit of byte 1."""
        return 0x01 if self.has(Defect.A2) else 0x80

    @property
    def number_offset(self) -> int:
        return VPA_NUMBER_RFC if self.has(Defect.A4) else VPA_NUMBER

    def vpa_fields(self, number: int, restored: bool) -> tuple[int, bytes]:
        """(offset, bytes) of what a notification leaves in the VPA. The RFC's has no flags."""
        if self.has(Defect.A4):
            return VPA_NUMBER_RFC, number.to_bytes(2, "big")
        return VPA_FLAGS, bytes([RESTORED if restored else 0]) + number.to_bytes(2, "big")

    def entry(self, number: int) -> bytes:
        return number.to_bytes(ENTRY, "little" if self.has(Defect.A17) and self.little else "big")


PAPR = Profile("papr")
RFC = Profile("rfc", frozenset(Defect))
PROFILES = {p.name: p for p in (PAPR, RFC)}


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A notification as the CPU takes it. dar, dsisr None: the registers keep what they have."""

    vector: int
    srr1: int
    dar: int | None = None
    dsisr: int | None = None


def interrupt(profile: Profile, address: int, access: int, old_dar: int) -> Interrupt:
    """The image of an access (0 load, 1 store, 2 fetch) at an effective address (LoPAR "Expropriation Notification", R1-7 and R1-8)."""
    if access == 2 and not profile.has(Defect.A12):
        return Interrupt(ISI, NO_TRANSLATION | SRR1_EXPROPRIATED)
    if profile.has(Defect.A11):
        return Interrupt(DSI, SRR1_EXPROPRIATED, old_dar, NO_TRANSLATION)
    return Interrupt(DSI, SRR1_EXPROPRIATED, address, NO_TRANSLATION | (STORE if access == 1 else 0))
