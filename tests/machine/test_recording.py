# SPDX-License-Identifier: GPL-2.0-or-later
"""Record and replay: the same run again, and a clear word about where it is not."""

from __future__ import annotations

import json
import random
import zlib
from array import array
from pathlib import Path
from typing import Any

import pytest
from helpers.guest import ISAS

from vmemu.errors import ConfigError
from vmemu.machine import container, recording
from vmemu.machine.machine import Machine
from vmemu.machine.recording import KIND, Recorder, Replay

each_isa = pytest.mark.parametrize("isa", ISAS)


def record(path: Path, image: str = "tasks", typed: bytes = b"", **options: Any) -> str:
    """Record a run; its state hash."""
    machine = Machine.boot(image, **options)
    recorder = Recorder(machine)
    if typed:
        machine.console.type(typed)
    result = machine.run()
    recorder.write(str(path), result)
    machine.close()
    return result.state_hash


def forge(path: Path, change: Any) -> None:
    """Rewrite a recording with a changed header and changed checkpoints, checksum and all."""
    header, sections = container.read(str(path), KIND, "test")
    header.pop("sections")
    checkpoints = json.loads(zlib.decompress(bytes(sections["checkpoints"])))
    change(header, checkpoints)
    parts = [container.section("choices", bytes(sections["choices"])),
             container.section("checkpoints", zlib.compress(json.dumps(checkpoints).encode()))]
    container.write(str(path), KIND, header, parts, "test")


@each_isa
@pytest.mark.parametrize("options", [{}, {"smp": 4, "seed": 7}, {"smp": 3, "pct": "3:5"}, {"resident": "4M", "latency": "nvme"}])
def test_a_replay_ends_in_the_same_state(isa: str, options: dict[str, Any], tmp_path: Path) -> None:
    expected = record(tmp_path / "r", isa=isa, typed=b"abc", **options)
    replay = Replay(str(tmp_path / "r"))
    result = replay.run()
    assert replay.difference is None
    assert result.state_hash == expected
    assert replay._passed == len(replay.checkpoints) >= 1
    replay.machine.close()


def test_size_is_bounded(tmp_path: Path) -> None:
    record(tmp_path / "r", isa="x86_64")
    header, _ = container.read(str(tmp_path / "r"), KIND, "test")
    millions = header["end"]["insns"] / 1e6
    assert (tmp_path / "r").stat().st_size < 1500 + 1024 * millions


def test_input_during_the_run_comes_back_at_its_place(tmp_path: Path) -> None:
    machine = Machine.boot("tasks", isa="x86_64", max_cycles=60_000_000)
    recorder = Recorder(machine)
    typed: list[int] = []

    def progress(running: Machine) -> None:
        if len(typed) < 3:
            typed.append(running.insns)
            running.console.type(b"x%d" % len(typed))

    result = machine.run(progress)
    recorder.write(str(tmp_path / "r"), result)
    machine.close()
    replay = Replay(str(tmp_path / "r"))
    assert [(e.at.insns, e.kind) for e in replay.journal.entries] == [(at, "input") for at in typed]
    replay.run()
    assert replay.difference is None and replay.journal.done == 3
    replay.machine.close()


def test_an_interrupted_run_can_be_replayed_as_far_as_it_came(tmp_path: Path) -> None:
    machine = Machine.boot("tasks", isa="arm64")
    recorder = Recorder(machine)
    for _ in range(6):
        machine._turn()
    recorder.write(str(tmp_path / "r"), None)
    at = machine.insns
    machine.close()
    replay = Replay(str(tmp_path / "r"))
    replay.run()
    assert replay.difference is None and replay.machine.insns == at
    replay.machine.close()


@pytest.mark.parametrize("what", ["register", "device", "page", "place"])
def test_a_difference_is_named(what: str, tmp_path: Path) -> None:
    record(tmp_path / "r", isa="x86_64")

    def change(header: dict[str, Any], checkpoints: list[dict[str, Any]]) -> None:
        first = checkpoints[1]
        if what == "register":
            digest = bytearray.fromhex(first["registers"][0])
            digest[2 * 3] ^= 1  # the fourth register of the list
            first["registers"][0] = digest.hex()
        elif what == "device":
            first["devices"]["lapic0"] = first["devices"].get("lapic0", 0) ^ 1
            name = sorted(first["devices"])[0]
            first["devices"][name] ^= 1
        elif what == "page":
            digests = array("I", bytes.fromhex(first["pages"]))
            digests[next(i for i, digest in enumerate(digests) if digest)] ^= 1
            first["pages"] = digests.tobytes().hex()
        else:
            first["insns"] += 1

    forge(tmp_path / "r", change)
    replay = Replay(str(tmp_path / "r"))
    replay.run()
    assert replay.difference is not None and "\n" not in replay.difference
    sign = {"register": "register rbx of vCPU 0", "device": "device ", "page": "page", "place": "the recorded run had come"}[what]
    assert sign in replay.difference
    replay.machine.close()


def test_another_final_state_is_reported(tmp_path: Path) -> None:
    record(tmp_path / "r", isa="x86_64")
    forge(tmp_path / "r", lambda header, checkpoints: header["end"].update(state_hash="0" * 64))
    replay = Replay(str(tmp_path / "r"))
    replay.run()
    assert replay.difference == "the final state differs in something without a digest"
    replay.machine.close()


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "r", "hello", isa="x86_64")
    whole = (tmp_path / "r").read_bytes()
    rnd = random.Random(2)
    for _ in range(60):
        data = bytearray(whole)
        data[rnd.randrange(len(data))] ^= 1 << rnd.randrange(8)
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(ConfigError) as error:
            Replay(str(tmp_path / "bad"))
        assert "\n" not in str(error.value)


def test_another_image_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "r", "hello", isa="x86_64")
    forge(tmp_path / "r", lambda header, checkpoints: header["images"].update(program="00"))
    with pytest.raises(ConfigError, match=r"the program of hello \(x86_64\) is not the one that was recorded"):
        Replay(str(tmp_path / "r"))


def test_a_recording_starts_at_the_boot(tmp_path: Path) -> None:
    machine = Machine.boot("hello", isa="x86_64")
    machine.run_to(10)
    with pytest.raises(ConfigError, match="starts where the machine is booted"):
        Recorder(machine)
    machine.close()


def test_groups_of_pages_add_up() -> None:
    from vmemu.core import persist

    machine = Machine.boot("hello", isa="x86_64")
    machine.run()
    single = array("I", persist.page_digests(machine.core, 0))
    for shift in (1, 4, 9):
        groups = array("I", persist.page_digests(machine.core, shift))
        assert list(groups) == [sum(single[i : i + (1 << shift)]) & 0xFFFFFFFF for i in range(0, len(single), 1 << shift)]
    machine.close()
    assert recording.PAGE_BYTES < 1024
