# SPDX-License-Identifier: GPL-2.0-or-later
"""The C unit's flat state as bytes, for files; and short digests of registers and pages (core/src/persist.c)."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

from vmemu.core import PAGE_SIZE, CoreMachine, CoreVcpu, PageState, ffi, lib
from vmemu.errors import ConfigError

NO_SLOT = 0xFFFFFFFF
_DIRTY = 2


def layout() -> list[int]:
    """Sizes of the structures that go to a file as they are: another build may have others."""
    return [int(lib.persist_vcpu_size()), int(ffi.sizeof("struct saved_memory")), int(ffi.sizeof("struct s2_page"))]


@dataclass(frozen=True, slots=True)
class FlatMemory:
    """Bookkeeping of one machine's memory: `head` is struct saved_memory, the others arrays."""

    head: bytes
    s2: bytes
    frames: bytes
    free: bytes
    slots_free: bytes


def save_memory(core: CoreMachine, slots: tuple[int, list[int]] | None) -> FlatMemory:
    """`slots`: (first unused, free) of a store kept by Python, None: the C unit's own."""
    m = core.ptr
    head = ffi.new("struct saved_memory *")
    frames, free = ffi.new("uint32_t[]", 2 * int(m.nframes)), ffi.new("uint32_t[]", max(int(m.nfree), 1))
    lib.persist_memory_save(m, head, frames, free)
    if slots is None:
        out = ffi.new("uint32_t[]", int(m.slot_next) + 1)
        slots_free = bytes(ffi.buffer(out, 4 * lib.persist_slots(m, out)))
    else:
        head.slot_next = slots[0]
        slots_free = array("I", slots[1]).tobytes()
    head.nslot_free = len(slots_free) // 4
    head.c_store = False
    return FlatMemory(
        bytes(ffi.buffer(head)),
        bytes(ffi.buffer(m.s2, int(m.npages) * ffi.sizeof("struct s2_page"))),
        bytes(ffi.buffer(frames)),
        bytes(ffi.buffer(free, 4 * int(m.nfree))),
        slots_free,
    )


def load_memory(core: CoreMachine, flat: FlatMemory) -> tuple[int, list[int]]:
    """Take the bookkeeping over; returns (first unused slot, free slots). Raises ConfigError when it contradicts itself."""
    m = core.ptr
    head = ffi.new("struct saved_memory *")
    if len(flat.head) != ffi.sizeof("struct saved_memory"):
        raise ConfigError("its memory header has another size")
    ffi.memmove(head, flat.head, len(flat.head))
    sizes = (int(head.npages) * ffi.sizeof("struct s2_page"), 8 * int(head.nframes), 4 * int(head.nfree), 4 * int(head.nslot_free))
    if sizes != tuple(len(part) for part in (flat.s2, flat.frames, flat.free, flat.slots_free)):
        raise ConfigError("its sections have the wrong sizes")
    args = [ffi.from_buffer(kind, part) for kind, part in (
        ("struct s2_page[]", flat.s2), ("uint32_t[]", flat.frames), ("uint32_t[]", flat.free), ("uint32_t[]", flat.slots_free),
    )]  # fmt: skip
    if lib.persist_memory_load(m, head, *args) < 0:
        raise ConfigError(ffi.string(lib.core_error()).decode(errors="replace"))
    return int(head.slot_next), array("I", bytes(flat.slots_free)).tolist()


def resident_pages(core: CoreMachine) -> list[tuple[int, int]]:
    """(page index, frame) of every resident page that is not all zero."""
    zero, out = bytes(PAGE_SIZE), []
    for index in core.not_zero_pages():
        page = core.page(index)
        if page.state == PageState.RESIDENT and ffi.buffer(core.ptr.ram + int(page.frame) * PAGE_SIZE, PAGE_SIZE)[:] != zero:
            out.append((index, int(page.frame)))
    return out


def frame(core: CoreMachine, number: int) -> Any:
    """Writable buffer over a frame's bytes."""
    return ffi.buffer(core.ptr.ram + number * PAGE_SIZE, PAGE_SIZE)


def slot(core: CoreMachine, number: int) -> Any:
    """Writable buffer over a slot of the C unit's own store."""
    return ffi.buffer(core.ptr.slots + number * PAGE_SIZE, PAGE_SIZE)


def live_slots(core: CoreMachine) -> list[tuple[int, int]]:
    """(slot, page index) of every slot whose bytes may still be wanted, and of those that are only waiting to be freed."""
    out = []
    for index in core.not_zero_pages():
        number = int(core.page(index).slot)
        if number != NO_SLOT:
            out.append((number, index))
    return sorted(out)


def slot_is_stale(core: CoreMachine, index: int) -> bool:
    """The page was written since: its slot is still taken, its bytes are not wanted."""
    page = core.page(index)
    return bool(page.state == PageState.RESIDENT and page.flags & _DIRTY)


def save_vcpu(vcpu: CoreVcpu) -> bytes:
    """Clocks, counters, pending event and open block."""
    out = ffi.new("uint8_t[]", int(lib.persist_vcpu_size()))
    lib.persist_vcpu_save(vcpu.ptr, out)
    return bytes(ffi.buffer(out))


def load_vcpu(vcpu: CoreVcpu, state: bytes | memoryview) -> None:
    """After the registers. Raises ConfigError."""
    if len(state) != lib.persist_vcpu_size():
        raise ConfigError(f"the state of vCPU {vcpu.id} has another size")
    if lib.persist_vcpu_load(vcpu.ptr, ffi.from_buffer(state)) < 0:
        raise ConfigError(ffi.string(lib.core_error()).decode(errors="replace"))


def save_table(core: CoreMachine, name: str) -> bytes:
    """Key, value pairs of a hot table ("tokens" or "gfns")."""
    table = ffi.addressof(core.ptr, name)
    out = ffi.new("uint64_t[]", 2 * int(table.live) + 1)
    return bytes(ffi.buffer(out, 16 * lib.table_dump(table, out)))


def load_table(core: CoreMachine, name: str, data: bytes | memoryview) -> None:
    pairs = array("Q", bytes(data))
    table = ffi.addressof(core.ptr, name)
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        lib.table_put(table, key, value)


def register_digests(vcpu: CoreVcpu) -> bytes:
    """16 bits of each register, in the order of the isa room's list."""
    n = len(vcpu.machine.isa.registers)
    out = ffi.new("uint16_t[]", n)
    lib.digest_registers(vcpu.ptr, n, out)
    return bytes(ffi.buffer(out))


def page_digests(core: CoreMachine, shift: int) -> bytes:
    """32 bits of each group of 2**shift pages; zero pages count nothing."""
    n = (int(core.ptr.npages) + (1 << shift) - 1) >> shift
    out = ffi.new("uint32_t[]", n)
    lib.digest_pages(core.ptr, shift, out)
    return bytes(ffi.buffer(out))
