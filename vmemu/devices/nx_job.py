# SPDX-License-Identifier: GPL-2.0-or-later
"""One request of the NX gzip engine: from the CRB to the CSB, a bounded slice at a time.

A slice reads some of the source, works, and stores some of the target. `finish` writes CPB output and CSB. Either may end in a
TranslationFault: the job is over then, and a later paste of the same CRB starts from the beginning; nothing that is an input
has been changed. Checks are made in the order: CRB (21), function code (17), DDEs (14, 13, 1), DDE lists (30, 31), CPB input, data, CPB
output, CSB.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from vmemu.devices import nx_stream
from vmemu.devices.base import State
from vmemu.devices.nx_codec import Deflate, Inflate, Mode
from vmemu.devices.nx_format import (
    CC,
    CE_ERROR,
    CE_OK,
    CE_SUSPENDED,
    COMPRESS,
    CPB_OUT,
    FC_DHT,
    FC_RESUME,
    FC_RESUME_DECOMPRESS,
    QUADWORD,
    WRAP,
    CpbIn,
    Crb,
    Dde,
    Ended,
    Result,
    cpb_in_size,
    csb,
)
from vmemu.devices.nx_memory import LostMemory, Space, TranslationFault

#: Address and length of consecutive pieces of a buffer.
Segments = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Byte limits after which a job gives way to another one that waits (UM 4.4); 0: never. `dde_count`: longest DDE list."""

    high: int = 0
    low: int = 0
    dde_count: int = 255


@dataclass(slots=True)
class Side:
    """Source or target. `size`: bytes that can be used; `short`: the DDE promised more than its list has."""

    segments: Segments = field(default_factory=list)
    size: int = 0
    short: bool = False

    def pieces(self, start: int, size: int) -> Segments:
        """Address and length of what lies at [start, start + size)."""
        found: Segments = []
        for address, length in self.segments:
            if start >= length:
                start -= length
                continue
            n = min(length - start, size)
            if n:
                found.append((address + start, n))
            start, size = 0, size - n
            if not size:
                break
        return found


@dataclass(slots=True)
class Job:
    """A request in the engine. `number`: for traces. `crb` as dequeued. `history`: the last bytes of plain data, 32 KiB at most."""

    number: int
    window: int
    crb: bytes
    started: bool = False
    source: Side = field(default_factory=Side)
    target: Side = field(default_factory=Side)
    position: int = 0  # bytes of the source that are done
    skip: int = 0  # decompression: bits of the next source byte that are done
    history_size: int = 0  # bytes in front of the source's data
    produced: int = 0
    history: bytes = b""
    crc: int = 0
    adler: int = 1
    inflate: Inflate | None = None
    deflate: Deflate | None = None
    result: Result | None = None

    # --------------------------------------------------------------- transitions
    def step(self, space: Space, limits: Limits, crowded: bool) -> int:
        """One slice; the bytes of its longer side. `result` is set when it was the last.

        `crowded`: another job waits. Raises TranslationFault.
        """
        before = self.position, self.produced
        try:
            if not self.started:
                self._start(space, limits)
            self.result = nx_stream.run(self, space, self._limit(limits), crowded)
        except Ended as end:
            self.result = Result(end.cc, CE_ERROR, 0, end.address, b"")
        except LostMemory as lost:
            self.result = Result(CC.MEMORY, CE_ERROR, 0, lost.address, b"")
        return max(self.position - before[0], self.produced - before[1])

    def finish(self, space: Space) -> None:
        """CPB output, then the CSB, its valid bit last. Raises TranslationFault; lost memory is told as such."""
        assert self.result is not None
        at, result = self.parsed.csb, self.result
        try:
            if result.cpb:
                space.write(at + QUADWORD + CPB_OUT, result.cpb)
        except LostMemory as lost:
            result = Result(CC.MEMORY, CE_ERROR, 0, lost.address, b"")
        block = csb(result.cc, result.ce, result.count, result.address)
        try:
            space.write(at + 1, block[1:])
            space.write(at, block[:1])
        except LostMemory:
            return  # nobody can be told

    @property
    def parsed(self) -> Crb:
        return Crb.parse(self.crb)

    @property
    def function(self) -> int:
        return self.parsed.function

    def _limit(self, limits: Limits) -> int:
        return limits.low if self.parsed.low_limit else limits.high

    def _start(self, space: Space, limits: Limits) -> None:
        crb = self.parsed
        wrong = crb.check()
        if wrong is not CC.OK:
            raise Ended(wrong)
        if not crb.source.length or max(crb.source.count, crb.target.count) > limits.dde_count:
            raise Ended(CC.DDE)
        if not crb.target.length:
            raise Ended(CC.TARGET_SPACE)
        for dde in (crb.source, crb.target):
            if dde.count and dde.address % QUADWORD:
                raise Ended(CC.LIST_ALIGNMENT, address=dde.address)
        self.source = self._side(space, crb.source, empty_is=CC.DDE)
        self.target = self._side(space, crb.target, empty_is=None)
        self._inputs(space, crb)
        self.started = True

    @staticmethod
    def _side(space: Space, dde: Dde, empty_is: CC | None) -> Side:
        if not dde.count:
            return Side([(dde.address, dde.length)], dde.length)
        raw = space.read(dde.address, dde.count * QUADWORD)
        listed = [Dde.parse(raw[i : i + QUADWORD]) for i in range(0, len(raw), QUADWORD)]
        for entry in listed:
            if entry.reserved:
                raise Ended(CC.LIST_RESERVED)
            if entry.count:
                raise Ended(CC.LIST_NESTED)
            if not entry.length and empty_is is not None:
                raise Ended(empty_is)
        total = sum(entry.length for entry in listed)
        return Side([(e.address, e.length) for e in listed if e.length], min(total, dde.length), dde.length > total)

    def _inputs(self, space: Space, crb: Crb) -> None:
        """CPB input, history, tables."""
        function, size = crb.function, cpb_in_size(crb.function)
        cpb = CpbIn.parse(space.read(crb.csb + QUADWORD, size))
        resumed = bool(function & (FC_RESUME if function in COMPRESS else FC_RESUME_DECOMPRESS)) and function != WRAP
        if resumed:
            self.crc, self.adler, self.history_size = cpb.crc, cpb.adler, cpb.history
            if cpb.history >= self.source.size:
                raise Ended(CC.SUSPENDED)
        if function in COMPRESS:
            dynamic = bool(function & FC_DHT)
            self.deflate = Deflate(cpb.dht_bits, cpb.dht) if dynamic else Deflate()
            if dynamic and (not cpb.dht_bits or self.deflate.check()):
                raise Ended(CC.DHT)
        elif function != WRAP:
            self.inflate = nx_stream.resumed(cpb) if resumed else Inflate()
            if self.inflate.mode is Mode.DYNAMIC and self.inflate.check():
                raise Ended(CC.DHT)
            self.skip = -cpb.subc % 8 if resumed else 0
        self.position = self.history_size
        if self.history_size:
            self.history = self.gather(space, 0, self.history_size)[-nx_stream.WINDOW :]

    # --------------------------------------------------------------- for streams
    def gather(self, space: Space, start: int, size: int) -> bytes:
        """Source bytes. Raises TranslationFault, LostMemory."""
        return b"".join(space.read(address, n) for address, n in self.source.pieces(start, size))

    def scatter(self, space: Space, data: bytes) -> None:
        """Store at the target's end so far. Raises as gather, and Ended when it does not fit: what does is stored before."""
        room = self.target.size - self.produced
        done = 0
        for address, n in self.target.pieces(self.produced, min(len(data), room)):
            space.write(address, data[done : done + n])
            done += n
        self.produced += done
        if len(data) > room:
            raise Ended(self.no_room())

    def reached(self, fault: TranslationFault) -> int:
        """Bytes that this slice had moved when it missed a byte of source or target; 0 for anything else."""
        side, start = (self.target, self.produced) if fault.store else (self.source, self.position)
        if not self.started or self.result is not None:
            return 0
        at = 0
        for address, n in side.pieces(start, nx_stream.INFLATE_TARGET):
            if address <= fault.address < address + n:
                return at + fault.address - address
            at += n
        return 0

    def no_room(self) -> CC:
        """UM 6.4, note 11: a list shorter than its DDE said, or simply too little."""
        return CC.LIST_TOTAL if self.target.short else CC.TARGET_SPACE

    def done(self, cc: CC, cpb: bytes, *, suspended: bool = False) -> Result:
        """A regular end: the target's bytes count."""
        return Result(cc, CE_SUSPENDED if suspended else CE_OK, self.produced, 0, cpb)

    # --------------------------------------------------------------------- state
    def save(self) -> State:
        state = asdict(self)
        for name in ("crb", "history"):
            state[name] = state[name].hex()
        for name in ("inflate", "result"):
            if state[name] is not None:
                key = "dht" if name == "inflate" else "cpb"
                state[name][key] = state[name][key].hex()
        if state["inflate"] is not None:
            state["inflate"]["mode"] = int(state["inflate"]["mode"])
        if state["deflate"] is not None:
            state["deflate"]["dht"] = state["deflate"]["dht"].hex()
        for name in ("source", "target"):
            state[name]["segments"] = [list(piece) for piece in state[name]["segments"]]
        return state

    @classmethod
    def restore(cls, state: State) -> Job:
        s: dict[str, Any] = dict(state)
        for name in ("crb", "history"):
            s[name] = bytes.fromhex(s[name])
        for name in ("source", "target"):
            s[name] = Side([(a, n) for a, n in s[name]["segments"]], s[name]["size"], s[name]["short"])
        if s["inflate"] is not None:
            s["inflate"] = Inflate(**(s["inflate"] | {"dht": bytes.fromhex(s["inflate"]["dht"]), "mode": Mode(s["inflate"]["mode"])}))
        if s["deflate"] is not None:
            s["deflate"] = Deflate(**(s["deflate"] | {"dht": bytes.fromhex(s["deflate"]["dht"]), "counts": list(s["deflate"]["counts"])}))
        if s["result"] is not None:
            s["result"] = Result(**(s["result"] | {"cpb": bytes.fromhex(s["result"]["cpb"])}))
        return cls(**s)
