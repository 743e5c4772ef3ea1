# SPDX-License-Identifier: GPL-2.0-or-later
"""What is typed at the debugger's prompt: expressions, completion, help, and whatever else fingers may do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.shell import attempt, running
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.debug.shell import COMMANDS, load_commands
from vmemu.debug.shell.registry import TOPICS, find
from vmemu.debug.shell.terminal import Terminal


@pytest.mark.parametrize(("line", "says"), [
    ("print nosuch", "no symbol 'nosuch'"),
    ("print tasksX", "did you mean"),
    ("print tasks[64]", "there are 0 to 63"),
    ("print tasks[0].nosuch", "has no member 'nosuch'; it has state"),
    ("print 1 +", "ends too early"),
    ("print 1 / 0", "division by zero"),
    ("print (((((1)))", "')' is missing"),
    ("print " + "(" * 200 + "1" + ")" * 200, "deep"),
    ("x/4gx 0xdead00000000", "is not mapped"),
    ("x p:0xfffffffff000", "is not RAM"),
    ("x/99999gx $pc", "1 to 4096"),
    ("walk", "walk ADDRESS"),
    ("break", "breakpoint"),
    ("break nosuch", "no symbol"),
    ("break vm.c:99999", "no code at line"),
    ("break vm_fault if", "none of that"),
    ("break vm_fault vcpu 7", "no vCPU 7"),
    ("watch 0xdead00000000", "is not mapped"),
    ("delete 77", "no such breakpoint"),
    ("where task 99", "no task 99"),
    ("vcpu 9", "there are 0 to"),
    ("frame 99", "there are 0 to"),
    ("goto nowhere", "no instant"),
    ("goto 99999999999", "the run is over"),
    ("until nowhere", "no symbol"),
    ("until 3 5", "neither a place nor an instant"),
    ("until event nothing", "KIND of fault"),
    ("stepi 0", "no count"),
    ("registers nosuch", "no register and no group"),
    ("devices nosuch", "no device"),
    ("retry", "nothing has failed"),
    ("source /nowhere", "cannot read"),
    ("set $nosuch = 1", "no register"),
    ("s1de", "no command"),
    ("diff", "diff FROM"),
])
def test_wrong_input_is_one_line_and_harmless(line: str, says: str) -> None:
    shell = running("arm64")
    at = shell.machine.insns
    assert says in attempt(shell, line)
    shell("delete")
    shell(f"goto {at}")


def test_every_command_has_help_and_an_example_that_exists() -> None:
    load_commands()
    assert {c.topic for c in COMMANDS.values()} == set(TOPICS)
    for command in COMMANDS.values():
        assert command.summary.endswith((".", ":")) or command.summary, command.name
        word = re.match(r"[A-Za-z_?!-]+", command.example[0])
        assert word is not None and find(word[0]) is not None, command.name
        assert command.usage.startswith(command.name) and len(command.example[1]) > 5
    text = running("arm64")("help")
    assert all(name in text for name in (*TOPICS, *COMMANDS))
    for name in (*TOPICS, *COMMANDS):
        assert running("arm64")(f"help {name}")
    document = (Path(__file__).parents[2] / "docs" / "debugger.md").read_text()
    protocol = (Path(__file__).parents[2] / "docs" / "debugger-sessions.md").read_text()
    assert [n for n, c in COMMANDS.items() if f"`{n}" not in (protocol if c.topic == "protocol" else document)] == []


@settings(max_examples=80)
@given(st.data())
def test_expressions_are_arithmetic(data: st.DataObject) -> None:
    """Against Python's own arithmetic, on text made from the same tree."""
    numbers = st.integers(0, 1 << 40)

    def tree(depth: int) -> tuple[str, int]:
        if depth == 0 or data.draw(st.booleans()):
            n = data.draw(numbers)
            return (hex(n) if data.draw(st.booleans()) else str(n)), n
        sign = data.draw(st.sampled_from(["+", "-", "*", "&", "|", "^", "==", "<", ">=", "&&"]))
        (a, x), (b, y) = tree(depth - 1), tree(depth - 1)
        value = {"+": x + y, "-": x - y, "*": x * y, "&": x & y, "|": x | y, "^": x ^ y, "==": int(x == y), "<": int(x < y),
                 ">=": int(x >= y), "&&": int(bool(x) and bool(y))}[sign]
        return f"({a} {sign} {b})", value

    text, value = tree(4)
    shown = running("arm64")(f"print/d ({text}) == ({value})" if value >= 0 else f"print ({text}) == (0 - {-value})")
    assert shown.split()[0] == "1"


def test_completion() -> None:
    shell = running("arm64")
    terminal = Terminal(shell.debugger)
    words = {name: command for name, command in COMMANDS.items() if command.complete is not None}
    assert "vm_fault" in terminal.suggest(words["break"], "vm_fa", "break vm_fa", 6)
    assert "$sp_el1" in terminal.suggest(words["print"], "$sp_", "print $sp_", 6)
    assert terminal.suggest(words["until"], "fau", "until event fau", 12) == ["fault", "fault_done"]
    assert "time" in terminal.suggest(words["help"], "ti", "help ti", 5)
    assert terminal.suggest(words["vcpu"], "", "vcpu ", 5) == ["0"]


WORDS = (
    "tasks", "tasks[3]", "->", ".", "mm", "0", "1", "-1", "0xffffffffffffffff", "99999999999999999999999", "$pc", "$", "$sp", "p:",
    "task 1:", "task", "(", ")", "[", "]", "*", "&", "struct task", "(struct task *)", "sizeof(", "'", '"', "|", ">", ";", "=",
    "==", "if", "vcpu", "event", "fault", "all", "read", "user", "/4gx", "/s", "/i", "/0", "vm_fault", "vm.c:180", ":", "kernel:",
    "-o json", "#", '\\', "é", '\x00', "%", "1.5ms", "output:", "now", "start", "here", "size", "cycle", "+5", "-5", "cpus[0].task",
    "->mm", "regions[0]", "boot_stack", "x" * 300,
)  # fmt: skip
LOOKING = (
    "print", "print/x", "x", "x/2s", "x/3i", "walk", "page", "maps", "where", "frame", "up", "down", "list", "disassemble",
    "registers", "symbol", "break", "tbreak", "watch", "rwatch", "delete", "disable", "enable", "breakpoints", "tasks", "vcpu",
    "vcpus", "devices", "bookmark", "timeline", "diff", "help", "info", "assert", "echo", "source", "set", "write", "until", "goto",
    "back", "stepi", "retry", "faults", "token", "why", "area", "sleepers", "explain", "evict", "irq", "only", "latency", "inject",
    "reg", "offline",
)  # fmt: skip


@settings(max_examples=120)
@given(st.sampled_from(LOOKING), st.lists(st.sampled_from(WORDS), max_size=5), st.sampled_from(("", " ")))
def test_no_line_is_too_strange(command: str, words: list[str], between: str) -> None:
    """Whatever is typed: it is done, or refused in one line."""
    shell = running("x86_64")
    at = shell.machine.insns
    shell("bookmark kept")
    attempt(shell, f"{command} {between.join(words)}", (1, 2, 3, 4, 5))
    for number in (*shell.debugger.session.breakpoints, *shell.debugger.session.watchpoints):
        shell.debugger.session.remove(number)
    shell(f"goto {at}" if shell.machine.insns != at else "echo")
    shell("vcpu 0")
