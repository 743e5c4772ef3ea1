# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands about the guest as a whole: tasks, vCPUs, devices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vmemu.debug import tasks as guest_tasks
from vmemu.debug.shell.debugger import Debugger
from vmemu.debug.shell.registry import CommandError, UsageError, command
from vmemu.debug.shell.running import duration
from vmemu.debug.tasks import FOREVER, Task
from vmemu.debug.unwind import in_user_mode, task_backtrace
from vmemu.errors import VmemuError


def waits_for(debugger: Debugger, task: Task) -> str:
    """Why a task sleeps: the functions that it sleeps in, what it sleeps on, and until when. "" for one that does not."""
    if not task.asleep:
        return ""
    try:
        frames = task_backtrace(debugger.machine, task)
    except VmemuError:
        frames = []
    calls = [name for frame in frames[:6] if (name := debugger.symbols.name(frame.look()).partition("+")[0]) not in _PLUMBING]
    words = [f"in {calls[0]}"] if calls and not calls[0].startswith("0x") else []
    if task.chan:
        name = debugger.symbols.name(task.chan)
        words.append(f"on {name if not name.startswith('0x') else hex(task.chan)}")
    if task.wake_at != FOREVER:
        words.append(f"until {duration(task.wake_at)} of guest time")
    return " ".join(words)


_PLUMBING = ("sched", "sleep_on", "switch_to", "arch_switch", "mutex_lock")


@command("tasks", topic="guest", usage="tasks [-o json]", example=("tasks", "number, state, CPU, what it waits for, where its program is"))
def tasks(debugger: Debugger, text: str) -> None:
    """The guest kernel's tasks, read from its memory."""
    found = guest_tasks.tasks(debugger.machine)
    if text == "-o json":
        rows = [{"task": t.number, "process": t.leader, "state": t.state, "cpu": t.cpu, "waits": waits_for(debugger, t),
                 "user_pc": t.user_pc, "ran_ns": t.ran_ns} for t in found]
        debugger.say(json.dumps(rows))
        return
    if text:
        raise UsageError("tasks [-o json]")
    for task in found:
        what = "kernel thread " + debugger.symbols.name(task.thread) if task.thread else "" if task.leader == task.number else (
            f"thread of {task.leader}")
        state = f"running on {task.cpu}" if task.cpu is not None else task.state
        parts = [what, waits_for(debugger, task), "" if task.user_pc is None else f"user at {_user_place(debugger, task)}"]
        debugger.say(f"{task.number:>4}  {state:<13} {duration(task.ran_ns):>12}  {'; '.join(filter(None, parts))}")
    if not found:
        debugger.say("no tasks yet: the kernel has made none")


def _user_place(debugger: Debugger, task: Task) -> str:
    if task.cpu is not None and in_user_mode(debugger.machine, debugger.machine.vcpus[task.cpu]):
        return debugger.place(debugger.machine.vcpus[task.cpu].pc)
    return debugger.place(task.user_pc or 0)


@command("vcpus", topic="guest", example=("vcpus", "state, place and clock of each; * is the selected one"))
def vcpus(debugger: Debugger, text: str) -> None:
    """All vCPUs: what they do, where, for which task."""
    try:
        running = {t.cpu: t.number for t in guest_tasks.tasks(debugger.machine) if t.cpu is not None}
    except VmemuError:
        running = {}
    for vcpu in debugger.machine.vcpus:
        state = "offline" if not vcpu.online else "held by the host" if vcpu.held else "waits for a page" if vcpu.host_halted else (
            "halted" if vcpu.halted else "runs")
        mode = "" if not vcpu.online else " user" if in_user_mode(debugger.machine, vcpu) else " kernel"
        task = f" task {running[vcpu.id]}" if vcpu.id in running else ""
        pending = ", an event is pending" if vcpu.event_pending else ""
        lines = f", interrupt lines {vcpu.irq_lines:#x}" if vcpu.irq_lines else ""
        mark = "*" if vcpu.id == debugger.vcpu.id else " "
        debugger.say(f"{mark}{vcpu.id:>2}  {state:<16}{mode}{task} at {debugger.place(vcpu.pc)}; {vcpu.insns} instructions{pending}{lines}")


@command("vcpu", "thread", topic="guest", usage="vcpu [N]", example=("vcpu 1", "registers, where, x and stepi are of vCPU 1 from now on"),
         complete=lambda d, words, word: [str(v.id) for v in d.machine.vcpus if str(v.id).startswith(word)])
def vcpu_(debugger: Debugger, text: str) -> None:
    """Select a vCPU."""
    if text:
        if not text.isdigit() or int(text) >= len(debugger.machine.vcpus):
            raise CommandError(f"vcpu {text}: there are 0 to {len(debugger.machine.vcpus) - 1}")
        debugger.session.vcpu = int(text)
        debugger.frame = 0
        debugger.next_line = debugger.next_address = None
    debugger.say(f"vCPU {debugger.vcpu.id} at {debugger.place(debugger.pc)}")


def _complete_devices(debugger: Debugger, words: Sequence[str], word: str) -> list[str]:
    return [n for n in (*debugger.machine.board.devices, *debugger.machine.facilities) if n.startswith(word)]


@command("devices", "device", topic="guest", usage="devices [NAME]", complete=_complete_devices,
         example=("devices gic", "everything that a snapshot would keep of that device"))
def devices(debugger: Debugger, text: str) -> None:
    """The board's devices and facilities and where they are; or the state of one."""
    machine = debugger.machine
    if not text:
        for name, where in machine.board.describe().items():
            debugger.say(f"{name:<16} {where}")
        for name in sorted(set(machine.board.devices) - set(machine.board.describe())):
            debugger.say(f"{name:<16} (no addresses)")
        for name in machine.facilities:
            debugger.say(f"{name:<16} facility (--{name.replace('_', '-')})")
        return
    if text in machine.board.devices:
        _tree(debugger, machine.board.devices[text].save(), 0)
    elif text in machine.facilities:
        _tree(debugger, machine.facilities[text].save(), 0)
    else:
        raise CommandError(f"no device {text!r}; there are {', '.join([*machine.board.devices, *machine.facilities])}")


def _tree(debugger: Debugger, state: Any, depth: int) -> None:
    """Plain data, one line for what fits on one."""
    pad = "  " * depth
    for key, value in state.items() if isinstance(state, dict) else enumerate(state):
        if isinstance(value, dict | list | tuple) and len(text := _short(value)) > 100:
            debugger.say(f"{pad}{key}:")
            _tree(debugger, value, depth + 1)
        else:
            debugger.say(f"{pad}{key}: {text if isinstance(value, dict | list | tuple) else _short(value)}")


def _short(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return str(value) if -4096 < value < 4096 else f"{value:#x}"
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 32 else f"{value[:32].hex()}... ({len(value)} bytes)"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_short(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_short(v) for v in value) + "]"
    return repr(value)
