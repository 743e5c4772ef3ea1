# SPDX-License-Identifier: GPL-2.0-or-later
"""From a stage-2 fault to the woken task: the generic part (x86-apf.md 4; KVM's virt/kvm/async_pf.c, after 6.9).

A fault that needs I/O becomes a work of the vCPU's queue: it is queued, the guest may be told (`not_present`), the worker is
scheduled. At the I/O's end the worker fetches the page, appends the work to the vCPU's `done` list, asks for the vCPU's
attention and kicks it; the vCPU's own thread takes works off `done` while `can_dequeue`, and announces them (`present`).
What a protocol adds is a subclass: whom to tell, when, and how. Everything refused is served synchronously.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmemu.core import CYC, CoreVcpu, Cycles, Exit, PageState, Stage2
from vmemu.core.events import EventKind
from vmemu.core.table import GFN_BITS, SHARED, Table
from vmemu.devices.base import State
from vmemu.machine.facility import Resolution
from vmemu.machine.insight import ACCESSES, Insight
from vmemu.protocols.async_page import report
from vmemu.protocols.async_page.interventions import PageIns
from vmemu.protocols.async_page.ledger import Ledger
from vmemu.protocols.async_page.mishaps import IO_DONE, Mishaps
from vmemu.protocols.async_page.notifier import Notifier
from vmemu.protocols.async_page.references import MM, VM, References
from vmemu.protocols.async_page.steps import Sequence, Sequencer
from vmemu.protocols.async_page.words import Names, SharedWords
from vmemu.protocols.async_page.work import BROADCAST, LIMIT, Mishap, Work
from vmemu.protocols.interventions import add as add_steerable

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: As plain numbers: an enum's operators are slow, and these are on the path of every fault.
ENTERING, REPEATED = int(Stage2.ENTERING), int(Stage2.REPEATED)
#: How long a page-in takes when Choices decide, in quarters of the store's time: some are there at once, some are late.
SPREAD = (4, 0, 8, 16)

SETUP = ("queue", "inject", "schedule", "settle")
SETUP_SCHEDULED_FIRST = ("schedule", "queue", "inject", "settle")
WORKER = ("fetch", "append", "request", "kick", "wake", "put", "return")
WORKER_ANNOUNCING = ("fetch", "announce", "append", "request", "kick", "wake", "put", "return")
DEQUEUE = ("pop", "present", "unlink")


class AsyncPager(Notifier):
    """State: `works` in flight or done by id, `done` ids by vCPU in order of completion, the hot tables, counters.

    Subclasses say how their guest is told (notifier.py).
    """

    VERSION = 1

    def __init__(self, machine: Machine, profile: str) -> None:
        super().__init__(machine)
        self.profile = profile
        self.core = machine.core
        self.vcpus = machine.vcpus
        count = len(machine.vcpus)
        self.bugs = frozenset(machine.options.bugs) if machine.options is not None else frozenset()
        self.works: dict[int, Work] = {}
        self.done: list[list[int]] = [[] for _ in range(count)]
        self.queued = [0] * count
        self.next_work = 1
        #: page index -> ids of the works that wait for its I/O, which ends at their common deadline
        self.io: dict[int, list[int]] = {}
        #: pages that the store could not give back: the next fault on them is synchronous and ends in a memory error
        self.failed: set[int] = set()
        self.tokens, self.gfns = Table(self.core, "tokens"), Table(self.core, "gfns")
        self.ledger = Ledger(count)
        self.references = References()
        buffered = machine.options is not None and machine.options.store_buffer
        self.words = SharedWords(machine.choices, buffered)
        self.names = [Names(i) for i in range(count)]
        self.wake_barrier = "apf-wake-no-barrier" not in self.bugs
        self.request_barrier = "kvm-ack-no-barrier" not in self.bugs
        self.sequencer = Sequencer(
            machine,
            steps={
                "queue": self._step_queue, "inject": self._step_inject, "schedule": self._step_schedule, "settle": self._step_settle,
                "fetch": self._step_fetch, "announce": self._step_announce, "append": self._step_append, "request": self._step_request,
                "kick": self._step_kick, "wake": self._step_wake, "put": self._step_put, "return": self._step_return,
                "pop": self._step_pop, "present": self._step_present, "unlink": self._step_unlink,
            },
            finished={"setup": self._nothing, "worker": self._nothing, "dequeue": self._dequeued},
            between=self.words.drain,
        )  # fmt: skip
        self.core.ptr.paged = True
        self.core.ptr.gfns_shared = self.shared_gfns
        self.mishaps = Mishaps(self)
        machine.commands["end-vm"] = self._end_vm
        machine.queue.define(IO_DONE, self.mishaps.io_done)
        machine.pager = self
        add_steerable(machine, PageIns(self, self.notifications))

    def on_repeated(self, vcpu: CoreVcpu, ex: Exit, work: Work) -> Resolution:
        """A fault on a page that is under way: by default the vCPU waits (x86-apf.md 5, row 4). One that came and was evicted again,
        before the guest would hear of it, is not under way any more: nothing would end that wait.
        """
        if work.fetched:
            return self._synchronous(vcpu, ex, work.index, "repeated")
        self.ledger.count["repeated"] += 1
        return self.halt(vcpu, ex.gpa)

    # --------------------------------------------------------------- faults
    def on_fault(self, vcpu: CoreVcpu, ex: Exit) -> Resolution:
        count = self.ledger.count
        count["faults"] += 1
        index = self.core.index(ex.gpa)
        if ex.nr & REPEATED:
            work = None if "apf-second-token" in self.bugs else self.under_way(vcpu, ex.gpa)
            if work is not None:
                self.note("repeated", work, f"touched again at gva {ex.gva:#x}", vcpu.id)
            self._event(EventKind.TOKEN_REPEATED, vcpu, ex.gva, ex.gpa, work.token if work else 0)
            if work is not None and not ex.nr & ENTERING:
                return self.on_repeated(vcpu, ex, work)
        reason = self._reason(vcpu, ex, index)
        if reason is not None:
            return self._synchronous(vcpu, ex, index, reason)
        self._event(EventKind.TOKEN_TRY, vcpu, ex.gva, ex.gpa)
        token = self.new_token(vcpu)
        work = Work(self.next_work, vcpu.id, token, ex.gpa, ex.gva, ex.access, index, self.machine.now())
        self.next_work += 1
        self.works[work.id] = work
        count["works"] += 1
        self.note("begun", work, f"{ACCESSES[ex.access]} at gva {ex.gva:#x}, gpa {ex.gpa:#x}, from pc {ex.pc:#x}")
        names = SETUP_SCHEDULED_FIRST if "apf-schedule-first" in self.bugs else SETUP
        sequence = self.sequencer.start("setup", self.names[vcpu.id].actor, work.id, vcpu.id, names)
        return Resolution(RESOLVED[sequence.value]) if not sequence.left else Resolution.RETRY

    def _reason(self, vcpu: CoreVcpu, ex: Exit, index: int) -> str | None:
        if index in self.failed:
            return "failed before"
        if ex.nr & ENTERING:
            return "exception entry"
        if ex.nr & REPEATED and "apf-second-token" not in self.bugs:
            return "repeated"
        if self.queued[vcpu.id] >= LIMIT:
            return "queue full"
        return self.refuse(vcpu, ex)

    def _synchronous(self, vcpu: CoreVcpu, ex: Exit, index: int, reason: str) -> Resolution:
        """The vCPU is blocked until the page is there; one that is under way already is not asked for twice."""
        self.ledger.refused(reason)
        if self.machine.history is not None:
            text = f"{ACCESSES[ex.access]} at gva {ex.gva:#x}, gpa {ex.gpa:#x}: {reason}"
            self.machine.history.note("refused", "refused", 0, text, vcpu.id)
        self._event(EventKind.TOKEN_REFUSED, vcpu, ex.gva, ex.gpa, list(self.ledger.sync).index(reason))
        memory, waiting = self.machine.memory, self.io.get(index)
        if not waiting:
            served = memory.serve(vcpu, ex.gpa)
        else:
            ready = self.machine.units(self.works[waiting[0]].deadline)
            vcpu.add_cycles(max(ready - vcpu.cycles, 0), Cycles.BLOCKED)
            served = self._fetch(ex.gpa, vcpu.cycles)
        return Resolution.RETRY if served else Resolution.FATAL

    def under_way(self, vcpu: CoreVcpu, gpa: int) -> Work | None:
        token = self.gfns.get(self.gfn_key(vcpu, gpa))
        number = None if token is None else self.tokens.get(token + 1)
        return None if number is None else self.works.get(number)

    def gfn_key(self, vcpu: CoreVcpu, gpa: int) -> int:
        return (SHARED if self.shared_gfns else vcpu.id + 1) << GFN_BITS | gpa >> 12

    def halt(self, vcpu: CoreVcpu, gpa: int) -> Resolution:
        """The vCPU waits for its page, unless that is there by now."""
        self.ledger.count["halted"] += 1
        actor = self.names[vcpu.id].actor
        self.words.write(actor, self.names[vcpu.id].sleeping, 1)
        if self.wake_barrier:
            self.words.fence(actor)
        if self.words.read(actor, self.names[vcpu.id].done):
            self.complete(vcpu)
            if not self.words.read(actor, self.names[vcpu.id].sleeping):  # told of something: it goes on, and faults again if need be
                return Resolution.RETRY
        if self.core.page(self.core.index(gpa)).state != PageState.SWAPPED:
            self.words.write(actor, self.names[vcpu.id].sleeping, 0)
            return Resolution.RETRY
        return Resolution.HALT

    # ------------------------------------------------ setup, in the vCPU's thread
    def _own_work(self, s: Sequence) -> Work | None:
        """The work that the vCPU's own thread is at. None: somebody has thrown it away meanwhile, which nobody may."""
        work = self.works.get(s.work)
        if work is None:
            self.ledger.problem(f"vCPU {s.vcpu}: work {s.work} was thrown away while its own thread was at it")
        return work

    def _step_queue(self, s: Sequence) -> None:
        work = self._own_work(s)
        if work is None:
            return
        self.queued[work.vcpu] += 1
        if "apf-mm-count" not in self.bugs:
            self.references.get(MM, f"w{work.id}")
        if "apf-worker-vm-reference" in self.bugs:
            self.references.get(VM, f"w{work.id}")

    def _step_inject(self, s: Sequence) -> None:
        work = self._own_work(s)
        if work is None or work.done:  # done: only when the worker was scheduled first
            return
        vcpu = self.vcpus[work.vcpu]
        self.gfns.put(self.gfn_key(vcpu, work.gpa), work.token)
        self.tokens.put(work.token + 1, work.id)
        work.injected = self.may_tell(vcpu, work) and self.mishaps.inform(vcpu, work)
        if self.machine.history is not None:
            kind, text = ("not_present", "the guest was told") if work.injected else ("untold", self.why_not_told(vcpu))
            self.note(kind, work, text)
        if work.injected:
            self.ledger.told(vcpu, work)
            self._event(EventKind.TOKEN_NOT_PRESENT, vcpu, work.token, work.gva, work.gpa)

    def _step_schedule(self, s: Sequence) -> None:
        work = self._own_work(s)
        if work is None:
            return
        work.scheduled = True
        self.words.fence(s.actor)  # a work is put into the workers' queue under its lock
        waiting = self.io.setdefault(work.index, [])
        if waiting:  # another vCPU asked for it: one request, one end
            work.deadline = self.works[waiting[0]].deadline
        else:
            vcpu = self.vcpus[work.vcpu]
            now = vcpu.cycles
            ready = int(self.core.store_charge(now))
            if not self.machine.choices.is_default:
                ready = now + (ready - now) * SPREAD[self.machine.choices.choose("latency", len(SPREAD))] // 4
            work.deadline = self.machine.nanoseconds(ready)
            self.machine.queue.post(work.deadline, IO_DONE, work.index)
            self.machine.deadline_changed()
        waiting.append(work.id)
        self.note("io", work, f"its I/O ends in {(work.deadline - work.born) / 1000:.3f} us, at {work.deadline / 1000:.3f} us")
        self.ledger.latency_ns += work.deadline - work.born

    def _step_settle(self, s: Sequence) -> None:
        """What becomes of the vCPU. After an interruption `on_fault` has returned, and this acts by itself."""
        work = self.works.get(s.work)
        if work is None or work.injected:
            s.value = NOTIFIED
        elif work.fetched:  # meanwhile; it may have been evicted again, too
            s.value = RETRY
        else:
            vcpu = self.vcpus[work.vcpu]
            s.value = HALT if self.halt(vcpu, work.gpa) is Resolution.HALT else RETRY
            if s.value == HALT:
                vcpu.host_halt()

    # ------------------------------------------------------------ the worker
    def io_ended(self, now: int, index: int) -> None:
        """The workers that wait for this page go on."""
        names = WORKER_ANNOUNCING if self.announces_early else WORKER
        for number in self.io.pop(index, ()):
            work = self.works[number]
            late = self.announces_early and self.mishaps.is_late(self.vcpus[work.vcpu], work)
            self.sequencer.start("worker", f"w{number}", number, work.vcpu, names[:1] if late else names, own=False)

    def announce(self, work: Work) -> None:
        """Go on with a work whose announcement was late."""
        if self.announces_early:  # the rest of its worker
            self.sequencer.start("worker", f"w{work.id}", work.id, work.vcpu, WORKER_ANNOUNCING[1:], own=False)
        else:
            self.complete(self.vcpus[work.vcpu])

    def _step_fetch(self, s: Sequence) -> None:
        work = self.works.get(s.work)
        self.references.use(MM, s.actor)
        if work is None:
            return
        if not self._fetch(work.gpa, self.machine.units(self.machine.now())):
            work.broken = True
            self.ledger.count["failed"] += 1
            if "apf-endless-retry" not in self.bugs:
                self.failed.add(work.index)
        work.fetched = True
        self.note("fetched", work, "the store cannot give the page back" if work.broken else "the page is there")

    def _fetch(self, gpa: int, at: int) -> bool:
        """The store has been paid for the page; what must be written out for it occupies the store from `at` (CYC) on."""
        self.core.ptr.host_now = at
        served = self.machine.memory.serve(None, gpa)
        self.core.ptr.host_now = 0
        return served

    def _step_announce(self, s: Sequence) -> None:
        work = self.works.get(s.work)
        if work is not None:
            self._tell(self.vcpus[work.vcpu], work)

    def _step_append(self, s: Sequence) -> None:
        """`value` becomes 1 when the vCPU is to be asked to look (`asks`)."""
        work = self.works.get(s.work)
        if work is None:
            return
        queue = self.done[work.vcpu]
        s.value = self.asks(self.vcpus[work.vcpu], work, not queue)
        queue.append(work.id)
        work.done = True
        self.note("completed", work, f"completed: place {len(queue)} of the list")
        self._count_done(s.actor, work.vcpu)
        self._event(EventKind.TOKEN_COMPLETED, None, work.token, work.gva, work.gpa)

    def _count_done(self, actor: str, vcpu: int) -> None:
        self.words.write_locked(actor, self.names[vcpu].done, len(self.done[vcpu]))

    def _step_request(self, s: Sequence) -> None:
        work = self.works.get(s.work)
        if work is None or not s.value:
            return
        self.words.write(s.actor, self.names[work.vcpu].request, 1)
        if self.request_barrier:
            self.words.fence(s.actor)

    def _step_kick(self, s: Sequence) -> None:
        work = self.works.get(s.work)
        if work is None or not s.value:
            return
        vcpu = self.vcpus[work.vcpu]
        if vcpu.host_halted or not self.wants_kick(vcpu, s.actor):  # one that is not in its guest is woken, not kicked
            return
        if self.mishaps.no_kick(vcpu, work):
            return
        self.words.fence(s.actor)  # an IPI
        self.on_exit(vcpu)

    def _step_wake(self, s: Sequence) -> None:
        """A vCPU that the host halted runs again when anything is done: it faults again, and halts again if need be. One whose guest
        halted looks what it can announce."""
        work = self.works.get(s.work)
        if work is None:
            return
        if self.wake_barrier:
            self.words.fence(s.actor)
        vcpu = self.vcpus[work.vcpu]
        if self.words.read(s.actor, self.names[work.vcpu].sleeping) or (vcpu.halted and not vcpu.host_halted):
            self._awake(vcpu)
            self.on_exit(vcpu)

    def _awake(self, vcpu: CoreVcpu) -> None:
        if vcpu.host_halted:
            self.machine.wake(vcpu.id)
        self.words.write(self.names[vcpu.id].actor, self.names[vcpu.id].sleeping, 0)

    def _step_put(self, s: Sequence) -> None:
        self.words.fence(s.actor)  # an atomic decrement
        self.put_references(s.work)

    def _step_return(self, s: Sequence) -> None:
        if VM in self.references.gone:
            self.references.problems.append(f"{s.actor} runs code of a VM that is gone")

    def _nothing(self, s: Sequence) -> None:
        return None

    # ---------------------------------------------- completion, in the vCPU's thread
    def on_exit(self, vcpu: CoreVcpu) -> None:
        """The vCPU is out of its guest: look whether somebody asked for its attention, and on the way to sleep at `done` itself."""
        if self._take_request(vcpu) or (vcpu.halted and self._done_before_sleep(vcpu)):
            self.complete(vcpu)

    def _done_before_sleep(self, vcpu: CoreVcpu) -> bool:
        actor = self.names[vcpu.id].actor
        if self.wake_barrier:
            self.words.fence(actor)
        return bool(self.words.read(actor, self.names[vcpu.id].done))

    def _take_request(self, vcpu: CoreVcpu) -> bool:
        """Was attention asked for? The bit is cleared by a locked instruction, which is a fence (kvm_check_request)."""
        actor, request = self.names[vcpu.id].actor, self.names[vcpu.id].request
        if not self.words.read(actor, request):
            return False
        self.words.write(actor, request, 0)
        self.words.fence(actor)
        return True

    def complete(self, vcpu: CoreVcpu) -> None:
        """Take completions off `done` while the protocol can announce them."""
        if self.sequencer.holder(vcpu.id) is not None:  # its thread is amid something: it looks before it goes on in its guest
            self.words.write(self.names[vcpu.id].actor, self.names[vcpu.id].request, 1)
            self.machine.requests.add(vcpu.id)
            return
        while self.done[vcpu.id] and self.can_dequeue(vcpu):
            first = self.done[vcpu.id][0]
            if not self.announces_early and self.mishaps.is_late(vcpu, self.works[first]):
                return
            sequence = self.sequencer.start("dequeue", self.names[vcpu.id].actor, first, vcpu.id, DEQUEUE)
            if sequence.left:
                sequence.value = 1  # the loop goes on in `_dequeued`
                return
            if "apf-one-completion" in self.bugs:
                return

    def _step_pop(self, s: Sequence) -> None:
        work = self._own_work(s)
        if work is None:
            return
        self.done[work.vcpu].pop(0)
        self._count_done(s.actor, work.vcpu)

    def _step_present(self, s: Sequence) -> None:
        work = self.works.get(s.work)
        if work is not None:
            if not self.announces_early:
                self._tell(self.vcpus[work.vcpu], work)
            self._awake(self.vcpus[work.vcpu])

    def _tell(self, vcpu: CoreVcpu, work: Work) -> None:
        if work.mishap == Mishap.AGAIN:
            self.present(vcpu, work)
            return
        if not work.wake_all:
            self.forget_gfn(vcpu, work)
        elif "apf-blind-delete" in self.bugs:
            self._forget_another(vcpu)
        told = self.mishaps.present(vcpu, work)
        if work.wake_all:
            if told:
                self.ledger.count["wake_all"] += 1
                self.note("wake_all", work, "announced: every sleeper of this vCPU wakes")
                self._event(EventKind.TOKEN_WAKE_ALL, vcpu, len(self.ledger.away))
        elif told:
            self.ledger.came_back(vcpu, work)
            self.note("ready", work, "announced to the guest")
            self._event(EventKind.TOKEN_READY, vcpu, work.token, work.gva, work.gpa)
        elif work.injected:
            self.ledger.count["unsent"] += 1
            self.note("unsent", work, "over, and not announced")
        else:
            self.note("over", work, "over: the guest does not wait for it")

    def forget_gfn(self, vcpu: CoreVcpu, work: Work) -> None:
        """The page is under way no longer: the next fault on it starts anew."""
        if self.gfns.get(self.gfn_key(vcpu, work.gpa)) == work.token:
            self.gfns.pop(self.gfn_key(vcpu, work.gpa))
        if self.tokens.get(work.token + 1) == work.id:
            self.tokens.pop(work.token + 1)

    def _forget_another(self, vcpu: CoreVcpu) -> None:
        """Known bug: a search for a gfn that is not there ends at some other one, which is deleted."""
        own = [w for w in self.works.values() if w.vcpu == vcpu.id and self.gfns.get(self.gfn_key(vcpu, w.gpa)) == w.token]
        if own and not own[0].wake_all:
            self.gfns.pop(self.gfn_key(vcpu, own[0].gpa))

    def _step_unlink(self, s: Sequence) -> None:
        work = self.works.pop(s.work, None)
        if work is not None:
            self.queued[work.vcpu] -= 1

    def _dequeued(self, s: Sequence) -> None:
        """After an interruption the loop of `complete` goes on here."""
        if s.id in self.sequencer.resting or self.sequencer.holder(s.holds) is not None:
            return
        vcpu = self.vcpus[s.holds]
        if s.value and "apf-one-completion" not in self.bugs:
            self.complete(vcpu)
        if self.words.read(s.actor, self.names[vcpu.id].request):
            self.on_exit(vcpu)

    # --------------------------------------------------- wake-all, flush, reset
    def wake_all(self, vcpu: CoreVcpu) -> bool:
        """Queue the event that wakes every sleeper of the vCPU; nothing when completions wait already (x86-apf.md 4)."""
        if self.done[vcpu.id]:
            return False
        work = Work(self.next_work, vcpu.id, BROADCAST, 0, 0, 0, -1, self.machine.now(), wake_all=True, fetched=True, done=True)
        self.enqueue_done(work)
        self.ask(vcpu)
        return True

    def enqueue_done(self, work: Work) -> None:
        """A work that nobody has to fetch anything for goes to the end of its vCPU's `done`."""
        self.works[work.id] = work
        self.next_work = work.id + 1
        self.queued[work.vcpu] += 1
        self.done[work.vcpu].append(work.id)
        self._count_done(self.names[work.vcpu].actor, work.vcpu)

    def waiting_broadcast(self, vcpu: CoreVcpu) -> bool:
        """Is a wake-all among the completions that wait?"""
        return any(self.works[number].wake_all for number in self.done[vcpu.id])

    def ask(self, vcpu: CoreVcpu) -> None:
        """The vCPU's thread looks at `done` at its next exit; one that is in its guest is made to exit."""
        self.words.write(self.names[vcpu.id].actor, self.names[vcpu.id].request, 1)
        self.machine.exit_soon(vcpu.id)

    def clear(self, vcpu: CoreVcpu) -> None:
        """Throw away every work of the vCPU. Waits for its workers, and for what its own thread is amid."""
        if "apf-flush-unlocked" not in self.bugs:
            while (own := self.sequencer.holder(vcpu.id)) is not None:
                self.sequencer.complete(own)
        if "apf-flush-running" not in self.bugs:
            for worker in self.sequencer.workers(vcpu.id):
                self.sequencer.complete(worker)
        for work in [w for w in self.works.values() if w.vcpu == vcpu.id]:
            self._cancel(vcpu, work)
        self.done[vcpu.id].clear()
        self._count_done(self.names[vcpu.id].actor, vcpu.id)
        self.queued[vcpu.id] = 0
        self.words.write(self.names[vcpu.id].actor, self.names[vcpu.id].request, 0)
        self._awake(vcpu)

    def _cancel(self, vcpu: CoreVcpu, work: Work) -> None:
        waiting = self.io.get(work.index, [])
        if work.id in waiting:  # its worker has not begun
            waiting.remove(work.id)
            self.put_references(work.id, leak="apf-cancel-leak" in self.bugs)
            if not waiting:
                del self.io[work.index]
                self.mishaps.cancel_io(work.index)
        self.mishaps.cancelled(work)
        self.note("cancelled", work, "thrown away by a flush")
        if not work.wake_all and work.mishap != Mishap.AGAIN and "apf-stale-gfns" not in self.bugs:
            self.forget_gfn(vcpu, work)
        if work.injected and work.token in self.ledger.away:
            self.ledger.took_back(vcpu, work)
        self.works.pop(work.id, None)

    def put_references(self, number: int, leak: bool = False) -> None:
        """The worker of that work holds nothing any more."""
        holder = f"w{number}"
        if not leak and "apf-mm-count" not in self.bugs:
            self.references.put(MM, holder)
        if "apf-worker-vm-reference" in self.bugs and self.references.put(VM, holder):
            self.references.problems.append(f"{holder} destroys the VM from inside itself, and waits for itself")

    def reset_vcpu(self, vcpu: CoreVcpu) -> None:
        self.clear(vcpu)

    def close(self) -> None:
        """The VM ends when its owner lets go, unless somebody else still holds it."""
        if self.references.count(VM) == 1:
            for vcpu in self.machine.vcpus:
                self.clear(vcpu)
            if "owner" in self.references.holders[MM]:
                self.references.put(MM, "owner")
        if "owner" in self.references.holders[VM]:
            self.references.put(VM, "owner")

    def _end_vm(self, words: list[str]) -> str:
        """``end-vm``: as if the VM's process were killed."""
        self.end()
        return "the VM is gone"

    def end(self) -> None:
        """The process that owns the VM ends, whatever is under way: first its address space goes, then its file of the VM is closed,
        and I/O may end in between; workers that are left go on by themselves.
        """
        machine = self.machine
        self.references.put(MM, "owner")
        while self.io and machine.choices.choose("end", 2):
            self._next_event()
        self.close()
        while self.io or self.sequencer.resting:
            self._next_event()
        machine.power_off(0)

    def _next_event(self) -> None:
        """Time goes on to the next event; no vCPU runs any more."""
        deadline = self.machine.queue.next_deadline()
        assert deadline is not None
        self.machine.time_units = max(self.machine.time_units, self.machine.units(deadline))
        self.machine.queue.run_due(self.machine.now())

    # --------------------------------------------------------------- reports
    def note(self, kind: str, work: Work, text: str, vcpu: int | None = None) -> None:
        """A moment of a work's life, if anybody keeps a history."""
        history = self.machine.history
        if history is not None:
            history.note(kind, f"w{work.id}", work.token, text, work.vcpu if vcpu is None else vcpu)

    def heard(self, vcpu: CoreVcpu, text: str) -> None:
        """The guest answers to what was announced to it last."""
        history = self.machine.history
        last = None if history is None else history.last(("ready", "wake_all"), vcpu.id)
        if history is not None and last is not None:
            history.note("acknowledged", last.subject, last.number, text, vcpu.id)

    def insight(self) -> Insight:
        """Subclasses give one that knows their protocol."""
        from vmemu.protocols.async_page.insight import PagerInsight

        return PagerInsight(self)

    def _event(self, kind: EventKind, vcpu: CoreVcpu | None, a: int = 0, b: int = 0, c: int = 0) -> None:
        if self.core.traced:
            self.core.put_event(kind, a, b, c, vcpu=vcpu)

    def sleepers(self) -> dict[str, int]:
        return report.sleepers(self)

    def summary(self) -> dict[str, Any]:
        return {"apf": self.profile, "tokens": self.ledger.summary(CYC * self.machine.board.cpu_hz // 1_000_000) | self.sleepers()}

    def lines(self) -> list[str]:
        blocked = sum(v.blocked_cycles for v in self.machine.vcpus)
        return self.ledger.lines(self.profile, self.summary()["tokens"], blocked, self.machine.board.cpu_hz)

    def stalled(self) -> str | None:
        return report.stalled(self)

    def invariants(self) -> list[str]:
        return report.invariants(self)

    # ----------------------------------------------------------------- state
    def save(self) -> State:
        return {
            "version": self.VERSION, "works": [w.save() for w in self.works.values()], "done": [list(d) for d in self.done],
            "queued": list(self.queued), "next_work": self.next_work, "io": [[k, list(v)] for k, v in self.io.items()],
            "failed": sorted(self.failed), "ledger": self.ledger.save(), "references": self.references.save(),
            "words": self.words.save(), "sequences": self.sequencer.save(),
            "tables": [[list(p) for p in self.tokens.items()], [list(p) for p in self.gfns.items()]],
        }  # fmt: skip

    def load(self, state: State) -> None:
        self.works = {w[0]: Work(*w) for w in state["works"]}
        self.done = [list(d) for d in state["done"]]
        self.queued = list(state["queued"])
        self.next_work = state["next_work"]
        self.io = {k: list(v) for k, v in state["io"]}
        self.failed = set(state["failed"])
        self.ledger.load(state["ledger"])
        self.references.load(state["references"])
        self.words.load(state["words"])
        self.sequencer.load(state["sequences"])


#: What `_step_settle` leaves in its sequence.
RETRY, NOTIFIED, HALT = range(3)
RESOLVED = (Resolution.RETRY.value, Resolution.NOTIFIED.value, Resolution.HALT.value)
