# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest programs must print, computed on the host; and a way to run the vmemu command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vmemu

ISAS = ("x86_64", "arm64", "ppc64")
_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


def mix64(x: int) -> int:
    """splitmix64's finalizer."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
    return x ^ x >> 31


def walk_checksum(pages: int, passes: int) -> str:
    """The checksum that `walk` prints (its source says how), as it prints it."""
    total = 0
    for p in range(1, passes + 1):
        for i in range(pages):
            word = mix64(i << 32 | p) + i % 512 * _STEP & _MASK
            total = (total << 5 & _MASK | total >> 59) ^ word
    return f"checksum=0x{total:016x}"


def storm_checksum(tasks: int, pages: int, passes: int, seed: int = 1) -> str:
    """The checksum that `storm` prints (its source says how), as it prints it."""
    total = 0
    for t in range(1, tasks + 1):
        sum_ = 0
        for p in range(1, passes + 1):
            order = list(range(pages))
            for n in range(pages - 1, 0, -1):
                other = mix64(seed ^ t << 40 ^ p << 20 ^ n) % (n + 1)
                order[n], order[other] = order[other], order[n]
            for i in order:
                word = mix64(seed ^ t << 40 ^ i << 16 ^ p - 1) + i % 512 * _STEP & _MASK
                sum_ = (sum_ << 5 & _MASK | sum_ >> 59) ^ word
        total ^= sum_
    return f"checksum=0x{total:016x}"


@dataclass
class Ran:
    """One finished vmemu command."""

    status: int
    out: str
    err: str
    json: dict[str, Any]


def environment(**more: str) -> dict[str, str]:
    """The environment for a child that must import this vmemu, installed or not."""
    return {**os.environ, "PYTHONPATH": str(Path(vmemu.__file__).parent.parent), **more}


def run_vmemu(*arguments: str, cwd: Path, timeout: float = 120) -> Ran:
    """Run the command in `cwd`, as a user does. A `--json FILE` among the arguments is read back."""
    done = subprocess.run(
        [sys.executable, "-m", "vmemu", *arguments], cwd=cwd, capture_output=True, text=True, timeout=timeout,
        errors="replace", env=environment(),
    )
    report: dict[str, Any] = {}
    if "--json" in arguments:
        path = cwd / arguments[arguments.index("--json") + 1]
        if path.is_file() and path.stat().st_size:
            report = json.loads(path.read_text())
    return Ran(done.returncode, done.stdout, done.stderr, report)
