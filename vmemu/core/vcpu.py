# SPDX-License-Identifier: GPL-2.0-or-later
"""The typed face of one vCPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmemu.core.native import check, ffi, lib
from vmemu.core.observe import Seen, What
from vmemu.core.values import COUNTERS, NO_LIMIT, Cycles, Exit, ExitKind, Pending, Walk

if TYPE_CHECKING:
    from vmemu.core.machine import CoreMachine

#: By value: a look-up costs a tenth of an enum's call.
_EXIT_KINDS = tuple(ExitKind)


class CoreVcpu:
    """One vCPU: an engine, its registers, its clock."""

    def __init__(self, machine: CoreMachine, ptr: Any) -> None:
        self.machine = machine
        self.ptr = ptr
        self.id = int(ptr.id)
        self._index = machine.isa.registers.index
        self._exit = ptr.exit

    # ------------------------------------------------------------ registers
    def get(self, name: str) -> int:
        """Value of a register by its name in the isa room. Raises KeyError."""
        value: int = lib.vcpu_reg_get(self.ptr, self._index(name))
        return value

    def set(self, name: str, value: int) -> None:
        """Write a register. Raises KeyError, or EngineError where the register cannot be written."""
        check(lib.vcpu_reg_set(self.ptr, self._index(name), value & 0xFFFFFFFFFFFFFFFF))

    def registers(self) -> dict[str, int]:
        """All declared registers."""
        get, ptr = lib.vcpu_reg_get, self.ptr
        return {r.name: int(get(ptr, i)) for i, r in enumerate(self.machine.isa.registers)}

    @property
    def pc(self) -> int:
        return int(lib.vcpu_pc(self.ptr))

    def reset(self) -> None:
        """Registers as after a reset, nothing pending, not halted. The clock goes on; interrupt lines keep their level."""
        check(lib.vcpu_reset(self.ptr))

    def settle(self) -> bool:
        """Enter now what was to be entered before the next instruction. False: not here, `settled` says why; or it cannot be."""
        return bool(lib.vcpu_settle(self.ptr) == 0)

    def go_to(self, pc: int, status: int) -> None:
        """Send the guest elsewhere, as firmware does: PC and program status (PSTATE) in one step, the halt ends.

        Raises EngineError for a status the CPU does not have, or where nothing may be delivered.
        """
        check(lib.vcpu_go_to(self.ptr, pc, status))
        if self.machine.observe is not None:
            self.machine.observe(Seen(What.GO_TO, self.id, pc, status))

    # ----------------------------------------------------------------- time
    @property
    def insns(self) -> int:
        """Instructions completed, exact."""
        return int(lib.vcpu_insns(self.ptr))

    @property
    def cycles(self) -> int:
        """Local time in CYC units, at the instruction that PC points to."""
        return int(lib.vcpu_now(self.ptr))

    @property
    def settled(self) -> bool:
        """False after an exact stop inside a block: no event may be delivered before the block is done."""
        return bool(lib.vcpu_settled(self.ptr))

    def add_cycles(self, cycles: int, kind: Cycles = Cycles.WORK) -> None:
        """Advance local time by `cycles` CYC units: host work charged to the guest, idle time, or time blocked by a page-in."""
        lib.vcpu_add_cycles(self.ptr, cycles, kind)

    @property
    def idle_cycles(self) -> int:
        return int(self.ptr.idle_cycles)

    @property
    def blocked_cycles(self) -> int:
        """Time spent waiting for page-ins, in CYC units."""
        return int(self.ptr.blocked_cycles)

    @property
    def halted(self) -> bool:
        return bool(self.ptr.halted)

    @halted.setter
    def halted(self, value: bool) -> None:
        lib.vcpu_set_halted(self.ptr, value)

    def host_halt(self) -> None:
        """Halt it until `halted` is cleared or an interrupt that is not masked arrives."""
        lib.vcpu_set_halted(self.ptr, True)
        self.ptr.host_halt = True
        self.parked = 0

    @property
    def host_halted(self) -> bool:
        return bool(self.ptr.host_halt)

    @property
    def online(self) -> bool:
        """Started, and not taken away."""
        return bool(self.ptr.online)

    @online.setter
    def online(self, value: bool) -> None:
        self.ptr.online = value

    @property
    def held(self) -> bool:
        """The host is amid something on its behalf: it does not run until that is done."""
        return bool(self.ptr.on_hold)

    @held.setter
    def held(self, value: bool) -> None:
        self.ptr.on_hold = value

    @property
    def benched(self) -> bool:
        """The machine's owner lets others run and not this one."""
        return bool(self.ptr.benched)

    @benched.setter
    def benched(self, value: bool) -> None:
        self.ptr.benched = value

    @property
    def parked(self) -> int:
        """Interrupt lines that were high when it was found to stay halted."""
        return int(self.ptr.parked)

    @parked.setter
    def parked(self, lines: int) -> None:
        self.ptr.parked = lines

    @property
    def runnable(self) -> bool:
        """Online, not held, and not halted; or halted with other interrupt lines high than when it was parked."""
        return bool(lib.vcpu_runnable(self.ptr))

    # ------------------------------------------------------------------ run
    def pass_break(self) -> None:
        """A breakpoint at the instruction where it stands does not stop it there."""
        lib.debug_pass(self.ptr)

    def stop_at(self, insns: int, cycles: int, settled: bool, pc: int) -> None:
        """A DEBUG exit where index, time and place are these: instants that an instruction limit alone cannot name."""
        lib.debug_until(self.ptr, True, insns, cycles, settled, pc)

    def stop_nowhere(self) -> None:
        """Takes `stop_at` back."""
        lib.debug_until(self.ptr, False, 0, 0, False, 0)

    def run(self, cycle_limit: int = NO_LIMIT, insn_limit: int = NO_LIMIT) -> Exit:
        """Run until an exit; limits are absolute values of `cycles` and `insns`.

        Raises whatever a device handler raised during the run; the vCPU stands behind the instruction that called it.
        """
        lib.vcpu_run(self.ptr, cycle_limit, insn_limit)
        if self.machine.io_error is not None:
            error, self.machine.io_error = self.machine.io_error, None
            raise error
        x = self._exit
        why = ffi.string(x.why).decode(errors="replace") if x.why else ""
        return Exit(_EXIT_KINDS[x.kind], x.access, x.nr, x.gpa, x.gva, x.pc, x.insns, x.cycles, why)

    def kick(self) -> None:
        """Make a running vCPU look at its limits and interrupt lines at the next block."""
        lib.vcpu_kick(self.ptr)

    def set_irq(self, line: int, level: bool) -> None:
        """Level of an interrupt line; lines are the architecture's own (arch_<isa>)."""
        lib.vcpu_set_irq(self.ptr, line, level)
        if self.machine.observe is not None:
            self.machine.observe(Seen(What.LINE, self.id, line, int(level)))

    @property
    def irq_lines(self) -> int:
        return int(self.ptr.irq_lines)

    @property
    def event_pending(self) -> bool:
        """An exception or interrupt is to be entered before the next instruction."""
        return bool(self.ptr.pend.kind)

    def inject_irq(self, vector: int) -> None:
        """Enter an external interrupt with `vector` before the next instruction."""
        check(lib.vcpu_inject(self.ptr, Pending.IRQ, vector, 0, False, 0, 0))
        if self.machine.observe is not None:
            self.machine.observe(Seen(What.INTERRUPT, self.id, vector))

    def drop_event(self) -> None:
        """What was to be entered before the next instruction is forgotten."""
        self.ptr.pend.kind = 0

    def inject_exception(self, vector: int, error: int = 0, addr: int = 0, aux: int = 0, has_error: bool = False) -> None:
        """Enter an exception before the next instruction; fields as `struct pending` in core.h."""
        check(lib.vcpu_inject(self.ptr, Pending.EXCEPTION, vector, error, has_error, addr, aux))
        if self.machine.observe is not None:
            self.machine.observe(Seen(What.EXCEPTION, self.id, vector, addr, error))

    def memory_error(self, gva: int, gpa: int, access: int) -> None:
        """Tell the guest that a page is lost, as its architecture does: #MC, external abort, machine check."""
        lib.vcpu_mem_error(self.ptr, gva, gpa, access)
        if self.machine.observe is not None:
            self.machine.observe(Seen(What.MEM_ERROR, self.id, gva, gpa, access))

    def walk(self, va: int, access: int) -> Walk:
        """Stage-1 walk by the C walker, in the vCPU's current mode."""
        out = ffi.new("uint64_t[4]")
        status = lib.vcpu_walk(self.ptr, va, access, out)
        check(status)
        return Walk(int(status), int(out[0]), int(out[1]), int(out[2]), bool(out[3]))

    def flush_tlb(self) -> None:
        lib.vcpu_flush_tlb(self.ptr)

    def counters(self) -> dict[str, int]:
        return {name: int(self.ptr.count[i]) for i, name in enumerate(COUNTERS)}
