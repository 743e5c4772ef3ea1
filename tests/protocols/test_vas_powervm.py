# SPDX-License-Identifier: GPL-2.0-or-later
"""The switchboard as a PowerVM partition has it: hypercalls, one interrupt for each fault, one credit a window (H18)."""

from __future__ import annotations

import json
import struct

import pytest

from vmemu.lab.vas_rig import CSB, SOURCE, TARGET, Request, Rig, crb, dde
from vmemu.machine.fdt import Node
from vmemu.protocols.vas import powervm as pv

H_SUCCESS, H_BUSY, H_PRIVILEGE, H_PARAMETER, H_P2 = 0, 1, -3, -4, -55
FLAGS = 0x5C00_0000_0000_0000
BUFFER = 0x8000


class Partition:
    """A kernel that makes hypercalls, with one window for PID 5."""

    def __init__(self, **options: object) -> None:
        self.rig = Rig("powervm", **options)
        self.vcpu = self.rig.machine.vcpus[0]

    def hcall(self, token: int, *arguments: int) -> tuple[int, ...]:
        """(status, r4, r5, r6, r7)"""
        self.vcpu.set("r3", token)
        for i in range(9):
            self.vcpu.set(f"r{4 + i}", arguments[i] if i < len(arguments) else 0)
        self.rig.machine.board.hcalls[token](self.vcpu)
        status = self.vcpu.get("r3")
        return (status - (1 << 64) if status >> 63 else status, *(self.vcpu.get(f"r{4 + i}") for i in range(4)))

    def allocate(self) -> tuple[int, ...]:
        return self.hcall(pv.H_ALLOCATE, 1, 1, *[(1 << 64) - 1] * 6)

    def window(self) -> int:
        number = self.allocate()[1]
        assert self.hcall(pv.H_MODIFY, number, 5, 0, FLAGS, 0)[0] == H_SUCCESS
        return number


@pytest.fixture
def partition() -> Partition:
    return Partition()


AWAY = crb(0x1E, CSB, dde(0x1000, 8), dde(TARGET, 8))


def test_a_job(partition: Partition) -> None:
    rig = partition.rig
    status, number, paste, completion, fault = partition.allocate()
    assert (status, number, paste) == (0, 1, 0x0008_0000_0001_0000)
    assert (completion, fault) == (pv.COMPLETION_INTERRUPT + 1, pv.FAULT_INTERRUPT + 1)
    request = Request(rig, window=1)
    assert not rig.paste(crb(0x1E, CSB, dde(SOURCE, 8), dde(TARGET, 8)), 1)  # H18: paste before modify
    assert partition.hcall(pv.H_MODIFY, 1, 5, 0, FLAGS, 0)[0] == H_SUCCESS
    assert request.run(0x1E, b"abc").data == b"abc"
    request.start(0x1E, b"abc")
    assert not rig.paste(AWAY, 1)  # its one credit is out
    rig.settle()
    assert partition.hcall(pv.H_DEALLOCATE, 1)[0] == H_SUCCESS
    assert not rig.paste(AWAY, 1) and partition.hcall(pv.H_DEALLOCATE, 1)[0] == H_PARAMETER


def test_h18_allocation(partition: Partition) -> None:
    assert partition.hcall(pv.H_ALLOCATE, 0, 1)[0] == H_PARAMETER  # no QoS
    assert partition.hcall(pv.H_ALLOCATE, 1, 2)[0] == H_PARAMETER
    assert [partition.allocate()[1] for _ in range(pv.WINDOWS)] == list(range(1, pv.WINDOWS + 1))
    assert partition.allocate()[0] == pv.H_CONSTRAINED
    assert partition.hcall(pv.H_DEALLOCATE, 7)[0] == H_SUCCESS and partition.allocate()[1] == 7


def test_h18_modify(partition: Partition) -> None:
    number = partition.allocate()[1]
    for arguments, status in (
        ((9, 5, 0, FLAGS, 0), H_PARAMETER), ((number, 5, 1, FLAGS, 0), H_PARAMETER), ((number, 5, 0, FLAGS, 1), H_PARAMETER),
        ((number, 5, 0, FLAGS | 1, 0), H_PARAMETER), ((number, 5, 0, 0, 0), H_PARAMETER), ((number, 256, 0, FLAGS, 0), H_P2),
        ((number, 1 << 63, 0, FLAGS, 0), H_P2), ((number, 5, 0, FLAGS, 0), H_SUCCESS), ((number, 6, 0, FLAGS, 0), H_SUCCESS),
        ((number, 5, 0, FLAGS, 0), H_SUCCESS),
    ):  # fmt: skip
        assert partition.hcall(pv.H_MODIFY, *arguments)[0] == status, arguments
    Request(partition.rig, window=number)
    assert partition.rig.paste(AWAY, number)
    assert partition.hcall(pv.H_MODIFY, number, 5, 0, FLAGS, 0)[0] == H_BUSY
    assert partition.hcall(pv.H_MODIFY, number, 5, 0, 1 << 63, 0)[0] == H_SUCCESS  # close


def test_h18_faults(partition: Partition) -> None:
    rig, number = partition.rig, partition.window()
    Request(rig, window=number)
    assert partition.hcall(pv.H_GET_NX_FAULT, number, BUFFER)[0] == pv.H_NOT_FOUND
    assert rig.paste(AWAY, number)
    rig.settle()
    assert partition.hcall(pv.H_DEALLOCATE, number)[0] == pv.H_LONG_BUSY_1_MSEC
    assert partition.hcall(pv.H_DEALLOCATE, number)[0] == pv.H_LONG_BUSY_1_MSEC
    for buffer in (BUFFER + 64, 1 << 40, (1 << 64) - 128):
        assert partition.hcall(pv.H_GET_NX_FAULT, number, buffer)[0] == H_PRIVILEGE
    assert partition.hcall(pv.H_GET_NX_FAULT, 9, BUFFER)[0] == H_PARAMETER
    assert not rig.vas.home
    assert partition.hcall(pv.H_GET_NX_FAULT, number, BUFFER)[0] == H_SUCCESS
    entry = rig.read(BUFFER, 128)
    assert entry[:64] == AWAY[:64] and struct.unpack(">QHBBI", entry[64:80]) == (0x1000, 0, 0, 3, number)
    assert rig.vas.home and partition.hcall(pv.H_DEALLOCATE, number)[0] == H_SUCCESS


@pytest.mark.parametrize("dropped", [False, True])
def test_one_interrupt_for_each_fault(dropped: bool) -> None:
    """The guest counts interrupts, not entries. With the bug, a fault during the handler has none, and its program waits for ever."""
    partition = Partition(bugs=("vas-irq-dropped",) if dropped else ())
    rig, number = partition.rig, partition.window()
    Request(rig, window=number)
    xics, source = rig.facility.board.xics, pv.FAULT_INTERRUPT + number
    xics.set_cppr(0, 0xFF)
    assert xics.set_xive(source, 0, 5)
    assert rig.paste(AWAY, number)
    rig.settle()
    assert xics.xirr(0) & 0xFFFFFF == source
    assert partition.hcall(pv.H_GET_NX_FAULT, number, BUFFER)[0] == H_SUCCESS
    assert rig.paste(AWAY, number)  # before the handler's end
    rig.settle()
    xics.eoi(0, 0xFF << 24 | source)
    assert (xics.xirr(0) & 0xFFFFFF == source) != dropped
    xics.eoi(0, 0xFF << 24 | source)
    assert xics.xirr(0) & 0xFFFFFF == 0


def test_capabilities(partition: Partition) -> None:
    for call, kind, want in (
        (pv.H_QUERY_VAS_CAPABILITIES, 0, b"VASCAPS " + (1 << 61).to_bytes(8, "big")),
        (pv.H_QUERY_VAS_CAPABILITIES, 2, (0x5644_6566_477A_6970).to_bytes(8, "big") + struct.pack(">BBHHHH", 1, 1, 16, 1, 16, 16)),
        (pv.H_QUERY_NX_CAPABILITIES, 0, b"NXCAPS  " + (1 << 62).to_bytes(8, "big")),
        (pv.H_QUERY_NX_CAPABILITIES, 1, b"NX_Gzip " + struct.pack(">QQQ", 1048576, 32768, 32768)),
    ):
        assert partition.hcall(call, kind, BUFFER)[0] == H_SUCCESS
        assert partition.rig.read(BUFFER, len(want)) == want
        assert partition.hcall(call, kind, BUFFER + 128)[0] == H_PRIVILEGE
        assert partition.hcall(call, kind, 1 << 40)[0] == H_PRIVILEGE
        assert partition.hcall(call, 3, BUFFER)[0] == H_PARAMETER
    assert partition.hcall(pv.H_QUERY_VAS_CAPABILITIES, 1, BUFFER)[0] == H_PARAMETER


def test_query(partition: Partition) -> None:
    number = partition.window()
    assert partition.hcall(pv.H_QUERY_WINDOW, number, BUFFER)[0] == H_SUCCESS
    version, kind, status, credits_, pid, paste, _, fault = struct.unpack_from(">HBBH2xI4xQII", partition.rig.read(BUFFER, 88))
    assert (version, kind, status, credits_, pid) == (1, 1, 1, 1, 5)
    assert (paste, fault) == (0x0008_0000_0000_0000 + (number << 16), pv.FAULT_INTERRUPT + number)
    assert partition.hcall(pv.H_QUERY_WINDOW, number, 8)[0] == H_PRIVILEGE
    assert partition.hcall(pv.H_QUERY_WINDOW, 9, BUFFER)[0] == H_PARAMETER


def test_state_and_tree(partition: Partition) -> None:
    number = partition.window()
    Request(partition.rig, window=number)
    assert partition.rig.paste(AWAY, number)
    partition.rig.settle()
    saved = json.loads(json.dumps(partition.rig.facility.save()))
    partition.rig.facility.vas.reset()
    partition.rig.facility.load(saved)
    assert json.loads(json.dumps(partition.rig.facility.save())) == saved
    assert partition.hcall(pv.H_GET_NX_FAULT, number, BUFFER)[0] == H_SUCCESS
    root = Node()
    partition.rig.facility.describe(root)
    assert root.find("ibm,platform-facilities").find("ibm,compression-v1")
