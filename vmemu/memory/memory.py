# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest memory behind the resident limit: who is in a frame, who is in the store, and how a page comes back.

`ram:` without injected failures never comes here: the C unit serves it. Everything else goes through `serve`.
"""

from __future__ import annotations

from typing import Any

from vmemu.clock.inject import STORE_READ, STORE_WRITE, Injector, Rule
from vmemu.core import CYC, PAGE_SIZE, CoreMachine, CoreVcpu, PageState, S2Result, crc32c
from vmemu.core.observe import Seen, What
from vmemu.errors import ConfigError, StoreError
from vmemu.memory.latency import Latency
from vmemu.memory.store import FaultyStore, Store, StoreSpec, needs_python, open_store

#: Frames that must stay free of pins: one instruction can need 30 pages at once (core.h, RECENT), and the guest needs a few to live.
MIN_UNPINNED = 64

#: Attributes of an enum are slow to reach, and `serve` is on the path of every fault.
_OK, _MISS, _ZERO, _SWAPPED = S2Result.OK, S2Result.MISS, int(PageState.ZERO), int(PageState.SWAPPED)


class Memory:
    """The pages of one machine.

    Args:
        core: frames and stage-2 map.
        spec: which store.
        latency: time of one page-in and how many the store serves at once.
        injector: failures to put in front of the store.
        cpu_hz: what turns the latency into cycles.
    """

    def __init__(self, core: CoreMachine, spec: StoreSpec, latency: Latency, injector: Injector, cpu_hz: int) -> None:
        self.core = core
        self.injector = injector
        self.store: Store | None = None
        self.last_error = ""
        self._cycles_per_ns = cpu_hz * CYC / 1e9
        self._free: list[int] = []
        self._next = 0
        self._owner: dict[int, int] = {}
        #: Slots that snapshots own: not given out again, whatever becomes of their pages.
        self._owned: frozenset[int] = frozenset()
        self.set_latency(latency)
        if needs_python(spec, injector):
            self.store = open_store(spec, crc32c, injector)
            if isinstance(self.store, FaultyStore):
                self.store.page_of = self._page_of
        else:
            core.use_c_store()

    def _page_of(self, slot: int) -> int:
        """Guest page number (gpa / 4096) whose page a slot holds or is about to hold."""
        return self.core.gpa(self._owner[slot]) // PAGE_SIZE

    def set_latency(self, latency: Latency) -> None:
        """How long page-ins take that begin from now on."""
        self.core.set_timing(round(latency.ns * self._cycles_per_ns), latency.depth)

    def inject(self, rule: Rule) -> Rule:
        """Another failure; its count begins now. The rule with the absolute count. Raises ConfigError where it could never happen."""
        if rule.event in (STORE_READ.name, STORE_WRITE.name):
            if self.store is None:
                raise ConfigError(f"{rule}: the C unit keeps this machine's pages; one booted with a rule for {rule.event} keeps them in "
                                  "Python, as in --inject store.read:999999999:fail")
            if not isinstance(self.store, FaultyStore):
                self.store = FaultyStore(self.store, self.injector)
                self.store.page_of = self._page_of
        return self.injector.add_from_now(rule)

    # ---------------------------------------------------------------- slots
    def _take_slot(self, index: int) -> int:
        slot = self._free.pop() if self._free else self._next
        self._next = max(self._next, slot + 1)
        self._owner[slot] = index
        return slot

    def _give_slot(self, slot: int) -> None:
        del self._owner[slot]
        self._free.append(slot)

    def _discard_dropped(self) -> None:
        assert self.store is not None
        for slot in self.core.dropped_slots():
            if slot not in self._owned:
                self._give_slot(slot)
                self.store.discard(slot)

    # --------------------------------------------------------------- faults
    def serve(self, vcpu: CoreVcpu | None, gpa: int) -> bool:
        """Make the page at `gpa` resident. False: the store could not give it back, the guest must be told.

        Raises StoreError when no frame can be freed because the store takes no page; nothing is lost then.
        """
        served = self._serve(vcpu, gpa)
        if self.core.observe is not None:
            self.core.observe(Seen(What.PAGE_IN, -1 if vcpu is None else vcpu.id, gpa, int(served)))
        return served

    def _serve(self, vcpu: CoreVcpu | None, gpa: int) -> bool:
        core = self.core
        result = core.ensure(vcpu, gpa)
        if result is not _MISS:
            return result is _OK
        assert self.store is not None
        index = core.index(gpa)
        if not core.free_frames:
            self._make_room(vcpu)
        page = core.page(index)
        if page.state == _ZERO:
            return core.page_in(vcpu, index, None)
        try:
            data = self.store.get(int(page.slot))
        except StoreError as error:
            self.last_error = str(error)
            return False
        if isinstance(self.store, FaultyStore):
            self._charge_delay(vcpu)
        if not core.page_in(vcpu, index, data):
            self.last_error = f"{self.store.name}: page at {gpa:#x} came back corrupted"
            core.mark_bad(index)
            return False
        return True

    def _make_room(self, vcpu: CoreVcpu | None) -> None:
        assert self.store is not None
        for index in self.core.reclaim(vcpu):
            slot = self._take_slot(index)
            try:
                self.store.put(slot, self.core.frame_bytes(index))
            except StoreError as error:
                self._give_slot(slot)
                self.last_error = str(error)
                break
            self.core.evicted(vcpu, index, slot)
        self._charge_delay(None)
        self._discard_dropped()
        if not self.core.free_frames:
            raise StoreError(self.last_error or "every resident page is pinned or in use: raise --resident")

    def put_out(self, index: int) -> None:
        """Write out a page that s2_swap_out left to Python. Raises StoreError when the store does not take it; nothing is lost then."""
        assert self.store is not None
        slot = self._take_slot(index)
        try:
            self.store.put(slot, self.core.frame_bytes(index))
        except StoreError:
            self._give_slot(slot)
            raise
        self.core.evicted(None, index, slot)
        self._charge_delay(None)
        self._discard_dropped()

    def _charge_delay(self, vcpu: CoreVcpu | None) -> None:
        if isinstance(self.store, FaultyStore):
            delay = self.store.take_delay()
            if delay and vcpu is not None:
                vcpu.add_cycles(round(delay * self._cycles_per_ns))

    def in_store(self, gpa: int) -> bool:
        """Would the page at gpa have to be read back?"""
        return int(self.core.page(self.core.index(gpa)).state) == _SWAPPED

    def discard(self, index: int) -> None:
        """Forget the content of a page that is in the store: the next touch finds zeros."""
        self.core.discard(index)
        if self.store is not None:
            self._discard_dropped()

    # ------------------------------------------------------- host's accesses
    def is_ram(self, gpa: int, size: int) -> bool:
        """All of [gpa, gpa + size) is RAM. The one place where guest-given ranges are checked."""
        if gpa < 0 or size < 0 or gpa + size > 1 << 64:
            return False
        first, last = gpa & ~(PAGE_SIZE - 1), (gpa + max(size, 1) - 1) & ~(PAGE_SIZE - 1)
        if (last - first) // PAGE_SIZE > int(self.core.ptr.npages):
            return False
        return all(self.core.index(page) >= 0 for page in range(first, last + 1, PAGE_SIZE))

    def read(self, gpa: int, size: int) -> bytes:
        """Bytes of guest memory, paged in as needed. Raises ConfigError outside RAM, StoreError when a page is lost."""
        out = self.core.read_resident(gpa, size)
        while len(out) < size:
            self._want(gpa + len(out))
            out += self.core.read_resident(gpa + len(out), min(size - len(out), PAGE_SIZE - (gpa + len(out)) % PAGE_SIZE))
        return out

    def write(self, gpa: int, data: bytes) -> None:
        """As `read`, the other way round."""
        if self.core.observe is not None:
            self.core.observe(Seen(What.HOST_WRITING, -1, gpa, data=bytes(data)))
        done = self.core.write_resident(gpa, data)
        while done < len(data):
            self._want(gpa + done)
            done += self.core.write_resident(gpa + done, data[done : done + PAGE_SIZE - (gpa + done) % PAGE_SIZE])
        if self.core.observe is not None:
            self.core.observe(Seen(What.HOST_WRITE, -1, gpa, data=bytes(data)))

    def _want(self, gpa: int) -> None:
        if self.core.index(gpa) < 0:
            raise ConfigError(f"{gpa:#x} is not RAM")
        if not self.serve(None, gpa):
            raise StoreError(self.last_error or f"page at {gpa:#x} is lost")

    def peek(self, index: int) -> bytes | None:
        """A page's content wherever it lies, without moving it or counting it; None when it is lost."""
        if self.store is None:
            state = self.core.page(index).state
            return None if state == PageState.BAD else self.core.page_bytes_cstore(index)
        page = self.core.page(index)
        if page.state == PageState.RESIDENT:
            return bytes(self.core.frame_bytes(index))
        if page.state == PageState.ZERO:
            return bytes(PAGE_SIZE)
        if page.state != PageState.SWAPPED:
            return None
        inner = self.store.inner if isinstance(self.store, FaultyStore) else self.store
        try:
            return inner.get(int(page.slot))
        except StoreError:
            return None

    def pin(self, lo: int, hi: int) -> None:
        """Never page out [lo, hi)."""
        first, last = lo & ~(PAGE_SIZE - 1), hi
        for page in range(first, last, PAGE_SIZE):
            self._want(page)
            self.core.pin(page, page + 1)

    # ------------------------------------------------------------ snapshots
    def save(self) -> dict[str, Any]:
        """Who owns which slot. The slots that are live now are kept."""
        if self.store is not None:
            self._discard_dropped()
        self._owned |= frozenset(self._owner)
        return {
            "version": 1, "free": list(self._free), "next": self._next, "owner": dict(self._owner), "owned": self._owned,
            "injector": None if self.injector.idle else self.injector.save(), "last_error": self.last_error,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        self._free = list(state["free"])
        self._next = state["next"]
        self._owner = dict(state["owner"])
        self._owned = state["owned"]
        self.last_error = state["last_error"]
        if state["injector"] is None:
            self.injector.load_idle()
        else:
            self.injector.load(state["injector"])

    def save_slots(self) -> tuple[int, list[int]]:
        """First slot never used, and the free ones below it, the next one last: as the C unit keeps them for `ram:`."""
        self._discard_dropped()
        free = set(self._free)
        leaked = [s for s in range(self._next) if s not in free and s not in self._owner]
        return self._next, [*leaked, *self._free]

    def load_slots(self, first_unused: int, free: list[int], owner: dict[int, int]) -> None:
        """A store kept by Python that was empty takes over another's slots; their bytes follow by `put_slot`."""
        self._next, self._free, self._owner = first_unused, list(free), dict(owner)

    def raw_store(self) -> Store | None:
        """The store without injected failures; None: the C unit keeps it."""
        return self.store.inner if isinstance(self.store, FaultyStore) else self.store

    def close(self) -> None:
        if self.store is not None:
            self.store.close()
