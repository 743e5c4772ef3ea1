# SPDX-License-Identifier: GPL-2.0-or-later
"""A run as a Perfetto trace (ui.perfetto.dev): what every vCPU, task, server of the store and page worker did, and when.

A page-in is one flow: from the vCPU that waits, through the store's server, to the instant at which the page is there. A token is
one flow too: from the notification "not present", through the worker, to the notification "ready".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vmemu.core import NO_TASK, NO_VCPU, Event, IoKind
from vmemu.core.events import EventFlag, EventKind, name
from vmemu.debug.trace import tracks
from vmemu.debug.trace.names import entry_name
from vmemu.debug.trace.timeline import Moment, Step
from vmemu.debug.trace.tracks import Type

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

MACHINE, VCPUS, TASKS, STORE, WORKERS, ENGINES = 1, 2, 3, 4, 5, 9
RESIDENT, IN_FLIGHT, QUEUE = 6, 7, 8
_COUNTERS = {RESIDENT: "resident pages", IN_FLIGHT: "pages in flight", QUEUE: "store queue depth"}
_FIRST = {VCPUS: 1 << 8, TASKS: 1 << 32, STORE: 1 << 16, WORKERS: 1 << 24, ENGINES: 1 << 20}
TOKEN_FLOW = 1 << 62  # flow ids of tokens start here, those of page-ins at 1
JOB_FLOW = 1 << 61  # an accelerator's jobs
MOST_NESTED = 32  # handlers within handlers on one vCPU: a guest that never returns does not make the trace grow without bound

_ENTRIES = (EventKind.EXCEPTION, EventKind.IRQ, EventKind.SYSCALL)
_ACCESS = ("read", "write", "fetch")


class _Lane:
    """One track with slices. Ends what lies above, when something further down ends."""

    def __init__(self, uuid: int) -> None:
        self.uuid = uuid
        self.open: list[str] = []

    def begin(self, ns: int, kind: str, label: str, flows: tuple[int, ...] = (), **arguments: int | str) -> bytes:
        out = b""
        if len(self.open) >= MOST_NESTED:
            out = self.end_all(ns)
        self.open.append(kind)
        return out + tracks.track_event(Type.BEGIN, ns, self.uuid, label, kind, flows, arguments=arguments)

    def end(self, ns: int, kind: str) -> bytes:
        """End the innermost slice of a kind; nothing when there is none."""
        if kind not in self.open:
            return b""
        out = b""
        while True:
            top = self.open.pop()
            out += tracks.track_event(Type.END, ns, self.uuid)
            if top == kind:
                return out

    def end_all(self, ns: int) -> bytes:
        out = tracks.track_event(Type.END, ns, self.uuid) * len(self.open)
        self.open.clear()
        return out


class PerfettoWriter:
    """TrackEvent packets, one call for each moment."""

    def __init__(self) -> None:
        self._isa = ""
        self._lanes: dict[int, _Lane] = {}
        self._values = dict.fromkeys(_COUNTERS, 0)
        self._shown: dict[int, int] = {}
        self._counted_at = 0
        self._task: dict[int, int] = {}  # vCPU -> task
        self._fault: dict[int, Event] = {}  # vCPU -> its last STAGE2
        self._serving: dict[int, int] = {}  # server -> flow of its request
        self._tokens: dict[int, tuple[int, int]] = {}  # token -> flow, worker's lane (-1: done)
        self._token_flows = 0
        self._calls: dict[int, Callable[[int, Event, int], bytes]] = {
            EventKind.SWAP_IN: self._swap_in, EventKind.SWAP_OUT: self._swap_out, EventKind.ZERO: self._zero,
            EventKind.CLEAN_DROP: self._drop, EventKind.ZERO_DROP: self._drop, EventKind.STAGE2: self._stage2,
            EventKind.HALT: self._halt, EventKind.WAKE: self._wake, EventKind.RETURN: self._return, EventKind.IO: self._io,
            EventKind.HCALL: self._hcall, EventKind.MEM_ERROR: self._mem_error,
            EventKind.TOKEN_NOT_PRESENT: self._not_present, EventKind.TOKEN_COMPLETED: self._completed,
            EventKind.TOKEN_READY: self._ready, EventKind.TOKEN_WAKE_ALL: self._wake_all,
            EventKind.JOB_PASTED: self._pasted, EventKind.JOB_BEGUN: self._begun, EventKind.JOB_DONE: self._job_over,
            EventKind.JOB_FAULTED: self._job_over, EventKind.FIRMWARE_EVENT: self._enter, EventKind.FIRMWARE_RETURN: self._firmware_return,
        }  # fmt: skip
        self._calls |= dict.fromkeys(_ENTRIES, self._enter)
        self._calls[EventKind.GUEST_FAULT] = lambda ns, event, flow: b""  # its EXCEPTION follows

    # ----------------------------------------------------------------- file
    def begin(self, machine: Machine) -> bytes:
        self._isa = machine.board.isa
        stats = machine.core.stats()
        self._values[RESIDENT] = stats["resident"]
        self._counted_at = machine.now()
        out = tracks.process(MACHINE, f"vmemu {machine.board.name} ({self._isa})", first=True)
        for rank, (uuid, label) in enumerate({VCPUS: "vCPUs", TASKS: "guest tasks", STORE: "store", WORKERS: "page workers"}.items()):
            out += tracks.track(uuid, label, MACHINE, rank)
        for rank, (uuid, label) in enumerate(_COUNTERS.items()):
            out += tracks.counter_track(uuid, label, MACHINE, 10 + rank)
        for vcpu in machine.vcpus:
            out += self._lane(VCPUS, vcpu.id)[1]
        return out

    def moment(self, ns: int, moment: Moment) -> bytes:
        out = b"" if ns == self._counted_at else self._counters(ns)
        event = moment.event
        if moment.step is Step.PAGE_IN_END:
            return out + self._page_in_end(ns, event, moment.flow)
        if moment.step is Step.REQUEST_END:
            return out + self._request_end(ns, event, moment.flow)
        if moment.step is Step.REQUEST_BEGIN:
            return out + self._request_begin(ns, event, moment.flow)
        if event.vcpu != NO_VCPU and event.task != NO_TASK and self._task.get(event.vcpu, 0) != event.task:
            out += self._switch(ns, event)
        call = self._calls.get(event.kind)
        return out + (self._other(ns, event) if call is None else call(ns, event, moment.flow))

    def end(self, ns: int, lost: int) -> bytes:
        out = b"".join(lane.end_all(ns) for lane in self._lanes.values())
        out += self._counters(ns)
        if lost:
            out += tracks.track_event(Type.INSTANT, ns, MACHINE, f"{lost} events lost", "trace")
        return out

    # --------------------------------------------------------------- tracks
    def _lane(self, group: int, number: int) -> tuple[_Lane, bytes]:
        """A track of a group, and its descriptor when it is new."""
        uuid = _FIRST[group] + number
        lane = self._lanes.get(uuid)
        if lane is not None:
            return lane, b""
        label = {VCPUS: "vCPU", TASKS: "task", STORE: "server", WORKERS: "worker", ENGINES: "engine"}[group]
        lane = self._lanes[uuid] = _Lane(uuid)
        return lane, tracks.track(uuid, f"{label} {number}", group, number)

    def _vcpu(self, event: Event) -> _Lane:
        return self._lane(VCPUS, event.vcpu)[0]

    def _instant(
        self, ns: int, event: Event, label: str, flows: tuple[int, ...] = (), ends: tuple[int, ...] = (), **arguments: int | str
    ) -> bytes:
        uuid = MACHINE if event.vcpu == NO_VCPU else self._vcpu(event).uuid
        return tracks.track_event(Type.INSTANT, ns, uuid, label, name(event.kind), flows, ends, arguments)

    def _counters(self, ns: int) -> bytes:
        """What the counters have been since the last instant."""
        out = b""
        for uuid, value in self._values.items():
            if self._shown.get(uuid) != value:
                self._shown[uuid] = value
                out += tracks.counter(self._counted_at, uuid, value)
        self._counted_at = ns
        return out

    def _switch(self, ns: int, event: Event) -> bytes:
        out = b""
        before = self._task.get(event.vcpu, 0)
        self._task[event.vcpu] = event.task
        if before:
            out += self._lane(TASKS, before)[0].end(ns, "running")
        if event.task:
            lane, new = self._lane(TASKS, event.task)
            out += new + lane.begin(ns, "running", f"on vCPU {event.vcpu}")
        return out

    # ------------------------------------------------------------- handlers
    def _enter(self, ns: int, event: Event, flow: int) -> bytes:
        lane = self._vcpu(event)
        out = b""
        while event.flags & EventFlag.USER and "handler" in lane.open:  # it came from user mode: all handlers have returned
            out += lane.end(ns, "handler")
        arguments: dict[str, int | str] = {"pc": event.pc}
        if event.kind == EventKind.EXCEPTION:
            arguments |= {"address": event.b, "code": event.c}
        return out + lane.begin(ns, "handler", entry_name(self._isa, event), (), **arguments)

    def _return(self, ns: int, event: Event, flow: int) -> bytes:
        return self._vcpu(event).end(ns, "handler")

    def _firmware_return(self, ns: int, event: Event, flow: int) -> bytes:
        """Where EL1 goes on instead, a vector's code runs until it returns, as if an exception had been taken."""
        lane = self._vcpu(event)
        out = lane.end(ns, "handler")
        return out + lane.begin(ns, "handler", "as an exception", (), pc=event.b) if event.c else out

    def _halt(self, ns: int, event: Event, flow: int) -> bytes:
        return self._vcpu(event).begin(ns, "halt", "halt", pc=event.pc)

    def _wake(self, ns: int, event: Event, flow: int) -> bytes:
        return self._vcpu(event).end(ns, "halt")

    # --------------------------------------------------------------- memory
    def _stage2(self, ns: int, event: Event, flow: int) -> bytes:
        self._fault[event.vcpu] = event
        return b""

    def _swap_in(self, ns: int, event: Event, flow: int) -> bytes:
        fault = self._fault.get(event.vcpu)
        arguments: dict[str, int | str] = {"gpa": event.a, "slot": event.c >> 32}
        if fault is not None:
            arguments |= {"gva": fault.b, "pc": fault.pc, "access": _ACCESS[fault.c % 3]}
        self._values[IN_FLIGHT] += 1
        self._values[QUEUE] += 1
        out = b""
        if event.vcpu != NO_VCPU:
            out = self._vcpu(event).begin(ns, "page-in", "page-in", (flow,), **arguments)
        if not event.b:
            out += self._request_begin(ns, event, flow) + self._request_end(ns, event, flow) + self._page_in_end(ns, event, flow)
        return out

    def _swap_out(self, ns: int, event: Event, flow: int) -> bytes:
        self._values[RESIDENT] -= 1
        self._values[QUEUE] += 1
        return b"" if event.b else self._request_begin(ns, event, flow) + self._request_end(ns, event, flow)

    def _page_in_end(self, ns: int, event: Event, flow: int) -> bytes:
        self._values[RESIDENT] += 1
        self._values[IN_FLIGHT] -= 1
        if event.vcpu == NO_VCPU:
            return self._instant(ns, event, "page is there", ends=(flow,), gpa=event.a)
        return self._vcpu(event).end(ns, "page-in") + self._instant(ns, event, "page is there", ends=(flow,), gpa=event.a)

    def _request_begin(self, ns: int, event: Event, flow: int) -> bytes:
        server = event.c & 0xFFFFFFFF
        lane, out = self._lane(STORE, server)
        if server in self._serving:  # requests are placed by the vCPU's clock, which may be off by a part of a block
            out += lane.end(ns, "request")
        self._serving[server] = flow
        what = "read" if event.kind == EventKind.SWAP_IN else "write"
        flows = (flow,) if event.kind == EventKind.SWAP_IN else ()
        return out + lane.begin(ns, "request", what, flows, gpa=event.a, slot=event.c >> 32)

    def _request_end(self, ns: int, event: Event, flow: int) -> bytes:
        server = event.c & 0xFFFFFFFF
        self._values[QUEUE] -= 1
        if self._serving.get(server) != flow:
            return b""
        del self._serving[server]
        return self._lane(STORE, server)[0].end(ns, "request")

    def _zero(self, ns: int, event: Event, flow: int) -> bytes:
        self._values[RESIDENT] += 1
        return self._instant(ns, event, "zero page", gpa=event.a)

    def _drop(self, ns: int, event: Event, flow: int) -> bytes:
        self._values[RESIDENT] -= 1
        return b""

    def _mem_error(self, ns: int, event: Event, flow: int) -> bytes:
        return self._instant(ns, event, "memory error", gpa=event.a, gva=event.b)

    # ---------------------------------------------------------------- exits
    def _io(self, ns: int, event: Event, flow: int) -> bytes:
        label = IoKind(event.c & 0xFF).name.lower().replace("_", " ")
        return self._instant(ns, event, label, address=event.a, value=event.b, size=event.c >> 8)

    def _hcall(self, ns: int, event: Event, flow: int) -> bytes:
        return self._instant(ns, event, "hypercall", number=event.a)

    def _other(self, ns: int, event: Event) -> bytes:
        return self._instant(ns, event, name(event.kind).replace("_", " "), a=event.a, b=event.b, c=event.c)

    # --------------------------------------------------------------- tokens
    def _not_present(self, ns: int, event: Event, flow: int) -> bytes:
        again = self._worked(ns, event.a)[1]  # a token that is still under way: the protocol's bug, not ours
        self._token_flows += 1
        flow = TOKEN_FLOW + self._token_flows
        busy = {lane for _, lane in self._tokens.values()}
        number = next(n for n in range(len(busy) + 1) if n not in busy)
        self._tokens[event.a] = flow, number
        self._values[IN_FLIGHT] += 1
        lane, new = self._lane(WORKERS, number)
        told = self._instant(ns, event, "not present", (flow,), token=event.a, gva=event.b, gpa=event.c)
        return again + told + new + lane.begin(ns, "work", f"token {event.a:#x}", (flow,), gpa=event.c)

    def _worked(self, ns: int, token: int) -> tuple[int, bytes]:
        """The worker is done with a token: its flow (0: unknown token), and the end of the slice."""
        flow, number = self._tokens.get(token, (0, -1))
        if number < 0:
            return flow, b""
        self._tokens[token] = flow, -1
        self._values[IN_FLIGHT] -= 1
        return flow, self._lane(WORKERS, number)[0].end(ns, "work")

    def _completed(self, ns: int, event: Event, flow: int) -> bytes:
        return self._worked(ns, event.a)[1]

    def _ready(self, ns: int, event: Event, flow: int) -> bytes:
        flow, out = self._worked(ns, event.a)
        self._tokens.pop(event.a, None)
        return out + self._instant(ns, event, "ready", ends=(flow,) if flow else (), token=event.a, gva=event.b, gpa=event.c)

    def _wake_all(self, ns: int, event: Event, flow: int) -> bytes:
        out = b"".join(self._worked(ns, token)[1] for token in list(self._tokens))
        ends = tuple(flow for flow, _ in self._tokens.values())
        self._tokens.clear()
        return out + self._instant(ns, event, "wake all", ends=ends, tokens=event.a)

    # ----------------------------------------------------------- accelerators
    def _pasted(self, ns: int, event: Event, flow: int) -> bytes:
        return self._instant(ns, event, "paste", (JOB_FLOW + event.a,), job=event.a, window=event.b, waiting=event.c)

    def _begun(self, ns: int, event: Event, flow: int) -> bytes:
        lane, new = self._lane(ENGINES, 0)
        if new:
            new = tracks.track(ENGINES, "engines", MACHINE, 5) + new
        return new + lane.begin(ns, "job", f"job {event.a}", (JOB_FLOW + event.a,), window=event.b, function=event.c)

    def _job_over(self, ns: int, event: Event, flow: int) -> bytes:
        lane = self._lanes.get(_FIRST[ENGINES])
        out = b"" if lane is None else lane.end(ns, "job")
        if event.kind == EventKind.JOB_DONE:
            return out + self._instant(ns, event, "job done", ends=(JOB_FLOW + event.a,), window=event.b, code=event.c >> 8)
        return out + self._instant(ns, event, "translation fault", ends=(JOB_FLOW + event.a,), window=event.b, address=event.c)
