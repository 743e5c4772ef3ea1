# SPDX-License-Identifier: GPL-2.0-or-later
"""The bare script guest (helpers.sdei) as a client of arm64's asynchronous page faults."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from helpers.sdei import BUFFERS, HANDLER, INIT_GIC, IRQ_OF_EL0, IRQ_WINDOW, PAGES, Line, ScriptGuest, clear

from vmemu.core import PAGE_SIZE
from vmemu.protocols.async_page.mishaps import IO_DONE
from vmemu.protocols.sdei.calls import Call
from vmemu.protocols.sdei_arm64.abi import EVENT, Sub
from vmemu.protocols.sdei_arm64.pager import Arm64Pager
from vmemu.protocols.sdei_arm64.state import VcpuState

SERVICE = 0x86000002
AWAY = 80  # pages of PAGES that are in the store


def page(i: int) -> int:
    return PAGES + PAGE_SIZE * i


def content(i: int) -> int:
    """What is in page(i)."""
    return 0x1000 + i


def enable(cpu: int = 0, *, flags: int = 1) -> Line:
    return (SERVICE, Sub.ENABLE, BUFFERS + 64 * cpu | flags, 0)


def disable(cpu: int = 0) -> Line:
    return (SERVICE, Sub.ENABLE, BUFFERS + 64 * cpu, 0)


ACKNOWLEDGE: Line = (SERVICE, Sub.IRQ_ACK)
REGISTER: list[Line] = [(Call.EVENT_REGISTER, EVENT, HANDLER, 5, 0, 0), (Call.EVENT_ENABLE, EVENT), (Call.PE_UNMASK,)]
#: Up to the first wake-all, which is served.
SETUP: list[Line] = [INIT_GIC, *REGISTER, enable(), IRQ_WINDOW]
PPI_SETUP: list[Line] = [INIT_GIC, enable(), IRQ_WINDOW]
#: What the handler of "away" does: the buffer is given back, and the IRQ vector of EL0 taken.
TOLD: list[Line] = [*clear(), (Call.EVENT_COMPLETE_AND_RESUME, IRQ_OF_EL0)]


class ApfGuest(ScriptGuest):
    """One with a service, and pages that are away."""

    def __init__(self, folder: Path, apf: str = "sdei", latency: str = "nvme", **options: Any) -> None:
        super().__init__(folder, apf=apf, latency=latency, **options)
        for i in range(AWAY):
            self.machine.write_guest(page(i), content(i).to_bytes(8, "little"))
            self.put_away(page(i))

    @property
    def pager(self) -> Arm64Pager:
        pager = self.machine.pager
        assert isinstance(pager, Arm64Pager)
        return pager

    def state(self, cpu: int = 0) -> VcpuState:
        return self.pager.states[cpu]

    def buffer(self, cpu: int = 0) -> tuple[int, int]:
        reason, token = struct.unpack("<2I", self.machine.read_guest(BUFFERS + 64 * cpu, 8))
        return reason, token

    def finish_early(self) -> None:
        """From now on every worker is done before the vCPU enters its guest again: no event is ever delivered."""
        machine = self.machine

        def hurry(running: object) -> None:
            for index in list(self.pager.io):
                if any(s.away_pending for s in self.pager.states):
                    event = machine.queue.find(IO_DONE, index)
                    assert event is not None
                    machine.queue.cancel(event)
                    self.pager.mishaps.io_done(machine.now(), index)

        machine.on_turn = hurry

    def count(self, name: str) -> int:
        return self.pager.ledger.count[name]

    def sync(self, reason: str) -> int:
        return self.pager.ledger.sync.get(reason, 0)
