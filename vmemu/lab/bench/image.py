# SPDX-License-Identifier: GPL-2.0-or-later
"""The bare-metal image `bench-cpu`, run three ways: on vmemu, on plain Unicorn, on qemu-system.

The image prints one line for each kernel with a checksum that depends on the scale alone, and powers off. `mask` and `scale` are
patched into the file (symbol bench_config).
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vmemu.core import PAGE_SIZE
from vmemu.core.plain import EXEC, READ, WRITE, Plain
from vmemu.errors import EngineError
from vmemu.machine.elf import ElfImage, parse_elf
from vmemu.machine.images import find
from vmemu.machine.machine import Machine

KERNELS = ("loop", "sha256", "sort", "hash", "list", "crc")
QEMU = {"x86_64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64", "ppc64": "qemu-system-ppc64"}
#: The same clock rule as vmemu's: virtual time follows the instruction count, one nanosecond each, never the host's clock.
ICOUNT = ("-icount", "shift=0,sleep=off")
TIMEOUT = 300  # s, for one run of QEMU


@dataclass(frozen=True, slots=True)
class Run:
    """One run: processor seconds, instructions (0 = not counted), and what it printed."""

    seconds: float
    instructions: int
    output: str


def patched(isa: str, kernel: str, scale: int) -> ElfImage:
    """The image with one kernel chosen."""
    image = find("bench-cpu", isa).load()
    address = image.symbols["bench_config"]
    segment = next(s for s in image.segments if s.vaddr <= address < s.vaddr + len(s.data))
    config = struct.pack(">II" if image.big_endian else "<II", 1 << KERNELS.index(kernel), scale)
    at = address - segment.vaddr
    data = segment.data[:at] + config + segment.data[at + 8 :]
    where = image.raw.index(segment.data)
    return parse_elf(image.name, image.raw[:where] + data + image.raw[where + len(data) :], isa)


@contextlib.contextmanager
def saved(image: ElfImage) -> Iterator[str]:
    """The image as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench-cpu.elf")
        with open(path, "wb") as file:
            file.write(image.raw)
        yield path


def on_vmemu(isa: str, kernel: str, scale: int) -> Run:
    """Counted and charged by the exact engine, with the board around it."""
    out = bytearray()
    with saved(patched(isa, kernel, scale)) as path:
        machine = Machine.boot(path, isa=isa, console=out.extend)
    start = time.thread_time()
    result = machine.run()
    seconds = time.thread_time() - start
    machine.close()
    if result.status:
        raise EngineError(f"bench-cpu {kernel} on vmemu ended with status {result.status}: {result.reason}")
    return Run(seconds, result.instructions, out.decode("ascii", "replace"))


class _PlainMachine:
    """Just enough of each board for put_char and power_off."""

    def __init__(self, isa: str, image: ElfImage, virtual: bool) -> None:
        self.isa = isa
        self.out = bytearray()
        self.plain = Plain(isa, virtual=virtual)
        lo, hi = image.span()
        lo, hi = lo & ~(PAGE_SIZE - 1), -(-hi // PAGE_SIZE) * PAGE_SIZE
        code = [s for s in image.segments if not s.flags & 2]
        border = max(-(-(s.paddr + s.memsz) // PAGE_SIZE) * PAGE_SIZE for s in code)
        self.plain.map(lo, border - lo, READ | EXEC)
        self.plain.map(border, hi - border, READ | WRITE)
        for s in image.segments:
            self.plain.write(s.paddr, s.data)
        self.start = image.symbols["bench_start"]
        self.plain.serve_bench(self.out)


def on_plain(isa: str, kernel: str, scale: int, *, count: bool = False, virtual: bool = True) -> Run:
    """Plain Unicorn: fastest with its virtual TLB and an identity fill in C, which maps data without EXEC."""
    machine = _PlainMachine(isa, patched(isa, kernel, scale), virtual)
    if count:
        n = machine.plain.count(machine.start)
        return Run(0.0, n, machine.out.decode("ascii", "replace"))
    return Run(machine.plain.run(machine.start), 0, machine.out.decode("ascii", "replace"))


def qemu_path(isa: str) -> str | None:
    """qemu-system for `isa`, where it is installed."""
    return shutil.which(QEMU[isa])


def qemu_version(isa: str) -> str:
    path = qemu_path(isa)
    if path is None:
        return "not installed"
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=TIMEOUT)
    return done.stdout.split("\n", 1)[0]


def _flat(image: ElfImage, path: str) -> str:
    """The segments as a flat file from address 0, which pseries takes as its firmware."""
    flat = bytearray(max(s.paddr + len(s.data) for s in image.segments))
    for s in image.segments:
        flat[s.paddr : s.paddr + len(s.data)] = s.data
    with open(path + ".bin", "wb") as file:
        file.write(flat)
    return path + ".bin"


def on_qemu(isa: str, kernel: str, scale: int) -> Run:
    """Processor time of the whole process: subtract a run of scale 1 for what is not the kernel's."""
    image = patched(isa, kernel, scale)
    with saved(image) as path:
        options: dict[str, tuple[str, ...]] = {
            "x86_64": ("-M", "pc", "-kernel", path, "-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
            "arm64": ("-M", "virt", "-cpu", "cortex-a72", "-kernel", path),
            "ppc64": ("-M", "pseries", "-bios", _flat(image, path)),
        }
        command = [str(qemu_path(isa)), *options[isa], *ICOUNT, "-m", "256M", "-display", "none", "-monitor", "none",
                   "-serial", "stdio", "-no-reboot", "-nic", "none"]  # fmt: skip
        before = _children()
        done = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT, stdin=subprocess.DEVNULL)
        return Run(_children() - before, 0, done.stdout.decode("ascii", "replace").replace("\r", ""))


def _children() -> float:
    usage: Any = resource.getrusage(resource.RUSAGE_CHILDREN)
    return float(usage.ru_utime + usage.ru_stime)
