# SPDX-License-Identifier: GPL-2.0-or-later
"""From an image's name to a machine that is ready to run."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vmemu import bugs as bug_registry
from vmemu.clock.choices import Choices
from vmemu.clock.inject import Injector
from vmemu.clock.sources import choices_from
from vmemu.core import PAGE_SIZE, CoreMachine
from vmemu.errors import ConfigError
from vmemu.machine import images, multiboot
from vmemu.machine.board import Board
from vmemu.machine.boards import board_for
from vmemu.machine.console import Console
from vmemu.machine.elf import ElfImage, load_elf
from vmemu.machine.facility import AUTO, OPTIONS, load_rooms, make_all
from vmemu.machine.machine import Machine
from vmemu.memory.latency import parse_latency
from vmemu.memory.memory import MIN_UNPINNED, Memory
from vmemu.memory.store import parse_store

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
MAX_MEMORY = 64 << 30


def parse_size(text: str, what: str) -> int:
    """``64M`` -> bytes. Raises ConfigError."""
    match = re.fullmatch(r"([0-9]{1,12})([KMG]?)i?B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ConfigError(f"{what} {text!r} is not a size: write 64M, 1G or a number of bytes")
    size = int(match[1]) * _UNITS[match[2].upper()]
    if size == 0 or size % PAGE_SIZE:
        raise ConfigError(f"{what} {text!r} must be a positive multiple of 4K")
    return size


@dataclass(frozen=True, slots=True)
class BootOptions:
    """Options of one machine; the names are those of ``vmemu boot``.

    smp: vCPUs, 1 to 16. image: built-in name, or path of an ELF image. isa: "x86_64", "arm64", "ppc64", None = the image's own.
    memory, resident: sizes as text; resident None = all of memory. store: "ram:", "file:PATH". latency: preset or "85us".
    seed, pct ("DEPTH[:SEED[:STEPS]]"), choices (a printed list): who decides; at most one of them.
    pin: "LO-HI" ranges that are never paged out. bugs, inject: names and rules. console: called with output.
    keep_zeros: pages of zeros go to the store as any other page does. slice: longest turn of a lone vCPU, in cycles: what is
    to happen between two turns happens at least so often, and the guest sees no difference.
    cmo: "off" has a pseries platform offer no over-commitment. bolt: "none" leaves what the kernel declares unpinned.
    apf: profile of asynchronous page faults; store_buffer: host threads' stores wait, as Choices decide. vas: who owns the
    accelerator switchboard. tce: profile of the DMA windows' hypercalls ("auto": as the image asks); tce_real_mode: "on" or
    "off"; tce_pages: how the host keeps its page structs; tce_away: what becomes of calls that need a page that is away. Further
    options of facilities as their rooms document them.
    """

    image: str
    isa: str | None = None
    smp: int = 1
    memory: str = "64M"
    resident: str | None = None
    store: str = "ram:"
    latency: str = "none"
    append: str = ""
    seed: int = 0
    pct: str | None = None
    choices: str | None = None
    max_cycles: int | None = None
    pin: Sequence[str] = ()
    bugs: Sequence[str] = ()
    inject: Sequence[str] = ()
    apf: str = "off"
    cmo: str = "on"
    bolt: str = "kernel"
    store_buffer: bool = False
    vas: str = "auto"
    tce: str = "auto"
    tce_real_mode: str = "on"
    tce_pages: str = "vmemmap"
    tce_away: str = "busy"
    keep_zeros: bool = False
    slice: int | None = None
    console: Callable[[bytes], None] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be loaded: a kernel with firmware and a program, or a bare image alone."""

    isa: str
    kernel: ElfImage
    firmware: ElfImage | None
    program: ElfImage | None
    wants: tuple[tuple[str, str], ...] = ()

    @property
    def initrd(self) -> bytes | None:
        """What the kernel gets to load as its first program."""
        return None if self.program is None else self.program.loadable


def plan(image: str, isa: str | None) -> Plan:
    """Find the image. A name of the catalogue wins over a file of that name in the current folder: write ./walk for that."""
    if os.sep not in image and images.bootable(image):
        isa = isa or "x86_64"
        found = images.find(image, isa)
        if found.kind == "bare":
            return Plan(isa, found.load(), None, None)
        program = found.load()
        return Plan(isa, images.find("kernel", isa).load(), images.find("firmware", isa).load(), program, program.wants)
    if os.sep not in image and not os.path.exists(image):
        raise ConfigError(f"no built-in image and no file {image!r}; built in are {', '.join(images.names())}")
    elf = load_elf(image, isa)
    # a kernel that says what it pins speaks the boot protocol of vmemu's firmware
    return Plan(elf.isa, elf, images.find("firmware", elf.isa).load() if elf.pinned else None, None, elf.wants)


#: A multiboot kernel cannot say what must never be paged out: its image, tables and stacks are taken to be below this.
MULTIBOOT_PINNED = 32 << 20


def _default_pins(what: Plan, memory: int) -> list[tuple[int, int]]:
    return [(0, min(MULTIBOOT_PINNED, memory // 2))] if multiboot.has_header(what.kernel.raw) else []


def parse_pin(text: str) -> tuple[int, int]:
    """``LO-HI``: sizes or 0x numbers, HI exclusive."""
    lo, dash, hi = text.partition("-")
    try:
        first, last = (_address(lo), _address(hi)) if dash else (1, 0)
    except ValueError:
        first, last = 1, 0
    if first >= last:
        raise ConfigError(f"--pin {text}: must be LO-HI, for example 0-32M or 0x1000-0x5000")
    return first, last


def _address(text: str) -> int:
    match = re.fullmatch(r"(0x[0-9a-f]{1,16}|[0-9]{1,15})([kmg]?)", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(text)
    return int(match[1], 0 if match[1][:2].lower() == "0x" else 10) * _UNITS[match[2].upper()]


def _frames(options: BootOptions, memory: int, regions: list[tuple[int, int]]) -> int:
    """Frames for main memory's resident limit, plus the board's small extra regions (firmware's ROM)."""
    resident = memory if options.resident is None else parse_size(options.resident, "--resident")
    if resident > memory:
        raise ConfigError(f"--resident {options.resident} is more than the memory of {options.memory}")
    return resident // PAGE_SIZE + sum(size for _, size in regions[1:]) // PAGE_SIZE if resident == memory else resident // PAGE_SIZE


def identity(what: Plan) -> dict[str, str]:
    """BLAKE2b-256 of each file of a plan."""
    parts = (("kernel", what.kernel.raw), ("firmware", what.firmware.raw if what.firmware else None), ("program", what.initrd))
    return {name: hashlib.blake2b(raw, digest_size=32).hexdigest() for name, raw in parts if raw is not None}


def boot_choices(options: BootOptions) -> Choices:
    """Who decides. Raises ConfigError when two ways are asked for."""
    return choices_from(options.seed, options.pct, options.choices)


def boot(options: BootOptions, choices: Choices | None = None) -> Machine:
    """Build the machine and load everything. Raises ConfigError with one clear line for whatever is wrong."""
    load_rooms()
    what = plan(options.image, options.isa)
    options = as_wanted(options, what)
    machine = build(options, what.isa, boot_choices(options) if choices is None else choices)
    try:
        pins = [parse_pin(text) for text in options.pin] or _default_pins(what, machine.memory_size)
        switches = bug_registry.guest_switches(bug_registry.resolve(options.bugs))
        _load(machine, what, " ".join(filter(None, (options.append, switches))), pins, options)
        machine.images = identity(what)
        if what.kernel.tasks is not None:
            machine.core.watch_tasks(*what.kernel.tasks)
        machine.sleepers = what.kernel.sleepers
        for facility in machine.facilities.values():
            facility.loaded()
    except BaseException:
        machine.close()
        raise
    return machine


def as_wanted(options: BootOptions, what: Plan) -> BootOptions:
    """Options of facilities that the user leaves to the image ("auto"), as the image's notes ask for them."""
    wanted: dict[str, Any] = {name: value for name, value in what.wants if name in OPTIONS and getattr(options, name) == AUTO}
    return replace(options, **wanted)


def build(options: BootOptions, isa: str, choices: Choices) -> Machine:
    """The machine with nothing loaded. Raises ConfigError."""
    load_rooms()
    memory_size = parse_size(options.memory, "-m")
    if memory_size > MAX_MEMORY:
        raise ConfigError(f"-m {options.memory}: more than {MAX_MEMORY >> 30}G")
    if not 1 <= options.smp <= 16:
        raise ConfigError(f"--smp {options.smp}: 1 to 16 vCPUs")
    if options.max_cycles is not None and options.max_cycles <= 0:
        raise ConfigError("--max-cycles must be positive")
    if options.slice is not None and options.slice <= 0:
        raise ConfigError("a turn's length must be positive")
    spec, latency = parse_store(options.store), parse_latency(options.latency)
    injector = Injector.parse(options.inject)
    options = replace(options, bugs=bug_registry.canonical(options.bugs))
    for text in options.pin:
        parse_pin(text)
    board = board_for(isa)
    regions = board.memory_regions(memory_size)
    core = CoreMachine(isa, _frames(options, memory_size, regions), regions, lambda *_: (0, 0))
    core.ptr.keep_zeros = options.keep_zeros
    memory = Memory(core, spec, latency, injector, board.cpu_hz)
    try:
        machine = Machine(board, core, memory, memory_size, console=Console(options.console), smp=options.smp,
                          choices=choices, max_cycles=options.max_cycles)
        machine.options = options
        machine.slice = options.slice or machine.slice
        machine.facilities = make_all(machine, options)
    except BaseException:
        memory.close()
        raise
    return machine


def _load(machine: Machine, what: Plan, bootargs: str, pins: list[tuple[int, int]], options: BootOptions) -> None:
    board = machine.board
    base, size = board.memory_regions(machine.memory_size)[0]
    _check_pins(machine, what, pins, options)
    top = base + size
    initrd: tuple[int, int] | None = None
    dtb_gpa = top - 0x10000
    if what.initrd is not None:
        start = (dtb_gpa - len(what.initrd)) & ~(PAGE_SIZE - 1)
        initrd = (start, start + len(what.initrd))
    dtb = board.build_fdt(bootargs, initrd, machine.memory_size)
    if len(dtb) > 0x10000:
        raise ConfigError("the command line is too long")
    limit = initrd[0] if initrd else dtb_gpa
    for elf in filter(None, (what.firmware, what.kernel)):
        for segment in elf.segments:
            end = segment.paddr + segment.memsz
            if not machine.is_ram(segment.paddr, segment.memsz) or (end > limit and segment.paddr >= base):
                raise ConfigError(f"{elf.name}: segment {segment.paddr:#x}+{segment.memsz:#x} does not fit in {options.memory} of memory")
            machine.write_guest(segment.paddr, segment.data)
    if initrd is not None and what.initrd is not None:
        machine.write_guest(initrd[0], what.initrd)
    machine.write_guest(dtb_gpa, dtb)
    if what.firmware is not None:
        board.reset_vcpu(machine.vcpus[0], what.firmware.entry_paddr, dtb_gpa, what.kernel.entry_paddr)
    else:
        board.reset_bare(machine.vcpus[0], what.kernel, dtb_gpa, bootargs)


def _check_pins(machine: Machine, what: Plan, pins: list[tuple[int, int]], options: BootOptions) -> None:
    """Pin before anything is loaded, so that pinned pages never see the store."""
    wanted = [*(what.kernel.pinned if options.bolt != "none" else ()), *(s for s in (what.firmware.span(),) if s)] if what.firmware else []
    ranges = [*wanted, *pins]
    for lo, hi in ranges:  # before any is listed page by page: a range may be as long as the address space
        if not machine.is_ram(lo, hi - lo):
            raise ConfigError(f"pinned range {lo:#x}-{hi:#x} is not in the machine's {options.memory} of memory")
    pages = {page for lo, hi in ranges for page in range(lo & ~(PAGE_SIZE - 1), hi, PAGE_SIZE)}
    frames = int(machine.core.ptr.nframes)
    if len(pages) + MIN_UNPINNED > frames:
        need = (len(pages) + MIN_UNPINNED) * PAGE_SIZE
        raise ConfigError(
            f"--resident {options.resident or options.memory} is too small: {len(pages)} pages are pinned and {MIN_UNPINNED} must be "
            f"free to move, so at least {-(-need >> 10)}K"
        )
    for page in sorted(pages):
        machine.memory.pin(page, page + 1)


__all__ = ["Board", "BootOptions", "Plan", "boot", "parse_pin", "parse_size", "plan"]
