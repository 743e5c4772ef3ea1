# SPDX-License-Identifier: GPL-2.0-or-later
"""Build the guest images: kernels, user programs, the bare-metal benchmark and the boards' firmware.

    python guest_images/build.py              build everything and write images/, manifest.json and firmware ELFs
    python guest_images/build.py --check      build into a temporary folder and compare with the committed files
    python guest_images/build.py --isa arm64 --only kernel --only hello

The cross compiler is the ``ziglang`` wheel (clang and lld for all three targets) at exactly one version, so that the
committed files can be rebuilt byte for byte: no build ids, absolute paths or times go in. Debug information names sources relative
to the repository; it lies in compressed sections that no guest ever sees (ElfImage.loadable), and costs no instruction. Next to
frame directives clang orders instructions differently, so that arm64 and ppc64 code built without it is as long, but not the same.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ZIGLANG = "0.15.2"
ROOT = Path(__file__).resolve().parent.parent
GUEST = Path("guest_images")
WORK = Path("build/guest")  # git-ignored: objects and zig's caches


class BuildError(Exception):
    """The build cannot go on; the message tells what to do."""


@dataclass(frozen=True)
class Isa:
    """One target: its firmware board and compiler flags; the kernel and programs use integer registers only."""

    name: str
    board: str
    flags: tuple[str, ...]
    kernel_flags: tuple[str, ...] = ()


ISAS: dict[str, Isa] = {
    isa.name: isa
    for isa in (
        # The kernel lives at 0xffff8000_00000000, out of reach of -mcmodel=kernel: RIP-relative code, and everything
        # hidden so that no access goes through a GOT.
        # zig's own CPU features come after -mgeneral-regs-only and win: say it in -mcpu.
        Isa(
            "x86_64",
            "pc",
            ("-target", "x86_64-freestanding-none", "-mcpu=x86_64-sse-sse2-mmx+soft_float"),
            ("-mno-red-zone", "-fpie", "-include", "guest_images/kernel/hidden.h"),
        ),
        # No FP and SIMD (zig drops -mgeneral-regs-only for this target); LSE atomics are not assumed; unaligned accesses
        # fault while the MMU is off.
        Isa(
            "arm64",
            "virt",
            ("-target", "aarch64-freestanding-none", "-mcpu=generic-neon-fp_armv8", "-mno-outline-atomics", "-mstrict-align"),
        ),
        # Big-endian ELFv2. clang has no -mgeneral-regs-only for PowerPC: take every vector and FP feature away.
        Isa(
            "ppc64",
            "pseries",
            (
                "-target",
                "powerpc64-freestanding-none",
                "-mcpu=pwr9-altivec-vsx-power8_vector-power9_vector-direct_move-power8_altivec-power9_altivec"
                "-crypto-float128-hard_float-fpu",
            ),
        ),
    )
}

CFLAGS = (
    *("-std=gnu11", "-O2", "-gdwarf-4", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-stack-protector"),
    *("-fno-sanitize=all", "-fno-ident", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
    *("-fomit-frame-pointer", "-fno-strict-aliasing", "-fno-common", "-ffile-prefix-map=.=.", "-fdebug-compilation-dir=."),
    "-Wno-unused-command-line-argument",
)
LDFLAGS = ("-nostdlib", "-static", "--build-id=none", "--compress-debug-sections=zlib", "-z", "noexecstack", "-z", "max-page-size=4096")

PROGRAMS: dict[str, str] = {
    "hello": "prints the architecture, memory size and its arguments",
    "walk": "writes and re-reads a pattern over pages=N pages, passes=M times; prints a checksum",
    "tasks": "tasks=N preempted tasks in separate address spaces, each verifying its own data",
    "storm": "tasks=N random touches of more memory than is resident, by many tasks; verifies every page, prints a checksum",
    "duel": "tasks=N touch a few pages each that somebody takes away; for explorers, which start at the line it prints",
    "bm": "fault=N tasks touch random pages while work=N compute for ms=T of virtual time; prints the work done",
    "apf-suite": "one task sweeps pages=N passes=M times while another computes work=W units, or none; prints the times",
    "apf-mix": "tasks=N tasks touch touches=T random pages of pages=P each and compute think=K after each; prints the time",
    "usertests": "self-tests of the kernel's system calls, memory and signals",
    "nxgzip": "ppc64: compresses size=N bytes with the NX engine and back, in tasks=N with a window each; verifies, prints rates",
    "vas-edge": "ppc64: windows, paste addresses, request blocks and faults of the NX engine at their edges",
    "esn-edge": "ppc64: hypercalls, VPA and ring of expropriation notifications at the edges of what they allow",
    "apf-edge": "x86-64: KVM asynchronous page faults in their corner cases, seen from the guest",
    "sdei-edge": "arm64: calls of SDEI and of the async PF service, legal and illegal, in every state",
    "dma-net": "ppc64: packets through a network card's DMA window, mapped one by one, many at a time, or all at once",
}
#: Folders of programs/ whose sources a program shares with others.
SHARED: dict[str, tuple[str, ...]] = {"nxgzip": ("nx",), "vas-edge": ("nx",)}
BENCH = "bench-cpu"
BENCH_TEXT = "bare-metal integer benchmark: loop, sha256, sort, hash, list, crc; needs no kernel and no device tree"


@dataclass(frozen=True)
class Image:
    """One ELF file to build: where it goes, what it is made of and how it is linked."""

    isa: str
    program: str
    output: Path
    sources: tuple[Path, ...]
    script: Path
    includes: tuple[Path, ...]
    flags: tuple[str, ...]
    description: str
    folder: Path = field(default=Path())


def sources_in(*folders: Path) -> tuple[Path, ...]:
    """All C and assembler files of the folders, in a fixed order, as paths relative to the repository."""
    found = [p for folder in folders for p in (ROOT / folder).glob("*") if p.suffix in (".c", ".S")]
    return tuple(sorted(p.relative_to(ROOT) for p in found))


def images(isa: Isa) -> list[Image]:
    """Every image of one architecture; those whose sources do not exist are left out."""
    kernel, programs, out = GUEST / "kernel", GUEST / "programs", GUEST / "images" / isa.name
    arch, firmware = kernel / "arch" / isa.name, Path("firmware") / isa.board
    libs = (programs / "lib", programs / "lib" / isa.name)
    result = [
        Image(
            isa.name,
            "kernel",
            out / "kernel.elf",
            sources_in(arch, kernel),
            arch / "kernel.ld",
            (kernel, arch, GUEST / "include"),
            isa.kernel_flags,
            "test guest kernel",
            kernel,
        ),
        Image(
            isa.name,
            "firmware",
            firmware / "firmware.elf",
            sources_in(firmware),
            firmware / "firmware.ld",
            (firmware,),
            isa.kernel_flags[:2],
            f"reset code of the {isa.board} board",
            firmware,
        ),
        Image(
            isa.name,
            BENCH,
            out / f"{BENCH}.elf",
            sources_in(programs / BENCH, programs / BENCH / isa.name),
            programs / BENCH / isa.name / "bench.ld",
            (programs / BENCH, programs / BENCH / isa.name),
            (),
            BENCH_TEXT,
            programs / BENCH,
        ),
    ]
    for name, text in PROGRAMS.items():
        single = programs / f"{name}.c"
        own = (single,) if (ROOT / single).exists() else sources_in(programs / name, programs / name / isa.name)
        source = single if (ROOT / single).exists() else programs / name
        if not own:  # a program of other architectures
            continue
        shared = tuple(programs / folder for folder in SHARED.get(name, ()))
        result.append(
            Image(
                isa.name,
                name,
                out / f"{name}.elf",
                own + sources_in(*shared, *libs),
                programs / "user.ld",
                (*shared, programs / "lib", programs / "lib" / isa.name, GUEST / "include"),
                (),
                text,
                source,
            )
        )
    return [image for image in result if (ROOT / image.script).exists()]


def check_toolchain() -> None:
    """Raise BuildError unless the pinned ziglang is installed for this interpreter."""
    try:
        version = importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        raise BuildError(f"ziglang is not installed for {sys.executable}: pip install ziglang=={ZIGLANG}") from None
    if version != ZIGLANG:
        raise BuildError(
            f"ziglang {version} found, but images are reproducible only with {ZIGLANG}: pip install ziglang=={ZIGLANG}"
        )


def zig(*args: str) -> None:
    """Run one zig command in the repository root with its caches inside the build folder."""
    env = dict(os.environ)
    env["ZIG_GLOBAL_CACHE_DIR"] = str(ROOT / WORK / "zig-cache")
    env["ZIG_LOCAL_CACHE_DIR"] = str(ROOT / WORK / "zig-cache")
    env["SOURCE_DATE_EPOCH"] = "0"
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", *args], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BuildError(f"zig {' '.join(args)}\n{done.stdout}{done.stderr}")
    if done.stderr:
        sys.stderr.write(done.stderr)


def compile_one(image: Image, source: Path, target: Path) -> None:
    """Compile one source file to an object."""
    flags = [*ISAS[image.isa].flags, *CFLAGS, *image.flags]
    if source.suffix == ".S":  # the assembler must not see C declarations
        flags = [f for f in flags if f not in ("-include", "guest_images/kernel/hidden.h")]
    includes = [f"-I{path}" for path in image.includes]
    zig("cc", *flags, *includes, "-c", str(source), "-o", str(target))


def build(image: Image, work: Path, pool: ThreadPoolExecutor) -> bytes:
    """Compile and link one image; return the ELF file's bytes."""
    if not image.sources:
        raise BuildError(f"{image.output}: no source files in {image.folder}")
    folder = work / image.isa / image.program
    (ROOT / folder).mkdir(parents=True, exist_ok=True)
    objects = [folder / (str(source).replace("/", "_") + ".o") for source in image.sources]
    for _ in pool.map(lambda pair: compile_one(image, *pair), zip(image.sources, objects, strict=True)):
        pass
    linked = folder / f"{image.program}.elf"
    zig("ld.lld", *LDFLAGS, "-T", str(image.script), *map(str, objects), "-o", str(linked))
    return (ROOT / linked).read_bytes()


def entry(image: Image, data: bytes) -> dict[str, str | int]:
    """The manifest's record of one image."""
    return {
        "isa": image.isa,
        "program": image.program,
        "source": str(image.folder),
        "description": image.description,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def compare(built: dict[Path, bytes], manifest: bytes, whole: bool) -> list[str]:
    """Lines that tell how the committed files differ from the built ones."""
    wanted = dict(built)
    if whole:
        wanted[GUEST / "images/manifest.json"] = manifest
    lines = []
    for path, data in sorted(wanted.items()):
        if not (ROOT / path).exists():
            lines.append(f"missing  {path}")
        elif (old := (ROOT / path).read_bytes()) != data:
            shared = min(len(old), len(data))
            first = next((i for i in range(shared) if old[i] != data[i]), shared)
            lines.append(f"differs  {path}: {len(old)} bytes committed, {len(data)} built, first at {first:#x}")
    if whole:
        present = {p.relative_to(ROOT) for p in (ROOT / GUEST / "images").rglob("*.elf")}
        lines += [f"stray    {path}" for path in sorted(present - set(built))]
    return lines


def write(built: dict[Path, bytes], manifest: bytes) -> None:
    """Write the images and the manifest in place."""
    for path, data in {**built, GUEST / "images/manifest.json": manifest}.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_bytes(data)


def run(options: argparse.Namespace, work: Path) -> int:
    """Build what the options ask for; write or compare. Exit status 0 or 1."""
    check_toolchain()
    todo = [
        image
        for name in options.isa or ISAS
        for image in images(ISAS[name])
        if not options.only or image.program in options.only
    ]
    if not todo:
        raise BuildError("nothing to build: no image has that name, or its linker script does not exist")
    with ThreadPoolExecutor(2) as pool:
        built = {image.output: build(image, work, pool) for image in todo}
    whole = not options.isa and not options.only
    manifest_path = ROOT / GUEST / "images/manifest.json"
    records: dict[str, dict[str, str | int]] = {}
    if not whole and manifest_path.exists():
        records = json.loads(manifest_path.read_text())["images"]
    records |= {str(image.output): entry(image, built[image.output]) for image in todo}
    text = json.dumps({"toolchain": f"ziglang {ZIGLANG}", "images": dict(sorted(records.items()))}, indent=2) + "\n"
    if options.check:
        lines = compare(built, text.encode(), whole)
        for line in lines:
            print(line)
        print(f"{len(built)} images: {'all as committed' if not lines else f'{len(lines)} differences'}")
        return 1 if lines else 0
    write(built, text.encode())
    for path, data in built.items():
        print(f"{len(data):8d}  {path}")
    return 0


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(description="build the guest images")
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing")
    parser.add_argument("--isa", action="append", choices=sorted(ISAS), help="only this architecture (repeatable)")
    parser.add_argument("--only", action="append", metavar="PROGRAM", help="only this program (repeatable)")
    options = parser.parse_args()
    (ROOT / WORK).mkdir(parents=True, exist_ok=True)
    try:
        if not options.check:
            return run(options, WORK)
        with tempfile.TemporaryDirectory(prefix="check-", dir=ROOT / WORK) as scratch:
            return run(options, Path(scratch).relative_to(ROOT))
    except BuildError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
