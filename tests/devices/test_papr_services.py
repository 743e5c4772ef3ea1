# SPDX-License-Identifier: GPL-2.0-or-later
"""What a pseries partition negotiates and declares: client architecture support, H_VIO_SIGNAL, page usage states."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmemu.devices.cas import CMO, PVR, VECTOR5_BYTES, Cas
from vmemu.devices.page_usage import CHANGE, PageUsage, Usage
from vmemu.devices.papr import H_HARDWARE, H_P2, H_PARAMETER, Refused
from vmemu.devices.vio import VioSignals

SIZE = 0x2000
LIST, ANSWER = 0x100, 0x1800


class Partition:
    """8 KiB of memory and the platform's side of an agreement about CMO."""

    def __init__(self) -> None:
        self.data = bytearray(SIZE)
        self.cas = Cas(self.is_ram, lambda at, n: bytes(self.data[at : at + n]), self.write)
        self.cas.offer(CMO)

    def is_ram(self, at: int, size: int) -> bool:
        return at >= 0 and at + size <= SIZE

    def write(self, at: int, data: bytes) -> None:
        self.data[at : at + len(data)] = data

    def ask(self, vector5: bytes, pvrs: tuple[tuple[int, int], ...] = ((0xFFFF0000, PVR & 0xFFFF0000),)) -> None:
        pairs = b"".join(struct.pack(">II", *pair) for pair in (*pvrs, (0, 0xFFFF_FFFF)))
        others = b"\x00\x80" * 4  # vectors 1 to 4 of one byte each
        self.write(LIST, pairs + bytes([4]) + others + bytes([len(vector5) - 1]) + vector5)
        self.cas.call(LIST, ANSWER, 64)


def refusal(call: object) -> int:
    assert callable(call)
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.code


def test_cmo_is_agreed_upon_when_both_want_it() -> None:
    p = Partition()
    p.ask(b"\xff\xff\xff\x80\xff")
    assert p.cas.has(CMO)
    assert p.data[ANSWER : ANSWER + 9] == bytes([VECTOR5_BYTES, 0, 0, 0, 0x80, 0, 0, 0, 0])
    p.ask(b"\xff\xff\xff\x7f")  # asked again: no CMO
    assert not p.cas.has(CMO)
    p.ask(b"\xff\xff\xff")  # too short to say
    assert not p.cas.has(CMO)
    p.cas.offer(CMO, False)
    p.ask(b"\xff" * 200)
    assert not p.cas.has(CMO)
    assert p.data[ANSWER + 4] == 0


def test_cas_of_another_processor_is_refused_and_changes_nothing() -> None:
    p = Partition()
    p.ask(b"\0\0\0\x80")
    assert refusal(lambda: p.ask(b"\0\0\0\0", ((0xFFFF0000, 0x004E0000),))) == H_HARDWARE
    p.ask(b"\0\0\0\x80")
    assert refusal(lambda: p.cas.call(LIST, ANSWER, VECTOR5_BYTES)) == H_P2
    assert refusal(lambda: p.cas.call(LIST, SIZE - 8, 64)) == H_P2
    assert p.cas.has(CMO)


def test_cas_without_a_terminator_or_outside_memory() -> None:
    p = Partition()
    assert refusal(lambda: p.cas.call(0x100, 0, 0)) == H_PARAMETER  # all zero: no end in sight
    for at in (SIZE - 4, SIZE, 1 << 63, -8):
        assert refusal(lambda at=at: p.cas.call(at, 0, 0)) == H_PARAMETER


@given(st.binary(max_size=300), st.integers(0, SIZE))
def test_any_bytes_are_refused_or_agreed(junk: bytes, at: int) -> None:
    p = Partition()
    p.write(min(at, SIZE - len(junk)), junk)
    code = 0
    try:
        p.cas.call(at, 0, 0)
    except Refused as refused:
        code = refused.code
    assert code in (0, H_PARAMETER, H_HARDWARE)
    assert not code or p.cas.agreed == bytes(VECTOR5_BYTES)
    other = Partition()
    other.cas.load(p.cas.save())
    assert other.cas.agreed == p.cas.agreed


def test_vio_signal() -> None:
    vio = VioSignals()
    vio.add(0x71000002)
    vio.add(0x71000003, sources=2, mode=3)
    assert not vio.enabled(0x71000002)
    assert vio.enabled(0x71000003, 1)
    vio.signal(0x71000002, 1)
    assert vio.enabled(0x71000002)
    for unit, mode in ((0x71000004, 1), (0x71000002, 2), (0x71000002, 1 << 63), (-1, 0)):
        assert refusal(lambda unit=unit, mode=mode: vio.signal(unit, mode)) == H_PARAMETER
    other = VioSignals()
    other.add(0x71000002)
    other.add(0x71000003, sources=2)
    other.load(vio.save())
    assert other.mode == vio.mode
    vio.reset()
    assert not vio.enabled(0x71000002)
    assert vio.enabled(0x71000003)
    with pytest.raises(ValueError, match="taken"):
        vio.add(0x71000002)


#: LoPAR 2.9, "CMO Page Usage State flags": bits 28 (change), 29 and 30 (state), 31.
STATES = {
    (0, 0, 0): Usage.ACTIVE, (0, 1, 0): Usage.LATENT, (0, 1, 1): Usage.LATENT_CRITICAL, (1, 0, 0): Usage.EXPENDABLE,
    (1, 0, 1): Usage.EXPENDABLE_CRITICAL, (1, 1, 0): Usage.UNUSED, (1, 1, 1): Usage.LOANED,
}  # fmt: skip


def test_page_usage_flags() -> None:
    usage = PageUsage()
    for bits, state in STATES.items():
        flags = sum(bit << 63 - 29 - i for i, bit in enumerate(bits))
        usage.set(7, flags)  # without the change bit: nothing
        usage.set(7, flags | CHANGE)
        assert usage.of(7) == state
        assert usage.discardable(7) == (bits[0] == 1)
        other = PageUsage()
        other.load(usage.save())
        assert other.of(7) == state
        assert other.of(8) == Usage.ACTIVE
        usage.set(7, CHANGE)
        assert usage.of(7) == Usage.ACTIVE
        assert not usage.save()["states"]
