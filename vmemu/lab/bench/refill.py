# SPDX-License-Identifier: GPL-2.0-or-later
"""Soft-TLB refill with a two-stage walk: loads that always miss, less the same loads that always hit.

All addresses fall on one entry of the soft TLB (their distance is a multiple of its largest size), so that each load evicts
the one before; 64 of them are too many for the victim TLB, too.
"""

from __future__ import annotations

import struct

from vmemu.core import NO_LIMIT, PAGE_SIZE, lib
from vmemu.core.plain import EXEC, READ, WRITE, Plain
from vmemu.errors import EngineError
from vmemu.lab.bare import CODE, DATA, RAM, Guest, assembler
from vmemu.lab.bench.report import Line, Report
from vmemu.lab.bench.timing import clock

WAYS = 64
STRIDE = 16 << 20  # 4,096 pages: the soft TLB never gets that many entries here
FIRST = 1 << 34  # first address; the first 2 MiB of RAM are mapped one to one below
ROUNDS = 3000
GOAL = 120.0  # ns
TABLES = 0x100000  # offset of the tables in RAM: root, then others, then one leaf table a way
PAGES = 512


def _code(isa: str, stride: int) -> bytes:
    a = assembler(isa)
    a.li(5, stride)
    a.li(6, ROUNDS)
    a.label("round")
    a.li(2, FIRST)
    a.li(3, WAYS)
    a.label("way")
    a.load(4, 2, 16)
    a.add(2, 5)
    a.dec_jnz(3, "way")
    a.dec_jnz(6, "round")
    a.halt()
    return a.code()


def tables(isa: str) -> dict[int, int]:
    """offset in RAM -> entry: RAM one to one in 2 MiB, and WAYS addresses of 4 KiB pages with a leaf table each."""
    ram, entries = RAM[isa], dict[int, int]()
    arm, ppc = isa == "arm64", isa == "ppc64"

    def table(offset: int) -> int:
        address = ram + TABLES + offset
        return 1 << 63 | address | 9 if ppc else address | 3

    def leaf(address: int, big: bool) -> int:
        if arm:
            return address | 1 << 10 | (1 if big else 3)
        if ppc:
            return 3 << 62 | address | 0x187
        return address | (0x83 if big else 3) | 0x60  # accessed and dirty already

    top, low, high = 0x10000 if ppc else 0x0, 0x12000, 0x14000
    if not arm:  # x86 and ppc64 have a level above the gigabytes
        entries[TABLES] = table(top + 0x1000)
    gigabytes = TABLES + (0 if arm else top + 0x1000)
    entries[gigabytes + 8 * (ram >> 30)] = table(low)
    entries[TABLES + low] = leaf(ram, True)
    for way in range(WAYS):
        va = FIRST + way * STRIDE
        middle = high + ((va >> 30) - (FIRST >> 30)) * PAGE_SIZE
        entries[gigabytes + 8 * (va >> 30)] = table(middle)
        leaves = high + 0x4000 + way * PAGE_SIZE
        entries[TABLES + middle + 8 * (va >> 21 & 511)] = table(leaves)
        entries[TABLES + leaves] = leaf(ram + DATA + way * PAGE_SIZE, False)
    return entries


def _ours(isa: str, stride: int) -> tuple[float, int]:
    """Seconds and fills."""
    g = Guest(isa, _code(isa, stride), pages=PAGES)
    v = g.vcpu
    for offset, entry in tables(isa).items():
        g.write(offset, struct.pack(">Q" if isa == "ppc64" else "<Q", entry))
    for way in range(WAYS):
        g.write(DATA + way * PAGE_SIZE, b"data")
    if isa == "x86_64":
        v.set("cr3", TABLES)
    elif isa == "arm64":
        v.set("tcr_el1", 1 << 23 | 25)
        v.set("ttbr0_el1", g.base + TABLES)
        v.set("sctlr_el1", v.get("sctlr_el1") | 1)
    else:
        process = 0x1F0000
        g.write(process + 16, struct.pack(">Q", 2 << 61 | TABLES | 5 << 5 | 13))
        v.set("prtbl", process)
        v.set("pidr", 1)
        v.set("msr", 1 << 63 | 1 << 12 | 0x30)
    before = int(v.ptr.fills)
    seconds = clock(lambda: lib.vcpu_run(v.ptr, NO_LIMIT, NO_LIMIT))
    if v.ptr.exit.kind not in (3, 4):
        raise EngineError(f"the refill benchmark died on {isa}")
    return seconds, int(v.ptr.fills) - before


def _plain(isa: str, stride: int) -> float:
    """Seconds, with an identity fill in C: no walk at all."""
    p = Plain(isa, virtual=True)
    base = RAM[isa]
    p.map(base, CODE, READ | WRITE)
    p.map(base + CODE, DATA - CODE, READ | EXEC)
    p.map(base + DATA, PAGES * PAGE_SIZE - DATA, READ | WRITE)
    p.write(base + CODE, _code(isa, stride))
    for way in range(WAYS):
        p.map(FIRST + way * STRIDE, PAGE_SIZE, READ | WRITE)
    return p.run(base + CODE)


def refill(isa: str) -> float:
    """ns a refill."""
    miss, fills = _ours(isa, STRIDE)
    hit, _ = _ours(isa, 0)
    if fills < WAYS * ROUNDS:
        raise EngineError(f"{fills} refills where {WAYS * ROUNDS} were expected")
    return (miss - hit) / (WAYS * ROUNDS) * 1e9


def measure(report: Report, isas: tuple[str, ...], repeat: int) -> None:
    for isa in isas:
        best = min(refill(isa) for _ in range(repeat))
        per = 1e9 / (WAYS * ROUNDS)
        empty = min(_plain(isa, STRIDE) - _plain(isa, 0) for _ in range(repeat)) * per
        text = f"empty C callback {empty:.0f} ns"
        report.add(Line("refill", f"{isa}: two-stage walk, resident", best, "ns", GOAL, reference=text))
