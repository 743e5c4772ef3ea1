# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of events and interrupts, and what to say about it when nothing goes on any more.

A wake-up is lost when the partition was told a number and no entry of its ring will ever show it. Each loss has a cause: a defect
of the RFC by its name, the guest's own doing, or an injected failure.
"""

from __future__ import annotations

from typing import Any

from vmemu.protocols.esn_pseries.sns import Post, Sns
from vmemu.protocols.esn_pseries.wire import CONTROL, ENTRY, EXPROPRIATION_ENABLE, RING, VPA_FLAGS, Defect, Profile

#: Causes that are no defect of the RFC.
UNCOUNTED = "the guest's ring"
INJECTED = "injected"


class Events:
    """Counters of one partition, under stable names.

    again: notifications that repeated a page's number. zeros: notifications with number 0. posted: entries filled. signals:
    interrupts due. masked: of these, while H_VIO_SIGNAL had it off or the last one had not ended. lost: cause -> wake-ups.
    """

    COUNTERS = (
        "notified", "fetches", "stores", "again", "zeros", "posted", "signals", "masked", "registered", "deregistered", "wrong_token",
    )  # fmt: skip

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.count = dict.fromkeys(self.COUNTERS, 0)
        self.lost: dict[str, int] = {}
        #: number 0 has been posted: the partition takes its entry for a free one, and never looks behind it
        self.blind = False

    def cause(self, number: int, outcome: Post) -> str | None:
        """Why the wake-up of a number that was posted with this outcome is lost; None when it is not."""
        if outcome is Post.NOT_ARMED:
            return Defect.A7.name
        if outcome.lost:
            return Defect.A6.name if self.profile.has(Defect.A6) else UNCOUNTED
        if self.profile.has(Defect.A5) and (number == 0 or self.blind):
            self.blind = True
            return Defect.A5.name
        if self.profile.entry(number) != number.to_bytes(2, "big"):
            return Defect.A17.name
        return None

    def lose(self, cause: str) -> None:
        self.lost[cause] = self.lost.get(cause, 0) + 1

    # ------------------------------------------------------------------ reports
    def summary(self) -> dict[str, Any]:
        return {**self.count, "lost": dict(sorted(self.lost.items()))}

    def diagnosis(self, sns: Sns, enabled: list[int], page: bytes | None) -> list[str]:
        """What is wrong between guest and platform. `page`: where the area begins; `enabled`: byte 0xb9 of every VPA."""
        found = [f"{n} wake-ups lost by {_explain(cause)}" for cause, n in sorted(self.lost.items())]
        other = 0x41C if self.profile.token == 0x2F8 else 0x2F8
        if self.count["wrong_token"]:
            found.append(
                f"the guest called hypercall {other:#x}, H_REG_SNS of the other profile, {self.count['wrong_token']} times; "
                f"{self.profile.name} has it at {self.profile.token:#x} ({Defect.A1.name}: {Defect.A1.value})"
            )
        if sns.area is None or page is None:
            return found
        control = page[CONTROL]
        if not any(b & EXPROPRIATION_ENABLE for b in enabled):
            found.append(f"no CPU has mask {EXPROPRIATION_ENABLE:#x} of byte 0xb9 of its VPA set: nothing is notified")
        if self.count["posted"] and not self.count["signals"]:
            text = (
                f"{self.count['posted']} numbers were posted and no interrupt was ever due: the trigger, mask {self.profile.mask:#x} "
                f"of byte {CONTROL} of the SNS area, has not moved since it was registered"
            )
            if control == 0x01 and self.profile.mask == 0x80:
                text += f"; byte 0 is 0x01, as the RFC arms ({Defect.A2.name}: {Defect.A2.value}; {Defect.A3.name}: {Defect.A3.value})"
            found.append(text)
        if self.lost.get(Defect.A7.name) and control & 0x80:
            found.append(
                f"byte {CONTROL} of the SNS area is {control:#04x}, as LoPAR arms: such a guest also finds number 0, and that its "
                f"data is zero, at {VPA_FLAGS:#x} of its VPA ({Defect.A4.name}: {Defect.A4.value})"
            )
        last = min(sns.area.size & ~1, len(page))
        waiting = [number for i in range(RING, last, ENTRY) if (number := int.from_bytes(page[i : i + ENTRY], "big"))]
        if waiting:
            numbers = ", ".join(f"{n:#x}" for n in waiting[:8]) + ", ..." * (len(waiting) > 8)
            found.append(f"the ring shows {len(waiting)} numbers that the guest has not cleared: {numbers}")
        if self.count["masked"]:
            found.append(f"{self.count['masked']} interrupts were due while H_VIO_SIGNAL had them off, or the last had not ended")
        if sns.area.overflow and not self.profile.has(Defect.A7):
            found.append("the ring has overflowed: only registering the SNS area anew ends that")
        return found

    # ------------------------------------------------------------------- state
    def save(self) -> dict[str, Any]:
        return {"count": dict(self.count), "lost": dict(self.lost), "blind": self.blind}

    def load(self, state: dict[str, Any]) -> None:
        self.count, self.lost, self.blind = dict(state["count"]), dict(state["lost"]), bool(state["blind"])


def _explain(cause: str) -> str:
    if cause == UNCOUNTED:
        return "an overflow of the ring: entries that the platform had counted as free were not"
    return f"{cause} ({Defect[cause].value})" if cause in Defect.__members__ else cause
