# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a function's arguments and local variables are at an instruction: DWARF's location descriptions (DWARF 4, 2.5 and 2.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from elftools.dwarf.dwarf_expr import DWARFExprParser
from elftools.dwarf.locationlists import LocationEntry

_MASK = (1 << 64) - 1
_BINARY: dict[str, Callable[[int, int], int]] = {
    "DW_OP_plus": lambda a, b: a + b, "DW_OP_minus": lambda a, b: a - b, "DW_OP_mul": lambda a, b: a * b, "DW_OP_and": lambda a, b: a & b,
    "DW_OP_or": lambda a, b: a | b, "DW_OP_xor": lambda a, b: a ^ b, "DW_OP_shl": lambda a, b: a << min(b, 64),
    "DW_OP_shr": lambda a, b: a >> min(b, 64),
}  # fmt: skip
_CONSTANTS = ("DW_OP_addr", "DW_OP_constu", "DW_OP_consts", *(f"DW_OP_const{n}{s}" for n in (1, 2, 4, 8) for s in "us"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is. kind: "register" (its number is DWARF's), "memory" (an address), "value" (the number itself)."""

    kind: str
    number: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What an expression looks at. cfa: canonical frame address; None: not known. register: by DWARF's number, None: not known."""

    register: Callable[[int], int | None]
    read: Callable[[int, int], bytes]
    cfa: int | None
    big_endian: bool


class _Gone(Exception):
    """The value is nowhere: the compiler has done without it, or it needs what is not known."""


def scopes(die: Any, pc: int, ranges: Callable[[Any], list[tuple[int, int]]]) -> Iterator[Any]:
    """DIEs of the variables that are visible at pc in a function, the innermost scope's last."""
    for child in die.iter_children():
        if child.tag in ("DW_TAG_formal_parameter", "DW_TAG_variable"):
            yield child
        elif child.tag in ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine") and any(low <= pc < high for low, high in ranges(child)):
            yield from scopes(child, pc, ranges)


def expression(die: Any, pc: int, dwarf: Any) -> Any:
    """The location description that holds at pc; None: there is none."""
    attribute = die.attributes.get("DW_AT_location")
    if attribute is None:
        return None
    if attribute.form not in ("DW_FORM_sec_offset", "DW_FORM_data4", "DW_FORM_data8"):
        return attribute.value
    top = die.cu.get_top_DIE().attributes.get("DW_AT_low_pc")
    base = 0 if top is None else top.value
    for entry in dwarf.location_lists().get_location_list_at_offset(attribute.value, die):
        if not isinstance(entry, LocationEntry):
            base = entry.base_address
            continue
        start = 0 if entry.is_absolute else base
        if start + entry.begin_offset <= pc < start + entry.end_offset:
            return entry.loc_expr
    return None


def locate(code: Any, structs: Any, machine: Machine, frame_base: Any = None) -> Place | None:
    """What a location description comes to; None: the value is nowhere. `frame_base`: the function's own description."""
    try:
        return _run(code, structs, machine, frame_base)
    except (_Gone, IndexError):
        return None


def _run(code: Any, structs: Any, machine: Machine, frame_base: Any) -> Place:
    stack: list[int] = []
    for op in DWARFExprParser(structs).parse_expr(code):
        name, args = op.op_name, op.args
        if name.startswith("DW_OP_reg"):
            return Place("register", args[0] if name == "DW_OP_regx" else int(name[9:]))
        if name == "DW_OP_stack_value":
            return Place("value", stack[-1] & _MASK)
        if name.startswith("DW_OP_breg"):
            number, offset = (args[0], args[1]) if name == "DW_OP_bregx" else (int(name[10:]), args[0])
            stack.append(_register(machine, number) + offset)
        elif name == "DW_OP_fbreg":
            stack.append(_base(frame_base, structs, machine) + args[0])
        elif name == "DW_OP_call_frame_cfa":
            if machine.cfa is None:
                raise _Gone
            stack.append(machine.cfa)
        elif name.startswith("DW_OP_lit"):
            stack.append(int(name[9:]))
        elif name in _CONSTANTS:
            stack.append(args[0])
        elif name == "DW_OP_plus_uconst":
            stack.append(stack.pop() + args[0])
        elif name == "DW_OP_deref":
            stack.append(int.from_bytes(machine.read(stack.pop() & _MASK, 8), "big" if machine.big_endian else "little"))
        elif name in _BINARY:
            right, left = stack.pop() & _MASK, stack.pop() & _MASK
            stack.append(_BINARY[name](left, right))
        else:
            raise _Gone  # pieces, and values at the function's entry
    return Place("memory", stack[-1] & _MASK)


def _register(machine: Machine, number: int) -> int:
    value = machine.register(number)
    if value is None:
        raise _Gone
    return value


def _base(frame_base: Any, structs: Any, machine: Machine) -> int:
    if frame_base is None:
        raise _Gone
    place = _run(frame_base, structs, machine, None)
    return _register(machine, place.number) if place.kind == "register" else place.number
