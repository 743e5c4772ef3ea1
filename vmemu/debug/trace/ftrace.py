# SPDX-License-Identifier: GPL-2.0-or-later
"""A run as ftrace's text, with the names and formats of KVM's own tracepoints, so that scripts made for them read it.

One line an event, as `cat trace` and `trace-cmd report` print it: the task is the vCPU's thread, the CPU is the vCPU. Formats are
those of Linux 6.x: include/trace/events/kvm.h, arch/x86/kvm/trace.h, arch/arm64/kvm/trace_arm.h, arch/powerpc/kvm/trace_pr.h.
What vmemu does not record is 0 there. kvm_page_fault has its x86 form on every architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vmemu.core import NO_VCPU, Event, IoKind
from vmemu.core.events import EventKind
from vmemu.debug.trace.timeline import Moment, Step

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

HEADER = """\
# tracer: nop
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
FIRST_PID = 1000  # of vCPU 0's thread
HOST_PID = 999

# Page fault error codes (SDM 3A 4.7), and KVM's own bit for a fault at the guest's final address (PFERR_GUEST_FINAL_MASK).
_WRITE, _USER, _FETCH, _FINAL = 1 << 1, 1 << 2, 1 << 4, 1 << 32

#: Exit reasons: SVM's on x86 (asm/svm.h), the syndrome's class on arm64, the interrupt on ppc64.
_X86 = {"stage2": "npf", "halt": "hlt", "hcall": "vmmcall", "mmio": "npf", "port": "io", "register": "msr", "cpuid": "cpuid"}
_ARM64 = {
    "stage2": (0x24, "DABT_LOW"), "fetch": (0x20, "IABT_LOW"), "halt": (0x01, "WFx"), "hcall": (0x16, "HVC64"),
    "mmio": (0x24, "DABT_LOW"), "register": (0x18, "SYS64"),
}  # fmt: skip
_PPC64 = {
    "stage2": "H_DATA_STORAGE", "fetch": "H_INST_STORAGE", "halt": "SYSCALL", "hcall": "SYSCALL", "mmio": "H_DATA_STORAGE",
    "register": "H_EMUL_ASSIST", "paste": "H_EMUL_ASSIST",
}  # fmt: skip
_IO_REASON = {
    IoKind.MMIO_READ: "mmio", IoKind.MMIO_WRITE: "mmio", IoKind.PORT_IN: "port", IoKind.PORT_OUT: "port",
    IoKind.REG_READ: "register", IoKind.REG_WRITE: "register", IoKind.CPUID: "cpuid", IoKind.PASTE: "paste",
}  # fmt: skip


def _alternate(value: int) -> str:
    """C's %#llx: zero has no prefix."""
    return f"{value:#x}" if value else "0"


class FtraceWriter:
    """Lines of text, none to three for each moment."""

    def __init__(self) -> None:
        self._isa = ""
        self._halted_at: dict[int, int] = {}
        self._calls: dict[int, Callable[[int, Event], list[str]]] = {
            EventKind.STAGE2: self._stage2, EventKind.HALT: self._halt, EventKind.WAKE: self._wake, EventKind.HCALL: self._hcall,
            EventKind.IO: self._io, EventKind.IRQ: self._irq, EventKind.TOKEN_TRY: self._try,
            EventKind.TOKEN_REPEATED: self._repeated, EventKind.TOKEN_NOT_PRESENT: self._not_present,
            EventKind.TOKEN_READY: self._ready, EventKind.TOKEN_COMPLETED: self._completed, EventKind.TOKEN_WAKE_ALL: self._wake_all,
        }  # fmt: skip

    def begin(self, machine: Machine) -> bytes:
        self._isa = machine.board.isa
        return HEADER.encode()

    def moment(self, ns: int, moment: Moment) -> bytes:
        event = moment.event
        call = self._calls.get(event.kind) if moment.step is Step.EVENT else None
        if call is None:
            return b""
        host = event.vcpu == NO_VCPU
        task, pid, cpu = ("kworker/u2:0", HOST_PID, 0) if host else (f"CPU {event.vcpu}/KVM", FIRST_PID + event.vcpu, event.vcpu)
        seconds, micro = divmod(ns // 1000, 1_000_000)
        head = f"{task:>16}-{pid:<7} [{cpu:03d}] ..... {seconds:5d}.{micro:06d}: "
        return "".join(f"{head}{line}\n" for line in call(ns, event)).encode()

    def end(self, ns: int, lost: int) -> bytes:
        return f"CPU:0 [LOST {lost} EVENTS]\n".encode() if lost else b""

    # ---------------------------------------------------------------- exits
    def _exit(self, event: Event, why: str, info1: int = 0, info2: int = 0) -> str:
        if self._isa == "x86_64":
            return (
                f"kvm_exit: vcpu {event.vcpu} reason {_X86[why]} rip {event.pc:#x} info1 {info1:#018x} info2 {info2:#018x} "
                f"intr_info 0x00000000 error_code 0x00000000 requests 0x{0:016x}"
            )
        fetch = why == "stage2" and event.c == 2
        if self._isa == "arm64":
            number, label = _ARM64["fetch" if fetch else why]
            return f"kvm_exit: TRAP: HSR_EC: {number:#06x} ({label}), PC: {event.pc:#018x}"
        label = _PPC64["fetch" if fetch else why]
        dar = event.b if why == "stage2" else 0
        return f"kvm_exit: exit={label} | pc={event.pc:#x} | msr=0x0 | dar={dar:#x} | srr1=0x0 | last_inst=0x0"

    def _stage2(self, ns: int, event: Event) -> list[str]:
        code = _FINAL | _USER | (_WRITE if event.c == 1 else 0) | (_FETCH if event.c == 2 else 0)
        fault = f"kvm_page_fault: vcpu {event.vcpu} rip {event.pc:#x} address {event.a:#018x} error_code {code:#x}"
        return [self._exit(event, "stage2", code, event.a), fault]

    def _halt(self, ns: int, event: Event) -> list[str]:
        self._halted_at[event.vcpu] = ns
        return [self._exit(event, "halt")]

    def _wake(self, ns: int, event: Event) -> list[str]:
        waited = ns - self._halted_at.pop(event.vcpu, ns)
        return [f"kvm_vcpu_wakeup: wait time {waited} ns, polling valid"]

    def _hcall(self, ns: int, event: Event) -> list[str]:
        return [self._exit(event, "hcall")]

    def _io(self, ns: int, event: Event) -> list[str]:
        kind, size = IoKind(event.c & 0xFF), event.c >> 8
        lines = [self._exit(event, _IO_REASON[kind], info2=event.a if kind in (IoKind.MMIO_READ, IoKind.MMIO_WRITE) else 0)]
        if kind in (IoKind.MMIO_READ, IoKind.MMIO_WRITE):
            what = "read" if kind is IoKind.MMIO_READ else "write"
            lines.append(f"kvm_mmio: mmio {what} len {size} gpa {event.a:#x} val {event.b & (1 << 8 * size) - 1:#x}")
        elif kind in (IoKind.PORT_IN, IoKind.PORT_OUT):
            what = "pio_read" if kind is IoKind.PORT_IN else "pio_write"
            lines.append(f"kvm_pio: {what} at {event.a:#x} size {size} count 1 val {event.b & (1 << 8 * size) - 1:#x} ")
        elif kind in (IoKind.REG_READ, IoKind.REG_WRITE) and self._isa == "x86_64":
            what = "read" if kind is IoKind.REG_READ else "write"
            lines.append(f"kvm_msr: msr_{what} {event.a:x} = {event.b:#x}")
        return lines

    def _irq(self, ns: int, event: Event) -> list[str]:
        return [f"kvm_inj_virq: IRQ {event.a:#x}"] if self._isa == "x86_64" else []

    # --------------------------------------------------------------- tokens
    def _try(self, ns: int, event: Event) -> list[str]:
        return [f"kvm_try_async_get_page: gva = {_alternate(event.a)}, gfn = {_alternate(event.b >> 12)}"]

    def _repeated(self, ns: int, event: Event) -> list[str]:
        return [f"kvm_async_pf_repeated_fault: gva = {_alternate(event.a)}, gfn = {_alternate(event.b >> 12)}"]

    def _not_present(self, ns: int, event: Event) -> list[str]:
        return [f"kvm_async_pf_not_present: token {_alternate(event.a)} gva {_alternate(event.b)}"]

    def _ready(self, ns: int, event: Event) -> list[str]:
        return [f"kvm_async_pf_ready: token {_alternate(event.a)} gva {_alternate(event.b)}"]

    def _completed(self, ns: int, event: Event) -> list[str]:
        return [f"kvm_async_pf_completed: gva {_alternate(event.b)} address {_alternate(event.c)}"]

    def _wake_all(self, ns: int, event: Event) -> list[str]:
        return ["kvm_async_pf_ready: token 0xffffffff gva 0"]  # KVM's token for all of them (kvm_arch_async_page_present)
