# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage-2 faults served synchronously: the time of a loop that faults on every page, less that of a loop that does not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

from vmemu.core import NO_LIMIT, PAGE_SIZE, ExitKind, ffi, lib
from vmemu.errors import EngineError
from vmemu.lab.bare import DATA, RAM, Guest, assembler
from vmemu.lab.bench.report import Line, Report
from vmemu.lab.bench.timing import clock
from vmemu.memory.store import FaultyStore

PAGES = 1536  # touched; 6 MiB
GOALS = {"free": 1.5, "dirty": 4.0, "python": 4.0}  # us
PYTHON_RAM = "fail:read@0xffffffff,ram:"  # makes Python keep the pages; the injector is then taken out of the way


def _touch(isa: str, store: bool, passes: int) -> bytes:
    """One load (and a store) in each page, `passes` times."""
    a = assembler(isa)
    a.li(0, 1)
    a.li(5, PAGE_SIZE)
    a.li(6, passes)
    a.label("pass")
    a.li(2, RAM[isa] + DATA)
    a.li(3, PAGES)
    a.label("page")
    a.load(4, 2, 16)
    a.addi(0, 3)
    if store:
        a.store(0, 2, 24)
    a.add(2, 5)
    a.dec_jnz(3, "page")
    a.dec_jnz(6, "pass")
    a.halt()
    return a.code()


def _guest(isa: str, code: bytes, frames: int | None = None, store: str = "c") -> Guest:
    g = Guest(isa, code, pages=DATA // PAGE_SIZE + PAGES + 8, frames=frames, store=store)
    for page in range(PAGES):
        g.write(DATA + page * PAGE_SIZE, b"content")
    return g


def _timed(g: Guest, run: Callable[[], object] | None = None) -> tuple[float, int]:
    """Seconds and page-ins of one run from the start to the end."""
    g.restart()
    before = g.machine.stats()["swap_in"]
    seconds = clock(run or (lambda: lib.vcpu_run(g.vcpu.ptr, NO_LIMIT, NO_LIMIT)))
    if g.vcpu.ptr.exit.kind not in (3, 4):
        raise EngineError(f"the benchmark's guest died: {ffi.string(lib.core_error()).decode()}")
    return seconds, g.machine.stats()["swap_in"] - before


def resident(isa: str, store: bool) -> float:
    """Seconds for one page when everything is resident: soft-TLB fills and the loop."""
    g = _guest(isa, _touch(isa, store, 1))
    _timed(g)
    return min(_timed(g)[0] for _ in range(3)) / PAGES


def with_free_frame(isa: str) -> float:
    """us a fault: every page is clean and swapped, every frame free."""
    g = _guest(isa, _touch(isa, False, 1), frames=DATA // PAGE_SIZE + PAGES + 8)
    for page in range(PAGES):  # as if written out and dropped: the store holds all, frames are free
        _swap_out(g, DATA + page * PAGE_SIZE)
    seconds, faults = _timed(g)
    if faults < PAGES:
        raise EngineError(f"{faults} faults where {PAGES} were expected")
    return seconds / faults * 1e6


def _swap_out(g: Guest, offset: int) -> None:
    index = g.machine.index(g.base + offset)
    if lib.s2_swap_out(g.machine.ptr, index):
        raise EngineError(ffi.string(lib.core_error()).decode())


def with_dirty_eviction(isa: str) -> float:
    """us a fault: each fault writes a dirty page to the store first."""
    g = _guest(isa, _touch(isa, True, 2), frames=512)
    _timed(g)
    before = g.machine.stats()
    seconds, faults = _timed(g)
    written = g.machine.stats()["swap_out"] - before["swap_out"]
    if written < faults * 9 // 10:
        raise EngineError(f"{written} pages written for {faults} faults: not dirty evictions")
    return seconds / faults * 1e6


def through_python(isa: str, store: str, dirty: bool) -> float:
    """us a fault that leaves C, is served by memory.Memory, and comes back."""
    g = _guest(isa, _touch(isa, dirty, 2), frames=512, store=store)
    memory, vcpu = g.memory, g.vcpu
    if memory is None:
        raise EngineError("not a store that Python keeps")
    if isinstance(memory.store, FaultyStore):
        memory.store = memory.store.inner
    serve, run, missing = memory.serve, vcpu.run, ExitKind.STAGE2

    def loop() -> None:
        while (x := run()).kind is missing:
            serve(vcpu, x.gpa)

    _timed(g, loop)
    seconds, faults = _timed(g, loop)
    memory.close()
    return seconds / faults * 1e6


def _python_stores(folder: str) -> dict[str, str]:
    return {"Python ram": PYTHON_RAM, "file: on tmpfs": f"file:{os.path.join(folder, 'swap')}"}


def measure(report: Report, isas: tuple[str, ...], repeat: int) -> None:
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    for isa in isas:
        base = min(resident(isa, False) for _ in range(repeat)) * 1e6
        text = f"resident {base:.3f} us; KVM exit-on-missing 2.9, userfaultfd 6.7 (design)"
        free = min(with_free_frame(isa) for _ in range(repeat))
        dirty = min(with_dirty_eviction(isa) for _ in range(repeat))
        report.add(Line("stage-2 fault", f"{isa}: ram:, free frame", free, "us", GOALS["free"], reference=text))
        report.add(Line("stage-2 fault", f"{isa}: ram:, dirty eviction", dirty, "us", GOALS["dirty"]))
        with tempfile.TemporaryDirectory(dir=shm) as folder:
            for name, store in _python_stores(folder).items():
                clean, written = (
                    min(through_python(isa, store, kind) for _ in range(repeat)) for kind in (False, True)
                )
                goal = GOALS["python"] if store == PYTHON_RAM else None
                text = f"with dirty eviction {written:.2f} us"
                report.add(Line("stage-2 fault", f"{isa}: {name}, clean drop", clean, "us", goal, reference=text))
