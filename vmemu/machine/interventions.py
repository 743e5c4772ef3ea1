# SPDX-License-Identifier: GPL-2.0-or-later
"""What the owner of any machine may do to it, between two turns or amid one: as functions, and as commands (control.py).

Each either happens or raises: Refused when the machine is not in a state for it, ConfigError when it makes no sense. The machine
is as before then.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from vmemu.clock.inject import Rule, parse_number, parse_rule
from vmemu.core import PAGE_SIZE, Access, PageFlag, PageState, lib
from vmemu.errors import ConfigError, EngineError, StoreError
from vmemu.machine.control import Refused
from vmemu.memory.latency import Latency, parse_latency

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.machine import Machine

#: Most bytes that one `write` takes.
MOST_BYTES = 4096


def evict(machine: Machine, gpa: int) -> None:
    """A resident page goes to the store. Raises Refused for one that is not resident or pinned, ConfigError outside RAM."""
    core, memory = machine.core, machine.memory
    index = core.index(gpa)
    if index < 0:
        raise ConfigError(f"evict {gpa:#x}: not RAM")
    page = core.page(index)
    if page.state != PageState.RESIDENT:
        raise Refused(f"ENOENT: page {gpa & ~(PAGE_SIZE - 1):#x} is not resident")
    if page.flags & PageFlag.PINNED:
        raise Refused(f"EBUSY: page {gpa & ~(PAGE_SIZE - 1):#x} is pinned")
    done = lib.s2_swap_out(core.ptr, index)
    if done < 0:
        raise Refused(f"EBUSY: page {gpa & ~(PAGE_SIZE - 1):#x} is in use")
    if done:
        try:
            memory.put_out(index)
        except StoreError as error:
            raise Refused(f"EIO: {error}") from None


def interrupt(machine: Machine, cpu: int, number: int, level: bool | None = None) -> None:
    """An interrupt arrives at a vCPU's controller, by the controller's number; see `Board.interrupt`."""
    machine.board.interrupt(_vcpu(machine, cpu).id, number, level)


def offline(machine: Machine, cpu: int) -> None:
    """A vCPU is taken away, as if it had turned itself off; the guest is not told. Raises Refused for one that is not online."""
    if not _vcpu(machine, cpu).online:
        raise Refused(f"EINVAL: vCPU {cpu} is offline")
    machine.set_online(cpu, False)


def only(machine: Machine, cpu: int | None) -> None:
    """From the next turn on nobody but this vCPU runs; None: all do."""
    machine.only = None if cpu is None else _vcpu(machine, cpu).id


def set_latency(machine: Machine, latency: Latency) -> None:
    """Page-ins that begin from now on take so long."""
    machine.memory.set_latency(latency)


def inject(machine: Machine, rule: Rule) -> Rule:
    """From now on an event goes wrong; a count in the rule begins here. The rule as the injector has it."""
    return machine.memory.inject(rule)


def write(machine: Machine, gpa: int, data: bytes) -> None:
    """Bytes of guest memory. Raises Refused when a page is lost, ConfigError outside RAM."""
    if not machine.is_ram(gpa, len(data)):
        raise ConfigError(f"write {gpa:#x}+{len(data)}: not RAM")
    try:
        machine.memory.write(gpa, data)
    except StoreError as error:
        raise Refused(f"EIO: {error}") from None
    machine.core.code_written(gpa, len(data))


def set_register(machine: Machine, cpu: int, name: str, value: int) -> None:
    """A register of a vCPU, by its name in the isa room. Raises ConfigError for one that does not exist or does not hold the value."""
    vcpu = _vcpu(machine, cpu)
    try:
        bits = machine.core.isa.registers[name].bits
    except KeyError:
        raise ConfigError(f"reg {cpu} {name}: no such register") from None
    if value >> bits:
        raise ConfigError(f"reg {cpu} {name} {value:#x}: it has {bits} bits")
    before = vcpu.get(name)
    try:
        vcpu.set(name, value)
    except EngineError as error:
        raise Refused(f"EINVAL: {name} of vCPU {cpu}: {error}") from None
    if vcpu.get(name) != value:
        kept = vcpu.get(name)
        vcpu.set(name, before)
        raise Refused(f"EINVAL: {name} of vCPU {cpu} does not take {value:#x}, it would be {kept:#x}")
    vcpu.flush_tlb()  # it may be one that translation depends on


# ---------------------------------------------------------------- commands


def _vcpu(machine: Machine, cpu: int) -> CoreVcpu:
    if not 0 <= cpu < len(machine.vcpus):
        raise ConfigError(f"no vCPU {cpu}: there are {len(machine.vcpus)}")
    return machine.vcpus[cpu]


def _number(text: str, what: str) -> int:
    value = parse_number(text)
    if value is None:
        raise ConfigError(f"{text!r} is no {what}: a decimal or 0x number")
    return value


def _address(machine: Machine, text: str, cpu: int) -> int:
    """GPA, or va:ADDRESS as a vCPU sees it now."""
    if not text.startswith("va:"):
        return _number(text, "address")
    va = _number(text[3:], "address")
    found = _vcpu(machine, cpu).walk(va, Access.READ)
    if found.status:
        raise Refused(f"EFAULT: vCPU {cpu} has nothing at {va:#x}")
    return found.gpa


def _evict(machine: Machine, words: list[str]) -> str:
    if not 1 <= len(words) <= 2 or (len(words) == 2 and not words[0].startswith("va:")):
        raise ConfigError("evict GPA | va:ADDRESS [VCPU], as in evict 0x5000")
    cpu = _number(words[1], "vCPU") if len(words) == 2 else (machine.open_vcpu or 0)
    gpa = _address(machine, words[0], cpu)
    evict(machine, gpa)
    return f"page {gpa & ~(PAGE_SIZE - 1):#x} is in the store"


def _irq(machine: Machine, words: list[str]) -> str:
    if len(words) not in (2, 3) or (len(words) == 3 and words[2] not in ("0", "1")):
        raise ConfigError(f"irq VCPU NUMBER [0|1]: {machine.board.interrupts}")
    cpu, number = _number(words[0], "vCPU"), _number(words[1], "interrupt")
    interrupt(machine, cpu, number, words[2] == "1" if len(words) == 3 else None)
    return f"interrupt {number} at vCPU {cpu}"


def _offline(machine: Machine, words: list[str]) -> str:
    if len(words) != 1:
        raise ConfigError("offline VCPU")
    cpu = _number(words[0], "vCPU")
    offline(machine, cpu)
    return f"vCPU {cpu} is offline"


def _only(machine: Machine, words: list[str]) -> str:
    if len(words) != 1:
        raise ConfigError("only VCPU | all")
    cpu = None if words[0] == "all" else _number(words[0], "vCPU")
    only(machine, cpu)
    return "all vCPUs run" if cpu is None else f"only vCPU {cpu} runs"


def _latency(machine: Machine, words: list[str]) -> str:
    if len(words) != 1:
        raise ConfigError("latency SPEC, as --latency has it: nvme, 85us, 85us/32")
    latency = parse_latency(words[0])
    set_latency(machine, latency)
    return f"page-ins take {latency.ns / 1000:g} us, {latency.depth} at once"


def _inject(machine: Machine, words: list[str]) -> str:
    if len(words) != 1:
        raise ConfigError("inject EVENT:K:ACTION, as --inject has it; K counts from now")
    return f"injected: {inject(machine, parse_rule(words[0]))}"


def _write(machine: Machine, words: list[str]) -> str:
    if len(words) != 2 or not re.fullmatch(r"([0-9a-fA-F]{2})+", words[1]) or len(words[1]) > 2 * MOST_BYTES:
        raise ConfigError(f"write GPA HEX: up to {MOST_BYTES} bytes, two digits each")
    gpa, data = _address(machine, words[0], machine.open_vcpu or 0), bytes.fromhex(words[1])
    write(machine, gpa, data)
    return f"{len(data)} bytes at {gpa:#x}"


def _reg(machine: Machine, words: list[str]) -> str:
    if len(words) != 3:
        raise ConfigError("reg VCPU NAME VALUE")
    cpu, value = _number(words[0], "vCPU"), _number(words[2], "value")
    set_register(machine, cpu, words[1], value)
    return f"{words[1]} of vCPU {cpu} is {value:#x}"


COMMANDS: dict[str, Callable[[Machine, list[str]], str]] = {
    "evict": _evict, "irq": _irq, "offline": _offline, "only": _only, "latency": _latency, "inject": _inject, "write": _write,
    "reg": _reg,
}  # fmt: skip


def install(machine: Machine) -> None:
    """Give a machine its commands."""
    for name, command in COMMANDS.items():
        machine.commands[name] = lambda words, command=command: command(machine, words)  # type: ignore[misc]
