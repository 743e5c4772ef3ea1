# SPDX-License-Identifier: GPL-2.0-or-later
"""Debug information of one image: source lines, types of variables, rules for unwinding. Read when first asked for.

pyelftools reads DWARF; anything it raises on a malformed file becomes a ConfigError here.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, TypeVar

from elftools.dwarf.callframe import FDE, ZERO
from elftools.elf.elffile import ELFFile

from vmemu.errors import ConfigError, VmemuError
from vmemu.machine import locations
from vmemu.machine.types import VOID, Member, Type

T = TypeVar("T")
#: DW_ATE_*: kinds of base types (DWARF 4, figure 15).
_ENCODINGS = {0x02: "bool", 0x04: "float", 0x05: "int", 0x06: "char", 0x07: "uint", 0x08: "char", 0x10: "char"}
_TRANSPARENT = ("DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type", "DW_TAG_atomic_type")
_NAMED = {
    "DW_TAG_structure_type": "struct ", "DW_TAG_union_type": "union ", "DW_TAG_enumeration_type": "enum ",
    "DW_TAG_typedef": "", "DW_TAG_base_type": "",
}  # fmt: skip
_DW_OP_ADDR = 0x03
#: A struct's members and an array's elements nest so deep at most; more is a malformed file.
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Line:
    """Machine code [low, high) of one line of source. `file` is relative to the repository for built-in images."""

    low: int
    high: int
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Rules:
    """How to leave a function's frame: the canonical frame address is register `cfa` + `offset`.

    `saved`: number of a register (DWARF's) -> where the caller's value lies, counted from that address. `ra`: the number of the
    return address's column.
    """

    cfa: int
    offset: int
    saved: dict[int, int]
    ra: int


def _guarded(method: Callable[[DebugInfo], T]) -> Callable[[DebugInfo], T]:
    @wraps(method)
    def call(self: DebugInfo) -> T:
        try:
            return method(self)
        except ConfigError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:100]
            raise ConfigError(f"{self.name}: malformed debug information: {text or type(error).__name__}") from None

    return call


class DebugInfo:
    """What an ELF file with DWARF tells. `present` is False for one without: everything is empty then."""

    def __init__(self, name: str, raw: bytes) -> None:
        self.name = name
        self._raw = raw

    @cached_property
    @_guarded
    def _dwarf(self) -> Any:
        elf = ELFFile(io.BytesIO(self._raw))
        return elf.get_dwarf_info() if elf.has_dwarf_info(strict=True) else None

    @property
    def present(self) -> bool:
        return self._dwarf is not None

    @cached_property
    @_guarded
    def _units(self) -> list[Any]:
        return [] if self._dwarf is None else list(self._dwarf.iter_CUs())

    # ---------------------------------------------------------------- lines
    @cached_property
    @_guarded
    def lines(self) -> list[Line]:
        """Every stretch of code that belongs to one line, by address."""
        found: list[Line] = []
        for unit in self._units:
            program = self._dwarf.line_program_for_CU(unit)
            if program is None:
                continue
            names = list(_file_names(program))
            first = 0 if program["version"] >= 5 else 1
            before: Any = None
            for entry in program.get_entries():
                state = entry.state
                if state is None:
                    continue
                if before is not None and state.address > before.address and before.line:
                    place = before.file - first
                    file = names[place] if 0 <= place < len(names) else "?"
                    if found and found[-1].high == before.address and (found[-1].file, found[-1].line) == (file, before.line):
                        found[-1] = Line(found[-1].low, state.address, file, before.line)
                    else:
                        found.append(Line(before.address, state.address, file, before.line))
                before = None if state.end_sequence else state
        found.sort(key=lambda line: line.low)
        return found

    @cached_property
    def _lows(self) -> list[int]:
        return [line.low for line in self.lines]

    def line(self, address: int) -> Line | None:
        """The line of source that an instruction belongs to."""
        at = bisect_right(self._lows, address) - 1
        if at < 0 or address < self.lines[at].high:
            return self.lines[at] if at >= 0 else None
        # what the compiler has made of no line in particular goes with what comes before it in the same function
        low = self.lines[at].low
        return self.lines[at] if any(lo <= low and address < hi for lo, hi in self.functions) else None

    def files(self) -> set[str]:
        return {line.file for line in self.lines}

    def addresses(self, file: str, number: int) -> list[int]:
        """Where the code of a line begins, once for each function that contains it; of the next line with code when it has none.

        `file`: a name, or the end of one after a slash. Empty when no file or no later line is known.
        """
        of_file = [line for line in self.lines if line.file == file or line.file.endswith("/" + file)]
        later = min((line.line for line in of_file if line.line >= number), default=None)
        starts: list[int] = []
        for line in of_file:
            if line.line == later and not any(low <= line.low < high and low <= at < high for at in starts for low, high in self.functions):
                starts.append(line.low)
        return starts

    @cached_property
    @_guarded
    def functions(self) -> list[tuple[int, int]]:
        """[low, high) of every function that has debug information."""
        found = []
        for die in self._top():
            low, high = die.attributes.get("DW_AT_low_pc"), die.attributes.get("DW_AT_high_pc")
            if die.tag == "DW_TAG_subprogram" and low is not None and high is not None:
                found.append((low.value, high.value if high.form == "DW_FORM_addr" else low.value + high.value))
        return sorted(found)

    # ---------------------------------------------------------------- types
    def _top(self) -> Iterator[Any]:
        for unit in self._units:
            yield from unit.get_top_DIE().iter_children()

    @cached_property
    @_guarded
    def _index(self) -> tuple[dict[str, Any], dict[int, Any]]:
        """DIEs of types by name ("struct task", "u64"), and of variables by address."""
        types: dict[str, Any] = {}
        variables: dict[int, Any] = {}
        for die in self._top():
            if die.tag in _NAMED and "DW_AT_name" in die.attributes and "DW_AT_declaration" not in die.attributes:
                types.setdefault(_NAMED[die.tag] + _name(die), die)
            elif die.tag == "DW_TAG_variable":
                self._note(die, variables)
            elif die.tag == "DW_TAG_subprogram":  # its static variables
                for inner in die.iter_children():
                    if inner.tag == "DW_TAG_variable":
                        self._note(inner, variables)
        return types, variables

    def _note(self, die: Any, variables: dict[int, Any]) -> None:
        location = die.attributes.get("DW_AT_location")
        if location is None or location.form not in ("DW_FORM_exprloc", "DW_FORM_block1"):
            return
        code = bytes(location.value)
        if len(code) == 9 and code[0] == _DW_OP_ADDR:
            variables[int.from_bytes(code[1:], "little" if self._dwarf.config.little_endian else "big")] = die

    @cached_property
    def _made(self) -> dict[int, Type]:
        return {}

    @cached_property
    @_guarded
    def type_names(self) -> list[str]:
        return sorted(self._index[0])

    def type_called(self, name: str) -> Type | None:
        """A type by its C name; "task" finds "struct task" as well."""
        types = self._index[0]
        for prefix in ("", "struct ", "union ", "enum "):
            if prefix + name in types:
                return self._build(types[prefix + name])
        return None

    def type_at(self, address: int) -> Type | None:
        """The type of the variable that lies at an address."""
        die = self._index[1].get(address)
        return None if die is None else self._build(self._declared(die))

    def _declared(self, die: Any) -> Any:
        """The DIE of a DIE's type; None: void."""
        if "DW_AT_type" not in die.attributes and "DW_AT_specification" in die.attributes:
            die = die.get_DIE_from_attribute("DW_AT_specification")
        return die.get_DIE_from_attribute("DW_AT_type") if "DW_AT_type" in die.attributes else None

    def _build(self, die: Any, depth: int = 0) -> Type:
        try:
            return self._type(die, depth)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"{self.name}: malformed debug information: {type(error).__name__}") from None

    def _type(self, die: Any, depth: int) -> Type:
        if die is None:
            return VOID
        if depth > _DEEPEST:
            raise ConfigError(f"{self.name}: malformed debug information: types nest without end")
        if die.offset in self._made:
            return self._made[die.offset]
        tag, size = die.tag, _number(die, "DW_AT_byte_size")
        big = not self._dwarf.config.little_endian
        if tag in _TRANSPARENT:
            return self._type(self._declared(die), depth + 1)
        if tag == "DW_TAG_typedef":
            under = self._type(self._declared(die), depth + 1)
            made = Type(_name(die), under.kind, under.size, big, under.target, under.count, under.members, under.values)
        elif tag == "DW_TAG_base_type":
            made = Type(_name(die), _ENCODINGS.get(_number(die, "DW_AT_encoding"), "uint"), size, big)
        elif tag == "DW_TAG_pointer_type":
            made = self._made[die.offset] = Type("", "pointer", size or 8, big)
            made.target = self._type(self._declared(die), 0)  # what is behind a pointer does not nest
            made.name = f"{made.target.name} *"
        elif tag in ("DW_TAG_structure_type", "DW_TAG_union_type"):
            kind = "struct" if tag == "DW_TAG_structure_type" else "union"
            if "DW_AT_declaration" in die.attributes and f"{kind} {_name(die)}" in self._index[0]:
                return self._type(self._index[0][f"{kind} {_name(die)}"], depth + 1)
            made = self._made[die.offset] = Type(f"{kind} {_name(die)}".strip(), kind, size, big)
            made.members += [self._member(child, depth) for child in die.iter_children() if child.tag == "DW_TAG_member"]
        elif tag == "DW_TAG_enumeration_type":
            values = {_number(c, "DW_AT_const_value"): _name(c) for c in die.iter_children() if c.tag == "DW_TAG_enumerator"}
            made = Type(f"enum {_name(die)}".strip(), "enum", size, big, values=values)
        elif tag == "DW_TAG_array_type":
            made = self._array(die, depth)
        elif tag == "DW_TAG_subroutine_type":
            made = Type("function", "function", 1, big)
        else:
            made = Type(tag.removeprefix("DW_TAG_"), "uint", size, big)
        self._made[die.offset] = made
        return made

    def _array(self, die: Any, depth: int) -> Type:
        made = self._type(self._declared(die), depth + 1)
        counts = []
        for child in die.iter_children():
            if child.tag == "DW_TAG_subrange_type":
                has_bound = "DW_AT_upper_bound" in child.attributes
                counts.append(_number(child, "DW_AT_upper_bound") + 1 if has_bound else _number(child, "DW_AT_count"))
        for count in reversed(counts):
            made = Type(f"{made.name}[{count}]", "array", made.size * count, made.big_endian, made, count)
        return made

    def _member(self, die: Any, depth: int) -> Member:
        kind = self._type(self._declared(die), depth + 1)
        bits, offset = _number(die, "DW_AT_bit_size"), _number(die, "DW_AT_data_member_location")
        if not bits:
            return Member(_name(die), offset, kind)
        if "DW_AT_data_bit_offset" in die.attributes:  # DWARF 4: from the struct's start, in memory order
            first = _number(die, "DW_AT_data_bit_offset")
            offset, within = first // (8 * kind.size) * kind.size, first % (8 * kind.size)
        else:  # DWARF 3: from the most significant bit of the storage unit
            within = _number(die, "DW_AT_bit_offset")
            within = within if kind.big_endian else 8 * kind.size - within - bits
        return Member(_name(die), offset, kind, bits, 8 * kind.size - within - bits if kind.big_endian else within)

    # --------------------------------------------------------------- locals
    @cached_property
    @_guarded
    def _functions(self) -> list[tuple[int, int, Any]]:
        found = []
        for die in self._top():
            if die.tag == "DW_TAG_subprogram":
                found += [(low, high, die) for low, high in self._ranges(die)]
        return sorted(found, key=lambda f: f[:2])

    def _ranges(self, die: Any) -> list[tuple[int, int]]:
        low, high, several = (die.attributes.get(f"DW_AT_{what}") for what in ("low_pc", "high_pc", "ranges"))
        if low is not None and high is not None:
            return [(low.value, high.value if high.form == "DW_FORM_addr" else low.value + high.value)]
        if several is None or self._dwarf.range_lists() is None:
            return []
        top = die.cu.get_top_DIE().attributes.get("DW_AT_low_pc")
        base, found = 0 if top is None else top.value, []
        for entry in self._dwarf.range_lists().get_range_list_at_offset(several.value, die.cu):
            if hasattr(entry, "base_address"):
                base = entry.base_address
            else:
                found.append((base + entry.begin_offset, base + entry.end_offset))
        return found

    def variables(self, address: int, machine: locations.Machine) -> dict[str, tuple[Type, locations.Place | None]]:
        """Arguments and local variables that are visible at an instruction: type, and where each is (None: nowhere now)."""
        at = bisect_right([low for low, _, _ in self._functions], address) - 1
        if at < 0 or address >= self._functions[at][1]:
            return {}
        try:
            return self._variables(self._functions[at][2], address, machine)
        except VmemuError:
            raise
        except Exception as error:
            raise ConfigError(f"{self.name}: malformed debug information: {type(error).__name__}") from None

    def _variables(self, function: Any, address: int, machine: locations.Machine) -> dict[str, tuple[Type, locations.Place | None]]:
        base = function.attributes.get("DW_AT_frame_base")
        found: dict[str, tuple[Type, locations.Place | None]] = {}
        for die in locations.scopes(function, address, self._ranges):
            origin = die.get_DIE_from_attribute("DW_AT_abstract_origin") if "DW_AT_abstract_origin" in die.attributes else die
            code = locations.expression(die, address, self._dwarf)
            place = None
            if code is not None:
                place = locations.locate(code, die.cu.structs, machine, None if base is None else base.value)
            elif "DW_AT_const_value" in die.attributes:
                place = locations.Place("value", _number(die, "DW_AT_const_value") & (1 << 64) - 1)
            if _name(origin):
                found[_name(origin)] = self._type(self._declared(origin), 0), place
        return found

    # ------------------------------------------------------------ unwinding
    @cached_property
    @_guarded
    def _frames(self) -> list[tuple[int, int, FDE]]:
        if self._dwarf is None or not self._dwarf.has_CFI():
            return []
        entries = [e for e in self._dwarf.CFI_entries() if isinstance(e, FDE) and not isinstance(e, ZERO)]
        return sorted(((e["initial_location"], e["address_range"], e) for e in entries), key=lambda f: f[:2])

    def rules(self, address: int) -> Rules | None:
        """How to unwind from an instruction; None where nothing is said about it."""
        at = bisect_right([low for low, _, _ in self._frames], address) - 1
        if at < 0 or address >= self._frames[at][0] + self._frames[at][1]:
            return None
        entry = self._frames[at][2]
        best = None
        for row in entry.get_decoded().table:
            if row["pc"] <= address:
                best = row
        if best is None or best["cfa"].reg is None or entry.cie is None:
            return None
        saved = {reg: rule.arg for reg, rule in best.items() if isinstance(reg, int) and rule.type == "OFFSET"}
        return Rules(best["cfa"].reg, best["cfa"].offset, saved, entry.cie["return_address_register"])


def _file_names(program: Any) -> Iterator[str]:
    folders = [f.decode(errors="replace") for f in program["include_directory"]]
    first = 0 if program["version"] >= 5 else 1
    for entry in program["file_entry"]:
        name, place = entry.name.decode(errors="replace"), entry.dir_index - first
        folder = folders[place] if 0 <= place < len(folders) else ""
        yield name if name.startswith("/") or folder in ("", ".") else f"{folder}/{name}"


def _name(die: Any) -> str:
    attribute = die.attributes.get("DW_AT_name")
    return "" if attribute is None else attribute.value.decode(errors="replace")


def _number(die: Any, what: str) -> int:
    attribute = die.attributes.get(what)
    return attribute.value if attribute is not None and isinstance(attribute.value, int) else 0


__all__ = ["DebugInfo", "Line", "Rules"]
