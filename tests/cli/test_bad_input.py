# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input: status 2, one clear line on stderr, nothing on stdout, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.elfmaker import EM_AARCH64, EM_RISCV, ISA_MACHINE, make_elf
from helpers.guest import ISAS

from vmemu.cli.main import run
from vmemu.machine.images import find


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with images of every wrong kind."""
    monkeypatch.chdir(tmp_path)
    good = find("kernel", "x86_64").read()
    (tmp_path / "good.elf").write_bytes(good)
    (tmp_path / "empty.elf").write_bytes(b"")
    (tmp_path / "truncated.elf").write_bytes(good[: len(good) // 2])
    (tmp_path / "cropped.elf").write_bytes(good[:-1])
    (tmp_path / "stub.elf").write_bytes(good[:40])
    (tmp_path / "text.elf").write_text("this is not an image\n")
    (tmp_path / "arm64.elf").write_bytes(make_elf(EM_AARCH64))
    (tmp_path / "riscv.elf").write_bytes(make_elf(EM_RISCV))
    (tmp_path / "high.elf").write_bytes(make_elf(segments=((0, 1 << 40, b"\xf4", 4096),), entry=1 << 40))
    (tmp_path / "huge.elf").write_bytes(make_elf(segments=((0, 1 << 20, b"\xf4", 1 << 50),), entry=1 << 20))
    (tmp_path / "letter").write_text("a file of somebody else's")
    return tmp_path


CASES: list[tuple[str, str]] = [
    # images
    ("nosuchimage", "no built-in image and no file 'nosuchimage'"),
    ("./absent.elf", "./absent.elf: cannot read: No such file"),
    (".", "."),
    ("./empty.elf", "empty file"),
    ("./truncated.elf", "truncated.elf: truncated"),
    ("./cropped.elf", "cropped.elf: truncated: the section headers end"),
    ("./stub.elf", "stub.elf: malformed"),
    ("./text.elf", "not an ELF image"),
    ("./riscv.elf", "EM_RISCV"),
    ("./arm64.elf --isa x86_64", "an image for arm64, not x86_64"),
    ("./high.elf", "does not fit"),
    ("./huge.elf", "does not fit"),
    ("./" + "x" * 300, "cannot read"),
    ("firmware", "firmware"),
    # sizes
    ("hello -m 0", "-m '0'"),
    ("hello -m -5M", "-m '-5M'"),
    ("hello -m 64Q", "-m '64Q'"),
    ("hello -m ''", "-m ''"),
    ("hello -m 64.5M", "-m '64.5M'"),
    ("hello -m 4097", "multiple of 4K"),
    ("hello -m 999999999999G", "more than"),
    ("hello -m 4K", "4K"),
    ("hello --resident 0", "--resident '0'"),
    ("hello --resident lots", "--resident 'lots'"),
    ("hello --resident 1G", "more than the memory"),
    ("hello --resident 4K", "pinned"),
    ("hello --resident 512K", "pinned"),
    # stores and latency
    ("hello --store floppy:", "unknown store"),
    ("hello --store ram:x", "ram: takes no path"),
    ("hello --store file:", "give a file name"),
    ("hello --store file:/nonexistent/swap", "cannot open: No such file"),
    ("hello --store file:/proc/swap", "cannot open"),
    ("hello --store file:.", "Is a directory"),
    ("hello --store file:letter", "no vmemu store"),
    ("hello --store fail:read@x,ram:", "not a guest page number"),
    ("hello --latency slow", "--latency slow"),
    ("hello --latency -3us", "--latency -3us"),
    # the rest
    ("hello --isa mips", "'mips'"),
    ("hello --max-cycles 0", "--max-cycles"),
    ("hello --max-cycles many", "--max-cycles"),
    ("hello --seed x", "--seed"),
    ("hello --pin 5", "--pin 5"),
    ("hello --pin 32M-0", "--pin 32M-0"),
    ("hello --pin 1G-2G", "pinned range"),
    ("hello --pin 0-0xffffffffffffffff", "pinned range"),
    ("hello --bug nosuchbug", "unknown bug"),
    ("hello --inject nonsense", "EVENT:K:ACTION"),
    ("hello --inject store.raed:1:fail", "did you mean store.read"),
    ("hello --inject store.read:0:fail", "count from 1"),
    ("hello --json /nonexistent/run.json", "--json /nonexistent/run.json: cannot write"),
    ("hello --append " + "x" * 100_000, "command line"),
]


def words(line: str) -> list[str]:
    return ["" if word == "''" else word for word in line.split(" ")]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("line", "complaint"), CASES, ids=[c[0][:40] for c in CASES])
def test_bad_input(line: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = run(["boot", *words(line)])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith("vmemu: ") and err.count("\n") == 1 and len(err) < 600
    assert complaint in err


@pytest.mark.parametrize("isa", ISAS)
def test_image_of_another_architecture(isa: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine, big = ISA_MACHINE[isa]
    (folder / "own.elf").write_bytes(make_elf(machine, big))
    for other in ISAS:
        if other != isa:
            assert run(["boot", "./own.elf", "--isa", other]) == 2
            assert f"an image for {isa}, not {other}; use --isa {isa}" in capsys.readouterr().err


@pytest.mark.parametrize("isa", ISAS)
def test_resident_below_what_the_kernel_pins(isa: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["boot", "hello", "--isa", isa, "--resident", "1M"]) == 2
    err = capsys.readouterr().err
    assert "pages are pinned" in err and "so at least" in err
    needed = err.split("at least ")[1].split()[0]
    assert run(["boot", "hello", "--isa", isa, "--resident", needed, "--max-cycles", "100000000"]) == 0


def test_a_failed_start_leaves_no_lock_and_no_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert run(["boot", "hello", "--store", "file:swap", "--resident", "4K", "--json", "run.json"]) == 2
        assert "in use" not in capsys.readouterr().err
    assert not (folder / "run.json").exists()
