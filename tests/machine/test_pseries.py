# SPDX-License-Identifier: GPL-2.0-or-later
"""The pseries board with bare images: hypercall conventions, interrupts while ceded, and hostile guests."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from helpers.elfmaker import EM_PPC64, make_elf

from vmemu.machine.machine import Machine
from vmemu.machine.result import FAILED, LIMIT, OK, STALLED

BASE = 0x10000
SC1, RFID, TRAP = 0x44000022, 0x4C000024, 0x7FE00008
H_SUCCESS, H_FUNCTION, H_PARAMETER = 0, -2, -4


def li64(register: int, value: int) -> list[int]:
    """Load a 64-bit constant."""
    parts = [value >> s & 0xFFFF for s in (48, 32, 16, 0)]
    r = register
    return [
        15 << 26 | r << 21 | parts[0],
        24 << 26 | r << 21 | r << 16 | parts[1],
        0x780007C6 | r << 21 | r << 16,
        25 << 26 | r << 21 | r << 16 | parts[2],
        24 << 26 | r << 21 | r << 16 | parts[3],
    ]


def std(register: int, offset: int, base: int) -> int:
    return 62 << 26 | register << 21 | base << 16 | offset


def mtspr(number: int, register: int) -> int:
    return 0x7C0003A6 | register << 21 | (number & 31) << 16 | number >> 5 << 11


def call(token: int, *args: int) -> list[int]:
    code = li64(3, token)
    for i, value in enumerate(args):
        code += li64(4 + i, value & (1 << 64) - 1)
    return [*code, SC1]


def leave(status: int) -> list[int]:
    return call(0xF0FF, status)


def boot(code: list[int], tmp_path: Path, vectors: dict[int, list[int]] | None = None, **options: object) -> Machine:
    """A machine about to run `code` at 0x10000 in real mode; `vectors` are placed at their physical addresses."""
    words = b"".join(struct.pack(">I", w) for w in code)
    low = bytearray(0x5000)
    for at, body in (vectors or {}).items():
        data = b"".join(struct.pack(">I", w) for w in body)
        low[at : at + len(data)] = data
    image = tmp_path / "image.elf"
    segments = ((0, 0, bytes(low), len(low)), (BASE, BASE, words, len(words)))
    image.write_bytes(make_elf(EM_PPC64, big=True, entry=BASE, segments=segments))
    defaults: dict[str, object] = {"memory": "16M", "max_cycles": 20_000_000}
    return Machine.boot(str(image), isa="ppc64", **{**defaults, **options})


def results(tmp_path: Path, *calls: list[int]) -> list[int]:
    """r3 (signed) after each call, stored at 0x20000 by the guest."""
    code = li64(20, 0x20000)
    for i, one in enumerate(calls):
        code += [*one, std(3, 8 * i, 20)]
    machine = boot(code + leave(0), tmp_path)
    assert machine.run().status == OK
    return list(struct.unpack(f">{len(calls)}q", machine.read_guest(0x20000, 8 * len(calls))))


def test_return_codes(tmp_path: Path) -> None:
    assert results(
        tmp_path,
        call(0x1234),
        call(0),
        call((1 << 64) - 4),
        call(0x28),
        call(0xE4, 0, 0),
        call(0x300),  # unknown, confer, random
        call(0x31C, 3, 3, 0, 0),
        call(0x31C, 2, 3, 0, 0),
        call(0x31C, 0, 9, 0, 0),
        call(0x31C, 0, 3, 1, 0),
        call(0x31C, 0, 3, 0, 1),
        call(0x37C, 0x1D, 0x40001, 0, 0),
        call(0x37C, 0x1D, 0x40000, 1, 0),
        call(0x37C, 0x1D, 0x40000, 0, 25),
        call(0x37C, 0x18, 0x40000, 0, 0),
        call(0xDC, 1 << 45, 0, 1 << 40),
        call(0xDC, 1 << 45, 5, 0x8000),
        call(0xDC, 5 << 45, 0, 0),
        call(0x2C, 0x8000, 0x30000),
        call(0x2C, 0x8000, 1 << 30),
        call(0x2C, 0x4000, 0x30000, 0x31001),
        call(0x58, 0, 17, 0, 0),
        call(0x58, 3, 1, 0, 0),
        call(0xF000, 1 << 50),
        call(0x6C, 9, 0),
        call(0x64, 0x77),
    ) == [
        -2,
        -2,
        -2,
        -2,
        0,
        0,
        0,
        -256,
        -55,
        -56,
        -57,
        -55,
        -56,
        -57,
        -4,
        -4,
        -4,
        0,
        0,
        -4,
        -4,
        -4,
        -4,
        -4,
        -4,
        -4,
    ]


def test_exit_status_and_console(tmp_path: Path) -> None:
    machine = boot([*call(0x58, 0, 3, int.from_bytes(b"hi\n\0\0\0\0\0", "big"), 0), *leave(7)], tmp_path)
    result = machine.run()
    assert (result.status, result.guest_status) == (FAILED, 7)
    assert bytes(machine.console.output) == b"hi\n"


def test_cede_waits_for_the_decrementer(tmp_path: Path) -> None:
    code = [*li64(4, 512_000), mtspr(22, 4), *call(0xE0), TRAP]  # 1 ms
    machine = boot(code, tmp_path, {0x900: leave(3)}, max_cycles=10_000_000)
    result = machine.run()
    assert result.guest_status == 3
    assert 1_000_000 <= result.virtual_ns < 1_010_000
    assert result.idle_cycles > 1_900_000


def test_cede_for_nothing_is_a_stall(tmp_path: Path) -> None:
    result = boot([*li64(4, 0x7FFF_FFFF), mtspr(22, 4), *call(0xE0)], tmp_path).run()
    assert result.status == STALLED
    assert "vCPU 0" in result.reason


def problem_state(tmp_path: Path, **options: object) -> Machine:
    """A program, in a radix tree of one 1 GiB leaf for everybody, that makes a hypercall and then traps to 0x700."""
    table = struct.pack(">QQ", 2 << 61 | 0x41000 | 1 << 5 | 9, 0)  # RTS 17: 48 bits; 9-9 and a leaf at 1 GiB
    code = [
        *li64(20, 0x40000),
        *li64(3, int.from_bytes(table[:8], "big")),
        std(3, 0, 20),
        *li64(3, 1 << 63 | 0x42000 | 9),
        std(3, 0x1000, 20),
        *li64(3, 3 << 62 | 7),
        std(3, 0x2000, 20),
        *call(0x37C, 0x1D, 0x40000, 0, 0),
        *li64(3, 0x10400),
        mtspr(26, 3),
        *li64(3, 1 << 63 | 0xD032),
        mtspr(27, 3),
        *li64(3, 0xF0FF),
        *li64(4, 1),
        RFID,
    ]
    code += [0x60000000] * (0x100 - len(code)) + [SC1, TRAP]
    mfsrr0, mfsrr1 = 0x7C7A02A6, 0x7C7B02A6
    keep = [*li64(20, 0x20000), std(3, 16, 20), mfsrr0, std(3, 0, 20), mfsrr1, std(3, 8, 20)]
    vectors = {0x700: keep + leave(9), 0x300: leave(0x30), 0x400: leave(0x40)}
    return boot(code, tmp_path, vectors, **options)


def test_hypercall_from_problem_state_is_refused(tmp_path: Path) -> None:
    """LoPAR 2.9 5.3 R1-11."""
    machine = problem_state(tmp_path)
    assert machine.run().guest_status == 9
    srr0, srr1, r3 = struct.unpack(">QQq", machine.read_guest(0x20000, 24))
    assert (srr0, srr1 & 0x783F0000, r3) == (0x10404, 0x20000, -3)  # the trap behind it
    assert srr1 & 0x4000


def test_kvm_has_problem_state_take_a_program_interrupt(tmp_path: Path) -> None:
    machine = problem_state(tmp_path, bugs=("kvm-sc1",))
    assert machine.run().guest_status == 9
    srr0, srr1, r3 = struct.unpack(">QQq", machine.read_guest(0x20000, 24))
    assert (srr0, srr1 & 0x783F0000, r3) == (0x10400, 0x40000, 0xF0FF)
    assert srr1 & 0x4000


def test_dispatch_count_is_even_from_the_first_instruction_on(tmp_path: Path) -> None:
    """Odd while ceded (LoPAR 11.1.1); the handler that the interrupt wakes reads it without having called anybody."""
    vpa = 0x30000
    lwz = 0x80000000 | 21 << 21 | 20 << 16 | 0x100  # lwz r21, 0x100(r20)
    setup = [
        *li64(20, vpa), *li64(4, 0x280 << 16), std(4, 0, 20), *call(0xDC, 1 << 45, 0, vpa), *li64(4, 51_200), mtspr(22, 4), *call(0xE0),
    ]  # fmt: skip
    handler = [*li64(20, vpa), lwz, *li64(20, 0x20000), std(21, 0, 20), *leave(3)]
    machine = boot([*setup, TRAP], tmp_path, {0x900: handler})
    seen = []
    machine.run(at=(len(setup), lambda m: seen.append(int.from_bytes(m.read_guest(vpa + 0x100, 4), "big"))))
    assert machine.guest_status == 3
    assert seen == [3]
    assert struct.unpack(">Q", machine.read_guest(0x20000, 8)) == (4,)


def test_page_usage_needs_cmo(tmp_path: Path) -> None:
    """H_PAGE_INIT with a usage state, before and after client architecture support; then with reserved memory."""
    unused = 0xE << 32  # change, unused
    vectors = struct.pack(">IIII", 0xFFFF0000, 0x00800000, 0, 0xFFFFFFFF) + b"\4" + b"\0\0" * 4 + b"\3\0\0\0\x80"
    words = struct.unpack(">4Q", vectors.ljust(32, b"\0"))
    store = [*li64(21, 0x38000)]
    for i, word in enumerate(words):
        store += [*li64(3, word), std(3, 8 * i, 21)]
    before = call(0x2C, unused, 0x30000, 0)
    assert results(tmp_path, before, [*store, *call(0xF002, 0x38000, 0, 0)], before, call(0x2C, unused, 1 << 40, 0)) == [-4, 0, 0, -4]


def test_vio_signal_knows_no_unit_yet(tmp_path: Path) -> None:
    assert results(tmp_path, call(0x104, 0x71000002, 1)) == [-4]


@pytest.mark.parametrize(
    ("code", "vectors", "expected"),
    [
        ([TRAP], {0x700: [0x4800_0000]}, (LIMIT, "limit")),
        ([TRAP], {0x700: [0]}, (FAILED, "0x700")),
        (
            [*call(0x31C, 3, 3, 0, 0), *li64(3, 1 << 63 | 0x1030), mtspr(27, 3), mtspr(26, 3), RFID],
            {0x400: [0]},
            (FAILED, "repeats"),
        ),
        ([*li64(3, 1 << 40), 0x88630000], {0x200: leave(5)}, (FAILED, "status 5")),  # a load outside memory
        ([*li64(3, 1 << 40), 0x7C6903A6, 0x4E800420], {0x200: leave(6)}, (FAILED, "status 6")),  # a jump outside memory
        ([*li64(3, 1 << 40), 0x88630000], {0x200: [*li64(3, 1 << 40), 0x88630000]}, (FAILED, "checkstop")),
        (
            [*call(0x37C, 0x1D, 0xFFFFFFFFFFFF000, 0, 24), *li64(3, 1 << 63 | 0x1010), 0x7C600164, 0x80600000],
            {0x300: leave(8)},
            (FAILED, "status 8"),
        ),
    ],
)
def test_hostile_guests(
    code: list[int], vectors: dict[int, list[int]], expected: tuple[int, str], tmp_path: Path
) -> None:
    result = boot(code, tmp_path, vectors).run()
    assert result.status == expected[0]
    assert expected[1] in result.reason


#: Words worth trying together: memory, branches, system registers, synchronisation, calls.
FRAGMENTS = (
    SC1,
    0x44000002,
    RFID,
    TRAP,
    0,
    0x7C60_0164,
    0x7C60_0124,
    0x7C7543A6,
    0x7C7542A6,
    0x7C7142A6,
    0x7C0004AC,
    0x4C00012C,
    0x7C00003C,
    0x4C0002E4,
    0x4C000364,
    0x7C001A64,
    0x7C0003E4,
    0x7C60_20A8,
    0x7C6021AD,
    0x7C6005E6,
    0x7C20060C,
    0x7C20070D,
    0x7C00068C,
    0x7C0007EC,
    0x48000004,
    0x4BFFFFFC,
    0x4E800020,
    0x7C6903A6,
    0x7C6803A6,
    0xF8630000,
    0xE8630000,
    0x7C00_1FAC,
    0x7C7603A6,
    0x7C7602A6,
)


@pytest.mark.parametrize("seed", range(24))
def test_garbage_code(seed: int, tmp_path: Path) -> None:
    """Anything may happen to the guest, nothing to the host."""
    rng = random.Random(seed)
    code: list[int] = []
    while len(code) < 400:
        kind = rng.randrange(6)
        if kind == 0:
            code.append(rng.getrandbits(32))
        elif kind == 1:
            code += li64(
                rng.randrange(32),
                rng.choice((rng.getrandbits(64), rng.randrange(1 << 24), 0xC000 << 48 | rng.randrange(1 << 24))),
            )
        elif kind == 2:
            code += li64(
                3,
                rng.choice(
                    (0xDC, 0xE0, 0xE8, 0x31C, 0x37C, 0xF000, 0x2C, 0x58, 0x54, 0x64, 0x68, 0x6C, 0x70, 0x74, 0x300)
                ),
            )
            code.append(SC1)
        elif kind == 3:
            number = rng.choice((22, 26, 27, 29, 48, 61, 268, 272, 284, 309, 318, 849, rng.randrange(1024)))
            code.append(
                rng.choice((0x7C0003A6, 0x7C0002A6)) | rng.randrange(32) << 21 | (number & 31) << 16 | number >> 5 << 11
            )
        else:
            code.append(rng.choice(FRAGMENTS))
    vectors = {at: [rng.choice(FRAGMENTS) for _ in range(16)] for at in range(0x100, 0x1000, 0x80)}
    machine = boot(code, tmp_path, vectors, max_cycles=100_000, memory="4M", resident="2M")
    result = machine.run()
    assert result.status in (OK, FAILED, STALLED, LIMIT), result.reason
    machine.close()
