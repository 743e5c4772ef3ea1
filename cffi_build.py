# SPDX-License-Identifier: GPL-2.0-or-later
"""Build the C units, one for each room that has any: ``python cffi_build.py`` (in place), or through setuptools (``cffi_modules``).

Needs only gcc and the packages in pyproject.toml: headers of Unicorn and capstone come from their wheels, their libraries are
opened at run time. Tables of registers are generated from the isa room's declarations, so that both sides share one list.
``VMEMU_SANITIZE=1`` builds with ASan and UBSan.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent
SRC = Path("vmemu/core/src")
GENERATED = Path("build/generated")
ISAS = ("x86_64", "arm64", "ppc64")
UNICORN_HEADER = {"x86_64": "x86", "arm64": "arm64", "ppc64": "ppc"}


def package_include(package: str) -> str:
    """The `include` folder that a wheel carries. The package itself is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"cffi_build: {package} is not installed: pip install {package}")
    folder = Path(next(iter(spec.submodule_search_locations))) / "include"
    if not folder.is_dir():
        raise SystemExit(f"cffi_build: {package}'s wheel has no headers at {folder}")
    return str(folder)


def write_if_changed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def generate_registers(isa: str) -> None:
    """gen_regs_<isa>.h: R_<ISA>_<NAME> indexes, and Unicorn's ids (-1: served by the architecture's own code)."""
    sys.path.insert(0, str(ROOT))
    try:
        registers = importlib.import_module(f"vmemu.isa.{isa}").ISA.registers
    finally:
        sys.path.pop(0)
    upper = isa.upper()
    lines = [f"/* generated from vmemu/isa/{isa}: do not edit */"]
    lines += ["#include <unicorn/unicorn.h>", f"#include <unicorn/{UNICORN_HEADER[isa]}.h>"]
    lines.append("enum {")
    lines += [f"    R_{upper}_{r.name.upper()} = {i}," for i, r in enumerate(registers)]
    lines.append(f"    N_{upper} = {len(registers)}")
    lines.append("};")
    lines.append(f"static const int regs_{isa}_uc[] = {{")
    lines += [f"    {r.uc or -1}," for r in registers]
    lines.append("};")
    write_if_changed(ROOT / GENERATED / f"gen_regs_{isa}.h", "\n".join(lines) + "\n")


def unit(name: str, src: Path, headers: Sequence[str], include: Sequence[str] = (), libraries: Sequence[str] = ()) -> FFI:
    """An extension of all the C files of a folder, whose cdef.h says what Python sees."""
    os.chdir(ROOT)
    builder = FFI()
    builder.cdef((ROOT / src / "cdef.h").read_text())
    flags = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-fvisibility=hidden"]
    link: list[str] = []
    if os.environ.get("VMEMU_SANITIZE"):
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
        flags += sanitize
        link += sanitize
    builder.set_source(
        name,
        "".join(f'#include "{header}"\n' for header in headers),
        sources=sorted(str(p) for p in src.glob("*.c")),
        include_dirs=[str(src), *include],
        depends=sorted(str(p) for folder in (src, *map(Path, include)) if not folder.is_absolute() for p in folder.glob("*.h")),
        libraries=list(libraries),
        extra_compile_args=flags,
        extra_link_args=link,
        py_limited_api=False,  # one file name from every way to build it: an old one must not hide a new one
    )
    return builder


def make() -> FFI:
    """The engine."""
    os.chdir(ROOT)
    for isa in ISAS:
        generate_registers(isa)
    include = (str(GENERATED), package_include("unicorn"), package_include("capstone"))
    return unit("vmemu.core._core", SRC, ("core.h", "api.h"), include, ("dl",))


ffibuilder = make()
nx = unit("vmemu.devices._nx", Path("vmemu/devices/src"), ("nx.h",))
tce = unit("vmemu.protocols.tce._tce", Path("vmemu/protocols/tce/src"), ("api.h",), (str(SRC),))  # core's public header

if __name__ == "__main__":
    for builder in (ffibuilder, nx, tce):
        print(builder.compile(verbose="-v" in sys.argv))
