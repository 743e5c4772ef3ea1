# SPDX-License-Identifier: GPL-2.0-or-later
"""How boards start, stop and interrupt CPUs: the state in which one begins, refused requests, whole snapshots."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmemu import Machine
from vmemu.devices import lapic, psci, rtas
from vmemu.machine import disk, snapshot
from vmemu.machine.boards.pc_apic import LAPIC_BASE
from vmemu.machine.boards.pseries import H_PROD, H_RTAS
from vmemu.machine.boards.virt import GICR
from vmemu.machine.result import state_hash

MASK64 = (1 << 64) - 1
BUFFER = 0x100_0000  # guest memory for RTAS arguments


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    made = Machine.boot("tasks", isa=request.param, smp=3)
    yield made
    made.close()


def online(machine: Machine) -> list[bool]:
    return [vcpu.online for vcpu in machine.vcpus]


# ---------------------------------------------------------------------- x86-64
def command(machine: Machine, message: int, dest: int = 0) -> None:
    """The running CPU, 0, writes its interrupt command register."""
    machine.board.mmio.write(LAPIC_BASE + lapic.ICR_HIGH, 4, dest << 24)
    machine.board.mmio.write(LAPIC_BASE + lapic.ICR, 4, message)


INIT, STARTUP, OTHERS = 0x4500, 0x4600, 3 << 18


@pytest.mark.parametrize("machine", ["x86_64"], indirect=True)
def test_init_and_startup(machine: Machine) -> None:
    vcpu = machine.vcpus[1]
    command(machine, 0x4031, 1)  # a CPU that waits for its startup takes no other message
    command(machine, INIT, 1)
    assert online(machine) == [True, False, False]
    command(machine, STARTUP | 0x12, 1)
    assert online(machine) == [True, True, False]
    names = ("cs", "cs_base", "cs_limit", "ds", "ss_base", "rip", "cr0", "cr3", "cr4", "efer", "rflags", "rdx")
    found = {name: vcpu.get(name) for name in names}
    assert found == {
        "cs": 0x1200, "cs_base": 0x12000, "cs_limit": 0xFFFF, "ds": 0, "ss_base": 0, "rip": 0, "cr0": 0x6000_0010, "cr3": 0,
        "cr4": 0, "efer": 0, "rflags": 2, "rdx": 0xF61,
    }  # fmt: skip
    # mov ax, cs; mov [0x500], ax; inc word [0x502]; hlt
    machine.write_guest(0x12000, b"\x8c\xc8\xa3\x00\x05\xff\x06\x02\x05\xf4")
    vcpu.run(insn_limit=vcpu.insns + 4)
    assert machine.read_guest(0x500, 4) == b"\x00\x12\x01\x00"
    command(machine, STARTUP | 0x13, 1)  # it runs: ignored
    assert vcpu.get("cs") == 0x1200
    command(machine, INIT, 1)
    assert not vcpu.online
    command(machine, STARTUP | 0x13, 1)
    assert vcpu.online and vcpu.get("cs_base") == 0x13000 and not vcpu.halted


@pytest.mark.parametrize("machine", ["x86_64"], indirect=True)
def test_messages_to_several(machine: Machine) -> None:
    command(machine, INIT | OTHERS)
    command(machine, STARTUP | OTHERS | 0x20)
    assert online(machine) == [True, True, True]
    apics = machine.board.apics  # type: ignore[attr-defined]
    for chip in apics.lapics:
        chip.write(lapic.SVR, 4, lapic.ENABLE | 0xFF)

    def arrived() -> list[int]:
        found = [chip.irr for chip in apics.lapics]
        for chip in apics.lapics:
            chip.irr = 0
        return [n.bit_length() - 1 for n in found]

    command(machine, 0x4041, 2)
    assert arrived() == [-1, -1, 0x41]
    command(machine, 0x4042 | OTHERS)
    assert arrived() == [-1, 0x42, 0x42]
    command(machine, 0x4043 | 2 << 18)  # all, with the sender
    assert arrived() == [0x43] * 3
    command(machine, 0x4044, 0xFF)
    assert arrived() == [0x44] * 3
    for number, chip in enumerate(apics.lapics):
        chip.write(lapic.LDR, 4, 1 << 24 + number)
    command(machine, 0x4845, 6)  # logical
    assert arrived() == [-1, 0x45, 0x45]
    command(machine, 0x4146 | 0x800, 6)  # lowest priority: one of them
    assert arrived().count(0x46) == 1
    command(machine, 0x4400, 1)  # NMI
    assert machine.vcpus[1].irq_lines & 2
    command(machine, 0x4047, 9)
    assert arrived() == [-1] * 3


@pytest.mark.parametrize("machine", ["x86_64"], indirect=True)
def test_each_cpu_has_its_apic(machine: Machine) -> None:
    board = machine.board
    for number, vcpu in enumerate(machine.vcpus):
        base = board.read_register(vcpu, 0x1B)
        assert base == LAPIC_BASE | 0x800 | (0 if number else 0x100)
        board.write_register(vcpu, 0x1B, base | 0x400)
        assert board.read_register(vcpu, 0x802) == number
        assert board.cpuid(vcpu, 1, 0)[1] >> 24 == number
        assert board.cpuid(vcpu, 0xB, 1) == (4, 3, 0x201, number)
    state = board.save()
    board.write_register(machine.vcpus[2], 0x808, 0x50)
    board.load(state)
    assert board.read_register(machine.vcpus[2], 0x808) == 0


# ----------------------------------------------------------------------- arm64
def firmware(machine: Machine, cpu: int, *registers: int) -> int:
    vcpu = machine.vcpus[cpu]
    for number, value in enumerate(registers):
        vcpu.set(f"x{number}", value)
    machine.board.on_hcall(vcpu, 0)
    value = vcpu.get("x0")
    return value - (1 << 64) if value >> 63 else value


@pytest.mark.parametrize("machine", ["arm64"], indirect=True)
def test_cpu_on_and_off(machine: Machine) -> None:
    vcpu = machine.vcpus[2]
    vcpu.set("sctlr_el1", 0x30D00801)
    vcpu.set("x7", 99)
    on = psci.CPU_ON | psci.SMC64
    assert firmware(machine, 0, on, 2, 0x4100_0000, 0xABCD) == psci.SUCCESS
    assert online(machine) == [True, False, True]
    found = {name: vcpu.get(name) for name in ("pc", "x0", "x1", "x7", "pstate", "sctlr_el1")}
    assert found == {"pc": 0x4100_0000, "x0": 0xABCD, "x1": 0, "x7": 0, "pstate": 0x3C5, "sctlr_el1": 0x00C50078}
    assert firmware(machine, 0, on, 2, 0x4100_0000, 0) == psci.ALREADY_ON
    assert firmware(machine, 0, on, 3, 0x4100_0000, 0) == psci.INVALID_PARAMETERS
    assert firmware(machine, 0, psci.AFFINITY_INFO, 1, 0) == psci.OFF
    assert firmware(machine, 0, psci.AFFINITY_INFO, 2, 0) == psci.ON
    firmware(machine, 2, psci.CPU_OFF)
    assert online(machine) == [True, False, False]
    assert firmware(machine, 0, psci.AFFINITY_INFO, 2, 0) == psci.OFF
    assert firmware(machine, 0, on, 2, 0x4200_0000, 1) == psci.SUCCESS
    assert vcpu.online and not vcpu.halted and vcpu.pc == 0x4200_0000


@pytest.mark.parametrize("machine", ["arm64"], indirect=True)
def test_redistributors(machine: Machine) -> None:
    for number in range(3):
        at = GICR + number * 0x20000
        assert machine.board.mmio.read(at + 8, 4, 0) == number << 8 | (16 if number == 2 else 0)
        assert machine.board.mmio.read(at + 12, 4, 0) == number


# ----------------------------------------------------------------------- ppc64
def service(machine: Machine, cpu: int, name: str, *args: int, results: int = 1) -> list[int]:
    cells = (rtas.TOKENS[name], len(args), results, *args)
    machine.write_guest(BUFFER, b"".join(c.to_bytes(4, "big") for c in cells))
    vcpu = machine.vcpus[cpu]
    vcpu.set("r3", H_RTAS)
    vcpu.set("r4", BUFFER)
    machine.board.on_hcall(vcpu, 0)
    data = machine.read_guest(BUFFER + 4 * len(cells), 4 * results)
    return [int.from_bytes(data[i : i + 4], "big", signed=True) for i in range(0, len(data), 4)]


@pytest.mark.parametrize("machine", ["ppc64"], indirect=True)
def test_rtas_starts_and_stops(machine: Machine) -> None:
    boot, vcpu = machine.vcpus[0], machine.vcpus[1]
    boot.set("prtbl", 0x123000 | 4)
    vcpu.set("r9", 77)
    assert service(machine, 0, "query-cpu-stopped-state", 1, results=2) == [0, 0]
    assert service(machine, 0, "query-cpu-stopped-state", 0, results=2) == [0, 2]
    assert service(machine, 0, "start-cpu", 1, 0x40_0000, 5) == [0]
    assert online(machine) == [True, True, False]
    found = {name: vcpu.get(name) for name in ("pc", "msr", "r3", "r9", "prtbl", "lpcr", "pir")}
    assert found == {
        "pc": 0x40_0000, "msr": 1 << 63 | 1 << 12, "r3": 5, "r9": 0, "prtbl": 0x123004, "lpcr": boot.get("lpcr"), "pir": 1,
    }  # fmt: skip
    for args in ((1, 0, 0), (3, 0, 0), (0xFFFF_FFFF, 0, 0), (2,)):
        assert service(machine, 0, "start-cpu", *args) == [rtas.PARAMETER_ERROR]
    service(machine, 1, "stop-self")
    assert online(machine) == [True, False, False]
    assert service(machine, 0, "query-cpu-stopped-state", 1, results=2) == [0, 0]
    assert service(machine, 0, "start-cpu", 1, 0x50_0000, 6) == [0]
    assert vcpu.online and vcpu.pc == 0x50_0000


@pytest.mark.parametrize("machine", ["ppc64"], indirect=True)
def test_prod_ends_a_wait(machine: Machine) -> None:
    vcpu = machine.vcpus[0]
    machine.board.vpa.cede(1)  # type: ignore[attr-defined]
    machine.vcpus[1].halted = True
    vcpu.set("r3", H_PROD)
    vcpu.set("r4", 1)
    machine.board.on_hcall(vcpu, 0)
    assert not machine.vcpus[1].halted
    vcpu.set("r3", H_PROD)
    vcpu.set("r4", 3)
    machine.board.on_hcall(vcpu, 0)
    assert vcpu.get("r3") == -4 & MASK64


# ------------------------------------------------------------------- snapshots
@pytest.mark.parametrize("isa", ["x86_64", "arm64", "ppc64"])
def test_snapshots_of_several_cpus(isa: str, tmp_path: Path) -> None:
    """Taken while CPUs start, idle and interrupt each other, in memory and on disk."""

    def fresh() -> Machine:
        return Machine.boot("tasks", isa=isa, smp=4, seed=5, resident="3M", latency="nvme", append="tasks=3 rounds=1 pages=40")

    reference = fresh().run()
    assert reference.status == 0
    machine = fresh()
    rng = random.Random(isa)
    stops = sorted(rng.sample(range(20_000, reference.instructions), 12))
    kept = []
    for number, stop in enumerate(stops):
        assert machine.run_to(stop) is None
        kept.append(snapshot.take(machine))
        if number % 4 == 0:
            disk.save(machine, str(tmp_path / str(number)))
    middle = state_hash(machine)
    snapshot.restore(machine, kept[2])
    machine.run_to(stops[-1])
    assert state_hash(machine) == middle
    assert machine.run().state_hash == reference.state_hash
    machine.close()
    for file in tmp_path.iterdir():
        loaded = disk.load(str(file))
        assert loaded.run().state_hash == reference.state_hash
        loaded.close()
