# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine: vCPUs, memory, board and clock, and the loop that runs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vmemu.clock.choices import Choices
from vmemu.clock.queue import EventQueue
from vmemu.core import CYC, NO_LIMIT, CoreMachine, CoreVcpu, Exit, ExitKind, IoKind, IoResult
from vmemu.errors import EngineError, StoreError, VmemuError
from vmemu.machine.board import Board, Outcome, RegisterFault
from vmemu.machine.console import Console
from vmemu.machine.result import FAILED, HOST, LIMIT, OK, STALLED, RunResult, make_result
from vmemu.memory.memory import Memory

#: A run comes back to Python at least this often (cycles), to show progress. At a block's end: no part of the guest's path.
SLICE = 400_000_000

Progress = Callable[["Machine"], None]


class Machine:
    """A board with its CPUs. Made by `Machine.boot`, or by hand for tests.

    Public counters and figures are read through `run`'s RunResult.
    """

    def __init__(self, board: type[Board], core: CoreMachine, memory: Memory, memory_size: int, *, console: Console,
                 choices: Choices | None = None, max_cycles: int | None = None) -> None:
        self.core = core
        self.memory = memory
        self.memory_size = memory_size
        self.console = console
        self.choices = choices or Choices()
        self.queue = EventQueue()
        self.max_cycles = max_cycles
        self.guest_status: int | None = None
        self.result: RunResult | None = None
        self._powered_off = False
        self._now_vcpu = 0
        self._units_per_us = board.cpu_hz // 1_000_000 * CYC
        core.io = self._io
        self.board = board(self)
        core.add_vcpu()
        for window in self.board.mmio.windows:
            for page in range(window.base & ~4095, window.base + window.size, 4096):
                core.add_mmio(page)

    @classmethod
    def boot(cls, image: str, **options: Any) -> Machine:
        """Build a machine and load `image` into it; see `vmemu.machine.boot.BootOptions` for the options.

        Raises ConfigError for anything wrong with the image or the options.
        """
        from vmemu.machine.boot import BootOptions, boot

        return boot(BootOptions(image=image, **options))

    # --------------------------------------------------- what boards may use
    @property
    def vcpus(self) -> list[CoreVcpu]:
        return self.core.vcpus

    def now(self) -> int:
        """Virtual time in ns, at the current vCPU's current instruction."""
        return self.vcpus[self._now_vcpu].cycles * 1000 // self._units_per_us

    def units(self, ns: int) -> int:
        """First instant (CYC units) at which `now` is >= ns."""
        return -(-ns * self._units_per_us // 1000)

    def set_irq(self, vcpu: int, line: int, level: bool) -> None:
        self.vcpus[vcpu].set_irq(line, level)

    def kick(self, vcpu: int) -> None:
        self.vcpus[vcpu].kick()

    def deadline_changed(self) -> None:
        """A device's next deadline moved: the running vCPU must look at its limit again."""
        self.vcpus[self._now_vcpu].kick()

    def power_off(self, status: int) -> None:
        """The guest ends the run. Takes effect after the current instruction."""
        self._powered_off = True
        self.guest_status = status

    def read_guest(self, gpa: int, size: int) -> bytes:
        return self.memory.read(gpa, size)

    def write_guest(self, gpa: int, data: bytes) -> None:
        self.memory.write(gpa, data)

    def is_ram(self, gpa: int, size: int) -> bool:
        return self.memory.is_ram(gpa, size)

    # --------------------------------------------------------------- devices
    def _io(self, vcpu: CoreVcpu, kind: int, addr: int, size: int, value: Any) -> tuple[int, Any]:
        board = self.board
        answer: Any = 0
        try:
            if kind == IoKind.MMIO_READ:
                answer = board.mmio.read(addr, size, (1 << 8 * size) - 1)
            elif kind == IoKind.MMIO_WRITE:
                board.mmio.write(addr, size, value)
            elif kind == IoKind.PORT_IN:
                answer = board.ports.read(addr, size, (1 << 8 * size) - 1)
            elif kind == IoKind.PORT_OUT:
                board.ports.write(addr, size, value)
            elif kind == IoKind.REG_READ:
                answer = board.read_register(vcpu, addr)
            elif kind == IoKind.REG_WRITE:
                board.write_register(vcpu, addr, value)
            else:
                answer = board.cpuid(vcpu, addr & 0xFFFFFFFF, addr >> 32)
        except RegisterFault:
            return IoResult.FAULT, answer
        return IoResult.STOP if self._powered_off else IoResult.OK, answer

    def _next_deadline(self) -> int | None:
        found = self.queue.next_deadline()
        for device in self.board.devices.values():
            deadline = device.next_deadline()
            if deadline is not None and (found is None or deadline < found):
                found = deadline
        return found

    def _run_due(self) -> None:
        now = self.now()
        self.queue.run_due(now)
        for device in self.board.devices.values():
            deadline = device.next_deadline()
            if deadline is not None and deadline <= now:
                device.on_deadline(now)

    # ------------------------------------------------------------------- run
    def run(self, on_progress: Progress | None = None) -> RunResult:
        """Run to the end. Always returns; host failures are status 5 with a reason."""
        started = time.perf_counter()
        try:
            status, reason = self._loop(on_progress)
        except StoreError as error:
            status, reason = HOST, f"store failure: {error}"
        except EngineError as error:
            status, reason = HOST, f"engine failure: {error}"
        except VmemuError as error:
            status, reason = HOST, str(error)
        self.console.flush()
        self.result = make_result(self, status, reason, self.guest_status, time.perf_counter() - started)
        return self.result

    def step(self, instructions: int) -> tuple[int, str] | None:
        """Run exactly so many instructions further; None, or (status, reason) when the run ended before."""
        target = self.vcpus[0].insns + instructions
        while self.vcpus[0].insns < target:
            end = self._turn(target)
            if end is not None:
                return end
        return None

    def _loop(self, on_progress: Progress | None) -> tuple[int, str]:
        while True:
            end = self._turn(NO_LIMIT)
            if end is not None:
                return end
            if on_progress is not None:
                on_progress(self)

    def _turn(self, insn_limit: int) -> tuple[int, str] | None:
        """One run of one vCPU, and its exit served."""
        vcpu = self.vcpus[0]
        if self._powered_off:
            return self._ended()
        if vcpu.settled:
            self._run_due()
        limit = vcpu.cycles + SLICE * CYC
        deadline = self._next_deadline()
        if deadline is not None:
            limit = min(limit, self.units(deadline))
        if self.max_cycles is not None:
            if vcpu.settled and vcpu.cycles >= self.max_cycles * CYC:
                return LIMIT, f"limit of {self.max_cycles} cycles reached"
            limit = min(limit, self.max_cycles * CYC)
        return self._serve(vcpu, vcpu.run(limit, insn_limit))

    def _serve(self, vcpu: CoreVcpu, ex: Exit) -> tuple[int, str] | None:
        kind = ex.kind
        if self._powered_off:
            return self._ended()
        if kind in (ExitKind.LIMIT, ExitKind.STOP):
            return None
        if kind == ExitKind.STAGE2:
            if not self.memory.serve(vcpu, ex.gpa):
                vcpu.memory_error(ex.gva, ex.gpa, ex.access)
            return None
        if kind == ExitKind.IRQ_WINDOW:
            self.board.on_irq_window(vcpu)
            return None
        if kind == ExitKind.HCALL:
            return self._hcall(vcpu, ex)
        if kind == ExitKind.HALT:
            return self._idle(vcpu, ex)
        if kind == ExitKind.FATAL:
            return FAILED, f"guest died: {ex.why} (pc {ex.pc:#x})"
        return HOST, f"engine failure: {ex.why} (exit {kind.name}, pc {ex.pc:#x})"

    def _hcall(self, vcpu: CoreVcpu, ex: Exit) -> tuple[int, str] | None:
        outcome = self.board.on_hcall(vcpu, ex.nr)
        if self._powered_off:
            return self._ended()
        if outcome is Outcome.HALT:
            vcpu.halted = True
        elif outcome is Outcome.STOP:
            return FAILED, "the board stopped the run"
        return None

    def _idle(self, vcpu: CoreVcpu, ex: Exit) -> tuple[int, str] | None:
        """Nothing runnable: the clock jumps to the next event."""
        deadline = self._next_deadline()
        if deadline is None:
            return STALLED, f"stalled: vCPU {vcpu.id} waits for an interrupt at pc {ex.pc:#x} and no event is due"
        target = self.units(deadline)
        if self.max_cycles is not None and target >= self.max_cycles * CYC:
            target = max(self.max_cycles * CYC, vcpu.cycles)
        if target > vcpu.cycles:
            vcpu.add_cycles(target - vcpu.cycles, idle=True)
        return None

    def _ended(self) -> tuple[int, str]:
        if not self.guest_status:
            return OK, "the guest powered off"
        return FAILED, f"the guest powered off with status {self.guest_status}"

    def close(self) -> None:
        """Give the store back. The machine cannot run afterwards."""
        self.memory.close()
