# SPDX-License-Identifier: GPL-2.0-or-later
"""The built-in images: kernels, programs and firmware that come with vmemu, in a checkout or inside the wheel.

Both have the same layout under one root: ``guest_images/images/manifest.json``, the images beside it, and
``firmware/<board>/firmware.elf``; the manifest names every file with its size and sha256.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vmemu.errors import ConfigError
from vmemu.machine.elf import ElfImage, parse_elf, read_image

MANIFEST = Path("guest_images/images/manifest.json")
ISAS = ("x86_64", "arm64", "ppc64")
#: What `vmemu boot` takes by name: a program runs as the first program of the test kernel, a bare image runs alone.
BOOTABLE = ("program", "bare")


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """One entry of the manifest. `kind` is kernel, firmware, program or bare."""

    name: str
    isa: str
    kind: str
    description: str
    path: Path
    size: int
    sha256: str

    def read(self) -> bytes:
        """The file's bytes, checked against the manifest."""
        data = read_image(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ConfigError(f"{self.path}: differs from the manifest; rebuild it (make images) or reinstall vmemu")
        return data

    def load(self) -> ElfImage:
        return parse_elf(self.path.name, self.read(), self.isa)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "isa": self.isa,
            "kind": self.kind,
            "description": self.description,
            "size": self.size,
            "sha256": self.sha256,
            "path": str(self.path),
        }


def root() -> Path:
    """The folder that holds the images: the checkout's, or vmemu/_data of an installed wheel."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_data", package.parent):
        if (folder / MANIFEST).is_file():
            return folder
    raise ConfigError("no built-in images: neither in the installed package nor in a checkout; run `make images`")


@cache
def catalogue() -> tuple[BuiltIn, ...]:
    """Every built-in image, by name and architecture."""
    base = root()
    try:
        records = json.loads((base / MANIFEST).read_text())["images"]
        return tuple(sorted(
            (
                BuiltIn(
                    r["program"], r["isa"], r.get("kind") or _kind(r["program"]), r["description"], base / path,
                    r["size"], r["sha256"],
                )
                for path, r in records.items()
            ),
            key=lambda image: (image.name, ISAS.index(image.isa)),
        ))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{base / MANIFEST}: unreadable manifest ({type(error).__name__}: {error})") from None


def _kind(program: str) -> str:
    if program in ("kernel", "firmware"):
        return program
    return "bare" if program.startswith("bench-") else "program"


def find(name: str, isa: str) -> BuiltIn:
    """The image of this name for this architecture."""
    named = [image for image in catalogue() if image.name == name]
    for image in named:
        if image.isa == isa:
            return image
    if named:
        raise ConfigError(f"{name} is not built for {isa}, only for {' '.join(i.isa for i in named)}")
    raise ConfigError(f"no built-in image {name!r}; `vmemu images` lists them")


def bootable(name: str) -> bool:
    """Is this the name of an image that `vmemu boot` can run?"""
    return any(image.name == name and image.kind in BOOTABLE for image in catalogue())


def names() -> list[str]:
    """Names that `vmemu boot` takes."""
    return sorted({image.name for image in catalogue() if image.kind in BOOTABLE})
