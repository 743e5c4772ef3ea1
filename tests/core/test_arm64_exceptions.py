# SPDX-License-Identifier: GPL-2.0-or-later
"""What the arm64 core takes to its vectors: syndrome, fault address, return address, masks, stack pointers."""

from __future__ import annotations

import pytest

from vmemu.core import CoreMachine, CoreVcpu, Exit, ExitKind

RAM, PAGES = 0x40000000, 32
CODE, VECTORS, TABLES, DATA = RAM + 0x1000, RAM + 0x4000, RAM + 0x8000, RAM + 0x10000
UNDEF_REGISTER = 0xD538C000 | 5 << 8 | 7 << 5  # mrs x0, s3_0_c12_c5_7: nobody has it

WFI, NOP, ERET, SVC, HVC, SMC, BRK, UDF = (
    0xD503207F,
    0xD503201F,
    0xD69F03E0,
    0xD4000541,
    0xD4000002,
    0xD4000003,
    0xD4200540,
    0,
)
LDR_X0_X1, STR_X0_X1, LDXR_X0_X1 = 0xF9400020, 0xF9000020, 0xC85F7C20
MRS_CNTVCT, MRS_PMCCNTR, FMOV, BR_X1 = 0xD53BE040, 0xD53B9D00, 0x1E604000, 0xD61F0020

SYNC, IRQ, FIQ, SERROR = 0, 0x80, 0x100, 0x180
SP0, SPX, LOWER = 0, 0x200, 0x400


@pytest.fixture
def vcpu() -> CoreVcpu:
    """A core with WFI in every vector: the run ends there, and the exit's PC tells which."""
    machine = CoreMachine("arm64", PAGES, [(RAM, PAGES * 4096)], lambda *_: (1, 0))
    vcpu = machine.add_vcpu()
    for page in range(PAGES):
        machine.ensure(vcpu, RAM + page * 4096, True)
    for vector in range(16):
        machine.write_resident(VECTORS + 0x80 * vector, WFI.to_bytes(4, "little"))
    vcpu.set("vbar_el1", VECTORS)
    vcpu.set("pc", CODE)
    return vcpu


def put(vcpu: CoreVcpu, *words: int, at: int = CODE) -> None:
    vcpu.machine.write_resident(at, b"".join(w.to_bytes(4, "little") for w in words))


def run(vcpu: CoreVcpu, *words: int) -> Exit:
    put(vcpu, *words)
    return vcpu.run(insn_limit=vcpu.insns + 1000)


def taken(vcpu: CoreVcpu, group: int, kind: int) -> bool:
    """The run ended behind the WFI of that vector."""
    return vcpu.pc == VECTORS + group + kind + 4


def map_identity(vcpu: CoreVcpu, page_attributes: int = 0) -> None:
    """4 KiB pages over RAM at its own address (TTBR0, 39 bits); `page_attributes` are added to DATA's page."""
    level1, level2, level3 = TABLES, TABLES + 0x1000, TABLES + 0x2000
    write = vcpu.machine.write_resident
    write(level1 + 8, (level2 | 3).to_bytes(8, "little"))
    write(level2, (level3 | 3).to_bytes(8, "little"))
    for page in range(PAGES):
        gpa = RAM + page * 4096
        extra = page_attributes if gpa == DATA else 0xC0 if gpa == CODE else 0
        write(level3 + 8 * page, ((gpa | 0x703 | extra & ~0x400) ^ extra & 0x400).to_bytes(8, "little"))
    vcpu.set("ttbr0_el1", level1)
    vcpu.set("tcr_el1", 25 | 1 << 23)  # EPD1
    vcpu.set("sctlr_el1", 1)


@pytest.mark.parametrize(
    ("word", "esr", "returns_to"),
    [
        (SVC, 0x5600002A, CODE + 4),
        (BRK, 0xF200002A, CODE),
        (UDF, 0x02000000, CODE),
        (FMOV, 0x1FE00000, CODE),
        (MRS_PMCCNTR, 0x02000000, CODE),
        (UNDEF_REGISTER, 0x02000000, CODE),
    ],
)
def test_instructions_that_trap(vcpu: CoreVcpu, word: int, esr: int, returns_to: int) -> None:
    run(vcpu, word)
    assert taken(vcpu, SPX, SYNC)
    assert (vcpu.get("esr_el1"), vcpu.get("elr_el1"), vcpu.get("spsr_el1")) == (esr, returns_to, 0x3C5)


def test_groups_masks_and_stack_pointers(vcpu: CoreVcpu) -> None:
    vcpu.set("sp_el1", 0x1110)
    vcpu.set("sp_el0", 0x2220)
    vcpu.set("pstate", 0x60000000)  # EL0t, Z and C, nothing masked
    run(vcpu, SVC)
    assert taken(vcpu, LOWER, SYNC)
    assert vcpu.get("spsr_el1") == 0x60000000
    assert vcpu.get("pstate") & 0x3CF == 0x3C5
    assert (vcpu.get("sp_el0"), vcpu.get("sp_el1")) == (0x2220, 0x1110)

    vcpu.set("pstate", 4)  # EL1t
    vcpu.set("pc", CODE)
    vcpu.halted = False
    run(vcpu, SVC)
    assert taken(vcpu, SP0, SYNC)
    assert vcpu.get("spsr_el1") & 0xF == 4


@pytest.mark.parametrize(("word", "wnr"), [(LDR_X0_X1, 0), (STR_X0_X1, 0x40)])
@pytest.mark.parametrize(
    ("attributes", "code", "offset"), [(0x400, 0x0B, 0x123), (0x80, 0x0F, 0xFF8), (0, 0, 0x10), (1, 0x07, 0x7)]
)
@pytest.mark.parametrize("user", [False, True])
def test_aborts(vcpu: CoreVcpu, word: int, wnr: int, attributes: int, code: int, offset: int, user: bool) -> None:
    """Access flag, read-only, fine, and not mapped; exact FAR, direction and class."""
    map_identity(vcpu, 0 if attributes == 1 else attributes | (0x40 if user else 0))
    if attributes == 1:
        vcpu.machine.write_resident(TABLES + 0x2000 + 8 * 16, bytes(8))
    if attributes == 0x80 and not wnr:
        code = 0
    vcpu.set("x1", DATA + offset)
    vcpu.set("pstate", 0 if user else 0x3C5)
    ended = run(vcpu, word, SVC)
    esr = vcpu.get("esr_el1")
    if code == 0:
        assert esr == 0x5600002A
        return
    assert taken(vcpu, LOWER if user else SPX, SYNC)
    assert esr == (0x92000000 if user else 0x96000000) | wnr | code
    assert vcpu.get("far_el1") == DATA + offset
    assert vcpu.get("elr_el1") == CODE
    assert ended.kind == ExitKind.HALT


def test_fetch_aborts_tell_the_target(vcpu: CoreVcpu) -> None:
    map_identity(vcpu, 0x40 | 1 << 54)  # DATA: readable by EL0, not executable
    vcpu.set("x1", DATA + 8)
    vcpu.set("pstate", 0)
    run(vcpu, BR_X1)
    assert taken(vcpu, LOWER, SYNC)
    assert (vcpu.get("esr_el1"), vcpu.get("far_el1"), vcpu.get("elr_el1")) == (0x8200000F, DATA + 8, DATA + 8)


def test_misaligned_pc(vcpu: CoreVcpu) -> None:
    for _ in range(3):  # also when the block is known already
        vcpu.set("pc", CODE)
        vcpu.set("x1", DATA + 6)
        vcpu.halted = False
        run(vcpu, BR_X1)
        assert taken(vcpu, SPX, SYNC)
        assert (vcpu.get("esr_el1"), vcpu.get("far_el1"), vcpu.get("elr_el1")) == (0x8A000000, DATA + 6, DATA + 6)


def test_no_memory_is_an_external_abort(vcpu: CoreVcpu) -> None:
    vcpu.set("x1", 0x20000123)
    run(vcpu, STR_X0_X1)
    assert taken(vcpu, SPX, SYNC)
    assert (vcpu.get("esr_el1"), vcpu.get("far_el1")) == (0x96000050, 0x20000123)


def test_tables_outside_memory(vcpu: CoreVcpu) -> None:
    map_identity(vcpu)
    vcpu.machine.write_resident(TABLES + 0x1000 + 8, (0x7000_0000 | 3).to_bytes(8, "little"))
    vcpu.set("x1", RAM + 0x200010)
    run(vcpu, LDR_X0_X1)
    assert (vcpu.get("esr_el1"), vcpu.get("far_el1")) == (0x96000017, RAM + 0x200010)


def test_alignment_of_exclusives(vcpu: CoreVcpu) -> None:
    vcpu.set("x1", DATA + 1)
    run(vcpu, LDXR_X0_X1)
    assert taken(vcpu, SPX, SYNC)
    assert (vcpu.get("esr_el1"), vcpu.get("far_el1")) == (0x96000021, DATA + 1)


def test_counter_access_from_el0(vcpu: CoreVcpu) -> None:
    vcpu.set("pstate", 0)
    run(vcpu, MRS_CNTVCT)
    assert taken(vcpu, LOWER, SYNC)
    assert vcpu.get("esr_el1") >> 26 == 0x18
    vcpu.set("cntkctl_el1", 2)
    vcpu.set("pstate", 0)
    vcpu.set("pc", CODE)
    vcpu.halted = False
    vcpu.add_cycles(2048 * 1000)
    run(vcpu, MRS_CNTVCT, SVC)
    assert vcpu.get("esr_el1") == 0x5600002A
    # 62.5 MHz at 2 GHz: 1,000 ticks were added, and the exception entered before costs 100 cycles (core.h, COST_ENTRY)
    assert vcpu.get("x0") == 1000 + 100 // 32


def test_interrupts_masks_and_priority(vcpu: CoreVcpu) -> None:
    put(vcpu, NOP, 0x17FFFFFF)  # b .-4
    for vector in range(16):
        put(vcpu, 0x14000000, at=VECTORS + 0x80 * vector)  # b . : WFI would go on while a line is high
    vcpu.set("pstate", 5)
    for line in (0, 1, 2):
        vcpu.set_irq(line, True)
    for kind, mask in ((SERROR, 0x100), (FIQ, 0x140), (IRQ, 0x1C0)):
        vcpu.run(insn_limit=vcpu.insns + 100)
        assert vcpu.pc == VECTORS + SPX + kind
        if kind == SERROR:
            assert vcpu.get("esr_el1") == 0xBE000000
        vcpu.set("pstate", 5 | mask)
        vcpu.set("pc", CODE)
    ended = vcpu.run(insn_limit=vcpu.insns + 100)
    assert ended.kind == ExitKind.LIMIT
    assert CODE <= vcpu.pc < CODE + 8


def test_wfi_ends_for_a_masked_interrupt(vcpu: CoreVcpu) -> None:
    assert run(vcpu, WFI, WFI, NOP, NOP).kind == ExitKind.HALT
    vcpu.set_irq(0, True)
    assert vcpu.run(insn_limit=vcpu.insns + 2).kind == ExitKind.LIMIT
    assert vcpu.pc == CODE + 12


def test_hypercalls(vcpu: CoreVcpu) -> None:
    for word, number in ((HVC, 0), (SMC, 1)):
        vcpu.set("pc", CODE)
        ended = run(vcpu, NOP, word)
        assert (ended.kind, ended.nr, ended.pc) == (ExitKind.HCALL, number, CODE + 8)
    vcpu.set("pstate", 0)
    vcpu.set("pc", CODE)
    run(vcpu, HVC)  # undefined at EL0
    assert vcpu.get("esr_el1") == 0x02000000


def test_return_to_aarch32_is_illegal(vcpu: CoreVcpu) -> None:
    vcpu.set("x0", 0x10)
    vcpu.set("elr_el1", CODE + 12)
    ended = run(vcpu, 0xD5184000, ERET, NOP, WFI)  # msr spsr_el1, x0
    assert ended.pc == CODE + 16
    assert vcpu.get("pstate") & 0xF == 5
    assert vcpu.get("pstate") >> 20 & 1  # PSTATE.IL


def test_vectors_that_cannot_be_fetched_end_the_run(vcpu: CoreVcpu) -> None:
    vcpu.set("vbar_el1", 0x2000_0000)
    ended = run(vcpu, SVC)
    assert ended.kind == ExitKind.FATAL
    assert "VBAR_EL1" in ended.why
    assert ended.pc == 0x2000_0200


def test_vectors_that_trap_at_once_end_the_run(vcpu: CoreVcpu) -> None:
    put(vcpu, UDF, at=VECTORS + SPX)
    ended = run(vcpu, SVC)
    assert ended.kind == ExitKind.FATAL
    assert "own vector" in ended.why
