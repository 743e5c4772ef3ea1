# SPDX-License-Identifier: GPL-2.0-or-later
"""Token operations: the C table from C, the same called from Python, and a Python dict."""

from __future__ import annotations

from vmemu.core import ffi, lib
from vmemu.errors import EngineError
from vmemu.lab.bench.report import Line, Report
from vmemu.lab.bench.timing import clock

GOALS = {64: 5.0, 500_000: 30.0}  # ns for insert + lookup + remove
ROUNDS = {64: 2_000_000, 500_000: 1_000_000}
PYTHON_ROUNDS = 50_000


def _from_c(live: int) -> float:
    ns = float(lib.bench_tokens(live, ROUNDS[live]))
    if ns < 0:
        raise EngineError("the token table lost a token")
    return ns


def _from_python(live: int) -> float:
    table, value = ffi.new("struct table *"), ffi.new("uint64_t *")
    if lib.table_init(table, 4):
        raise EngineError("no memory for the token table")
    put, get, remove = lib.table_put, lib.table_get, lib.table_del
    for i in range(1, live + 1):
        put(table, i << 12, i)

    def work() -> None:
        for i in range(live + 1, live + 1 + PYTHON_ROUNDS):
            put(table, i << 12, i)
            get(table, (i - live // 2) << 12, value)
            remove(table, (i - live) << 12, value)

    seconds = clock(work)
    lib.table_free(table)
    return seconds / PYTHON_ROUNDS * 1e9


def _dict(live: int) -> float:
    table = {i << 12: i for i in range(1, live + 1)}

    def work() -> None:
        for i in range(live + 1, live + 1 + PYTHON_ROUNDS):
            table[i << 12] = i
            table.get((i - live // 2) << 12)
            table.pop((i - live) << 12)

    return clock(work) / PYTHON_ROUNDS * 1e9


def measure(report: Report, repeat: int) -> None:
    for live, goal in GOALS.items():
        called = min(_from_python(live) for _ in range(repeat))
        plain = min(_dict(live) for _ in range(repeat))
        best = min(_from_c(live) for _ in range(repeat + 2))
        text = f"called from Python {called:.0f} ns, Python dict {plain:.0f} ns"
        report.add(Line("tokens", f"insert + lookup + remove, {live:,} live", best, "ns", goal, reference=text))
