# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare arm64 guest that makes the calls of a script, from inside SDEI handlers as well, and keeps what comes back.

The script is a list of x0..x5. Its pointer lives in x19 and that of the log in x20, which handlers leave alone: a handler that
begins goes on with the next line of the script, and COMPLETE takes the guest back into the call that was interrupted. So the log
is one list in the order in which things happened, however deep handlers nest.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from helpers.elfmaker import EM_AARCH64, make_elf

from vmemu.core import CoreVcpu
from vmemu.devices import psci, smccc
from vmemu.machine import snapshot
from vmemu.machine.board import Outcome
from vmemu.machine.machine import Machine
from vmemu.protocols.sdei.dispatch import Sdei
from vmemu.protocols.sdei.state import EventInfo

BASE = 0x40080000
VECTORS = BASE + 0x800
SCRIPTS, LOGS = 0x40100000, 0x40200000  # 64 KiB for each CPU
ROOM = 0x10000
CALLED, ENTERED, RESUMED, WAITED, TRAPPED = range(1, 6)
WFI_LINE = (1,)  # instead of a call
END_LINE = (0,)  # the CPU waits for ever
INJECT = 0xC600F000  # a call of the tests' own: the host signals event x1 on CPU x2; x0 = whether it could
CANCEL = 0xC600F001  # and takes it back


class Entry(NamedTuple):
    """What happened: CALLED (x0..x4 after a call), ENTERED (x0..x4 of a handler), RESUMED (ELR, SPSR), WAITED, TRAPPED (ESR, ELR)."""

    kind: int
    x0: int
    x1: int
    x2: int
    x3: int
    x4: int


def mov(register: int, value: int) -> list[int]:
    """movz and movk of a 64-bit constant."""
    words = [0xD2800000 | (value & 0xFFFF) << 5 | register]
    return words + [0xF2800000 | s << 21 | (value >> 16 * s & 0xFFFF) << 5 | register for s in (1, 2, 3)]


def _ldp(a: int, b: int) -> int:
    return 0xA8C10000 | b << 10 | 19 << 5 | a  # ldp a, b, [x19], #16


def _stp(a: int, b: int) -> int:
    return 0xA8810000 | b << 10 | 20 << 5 | a  # stp a, b, [x20], #16


def _log(kind: int, *, first: int = 0) -> list[int]:
    """Kind and five registers from `first` on; x21 is scratch."""
    return [*mov(21, kind), _stp(21, first), _stp(first + 1, first + 2), _stp(first + 3, first + 4)]


HVC, WFI, ERET = 0xD4000002, 0xD503207F, 0xD69F03E0
MRS_ELR_22, MRS_SPSR_23, MRS_ESR_22, MRS_ELR_23 = 0xD5384036, 0xD5384017, 0xD5385216, 0xD5384037
MSR_VBAR_22 = 0xD518C016


def _code() -> tuple[bytes, dict[str, int]]:
    """The guest, and the addresses of its labels."""
    out: list[int | tuple[int, str]] = []
    labels: dict[str, int] = {}

    def put(label: str, *words: int | tuple[int, str]) -> None:
        labels[label] = BASE + 4 * len(out)
        out.extend(words)

    branch, cbz_x0, cbz_x24 = 0x14000000, 0xB4000000, 0xB4000018
    put("start", *mov(0, SCRIPTS))
    put("second", 0xAA0003F3, *mov(22, VECTORS), MSR_VBAR_22)  # mov x19, x0: PSCI's context is the script
    put("log", *mov(22, LOGS - SCRIPTS), 0x8B160274)  # add x20, x19, x22
    put("loop", _ldp(0, 1), _ldp(2, 3), _ldp(4, 5), (cbz_x0, "end"), 0xD1000418, (cbz_x24, "wait"), HVC)  # sub x24, x0, #1
    put("called", *_log(CALLED), (branch, "loop"))
    put("wait", WFI, *_log(WAITED), (branch, "loop"))
    put("handler", *_log(ENTERED), (branch, "loop"))
    put("resume", MRS_ELR_22, MRS_SPSR_23, *_log(RESUMED, first=22), ERET)
    put("trap", MRS_ESR_22, MRS_ELR_23, *_log(TRAPPED, first=22), (branch, "loop"))
    put("end", WFI, (branch, "end"))
    words = []
    for i, word in enumerate(out):
        if isinstance(word, tuple):
            away = (labels[word[1]] - BASE) // 4 - i
            word = word[0] | away & 0x3FFFFFF if word[0] == branch else word[0] | (away & 0x7FFFF) << 5
        words.append(word)
    assert 4 * len(words) <= VECTORS - BASE
    code = b"".join(struct.pack("<I", w) for w in words).ljust(VECTORS - BASE, b"\0")
    to_trap = (labels["trap"] - (VECTORS + 0x200)) // 4  # synchronous exceptions of EL1h
    return code + bytes(0x200) + struct.pack("<I", branch | to_trap & 0x3FFFFFF) + bytes(0x5FC), labels


CODE, LABELS = _code()
HANDLER, RESUME, AFTER_HVC, AFTER_WFI = LABELS["handler"], LABELS["resume"], LABELS["called"], LABELS["wait"] + 4


class ScriptGuest:
    """A machine with that guest, and a script for each CPU. CPU n is started by a line `cpu_on(n)`."""

    def __init__(self, folder: Path, smp: int = 1, **options: object) -> None:
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

        def inject(vcpu: CoreVcpu) -> Outcome:
            smccc.answer(vcpu, int(sdei.inject(vcpu.get("x1"), vcpu.get("x2"))))
            return Outcome.HANDLED

        def cancel(vcpu: CoreVcpu) -> Outcome:
            smccc.answer(vcpu, int(sdei.cancel(vcpu.get("x1"), vcpu.get("x2"))))
            return Outcome.HANDLED

        machine.board.hcalls.update({INJECT: inject, CANCEL: cancel})
        return sdei

    def run(self, *scripts: list[tuple[int, ...]]) -> list[Entry]:
        """One script for each CPU, from the beginning; CPU 0's log. May be called again."""
        if self._start is None:
            self._start = snapshot.take(self.machine)
        snapshot.restore(self.machine, self._start)
        for cpu, lines in enumerate(scripts):
            self.script(lines, cpu)
        self.machine.run()
        return self.log()

    def script(self, lines: list[tuple[int, ...]], cpu: int = 0) -> None:
        filled = [(*line, *[0] * (6 - len(line))) for line in (*lines, END_LINE)]
        data = b"".join(struct.pack("<6Q", *(value & (1 << 64) - 1 for value in line)) for line in filled)
        assert len(data) <= ROOM
        self.machine.write_guest(SCRIPTS + ROOM * cpu, data)

    def log(self, cpu: int = 0) -> list[Entry]:
        data = self.machine.read_guest(LOGS + ROOM * cpu, ROOM)
        entries = [Entry(*fields) for fields in struct.iter_unpack("<6Q", data[: len(data) // 48 * 48])]
        return entries[: next(i for i, e in enumerate(entries) if e.kind == 0)]

    def results(self, cpu: int = 0) -> list[int]:
        """x0 of each call, signed, in the order in which they came back."""
        return [e.x0 - (1 << 64) if e.x0 >> 63 else e.x0 for e in self.log(cpu) if e.kind == CALLED]


def cpu_on(cpu: int) -> tuple[int, ...]:
    return (psci.CPU_ON | smccc.SMC64, cpu, LABELS["second"], SCRIPTS + ROOM * cpu)
