# SPDX-License-Identifier: GPL-2.0-or-later
"""What is where in the guest: names of addresses, lines of source, types of variables, of everything that was booted.

A machine runs firmware, a kernel and (as its initrd) a program. The kernel is known by its virtual and its physical addresses:
it runs at the latter until its MMU is on. Reading never fails for want of debug information: it only knows less.
"""

from __future__ import annotations

import difflib
import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from vmemu.errors import ConfigError
from vmemu.machine.dwarf import DebugInfo, Line, Rules
from vmemu.machine.elf import ElfImage, Entry
from vmemu.machine.locations import Machine as LocalsOf
from vmemu.machine.locations import Place
from vmemu.machine.types import Member, Read, Type, Value

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine


class UnknownName(ConfigError):
    """Nothing has that name; the text says what comes near."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name in one image. `size` 0: not said (labels of assembly code). `entry`: where calls from inside the image arrive."""

    name: str
    address: int
    size: int
    kind: str  # "func", "object", "label", "number" (no address)
    module: str
    entry: int


class Module:
    """One image of a machine: "kernel", "firmware", or the program's name."""

    def __init__(self, name: str, image: ElfImage, debug: DebugInfo | None = None) -> None:
        self.name = name
        self.image = image
        self.debug = DebugInfo(image.name, image.raw) if debug is None else debug

    @cached_property
    def symbols(self) -> list[Symbol]:
        """By address; at one address, the one with a size first."""
        # "$x", "$d": the ABI's marks of code and data (AAELF64, 5.5.1)
        found = [self._symbol(entry) for entry in self.image.symbol_table if not entry.name.startswith("$")]
        return sorted(found, key=lambda s: (s.address, s.size == 0, s.kind == "label", s.name))

    def _symbol(self, entry: Entry) -> Symbol:
        kind = {"STT_FUNC": "func", "STT_OBJECT": "object", "STT_ABS": "number"}.get(entry.kind, "label")
        return Symbol(entry.name, entry.address, entry.size, kind, self.name, entry.address + entry.local)

    @cached_property
    def by_name(self) -> dict[str, Symbol]:
        found: dict[str, Symbol] = {}
        for symbol in self.symbols:
            found.setdefault(symbol.name, symbol)
        return found

    @cached_property
    def _starts(self) -> list[tuple[int, int]]:
        """(address, place in `symbols`) of the first symbol at each address."""
        first: dict[int, int] = {}
        for place, symbol in enumerate(self.symbols):
            if symbol.kind != "number":
                first.setdefault(symbol.address, place)
        return sorted(first.items())

    def contains(self, address: int) -> bool:
        return any(s.vaddr <= address < s.vaddr + s.memsz for s in self.image.segments)

    def virtual(self, physical: int) -> int | None:
        """The virtual address of a physical one, where the two differ; None: not in the image, or they do not."""
        for s in self.image.segments:
            if s.paddr != s.vaddr and s.paddr <= physical < s.paddr + s.memsz:
                return s.vaddr + physical - s.paddr
        return None

    def at(self, address: int) -> Symbol | None:
        """The symbol that an address of this image belongs to."""
        if not self.contains(address):
            return None
        place = bisect_right(self._starts, (address, len(self.symbols))) - 1
        while place >= 0:
            symbol = self.symbols[self._starts[place][1]]
            if not symbol.size or address < symbol.address + symbol.size:
                return symbol
            place -= 1
            if symbol.kind == "func":
                return None  # behind a function's end: its neighbours before say nothing
        return None


class Symbols:
    """All that is known by name in one machine."""

    def __init__(self, modules: tuple[Module, ...] = (), problems: tuple[str, ...] = ()) -> None:
        self.modules = modules
        self.problems = problems

    @classmethod
    def of(cls, machine: Machine) -> Symbols:
        """Of the images that the machine was booted from; the same object each time. Empty for a machine made by hand."""
        if machine not in _known:
            _known[machine] = _load(machine)
        return _known[machine]

    # ---------------------------------------------------------------- names
    def find(self, name: str) -> Symbol | None:
        """A symbol by name; ``module:name`` where several images have it, else kernel, program, firmware in this order."""
        module, colon, rest = name.partition(":")
        for found in self.modules:
            if colon and found.name == module and rest in found.by_name:
                return found.by_name[rest]
            if not colon and name in found.by_name:
                return found.by_name[name]
        return None

    def symbol(self, name: str) -> Symbol:
        """As `find`. Raises UnknownName with the names that come near."""
        found = self.find(name)
        if found is None:
            near = difflib.get_close_matches(name, list(self.names()), 3, 0.7)
            raise UnknownName(f"no symbol {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
        return found

    def lookup(self, name: str) -> int:
        """Address of a symbol. Raises UnknownName."""
        return self.symbol(name).address

    def names(self) -> Iterator[str]:
        """All names that `find` takes."""
        for place, module in enumerate(self.modules):
            for name in module.by_name:
                shadowed = any(name in other.by_name for other in self.modules[:place])
                yield f"{module.name}:{name}" if shadowed else name

    def _module(self, address: int) -> tuple[Module, int] | None:
        """The image that an address belongs to, and the address as that image knows it."""
        for module in self.modules:
            if module.contains(address):
                return module, address
        for module in self.modules:
            if (virtual := module.virtual(address)) is not None:
                return module, virtual
        return None

    def at(self, address: int) -> Symbol | None:
        """The symbol that an address belongs to."""
        found = self._module(address)
        return None if found is None else found[0].at(found[1])

    def name(self, address: int) -> str:
        """``symbol+0x10``; the number in hexadecimal where there is none."""
        found = self._module(address)
        symbol = None if found is None else found[0].at(found[1])
        if found is None or symbol is None:
            return f"{address:#x}"
        first = self.find(symbol.name)
        text = symbol.name if first is symbol else f"{symbol.module}:{symbol.name}"
        return text if found[1] == symbol.address else f"{text}+{found[1] - symbol.address:#x}"

    # --------------------------------------------------------------- source
    def line(self, address: int) -> Line | None:
        """The line of source of an instruction."""
        found = self._module(address)
        if found is None:
            return None
        module, virtual = found
        symbol = module.at(virtual)
        # ppc64: no line is said of a function's first instructions, which only calls from outside run
        return module.debug.line(virtual if symbol is None else max(virtual, symbol.entry))

    def line_addresses(self, file: str, line: int) -> list[int]:
        """Where the code of FILE:LINE begins. Raises UnknownName when there is none."""
        for module in self.modules:
            if addresses := module.debug.addresses(file, line):
                return addresses
        if not any(m.debug.present for m in self.modules):
            raise UnknownName("the images carry no debug information: no lines of source are known")
        files = sorted({os.path.basename(f) for m in self.modules for f in m.debug.files()})
        if not any(file == f or f.endswith("/" + file) for m in self.modules for f in m.debug.files()):
            near = difflib.get_close_matches(file, files, 3, 0.6)
            raise UnknownName(f"no source file {file!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
        raise UnknownName(f"{file} has no code at line {line} or after it")

    def source(self, file: str) -> list[str] | None:
        """The lines of a source file, where it is at hand: below the folder of the images, or below the current one."""
        from vmemu.machine import images

        for base in (images.root(), Path()):
            try:
                return (base / file).read_text(errors="replace").splitlines()
            except OSError:
                continue
        return None

    def rules(self, address: int) -> Rules | None:
        """How to unwind from an instruction."""
        found = self._module(address)
        return None if found is None else found[0].debug.rules(found[1])

    def variables(self, address: int, machine: LocalsOf) -> dict[str, tuple[Type, Place | None]]:
        """Arguments and local variables that are visible at an instruction; None: the compiler keeps it nowhere there."""
        found = self._module(address)
        return {} if found is None else found[0].debug.variables(found[1], machine)

    # ---------------------------------------------------------------- types
    def type_of(self, name: str) -> Type:
        """The type of a variable, or a type by its name ("struct task", "task", "u64"). Raises UnknownName."""
        symbol = self.find(name)
        if symbol is not None and (known := self.type_at(symbol)) is not None:
            return known
        for module in self.modules:
            if (found := module.debug.type_called(name)) is not None:
                return found
        near = difflib.get_close_matches(name, [n for m in self.modules for n in m.debug.type_names], 3, 0.7)
        if symbol is not None:
            raise UnknownName(f"the type of {name} is not known: no debug information tells it")
        raise UnknownName(f"no type {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))

    def type_at(self, symbol: Symbol) -> Type | None:
        """The type of a variable; None: not known, or it is none."""
        return next((found for m in self.modules if m.name == symbol.module and (found := m.debug.type_at(symbol.address))), None)

    def read_struct(self, read: Read, address: int, type: Type | str) -> dict[str, Value]:
        """A struct's members by name, numbers, lists and dicts. `read`(address, size) -> bytes; pointers are not followed."""
        wanted = self.type_of(type) if isinstance(type, str) else type
        if not wanted.composite:
            raise ConfigError(f"{wanted.name} is no struct")
        value = wanted.read(read, address)
        assert isinstance(value, dict)
        return value


_known: WeakKeyDictionary[Machine, Symbols] = WeakKeyDictionary()


def _load(machine: Machine) -> Symbols:
    from vmemu.machine.boot import identity, plan

    if machine.options is None:
        return Symbols()
    try:
        what = plan(machine.options.image, machine.board.isa)
    except ConfigError as error:
        return Symbols(problems=(f"no symbols: {error}",))
    found = identity(what)
    modules, problems = [], []
    program = os.path.basename(machine.options.image)
    parts: list[tuple[str, str, ElfImage]] = [("kernel", "kernel", what.kernel)]
    if what.program is not None:
        parts.append(("program", program, what.program))
    if what.firmware is not None:
        parts.append(("firmware", "firmware", what.firmware))
    for part, name, image in parts:
        if found[part] != machine.images.get(part):
            problems.append(f"no symbols of the {name}: {image.name} has changed since the machine was booted")
        else:
            modules.append(Module(name, image))
    return Symbols(tuple(modules), tuple(problems))


__all__ = ["Line", "Member", "Module", "Symbol", "Symbols", "Type", "UnknownName"]
