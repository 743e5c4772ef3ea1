# SPDX-License-Identifier: GPL-2.0-or-later
"""Symbols, lines and types: against the sources, against each other, and from files that are not what they should be."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from helpers.guest import ISAS
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu import Machine
from vmemu.errors import ConfigError
from vmemu.machine import images
from vmemu.machine.dwarf import DebugInfo
from vmemu.machine.elf import parse_elf
from vmemu.machine.locations import Machine as Machine_
from vmemu.machine.symbols import Module, Symbols, UnknownName
from vmemu.machine.types import Member, Type

each_isa = pytest.mark.parametrize("isa", ISAS)


@cache
def of(isa: str) -> Symbols:
    parts = [("kernel", images.find("kernel", isa).load()), ("storm", images.find("storm", isa).load()),
             ("firmware", images.find("firmware", isa).load())]
    return Symbols(tuple(Module(name, image) for name, image in parts))


@each_isa
def test_names_and_addresses_go_both_ways(isa: str) -> None:
    symbols = of(isa)
    for module in symbols.modules:
        for symbol in module.symbols:
            if symbol.kind != "func" or symbol.size < 8:
                continue
            found = symbols.at(symbol.address + symbol.size - 1)
            assert found is not None and found.module == module.name
            assert symbols.name(symbol.address + 4).endswith("+0x4") or isa == "x86_64"
            if module.by_name[symbol.name] is symbol:
                text = symbols.name(symbol.address)
                assert symbols.at(symbols.lookup(text)) is symbols.at(symbol.address)
    assert symbols.lookup("storm:main") == symbols.lookup("main")
    assert symbols.lookup("kernel:vm_fault") == symbols.lookup("vm_fault")


@each_isa
def test_lines_are_those_of_the_source(isa: str) -> None:
    """The line of a C function's first instruction is where the source defines it."""
    symbols, checked = of(isa), 0
    for symbol in (s for m in symbols.modules for s in m.symbols if s.kind == "func"):
        line = symbols.line(symbol.address)
        if line is None or not line.file.endswith(".c"):
            continue
        source = symbols.source(line.file)
        assert source is not None, line.file
        near = " ".join(source[max(0, line.line - 4) : line.line])
        assert re.search(rf"\b{re.escape(symbol.name.split('.')[0])}\b", near) or "DEFINE" in near or "(" in near, (symbol, line)
        checked += re.search(rf"\b{re.escape(symbol.name)}\b", near) is not None
    assert checked > 150


@each_isa
def test_addresses_of_lines(isa: str) -> None:
    symbols = of(isa)
    start = symbols.symbol("vm_fault")
    line = symbols.line(start.entry)
    assert line is not None
    assert symbols.line_addresses("vm.c", line.line)[0] in (start.address, start.entry)
    for address in symbols.line_addresses("guest_images/kernel/vm.c", line.line + 1):
        assert str(symbols.line(address)) == f"{line.file}:{line.line + 1}"
    for file, number in (("vn.c", 3), ("vm.c", 99999)):
        with pytest.raises(UnknownName):
            symbols.line_addresses(file, number)


@each_isa
def test_types(isa: str) -> None:
    symbols = of(isa)
    tasks = symbols.type_of("tasks")
    assert (tasks.kind, tasks.count) == ("array", 64) and tasks.target is not None and tasks.target.name == "struct task"
    assert tasks.size == 64 * symbols.type_of("task").size
    assert symbols.type_of("struct trapframe").size == {"x86_64": 176, "arm64": 272, "ppc64": 336}[isa]  # asserted in trapframe.h
    state = symbols.type_of("struct task").member("state")
    assert state is not None and state.type.values[4] == "TASK_SLEEPING"
    parent = symbols.type_of("struct task").member("parent")
    assert parent is not None and parent.type.target is not None
    assert parent.type.target.size == symbols.type_of("struct task").size
    pid = symbols.type_of("struct task").member("pid")
    assert pid is not None and pid.type.kind == "int"
    value = symbols.read_struct(lambda at, size: bytes(range(size % 256)) * 0 + bytes(size), 0x1000, "struct mm")
    assert value["users"] == 0 and len(value["regions"]) == 16 and value["regions"][0]["start"] == 0  # type: ignore[arg-type,call-overload,index]
    with pytest.raises(ConfigError):
        symbols.read_struct(lambda at, size: bytes(size), 0, "u64")


@each_isa
def test_what_is_not_there(isa: str) -> None:
    symbols = of(isa)
    with pytest.raises(UnknownName, match="did you mean vm_fault"):
        symbols.lookup("vm_fualt")
    with pytest.raises(UnknownName, match="did you mean struct task"):
        symbols.type_of("struct tsk")
    image = images.find("kernel", isa).load()
    bare = Symbols((Module("kernel", image, DebugInfo("kernel", image.loadable)),))
    with pytest.raises(UnknownName, match="not known"):
        bare.type_of("tasks")
    assert bare.name(symbols.lookup("vm_fault")) == "vm_fault" and bare.line(symbols.lookup("vm_fault")) is None
    with pytest.raises(UnknownName, match="no debug information"):
        bare.line_addresses("vm.c", 3)
    assert symbols.name(0x123456789ABC) == "0x123456789abc" and symbols.at(0x123456789ABC) is None
    assert symbols.line(0x123456789ABC) is None and symbols.rules(0x123456789ABC) is None
    stripped = Module("kernel", parse_elf("kernel", image.loadable))
    assert not stripped.debug.present and not stripped.symbols
    assert Symbols((stripped,)).name(symbols.lookup("vm_fault")) == hex(symbols.lookup("vm_fault"))


@each_isa
def test_of_a_machine(isa: str) -> None:
    machine = Machine.boot("hello", isa=isa)
    try:
        symbols = Symbols.of(machine)
        assert symbols is Symbols.of(machine) and not symbols.problems
        assert [m.name for m in symbols.modules] == ["kernel", "hello", "firmware"]
        assert symbols.name(machine.vcpus[0].pc).startswith(("firmware:", "_start"))
        kernel = symbols.modules[0]
        entry = kernel.image.entry_paddr  # the kernel begins at physical addresses
        assert not symbols.name(entry).startswith("0x") and symbols.at(entry) is not None
    finally:
        machine.close()
    machine = Machine.boot("hello", isa=isa)
    try:
        machine.images["kernel"] = "0" * 64
        symbols = Symbols.of(machine)
        assert "changed since" in symbols.problems[0] and [m.name for m in symbols.modules] == ["hello", "firmware"]
    finally:
        machine.close()


@each_isa
def test_unwinding_rules_cover_every_c_function(isa: str) -> None:
    symbols = of(isa)
    for symbol in symbols.modules[0].symbols:
        line = symbols.line(symbol.address)
        if symbol.kind == "func" and symbol.size > 8 and line is not None and line.file.endswith(".c"):
            rules = symbols.rules(symbol.address)
            assert rules is not None and rules.offset >= 0, symbol


@pytest.mark.parametrize("big", [False, True])
def test_values_of_bit_fields(big: bool) -> None:
    word = Type("u32", "uint", 4, big)
    signed = Type("int", "int", 4, big)
    outer = Type("struct s", "struct", 8, big)
    inner = Type("", "union", 4, big, members=[Member("raw", 0, word), Member("low", 0, word, 4, 0)])
    outer.members += [Member("a", 0, signed, 3, 5), Member("", 4, inner)]
    data = (0b111 << 5).to_bytes(4, "big" if big else "little") + (0x12345678).to_bytes(4, "big" if big else "little")
    assert outer.decode(data) == {"a": -1, "raw": 0x12345678, "low": 8}
    member = outer.member("low")
    assert member is not None and member.offset == 4 and list(outer.names()) == ["a", "raw", "low"]


@settings(max_examples=60)
@given(st.data())
def test_a_broken_file_is_refused_in_one_line(data: Any) -> None:
    """Whatever the bytes of the debug sections are: an answer, or a ConfigError."""
    raw = bytearray(images.find("hello", "arm64").load().raw)
    first = len(images.find("hello", "arm64").load().loadable)
    for _ in range(data.draw(st.integers(1, 20))):
        raw[data.draw(st.integers(first, len(raw) - 1))] = data.draw(st.integers(0, 255))
    debug = DebugInfo("hello", bytes(raw))
    nothing = Machine_(lambda column: 0x1000, lambda at, size: bytes(size), 0x2000, False)
    for look in (lambda: debug.lines, lambda: debug.variables(0x10000010, nothing), lambda: debug.type_names, lambda: debug.functions,
                 lambda: debug.rules(0x10000000), lambda: debug.type_called("u64"), lambda: debug.type_at(0x10003000)):
        with suppress(ConfigError):
            look()
