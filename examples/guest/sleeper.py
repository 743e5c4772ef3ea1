# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is not vmemu's, explored: docs/exploring.md.

    vmemu explore examples/guest/sleeper.py:sleeper

It is built when it is needed and missing, by the compiler in the `ziglang` wheel.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from vmemu.lab.explore.scenario import Scenario

HERE = Path(__file__).parent
FLAGS = (
    "-target", "x86_64-freestanding-none", "-mcpu=x86_64-sse-sse2-mmx+soft_float", "-mno-red-zone", "-O2", "-ffreestanding", "-nostdlib",
    "-static", "-Wno-excessive-regsave", f"-Wl,-T,{HERE / 'sleeper.ld'}",
)  # fmt: skip


def build(name: str, *flags: str) -> str:
    """The image's path; built anew when the source is younger."""
    folder = Path(os.environ.get("SLEEPER_BUILD", Path(tempfile.gettempdir()) / f"vmemu-sleeper-{os.getuid()}"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    image, source = folder / name, HERE / "sleeper.c"
    if not image.exists() or image.stat().st_mtime < max(source.stat().st_mtime, (HERE / "sleeper.ld").stat().st_mtime):
        fresh = folder / f".{name}.{os.getpid()}"
        subprocess.run([sys.executable, "-m", "ziglang", "cc", *FLAGS, *flags, "-o", str(fresh), str(source)], check=True)
        fresh.rename(image)
    return str(image)


def scenario(name: str, text: str, image: str) -> Scenario:
    """From the line "go" on, with all eight pages away."""
    return Scenario(
        name=name,
        text=text,
        image=image,
        options={"apf": "kvm", "latency": "nvme", "memory": "8M", "pin": ("0-2M",)},
        start="output:go\n",
        setup=tuple(f"evict {0x40_0000 + 4096 * i:#x}" for i in range(8)),
        cycles=20_000_000,
        actions=("evict", "complete", "delay"),
        events=("apf.io:delay=100us",),
    )


sleeper = scenario("sleeper", "reads eight pages that are away; its handler can miss the interrupt", build("sleeper.elf"))
careful = scenario("careful", "the same with a handler that is right", build("careful.elf", "-DCAREFUL"))
