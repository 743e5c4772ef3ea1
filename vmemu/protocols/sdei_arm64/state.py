# SPDX-License-Identifier: GPL-2.0-or-later
"""What the service keeps for each vCPU (struct kvm_arch_async_pf of the series)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vmemu.protocols.sdei_arm64.abi import ADDRESS, ENABLED, ID_MASK, ID_SHIFT, SEND_ALWAYS
from vmemu.protocols.sdei_arm64.slots import GfnSlots


@dataclass(slots=True)
class VcpuState:
    """`event`, `irq`: set by the VMM, 0 none. `id`: of the next token.

    away_pending, away_token: a not-present is in the buffer and its event not yet delivered. line: the PPI is high and its
    acknowledge owed; muted: the injector has kept it low all the same. seen: tokens that the guest was shown and that are not
    ready. slots: their gfns, and those of pending ones.
    """

    control: int = 0
    event: int = 0
    irq: int = 0
    id: int = 1
    away_pending: bool = False
    away_token: int = 0
    line: bool = False
    muted: bool = False
    seen: list[int] = field(default_factory=list)
    slots: GfnSlots = field(default_factory=GfnSlots)

    @property
    def enabled(self) -> bool:
        return bool(self.control & ENABLED)

    @property
    def user_only(self) -> bool:
        return not self.control & SEND_ALWAYS

    @property
    def buffer(self) -> int:
        """GPA of the shared buffer."""
        return self.control & ADDRESS

    def next_token(self, vcpu: int, *, from_zero: bool) -> int:
        """id << 12 | vCPU. The id is a u16; zero is left out unless the series' own formula is asked for."""
        token = self.id << ID_SHIFT | vcpu
        self.id = self.id + 1 & ID_MASK
        if not self.id and not from_zero:
            self.id = 1
        return token

    def save(self) -> dict[str, Any]:
        return {
            "control": self.control, "event": self.event, "irq": self.irq, "id": self.id, "away_pending": self.away_pending,
            "away_token": self.away_token, "line": self.line, "muted": self.muted,
            "seen": list(self.seen), "slots": list(self.slots.slots),
        }  # fmt: skip

    @classmethod
    def saved(cls, state: dict[str, Any]) -> VcpuState:
        return cls(**{**state, "seen": list(state["seen"]), "slots": GfnSlots(state["slots"])})
