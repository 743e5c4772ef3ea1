# SPDX-License-Identifier: GPL-2.0-or-later
"""The test kernel's tasks, read from its memory with the types of its debug information (guest_images/kernel/task.h)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from vmemu.core import PAGE_SIZE, PageState
from vmemu.debug.peek import Unreadable, kernel, number, peek
from vmemu.machine import view
from vmemu.machine.symbols import Symbols, UnknownName
from vmemu.machine.types import Type

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: kernel/arch.h
KSTACK_SIZE = 8192
FOREVER = (1 << 64) - 1
#: kernel/task.h
USTACK_TOP = 0x3FFF0000
#: struct trapframe's members for the PC, the stack pointer and the mode, and what bits of the mode say "user" (arch/*/trapframe.h).
_FRAME = {"x86_64": ("rip", "rsp", "cs", 3, 3), "arm64": ("pc", "sp", "pstate", 15, 0), "ppc64": ("nip", "gpr", "msr", 0x4000, 0x4000)}


@dataclass(frozen=True, slots=True)
class Task:
    """One task. cpu: that has it now, None: none. chan: address it sleeps on, 0: none. wake_at: ns of guest time, FOREVER: no limit.

    root: of its page table, 0: none, or it has ended. user_pc, user_sp: where it goes on in user mode; None for a kernel's thread.
    """

    slot: int
    address: int
    number: int
    leader: int
    state: str
    cpu: int | None
    chan: int
    wake_at: int
    root: int
    kstack: int
    ctx: int
    user_pc: int | None
    user_sp: int | None
    thread: int
    ran_ns: int

    @property
    def asleep(self) -> bool:
        return self.state == "sleeping"


def tasks(machine: Machine) -> list[Task]:
    """All tasks that exist, by place in the kernel's table. Raises Unreadable where it cannot be found or read."""
    symbols = Symbols.of(machine)
    try:
        at, array = symbols.lookup("tasks"), symbols.type_of("tasks")
        cpus, cpu_array = symbols.lookup("cpus"), symbols.type_of("cpus")
    except UnknownName as error:
        raise Unreadable(f"this guest's tasks cannot be read: {error}") from None
    one, cpu_type = array.target, cpu_array.target
    if one is None or cpu_type is None or one.member("state") is None:
        raise Unreadable("this guest's tasks cannot be read: its `tasks` is no table of the test kernel's")
    on = {}
    for place in range(min(len(machine.vcpus), cpu_array.count)):
        member = cpu_type.member("task")
        assert member is not None
        pointer = member.type.scalar(kernel(machine, cpus + place * cpu_type.size + member.offset, 8))
        on[pointer] = place
    state = one.member("state")
    assert state is not None
    raw = kernel(machine, at, array.size)
    found = []
    for slot in range(array.count):
        part = raw[slot * one.size : (slot + 1) * one.size]
        word = state.type.values.get(state.type.scalar(part[state.offset :][: state.type.size]), "?")
        if word == "TASK_FREE":
            continue
        fields = {name: _scalar(one, name, part) for name in _FIELDS}
        address = at + slot * one.size
        pc, sp = _user(machine, symbols, fields["kstack"]) if fields["mm"] and not fields["kthread"] else (None, None)
        found.append(Task(
            slot, address, fields["pid"], fields["tgid"], word.removeprefix("TASK_").lower(), on.get(address), fields["chan"],
            fields["wake_at"], _root(machine, symbols, fields["mm"]), fields["kstack"], fields["ctx"], pc, sp, fields["kthread"],
            fields["ran_ns"],
        ))
    return found


#: Members of struct task that are wanted: the others are long.
_FIELDS = ("pid", "tgid", "mm", "kthread", "kstack", "chan", "wake_at", "ctx", "ran_ns")


def _scalar(type: Type, name: str, raw: bytes) -> int:
    member = type.member(name)
    if member is None:
        raise Unreadable(f"this guest's tasks cannot be read: {type.name} has no {name}")
    return member.type.scalar(raw[member.offset : member.offset + member.type.size])


def running(machine: Machine, vcpu: int) -> int:
    """Number of the task that a vCPU runs, as the kernel tells the host (elf.py, NOTE_TASKS); 0: none, or it does not tell."""
    for module in Symbols.of(machine).modules:
        if module.name == "kernel" and module.image.tasks is not None:
            gpa, count = module.image.tasks
            return number(machine, peek(machine, gpa + 8 * vcpu, 8)) if vcpu < count else 0
    return 0


def _root(machine: Machine, symbols: Symbols, mm: int) -> int:
    if not mm:
        return 0
    member = symbols.type_of("struct mm").member("root")
    return 0 if member is None else number(machine, kernel(machine, mm + member.offset, 8))


def _user(machine: Machine, symbols: Symbols, kstack: int) -> tuple[int | None, int | None]:
    """PC and stack pointer of the frame that the way back to user mode will load."""
    frame = trapframe(machine, kstack + KSTACK_SIZE - symbols.type_of("struct trapframe").size) if kstack else None
    return (frame[0], frame[1]) if frame is not None and frame[2] else (None, None)


def trapframe(machine: Machine, address: int) -> tuple[int, int, bool, dict[str, int]] | None:
    """PC, stack pointer, whether it came from user mode, and the other registers of a trapframe; None: nothing can be read there."""
    symbols = Symbols.of(machine)
    pc, sp, mode, mask, user = _FRAME[machine.board.isa]
    try:
        size = symbols.type_of("struct trapframe").size
        raw = kernel(machine, address, size)
    except (Unreadable, UnknownName):
        return None
    fields = symbols.read_struct(lambda a, n: raw, address, "struct trapframe")
    registers: dict[str, int] = {}
    for name, value in fields.items():
        if isinstance(value, list):  # x[31], gpr[32]
            prefix = {"x": "x", "gpr": "r"}.get(name, name)
            registers |= {f"{prefix}{place}": element for place, element in enumerate(value) if isinstance(element, int)}
        elif isinstance(value, int):
            registers[name] = value
    stack = registers["r1"] if sp == "gpr" else registers[sp]
    return registers[pc], stack, registers[mode] & mask == user, registers


@dataclass(frozen=True, slots=True)
class Region:
    """[start, end) of a task's addresses. rights: "rwx" with - for what is not allowed."""

    start: int
    end: int
    rights: str
    what: str


def regions(machine: Machine, task: Task) -> list[Region]:
    """A task's regions, by address (kernel/task.h, struct region). Raises Unreadable."""
    symbols = Symbols.of(machine)

    def read(address: int, size: int) -> bytes:
        return kernel(machine, address, size)

    pointer = cast(int, symbols.read_struct(read, task.address, "struct task")["mm"])
    if not pointer:
        return []
    space = symbols.read_struct(read, pointer, "struct mm")
    found = []
    for entry in cast("list[dict[str, int]]", space["regions"]):
        if entry["start"] == entry["end"]:
            continue
        rights = "".join(letter if entry["prot"] >> bit & 1 else "-" for bit, letter in enumerate("rwx"))
        stack = entry["end"] == USTACK_TOP
        what = "device" if entry["device"] else "stack" if stack else "program" if entry["file"] else (
            "heap" if entry["start"] == space["brk_start"] else "shared memory" if entry["shared"] else "memory")
        found.append(Region(entry["start"], entry["end"], rights, what))
    return sorted(found, key=lambda r: r.start)


def residency(machine: Machine, task: Task, region: Region) -> dict[str, int]:
    """How many of a region's pages the task has mapped, by their stage-2 state: resident, zero, away, lost."""
    counts = {"resident": 0, "zero": 0, "away": 0, "lost": 0}
    words = {PageState.RESIDENT: "resident", PageState.ZERO: "zero", PageState.SWAPPED: "away", PageState.BAD: "lost"}
    for va in range(region.start, region.end, PAGE_SIZE):
        gpa = view.translate(machine, machine.vcpus[0], va, task.root)
        index = -1 if gpa is None else machine.core.index(gpa)
        state = words.get(PageState(int(machine.core.page(index).state))) if index >= 0 else None
        if state is not None:
            counts[state] += 1
    return counts


def find(machine: Machine, wanted: int) -> Task:
    """The task with that number. Raises Unreadable."""
    all_tasks = tasks(machine)
    for task in all_tasks:
        if task.number == wanted:
            return task
    known = ", ".join(str(t.number) for t in all_tasks)
    raise Unreadable(f"no task {wanted}; there are {known}" if known else f"no task {wanted}: there is none yet")
