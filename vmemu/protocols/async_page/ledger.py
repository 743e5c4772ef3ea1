# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of each token: counters under stable names, violations, and the table at the end of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vmemu.core import CYC, CoreVcpu

if TYPE_CHECKING:
    from vmemu.protocols.async_page.work import Work

#: So many texts of each kind are kept: a broken protocol must not fill the memory.
MOST_TEXTS = 50


@dataclass
class Overlap:
    """Time in which a vCPU was at work although it had pages away: what asynchrony gained.

    `pages`: tokens of it that are outstanding; `since`: its clock, idle and blocked time (CYC) when the first one was.
    """

    pages: int = 0
    since: list[int] = field(default_factory=lambda: [0, 0, 0])
    gained: int = 0

    @staticmethod
    def _clock(vcpu: CoreVcpu) -> list[int]:
        return [vcpu.cycles, vcpu.idle_cycles, vcpu.blocked_cycles]

    def begin(self, vcpu: CoreVcpu) -> None:
        if not self.pages:
            self.since = self._clock(vcpu)
        self.pages += 1

    def end(self, vcpu: CoreVcpu) -> None:
        self.pages -= 1
        if not self.pages:
            now = self._clock(vcpu)
            took, idle, blocked = (b - a for a, b in zip(self.since, now, strict=True))
            self.gained += max(took - idle - blocked, 0)

    def save(self) -> list[Any]:
        return [self.pages, list(self.since), self.gained]


class Ledger:
    """Counts. `notified`: the guest was told that a page is away; `ready`: that it is back; a token has at most one of each.

    `faults`: stage-2 faults that needed the store. `works`: of these, page-ins made asynchronously. `halted`: times that a
    vCPU waited although its page-in was asynchronous; `repeated`: faults on a page that was under way already.
    """

    COUNTERS = (
        "faults", "works", "notified", "ready", "halted", "repeated", "cancelled", "wake_all", "failed", "unsent",
    )  # fmt: skip

    def __init__(self, vcpus: int) -> None:
        self.count = dict.fromkeys(self.COUNTERS, 0)
        self.sync: dict[str, int] = {}
        #: token -> (vCPU, gva, gpa) of those that the guest was told of and that are not back.
        self.away: dict[int, list[int]] = {}
        self.problems: list[str] = []
        #: What an injected failure or a switched-on bug took away: "token 0x1000: ready dropped (injected)".
        self.losses: list[str] = []
        #: What is legal, and worth knowing.
        self.notes: list[str] = []
        self.overlap = [Overlap() for _ in range(vcpus)]
        self.latency_ns = 0

    def problem(self, text: str) -> None:
        if len(self.problems) < MOST_TEXTS:
            self.problems.append(text)

    def lost(self, text: str) -> None:
        if len(self.losses) < MOST_TEXTS:
            self.losses.append(text)

    def note(self, text: str) -> None:
        if len(self.notes) < MOST_TEXTS and text not in self.notes:
            self.notes.append(text)

    def refused(self, reason: str) -> None:
        self.sync[reason] = self.sync.get(reason, 0) + 1

    def told(self, vcpu: CoreVcpu, work: Work) -> None:
        """The guest sees that the page is away."""
        self.count["notified"] += 1
        if work.token in self.away:
            self.problem(f"{work}: the token is in use already")
        self.away[work.token] = [work.vcpu, work.gva, work.gpa]
        self.overlap[vcpu.id].begin(vcpu)

    def came_back(self, vcpu: CoreVcpu, work: Work) -> None:
        """The guest sees that the page is back."""
        self.count["ready"] += 1
        self._end(vcpu, work, "ready")

    def took_back(self, vcpu: CoreVcpu, work: Work) -> None:
        """The guest never saw, or will never see, what `told` counted."""
        self.count["cancelled"] += 1
        self._end(vcpu, work, "cancel")

    def _end(self, vcpu: CoreVcpu, work: Work, what: str) -> None:
        if self.away.pop(work.token, None) is None:
            self.problem(f"{work}: {what} of a token that is not outstanding")
            return
        self.overlap[vcpu.id].end(vcpu)

    def summary(self, units_per_us: int) -> dict[str, Any]:
        blocked = sum(self.sync.values())
        return {
            "notified": self.count["notified"],
            "ready": self.count["ready"],
            "sync_fallback": blocked,
            "halted": self.count["halted"],
            "sync_reasons": dict(sorted(self.sync.items())),
            **{name: self.count[name] for name in self.COUNTERS if name not in ("notified", "ready", "halted")},
            "outstanding_at_end": len(self.away),
            "page_in_ns": self.latency_ns,
            "gained_ns": sum(o.gained for o in self.overlap) * 1000 // units_per_us,
            "losses": list(self.losses),
            "notes": list(self.notes),
            "violations": list(self.problems),
        }

    def lines(self, profile: str, summary: dict[str, Any], blocked_cycles: int, cpu_hz: int) -> list[str]:
        """The table that people see at the end of a run."""
        c = self.count
        out = [
            f"async page faults ({profile}): {c['faults']} faults, {c['works']} page-ins made asynchronously, "
            f"{c['notified']} tokens told, {c['ready']} ready, {c['cancelled']} taken back, {c['wake_all']} wake-alls",
            f"  halts: {c['halted']} ({c['repeated']} repeated); synchronous: "
            + (", ".join(f"{n} {reason}" for reason, n in sorted(self.sync.items())) or "none"),
            f"  time lost to page-ins {blocked_cycles / CYC / cpu_hz * 1000:.3f} ms, "
            f"won by running on {summary['gained_ns'] / 1e6:.3f} ms, guest: {summary.get('sleeping_at_end', '?')} asleep and "
            f"{summary.get('dummies_at_end', '?')} markers at the end",
        ]
        out += [f"  note: {text}" for text in self.notes] + [f"  lost: {text}" for text in self.losses]
        return out + [f"  violated: {text}" for text in self.problems]

    def save(self) -> dict[str, Any]:
        return {
            "count": dict(self.count), "sync": dict(self.sync), "away": {str(t): list(w) for t, w in self.away.items()},
            "problems": list(self.problems), "losses": list(self.losses), "notes": list(self.notes),
            "overlap": [o.save() for o in self.overlap],
            "latency": self.latency_ns,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        self.count, self.sync = dict(state["count"]), dict(state["sync"])
        self.away = {int(t): list(w) for t, w in state["away"].items()}
        self.problems, self.losses, self.notes = list(state["problems"]), list(state["losses"]), list(state["notes"])
        self.overlap = [Overlap(pages, list(since), gained) for pages, since, gained in state["overlap"]]
        self.latency_ns = state["latency"]
