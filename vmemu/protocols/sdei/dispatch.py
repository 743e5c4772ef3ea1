# SPDX-License-Identifier: GPL-2.0-or-later
"""The SDEI dispatcher of a machine: serves the calls, and sends vCPUs to their handlers and back.

Where KVM's posted series deviate from DEN 0054 (ENABLE twice, MASK's result, the resume address, SPSR_EL1 at delivery), this
follows the document as TF-A implements it. Events are delivered when the vCPU next enters the guest; a vCPU that sleeps in WFI
is woken for them. The PE's DAIF masks do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from vmemu.clock.inject import Do
from vmemu.core import CoreVcpu
from vmemu.core.events import EventKind
from vmemu.devices.psci import cpu_of
from vmemu.devices.smccc import answer, arguments
from vmemu.machine.board import Outcome
from vmemu.machine.facility import Facility
from vmemu.protocols.sdei.calls import CONTEXT_REGISTERS, SIGNALLED_EVENT, UNSUPPORTED, VERSION, Call, Code, Feature, Info, Routing, Status
from vmemu.protocols.sdei.state import Context, EventInfo, Handler, Op, SdeiState
from vmemu.protocols.sdei.switches import SIGNAL

if TYPE_CHECKING:
    from vmemu.machine.fdt import Node
    from vmemu.machine.machine import Machine

NZCV = 15 << 28
EL1H_MASKED = 0x3C5  # PSTATE: EL1h, DAIF all set
STANDARD = EventInfo(SIGNALLED_EVENT, signalable=True)
SAVED = tuple(f"x{i}" for i in range(CONTEXT_REGISTERS))
LATE = "sdei.late"

#: A call's arguments (x1..x7) on a vCPU -> x0, or None when the guest goes on elsewhere.
Serve = Callable[[CoreVcpu, list[int]], int | None]


class Sdei(Facility):
    """Firmware's SDEI service.

    Args:
        events: what the platform has beside the standard event 0.
        zero_registers: clear x4..x17 at a handler's entry, as KVM did; the document keeps them, and Linux relies on that.
    """

    def __init__(self, machine: Machine, events: Iterable[EventInfo] = (), *, zero_registers: bool = False) -> None:
        super().__init__(machine)
        self.state = SdeiState(len(machine.vcpus), (STANDARD, *events))
        self.delivered = 0
        #: Told (event, PE) when a handler begins.
        self.on_delivered: Callable[[int, int], None] = lambda event, pe: None
        #: The same when one is lost (injected).
        self.on_lost: Callable[[int, int], None] = lambda event, pe: None
        machine.queue.define(LATE, lambda now, data: self._signal_now(*data))
        self._zero = zero_registers
        self._look = set(range(len(machine.vcpus)))  # PEs whose state may have changed since their last entry
        self._calls: dict[Call, Serve] = {
            Call.VERSION: lambda vcpu, args: VERSION,
            Call.EVENT_REGISTER: self._register,
            Call.EVENT_ENABLE: lambda vcpu, args: self._change(vcpu, args[0], Op.ENABLE),
            Call.EVENT_DISABLE: lambda vcpu, args: self._change(vcpu, args[0], Op.DISABLE),
            Call.EVENT_CONTEXT: self._context,
            Call.EVENT_COMPLETE: lambda vcpu, args: self._complete(vcpu, None),
            Call.EVENT_COMPLETE_AND_RESUME: lambda vcpu, args: self._complete(vcpu, args[0]),
            Call.EVENT_UNREGISTER: lambda vcpu, args: self._change(vcpu, args[0], Op.UNREGISTER),
            Call.EVENT_STATUS: self._status,
            Call.EVENT_GET_INFO: self._get_info,
            Call.EVENT_ROUTING_SET: self._route,
            Call.PE_MASK: self._mask,
            Call.PE_UNMASK: self._unmask,
            Call.EVENT_SIGNAL: self._signal,
            Call.FEATURES: lambda vcpu, args: 0 if args[0] in list(Feature) else Code.INVALID_PARAMETERS,
            Call.PRIVATE_RESET: lambda vcpu, args: self.state.unregister_all(vcpu.id, shared=False),
            Call.SHARED_RESET: lambda vcpu, args: self.state.unregister_all(vcpu.id, shared=True),
        }
        assert set(self._calls) | UNSUPPORTED == set(Call)
        for call in self._calls:
            machine.board.hcalls[int(call)] = self._serve

    # -------------------------------------------------------------- host's side
    def deliverable(self, number: int, vcpu: int) -> bool:
        """The event, injected now, would reach its handler before the vCPU's next instruction."""
        return self.state.deliverable(number, vcpu)

    def inject(self, number: int, vcpu: int) -> bool:
        """Signal an event on a vCPU. False: nobody has registered it there (a signal that nobody waits for is lost)."""
        handler = self.state.handler(number, vcpu)
        if handler is None or handler.state in (0, Status.RUNNING):
            return False
        action = self.machine.memory.injector.check(SIGNAL.name, number)
        if action is None:
            self._signal_now(number, vcpu)
        elif action.do is Do.DELAY:
            self.machine.queue.post(self.machine.now() + action.delay_ns, LATE, [number, vcpu])
            self.machine.deadline_changed()
        else:
            self.on_lost(number, vcpu)
        return True

    def _signal_now(self, number: int, vcpu: int) -> None:
        handler = self.state.handler(number, vcpu)
        if handler is not None and handler.state not in (0, Status.RUNNING):
            handler.pending = True
            self._changed()

    def signalled(self, number: int, vcpu: int) -> bool:
        """It is signalled there, and its handler has not begun."""
        handler = self.state.handler(number, vcpu)
        return handler is not None and handler.pending or self.machine.queue.find(LATE, [number, vcpu]) is not None

    def cancel(self, number: int, vcpu: int) -> bool:
        """Take a signal back. False: it was delivered, or never sent."""
        handler, late = self.state.handler(number, vcpu), self.machine.queue.find(LATE, [number, vcpu])
        if late is not None and self.machine.queue.cancel(late):
            return True
        if handler is None or not handler.pending:
            return False
        handler.pending = False
        return True

    def interrupted(self, vcpu: int) -> list[dict[str, int]]:
        """As Facility has it: what the handlers that run have interrupted."""
        contexts = self.state.pes[vcpu].contexts
        return [{**dict(zip(SAVED, c.registers, strict=True)), "pc": c.pc, "pstate": c.pstate, "event": c.event} for c in contexts]

    def running(self, vcpu: int) -> bool:
        """A handler runs on that vCPU."""
        return bool(self.state.pes[vcpu].contexts)

    def enter(self, vcpu: CoreVcpu) -> None:
        """The vCPU is about to enter the guest: deliver what is due (Machine.on_entry)."""
        if vcpu.id not in self._look:
            return
        while (number := self.state.next_event(vcpu.id)) is not None:
            if not vcpu.settle():
                return  # it dies of what it cannot enter, or comes back here
            self._deliver(vcpu, number)
        self._look.discard(vcpu.id)

    def _changed(self) -> None:
        """Wake whoever has something to handle now."""
        for vcpu in self.machine.vcpus:
            if vcpu.online and self.state.next_event(vcpu.id) is not None:
                self._look.add(vcpu.id)
                self.machine.wake(vcpu.id)

    # ---------------------------------------------------------- entry and return
    def _deliver(self, vcpu: CoreVcpu, number: int) -> None:
        pe, handler = self.state.pes[vcpu.id], self.state.handler(number, vcpu.id)
        assert handler is not None
        handler.pending = False
        handler.apply(Op.DISPATCH)
        pc, pstate = vcpu.pc, vcpu.get("pstate")
        pe.contexts.append(Context(number, [vcpu.get(name) for name in SAVED], pc, pstate))
        for name, value in zip(SAVED, (number, handler.arg, pc, pstate), strict=False):
            vcpu.set(name, value)
        if self._zero:
            for name in SAVED[4:]:
                vcpu.set(name, 0)
        self.machine.core.put_event(EventKind.FIRMWARE_EVENT, number, handler.entry, len(pe.contexts), vcpu=vcpu)
        vcpu.go_to(handler.entry, pstate & NZCV | EL1H_MASKED)
        self.delivered += 1
        self.on_delivered(number, vcpu.id)

    def _complete(self, vcpu: CoreVcpu, resume: int | None) -> int | None:
        """Back to the interrupted code; or to `resume` at EL1, as if an exception had interrupted it."""
        pe = self.state.pes[vcpu.id]
        if not pe.contexts:
            return Code.DENIED
        context = pe.contexts.pop()
        handler = self.state.handler(context.event, vcpu.id)
        assert handler is not None
        handler.apply(Op.COMPLETE)
        self.machine.core.put_event(EventKind.FIRMWARE_RETURN, context.event, context.pc, 0 if resume is None else resume, vcpu=vcpu)
        for name, value in zip(SAVED, context.registers, strict=True):
            vcpu.set(name, value)
        if resume is None:
            vcpu.go_to(context.pc, context.pstate)
        else:
            vcpu.set("elr_el1", context.pc)
            vcpu.set("spsr_el1", context.pstate)
            vcpu.go_to(resume, context.pstate & NZCV | EL1H_MASKED)
        return None

    # -------------------------------------------------------------------- calls
    def _serve(self, vcpu: CoreVcpu) -> Outcome:
        result = self._calls[Call(vcpu.get("x0") & 0xFFFFFFFF)](vcpu, arguments(vcpu))
        if result is not None:
            answer(vcpu, result)
        self._changed()
        return Outcome.HANDLED

    def _register(self, vcpu: CoreVcpu, args: list[int]) -> int:
        number, entry, arg, flags, affinity = args[:5]
        event, handler = self.state.events.get(number), self.state.handler(number, vcpu.id)
        pe = self._pe(affinity)
        if event is None or handler is None or entry == 0 or flags not in list(Routing):
            return Code.INVALID_PARAMETERS
        if event.shared and flags == Routing.PE and pe is None:
            return Code.INVALID_PARAMETERS
        code = handler.apply(Op.REGISTER)
        if code == Code.SUCCESS:
            handler.entry, handler.arg = entry, arg
            if event.shared:
                self._set_routing(handler, flags, affinity)
        return code

    def _pe(self, affinity: int) -> int | None:
        pe = cpu_of(affinity)
        return pe if 0 <= pe < len(self.state.pes) else None

    def _set_routing(self, handler: Handler, mode: int, affinity: int) -> None:
        pe = self._pe(affinity) if mode == Routing.PE else 0
        handler.routing, handler.affinity, handler.pe = mode, affinity if mode == Routing.PE else 0, pe or 0

    def _change(self, vcpu: CoreVcpu, number: int, op: Op) -> int:
        handler = self.state.handler(number, vcpu.id)
        return Code.INVALID_PARAMETERS if handler is None else handler.apply(op)

    def _context(self, vcpu: CoreVcpu, args: list[int]) -> int:
        if args[0] >= CONTEXT_REGISTERS:
            return Code.INVALID_PARAMETERS
        contexts = self.state.pes[vcpu.id].contexts
        return contexts[-1].registers[args[0]] if contexts else Code.DENIED

    def _status(self, vcpu: CoreVcpu, args: list[int]) -> int:
        handler = self.state.handler(args[0], vcpu.id)
        return Code.INVALID_PARAMETERS if handler is None else int(handler.state)

    def _get_info(self, vcpu: CoreVcpu, args: list[int]) -> int:
        number, info = args[:2]
        event, handler = self.state.events.get(number), self.state.handler(number, vcpu.id)
        if event is None or handler is None:
            return Code.INVALID_PARAMETERS
        plain = {Info.TYPE: event.shared, Info.SIGNALED: event.signalable, Info.PRIORITY: event.critical}
        if info in plain:
            return int(plain[Info(info)])
        if info not in (Info.ROUTING_MODE, Info.ROUTING_AFFINITY) or not event.shared:
            return Code.INVALID_PARAMETERS
        if not handler.state & Status.REGISTERED:
            return Code.DENIED
        return handler.routing if info == Info.ROUTING_MODE else handler.affinity

    def _route(self, vcpu: CoreVcpu, args: list[int]) -> int:
        number, mode, affinity = args[:3]
        event, handler = self.state.events.get(number), self.state.handler(number, vcpu.id)
        if event is None or handler is None or not event.shared or mode not in list(Routing):
            return Code.INVALID_PARAMETERS
        if mode == Routing.PE and self._pe(affinity) is None:
            return Code.INVALID_PARAMETERS
        code = handler.apply(Op.ROUTE)
        if code == Code.SUCCESS:
            self._set_routing(handler, mode, affinity)
        return code

    def _mask(self, vcpu: CoreVcpu, args: list[int]) -> int:
        pe = self.state.pes[vcpu.id]
        before, pe.masked = pe.masked, True
        return 0 if before else 1

    def _unmask(self, vcpu: CoreVcpu, args: list[int]) -> int:
        self.state.pes[vcpu.id].masked = False
        return Code.SUCCESS

    def _signal(self, vcpu: CoreVcpu, args: list[int]) -> int:
        pe = self._pe(args[1])
        if args[0] != SIGNALLED_EVENT or pe is None:
            return Code.INVALID_PARAMETERS
        self.inject(SIGNALLED_EVENT, pe)
        return Code.SUCCESS

    # ----------------------------------------------------------------- facility
    def describe(self, root: Node) -> None:
        """Linux's Documentation/devicetree/bindings/arm/firmware/sdei.txt."""
        firmware = root.add("firmware")
        firmware.add("sdei").set("compatible", "arm,sdei-1.0").set("method", "hvc")

    def reset_vcpu(self, vcpu: CoreVcpu) -> None:
        self.state.reset_pe(vcpu.id)
        self._changed()

    def save(self) -> dict[str, Any]:
        return self.state.save() | {"delivered": self.delivered}

    def load(self, state: dict[str, Any]) -> None:
        self.state.load(state)
        self.delivered = state["delivered"]
        self._look = set(range(len(self.state.pes)))

    def invariants(self) -> list[str]:
        return self.state.invariants()

    def summary(self) -> dict[str, Any]:
        return {"sdei": {"delivered": self.delivered}}
