# SPDX-License-Identifier: GPL-2.0-or-later
"""The built-in images: found, listed, checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.elfmaker import ISA_MACHINE, make_elf

from vmemu.errors import ConfigError
from vmemu.machine import images


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small set of images under tmp_path."""
    records = {}
    for isa, name, where in (
        ("arm64", "walk", "guest_images/images/arm64/walk.elf"),
        ("arm64", "kernel", "guest_images/images/arm64/kernel.elf"),
        ("arm64", "firmware", "firmware/virt/firmware.elf"),
        ("ppc64", "walk", "guest_images/images/ppc64/walk.elf"),
        ("ppc64", "bench-cpu", "guest_images/images/ppc64/bench-cpu.elf"),
    ):
        machine, big = ISA_MACHINE[isa]
        data = make_elf(machine, big)
        (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / where).write_bytes(data)
        records[where] = {
            "program": name, "isa": isa, "description": f"{name} for tests", "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    (tmp_path / images.MANIFEST).write_text(json.dumps({"images": records}))
    monkeypatch.setattr(images, "root", lambda: tmp_path)
    images.catalogue.cache_clear()
    yield tmp_path
    images.catalogue.cache_clear()


@pytest.mark.usefixtures("tree")
def test_catalogue() -> None:
    assert [(i.name, i.isa, i.kind) for i in images.catalogue()] == [
        ("bench-cpu", "ppc64", "bare"), ("firmware", "arm64", "firmware"), ("kernel", "arm64", "kernel"),
        ("walk", "arm64", "program"), ("walk", "ppc64", "program"),
    ]
    assert images.names() == ["bench-cpu", "walk"]
    assert images.bootable("walk") and not images.bootable("firmware") and not images.bootable("x")
    assert images.find("walk", "ppc64").load().big_endian


@pytest.mark.usefixtures("tree")
def test_what_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no built-in image 'wolk'"):
        images.find("wolk", "arm64")
    with pytest.raises(ConfigError, match="walk is not built for x86_64, only for arm64 ppc64"):
        images.find("walk", "x86_64")


def test_a_changed_file_is_refused(tree: Path) -> None:
    image = images.find("walk", "arm64")
    image.path.write_bytes(image.path.read_bytes() + b"!")
    with pytest.raises(ConfigError, match="differs from the manifest"):
        image.load()
    image.path.unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        image.load()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": []}', '{"images": {"a": {}}}', '{"images": {"a": 3}}'])
def test_a_broken_manifest_is_one_line(tree: Path, text: str) -> None:
    (tree / images.MANIFEST).write_text(text)
    with pytest.raises(ConfigError, match="unreadable manifest") as error:
        images.catalogue()
    assert "\n" not in str(error.value)
