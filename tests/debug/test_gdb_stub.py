# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's requests, good and bad: answered, and never at the cost of the machine."""

from __future__ import annotations

import contextlib
import re
import socket
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from helpers.gdb import Client, serving
from helpers.guest import ISAS
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import CoreVcpu
from vmemu.debug.gdb.packets import MOST
from vmemu.debug.gdb.stub import Stub
from vmemu.debug.gdb.target import Target
from vmemu.debug.session import Session
from vmemu.errors import ConfigError
from vmemu.machine.machine import Machine
from vmemu.machine.result import state_hash

each_isa = pytest.mark.parametrize("isa", ISAS)
START, END = 60_000, 70_000


class Quiet:
    """A client that hears nothing, and a shell that has no commands."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, text: str) -> None:
        self.told.append(text)

    def moving(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def do(self, line: str, tell: Callable[[str], None]) -> None:
        tell(f"no {line}\n")


def stub_of(session: Session) -> Stub:
    quiet = Quiet()
    return Stub(session, quiet, quiet)


@pytest.fixture(scope="module", params=ISAS)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """`hello` in the middle of its boot."""
    session = Session(Machine.boot("hello", isa=request.param, smp=2))
    session.cont(START)
    yield session
    session.machine.close()


@pytest.fixture(scope="module")
def future(session: Session) -> str:
    """The state at END when nobody interferes."""
    session.goto(END)
    found = state_hash(session.machine)
    session.goto(START)
    return found


# ------------------------------------------------------------------- registers
@each_isa
def test_descriptions_say_what_is_there(isa: str) -> None:
    target = Target(isa)
    root = xml.fromstring(target.xml)
    registers = [reg for feature in root.iter("feature") for reg in feature.iter("reg")]
    assert [int(reg.attrib["regnum"]) for reg in registers] == list(range(len(target.slots)))
    assert [(reg.attrib["name"], int(reg.attrib["bitsize"])) for reg in registers] == [(s.name, s.bits) for s in target.slots]
    assert len({s.name for s in target.slots}) == len(target.slots)
    plain = re.compile(r"u?int(8|16|32|64|128)?|code_ptr|data_ptr|i387_ext|ieee_double")
    for feature in root.iter("feature"):
        types = {e.attrib["id"] for e in feature if e.tag in ("flags", "enum", "union", "vector")}
        assert all(r.attrib["type"] in types or plain.fullmatch(r.attrib["type"]) for r in feature.iter("reg"))
        for flags in feature.iter("flags"):
            assert all(int(f.attrib["end"]) < 8 * int(flags.attrib["size"]) for f in flags)


def test_every_register_that_a_guest_can_see_is_shown(session: Session) -> None:
    target, vcpu = Target(session.machine.board.isa), session.machine.vcpus[0]
    shown = {name for slot in target.slots for name, _ in slot._parts(vcpu)}
    missing = {r.name for r in target.isa.registers if r.group != "hidden"} - shown
    assert missing == {"x86_64": set(), "arm64": {"sp_el0"}, "ppc64": {"vscr_sat_hi", "vscr_sat_lo"} | {
        f"vs{i}_{half}" for i in range(32, 64) for half in ("hi", "lo")} & missing}[target.isa.name]


def test_all_registers_at_once_or_one_by_one(session: Session) -> None:
    stub = stub_of(session)
    target, vcpu = stub.target, session.machine.vcpus[0]
    every = bytes.fromhex(stub.handle(b"g").decode())  # type: ignore[union-attr]
    one_by_one = b"".join(bytes.fromhex(stub.handle(b"p%x" % n).decode()) for n in range(len(target.slots)))  # type: ignore[union-attr]
    assert every == one_by_one
    pc = target.number[target.port.pc]
    assert int.from_bytes(target.read(vcpu, pc), "big" if target.isa.big_endian else "little") == vcpu.pc
    for number, data in target.split(every):
        assert target.changes(vcpu, number, data) == []  # writing what is there changes nothing
    assert stub.handle(b"G" + every.hex().encode()) == b"OK"


@given(data=st.data())
@settings(max_examples=60)
def test_a_write_of_a_register_touches_its_parts_alone(data: st.DataObject) -> None:
    isa = data.draw(st.sampled_from(ISAS))
    target, vcpu = Target(isa), bare(isa)
    number = data.draw(st.integers(0, len(target.slots) - 1))
    slot = target.slots[number]
    value = data.draw(st.binary(min_size=slot.bits // 8, max_size=slot.bits // 8))
    asked = int.from_bytes(value, "big" if target.isa.big_endian else "little")
    made = shift = 0
    changed = dict(target.changes(vcpu, number, value))
    for name, bits in slot._parts(vcpu):
        made |= changed.get(name, vcpu.get(name) & (1 << bits) - 1) << shift
        shift += bits
    assert made == asked & (1 << shift) - 1


@cache
def bare(isa: str) -> CoreVcpu:
    return Machine.boot("hello", isa=isa).vcpus[0]


HI, LO = 0x0011223344556677, 0x8899AABBCCDDEEFF


@pytest.mark.parametrize(("isa", "state", "name", "expected"), [
    ("x86_64", {"xmm3_hi": HI, "xmm3_lo": LO}, "xmm3", "ffeeddccbbaa9988" "7766554433221100"),
    ("x86_64", {"fpsw": 6 << 11, "fp1_hi": 0x4001, "fp1_lo": LO}, "st3", "ffeeddccbbaa9988" "0140"),  # TOP 6: ST(3) is R1
    ("arm64", {"v3_hi": HI, "v3_lo": LO}, "v3", "ffeeddccbbaa9988" "7766554433221100"),
    ("arm64", {"sp_el0": HI, "sp_el1": LO, "pstate": 0x3C5}, "sp", "ffeeddccbbaa9988"),
    ("arm64", {"sp_el0": HI, "sp_el1": LO, "pstate": 0x3C4}, "sp", "7766554433221100"),
    ("arm64", {"sp_el0": HI, "sp_el1": LO, "pstate": 0}, "sp", "7766554433221100"),
    ("ppc64", {"vs35_hi": HI, "vs35_lo": LO}, "vr3", "0011223344556677" "8899aabbccddeeff"),
    ("ppc64", {"vs3_hi": HI, "vs3_lo": LO}, "f3", "0011223344556677"),
    ("ppc64", {"vs3_hi": HI, "vs3_lo": LO}, "vs3h", "8899aabbccddeeff"),
    ("ppc64", {"r31": HI}, "r31", "0011223344556677"),
])  # fmt: skip
def test_bytes_are_where_the_architecture_has_them(isa: str, state: dict[str, int], name: str, expected: str) -> None:
    vcpu, target = Machine.boot("hello", isa=isa).vcpus[0], Target(isa)
    for register, value in state.items():
        vcpu.set(register, value)
    assert target.read(vcpu, target.number[name]).hex() == expected


# --------------------------------------------------------------------- threads
def test_threads_are_vcpus(session: Session) -> None:
    stub = stub_of(session)
    assert stub.handle(b"qfThreadInfo") == b"m1,2" and stub.handle(b"qsThreadInfo") == b"l"
    assert stub.handle(b"T2") == b"OK" and stub.handle(b"T3") == b"E03" and stub.handle(b"T0") == b"E03"
    assert stub.handle(b"Hg2") == b"OK" and stub.vcpu.id == 1 and stub.handle(b"qC") == b"QC2"
    assert stub.handle(b"Hg1") == b"OK" and stub.handle(b"Hc-1") == b"OK"
    assert b"vCPU 1, task 0, offline" in bytes.fromhex(stub.handle(b"qThreadExtraInfo,2").decode())  # type: ignore[union-attr]
    threads = xml.fromstring(stub.handle(b"qXfer:threads:read::0,fff")[1:])  # type: ignore[index]
    assert [t.attrib["id"] for t in threads] == ["1", "2"]


# ---------------------------------------------------------------------- memory
def test_memory_that_is_not_there(session: Session) -> None:
    stub = stub_of(session)
    pc = session.machine.vcpus[0].pc
    assert len(stub.handle(b"m%x,10" % pc) or b"") == 32
    assert stub.handle(b"m%x,ffffffffffffffff" % pc) != b"E14"  # as much as there is, and as a packet holds
    for request in (b"m6666000000000000,8", b"M6666000000000000,1:00", b"X6666000000000000,1:0", b"Z2,6666000000000000,8"):
        assert stub.handle(request) == b"E14"
    assert stub.handle(b"m%x,0" % pc) == b""


def test_descriptions_come_in_pieces(session: Session) -> None:
    stub, found = stub_of(session), b""
    while True:
        part = stub.handle(b"qXfer:features:read:target.xml:%x,123" % len(found)) or b""
        found += part[1:]
        if part[:1] == b"l":
            break
    assert found == stub.target.xml
    assert stub.handle(b"qXfer:features:read:other.xml:0,10") == b"E00"
    assert stub.handle(b"qXfer:auxv:read::0,10") == b""


# -------------------------------------------------------------- bad requests
words = st.sampled_from((
    b"g", b"G", b"p", b"P", b"m", b"M", b"X", b"H", b"Hg", b"Hc", b"T", b"Z", b"Z0", b"Z1,", b"Z2,", b"z0,", b"z", b"?", b"!", b"A", b"R",
    b"b", b"D", b"i", b"t", b"q", b"qC", b"qSupported", b"qSupported:", b"qXfer", b"qXfer:features:read:",
    b"qXfer:features:read:target.xml:",
    b"qXfer:threads:read::", b"qXfer:memory-map:read::", b"qThreadExtraInfo,", b"qRcmd,", b"qRcmd", b"qCRC:", b"qSearch:memory:",
    b"qOffsets", b"QStartNoAckMode", b"QPassSignals:", b"QNonStop:1", b"vMustReplyEmpty", b"vCont?", b"vCont", b"vCont;", b"vCont;x",
    b"vCont;s:9", b"vCont;r1", b"vCont;r1,2:7", b"vFile:open:", b"vKill", b"c;", b"s;", b"vRun;", b"jThreads", b"\xff",
))  # fmt: skip
tails = st.lists(
    st.sampled_from((b",", b";", b":", b"=", b"-", b"-1", b"0", b"1", b"fff", b"ffffffffffffffff", b"10000000000000000", b"zz", b"8", b"2,",
                     b" ", b"7f", b"0x10", b"\x00", b"\x80")),
    max_size=6,
).map(b"".join)  # fmt: skip
requests = st.tuples(words, tails).map(b"".join) | st.binary(max_size=40)


def moves(request: bytes) -> bool:
    """Is it one of the few that let time pass, write, or end the session?"""
    return request[:1] in (b"c", b"C", b"s", b"S", b"k", b"D") and b";" not in request or request[:2] in (b"bs", b"bc") or bool(
        re.match(rb"vCont;|vKill|[MXGP]", request)
    )


@given(st.lists(requests, max_size=12))
@settings(max_examples=120)
def test_anything_may_be_asked(session: Session, future: str, asked: list[bytes]) -> None:
    stub = stub_of(session)
    for request in asked:
        if moves(request):
            continue
        answer = stub.handle(request)
        assert answer is not None and (len(answer) <= MOST or request[:1] == b"g")
    stub.close()
    session.vcpu = 0
    assert not session.breakpoints and not session.watchpoints
    assert session.machine.insns == START


steps = st.sampled_from((
    b"s", b"S05", b"s;10", b"bs", b"bc", b"bx", b"vCont;s", b"vCont;s:1;c", b"vCont;S05:1", b"vCont;r0,ffff:1", b"vCont;s:7",
))


@given(st.lists(steps | st.tuples(steps, tails).map(b"".join), max_size=4))
@settings(max_examples=40)
def test_moves_leave_the_guest_on_its_path(session: Session, future: str, asked: list[bytes]) -> None:
    stub = stub_of(session)
    for request in asked:
        answer = stub.handle(request)
        assert answer is not None and (answer == b"" or re.match(rb"E[0-9]{2}$|T[0-9a-f]{2}thread:", answer))
    stub.close()
    session.vcpu = 0
    session.goto(END)
    assert state_hash(session.machine) == future
    session.goto(START)


def test_so_many_points_and_no_more(session: Session) -> None:
    stub = stub_of(session)
    answers = [stub.handle(b"Z0,%x,4" % (0x1000 + 4 * n)) for n in range(300)]
    assert answers == [b"OK"] * answers.count(b"OK") + [b"E28"] * answers.count(b"E28") and 100 < answers.count(b"OK") < 300
    assert stub.handle(b"Z0,1000,4") == b"OK" == stub.handle(b"z0,1000,4") == stub.handle(b"Z0,9000,4")
    stub.close()
    assert not session.breakpoints


# ------------------------------------------------------------------- sockets
def test_clients_in_a_row_and_one_too_many(session: Session, tmp_path: Path) -> None:
    with serving(session, f"unix:{tmp_path}/gdb") as server:
        for _ in range(3):
            with Client(server) as client:
                assert client.ask(b"qC") == b"QC1"
                with Client(server) as other:
                    assert other.receive().startswith(b"E.vmemu: another debugger")
                    assert other.socket.recv(100) == b""
                assert client.ask(b"?").startswith(b"T05thread:1;")
                assert client.ask(b"D") == b"OK"
    assert not list(tmp_path.iterdir())


def test_acknowledgements(session: Session) -> None:
    with serving(session) as server, Client(server) as client:
        client.send(b"$qC#00")
        assert client.socket.recv(1) == b"-"
        assert client.ask(b"qC") == b"QC1"
        client.send(b"-")
        assert client.receive() == b"QC1"  # once more
        assert client.ask(b"QStartNoAckMode") == b"OK"
        client.held = b""
        client.packet(b"qC")
        assert client.socket.recv(100) == b"$QC1#c5"
        client.send(b"$qC#00")
        assert client.receive() == b"E22"


@given(st.lists(st.binary(max_size=80) | requests.filter(lambda r: not moves(r)).map(lambda r: b"$%s#%02x" % (r, sum(r) % 256))
                | st.sampled_from((b"\x03", b"$", b"#", b"$m0,4#fd\x03", b"-", b"+", b"}")), max_size=8), st.booleans())  # fmt: skip
@settings(max_examples=25)
def test_anything_may_come_over_the_line(session: Session, future: str, parts: list[bytes], half: bool) -> None:
    with serving(session) as server:
        with Client(server) as client:
            for part in parts:
                if b"$" in part and any(moves(p) for p in re.findall(rb"\$([^#$]*)#", part)):
                    continue
                with contextlib.suppress(OSError):
                    client.send(part)
            if half:
                with contextlib.suppress(OSError):
                    client.socket.shutdown(socket.SHUT_WR)
                    while client.socket.recv(65536):
                        pass
        with Client(server) as client:
            assert client.ask(b"?").startswith(b"T")
    assert session.machine.insns == START and not session.breakpoints


def test_a_break_amid_a_run(session: Session) -> None:
    session.goto(START)
    with serving(session) as server, Client(server) as client:
        client.packet(b"vCont;c")
        client.send(b"\x03")
        answer = client.receive()
        while answer[:1] == b"O":  # the guest may be quicker
            answer = client.receive()
        assert re.match(rb"T02thread:1;|T05thread:1;replaylog:end;", answer)
        assert client.ask(b"qC") == b"QC1"
    session.goto(START)


@each_isa
def test_a_client_that_goes_away_stops_the_guest(isa: str) -> None:
    machine = Machine.boot("walk", isa=isa, memory="16M", append="pages=512 passes=4000")
    session = Session(machine)
    with serving(session) as server:
        with Client(server) as client:
            client.packet(b"c")
        with Client(server) as client:
            assert client.ask(b"?").startswith(b"T05")
            where = machine.insns
            assert client.ask(b"qC") == b"QC1" and machine.insns == where
    machine.close()


def test_where_to_listen(session: Session, tmp_path: Path) -> None:
    for where in ("", "x", "1:2:3", "99999", "unix:", f"unix:{tmp_path}/no/such", "localhost:", "256.1.1.1:1", "-1"):
        with pytest.raises(ConfigError, match="--gdb"), serving(session, where):
            pass
    with serving(session, "localhost:0") as server:
        assert server.address.startswith("127.0.0.1:")
        with pytest.raises(ConfigError, match="--gdb"), serving(session, server.address):
            pass
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="--gdb"), serving(session, f"unix:{tmp_path}/taken"):
        pass
    assert (tmp_path / "taken").exists()


def test_kill_ends_the_server(session: Session) -> None:
    with serving(session) as server, Client(server) as client:
        assert client.ask(b"vKill;1") == b"OK"
        assert client.receive() == b""
