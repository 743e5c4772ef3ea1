# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole machines: the program dma-net under pressure, with every profile and kind of page structs, saved and taken back."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from helpers.guest import run_vmemu

from vmemu import Machine
from vmemu.devices.papr import H_FUNCTION
from vmemu.errors import ConfigError
from vmemu.lab.tce_rig import MASK, bench
from vmemu.machine import disk
from vmemu.machine.snapshot import restore, take
from vmemu.protocols.tce.facility import LIOBN
from vmemu.protocols.tce.wire import Level

SF = 1 << 63 | 1 << 12
STYLES = ("single", "multi", "big window")


def boot(append: str = "packets=448 pages=1500 area=256", resident: str = "4M", **options: Any) -> Machine:
    return Machine.boot("dma-net", isa="ppc64", memory="16M", resident=resident, append=append, **options)


def finish(machine: Machine) -> dict[str, Any]:
    result = machine.run()
    assert result.status == 0, result.output
    assert b"dma-net: PASS" in result.output and all(f"dma-net: {style}:".encode() in result.output for style in STYLES)
    tce = result.extra["tce"]
    assert tce["violations"] == [] and tce["references"] == 0
    assert tce["card"]["errors"] == 1  # the write that came too late
    return dict(tce)


def test_the_command_line(tmp_path: Path) -> None:
    """As the issue has it, but smaller: the image asks for its window by itself."""
    command = ["boot", "dma-net", "--isa", "ppc64", "-m", "64M", "--resident", "16M", "--json", "run.json", "--append", "packets=256 quiet"]
    ran = run_vmemu(*command, cwd=tmp_path)
    assert ran.status == 0, ran.out + ran.err
    assert "dma-net: PASS" in ran.out
    assert json.loads((tmp_path / "run.json").read_text())["tce"]["references"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"tce": "papr"}, {"tce": "kvm"}, {"tce": "kvm-4.14"}, {"tce": "qemu"}, {"tce_real_mode": "off"}, {"tce_pages": "vmemmap-72"},
        {"tce_pages": "flatmem"}, {"store": "file:SWAP", "latency": "nvme"},
    ],
)  # fmt: skip
def test_every_byte_comes_back(options: dict[str, str], tmp_path: Path) -> None:
    options = {name: value.replace("SWAP", str(tmp_path / "swap")) for name, value in options.items()}
    tce = finish(boot(**options))
    levels = {level: sum(calls.values()) for level, calls in tce["calls"].items()}
    if options.get("tce") == "qemu":
        assert not levels["real"] and not levels["virtual"]
    elif options.get("tce_real_mode") == "off":
        assert not levels["real"] and not levels["user"]
    else:
        assert levels["real"] > levels["virtual"] > 0 and not levels["user"]
        assert tce["refused"]


def test_levels_differ_in_time_alone() -> None:
    """W3, seen from the guest: the same packets, the same bytes, fewer cycles the lower the level."""
    cycles = []
    for options in ({}, {"tce_real_mode": "off"}, {"tce": "qemu"}):
        machine = boot(append="packets=64 pages=256", **options)
        finish(machine)
        cycles.append(max(v.cycles for v in machine.vcpus))
    assert cycles == sorted(cycles)


def test_without_a_window_the_program_says_so() -> None:
    machine = boot(tce="off")
    result = machine.run()
    assert result.status == 1 and b"boot with --tce papr" in result.output and "tce" not in result.extra


def test_a_wrong_profile_is_one_line() -> None:
    with pytest.raises(ConfigError, match="--tce nosuch: not one of"):
        boot(tce="nosuch")
    with pytest.raises(ConfigError, match="is not for x86_64"):
        Machine.boot("hello", isa="x86_64", tce="papr")


def test_taken_back_in_memory_and_from_disk(tmp_path: Path) -> None:
    """load(save()) amid a transfer leaves the future as it was: tables, references and the card's packet included."""
    machine = boot(append="packets=64 pages=512 style=0 quiet")
    while machine.facilities["tce"].summary()["tce"]["references"] <= 20:  # pages under TCEs
        assert machine.run_to(machine.insns + 2_000) is None
    kept = take(machine)
    path = tmp_path / "here.vms"
    disk.save(machine, str(path))
    first = machine.run()
    restore(machine, kept)
    assert not machine.facilities["tce"].invariants()
    second = machine.run()
    machine.close()
    other = disk.load(str(path), None, None)
    assert not other.facilities["tce"].invariants()
    third = other.run()
    other.close()
    assert first.status == 0 and first.state_hash == second.state_hash == third.state_hash


def test_two_runs_agree() -> None:
    hashes = {boot(append="packets=64 pages=512").run().state_hash for _ in range(2)}
    assert len(hashes) == 1


def test_wide_tokens_are_not_answered_in_real_mode() -> None:
    """Core looks at 32 bits of a token, the platform at 64. (Calls of programs: dma-net makes one.)"""
    code = struct.pack(">2I", 0x44000022, 0x48000000)  # sc 1; b .
    for token, code_in_r3, made in ((0x20, 0, 1), (1 << 32 | 0x20, H_FUNCTION, 0)):
        with bench(memory="256K") as b:
            b.put(5, 9 << 12 | 3, enter=1)
            b.touch(3)
            b.machine.write_guest(0x8000, code)
            for name, value in (("msr", SF), ("pc", 0x8000), ("r3", token), ("r4", LIOBN), ("r5", b.at(0)), ("r6", 3 << 12 | 3)):
                b.vcpu.set(name, value)
            b.machine.run_to(b.machine.insns + 2)
            assert b.vcpu.get("r3") == code_in_r3 & MASK
            assert sum(b.tce.calls(Level.REAL).values()) == made == (b.entries().get(0) == 3 << 12 | 3)
            b.check()
