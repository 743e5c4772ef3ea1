# SPDX-License-Identifier: GPL-2.0-or-later
"""DMA windows: what a call costs at each level of the ladder, in virtual cycles and in host time, and what that does to a network card."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from vmemu.clock.choices import Choices
from vmemu.core import CYC, PageFlag
from vmemu.errors import EngineError
from vmemu.lab.bench.report import Line, Report
from vmemu.machine.boot import BootOptions, build
from vmemu.machine.machine import Machine

CODE, PAGE, LIST = 0x10000, 0x20000, 0x30000
LIOBN, WINDOW, ENTRIES = 0x8000_0000, 0x8000_0000, 512
H_PUT_TCE, H_STUFF_TCE, H_PUT_TCE_INDIRECT = 0x20, 0x138, 0x13C
#: How each level is made to finish every call.
LEVELS = {
    "real": {"tce": "papr"},
    "virtual": {"tce": "papr", "tce_real_mode": "off"},
    "user": {"tce": "qemu"},
}
ROUNDS = {"real": 20_000, "virtual": 1_500, "user": 1_500}
MANY_ROUNDS = {"real": 200, "virtual": 4, "user": 4}
#: The 2013 series on a 10 Gb/s Chelsio T3: "220MB/s to 750..1020MB/s".
PUBLISHED = "published: 220 MB/s in user space, 750 to 1020 MB/s with real mode (10 Gb/s card, 2013)"
SC_1, NOP, BDNZ = 0x44000022, 0x60000000, 0x42000000


def _mr(to: int, source: int) -> int:
    return 31 << 26 | source << 21 | to << 16 | source << 11 | 444 << 1


def _loop(hypercall: bool) -> list[int]:
    """Two calls a round: r14 to r18, then r19 to r23, to r3 to r7."""
    words = []
    for first in (14, 19):
        words += [_mr(3 + i, first + i) for i in range(5)] + [SC_1 if hypercall else NOP]
    return [*words, BDNZ | -4 * len(words) & 0xFFFC]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one call: virtual cycles and host nanoseconds."""

    cycles: float
    ns: float


def _machine(level: str) -> Machine:
    machine = build(BootOptions(image="", memory="8M", **LEVELS[level]), "ppc64", Choices())  # type: ignore[arg-type]
    for facility in machine.facilities.values():
        facility.loaded()
    core = machine.core
    for page in (PAGE, LIST):
        machine.write_guest(page, bytes(8))
        core.page(core.index(page)).flags |= PageFlag.DIRTY | PageFlag.ACCESSED
    machine.write_guest(LIST, struct.pack(">Q", PAGE | 3) * ENTRIES)
    return machine


def _run(machine: Machine, map_: tuple[int, ...], unmap: tuple[int, ...], rounds: int, hypercall: bool) -> Cost:
    words, vcpu = _loop(hypercall), machine.vcpus[0]
    machine.write_guest(CODE, struct.pack(f">{len(words)}I", *words))
    vcpu.set("msr", 1 << 63 | 1 << 12)
    vcpu.set("pc", CODE)
    vcpu.set("ctr", 1 << 40)
    for i, value in enumerate((*map_, *unmap)):
        vcpu.set(f"r{14 + i}", value)
    for n in (2, rounds):  # the first warms up, and makes the tables' pages
        cycles, insns, started = vcpu.cycles, vcpu.insns, time.thread_time_ns()
        machine.run_to(insns + n * len(words))
    ns = time.thread_time_ns() - started
    if hypercall and vcpu.get("r3"):
        raise EngineError(f"a call returned {vcpu.get('r3'):#x}")
    return Cost((vcpu.cycles - cycles) / CYC / (2 * rounds), ns / (2 * rounds))


def _cost(level: str, map_: tuple[int, ...], unmap: tuple[int, ...], rounds: int, repeat: int) -> Cost:
    best: list[Cost] = []
    for _ in range(repeat):
        machine = _machine(level)
        with_calls, without = (_run(machine, map_, unmap, rounds, kind) for kind in (True, False))
        facility = machine.facilities["tce"]
        wrong, finished = facility.invariants(), facility.summary()["tce"]["calls"]
        machine.close()
        others = sum(sum(calls.values()) for name, calls in finished.items() if name != level)
        if wrong or others > 4:
            raise EngineError(f"{level}: {others} calls finished elsewhere; {wrong}")
        best.append(Cost(with_calls.cycles - without.cycles, with_calls.ns - without.ns))
    return Cost(best[0].cycles, min(cost.ns for cost in best))


def _throughput(level: str) -> float:
    """MB/s that dma-net sends, and gets back, with a mapping for each packet of 1500 bytes and for each echo."""
    machine = Machine.boot("dma-net", isa="ppc64", append="style=0 packets=2048 pages=2048 bytes=1500 verify=0 quiet", **LEVELS[level])
    result = machine.run()
    machine.close()
    found = re.search(rb"(\d+) KB/s", result.output)
    if result.status or found is None:
        raise EngineError(f"dma-net: {result.reason}: {result.output.decode(errors='replace')}")
    return int(found[1]) / 1000


def measure(repeat: int, echo: Callable[[str], None]) -> Report:
    report = Report()
    single = {level: _cost(level, (H_PUT_TCE, LIOBN, WINDOW, PAGE | 3, 0), (H_PUT_TCE, LIOBN, WINDOW, 0, 0), ROUNDS[level], repeat)
              for level in LEVELS}  # fmt: skip
    many = {level: _cost(level, (H_PUT_TCE_INDIRECT, LIOBN, WINDOW, LIST, ENTRIES), (H_STUFF_TCE, LIOBN, WINDOW, 0, ENTRIES),
                         MANY_ROUNDS[level], repeat) for level in LEVELS}  # fmt: skip
    user, user_many = single["user"], many["user"]
    for level, cost in single.items():
        goal = 10.0 if level == "real" else None
        for what, mine, users, unit in (("virtual time", cost.cycles, user.cycles, "cycles"), ("host time", cost.ns, user.ns, "ns")):
            text = f"H_PUT_TCE {mine:.0f} {unit}; user space {users:.0f} {unit}"
            report.add(Line(level, f"times cheaper than user space, {what}", users / mine, "x", goal, at_least=True, reference=text))
    for level, cost in many.items():
        text = f"H_PUT_TCE_INDIRECT and H_STUFF_TCE of {ENTRIES}: {cost.ns / ENTRIES:.0f} ns; user space {user_many.ns / ENTRIES:.0f} ns"
        report.add(Line(level, "an entry of many, virtual cycles", cost.cycles / ENTRIES, "cycles", reference=text))
    for level in ("user", "virtual", "real"):
        report.add(Line("dma-net", f"MB/s each way, a mapping for each packet, {level}", _throughput(level), "", reference=PUBLISHED))
    report.details = {level: {"cycles": c.cycles, "ns": c.ns} for level, c in single.items()}
    report.print(echo)
    return report


