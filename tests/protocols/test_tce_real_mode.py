# SPDX-License-Identifier: GPL-2.0-or-later
"""Real mode by itself: its nine tests with another CPU at each of them, what it leaves to virtual mode, and what it may not use."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from vmemu.errors import EngineError
from vmemu.lab.tce_rig import OK, PUT, Bench, bench
from vmemu.protocols.tce.facility import LIOBN
from vmemu.protocols.tce.native import GUEST, HEAD, LARGE, TAIL, lib
from vmemu.protocols.tce.wire import Call, Marker, Refusal

SRC = Path(__file__).parents[2] / "vmemu/protocols/tce/src"
PTE, COUNT, FLAGS, LOCK = range(4)  # tce.h, enum race_action


def race(bench: Bench, step: int, action: int, frame: int, value: int = 0) -> None:
    """Another CPU acts when real mode is at this step."""
    r = bench.host.ptr.race
    r.step, r.action, r.frame, r.value = step, action, frame, value


def real_put(bench: Bench, page: int) -> Refusal:
    return bench.host.real_call(0, PUT, LIOBN, bench.at(0), page << 12 | 3)[0]


@pytest.mark.parametrize(
    ("step", "refusal"),
    [(1, Refusal.NO_MEMORY_SLOT), (2, Refusal.NOT_PRESENT), (3, Refusal.LARGE_MAPPING), (4, Refusal.NOT_DIRTY), (5, Refusal.NOT_YOUNG),
     (6, Refusal.NO_PAGE_STRUCT), (7, Refusal.COMPOUND), (8, Refusal.COUNT_ZERO), (9, Refusal.CHANGED)],
)  # fmt: skip
def test_each_of_the_nine_tests(step: int, refusal: Refusal) -> None:
    """Each refuses, takes nothing, and the levels above finish the call."""
    with bench(memory="256K", tce_pages="vmemmap") as b:
        b.put(5, 9 << 12 | 3, enter=1)  # the table's page is there
        frame = b.touch(3)
        page, bad = 3, 99
        if step == 1:
            page = bad
        elif step == 2:
            assert b.swap_out(3)
        elif step == 3:
            b.host.set_page(frame, GUEST | LARGE, 1)
        elif step == 4:
            b.page(3).flags &= ~2
        elif step == 5:
            b.page(3).flags &= ~1
        elif step == 6:
            lib_remove(b, 0)
        elif step == 7:
            b.make_compound([2, 3])
        elif step == 8:
            race(b, 8, COUNT, frame, 0)
        else:
            race(b, 9, PTE, frame)
        assert real_put(b, page) is refusal
        assert not b.host.cpu(0).marker and not b.host.cpu(0).stray
        race(b, 0, PTE, frame)
        if step == 6:
            lib_add(b, 0)
        if step == 8:
            assert b.host.count(frame) == 0  # not raised from zero: W2
            return
        b.check()
        assert b.put(0, page << 12 | 3) == (OK if step > 1 else -4)
        b.check()


_blocks: dict[int, int] = {}


def lib_remove(b: Bench, block: int) -> None:
    _blocks[block] = int(lib.tce_realmode_page(b.host.ptr, block << b.host.ptr.block_shift))
    assert _blocks[block] and lib.tce_remove_block(b.host.ptr, block) == 0


def lib_add(b: Bench, block: int) -> None:
    """The block comes back where it was, at the front of the list."""
    assert lib.tce_add_block(b.host.ptr, block, _blocks[block]) == 0


def test_a_reference_that_cannot_be_dropped_at_step_9_is_not_forgotten() -> None:
    """B3: whether a reference is held is said, not inferred. The guest's own goes just before the last look."""
    with bench(memory="256K") as b:
        frame = b.touch(3)
        race(b, 9, COUNT, frame, 1)
        assert real_put(b, 3) is Refusal.CHANGED
        assert b.host.count(frame) == 1 and b.host.cpu(0).stray == frame << 12 | 3
    with bench(memory="256K") as b:
        frame = b.touch(3)
        race(b, 9, PTE, frame)
        assert real_put(b, 3) is Refusal.CHANGED
        assert b.host.count(frame) == 1 and b.host.cpu(0).stray == 0
        b.check()


def test_a_table_page_is_left_to_virtual_mode_with_the_reference() -> None:
    """put-tce: the reference is held, only the store is left. Nobody takes a second one."""
    with bench(memory="256K") as b:
        frame = b.touch(3)
        assert real_put(b, 3) is Refusal.NO_TABLE_PAGE
        assert Marker(b.host.cpu(0).marker) is Marker.PUT_TCE and b.host.count(frame) == 2
        assert b.put(0, 3 << 12 | 3) == OK  # real mode starts over, and so does its marker
        assert b.host.count(frame) == 3  # the reference of the call that nobody finished
        b.host.put_frame(frame)
        b.check()


def test_a_list_goes_on_where_real_mode_stopped() -> None:
    with bench(memory="256K") as b:
        b.put(5, 9 << 12 | 3, enter=1)
        frames = [b.touch(page) for page in range(4)]
        assert b.swap_out(2)
        assert b.indirect(0, [p << 12 | 3 for p in range(4)]) == OK
        assert b.refused is Refusal.NOT_PRESENT
        assert [b.get(i) for i in range(4)] == [p << 12 | 3 for p in range(4)]
        assert [b.host.count(f) for i, f in enumerate(frames) if i != 2] == [2, 2, 2]
        b.check()


def test_the_last_reference_is_dropped_in_virtual_mode() -> None:
    """W2: the guest gave the page back, its TCE alone keeps it. Real mode takes 2 to 1 and never 1 to 0."""
    with bench(memory="256K") as b:
        frame, free = b.touch(3), b.core.free_frames
        assert b.put(0, 3 << 12 | 3) == b.put(1, 3 << 12 | 3) == OK
        assert b.discard(3) and b.core.free_frames == free  # held: it is nobody's, but not free
        assert b.host.count(frame) == 2
        assert b.put(0, 0) == OK and b.refused is Refusal.NONE
        assert b.put(1, 0) == OK and b.refused is Refusal.LAST_REFERENCE
        assert b.host.count(frame) == 0 and b.core.free_frames == free + 1 and int(b.host.ptr.freed) == 1
        b.check()


def test_a_held_page_stays_where_it_is() -> None:
    """W6, under pressure: memory is four times what is resident, and the page under the TCE never moves."""
    with bench(memory="2M", resident="512K") as b:
        b.touch(3)
        b.machine.write_guest(3 << 12, b"held")
        assert b.put(0, 3 << 12 | 3) == OK
        frame = int(b.page(3).frame)
        for round_ in range(3):
            for page in range(8, 500):
                b.machine.write_guest(page << 12, bytes([round_ + 1]))
        assert int(b.page(3).frame) == frame and b.page(3).state == 2
        assert not b.swap_out(3)
        assert b.put(0, 0) == OK and b.swap_out(3)
        b.check()


def test_a_contended_table_is_left_to_virtual_mode_which_would_wait_for_ever() -> None:
    with bench(memory="256K") as b:
        b.put(5, 9 << 12 | 3, enter=1)
        b.touch(3)
        race(b, 1, LOCK, 0, 1)
        assert real_put(b, 3) is Refusal.LOCKED
        race(b, 0, LOCK, 0)
        with pytest.raises(EngineError, match="waits for ever"):
            b.tce.ladder.call(b.vcpu, Call(PUT, LIOBN, b.at(0), 3 << 12 | 3))


def test_real_mode_may_not_touch_the_vmemmap() -> None:
    """B12: a compound page's head is known by a virtual address. A host that follows it in real mode is gone."""
    with bench(memory="256K", bugs=["tce-dirty-compound"]) as b:
        b.make_compound([2, 3])
        assert b.put(0, 3 << 12 | 3) == OK  # in virtual mode
        assert b.host.flags(int(b.page(3).frame)) & TAIL and b.host.flags(int(b.page(2).frame)) & HEAD
        with pytest.raises(EngineError, match="died in real mode: the head of a compound page"):
            b.put(0, 0)


def test_what_real_mode_is_linked_with() -> None:
    """The object file knows no allocator, no file, no Python: what it calls is listed here."""
    if shutil.which("gcc") is None or shutil.which("nm") is None:
        pytest.skip("needs gcc and nm")
    core = SRC.parents[2] / "core/src"
    out = SRC.parents[3] / "build"
    out.mkdir(exist_ok=True)
    target = out / "real_test.o"
    subprocess.run(["gcc", "-std=gnu11", "-O2", f"-I{SRC}", f"-I{core}", "-c", str(SRC / "real.c"), "-o", str(target)], check=True)
    symbols = subprocess.run(["nm", "-u", str(target)], check=True, capture_output=True, text=True).stdout.split()
    target.unlink()
    allowed = {
        "U", "breach", "helper_put", "helper_get", "lin", "realmode_pfn_to_page", "table_find", "table_flush", "table_lock", "table_slot",
        "table_unlock", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail",
    }  # fmt: skip
    assert set(symbols) <= allowed
