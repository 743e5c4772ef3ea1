# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots on disk: a machine's instant in one file that needs nothing else, its swapped pages included.

Registers go by name; the C unit's bookkeeping goes as it is (`layout` in the header guards that); frames and slots that are
all zero are left out. The store may be another one after a restore: slots keep their numbers.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from vmemu import __version__
from vmemu.clock.choices import Choices
from vmemu.clock.sources import source_of
from vmemu.core import PAGE_SIZE, persist
from vmemu.errors import ConfigError, StoreError
from vmemu.machine import container
from vmemu.machine.container import Kind, Section, section

if TYPE_CHECKING:
    from vmemu.machine.boot import BootOptions
    from vmemu.machine.machine import Machine

KIND = Kind(b"vmemusnp", 1, "snapshot")
#: Options that a restored machine may have otherwise than the saved one: they decide nothing about its state.
FREE_OPTIONS = frozenset({"store", "max_cycles", "seed", "pct", "choices", "console"})


def save(machine: Machine, path: str) -> int:
    """Write the machine's state; returns the file's size. Not from inside a device's callback. Raises VmemuError."""
    if machine.options is None:
        raise ConfigError("this machine was built by hand: only a booted one can be saved")
    core, memory = machine.core, machine.memory
    python_store = memory.raw_store()
    flat = persist.save_memory(core, None if python_store is None else memory.save_slots())
    frames = persist.resident_pages(core)
    slots, damaged = _slots(machine)
    header = {
        "vmemu": __version__,
        "layout": persist.layout(),
        "options": describe(machine.options),
        "images": machine.images,
        "isa": machine.board.isa,
        "sleepers": machine.sleepers,
        "insns": machine.insns,
        "time": machine.time_units,
        "vcpus": [{"registers": v.registers(), "online": v.online, "parked": v.parked} for v in machine.vcpus],
        "board": machine.board.save(),
        "facilities": {name: facility.save() for name, facility in machine.facilities.items()},
        "choices": machine.choices.save(),
        "queue": machine.queue.save(),
        "turn": machine.save_turn(),
        "console": [machine.console.written, *(list(part) for part in machine.console.save()[1:])],
        "power": list(machine.power),
        "injector": memory.injector.save(),
        "last_error": memory.last_error,
        "damaged": damaged,
    }
    sections = [
        *(section(f"vcpu{v.id}", persist.save_vcpu(v)) for v in machine.vcpus),
        section("memory", flat.head), section("s2", flat.s2), section("frame_owners", flat.frames), section("free", flat.free),
        section("slots_free", flat.slots_free),
        section("tokens", persist.save_table(core, "tokens")), section("gfns", persist.save_table(core, "gfns")),
        section("output", bytes(machine.console.output)),
        section("frame_numbers", array("I", [number for _, number in frames]).tobytes()),
        Section("frames", len(frames) * PAGE_SIZE, (bytes(persist.frame(core, number)) for _, number in frames)),
        section("slot_numbers", array("I", slots).tobytes()),
        Section("slots", len(slots) * PAGE_SIZE, _slot_bytes(machine, slots)),
    ]  # fmt: skip
    return container.write(path, KIND, header, sections, "--snapshot")


def describe(options: BootOptions) -> dict[str, Any]:
    """Options as plain data, without what belongs to the process."""
    plain = {f.name: getattr(options, f.name) for f in fields(options) if f.name != "console"}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def _slots(machine: Machine) -> tuple[list[int], list[int]]:
    """Slots with bytes to save, and slots that the store can no longer read."""
    store, good, bad = machine.memory.raw_store(), [], []
    for slot, index in persist.live_slots(machine.core):
        if persist.slot_is_stale(machine.core, index):
            continue
        try:
            if store is not None:
                store.get(slot)
            good.append(slot)
        except StoreError:
            bad.append(slot)
    return good, bad


def _slot_bytes(machine: Machine, slots: list[int]) -> Iterator[bytes]:
    store = machine.memory.raw_store()
    for slot in slots:
        yield bytes(persist.slot(machine.core, slot)) if store is None else store.get(slot)


def load(path: str, image: str | None = None, isa: str | None = None, **options: Any) -> Machine:
    """A machine that goes on where the saved one stood.

    `image` and `isa` are compared when given. `options` may change those of FREE_OPTIONS, and repeat others.
    Raises ConfigError with one line for a file that is damaged, of another version, or not of that image.
    """
    from vmemu.machine.boot import BootOptions, boot_choices, build, identity, plan

    header, sections = container.read(path, KIND, "--restore")
    where = f"--restore {path}"
    if header.get("layout") != persist.layout() or header.get("vmemu") != __version__:
        raise ConfigError(f"{where}: saved by vmemu {header.get('vmemu')}, which lays out its state differently")
    saved = header["options"]
    _compare(where, header, saved, isa, options)
    if image is not None and identity(plan(image, header["isa"])) != header["images"]:
        raise ConfigError(f"{where}: it is a snapshot of {saved['image']}, not of this {image}")
    chosen = BootOptions(**{**saved, "seed": 0, "pct": None, "choices": None, "max_cycles": None, **options, "isa": header["isa"]})
    fresh = any(options.get(name) for name in ("seed", "pct", "choices"))
    choices = boot_choices(chosen) if fresh else Choices(source_of(header["choices"]["source"]))
    machine = build(chosen, header["isa"], choices)
    machine.images = header["images"]
    machine.sleepers = None if header["sleepers"] is None else (int(header["sleepers"][0]), int(header["sleepers"][1]))
    try:
        _fill(machine, header, sections, fresh)
    except (KeyError, TypeError, ValueError, IndexError, struct.error) as error:
        machine.close()
        raise ConfigError(f"{where}: its content makes no sense ({type(error).__name__}: {error})") from None
    except ConfigError as error:
        machine.close()
        raise ConfigError(f"{where}: {error}") from None
    except BaseException:
        machine.close()
        raise
    return machine


def _compare(where: str, header: dict[str, Any], saved: dict[str, Any], isa: str | None, options: dict[str, Any]) -> None:
    if isa is not None and isa != header["isa"]:
        raise ConfigError(f"{where}: it is a snapshot of an {header['isa']} machine, not {isa}")
    for name, value in options.items():
        if name not in FREE_OPTIONS and (list(value) if isinstance(value, tuple) else value) != saved.get(name):
            raise ConfigError(f"{where}: --{name.replace('_', '-')} is {saved.get(name)!r} in it and cannot be changed")


def _fill(machine: Machine, header: dict[str, Any], sections: dict[str, memoryview], fresh_choices: bool) -> None:
    core, memory = machine.core, machine.memory
    machine.board.load(header["board"])  # first: what it does to lines and clocks is overwritten
    flat = persist.FlatMemory(*(bytes(sections[n]) for n in ("memory", "s2", "frame_owners", "free", "slots_free")))
    first_unused, free = persist.load_memory(core, flat)
    for number, data in _pages(sections, "frame_numbers", "frames", int(core.ptr.nframes)):
        persist.frame(core, number)[:] = data
    store = memory.raw_store()
    if store is not None:
        memory.load_slots(first_unused, free, dict(persist.live_slots(core)))
    for number, data in _pages(sections, "slot_numbers", "slots", first_unused):
        if store is None:
            persist.slot(core, number)[:] = data
        else:
            store.put(number, data)
    for number in header["damaged"]:
        _spoil(machine, int(number), first_unused)
    for name in ("tokens", "gfns"):
        persist.load_table(core, name, sections[name])
    for vcpu, state in zip(machine.vcpus, header["vcpus"], strict=True):
        for name, value in state["registers"].items():
            vcpu.set(name, value)
        wrong = [name for name, value in vcpu.registers().items() if value != state["registers"].get(name)]
        if wrong:
            raise ConfigError(f"register {wrong[0]} of vCPU {vcpu.id} does not take its value back")
        persist.load_vcpu(vcpu, sections[f"vcpu{vcpu.id}"])
        vcpu.online, vcpu.parked = bool(state["online"]), int(state["parked"])
    machine.time_units = int(header["time"])
    if not fresh_choices:
        machine.choices.load(header["choices"])
    machine.queue.load(header["queue"])
    for name, facility in machine.facilities.items():
        facility.load(header["facilities"][name])
    machine.load_turn(header["turn"])
    written, line, left = header["console"]
    machine.console.continue_after(bytes(sections["output"]), (int(written), bytes(line), tuple(left)))
    machine.power = bool(header["power"][0]), header["power"][1]
    memory.injector.load(header["injector"])
    memory.last_error = str(header["last_error"])


def _pages(sections: dict[str, memoryview], numbers: str, data: str, limit: int) -> Iterator[tuple[int, memoryview]]:
    listed = array("I", bytes(sections[numbers]))
    if len(listed) * PAGE_SIZE != len(sections[data]) or any(n >= limit for n in listed):
        raise ConfigError(f"its section {data} has the wrong size")
    for i, number in enumerate(listed):
        yield number, sections[data][i * PAGE_SIZE : (i + 1) * PAGE_SIZE]


def _spoil(machine: Machine, slot: int, limit: int) -> None:
    """A slot that could not be read when the snapshot was taken cannot be read afterwards."""
    if not 0 <= slot < limit:
        raise ConfigError(f"its damaged slot {slot} does not exist")
    store = machine.memory.raw_store()
    if store is None:
        persist.slot(machine.core, slot)[:1] = bytes([persist.slot(machine.core, slot)[0][0] ^ 1])
    else:
        store.put(slot, bytes(PAGE_SIZE))
        store.damage(slot)
