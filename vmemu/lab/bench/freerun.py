# SPDX-License-Identifier: GPL-2.0-or-later
"""Free run of bench-cpu: vmemu against plain Unicorn and qemu-system, kernel by kernel."""

from __future__ import annotations

from statistics import median

from vmemu.errors import EngineError
from vmemu.lab.bench import image
from vmemu.lab.bench.image import KERNELS, Run
from vmemu.lab.bench.report import Line, Report
from vmemu.lab.bench.timing import interleaved

SCALE = 12  # units of a few million instructions
QEMU_FACTOR = 4  # QEMU runs longer, so that its start and its translation weigh less
PLAIN_MEDIAN, PLAIN_WORST, QEMU_MEDIAN, QEMU_WORST = 0.75, 0.65, 0.75, 0.6


def _same(isa: str, kernel: str, *runs: Run) -> None:
    """All printed the same line: the kernel ran to its end, and computed what it does everywhere."""
    outputs = {run.output for run in runs}
    if len(outputs) != 1 or f"bench-cpu {kernel} scale=" not in outputs.pop():
        raise EngineError(f"bench-cpu {kernel} on {isa} printed {[run.output for run in runs]}")


def counted(isa: str, kernel: str) -> tuple[int, int, int]:
    """Instructions of SCALE - 1 units, of a run on plain Unicorn, of a run on vmemu.

    The first is the same for vmemu and for plain Unicorn with a hook on every instruction: a difference of two runs, because
    the way into and out of the image is not the same.
    """
    ours = [image.on_vmemu(isa, kernel, scale) for scale in (1, SCALE)]
    theirs = [image.on_plain(isa, kernel, scale, count=True) for scale in (1, SCALE)]
    for a, b in zip(ours, theirs, strict=True):
        _same(isa, kernel, a, b)
    n, expected = (runs[1].instructions - runs[0].instructions for runs in (ours, theirs))
    if n != expected:
        raise EngineError(f"bench-cpu {kernel} on {isa}: vmemu counts {n} instructions, plain Unicorn runs {expected}")
    return n, theirs[1].instructions, ours[1].instructions


def measure_kernel(isa: str, kernel: str, repeat: int) -> dict[str, float]:
    """Million instructions a second of each engine, over the same units of work."""
    units, of_plain, of_vmemu = counted(isa, kernel)
    plain, ours = interleaved(
        repeat, lambda: image.on_plain(isa, kernel, SCALE).seconds, lambda: image.on_vmemu(isa, kernel, SCALE).seconds
    )
    rates = {"plain": of_plain / plain / 1e6, "vmemu": of_vmemu / ours / 1e6}
    if image.qemu_path(isa):
        scale = QEMU_FACTOR * (SCALE - 1) + 1
        long, short = image.on_qemu(isa, kernel, scale), image.on_qemu(isa, kernel, 1)
        _same(isa, kernel, short, image.on_vmemu(isa, kernel, 1))
        seconds = long.seconds, short.seconds
        for _ in range(min(repeat, 3) - 1):
            seconds = (min(seconds[0], image.on_qemu(isa, kernel, scale).seconds),
                       min(seconds[1], image.on_qemu(isa, kernel, 1).seconds))  # fmt: skip
        rates["qemu"] = QEMU_FACTOR * units / max(seconds[0] - seconds[1], 1e-9) / 1e6
    return rates


def measure(report: Report, isas: tuple[str, ...], repeat: int) -> None:
    for isa in isas:
        of_plain: list[float] = []
        of_qemu: list[float] = []
        version = image.qemu_version(isa)
        for kernel in KERNELS:
            rates = measure_kernel(isa, kernel, repeat)
            report.details.setdefault("free_run_mips", {})[f"{isa} {kernel}"] = rates
            of_plain.append(rates["vmemu"] / rates["plain"])
            text = f"vmemu {rates['vmemu']:.0f}, plain {rates['plain']:.0f}"
            if "qemu" in rates:
                of_qemu.append(rates["vmemu"] / rates["qemu"])
                text += f", qemu {rates['qemu']:.0f} ({of_qemu[-1]:.2f})"
            report.add(Line("free run", f"{isa} {kernel}: of plain Unicorn", of_plain[-1], "", reference=f"{text} MIPS"))
        report.add(_ratio(f"{isa}: of plain Unicorn, median", median(of_plain), PLAIN_MEDIAN, "unicorn 2.1.4"))
        report.add(_ratio(f"{isa}: of plain Unicorn, worst", min(of_plain), PLAIN_WORST, "unicorn 2.1.4"))
        if of_qemu:
            report.add(_ratio(f"{isa}: of QEMU -icount, median", median(of_qemu), QEMU_MEDIAN, version))
            report.add(_ratio(f"{isa}: of QEMU -icount, worst", min(of_qemu), QEMU_WORST, version))


def _ratio(name: str, figure: float, goal: float, reference: str) -> Line:
    return Line("free run", name, figure, "", goal, at_least=True, reference=reference)
