# SPDX-License-Identifier: GPL-2.0-or-later
"""Stores against a dict, and what each kind of broken medium looks like."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.crc import crc32c
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from vmemu.clock.inject import Injector
from vmemu.errors import ConfigError, StoreError
from vmemu.memory.store import FaultyStore, FileStore, RamStore, Store, needs_python, open_store, parse_store
from vmemu.memory.store.file import GROUP, slot_offset, table_offset


def page(fill: int) -> bytes:
    return fill.to_bytes(8, "little") * 512


def test_reference_checksum() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 B.4


@pytest.fixture(params=["ram", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = RamStore(crc32c) if request.param == "ram" else FileStore(str(tmp_path / "swap"), crc32c)
    yield made
    made.close()


SLOTS = st.sampled_from([0, 1, 2, GROUP - 1, GROUP, 3 * GROUP + 7, 100_000])


class StoreModel(RuleBasedStateMachine):
    """put, get, discard, flush and reopen against a dict."""

    store: Store
    kind = "ram"

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[int, bytes] = {}

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = f"{self.folder.name}/swap"
        self.store = RamStore(crc32c) if self.kind == "ram" else FileStore(self.path, crc32c)

    @rule(slot=SLOTS, fill=st.integers(0, 9))
    def put(self, slot: int, fill: int) -> None:
        self.store.put(slot, page(fill))
        self.model[slot] = page(fill)

    @rule(slot=SLOTS)
    def get(self, slot: int) -> None:
        if slot in self.model:
            assert self.store.get(slot) == self.model[slot]
        else:
            with pytest.raises(StoreError, match="empty"):
                self.store.get(slot)

    @rule(slot=SLOTS)
    def discard(self, slot: int) -> None:
        self.store.discard(slot)
        self.model.pop(slot, None)

    @rule()
    def flush(self) -> None:
        self.store.flush()

    @rule()
    def reopen(self) -> None:
        if self.kind == "file":
            self.store.close()
            self.store = FileStore(self.path, crc32c, keep=True)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


class FileModel(StoreModel):
    kind = "file"


TestRamModel = StoreModel.TestCase
TestFileModel = FileModel.TestCase


def test_a_damaged_page_is_detected_never_returned(store: Store) -> None:
    store.put(3, page(1))
    store.put(4, page(2))
    store.damage(3)
    with pytest.raises(StoreError, match="slot 3 is corrupt"):
        store.get(3)
    assert store.get(4) == page(2)


def test_only_whole_pages_in_sane_slots(store: Store) -> None:
    with pytest.raises(StoreError, match="4096 bytes, not 5"):
        store.put(0, b"short")
    for slot in (-1, 0xFFFFFFFF):
        with pytest.raises(StoreError, match="out of range"):
            store.put(slot, page(0))
    store.put(7, memoryview(bytearray(page(9))))
    assert store.get(7) == page(9)


@pytest.mark.parametrize("at", [0, 1, 2048, 4095])
def test_any_flipped_byte_on_disk_is_found(tmp_path: Path, at: int) -> None:
    path = tmp_path / "swap"
    store = FileStore(str(path), crc32c)
    store.put(GROUP + 5, page(77))
    with path.open("r+b") as raw:
        raw.seek(slot_offset(GROUP + 5) + at)
        byte = raw.read(1)[0]
        raw.seek(-1, os.SEEK_CUR)
        raw.write(bytes([byte ^ 0x80]))
    with pytest.raises(StoreError, match=f"slot {GROUP + 5} is corrupt"):
        store.get(GROUP + 5)
    store.close()


def test_flipped_checksum_on_disk_is_found(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    store = FileStore(str(path), crc32c)
    store.put(2, page(5))
    store.close()
    with path.open("r+b") as raw:
        raw.seek(table_offset(0) + 16)
        raw.write(b"\xff\xff")
    store = FileStore(str(path), crc32c, keep=True)
    with pytest.raises(StoreError, match="corrupt"):
        store.get(2)
    store.close()


@pytest.mark.parametrize("left", [0, 1, 4095])
def test_truncated_file(tmp_path: Path, left: int) -> None:
    path = tmp_path / "swap"
    store = FileStore(str(path), crc32c)
    store.put(0, page(1))
    store.put(1, page(2))
    os.truncate(path, slot_offset(1) + left)
    assert store.get(0) == page(1)
    with pytest.raises(StoreError, match=f"cut short: {left} of 4096"):
        store.get(1)
    store.close()


FULL = """
import resource, sys
from vmemu.errors import StoreError
from vmemu.memory.store import FileStore
store = FileStore(sys.argv[1], lambda data: 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (10 * 4096 + 100, resource.RLIM_INFINITY))
done = 0
try:
    while True:
        store.put(done, bytes([done]) * 4096)
        done += 1
except StoreError as error:
    print(done, error)
for slot in range(done):
    assert store.get(slot) == bytes([slot]) * 4096
store.close()
"""


def test_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    """A file size limit behaves as a full disk does: a short write first, then an error."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "swap")], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("8 file:")  # header, table, eight pages and 100 bytes
    assert "cannot write slot 8: File too large" in done.stdout
    assert done.stderr == "" and done.stdout.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_no_space_left(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "swap"), crc32c)
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, store._fd)
    os.close(full)
    with pytest.raises(StoreError, match="cannot write slot 1: No space left on device"):
        store.put(1, page(1))
    with pytest.raises(StoreError, match="empty"):
        store.get(1)
    store.close()


def test_unusable_paths(tmp_path: Path) -> None:
    other = tmp_path / "letter"
    other.write_text("dear diary, this is not swap space")
    os.mkfifo(tmp_path / "pipe")
    for path, complaint in [
        (tmp_path, "Is a directory"),
        (tmp_path / "no" / "swap", "No such file"),
        (other, "no vmemu store"),
        (tmp_path / "pipe", "not a regular file"),
        ("", "give a file name"),
    ]:
        with pytest.raises(ConfigError) as error:
            FileStore(str(path), crc32c)
        assert complaint in str(error.value)
    assert other.read_text().startswith("dear diary")
    with pytest.raises(ConfigError, match="No such file"):
        FileStore(str(tmp_path / "absent"), crc32c, keep=True)


def test_one_machine_per_file(tmp_path: Path) -> None:
    path = str(tmp_path / "swap")
    first = FileStore(path, crc32c)
    with pytest.raises(ConfigError, match="in use by another machine"):
        FileStore(path, crc32c)
    first.close()
    first.close()
    FileStore(path, crc32c).close()


def test_other_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    path.write_bytes(b"vmemuswp" + bytes([2, 0, 0, 0, 0, 16, 0, 0]))
    with pytest.raises(ConfigError, match="another version"):
        FileStore(str(path), crc32c, keep=True)


def test_injected_failures_by_page_and_by_count() -> None:
    injector = Injector.parse(["store.read:3:corrupt", "store.write:2:delay=7us"])
    store = open_store(parse_store("fail:read@0x40,ram:"), crc32c, injector)
    assert isinstance(store, FaultyStore)
    store.page_of = {0: 0x40, 1: 0x41}.__getitem__
    store.put(0, page(1))
    assert store.take_delay() == 0
    store.put(1, page(2))
    assert store.take_delay() == 7_000 and store.take_delay() == 0
    with pytest.raises(StoreError, match="cannot read page 0x40: injected failure"):
        store.get(0)
    assert store.get(1) == page(2)
    with pytest.raises(StoreError, match="corrupt"):
        store.get(1)


def test_injected_write_failures(tmp_path: Path) -> None:
    store = open_store(parse_store(f"fail:write@1,corrupt:write@2,file:{tmp_path}/a,b:c"), crc32c, Injector())
    with pytest.raises(StoreError, match="cannot write page 0x1"):
        store.put(1, page(1))
    store.put(2, page(2))
    with pytest.raises(StoreError, match="corrupt"):
        store.get(2)
    store.put(3, page(3))
    assert store.get(3) == page(3)
    store.flush()
    store.discard(3)
    store.close()
    assert (tmp_path / "a,b:c").exists()


def test_which_runs_need_python() -> None:
    assert not needs_python(parse_store("ram:"), Injector())
    assert needs_python(parse_store("file:x"), Injector())
    assert needs_python(parse_store("fail:read@1,ram:"), Injector())
    assert needs_python(parse_store("ram:"), Injector.parse(["store.read:1:fail"]))


@pytest.mark.parametrize(("text", "complaint"), [
    ("", "unknown store"),
    ("ram", "unknown store"),
    ("floppy:", "unknown store"),
    ("ram:x", "takes no path"),
    ("file:", "give a file name"),
    ("fail:read@1", "unknown store"),
    ("fail:read@zz,ram:", "not a guest page number"),
    ("fail:erase@1,ram:", "neither read nor write"),
    ("drop:read@1,ram:", "cannot drop"),
    ("explode:read@1,ram:", "unknown action"),
    ("delay=3:read@1,ram:", "microseconds"),
])
def test_nonsense_stores(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_store(text)
    assert complaint in str(error.value)


@pytest.mark.parametrize("text", ["ram:", "file:/x", "fail:read@0x10,file:a", "delay=5us:write@*,fail:read@0x1,ram:"])
def test_specs_print_as_they_are_written(text: str) -> None:
    assert str(parse_store(text)) == text
