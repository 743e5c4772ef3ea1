# SPDX-License-Identifier: GPL-2.0-or-later
"""The tokens of a machine as a model counts them: told "away", arrived, announced as "here"; and the rules TOK, PAIR, COUNT.

Whom a token was told to, and about which page, is seen at the border; that its page has arrived, too. A wake-all covers the tokens
that were told before it was asked for: a ready of such a token may follow or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from vmemu.lab.models.base import A_WAKE_UP, Model, Wait, token_node

#: Virtual time within which the host must do what nothing stands in the way of: many times what a host thread's rests add up to, and
#: longer than explorers delay a notification.
SOON_NS = 5_000_000
#: Completions closer together than this may be announced in either order: a worker may rest between fetching and appending.
ORDER_NS = 100_000
NEVER = -1
NOTHING = (0, False, False)
#: So many of the tokens that are over are remembered, to tell sleepers that were forgotten from those that are waited for.
PAST = 64


def announcement(vcpu: int) -> str:
    """The node of the wait graph that stands for a vCPU's next "here"."""
    return f"announcement on vCPU {vcpu}"


class Told(NamedTuple):
    """One token: vCPU, page, when it was told (ns, and as a number that counts up), when its page arrived (NEVER: not yet)."""

    vcpu: int
    gfn: int
    ns: int
    serial: int
    arrived: int = NEVER


class Ledger:
    """`told`: tokens that are outstanding; `covered`: those that a wake-all has woken and that may yet be announced.

    Args:
        model: whose violations these are.
        limit: of tokens outstanding on a vCPU.
        order: the name of the rule that announcements come in the order of arrivals.
    """

    def __init__(self, model: Model, limit: int, order: str = "ORDER") -> None:
        self.told: dict[int, Told] = {}
        self.covered: dict[int, Told] = {}
        self.past: dict[int, int] = {}  # tokens that were announced last -> when
        #: vCPU -> serial of the moment when its wake-all was asked for; it must come, or (`may`) may be left out
        self.asked: dict[int, int] = {}
        self.may: dict[int, int] = {}
        self._serial = 0
        self._model = model
        self._wrong: Callable[..., None] = model.wrong
        self._limit, self._order = limit, order

    def of(self, vcpu: int) -> dict[int, Told]:
        """Outstanding tokens of one vCPU."""
        return {token: told for token, told in self.told.items() if told.vcpu == vcpu}

    def meant(self, vcpus: list[int], token: int) -> int:
        """Several vCPUs have registered one place: whom does a token that is written there concern?"""
        if token == 0xFFFFFFFF:
            return next((v for v in vcpus if v in self.asked or v in self.may), vcpus[0])
        return token & 0xFFF if token & 0xFFF in vcpus else vcpus[0]

    # ----------------------------------------------------------------- moves
    def away(self, token: int, vcpu: int, gfn: int, now: int) -> None:
        """The guest is told that a page is away."""
        if token in (0, 0xFFFFFFFF):
            self._wrong("TOK", f"token {token:#x} is told, which names no page", token=token, vcpu=vcpu)
        if token in self.told:
            self._wrong("TOK", f"token {token:#x} is told while it is outstanding", token=token, vcpu=vcpu)
        own = self.of(vcpu)
        for other, told in own.items():
            if told.gfn == gfn and other != token:
                text = f"gfn {gfn:#x} has token {other:#x} outstanding, and is told again as {token:#x}"
                self._wrong("TOK", text, token=token, vcpu=vcpu)
        if len(own) >= self._limit:
            self._wrong("COUNT", f"token {token:#x} is one more than the {self._limit} that a vCPU may have", token=token, vcpu=vcpu)
        self._serial += 1
        self.covered.pop(token, None)
        self.told[token] = Told(vcpu, gfn, now, self._serial)

    def arrived(self, gfn: int, now: int) -> None:
        """A page-in has ended, well or badly."""
        for token, told in self.told.items():
            if told.gfn == gfn and told.arrived == NEVER:
                self.told[token] = told._replace(arrived=now)

    def here(self, token: int, vcpu: int) -> bool:
        """The guest is told that a token's page is there. False: it should not have been."""
        self._over(token)
        if token in self.covered:
            del self.covered[token]
            return True
        told = self.told.pop(token, None)
        if told is None:
            self._wrong("PAIR", f"token {token:#x} is announced as ready, and it is not outstanding", token=token, vcpu=vcpu)
            return False
        if told.vcpu != vcpu:
            self._wrong("PAIR", f"token {token:#x} was told to vCPU {told.vcpu} and is announced elsewhere", token=token, vcpu=vcpu)
        if told.arrived == NEVER:
            self._wrong("PAIR", f"token {token:#x} is announced as ready before its page is there", token=token, vcpu=vcpu)
            return False
        for other, one in self.told.items():
            if one.vcpu == vcpu and NEVER < one.arrived < told.arrived - ORDER_NS:
                text = f"token {other:#x} arrived long before others that are announced first"
                self._wrong(self._order, text, token=other, vcpu=vcpu)
        return True

    def take_back(self, token: int) -> None:
        """The guest had not been shown it, and never will."""
        self.told.pop(token, None)

    def ask(self, vcpu: int, *, must: bool) -> None:
        """The guest has done what causes a wake-all; when completions wait already it is left out."""
        self._serial += 1
        (self.asked if must else self.may)[vcpu] = self._serial

    def broadcast(self, vcpu: int) -> None:
        """Everybody who was told on this vCPU is woken."""
        asked = self.asked.pop(vcpu, None)
        maybe = self.may.pop(vcpu, None)
        asked = maybe if asked is None else asked
        if asked is None:
            self._wrong("PAIR", "a wake-all that nothing has asked for", token=0xFFFFFFFF, vcpu=vcpu)
            return
        for token, told in self.of(vcpu).items():
            if told.serial > asked:
                self._wrong("PAIR", f"the wake-all wakes the sleeper of {token:#x}, which was told after it was asked for and will be "
                                    "announced again", token=token, vcpu=vcpu)
            else:
                self.covered[token] = self.told.pop(token)
                self._over(token)

    def _over(self, token: int) -> None:
        self.past.pop(token, None)
        self.past[token] = self._model.machine.now()
        if len(self.past) > PAST:
            del self.past[next(iter(self.past))]

    def flush(self, vcpu: int) -> None:
        """The host has forgotten all of this vCPU's: none of it may be announced any more."""
        for tokens in (self.told, self.covered):
            for token in [t for t, told in tokens.items() if told.vcpu == vcpu]:
                del tokens[token]
        self.asked.pop(vcpu, None)
        self.may.pop(vcpu, None)

    # ---------------------------------------------------------------- verdict
    def summary(self, vcpus: int) -> list[tuple[int, bool, bool]]:
        """By vCPU, for coverage: tokens outstanding (3: or more), whether one's page is there, whether a wake-all is asked for."""
        if not self.told and not self.asked:
            return [NOTHING] * vcpus
        found = []
        for vcpu in range(vcpus):
            arrived = [told.arrived >= 0 for told in self.told.values() if told.vcpu == vcpu]
            found.append((min(len(arrived), 3), any(arrived), vcpu in self.asked))
        return found

    def waiting(self, vcpu: int) -> list[int]:
        """Tokens whose pages are there, in the order of their arrival, and the wake-all that is owed."""
        if not self.told and not self.asked:
            return []
        found = sorted((told.arrived, token) for token, told in self.told.items() if told.vcpu == vcpu and told.arrived != NEVER)
        return [token for _, token in found] + ([0xFFFFFFFF] if vcpu in self.asked else [])

    def unfinished(self) -> None:
        """Nothing will happen any more: what is outstanding now sleeps for ever."""
        for token, told in self.told.items():
            what = "its page never came" if told.arrived == NEVER else "its page is there, and nobody says so"
            self._wrong("LIVE", f"token {token:#x} (gfn {told.gfn:#x}) is outstanding: {what}", token=token, vcpu=told.vcpu)

    def waits(self) -> list[Wait]:
        """Tokens wait for their pages, and those whose pages are there for the vCPU's next announcement."""
        found = []
        for token, told in self.told.items():
            if told.arrived == NEVER:
                found.append(Wait(token_node(token), f"page {told.gfn:#x}", "was told away"))
            else:
                found.append(Wait(token_node(token), announcement(told.vcpu), f"its page is here since {told.arrived} ns"))
        found += [Wait(token_node(t), A_WAKE_UP, f"was announced at {ns} ns") for t, ns in self.past.items() if t not in self.told]
        return found + [Wait(f"wake-all of vCPU {vcpu}", announcement(vcpu), "was asked for") for vcpu in self.asked]

    def save(self) -> Any:
        return [dict(self.told), dict(self.covered), dict(self.asked), dict(self.may), dict(self.past), self._serial]

    def load(self, state: Any) -> None:
        told, covered, asked, may, past, self._serial = state
        self.told = {k: Told(*v) for k, v in told.items()}
        self.covered = {k: Told(*v) for k, v in covered.items()}
        self.asked, self.may, self.past = dict(asked), dict(may), dict(past)
