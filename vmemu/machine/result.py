# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run gives: exit status, counters, state hash. Names are stable: later versions add, never rename."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vmemu.core import COUNTERS, CYC

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: Exit statuses (README): 0 and 1 come from the guest.
OK, FAILED, USAGE, STALLED, LIMIT, HOST = range(6)


@dataclass(frozen=True, slots=True)
class RunResult:
    """One finished run. `cycles` are CPU cycles, `virtual_ns` nanoseconds, `resident_peak` pages, `wall_s` host seconds."""

    status: int
    reason: str
    guest_status: int | None
    isa: str
    instructions: int
    cycles: int
    idle_cycles: int
    blocked_cycles: int
    virtual_ns: int
    wall_s: float
    state_hash: str
    resident_peak: int
    swap_ins: int
    swap_outs: int
    faults: dict[str, int]
    exits: dict[str, int]
    memory: dict[str, int]
    output: bytes = field(repr=False, default=b"")
    extra: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Counters under stable names; every value but `wall_s` is equal in every run of the same command."""
        names = (
            "status", "reason", "guest_status", "isa", "instructions", "cycles", "idle_cycles", "blocked_cycles", "virtual_ns",
            "wall_s", "state_hash", "resident_peak", "swap_ins", "swap_outs", "faults", "exits", "memory",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | self.extra


def state_hash(machine: Machine) -> str:
    """BLAKE2b-256 over everything that the guest's future depends on: registers, clocks, devices, RAM wherever it lies."""
    h = hashlib.blake2b(digest_size=32)
    for vcpu in machine.vcpus:
        clocks = [vcpu.id, vcpu.insns, vcpu.cycles, int(vcpu.online), int(vcpu.halted), vcpu.irq_lines]
        h.update(json.dumps([clocks, vcpu.registers()]).encode())
    h.update(json.dumps(machine.board.save(), sort_keys=True).encode())
    if machine.facilities:
        h.update(json.dumps({name: f.save() for name, f in machine.facilities.items()}, sort_keys=True).encode())
    zero = bytes(4096)
    for index in machine.core.not_zero_pages():
        page = machine.memory.peek(index)
        if page != zero:
            h.update(machine.core.gpa(index).to_bytes(8, "little"))
            h.update(b"lost" if page is None else page)
    return h.hexdigest()


def make_result(machine: Machine, status: int, reason: str, guest_status: int | None, wall_s: float) -> RunResult:
    """Collect the counters of a machine that stopped."""
    counts = dict.fromkeys(COUNTERS, 0)
    for vcpu in machine.vcpus:
        for name, value in vcpu.counters().items():
            counts[name] += value
    stats = machine.core.stats()
    extra: dict[str, Any] = {"choices": machine.choices.text()}
    for facility in machine.facilities.values():
        extra |= facility.summary()
    return RunResult(
        status=status,
        reason=reason,
        guest_status=guest_status,
        isa=machine.board.isa,
        instructions=sum(v.insns for v in machine.vcpus),
        cycles=max(v.cycles for v in machine.vcpus) // CYC,
        idle_cycles=sum(v.idle_cycles for v in machine.vcpus) // CYC,
        blocked_cycles=sum(v.blocked_cycles for v in machine.vcpus) // CYC,
        virtual_ns=machine.now(),
        wall_s=round(wall_s, 6),
        state_hash=state_hash(machine),
        resident_peak=stats["resident_peak"],
        swap_ins=stats["swap_in"],
        swap_outs=stats["swap_out"],
        faults={name.removeprefix("fault_"): n for name, n in counts.items() if name.startswith("fault_")},
        exits={name.removeprefix("exit_"): n for name, n in counts.items() if name.startswith("exit_")}
        | {"syscall": counts["syscall"], "exception": counts["exception"], "interrupt": counts["irq"]},
        memory={name: stats[name] for name in ("zero", "clean_drop", "zero_drop", "evictions", "corrupt")},
        output=bytes(machine.console.output),
        extra=extra,
        lines=tuple(text for facility in machine.facilities.values() for text in facility.lines()),
    )
