# SPDX-License-Identifier: GPL-2.0-or-later
"""The C unit: loading it, its errors, its self-test."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from vmemu.errors import EngineError

try:
    from vmemu.core import _core  # type: ignore[attr-defined]
except ImportError as error:  # pragma: no cover - only without a build
    raise EngineError(f"the C unit is not built ({error}): run `python cffi_build.py`") from None

ffi, lib = _core.ffi, _core.lib


def last_error() -> str:
    """What the C unit says about its last failure."""
    text: bytes = ffi.string(lib.core_error())
    return text.decode(errors="replace")


def check(result: int) -> None:
    """Raises EngineError for a negative result."""
    if result < 0:
        raise EngineError(last_error())


def _package(name: str) -> Path:
    """Folder of an installed package, without importing it: its library is opened by the C unit alone."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(f"{name} is not installed: pip install {name}")
    return Path(next(iter(spec.submodule_search_locations)))


def _load() -> None:
    folder = _package("unicorn") / "lib"
    found = sorted(folder.glob("libunicorn.so.2")) or sorted(folder.glob("libunicorn*"))
    if not found:
        raise EngineError(f"no libunicorn in {folder}: pip install unicorn==2.1.4")
    if lib.core_init(str(found[0]).encode(), str(_package("capstone") / "lib" / "libcapstone.so").encode()) < 0:
        raise EngineError(last_error())


_load()
_tested: set[str] = set()


def selftest(isa: str) -> None:
    """Check the facts about Unicorn that `isa` relies on, once a process.

    Raises:
        EngineError: a fact does not hold on this build; the text names it.
    """
    if isa not in _tested:
        check(lib.core_selftest(isa.encode()))
        _tested.add(isa)


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """CRC-32C (RFC 3720 B.4) of `data`."""
    return lib.crc32c(data if type(data) is bytes else ffi.from_buffer(data), len(data))  # type: ignore[no-any-return]
