# SPDX-License-Identifier: GPL-2.0-or-later
"""The gzip engine: how fast the host runs it, how many faults it handles, and what faults cost in virtual time."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable

from vmemu.errors import ConfigError
from vmemu.lab.bench.report import Line, Report
from vmemu.lab.bench.timing import clock, interleaved
from vmemu.lab.vas_rig import CSB, PAGE, SOURCE, TARGET, Request, Rig, crb, dde
from vmemu.machine.machine import Machine

#: Host MB of plain data a second, on one core.
COMPRESS_MB, DECOMPRESS_MB = 20.0, 50.0
SIZE = 1 << 20
FHT, INFLATE, WRAP = 0x00, 0x10, 0x1E
WORDS = ("guest", "page", "fault", "window", "credit", "engine", "paste", "switchboard", "hypervisor", "the", "of", "and", "a", "is", "it")


def text(size: int) -> bytes:
    """Words in a random order, always the same: compresses to about a third."""
    rng = random.Random(1)
    return " ".join(rng.choices(WORDS, k=size // 3)).encode()[:size]


def _job(request: Request, function: int, data: bytes) -> tuple[float, bytes]:
    """Host seconds of one job that must succeed, and what it made."""
    request.start(function, data, target=request.room)
    took = clock(request.rig.settle)
    got = request.outcome()
    assert got.valid and got.cc == 0, got.cc
    return took, got.data


def _zlib(data: bytes) -> bytes:
    made = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_FIXED)
    return made.compress(data) + made.flush()


def _throughput(report: Report, repeat: int) -> None:
    data = text(SIZE)
    request = Request(Rig(memory="32M"), most=SIZE)
    packed = _job(request, FHT, data)[1]
    assert zlib.decompress(packed, -15) == data
    inflate, theirs = zlib.compress(data)[2:-4], len(_zlib(data))
    zlib_deflate, zlib_inflate = interleaved(
        repeat, lambda: clock(lambda: _zlib(data)), lambda: clock(lambda: zlib.decompress(inflate, -15))
    )
    beside = f"zlib -1 {SIZE / zlib_deflate / 1e6:.0f} MB/s; {len(packed)} bytes, zlib {theirs}"
    for name, function, source, goal, reference in (
        ("compress (fixed table)", FHT, data, COMPRESS_MB, beside),
        ("decompress (own stream)", INFLATE, packed, DECOMPRESS_MB, f"zlib {SIZE / zlib_inflate / 1e6:.0f} MB/s"),
        ("decompress (zlib -6)", INFLATE, inflate, DECOMPRESS_MB, f"zlib {SIZE / zlib_inflate / 1e6:.0f} MB/s"),
        ("wrap", WRAP, data, None, ""),
    ):
        best = min(_job(request, function, source)[0] for _ in range(repeat))
        report.add(Line("host", name, SIZE / best / 1e6, "MB/s", goal, True, reference))


def _faults(report: Report, repeat: int) -> None:
    """Paste, translation fault, FIFO, interrupt, CSB by the kernel's part in Python, both credits: again and again."""
    rig = Rig()
    Request(rig)
    block, n = crb(WRAP, CSB, dde(0x1000, 8), dde(TARGET, 8)), 500

    def run() -> None:
        for _ in range(n):
            rig.paste(block)
            rig.settle()
            rig.serve_fault()

    (best,) = interleaved(repeat, lambda: clock(run))
    report.add(Line("host", "faults handled", n / best, "/s", reference="the kernel's part in Python included"))


def _virtual(report: Report) -> None:
    """The engine's own virtual time for 256 KiB: every page touched before, or each only when a fault names it."""
    size, took = 256 << 10, []
    for touched in (True, False):
        request = Request(Rig(), most=size)
        rig, data = request.rig, text(size)
        pages = [*range(SOURCE, SOURCE + size, PAGE), *range(TARGET, TARGET + size, PAGE)]
        for page in pages:
            rig.user_write(page, b"!")
        request.start(WRAP, data)
        block = crb(WRAP, CSB, dde(SOURCE, size), dde(TARGET, size))
        for page in [] if touched else pages:
            rig.away(page)
        rig.settle()
        faults = 0
        while (entry := rig.serve_fault()) is not None:
            faults += 1
            rig.user_read(int.from_bytes(entry[64:72], "big"), 1)
            rig.user_write(CSB, bytes(16))
            rig.paste(block)
            rig.settle()
        assert request.outcome().data == data
        took.append((rig.vas.engine.figures.busy_ns, faults))
    (plain, _), (faulting, faults) = took
    report.add(Line("virtual", "256 KiB, touched before", plain / 1e3, "us", reference=f"{size * 1000 // plain} MB/s"))
    each = f"{faults} faults, {(faulting - plain) / faults:.0f} ns each, engine only"
    report.add(Line("virtual", "256 KiB, a fault for each page", faulting / 1e3, "us", reference=each))


def _guest(report: Report) -> None:
    """What a program sees: nxgzip, 1 MiB, with and without touching every page of a request first. Virtual, so exact."""
    for resident in ("64M", "3M"):
        for touch in (1, 0):
            machine = Machine.boot("nxgzip", isa="ppc64", resident=resident, latency="nvme", append=f"size=1M touch={touch}")
            result = machine.run()
            machine.close()
            times = [int(us) for us in re.findall(rb"compressed 1048576 bytes in (\d+) us", result.output)]
            if result.status or len(times) != 2:
                raise ConfigError(f"nxgzip did not pass: {result.reason}")
            faults = result.extra["vas"]["faults"]
            told = ", ".join(f"{n} {kind}" for kind, n in faults.items()) or "none"
            name = f"nxgzip 1 MiB, {resident} resident, {'touched before' if touch else 'faulting'}"
            parts = f"compress {times[0]}, decompress {times[1]}; faults: {told}"
            report.add(Line("virtual", name, float(sum(times)), "us", reference=parts))


def measure(repeat: int, echo: Callable[[str], None]) -> Report:
    """All figures, printed through `echo`. Best of `repeat` for host times."""
    report = Report()
    _throughput(report, repeat)
    _faults(report, repeat)
    _virtual(report)
    _guest(report)
    report.print(echo)
    return report
