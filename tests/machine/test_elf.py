# SPDX-License-Identifier: GPL-2.0-or-later
"""The ELF loader: good images in every flavour, and nothing but ConfigError for the others."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import elfmaker
from helpers.elfmaker import make_elf, note, wants
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.errors import ConfigError
from vmemu.machine import images
from vmemu.machine.boot import BootOptions, Plan, as_wanted
from vmemu.machine.elf import SLEEPER_WORDS, load_elf, parse_elf
from vmemu.machine.facility import load_rooms


@pytest.mark.parametrize(("machine", "big", "bits", "isa"), [
    (elfmaker.EM_X86_64, False, 64, "x86_64"),
    (elfmaker.EM_386, False, 32, "x86_64"),
    (elfmaker.EM_AARCH64, False, 64, "arm64"),
    (elfmaker.EM_PPC64, True, 64, "ppc64"),
    (elfmaker.EM_PPC64, False, 64, "ppc64"),
])
def test_flavours(machine: int, big: bool, bits: int, isa: str) -> None:
    raw = make_elf(
        machine, big, bits,
        segments=((0x100000, 0x100000, b"text", 4096), (0x200000, 0x300000, b"", 64)),
        notes=note([(1, 2)], big, b"other\0") + note([(0x100000, 0x200000), (0, 0x1000)], big),
        symbols=(("start", 0x100000), ("kmain", 0x100040)),
    )
    image = parse_elf("k.elf", raw, isa)
    assert (image.isa, image.bits, image.big_endian, image.entry) == (isa, bits, big, 0x100000)
    assert [(s.vaddr, s.paddr, s.data, s.memsz) for s in image.segments] == [
        (0x100000, 0x100000, b"text", 4096), (0x200000, 0x300000, b"", 64),
    ]
    assert image.pinned == ((0x100000, 0x200000), (0, 0x1000))
    assert image.symbols == {"start": 0x100000, "kmain": 0x100040}
    assert image.span() == (0x100000, 0x300040)


def test_the_note_of_running_tasks() -> None:
    assert parse_elf("k", make_elf()).tasks is None
    for big, machine in ((False, elfmaker.EM_X86_64), (True, elfmaker.EM_PPC64)):
        raw = make_elf(machine, big, notes=note([(1, 2)], big) + note([(0xFFFF8000_00100040, 16)], big, kind=2))
        image = parse_elf("k", raw)
        assert (image.pinned, image.tasks, image.sleepers) == (((1, 2),), (0x100040, 16), None)


def test_the_note_of_boot_options() -> None:
    """An image may ask for a facility; a user who says otherwise has the last word."""
    for big, machine in ((True, 21), (False, 62)):
        image = parse_elf("x", make_elf(machine, big, notes=note([(1, 2)], big) + wants("tce=papr", big) + wants("vas=off", big)))
        assert image.wants == (("tce", "papr"), ("vas", "off")) and image.pinned == ((1, 2),)
        what = Plan(image.isa, image, None, None, image.wants)
        load_rooms()
        assert as_wanted(BootOptions(image="x"), what).tce == "papr"
        assert as_wanted(BootOptions(image="x", tce="qemu"), what).tce == "qemu"
    assert as_wanted(BootOptions(image="x"), Plan("ppc64", image, None, None, (("smp", "9"), ("nosuch", "1")))).smp == 1


def test_the_note_of_sleepers() -> None:
    for big, machine in ((False, elfmaker.EM_X86_64), (True, elfmaker.EM_PPC64)):
        raw = make_elf(machine, big, notes=note([(0x100040, 16)], big, kind=2) + note([(0xFFFF8000_00100100, 9)], big, kind=3))
        image = parse_elf("k", raw)
        assert (image.tasks, image.sleepers) == ((0x100040, 16), (0x100100, 9))


@pytest.mark.parametrize("isa", ["x86_64", "arm64", "ppc64"])
def test_the_kernels_counters_have_names(isa: str) -> None:
    sleepers = images.find("kernel", isa).load().sleepers
    assert sleepers is not None and sleepers[1] == len(SLEEPER_WORDS)


def test_virtual_entry_becomes_physical() -> None:
    assert parse_elf("k", make_elf(entry=0xFFFF8000_00100010)).entry_paddr == 0x100010
    assert parse_elf("k", make_elf(entry=0x100010)).entry_paddr == 0x100010


GOOD = make_elf(notes=note([(0x100000, 0x200000)], False), symbols=(("start", 0x100000),))
WRONG = {
    "empty": (b"", "empty file"),
    "text": (b"#!/bin/sh\n", "not an ELF image"),
    "magic only": (b"\x7fELF", "malformed"),
    "header only": (GOOD[:64], "truncated"),
    "truncated": (make_elf(segments=((0, 0, bytes(9000), 9000),), entry=0)[:4000], "truncated"),
    "riscv": (make_elf(elfmaker.EM_RISCV), "EM_RISCV"),
    "unknown machine": (make_elf(9999), "9999"),
    "big-endian arm": (make_elf(elfmaker.EM_AARCH64, big=True), "big-endian"),
    "other architecture": (make_elf(elfmaker.EM_AARCH64), "for arm64, not x86_64; use --isa arm64"),
    "relocatable": (make_elf(e_type=1), "not an executable"),
    "core file": (make_elf(e_type=4), "not an executable"),
    "no segments": (make_elf(segments=()), "nothing to load"),
    "entry outside": (make_elf(entry=0x5000), "entry point 0x5000"),
    "overlap": (make_elf(segments=((0, 0x100000, b"a", 4096), (0, 0x100800, b"b", 16))), "overlap at 0x100800"),
    "wraps": (make_elf(segments=((0, (1 << 64) - 16, b"a", 4096),)), "wraps"),
    "more in file than in memory": (make_elf(segments=((0, 0x100000, bytes(99), 10),)), "more bytes in the file"),
    "empty pinned range": (make_elf(notes=note([(8, 8)], False)), "is empty"),
    "tasks not aligned": (make_elf(notes=note([(4, 1)], False, kind=2)), "aligned words"),
    "no tasks": (make_elf(notes=note([(8, 0)], False, kind=2)), "1 to 64"),
    "two arrays of tasks": (make_elf(notes=note([(8, 1), (16, 1)], False, kind=2)), "an address and a number"),
    "too many counters": (make_elf(notes=note([(8, 65)], False, kind=3)), "1 to 64"),
    "two arrays of counters": (make_elf(notes=note([(8, 1), (16, 1)], False, kind=3)), "the note of sleepers"),
    "an option without a value": (make_elf(notes=wants("tce")), "must hold OPTION=VALUE"),
    "an option with an odd name": (make_elf(notes=wants("t e=papr")), "must hold OPTION=VALUE"),
    "a long option": (make_elf(notes=wants("tce=" + "x" * 1024)), "must hold OPTION=VALUE"),
    "odd note": (make_elf(notes=note([(1, 9)], False)[:-4]), "malformed ELF note"),
    "too many ranges": (make_elf(notes=note([(1, 9)] * 65, False)), "up to 64"),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_mistake_has_its_line(case: str) -> None:
    raw, complaint = WRONG[case]
    with pytest.raises(ConfigError) as error:
        parse_elf("k.elf", raw, "x86_64")
    assert complaint in str(error.value)
    assert "k.elf: " in str(error.value) and "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, complaint in [
        (tmp_path / "absent", "No such file"),
        (tmp_path, "directory"),
        (tmp_path / "pipe", "not a regular file"),
        ("a\0b", "not a file name"),
    ]:
        with pytest.raises(ConfigError, match=complaint):
            load_elf(path)
    (tmp_path / "k.elf").write_bytes(GOOD)
    assert load_elf(tmp_path / "k.elf").isa == "x86_64"


def consume(raw: bytes) -> None:
    try:
        image = parse_elf("fuzz", raw)
        _ = image.symbols, image.span(), image.entry_paddr
        assert all(len(s.data) <= s.memsz for s in image.segments)
    except ConfigError as error:
        assert "\n" not in str(error) and len(str(error)) < 300  # noqa: PT017


SEEDS = [GOOD] + [
    make_elf(m, b, w, notes=note([(1, 2)], b), symbols=(("a", 1), ("b", 2)))
    for m, b, w in ((elfmaker.EM_386, False, 32), (elfmaker.EM_AARCH64, False, 64), (elfmaker.EM_PPC64, True, 64))
]


@settings(max_examples=600)
@given(st.data())
def test_mutations_never_escape(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        width = data.draw(st.sampled_from([1, 2, 4, 8]))
        value = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        raw[at : at + width] = bytes([value]) * len(raw[at : at + width])
    consume(bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw) - 1, len(raw) // 2, 70]))]))


@given(st.binary(max_size=200))
def test_rubbish_never_escapes(tail: bytes) -> None:
    consume(tail)
    consume(b"\x7fELF\x02\x01\x01" + bytes(9) + tail)


def test_every_byte_of_the_headers_in_turn() -> None:
    for raw in SEEDS[1::2]:
        for at in range(len(raw)):
            for value in (0xFF, raw[at] ^ 0x80):
                broken = bytearray(raw)
                broken[at] = value
                consume(bytes(broken))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this machine")
def test_a_linkers_output_agrees(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int data = 3; void _start(void) { for (;;) data++; }\n")
    built = ["gcc", "-nostdlib", "-static", "-no-pie", "-o", str(tmp_path / "a.elf"), str(tmp_path / "a.c")]
    if subprocess.run(built, capture_output=True).returncode or os.uname().machine != "x86_64":
        pytest.skip("no x86-64 linker here")
    image = load_elf(tmp_path / "a.elf", "x86_64")
    assert image.symbols["_start"] == image.entry
    assert {"_start", "data"} <= set(image.symbols)
