# SPDX-License-Identifier: GPL-2.0-or-later
"""What a call of the H_PUT_TCE family must answer and store: by LoPAR 2.9 5.4.2 (papr), or by what KVM and QEMU say (kvm, kvm-4.14, qemu).

Tables are dictionaries of what was given, without zeros. Nothing here knows levels, pages or references.
"""

from __future__ import annotations

from dataclasses import dataclass, field

GET, PUT, STUFF, INDIRECT = 0x1C, 0x20, 0x138, 0x13C
OK, FUNCTION, PARAMETER, P4 = 0, -2, -4, -57
MOST = 512  # entries of one call
#: LIOBN -> first bus address, entries.
Windows = dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Call:
    """Arguments as registers hold them; `values`: the list of INDIRECT. `kernel`: the host's kernel has a say before user space."""

    token: int
    liobn: int
    ioba: int
    value: int = 0
    count: int = 1
    values: tuple[int, ...] = ()
    kernel: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """The code; what must be stored in the table of `liobn` from `index` on (GET: nothing, `index` is the entry that was asked for)."""

    code: int
    liobn: int = -1
    index: int = 0
    stored: tuple[int, ...] = ()


@dataclass
class Rules:
    """A profile's answers. `pages`: of 4 KiB, that the partition has."""

    profile: str
    pages: int
    windows: Windows
    tables: dict[int, dict[int, int]] = field(default_factory=dict)

    def _bad(self, value: int, kernel: bool) -> bool:
        """Is this entry refused, when the first level that has an opinion is asked? Permissions 00: nobody looks at the rest."""
        if value & 3 == 0:
            return False
        reserved, memory = value & 0xFFC != 0, value >> 12 < self.pages
        if self.profile == "papr":
            return reserved or not memory
        return self.profile == "kvm-4.14" and kernel and (reserved or not memory)

    def answer(self, call: Call) -> Answer:
        """What must come of a call for which every page can be had."""
        papr, kvm = self.profile == "papr", self.profile.startswith("kvm") and call.kernel
        if call.token == INDIRECT:
            if call.count > MOST:
                return Answer(PARAMETER)
            if call.liobn >> 63 and papr:
                return Answer(FUNCTION)
        liobn = call.liobn & 0xFFFF_FFFF
        if liobn not in self.windows or (papr and call.liobn >> 32):
            return Answer(PARAMETER)
        known = not call.liobn >> 32  # the kernel compares all of it, QEMU 32 bits
        if call.ioba & 0xFFF and (papr or (kvm and known)):
            return Answer(PARAMETER)
        base, entries = self.windows[liobn]
        index = (call.ioba >> 12) - (base >> 12)
        if not 0 <= index < entries:
            return Answer(PARAMETER)
        if call.token == GET:
            return Answer(OK, liobn, index)
        return self._entries(call, liobn, index, entries - index, kvm and known)

    def _entries(self, call: Call, liobn: int, index: int, room: int, kvm: bool) -> Answer:
        papr, count = self.profile == "papr", 1 if call.token == PUT else call.count
        if call.token == STUFF:
            if papr and count > MOST:
                return Answer(P4)
            if kvm and call.value & 3:
                return Answer(PARAMETER)
        elif call.token == INDIRECT and call.value & 0xFFF:
            return Answer(PARAMETER)
        if count > room:
            return Answer(PARAMETER)
        if count == 0:
            return Answer(OK if papr or kvm else PARAMETER)
        wanted = call.values[:count] if call.token == INDIRECT else (call.value,) * count
        bad = next((i for i, v in enumerate(wanted) if self._bad(v, call.kernel and not call.liobn >> 32)), None)
        if bad is None:
            return Answer(OK, liobn, index, wanted)
        return Answer(PARAMETER, liobn, index, () if papr else wanted[:bad])

    def store(self, liobn: int, index: int, values: tuple[int, ...]) -> None:
        table = self.tables.setdefault(liobn, {})
        for i, value in enumerate(values):
            if value:
                table[index + i] = value
            else:
                table.pop(index + i, None)

    def entry(self, liobn: int, index: int) -> int:
        return self.tables.get(liobn, {}).get(index, 0)

    def do(self, call: Call) -> int:
        """The call as it must go: stores, and gives the code."""
        found = self.answer(call)
        if found.stored:
            self.store(found.liobn, found.index, found.stored)
        return found.code
