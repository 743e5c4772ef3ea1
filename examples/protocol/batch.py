# SPDX-License-Identifier: GPL-2.0-or-later
"""A variant of KVM's protocol, made and explored without touching vmemu: docs/exploring.md.

    vmemu explore examples/protocol/batch.py:forgetful

Pages that come back are announced two at a time, or when nothing else is under way: fewer interrupts for the guest. The host
counts what is under way; `Forgetful` does not begin anew when works are thrown away.
"""

from typing import TYPE_CHECKING, Any

from vmemu.core import CoreVcpu
from vmemu.lab.explore.scenario import Scenario
from vmemu.machine.facility import extend
from vmemu.protocols.async_page.work import Work
from vmemu.protocols.kvm_x86.host import KvmX86

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

BATCH = 2


class Batching(KvmX86):
    """`flying`: page-ins of each vCPU of which the guest was told and that are under way."""

    def __init__(self, machine: "Machine", profile: str) -> None:
        super().__init__(machine, profile)
        self.flying = [0] * len(machine.vcpus)

    def not_present(self, vcpu: CoreVcpu, work: Work) -> bool:
        told = super().not_present(vcpu, work)
        self.flying[vcpu.id] += told
        return told

    def _ripe(self, vcpu: CoreVcpu) -> bool:
        waiting = [self.works[number] for number in self.done[vcpu.id]]
        return self.flying[vcpu.id] <= 0 or len(waiting) >= BATCH or any(not work.injected for work in waiting)

    def asks(self, vcpu: CoreVcpu, work: Work, first: bool) -> bool:
        self.flying[vcpu.id] -= work.injected
        return not work.injected or self.flying[vcpu.id] <= 0 or len(self.done[vcpu.id]) + 1 >= BATCH

    def can_dequeue(self, vcpu: CoreVcpu) -> bool:
        return self._ripe(vcpu) and super().can_dequeue(vcpu)

    def clear(self, vcpu: CoreVcpu) -> None:
        super().clear(vcpu)
        self.flying[vcpu.id] = 0

    def invariants(self) -> list[str]:
        """Its own rule beside those of every pager: the count is right."""
        wrong = super().invariants()
        if not self.sequencer.resting:
            for cpu, count in enumerate(self.flying):
                real = sum(work.injected and not work.done for work in self.works.values() if work.vcpu == cpu)
                if count != real:
                    wrong.append(f"BATCH: vCPU {cpu} counts {count} page-ins under way, there are {real}")
        return wrong

    def save(self) -> dict[str, Any]:
        return super().save() | {"flying": list(self.flying)}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.flying = list(state["flying"])


class Forgetful(Batching):
    """The same with a mistake."""

    def clear(self, vcpu: CoreVcpu) -> None:
        KvmX86.clear(self, vcpu)


extend("apf", "batch", ("x86_64",), "KVM's protocol, ready events in pairs", lambda machine, value, options: Batching(machine, value))
extend("apf", "batch-forgetful", ("x86_64",), "the same, miscounted", lambda machine, value, options: Forgetful(machine, value))


def scenario(name: str, profile: str) -> Scenario:
    """Three tasks over pages that come and go, on one CPU, under a VMM that may move the machine to another host."""
    return Scenario(
        name=name,
        text=f"tasks that share a CPU, told by {profile}",
        image="storm",
        options={"apf": profile, "latency": "nvme", "memory": "8M", "resident": "1700K", "append": "tasks=3 pages=20 passes=1 shared=4"},
        start="exit_stage2:4",
        cycles=200_000_000,
        actions=("evict", "migrate"),
        kinds=("latency", "step"),
    )


batch = scenario("batch", "batch")
forgetful = scenario("forgetful", "batch-forgetful")
