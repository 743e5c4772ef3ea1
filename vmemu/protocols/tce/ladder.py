# SPDX-License-Identifier: GPL-2.0-or-later
"""From level to level: real mode has had its turn in C, then virtual mode, then user space. H_TOO_HARD ends here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vmemu.core import CYC
from vmemu.devices.papr import MASK64
from vmemu.protocols.tce.kernel import Kernel
from vmemu.protocols.tce.profiles import Profile
from vmemu.protocols.tce.user import User
from vmemu.protocols.tce.virtual import Virtual
from vmemu.protocols.tce.wire import CODES, H_LONG_BUSY_1MS, TOO_HARD, Call, Later, Level, Token

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu

#: Cycles of the host's work at each level: (for a call, for an entry). The shape is 5 : 40 : 400 and 1 : 4 : 30; ten cycles are the
#: unit with which user space alone moves the 220 MB/s of the 2013 series (docs/tce.md). The way out of the guest, and into the
#: kernel or further to a program, comes on top where it is taken: core charges 1,500 for every exit.
COSTS: dict[Level, tuple[int, int]] = {Level.REAL: (50, 10), Level.VIRTUAL: (400, 40), Level.USER: (4000, 300)}


class Ladder:
    """The levels above real mode. `finished[level][token]` counts the calls that virtual mode and user space finished."""

    def __init__(self, kernel: Kernel, profile: Profile) -> None:
        self.kernel, self.profile = kernel, profile
        self.virtual = None if profile.kernel is None else Virtual(kernel, profile.kernel, profile.keep)
        self.user = User(kernel, profile.user, profile.keep)
        self.finished = {level: dict.fromkeys(Token, 0) for level in (Level.VIRTUAL, Level.USER)}
        cost = kernel.host.ptr.cost
        cost.call, cost.entry = (c * CYC for c in COSTS[Level.REAL])
        kernel.host.ptr.real_mode = False

    def handler(self, token: Token) -> Callable[[CoreVcpu], tuple[int, int | None]]:
        """What a board does with this call: registers in, (code, r4 or None) out."""

        def handle(vcpu: CoreVcpu) -> tuple[int, int | None]:
            return self.call(vcpu, Call.of(token, *(vcpu.get(f"r{n}") for n in (4, 5, 6, 7))))

        return handle

    def call(self, vcpu: CoreVcpu, call: Call) -> tuple[int, int | None]:
        """Finish a call that real mode has not. Always a code that a guest may see."""
        host = self.kernel.host.ptr
        if not host.real_mode:  # else real mode has begun to count
            host.delta = 0
        code, result = self._climb(vcpu, call)
        self.kernel.host.check()
        assert code in CODES, f"{code} is not for guests"
        if code == H_LONG_BUSY_1MS:
            self.kernel.away.answered += 1
        if host.tell_delta and call.token is not Token.GET:  # LoPAR 12.3.3: the change in bytes mapped for I/O
            result = int(host.delta) << 12 & MASK64
        return code, result

    def _climb(self, vcpu: CoreVcpu, call: Call) -> tuple[int, int | None]:
        if self.virtual is not None:
            self._charge(vcpu, Level.VIRTUAL, call)
            answer = self.virtual.call(vcpu, call)
            if not isinstance(answer, Later):
                self.finished[Level.VIRTUAL][call.token] += 1
                return answer
        self._charge(vcpu, Level.USER, call)
        answer = self.user.call(vcpu, call)
        assert answer is not TOO_HARD and not isinstance(answer, Later)
        self.finished[Level.USER][call.token] += 1
        return answer

    def _charge(self, vcpu: CoreVcpu, level: Level, call: Call) -> None:
        fixed, each = COSTS[level]
        most = max((table.size for table in self.kernel.host.tables), default=0)
        vcpu.add_cycles((fixed + each * min(call.count, most)) * CYC)
