# SPDX-License-Identifier: GPL-2.0-or-later
"""DWARF in the built-in images: there, about sources of this repository by relative names, and never in a guest's memory."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from helpers.elfmaker import ISA_MACHINE, make_elf

from vmemu.machine import images
from vmemu.machine.elf import parse_elf

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("image", images.catalogue(), ids=lambda image: f"{image.isa}-{image.name}")
def test_every_image_has_debug_information(image: images.BuiltIn) -> None:
    elf = ELFFile(io.BytesIO(image.read()))
    assert elf.has_dwarf_info(strict=True)
    dwarf = elf.get_dwarf_info()
    functions = set()
    for unit in dwarf.iter_CUs():
        top = unit.get_top_DIE()
        assert top.attributes["DW_AT_comp_dir"].value == b"."
        source = top.attributes["DW_AT_name"].value.decode()
        assert not source.startswith("/") and (ROOT / source).is_file(), source
        folders = dwarf.line_program_for_CU(unit)["include_directory"]
        assert all((ROOT / folder.decode()).is_dir() and not folder.startswith(b"/") for folder in folders)
        functions |= {die.attributes["DW_AT_name"].value.decode() for die in top.iter_children()
                      if die.tag == "DW_TAG_subprogram" and "DW_AT_low_pc" in die.attributes and "DW_AT_name" in die.attributes}
    if image.kind == "kernel":
        assert {"kmain", "trap_fault", "token_wait"} <= functions and dwarf.has_CFI()
        marks = [e.cie["augmentation"] for e in dwarf.CFI_entries() if isinstance(e, FDE) and e.cie is not None]
        assert marks.count(b"zS") == {"x86_64": 2, "arm64": 2, "ppc64": 1}[image.isa]  # frames of interrupted code
    elif image.kind == "program":
        assert "main" in functions and dwarf.has_CFI()


@pytest.mark.parametrize("image", [i for i in images.catalogue() if i.kind == "program"], ids=lambda image: f"{image.isa}-{image.name}")
def test_what_a_guest_gets_is_what_is_loaded(image: images.BuiltIn) -> None:
    whole = image.load()
    kept = parse_elf("kept", whole.loadable, image.isa)
    assert (kept.segments, kept.entry, kept.pinned, kept.wants) == (whole.segments, whole.entry, whole.pinned, whole.wants)
    assert kept.symbols == {} and whole.symbols
    assert kept.loadable == kept.raw  # nothing more to drop
    debug = [s["sh_offset"] for s in ELFFile(io.BytesIO(whole.raw)).iter_sections() if s.name.startswith(".debug_")]
    assert len(kept.raw) == min(debug)


def test_an_image_without_debug_information_is_given_as_it_is() -> None:
    for machine, big in ISA_MACHINE.values():
        image = parse_elf("made", make_elf(machine, big, symbols=(("_start", 0x100000),)))
        assert image.loadable == image.raw
