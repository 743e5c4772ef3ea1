# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions and interrupts on x86-64: vectors, error codes, frames, stacks, double and triple faults."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from helpers.x86 import CODE, DATA, GDT, HANDLERS, IDT, IST1, KCODE, KDATA, RSP0, STACK, TSS, UCODE, UDATA, Pc64, gate

from vmemu.core import ExitKind

RF, IF = 1 << 16, 1 << 9
INTR, NMI, MCE = 0, 1, 2
HOLE = DATA + 0x10000  # the page that is not mapped


def mov_rax(value: int) -> bytes:
    return b"\x48\xb8" + struct.pack("<Q", value)


#: name, code, CPL, vector, error code (None: none pushed), bytes of code before the pushed RIP, pushed RF
CASES = (
    ("ud2", b"\x0f\x0b", 0, 6, None, 0, True),
    ("int3", b"\xcc", 0, 3, None, 1, False),
    ("int 0x80", b"\xcd\x80", 3, 0x80, None, 2, False),
    ("int 0x40 from user: gate DPL 0", b"\xcd\x40", 3, 13, 0x40 * 8 + 2, 0, True),
    ("icebp", b"\xf1", 0, 1, None, 1, False),
    ("div by zero", b"\x31\xc9\xf7\xf1", 0, 0, None, 2, True),
    ("non-canonical read", mov_rax(1 << 60) + b"\x8b\x00", 0, 13, 0, 10, True),
    ("hlt in user mode", b"\xf4", 3, 13, 0, 0, True),
    ("rdmsr in user mode", b"\x0f\x32", 3, 13, 0, 0, True),
    ("mov cr8 in user mode", b"\x44\x0f\x20\xc0", 3, 13, 0, 0, True),
    ("EFER reserved bit", b"\xb9\x80\x00\x00\xc0\xb8\x00\x00\x02\x00\x31\xd2\x0f\x30", 0, 13, 0, 12, True),
    ("LSTAR non-canonical", b"\xb9\x82\x00\x00\xc0\x31\xc0\xba\x00\x00\x01\x00\x0f\x30", 0, 13, 0, 12, True),
    ("CR4 reserved bit", mov_rax(1 << 30 | 1 << 5) + b"\x0f\x22\xe0", 0, 13, 0, 10, True),
    ("CR4 without PAE", mov_rax(0) + b"\x0f\x22\xe0", 0, 13, 0, 10, True),
    ("CR0 without PG in 64-bit mode", mov_rax(0x11) + b"\x0f\x22\xc0", 0, 13, 0, 10, True),
    ("CR3 beyond MAXPHYADDR", mov_rax(1 << 45) + b"\x0f\x22\xd8", 0, 13, 0, 10, True),
    ("CR8 above 15", mov_rax(16) + b"\x44\x0f\x22\xc0", 0, 13, 0, 10, True),
    ("rdrand", b"\x48\x0f\xc7\xf0", 0, 6, None, 0, True),
    ("rdrand behind useless prefixes", b"\x66\x66\x66\x48\x0f\xc7\xf0", 0, 6, None, 0, True),
    ("ltr with a null selector", b"\x31\xc0\x0f\x00\xd8", 0, 13, 0, 2, True),
    ("ltr null from memory", mov_rax(DATA) + b"\x0f\x00\x18", 0, 13, 0, 10, True),
    ("out in user mode", b"\xb0\x01\xe6\x80\x90", 3, 13, 0, 2, True),
    ("in in user mode", b"\x66\xba\xf8\x03\xec", 3, 13, 0, 4, True),
    ("write to a hole", mov_rax(HOLE + 5) + b"\x88\x00", 0, 14, 2, 10, True),
    ("read of a hole in user mode", mov_rax(HOLE + 0xFFF) + b"\x8a\x00", 3, 14, 4, 10, True),
    ("fetch from a hole", mov_rax(HOLE + 7) + b"\xff\xe0", 0, 14, 0x10, None, True),
    ("selector beyond the GDT", b"\xb8\x00\x01\x00\x00\x8e\xd8", 0, 13, 0x100, 5, True),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0])
def test_vector_error_and_frame(case: tuple[str, bytes, int, int, int | None, int | None, bool]) -> None:
    name, code, cpl, vector, error, offset, rf = case
    pc = Pc64(code, cpl=cpl)
    assert pc.vector(pc.run()) == vector
    rsp = pc.vcpu.get("rsp")
    frame = list(pc.get(rsp, 6 if error is not None else 5))
    if error is not None:
        assert frame.pop(0) == error
    rip, cs, flags, old_rsp, ss = frame
    if vector == 14:
        assert pc.vcpu.get("cr2") == {"write": HOLE + 5, "read": HOLE + 0xFFF, "fetch": HOLE + 7}[name.split()[0]]
    assert rip == (CODE + offset if offset is not None else HOLE + 7)
    assert (cs, ss) == ((UCODE | 3, UDATA | 3) if cpl else (KCODE, KDATA))
    assert old_rsp == STACK
    assert bool(flags & RF) == rf
    assert rsp == (RSP0 if cpl else STACK) - 8 * (5 + (error is not None))
    assert pc.vcpu.get("hflags") & 3 == 0
    assert pc.vcpu.get("cs") == KCODE
    if cpl:
        assert pc.vcpu.get("ss") == 0


def test_interrupt_stack_table_and_trap_gate() -> None:
    pc = Pc64(b"\x0f\x0b")
    pc.put(IDT + 16 * 6, gate(HANDLERS + 16 * 6, kind=0xF, ist=1))
    pc.vcpu.set("rflags", IF | 2)
    assert pc.vector(pc.run()) == 6
    assert pc.vcpu.get("rsp") == IST1 - 40
    assert pc.vcpu.get("rflags") & IF  # a trap gate leaves IF


def test_syscall_enters_and_sysret_leaves() -> None:
    pc = Pc64(b"\x0f\x05\xf4", cpl=3)
    pc.put(HANDLERS, b"\x48\xff\xc3\x48\x0f\x07")  # inc rbx; sysretq
    v = pc.vcpu
    v.set("star", UDATA - 8 << 48 | KCODE << 32)
    for name, value in (("lstar", HANDLERS), ("fmask", IF), ("rflags", IF | 2)):
        v.set(name, value)
    # back in user mode the HLT faults: #GP from RIP 2
    assert pc.vector(pc.run()) == 13
    assert v.get("rbx") == 1
    assert pc.get(v.get("rsp"), 5)[1:4] == (CODE + 2, UCODE | 3, IF | 2 | RF)
    assert (v.get("rcx"), v.get("r11")) == (CODE + 2, IF | 2)
    assert pc.vcpu.counters()["syscall"] == 1


def test_syscall_disabled_is_undefined() -> None:
    pc = Pc64(b"\x0f\x05", cpl=3)
    pc.vcpu.set("efer", 0xD00)
    assert pc.vector(pc.run()) == 6
    assert pc.get(pc.vcpu.get("rsp"), 1) == (CODE,)


def test_hypercall_stops_behind_the_instruction() -> None:
    pc = Pc64(b"\x0f\x01\xd9\xf4")
    pc.vcpu.set("rax", 42)
    x = pc.run()
    assert (x.kind, x.nr, x.pc, x.insns) == (ExitKind.HCALL, 42, CODE + 3, 1)


def test_gp_on_a_bad_gate_then_double_fault_then_triple() -> None:
    pc = Pc64(b"\x0f\x0b")
    pc.put(IDT + 16 * 6, gate(HANDLERS, present=0))  # #NP, contributory after a benign #UD
    assert pc.vector(pc.run()) == 11
    assert pc.get(pc.vcpu.get("rsp"), 1) == (6 * 8 + 3,)

    pc = Pc64(mov_rax(1 << 60) + b"\x8b\x00")
    pc.put(IDT + 16 * 13, gate(HANDLERS, present=0))  # #GP, then #NP: contributory twice
    assert pc.vector(pc.run()) == 8
    assert pc.get(pc.vcpu.get("rsp"), 1) == (0,)

    pc = Pc64(b"\x0f\x0b")
    pc.vcpu.set("idt_limit", 0)
    x = pc.run()
    assert x.kind == ExitKind.FATAL
    assert "triple fault" in x.why


def test_page_fault_on_the_stack_becomes_a_double_fault() -> None:
    pc = Pc64(mov_rax(HOLE) + b"\x88\x00")
    pc.put(IDT + 16 * 8, gate(HANDLERS + 16 * 8, ist=1))
    pc.vcpu.set("rsp", HOLE + 0x800)
    assert pc.vector(pc.run()) == 8
    assert pc.get(pc.vcpu.get("rsp"), 2) == (0, CODE + 10)


@pytest.mark.parametrize(
    ("what", "address", "data"),
    [
        ("gate selects data", IDT + 16 * 6, gate(HANDLERS, selector=KDATA)),
        ("gate beyond the GDT", IDT + 16 * 6, gate(HANDLERS, selector=0x1F8)),
        ("gate type", IDT + 16 * 6, gate(HANDLERS, kind=0x5)),
        ("null selector", IDT + 16 * 6, gate(HANDLERS, selector=0)),
        ("non-canonical entry", IDT + 16 * 6, gate(1 << 50)),
    ],
)  # fmt: skip
def test_broken_gates_raise_gp(what: str, address: int, data: bytes) -> None:
    pc = Pc64(b"\x0f\x0b")
    pc.put(address, data)
    assert pc.vector(pc.run()) == 13


def test_broken_tss_raises_ts_and_ss() -> None:
    pc = Pc64(b"\x0f\x0b", cpl=3)
    pc.vcpu.set("tr_limit", 3)
    assert pc.run().kind == ExitKind.FATAL  # #TS needs the same stack
    pc = Pc64(b"\x0f\x0b", cpl=3)
    pc.put(TSS + 4, struct.pack("<Q", 1 << 55))
    pc.put(IDT + 16 * 12, gate(HANDLERS + 16 * 12, ist=1))
    assert pc.vector(pc.run()) == 12


def test_interrupt_waits_for_if_and_the_sti_shadow() -> None:
    pc = Pc64(b"\x90\xfb\x90\x90\xf4")  # nop; sti; nop; nop; hlt
    pc.vcpu.set_irq(INTR, True)
    x = pc.run()
    assert (x.kind, x.pc) == (ExitKind.IRQ_WINDOW, CODE + 3)  # one instruction after STI
    pc.vcpu.inject_irq(0x31)
    pc.vcpu.set_irq(INTR, False)
    assert pc.vector(pc.run()) == 0x31
    assert pc.get(pc.vcpu.get("rsp"), 1) == (CODE + 3,)


def test_nmi_is_blocked_until_iret() -> None:
    pc = Pc64(b"\x90" * 4 + b"\xf4")
    pc.put(HANDLERS + 32, b"\x90\x48\xff\xc3\x48\xcf")  # nop; inc rbx; iretq
    pc.vcpu.set_irq(NMI, True)
    pc.vcpu.run(insn_limit=1)
    assert pc.vcpu.pc == HANDLERS + 33
    pc.vcpu.set_irq(NMI, True)
    x = pc.run()
    assert x.kind == ExitKind.HALT and x.pc == CODE + 5
    assert pc.vcpu.get("rbx") == 2


def test_machine_check_carries_the_address() -> None:
    pc = Pc64(b"\x90\xf4")
    pc.vcpu.memory_error(0x1234, 0x5678, 0)
    assert pc.vector(pc.run()) == 18
    assert pc.vcpu.get("mc0_addr") == 0x5678
    assert pc.vcpu.get("mcg_status") == 7
    pc.vcpu.memory_error(0x1234, 0x5678, 0)
    assert "machine check" in pc.run().why


def test_user_code_may_load_segments_from_a_supervisor_gdt() -> None:
    """Descriptor reads are supervisor accesses even at CPL 3; plain loads of the same page are not."""
    code = b"\xb8\x1b\x00\x00\x00\x8e\xd8" + mov_rax(GDT) + b"\x8b\x18"
    pc = Pc64(code, cpl=3)
    pc.put(0x4000 + 8 * (GDT >> 12), struct.pack("<Q", GDT | 3))
    assert pc.vector(pc.run()) == 14
    assert pc.vcpu.get("ds") == UDATA | 3
    assert pc.get(pc.vcpu.get("rsp"), 2) == (5, CODE + 17)


def test_delivery_pages_in_what_it_needs() -> None:
    """Tables, handler and stack may all be swapped out when an exception comes."""
    sweep = (
        b"\x48\xc7\xc1" + struct.pack("<I", 400) + mov_rax(0x50000 + 0x10000)  # rcx = pages, rax = first
        + b"\xc6\x00\x01\x48\x05" + struct.pack("<I", 4096) + b"\x48\xff\xc9\x75\xf2\xcc"  # write, next, loop, int3
    )  # fmt: skip
    pc = Pc64(sweep, frames=48)
    assert pc.vector(pc.run()) == 3
    assert pc.get(pc.vcpu.get("rsp"), 1) == (CODE + len(sweep),)


def test_registers_of_the_host_are_asked_once() -> None:
    calls: list[tuple[int, int]] = []

    def io(vcpu: Any, kind: int, address: int, size: int, value: Any) -> tuple[int, Any]:
        calls.append((kind, address))
        return (0, (1, 2, 3, 4)) if kind == 6 else (1, 0) if address == 0x777 else (0, 0x1_0000_0002)

    code = b"\xb9\x34\x12\x00\x00\x0f\x32\x0f\x30\x0f\xa2\xe6\x80\xec\x44\x0f\x20\xc3\xb9\x77\x07\x00\x00\x0f\x32"
    pc = Pc64(code, io=io)
    assert pc.vector(pc.run()) == 13  # the last RDMSR is refused
    assert calls == [(4, 0x1234), (5, 0x1234), (6, 0x1234 << 32 | 2), (3, 0x80), (2, 4), (4, 1 << 32), (4, 0x777)]
    assert pc.vcpu.insns == len(["mov", "rdmsr", "wrmsr", "cpuid", "out", "in", "cr8", "mov"]) + 1 - 0


def test_code_segment_with_a_base() -> None:
    """Outside 64-bit mode the PC that the engine counts with is CS base + EIP."""
    pc = Pc64(b"")
    for name, value in (("cr0", 0x11), ("efer", 0), ("cs_flags", 0xCF9B00), ("cs_base", CODE), ("rip", 0x10)):
        pc.vcpu.set(name, value)
    pc.put(CODE + 0x10, b"\x40\x40\xb9\x99\x00\x00\x00\x0f\x32\x40\xf4")  # inc eax twice; mov ecx; rdmsr; inc eax; hlt
    x = pc.vcpu.run(insn_limit=1)
    assert (x.kind, x.pc, pc.vcpu.get("rip")) == (ExitKind.LIMIT, CODE + 0x11, 0x11)
    x = pc.run()
    assert (x.kind, x.insns, x.pc) == (ExitKind.HALT, 6, CODE + 0x1B)


def test_ports_that_the_tss_permits() -> None:
    calls: list[tuple[int, int]] = []

    def io(vcpu: Any, kind: int, address: int, size: int, value: Any) -> tuple[int, Any]:
        calls.append((kind, address))
        return 0, 0

    pc = Pc64(b"\xe6\x80\xe6\x81\x0f\x0b", cpl=3, io=io)  # out 0x80; out 0x81; ud2
    pc.put(TSS + 102, struct.pack("<H", 104) + b"\xff" * 16 + b"\xfe" + b"\xff" * 2)  # port 0x80 only
    pc.vcpu.set("tr_limit", 123)
    pc.vcpu.set("tr_flags", 0x8900)
    assert pc.vector(pc.run()) == 13
    assert calls == [(3, 0x80)]
    assert pc.get(pc.vcpu.get("rsp"), 2) == (0, CODE + 2)
