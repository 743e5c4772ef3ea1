# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb-multiarch itself drives all three architectures: handlers, what they interrupted, the shared area, and both directions of time."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.gdb import GDB, ROOT, gdb, needs_gdb, serving
from helpers.guest import ISAS

from vmemu.debug.gdb import Server
from vmemu.debug.session import Session
from vmemu.machine.machine import Machine

pytestmark = needs_gdb


@dataclass(frozen=True)
class Port:
    """What the guest of one architecture calls things. `area`: the memory shared with the host, `word`: the part that the host writes."""

    apf: str
    handler: str
    area: str
    word: str
    pc: str


PORTS = {
    # gdb 13 looks for the end of token_wait's prologue in the next function on arm64: break at the address, or elsewhere
    "x86_64": Port("kvm", "token_wait", "areas[0]", "areas[0].reason", "rip"),
    "arm64": Port("sdei", "sdei_taken", "*percpu[0]", "percpu[0]->buffer.reason", "pc"),
    "ppc64": Port("papr", "token_wait", "sns", "sns.slot", "pc"),
}


def storm(isa: str, smp: int = 1) -> Session:
    return Session(Machine.boot(
        "storm", isa=isa, memory="32M", resident="2M", latency="nvme", append="tasks=4 random touches=50", apf=PORTS[isa].apf, smp=smp,
    ))  # fmt: skip


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(isa: str) -> Iterator[Server]:
    session = storm(isa)
    with serving(session) as server:
        yield server
    session.machine.close()


def frames(text: str) -> list[str]:
    """Functions of the last backtrace in gdb's output."""
    found: list[str] = []
    for level, name in re.findall(r"^#(\d+) +(?:0x[0-9a-f]+ in )?(<signal handler called>|\w+)", text, re.MULTILINE):
        if int(level) == 0:
            found.clear()
        found.append(name)
    return found


def test_a_page_fault_from_the_handler_back_to_user_code(isa: str, server: Server) -> None:
    text = gdb(
        server, isa, "storm", "tbreak main", "continue", "break trap_fault", "continue", "backtrace", "delete", "print addr",
        "print/x *tf", "step", "info registers", "finish", "backtrace 1",
    )  # fmt: skip
    assert re.search(r"Breakpoint 2, trap_fault \(tf=.*addr=.*, access=\d, user=1", text), text
    names = frames(text.partition("$1 = ")[0])
    interrupted = names.index("<signal handler called>")
    assert names[0] == "trap_fault" and len(names) > interrupted + 1 and names[-1] == "main", text
    assert re.search(r"Temporary breakpoint 1, (0x\w+ in )?main \(argc=.*guest_images/programs/storm", text), text
    assert re.search(r"^(pc|rip) ", text, re.MULTILINE), text
    assert frames(text)[0] == {"x86_64": "page_fault", "arm64": "sync_taken", "ppc64": "trap_dispatch"}[isa], text  # finished


def test_an_asynchronous_fault_and_back_to_the_instruction_that_faulted(isa: str, server: Server) -> None:
    port = PORTS[isa]
    text = gdb(
        server, isa, "storm", f"break {port.handler}", "continue", "backtrace", f"print {port.area}", "frame apply all -q print/x $pc",
        "detach",
    )  # fmt: skip
    hit = re.search(rf"Breakpoint 1, (?:0x\w+ in )?({port.handler} \(.*\)) at", text)
    assert hit is not None, text
    stack = frames(text)
    user = stack.index("<signal handler called>") + 1
    assert "work" in stack[user:] and stack[-1] == "main" and re.search(r"at guest_images/programs/storm\.c:\d+", text), text
    assert re.search(r"^\$1 = \{", text, re.MULTILINE) and "detached" in text, text
    fault = re.findall(r"^\$\d+ = (0x[0-9a-f]+)$", text, re.MULTILINE)[user]

    # the machine stands where it stood: attach again, and go back to the instruction that faulted
    text = gdb(
        server, isa, "storm", f"tbreak *{fault}", "reverse-continue", f"print $pc == {fault}", "backtrace", "reverse-stepi",
        f"print $pc == {fault}", "stepi", f"print $pc == {fault}", f"tbreak {port.handler}", "continue", "kill",
    )  # fmt: skip
    assert re.findall(r"^\$\d+ = (\d)$", text, re.MULTILINE) == ["1", "0", "1"], text
    assert frames(text) == stack[user:], text
    again = re.search(rf"Temporary breakpoint 2, (?:0x\w+ in )?({port.handler} \(.*\)) at", text)
    assert again is not None and again[1] == hit[1], text  # the same future
    assert "killed" in text


def test_watch_the_shared_area_in_both_directions(isa: str, server: Server) -> None:
    port = PORTS[isa]
    text = gdb(
        server, isa, "storm", f"break {port.handler}", "continue", "delete", f"watch {port.word}", "continue", "continue",
        "reverse-continue", "reverse-continue", "info watchpoints", "delete", "detach",
    )  # fmt: skip
    changes = re.findall(r"^Old value = (.*)\nNew value = (.*)$", text, re.MULTILINE)
    assert len(changes) == 4, text
    (a, b), (c, d), (e, f), (g, h) = changes
    assert b == c and (e, f) == (d, c) and g == f, text
    assert a == h or isa == "ppc64", text
    assert "hw watchpoint" in text


def test_vcpus_are_threads(isa: str) -> None:
    session = storm(isa, smp=2)
    with serving(session) as server:
        text = gdb(
            server, isa, "storm", "info threads", "tbreak trap_fault thread 2", "continue", "info threads", "thread", "stepi", "thread",
            "thread apply all backtrace 1", "monitor help", "monitor nosuch", "monitor", "detach",
        )  # fmt: skip
    session.machine.close()
    assert re.search(r'\* 1 +Thread 1 "cpu0" \(vCPU 0, task 0\)', text), text
    assert re.search(r'  2 +Thread 2 "cpu1" \(vCPU 1, task 0, offline\)', text), text
    assert re.search(r'Thread 2 "cpu1" hit Temporary breakpoint 1, (0x\w+ in )?trap_fault', text), text
    assert re.search(r'\* 2 +Thread 2 "cpu1" \(vCPU 1, task \d+\)', text), text
    assert text.count("[Current thread is 2 (Thread 2)]") == 2, text
    assert re.search(r"Thread 1 \(Thread 1\)", text) or "Thread 1 (Thread 1 " in text, text
    assert "no command 'nosuch'" in text and "intervene" in text, text


def test_the_end_of_a_run_and_its_beginning(isa: str) -> None:
    session = Session(Machine.boot("hello", isa=isa))
    with serving(session) as server:
        text = gdb(server, isa, "hello", "continue", "break kmain", "reverse-continue", "backtrace", "delete", "reverse-continue", "detach")
        assert "the guest powered off" in text, text
        assert text.count("No more reverse-execution history") == 2, text
        assert re.search(r"Breakpoint 1, (0x\w+ in )?kmain", text), text
        assert session.machine.insns == 0
    session.machine.close()


def test_one_gdb_too_many() -> None:
    session = Session(Machine.boot("hello", isa="arm64"))
    with serving(session) as server:
        inner = f"shell {GDB} -nx -batch -ex 'target remote {server.address}' 2>&1"
        text = gdb(server, "arm64", "hello", inner, "stepi", "stepi", "x/i $pc", "detach")
    session.machine.close()
    assert "another debugger is attached" in text and "=> 0x8:" in text, text


def test_ctrl_c(isa: str) -> None:
    session = Session(Machine.boot("walk", isa=isa, memory="16M", append="pages=512 passes=100000"))
    with serving(session) as server:
        words = ("set pagination off", f"target remote {server.address}", "continue", "print $pc != 0", "detach")
        assert GDB is not None
        with subprocess.Popen(
            [GDB, "-nx", "-batch", *(word for command in words for word in ("-ex", command))], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            until(lambda: session.machine.insns > 1_000_000)
            process.send_signal(signal.SIGINT)
            text, _ = process.communicate(timeout=60)
    session.machine.close()
    assert "SIGINT" in text and "$1 = 1" in text and "detached" in text, text


def until(holds: Callable[[], bool]) -> None:
    """Wait for another thread."""
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come")


def test_the_command_line(tmp_path: Path) -> None:
    where = tmp_path / "gdb"
    command = [sys.executable, "-m", "vmemu", "debug", "hello", "--isa", "arm64", "--gdb", f"unix:{where}"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        until(where.exists)
        text = subprocess.run(
            [str(GDB), "-nx", "-batch", "-ex", f"target remote {where}", "-ex", "stepi", "-ex", "x/i $pc", "-ex", "kill"],
            capture_output=True, text=True, timeout=60, check=False,
        ).stdout  # fmt: skip
        assert "=> 0x4:" in text
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0 and f"target remote {where}" in said and "killed" in said
    assert not where.exists()
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "target remote" not in process.stderr.readline():
            pass
        with socket.socket(socket.AF_UNIX) as client:  # while a client has set it going
            client.connect(str(where))
            client.sendall(b"$c#63")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said and not where.exists()
    wrong = subprocess.run([*command[:-1], "nowhere"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert wrong.returncode == 2 and "--gdb nowhere: must be PORT, HOST:PORT or unix:PATH" in wrong.stderr


def test_registers_and_memory_are_written_as_interventions(isa: str) -> None:
    general, wide = {"x86_64": ("r12", "xmm3.v2_int64"), "arm64": ("x7", "v3.v2_int64"), "ppc64": ("r7", "vr3.v2_int64")}[isa]
    session = storm(isa)
    with serving(session) as server:
        text = gdb(
            server, isa, "storm", "break trap_fault", "continue", "delete", f"print ${general} = 99", f"print ${general}",
            f"print ${wide}[1] = 5", f"print ${wide}", "print addr = 77", "print addr", "rwatch -l pool", "awatch -l tasks[0]", "detach",
        )  # fmt: skip
    values = re.findall(r"^\$\d+ = (.*)$", text, re.MULTILINE)
    assert values == ["99", "99", "5", "{0, 5}", "77", "77"], text
    assert "Hardware read watchpoint" in text and "Hardware access (read/write) watchpoint" in text, text
    assert [entry.text.split()[0] for entry in session.machine.journal.entries][:2] == ["reg", "reg"]
    session.machine.close()


def test_step_and_next_pass_faults_interrupts_and_system_calls(isa: str, server: Server) -> None:
    text = gdb(
        server, isa, "storm", "tbreak main", "continue", *["next"] * 6, "backtrace 1", "tbreak mmap", "continue", "next", "next",
        "backtrace 1", "stepi", "tbreak vm_fault", "continue", *["next"] * 4, "backtrace", "detach",
    )  # fmt: skip
    assert [text.count(f"Temporary breakpoint {n}, ") for n in (1, 2, 3)] == [1, 1, 1], text
    assert re.findall(r"^#0 .*(?:in )?\b(main|mmap|start_all) \(", text, re.MULTILINE)[0] == "main", text
    assert "return p < 0" in text and not re.search(r"(vectors|entry)\.S:\d+\n", text), text
    stack = frames(text)
    assert stack[0] in ("vm_fault", "trap_fault") and stack[-1] == "main", text
