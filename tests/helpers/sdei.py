# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare arm64 guest that does what a script says, from inside SDEI handlers as well, and keeps what comes back.

The script is a list of x0..x5: a call, or one of the steps below. Its pointer lives in x19 and that of the log in x20, which
handlers leave alone: a handler that begins goes on with the next line of the script, and COMPLETE takes the guest back into the
call that was interrupted. So the log is one list in the order in which things happened, however deep handlers nest.

A "task" is two instructions at EL0: a load, and SVC. When its page is away, its handler ends with COMPLETE_AND_RESUME to the
IRQ vector of EL0: there the task's registers are put away and the script goes on. TASK_AGAIN brings it back.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

from helpers.arm64 import ELR_EL1, ERET, ESR_EL1, HVC, IRQ_CLOSED, IRQ_OPEN, ISB, NOP, SPSR_EL1, SVC, VBAR_EL1, WFI, Asm
from helpers.elfmaker import EM_AARCH64, make_elf

from vmemu.core import CoreVcpu, lib
from vmemu.devices import psci, smccc
from vmemu.isa.arm64 import sensitive as reg
from vmemu.machine import snapshot
from vmemu.machine.board import Outcome
from vmemu.machine.boards.virt import GICD, GICR
from vmemu.machine.machine import Machine
from vmemu.protocols.sdei.dispatch import Sdei
from vmemu.protocols.sdei.state import EventInfo

BASE = 0x40080000
VECTORS = BASE + 0x1000
IRQ_OF_EL0 = VECTORS + 0x480
SCRIPTS, LOGS = 0x40100000, 0x40200000  # 64 KiB for each CPU
BUFFERS = 0x40300000  # 64 bytes for each CPU
PAGES = 0x40400000  # for tasks
ROOM = 0x10000

#: Kinds of log entries: x0..x4 after a call; x0..x4 of a handler; ELR, SPSR; nothing; ESR, ELR of a trap; IAR, reason, token, ELR,
#: SPSR of an interrupt; what a task, or PEEK, loaded.
CALLED, ENTERED, RESUMED, WAITED, TRAPPED, IRQ, LOADED, PEEKED = range(1, 9)

#: Steps: (number, ...).
END, SLEEP, OPEN, TASK, AGAIN, POKE, PEEK, MODE, GIC, SGI = range(10)
WFI_LINE = (SLEEP,)
IRQ_WINDOW = (OPEN,)  # interrupts that wait are taken here
TASK_AGAIN = (AGAIN,)
INIT_GIC = (GIC,)
CLEAR_BUFFER, ACK, EOI = 1, 2, 4  # MODE: what the interrupt handler does
INJECT = 0xC600F000  # a call of the tests' own: the host signals event x1 on CPU x2; x0 = whether it could
CANCEL = 0xC600F001  # and takes it back

Line = tuple[int, ...]


def task(address: int) -> Line:
    """Load 8 bytes at EL0."""
    return (TASK, address)


def poke(address: int, value: int) -> Line:
    """Store 4 bytes at EL1."""
    return (POKE, address, value)


def peek(address: int) -> Line:
    """Load 4 bytes at EL1."""
    return (PEEK, address)


def clear(cpu: int = 0) -> list[Line]:
    """The guest's side of the buffer: token, then reason."""
    return [poke(BUFFERS + 64 * cpu + 4, 0), poke(BUFFERS + 64 * cpu, 0)]


class Entry(NamedTuple):
    kind: int
    x0: int
    x1: int
    x2: int
    x3: int
    x4: int


def _log(a: Asm, kind: int, first: int) -> None:
    """The kind and five registers from `first` on; x21 is scratch."""
    a.mov(21, kind)
    a.push(21, first, 20)
    a.push(first + 1, first + 2, 20)
    a.push(first + 3, first + 4, 20)


def _begin(a: Asm) -> None:
    a.mov(0, SCRIPTS)
    a.label("second")  # PSCI's context is the script
    a.copy(19, 0)
    a.mov(22, VECTORS)
    a.msr(VBAR_EL1, 22)
    a.mov(22, LOGS - SCRIPTS)
    a.add(20, 19, 22)
    a.mov(22, SCRIPTS)
    a.sub(22, 19, 22)
    a.shift_right(22, 22, 10)
    a.mov(29, BUFFERS)
    a.add(29, 29, 22)
    a.mov(25, CLEAR_BUFFER | ACK | EOI)
    a.label("loop")
    a.pop(0, 1, 19)
    a.pop(2, 3, 19)
    a.pop(4, 5, 19)
    a.cmp(0, 16)
    a.b_lower("step")
    a.put(HVC)
    a.label("called")
    _log(a, CALLED, 0)
    a.b("loop")
    a.label("step")
    a.adr(24, "table")
    a.add(24, 24, 0, 2)
    a.br(24)
    a.label("table")
    for name in ("end", "sleep", "open", "task", "again", "poke", "peek", "mode", "gic", "sgi"):
        a.b(name)


def _steps(a: Asm) -> None:
    a.label("end")  # with the interrupt controller off: a masked interrupt would end each WFI at once
    a.mov(24, 0)
    a.msr(reg.ICC_IGRPEN1_EL1, 24)
    a.label("ended")
    a.put(WFI)
    a.b("ended")
    a.label("sleep")
    a.put(WFI)
    a.label("slept")
    _log(a, WAITED, 0)
    a.b("loop")
    a.label("open")
    a.put(IRQ_OPEN, ISB, NOP, IRQ_CLOSED)
    a.b("loop")
    a.label("task")
    a.adr(24, "user")
    a.msr(ELR_EL1, 24)
    a.mov(24, 0)  # EL0, nothing masked
    a.msr(SPSR_EL1, 24)
    a.put(ERET)
    a.label("again")
    a.msr(ELR_EL1, 26)
    a.msr(SPSR_EL1, 27)
    a.copy(1, 28)
    a.put(ERET)
    a.label("poke")
    a.store_w(2, 1)
    a.b("loop")
    a.label("peek")
    a.load_w(1, 1)
    _log(a, PEEKED, 1)
    a.b("loop")
    a.label("mode")
    a.copy(25, 1)
    a.b("loop")
    a.label("sgi")
    a.msr(reg.ICC_SGI1R_EL1, 1)
    a.b("loop")
    a.label("gic")
    a.mov(11, BUFFERS)
    a.sub(11, 29, 11)
    for address, value in ((GICD, 0x12), (GICR + 0x14, 0), (GICR + 0x10080, 0xFFFFFFFF), (GICR + 0x10100, 1 << 22 | 1)):
        a.mov(9, address)
        a.mov(10, value)
        if address != GICD:
            a.add(9, 9, 11, 11)  # 64 bytes of buffer, 128 KiB of redistributor
        a.store_w(10, 9)
    a.mov(9, 0xF0)
    a.msr(reg.ICC_PMR_EL1, 9)
    a.mov(9, 1)
    a.msr(reg.ICC_IGRPEN1_EL1, 9)
    a.b("loop")
    a.label("user")
    a.load(1, 1)
    a.put(SVC)


def _handlers(a: Asm) -> None:
    a.label("handler")
    _log(a, ENTERED, 0)
    a.b("loop")
    a.label("resume")
    a.mrs(22, ELR_EL1)
    a.mrs(23, SPSR_EL1)
    _log(a, RESUMED, 22)
    a.put(ERET)
    a.label("trap")
    a.mrs(22, ESR_EL1)
    a.mrs(23, ELR_EL1)
    _log(a, TRAPPED, 22)
    a.b("loop")
    a.label("loaded")
    _log(a, LOADED, 1)
    a.b("loop")
    a.label("irq")  # x9..x17 are scratch: interrupts are open in a task and in the step "open" alone
    a.mrs(9, reg.ICC_IAR1_EL1)
    a.load_w(10, 29)
    a.load_w(11, 29, 4)
    a.mrs(12, ELR_EL1)
    a.mrs(13, SPSR_EL1)
    _log(a, IRQ, 9)
    a.copy(16, 1)
    a.mov(14, 1023)
    a.sub(14, 14, 9)
    a.cbz(14, "schedule")
    a.mov(15, 0)
    a.tbz(25, 0, "keep")
    a.store_w(15, 29, 4)
    a.store_w(15, 29)
    a.label("keep")
    a.tbz(25, 1, "no_ack")
    a.mov(0, 0x86000002)
    a.mov(1, 5)
    a.put(HVC)
    a.label("no_ack")
    a.tbz(25, 2, "no_eoi")
    a.msr(reg.ICC_EOIR1_EL1, 9)
    a.label("no_eoi")
    a.copy(1, 16)
    a.mov(14, 1)
    a.sub(14, 14, 10)
    a.cbz(14, "schedule")  # ppi-only: its page is away
    a.put(ERET)
    a.label("schedule")
    a.mrs(26, ELR_EL1)
    a.mrs(27, SPSR_EL1)
    a.copy(28, 16)
    a.b("loop")


def _build() -> tuple[bytes, dict[str, int]]:
    a = Asm(BASE)
    _begin(a)
    _steps(a)
    _handlers(a)
    for vector, name in ((0x200, "trap"), (0x280, "irq"), (0x400, "loaded"), (0x480, "irq")):
        a.to(VECTORS + vector)
        a.b(name)
    return a.code(), a.labels


CODE, LABELS = _build()
HANDLER, RESUME, AFTER_HVC, AFTER_WFI, USER = (LABELS[name] for name in ("handler", "resume", "called", "slept", "user"))


class ScriptGuest:
    """A machine with that guest, and a script for each CPU. CPU n is started by a line `cpu_on(n)`."""

    def __init__(self, folder: Path, smp: int = 1, **options: Any) -> None:
        image = folder / "script.elf"
        if not image.exists():
            image.write_bytes(make_elf(EM_AARCH64, entry=BASE, segments=((BASE, BASE, CODE, 0x2000),)))
        self.machine = Machine.boot(str(image), isa="arm64", smp=smp, **options)
        self._start: snapshot.Snapshot | None = None

    def add_sdei(self, *events: EventInfo, **options: bool) -> Sdei:
        """An SDEI dispatcher alone."""
        machine = self.machine
        machine.facilities["sdei"] = sdei = Sdei(machine, events, **options)
        machine.on_entry = sdei.enter
        self.add_host_calls(sdei)
        return sdei

    def add_host_calls(self, sdei: Sdei) -> None:
        """INJECT and CANCEL."""

        def inject(vcpu: CoreVcpu) -> Outcome:
            smccc.answer(vcpu, int(sdei.inject(vcpu.get("x1"), vcpu.get("x2"))))
            return Outcome.HANDLED

        def cancel(vcpu: CoreVcpu) -> Outcome:
            smccc.answer(vcpu, int(sdei.cancel(vcpu.get("x1"), vcpu.get("x2"))))
            return Outcome.HANDLED

        self.machine.board.hcalls.update({INJECT: inject, CANCEL: cancel})

    def put_away(self, *addresses: int) -> None:
        """Pages into the store."""
        core, memory = self.machine.core, self.machine.memory
        for address in addresses:
            index = core.index(address)
            memory.serve(None, address)
            if memory.store is None:
                assert lib.s2_swap_out(core.ptr, index) == 0
            else:
                slot = memory._take_slot(index)
                memory.store.put(slot, core.frame_bytes(index))
                core.evicted(None, index, slot)

    def restart(self, *scripts: list[Line]) -> None:
        """One script for each CPU, from the beginning."""
        if self._start is None:
            self._start = snapshot.take(self.machine)
        snapshot.restore(self.machine, self._start)
        for cpu, lines in enumerate(scripts):
            self.script(lines, cpu)

    def run(self, *scripts: list[Line]) -> list[Entry]:
        """The same, and run to the end; CPU 0's log. May be called again."""
        self.restart(*scripts)
        self.machine.run()
        return self.log()

    def script(self, lines: list[Line], cpu: int = 0) -> None:
        filled = [(*line, *[0] * (6 - len(line))) for line in (*lines, (END,))]
        data = b"".join(struct.pack("<6Q", *(value & (1 << 64) - 1 for value in line)) for line in filled)
        assert len(data) <= ROOM
        self.machine.write_guest(SCRIPTS + ROOM * cpu, data)

    def log(self, cpu: int = 0) -> list[Entry]:
        data = self.machine.read_guest(LOGS + ROOM * cpu, ROOM)
        entries = [Entry(*fields) for fields in struct.iter_unpack("<6Q", data[: len(data) // 48 * 48])]
        return entries[: next((i for i, e in enumerate(entries) if e.kind == 0), len(entries))]

    def results(self, cpu: int = 0) -> list[int]:
        """x0 of each call, signed, in the order in which they came back."""
        return [e.x0 - (1 << 64) if e.x0 >> 63 else e.x0 for e in self.log(cpu) if e.kind == CALLED]


def cpu_on(cpu: int) -> Line:
    return (psci.CPU_ON | smccc.SMC64, cpu, LABELS["second"], SCRIPTS + ROOM * cpu)
