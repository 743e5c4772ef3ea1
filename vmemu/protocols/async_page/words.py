# SPDX-License-Identifier: GPL-2.0-or-later
"""Words that host threads share without a lock, as x86-TSO has it: a thread's stores wait in its own buffer, in order, until a
fence or until they happen to drain. Loads see the thread's own buffer first, then memory (Sewell et al., x86-TSO, CACM 2010).

Off by default: then every store is in memory at once. On, Choices ("drain") decides for each store whether it waits; the default
policy lets none wait. One that does waits for a fence, or until so many steps of anybody have passed that no fence can be meant;
those behind it wait as well.
"""

from __future__ import annotations

from typing import Any

from vmemu.clock.choices import Choices


class Names:
    """What the threads call the words of one vCPU. `pending`: a ready event is with the guest, which will look again by itself."""

    __slots__ = ("actor", "done", "pending", "request", "sleeping")

    def __init__(self, vcpu: int) -> None:
        self.actor = f"v{vcpu}"
        self.done, self.pending, self.request, self.sleeping = (f"{w}{vcpu}" for w in ("done", "pending", "request", "sleeping"))


#: Steps of anybody (`SharedWords.drain`) that a store waits at most: more than a worker and a vCPU have together.
HELD = 16


class SharedWords:
    """Named words, zero at first. An actor is a host thread: "v3" the thread of vCPU 3, "w17" the worker of work 17."""

    def __init__(self, choices: Choices, buffered: bool) -> None:
        self._choices = choices
        self.buffered = buffered and not choices.is_default  # by default every store drains at once
        self.memory: dict[str, int] = {}
        #: actor -> its stores that are not in memory yet, oldest first: word, value, steps that it still waits
        self.buffers: dict[str, list[tuple[str, int, int]]] = {}
        #: word that a lock protects -> who held that lock last
        self.holders: dict[str, str] = {}

    def read(self, actor: str, word: str) -> int:
        if self.buffers:
            for name, value, _ in reversed(self.buffers.get(actor, ())):
                if name == word:
                    return value
        return self.memory.get(word, 0)

    def write(self, actor: str, word: str, value: int) -> None:
        waits = HELD if self.buffered and self._choices.choose("drain", 2) else 0
        if waits or actor in self.buffers:
            self.buffers.setdefault(actor, []).append((word, value, waits))
        else:
            self.memory[word] = value

    def write_locked(self, actor: str, word: str, value: int) -> None:
        """A store under the word's lock. Taking that is a fence; and whoever held it before has let go, which was its last store there:
        all before that is in memory.
        """
        held = self.buffers.get(self.holders.get(word, ""), [])
        for _ in range(max((i + 1 for i, store in enumerate(held) if store[0] == word), default=0)):
            name, earlier, _steps = held.pop(0)
            self.memory[name] = earlier
        self.fence(actor)
        if self.buffered:
            self.holders[word] = actor
        self.write(actor, word, value)

    def fence(self, actor: str) -> None:
        """All of the actor's stores are in memory before its next load."""
        if self.buffers:
            for word, value, _ in self.buffers.pop(actor, ()):
                self.memory[word] = value

    def drain(self) -> None:
        """Between two steps of anybody: stores that have waited long enough reach memory by themselves."""
        for actor in list(self.buffers):
            held = self.buffers[actor]
            while held and not held[0][2]:
                word, value, _ = held.pop(0)
                self.memory[word] = value
            if held:
                held[0] = (*held[0][:2], held[0][2] - 1)
            else:
                del self.buffers[actor]

    def save(self) -> dict[str, Any]:
        buffers = {a: [list(s) for s in b] for a, b in self.buffers.items()}
        return {"memory": dict(self.memory), "buffers": buffers, "holders": dict(self.holders)}

    def load(self, state: dict[str, Any]) -> None:
        self.memory = dict(state["memory"])
        self.holders = dict(state["holders"])
        self.buffers = {a: [(str(w), int(v), int(n)) for w, v, n in b] for a, b in state["buffers"].items()}
