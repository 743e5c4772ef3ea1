# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMM's control path: Python, ioctl, `vmemu ctl`; what a recording makes of it; and what a restore brings."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path

import pytest
from helpers.apf_arm64 import REGISTER, SETUP, TOLD, ApfGuest, content, disable, enable, page
from helpers.sdei import BUFFERS, INIT_GIC, IRQ, IRQ_WINDOW, LOADED, TASK_AGAIN, WFI_LINE, Line, task

from vmemu.cli.main import run as vmemu
from vmemu.errors import ConfigError
from vmemu.machine import snapshot
from vmemu.machine.control import Control, Refused, ask, execute
from vmemu.machine.machine import Machine
from vmemu.machine.recording import Recorder, Replay
from vmemu.protocols.sdei.calls import Call
from vmemu.protocols.sdei_arm64.abi import EVENT, WAKE_ALL, Reason
from vmemu.protocols.sdei_arm64.control import KVM_ARM_ASYNC_PF_COMMAND, Cmd

WAIT: list[Line] = [WFI_LINE, IRQ_WINDOW]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> ApfGuest:
    return ApfGuest(tmp_path_factory.mktemp("control"))


def ready(guest: ApfGuest) -> list[int]:
    return [e.x2 for e in guest.log() if e.kind == IRQ and e.x0 != 1023 and e.x1 == Reason.PAGE_READY]


# ------------------------------------------------------------------- Python
def test_numbers_while_off(guest: ApfGuest) -> None:
    guest.run([])
    control = guest.pager.control
    assert (control.get_version(), control.get_sdei(0), control.get_irq(0), control.get_control(0)) == (0x10000, EVENT, 22, 0)
    control.set_irq(0, 31)
    control.set_sdei(0, 0x40400000)
    assert (control.get_irq(0), control.get_sdei(0)) == (31, 0x40400000)
    control.set_irq(0, 0)
    control.set_sdei(0, 0)
    assert (control.get_irq(0), control.get_sdei(0)) == (0, 0)


@pytest.mark.parametrize("irq", [1, 15, 26, 27, 28, 29, 30, 32, 1022, 1 << 32, -1])
def test_interrupts_that_cannot_be(guest: ApfGuest, irq: int) -> None:
    with pytest.raises(Refused, match="EINVAL"):
        guest.pager.control.set_irq(0, irq)


@pytest.mark.parametrize("event", [1, 0x40000001, 0x40800001, 0x40C00001, 0x80400001, 0x41400001, 1 << 32 | EVENT, -1])
def test_events_that_a_vm_may_not_see(guest: ApfGuest, event: int) -> None:
    with pytest.raises(Refused, match="EINVAL"):
        guest.pager.control.set_sdei(0, event)


def test_enabled_means_busy(guest: ApfGuest) -> None:
    guest.run(SETUP)
    control = guest.pager.control
    for change in (lambda: control.set_irq(0, 23), lambda: control.set_sdei(0, 0)):
        with pytest.raises(Refused, match="EBUSY"):
            change()
    control.set_control(0, BUFFERS | 1)  # what it is already
    for word in (BUFFERS | 3, BUFFERS + 64 | 1):
        with pytest.raises(Refused, match=r"EIO.*-2"):
            control.set_control(0, word)
    assert control.get_control(0) == BUFFERS | 1
    control.set_control(0, BUFFERS)
    control.set_irq(0, 23)
    assert guest.pager.invariants() == []


def test_what_enable_says_is_eio(guest: ApfGuest) -> None:
    guest.run([])
    control = guest.pager.control
    with pytest.raises(Refused, match=r"EIO.*-1"):
        control.set_control(0, 0x30000001)
    control.set_sdei(0, 0x40400777)  # visible, but firmware has no such event
    with pytest.raises(Refused, match=r"EIO.*-1"):
        control.set_control(0, BUFFERS | 1)
    control.set_sdei(0, 0)
    with pytest.raises(Refused, match=r"EIO.*-3"):
        control.set_control(0, BUFFERS | 1)
    for cpu in (-1, 1):
        with pytest.raises(Refused, match="EINVAL"):
            control.get_irq(cpu)
    for word in (-1, 1 << 64):
        with pytest.raises(Refused, match="EINVAL"):
            control.set_control(0, word)


def test_vmm_disables_and_enables(guest: ApfGuest) -> None:
    """I-1: whoever slept is woken by the wake-all of the next ENABLE, whoever gives it."""
    guest.restart([*SETUP, task(page(0)), *TOLD, *[(Call.VERSION,)] * 20, IRQ_WINDOW, TASK_AGAIN, *TOLD, *WAIT, TASK_AGAIN])
    machine, control = guest.machine, guest.pager.control
    while not any(e.x0 == 1023 for e in guest.log()):  # the task is put away
        assert machine.run_to(machine.insns + 5) is None
    control.set_control(0, BUFFERS)
    control.set_control(0, BUFFERS | 1)
    machine.run()
    assert ready(guest) == [WAKE_ALL, WAKE_ALL, 2 << 12]
    assert [e.x0 for e in guest.log() if e.kind == LOADED] == [content(0)]


# -------------------------------------------------------------------- ioctl
def test_ioctl(guest: ApfGuest) -> None:
    """struct kvm_arm_async_pf_cmd: u32 cmd, padding, a union of 8 bytes; the number encodes its size."""
    guest.run([])
    assert KVM_ARM_ASYNC_PF_COMMAND == 3 << 30 | 16 << 16 | 0xAE << 8 | 0xCF
    ioctl = guest.pager.control.ioctl

    def pack(cmd: int, value: int = 0) -> bytes:
        return struct.pack("<IIQ", cmd, 0, value)

    assert ioctl(None, pack(Cmd.GET_VERSION)) == pack(0, 0x10000)
    assert ioctl(0, pack(Cmd.GET_SDEI)) == pack(1, EVENT)
    assert ioctl(0, pack(Cmd.GET_IRQ)) == pack(2, 22)
    ioctl(0, pack(Cmd.SET_IRQ, 0xDEAD << 32 | 23))  # the union's u32
    assert ioctl(0, pack(Cmd.GET_IRQ)) == pack(2, 23)
    ioctl(0, pack(Cmd.SET_CONTROL, BUFFERS | 1))
    assert ioctl(0, pack(Cmd.GET_CONTROL)) == pack(3, BUFFERS | 1)
    for cpu, data, name in (
        (None, pack(Cmd.GET_IRQ), "EINVAL"), (0, pack(Cmd.GET_VERSION), "EINVAL"), (0, pack(7), "EINVAL"), (0, b"short", "EFAULT"),
        (0, pack(Cmd.SET_SDEI, EVENT), "EBUSY"), (5, pack(Cmd.GET_IRQ), "EINVAL"), (0, pack(Cmd.SET_CONTROL, 1), "EIO"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=name):
            ioctl(cpu, data)


# --------------------------------------------------------- words, and sockets
def test_words(guest: ApfGuest) -> None:
    machine = guest.machine
    guest.run([])
    assert execute(machine, "apf get-version") == "0x10000"
    assert execute(machine, "apf get-sdei 0") == "0x40400001"
    assert execute(machine, "apf set-irq 0 0x17") == "done"
    assert json.loads(execute(machine, "apf state 0"))["irq"] == 23
    assert execute(machine, "status").startswith("instruction")
    for text in ("", "apf", "apf bogus", "apf get-irq x", "apf set-irq 0", "bogus 1", "apf 'open", "apf state"):
        with pytest.raises(ConfigError):
            execute(machine, text)
    with pytest.raises(Refused):
        execute(machine, "apf get-irq 9")


class Client:
    """Sends before the run, and reads after it: the server answers between two turns."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))

    def send(self, *lines: str) -> None:
        self.socket.sendall("".join(f"{line}\n" for line in lines).encode())

    def replies(self) -> list[dict[str, object]]:
        self.socket.settimeout(5)
        return [json.loads(line) for line in self.socket.recv(65536).splitlines()]


def test_a_recorded_command_is_given_again(tmp_path: Path) -> None:
    """The replay is the same run, to the byte; without the commands it would not be."""
    image, name = ApfGuest(tmp_path), tmp_path / "run.rec"
    image.machine.close()
    machine = Machine.boot(str(tmp_path / "script.elf"), isa="arm64", apf="sdei", latency="nvme")
    recorder, where = Recorder(machine), tmp_path / "vm.sock"
    control, client = Control(machine, f"unix:{where}"), Client(where)
    client.send("apf set-irq 0 23", "apf set-irq 0 1", "nonsense", "apf get-irq 0")
    result = machine.run()
    replies = client.replies()
    assert [r.get("reply", r.get("error")) for r in replies][0::3] == ["done", "0x17"]
    assert [r.get("status") for r in replies] == [None, 1, 2, None]
    assert "EINVAL" in str(replies[1]["error"])
    client.socket.close()
    control.close()
    assert not where.exists()
    recorder.write(str(name), result)
    assert [entry.text for entry in recorder.journal.entries] == ["apf set-irq 0 23", "apf get-irq 0"]
    machine.close()
    again = Replay(str(name))
    assert again.run().state_hash == result.state_hash
    assert again.difference is None
    again.machine.close()
    other = Replay(str(name))
    other.journal.entries.clear()
    assert other.run().state_hash != result.state_hash
    assert other.difference is not None
    other.machine.close()


def test_a_client_that_misbehaves(tmp_path: Path) -> None:
    guest, where = ApfGuest(tmp_path), tmp_path / "vm.sock"
    control = Control(guest.machine, f"unix:{where}")
    long, gone, mute = Client(where), Client(where), Client(where)
    long.socket.sendall(b"x" * 6000)
    gone.send("apf get-version")
    gone.socket.close()
    guest.run([(Call.VERSION,)] * 20)
    assert len(guest.results()) == 20
    mute.socket.close()
    long.socket.close()
    with pytest.raises(ConfigError, match="unix:PATH"):
        Control(guest.machine, "tcp:80")
    with pytest.raises(ConfigError):
        Control(guest.machine, f"unix:{where}")  # in use
    control.close()
    with pytest.raises(ConfigError, match="--control"):
        ask(f"unix:{where}", "status")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vmemu(["ctl", f"unix:{tmp_path}/none", "status"]) == 2
    assert vmemu(["boot", "hello", "--isa", "arm64", "--control", "bogus"]) == 2
    assert vmemu(["boot", "hello", "--isa", "arm64", "--restore-mode", "kernel"]) == 2
    assert vmemu(["boot", "hello", "--isa", "x86_64", "--apf", "sdei"]) == 2
    assert "unix:PATH" in capsys.readouterr().err


# ------------------------------------------------------------------ restores
SLEEPERS = [line for i in range(4) for line in (task(page(i)), *TOLD)]


@pytest.mark.parametrize("delay", [0, 20, 60, 100, 200, 400])
def test_kernel_mode_wakes_everybody(delay: int, tmp_path: Path) -> None:
    """I-1, I-12: at any arrow of the diagram, what a VMM can move is enough for every sleeper to be woken."""
    guest = ApfGuest(tmp_path)
    guest.restart([*SETUP, *SLEEPERS, *WAIT * 9, TASK_AGAIN, *TOLD, *WAIT, TASK_AGAIN])
    machine = guest.machine
    while guest.count("notified") < 3:
        assert machine.step(1) is None
    assert machine.run_to(machine.insns + delay) is None
    guest.pager.migrated()
    assert guest.pager.invariants() == []
    assert guest.pager.works.keys() == {w.id for w in guest.pager.works.values() if w.wake_all}
    machine.run()
    assert ready(guest).count(WAKE_ALL) >= 2  # the second one after all that were told before
    assert guest.pager.ledger.problems == []
    assert guest.state().enabled


def test_kernel_mode_with_the_line_high(tmp_path: Path) -> None:
    """D-7: the GIC's line says that an acknowledge is owed; version 4 forgot it, and the guest's acknowledge changed nothing."""
    guest = ApfGuest(tmp_path)
    guest.restart([*SETUP, task(page(0)), *TOLD, *WAIT, IRQ_WINDOW, TASK_AGAIN])
    machine = guest.machine
    while not (guest.state().line and guest.count("ready")):
        assert machine.run_to(machine.insns + 1) is None
    guest.pager.migrated()
    assert guest.state().line
    machine.run()
    assert ready(guest) == [WAKE_ALL, 1 << 12, WAKE_ALL]
    assert guest.pager.invariants() == []


def test_kernel_mode_keeps_what_is_off(guest: ApfGuest) -> None:
    guest.run([INIT_GIC, *REGISTER, enable(), disable()])
    guest.pager.migrated()
    assert guest.state().control == BUFFERS
    assert not guest.pager.works


def test_exact_restores_at_every_step(tmp_path: Path) -> None:
    """I-12: load(save()) at instants all along the way leaves the same end."""
    guest = ApfGuest(tmp_path)
    lines = [*SETUP, *SLEEPERS, *WAIT * 5, TASK_AGAIN]
    guest.run(lines)
    machine = guest.machine
    end, log, state = machine.insns, guest.log(), guest.pager.save()
    guest.restart(lines)
    start = machine.insns
    for at in range(start, end, 23):
        assert machine.run_to(at) is None
        mark = snapshot.take(machine)
        machine.run()
        assert (machine.insns, guest.log(), guest.pager.save()) == (end, log, state), at - start
        snapshot.restore(machine, mark)
        snapshot.drop(machine, mark)
