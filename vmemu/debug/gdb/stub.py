# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests of gdb and their answers (RSP E.2 "Packets", E.4 "General Query Packets").

A request that this stub does not know is answered with an empty packet, one that makes no sense with E22, one for memory that is
not there with E14; all of them leave the machine alone. Threads are vCPUs: thread N + 1 is vCPU N.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol
from xml.sax.saxutils import escape as xml_escape
from xml.sax.saxutils import quoteattr

from vmemu.core import CoreVcpu
from vmemu.debug.gdb.moves import BREAKS, WATCHES, Moves, Refused
from vmemu.debug.gdb.packets import MOST
from vmemu.debug.gdb.stepping import task_of
from vmemu.debug.gdb.target import Target
from vmemu.debug.session import Session
from vmemu.errors import VmemuError
from vmemu.machine.view import read_virtual, translate

FEATURES = (
    f"PacketSize={MOST:x}", "QStartNoAckMode+", "qXfer:features:read+", "qXfer:threads:read+", "vContSupported+", "swbreak+",
    "hwbreak+", "ReverseStep+", "ReverseContinue+",
)  # fmt: skip


class Link(Protocol):
    """The client, as a request may use it while it is served."""

    def tell(self, text: str) -> None: ...
    def moving(self) -> AbstractContextManager[None]: ...


class Shell(Protocol):
    """Who does the commands of `monitor`."""

    def do(self, line: str, tell: Callable[[str], None]) -> None: ...


def number(text: bytes) -> int:
    """A hexadecimal number of the protocol, 64 bits at most. Raises ValueError."""
    if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", text):
        raise ValueError("no number")
    return int(text, 16)


def unhex(text: bytes) -> bytes:
    """Raises ValueError. Unlike bytes.fromhex, it takes no blanks."""
    if not re.fullmatch(rb"(?:[0-9a-fA-F]{2})*", text):
        raise ValueError("no bytes")
    return bytes.fromhex(text.decode())


class Stub:
    """One client's view of a session."""

    def __init__(self, session: Session, link: Link, shell: Shell) -> None:
        self.session, self._link, self._shell = session, link, shell
        self.target = Target(session.machine.board.isa)
        self.moves = Moves(session, self.target, link.tell)
        self.moves.last = b"T05thread:%x;" % (session.vcpu + 1)
        self.no_ack = self.done = self.killed = False
        self._to_move: int | None = None  # vCPU that Hc chose
        #: gdb is amid `step` or `next`: it began with a range, and goes on by single instructions where functions are inlined. When it
        #: is done it asks for other things than registers and memory.
        self._amid_line = False
        self._requests: dict[bytes, Callable[[bytes], bytes | None]] = {
            b"?": self._last_stop, b"g": self._read_registers, b"G": self._write_registers, b"p": self._read_register,
            b"P": self._write_register, b"m": self._read_memory, b"M": self._write_memory, b"X": self._write_binary,
            b"H": self._choose, b"T": self._alive, b"Z": self._insert, b"z": self._remove, b"c": self._continue, b"C": self._continue,
            b"s": self._step, b"S": self._step, b"b": self._back, b"D": self._detach, b"k": self._kill,
        }  # fmt: skip
        self._names: dict[bytes, Callable[[bytes], bytes | None]] = {
            b"qSupported": lambda _: ";".join(FEATURES).encode(), b"QStartNoAckMode": self._start_no_ack, b"qAttached": lambda _: b"1",
            b"qC": lambda _: b"QC%x" % (session.vcpu + 1), b"qfThreadInfo": self._threads, b"qsThreadInfo": lambda _: b"l",
            b"qThreadExtraInfo": self._thread_text, b"qXfer": self._transfer, b"qRcmd": self._monitor, b"qSymbol": lambda _: b"OK",
            b"vCont?": lambda _: b"vCont;c;C;s;S;r", b"vCont": self._resume, b"vKill": self._kill_by_number,
        }  # fmt: skip

    def handle(self, data: bytes) -> bytes | None:
        """The answer to a request; None: there is none."""
        name, rest = data[:1], data[1:]
        if name not in (b"v", b"m", b"p", b"g"):
            self._amid_line = False
        request = self._requests.get(name)
        if name in (b"q", b"Q", b"v"):  # the name goes up to the first of these marks
            name = re.split(b"[:;,]", data, maxsplit=1)[0]
            request, rest = self._names.get(name), data[len(name) + 1 :]
        if request is None:
            return b""
        try:
            return request(rest)
        except Refused as refused:
            return b"E%02d" % refused.number
        except (ValueError, IndexError):
            return b"E%02d" % errno.EINVAL
        except VmemuError:
            return b"E%02d" % errno.EPERM

    def close(self) -> None:
        """The client is gone: its break and watch points are, too."""
        self.moves.remove_all()

    @property
    def vcpu(self) -> CoreVcpu:
        """The one that registers and addresses are of (Hg)."""
        return self.session.machine.vcpus[self.session.vcpu]

    # -------------------------------------------------------------- threads
    def _thread(self, text: bytes) -> int:
        """The vCPU of a thread id. Raises Refused."""
        found = number(text) - 1
        if not 0 <= found < len(self.session.machine.vcpus):
            raise Refused(errno.ESRCH)
        return found

    def _choose(self, text: bytes) -> bytes:
        if text[:1] not in (b"g", b"c"):
            raise Refused(errno.EINVAL)
        chosen = None if text[1:] in (b"-1", b"0") else self._thread(text[1:])
        if text[:1] == b"c":
            self._to_move = chosen
        elif chosen is not None:
            self.session.vcpu = chosen
        return b"OK"

    def _alive(self, text: bytes) -> bytes:
        self._thread(text)
        return b"OK"

    def _threads(self, _: bytes) -> bytes:
        return b"m" + b",".join(b"%x" % (v.id + 1) for v in self.session.machine.vcpus)

    def _thread_text(self, text: bytes) -> bytes:
        return self._describe(self._thread(text)).encode().hex().encode()

    def _describe(self, n: int) -> str:
        machine = self.session.machine
        vcpu, words = machine.vcpus[n], [f"vCPU {n}"]
        if (task := task_of(self.session, vcpu)) is not None:
            words.append(f"task {task}")
        words += ["offline"] if not vcpu.online else ["halted"] if vcpu.halted else []
        return ", ".join(words)

    # ------------------------------------------------------------ registers
    def _read_registers(self, _: bytes) -> bytes:
        return self.target.read_all(self.vcpu).hex().encode()

    def _read_register(self, text: bytes) -> bytes:
        return self.target.read(self.vcpu, number(text)).hex().encode()

    def _write_registers(self, text: bytes) -> bytes:
        for place, data in list(self.target.split(unhex(text))):
            self._set(place, data)
        return b"OK"

    def _write_register(self, text: bytes) -> bytes:
        place, _, data = text.partition(b"=")
        self._set(number(place), unhex(data))
        return b"OK"

    def _set(self, place: int, data: bytes) -> None:
        vcpu = self.vcpu
        for name, value in self.target.changes(vcpu, place, data):
            self.session.command(f"reg {vcpu.id} {name} {value:#x}")

    # --------------------------------------------------------------- memory
    @staticmethod
    def _range(text: bytes) -> tuple[int, int]:
        address, _, size = text.partition(b",")
        return number(address), number(size)

    def _read_memory(self, text: bytes) -> bytes:
        address, size = self._range(text)
        data = read_virtual(self.session.machine, self.vcpu, address, min(size, MOST // 2))
        if size and not data:
            raise Refused(errno.EFAULT)
        return data.hex().encode()

    def _write_memory(self, text: bytes) -> bytes:
        where, _, data = text.partition(b":")
        return self._write(where, unhex(data))

    def _write_binary(self, text: bytes) -> bytes:
        where, _, data = text.partition(b":")
        return self._write(where, data)

    def _write(self, where: bytes, data: bytes) -> bytes:
        """All or nothing, page by page: pages need not lie together in guest-physical memory."""
        address, size = self._range(where)
        if size != len(data):
            raise Refused(errno.EINVAL)
        machine, pieces = self.session.machine, []
        while data:
            part = data[: 4096 - address % 4096]
            gpa = translate(machine, self.vcpu, address)
            if gpa is None or not machine.is_ram(gpa, len(part)):
                raise Refused(errno.EFAULT)
            pieces.append((gpa, part))
            address, data = address + len(part), data[len(part) :]
        for gpa, part in pieces:
            self.session.command(f"write {gpa:#x} {part.hex()}")
        return b"OK"

    # --------------------------------------------------------------- points
    def _point(self, text: bytes) -> tuple[int, int, int]:
        """type,address,kind of a Z or z; conditions and commands that follow are gdb's own to do."""
        kind, address, size = text.partition(b";")[0].split(b",")
        if number(kind) not in BREAKS and number(kind) not in WATCHES:
            raise Refused(errno.EINVAL)
        return number(kind), number(address), number(size)

    def _insert(self, text: bytes) -> bytes:
        self.moves.insert(*self._point(text), self.vcpu)
        return b"OK"

    def _remove(self, text: bytes) -> bytes:
        self.moves.remove(*self._point(text))
        return b"OK"

    # ---------------------------------------------------------------- moves
    def _last_stop(self, _: bytes) -> bytes:
        return self.moves.last

    def _forwards(self, vcpu: int | None, stretch: tuple[int, int] | None = None) -> bytes:
        with self._link.moving():
            return self.moves.forwards(vcpu, stretch)

    def _continue(self, text: bytes) -> bytes:
        """c and C; signals mean nothing to a guest. Going on elsewhere is not offered: gdb writes the pc first."""
        if b";" in text:
            raise Refused(errno.EINVAL)
        return self._forwards(None)

    def _step(self, text: bytes) -> bytes:
        if b";" in text:
            raise Refused(errno.EINVAL)
        return self._forwards(self.session.vcpu if self._to_move is None else self._to_move)

    def _back(self, text: bytes) -> bytes:
        if text not in (b"s", b"c"):
            return b""
        vcpu = self.session.vcpu if self._to_move is None else self._to_move
        with self._link.moving():
            return self.moves.backwards(vcpu if text == b"s" else None)

    def _resume(self, text: bytes) -> bytes:
        """vCont: the first action that names a thread is its own. Where one is to step, the machine runs until it has stepped."""
        chosen: dict[int, bytes] = {}
        for action in text.split(b";"):
            what, colon, thread = action.partition(b":")
            if what[:1] not in (b"c", b"C", b"s", b"S", b"r"):
                raise Refused(errno.EINVAL)
            every = not colon or thread == b"-1"
            for n in range(len(self.session.machine.vcpus)) if every else [self._thread(thread)]:
                chosen.setdefault(n, what)
        order = sorted(chosen, key=lambda n: (n != self.session.vcpu, n))
        for n in order:
            if chosen[n][:1] == b"r":
                lo, _, hi = chosen[n][1:].partition(b",")
                self._amid_line = True
                return self._forwards(n, (number(lo), number(hi)))
            if chosen[n][:1] in (b"s", b"S"):
                return self._forwards(n, (0, 0) if self._amid_line else None)
        return self._forwards(None)

    # -------------------------------------------------------------- queries
    def _start_no_ack(self, _: bytes) -> bytes:
        self.no_ack = True
        return b"OK"

    def _transfer(self, text: bytes) -> bytes:
        kind, what, name, where = text.split(b":")
        offset, size = self._range(where)
        if what != b"read":
            return b""
        if (kind, name) == (b"features", b"target.xml"):
            data = self.target.xml
        elif (kind, name) == (b"threads", b""):
            data = self._threads_xml()
        else:
            return b"" if kind not in (b"features", b"threads") else b"E00"
        part = data[offset : offset + min(size, MOST // 2)]
        return (b"m" if offset + len(part) < len(data) else b"l") + part

    def _threads_xml(self) -> bytes:
        threads = "".join(
            f'<thread id="{v.id + 1:x}" core="{v.id}" name={quoteattr(f"cpu{v.id}")}>{xml_escape(self._describe(v.id))}</thread>'
            for v in self.session.machine.vcpus
        )
        return f'<?xml version="1.0"?><threads>{threads}</threads>'.encode()

    def _monitor(self, text: bytes) -> bytes:
        line = unhex(text).decode(errors="replace")
        with self._link.moving():
            self._shell.do(line, self._link.tell)
        return b"OK"

    # ----------------------------------------------------------------- ends
    def _detach(self, _: bytes) -> bytes:
        self.done = True
        return b"OK"

    def _kill(self, _: bytes) -> None:
        self.done = self.killed = True

    def _kill_by_number(self, text: bytes) -> bytes:
        number(text)
        self._kill(text)
        return b"OK"
