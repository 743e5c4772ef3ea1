# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots: taken anywhere, in memory and on disk, the future is the same; and hostile files are refused."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.guest import ISAS, environment

from vmemu.errors import ConfigError
from vmemu.machine import disk, snapshot
from vmemu.machine.machine import Machine
from vmemu.machine.result import RunResult

each_isa = pytest.mark.parametrize("isa", ISAS)
#: Memory pressure with page-ins that take time.
PRESSURE = {"resident": "3M", "latency": "nvme", "append": "pages=1100 passes=1"}


def facts(result: RunResult) -> dict[str, Any]:
    return {**result.to_json(), "wall_s": 0, "output": result.output}


def points(total: int, count: int, seed: int) -> list[int]:
    rnd = random.Random(seed)
    return sorted(rnd.randrange(1, total) for _ in range(count))


def boot(image: str, isa: str, **options: Any) -> Machine:
    return Machine.boot(image, isa=isa, **options)


def check(image: str, isa: str, path: Path, count: int, **options: Any) -> None:
    """Snapshots at random instructions, one run: saving changes nothing, and every one of them has the same future."""
    machine = boot(image, isa, **options)
    expected = facts(machine.run())
    machine.close()
    machine = boot(image, isa, **options)
    kept = []
    for number, index in enumerate(points(expected["instructions"], count, 7)):
        assert machine.run_to(index) is None
        assert machine.insns == index
        disk.save(machine, str(path / f"{number}.snap"))
        kept.append(snapshot.take(machine))
    assert facts(machine.run()) == expected
    for state in reversed(kept):
        snapshot.restore(machine, state)
        assert machine.insns == state.insns
        assert facts(machine.run()) == expected
    machine.close()
    for number in range(count):
        machine = disk.load(str(path / f"{number}.snap"))
        assert facts(machine.run()) == expected
        machine.close()


@each_isa
def test_any_instant_of_hello(isa: str, tmp_path: Path) -> None:
    check("hello", isa, tmp_path, 12)


@each_isa
@pytest.mark.parametrize("store", ["ram:", "file"])
def test_under_memory_pressure(isa: str, store: str, tmp_path: Path) -> None:
    check("walk", isa, tmp_path, 4, store=store if store == "ram:" else f"file:{tmp_path}/swap", **PRESSURE)


@each_isa
def test_with_several_vcpus_and_seeded_choices(isa: str, tmp_path: Path) -> None:
    check("tasks", isa, tmp_path, 2, smp=4, seed=7)


@each_isa
def test_in_another_process_with_another_store(isa: str, tmp_path: Path) -> None:
    machine = boot("walk", isa, **PRESSURE)
    machine.run_to(1_500_000)
    disk.save(machine, str(tmp_path / "s"))
    expected = machine.run().state_hash
    machine.close()
    code = (
        "import sys; from vmemu.machine import disk\n"
        "m = disk.load(sys.argv[1], store=sys.argv[2]); print(m.run().state_hash); m.close()"
    )
    for store in ("ram:", f"file:{tmp_path}/other"):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s"), store], capture_output=True, text=True,
                              env=environment(PYTHONHASHSEED="99"), check=True)
        assert done.stdout.strip() == expected


def test_a_store_that_lost_a_page_has_still_lost_it(tmp_path: Path) -> None:
    options = {**PRESSURE, "inject": ["store.write:90:corrupt"]}
    machine = boot("walk", "x86_64", **options)
    expected = facts(machine.run())
    machine.close()
    machine = boot("walk", "x86_64", **options)
    machine.run_to(expected["instructions"] // 2)
    disk.save(machine, str(tmp_path / "s"))
    machine.close()
    machine = disk.load(str(tmp_path / "s"))
    again = facts(machine.run())
    machine.close()
    assert (again["status"], again["state_hash"]) == (expected["status"], expected["state_hash"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disk") / "hello.snap"
    machine = boot("hello", "x86_64")
    machine.run_to(60_000)
    disk.save(machine, str(path))
    machine.close()
    return path


def test_truncated_and_changed_files_are_refused(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    bad = tmp_path / "bad"
    rnd = random.Random(3)
    for cut in [0, 1, 8, 15, 16, 17, 100, len(whole) - 33, len(whole) - 1, *(rnd.randrange(len(whole)) for _ in range(20))]:
        bad.write_bytes(whole[:cut])
        with pytest.raises(ConfigError) as error:
            disk.load(str(bad))
        assert "\n" not in str(error.value)
    for at in [0, 8, 9, 12, 13, 16, 40, len(whole) - 1, *(rnd.randrange(len(whole)) for _ in range(40))]:
        data = bytearray(whole)
        data[at] ^= 1 << rnd.randrange(8)
        bad.write_bytes(data)
        with pytest.raises(ConfigError) as error:
            disk.load(str(bad))
        assert "\n" not in str(error.value)
    bad.write_bytes(whole + b"x")
    with pytest.raises(ConfigError):
        disk.load(str(bad))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"image": "walk"}, "of hello, not of this walk"),
        ({"isa": "arm64"}, "of an x86_64 machine, not arm64"),
        ({"memory": "32M"}, "--memory is '64M'"),
        ({"smp": 2}, "--smp is 1"),
    ],
)
def test_another_machines_snapshot_is_refused(saved: Path, arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        disk.load(str(saved), **arguments)


def test_no_regular_file(tmp_path: Path) -> None:
    for path in (str(tmp_path), "/dev/null", str(tmp_path / "none"), "", "a\0b"):
        with pytest.raises(ConfigError):
            disk.load(path)


def test_forged_content_is_refused_without_a_crash(saved: Path, tmp_path: Path) -> None:
    """Files with a right checksum and wrong content: whoever writes one must not bring the host down."""
    from vmemu.machine import container

    header, sections = container.read(str(saved), disk.KIND, "--restore")
    header.pop("sections")
    rnd = random.Random(5)
    refused = 0
    for _ in range(120):
        parts = {name: bytearray(data) for name, data in sections.items()}
        name = rnd.choice([n for n in ("memory", "s2", "frame_owners", "free", "slots_free", "vcpu0", "frame_numbers") if parts[n]])
        at = rnd.randrange(len(parts[name]))
        parts[name][at] ^= rnd.choice((1, 0x80, 0xFF))
        container.write(str(tmp_path / "f"), disk.KIND, header, [container.section(n, bytes(d)) for n, d in parts.items()], "test")
        try:
            disk.load(str(tmp_path / "f")).close()
        except ConfigError:
            refused += 1
    assert refused > 20


def test_a_full_disk_leaves_the_previous_file_whole(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept.snap"
    target.write_bytes(saved.read_bytes())
    code = (
        "import sys; from vmemu.machine import disk\n"
        "from vmemu.errors import VmemuError\n"
        "m = disk.load(sys.argv[1])\n"
        "try: disk.save(m, sys.argv[1])\n"
        "except VmemuError as e: print(e)\n"
    )
    half = len(saved.read_bytes()) // 2
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], capture_output=True, text=True, env=environment(), check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (half, half)),
    )
    assert "cannot write: File too large" in done.stdout
    assert target.read_bytes() == saved.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["kept.snap"]


def test_a_machine_with_a_nameless_event_cannot_be_saved(tmp_path: Path) -> None:
    machine = boot("hello", "x86_64")
    machine.queue.define("test.tick", lambda now, data: None)
    machine.queue.post(10**15, "test.tick", [1, "x"])
    machine.run_to(1000)
    disk.save(machine, str(tmp_path / "s"))
    with pytest.raises(ConfigError, match=r"saved event 'test.tick' is of no kind"):
        disk.load(str(tmp_path / "s"))
    machine.queue.at(10**15, lambda now: None, "stray")
    with pytest.raises(ConfigError, match="event 'stray' has no name"):
        disk.save(machine, str(tmp_path / "s"))
    machine.close()
