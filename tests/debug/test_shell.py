# SPDX-License-Identifier: GPL-2.0-or-later
"""The debugger's shell: what it shows is so, what it shows changes nothing, and what cannot be done is said in one line."""

from __future__ import annotations

import json
import os
import re
import signal
import threading

import pytest
from helpers.guest import ISAS
from helpers.shell import Shell, attempt, plain, running
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu import Machine
from vmemu.core import PageState
from vmemu.debug.shell.registry import CommandError

each_isa = pytest.mark.parametrize("isa", ISAS)
APF = {"x86_64": "kvm", "arm64": "sdei", "ppc64": "papr"}
SMALL = {"memory": "64M", "resident": "8M", "latency": "nvme", "append": "tasks=6 pages=96 passes=1"}

#: Everything that only looks.
LOOK = (
    "registers", "registers all", "registers -o json", "where", "where task 1", "list", "disassemble", "disassemble vm_fault 20",
    "symbol vm_fault", "symbol $pc", "frame", "up", "down", "print tasks[0]", "print cpus", "print &sched_lock", "print/x $pc + 4",
    "x/8gx tasks", "x/4i $pc", "x/2s p:0x3000", "x/3dw sched_lock", "walk $pc fetch", "walk 0x10000000 write user",
    "walk 0x200000000000 read user", "page $pc", "maps task 1", "tasks", "tasks -o json", "vcpus", "vcpu 1", "vcpu 0", "devices",
    "timeline", "locals", "breakpoints", "bookmark here", "bookmark", "help", "help state", "info registers",
)  # fmt: skip


@each_isa
def test_looking_changes_nothing(isa: str) -> None:
    options = {**SMALL, "isa": isa, "smp": 2, "apf": APF[isa]}
    machine = Machine.boot("storm", **options)
    expected = machine.run()
    machine.close()
    with Shell("storm", **options) as shell:
        for index in (0, 400_000, 4_000_003):
            shell(f"goto {index}")
            before = shell.machine.core.stats()
            for line in (*LOOK, *(f"devices {name}" for name in (*shell.machine.board.devices, *shell.machine.facilities))):
                assert "\x1b" not in attempt(shell, line)
            assert shell.machine.core.stats() == before
        shell("continue")
        found = shell.debugger.session.finish()
        assert found is not None and found.state_hash == expected.state_hash and found.status == 0
        assert b"storm: PASS" in shell.guest


@each_isa
def test_from_a_fault_back_to_the_program(isa: str) -> None:
    """A short session: break in the guest's fault handler, look through the trap, finish, step."""
    with Shell("storm", isa=isa, **SMALL) as shell:
        assert plain(shell("break vm_fault if $task == 2")) == (
            "breakpoint 1: ADDR vm_fault at guest_images/kernel/vm.c (if $task == 2)\n")
        assert plain(shell("continue")).startswith(
            "vCPU 0 at ADDR vm_fault at guest_images/kernel/vm.c (breakpoint 1, vm_fault if $task == 2; INSTANT)\n")
        assert shell("print cpus[0].task->pid") == "2\n"
        where = plain(shell("where"))
        names = re.findall(r"#\d+ +ADDR (\S+)", where)
        assert names[:2] == ["vm_fault", "trap_fault"] and "-- trap from user mode --" in where
        assert where.splitlines()[-2].split()[2] == "start_main"
        assert "-- trap" in where and names.index("main") > names.index("trap_fault")
        shell("delete")
        assert shell("finish").splitlines()[-1] == "it returned 0x0 (0)"
        assert re.match(r"vCPU 0 at 0x\w+ trap_fault", shell("stepi").partition("\n")[0])
        user = next(t for t in json.loads(shell("tasks -o json")) if t["task"] == 2)
        assert user["state"] == "running" and user["cpu"] == 0
        shell(f"until *{user['user_pc']:#x}")
        assert json.loads(shell(f"registers -o json {'rip' if isa == 'x86_64' else 'pc'}"))["registers"] == {
            "rip" if isa == "x86_64" else "pc": user["user_pc"]}
        assert shell("where").count("\n") >= 2 and "-- trap" not in shell("where")


@each_isa
def test_arguments_and_local_variables(isa: str) -> None:
    """They are what the calling convention and the caller say."""
    first, second, third = {"x86_64": ("rdi", "rsi", "rdx"), "arm64": ("x0", "x1", "x2"), "ppc64": ("r3", "r4", "r5")}[isa]
    with Shell("storm", isa=isa, **SMALL) as shell:
        shell("break vm_fault if access == 1 && $task == 2")
        shell("continue")
        for name, register in (("mm", first), ("va", second), ("access", third)):
            assert shell(f"print (u64){name} == ${register}") == "1\n"
        assert shell("print mm == cpus[0].task->mm") == "1\n" and shell("print access") == "1\n"
        va = shell("print/x va")
        shell("until mutex_lock")
        shell("frame 1")
        assert shell("print/x va") == va and "access = 1\n" in shell("locals")
        with pytest.raises(CommandError, match="is not known"):
            shell(f"print ${third}")
        assert "not kept over the call: " in shell("registers")


@each_isa
def test_source_steps(isa: str) -> None:
    with Shell("hello", isa=isa) as shell:
        shell("until task_init")
        shell("until elf_load")
        inside = shell.debugger.symbols.symbol("elf_load")
        file = str(shell.debugger.symbols.line(shell.debugger.pc)).split(":")[0]
        for _ in range(6):  # over whatever is called
            shell("next")
            assert inside.address <= shell.debugger.pc < inside.address + inside.size
            assert str(shell.debugger.symbols.line(shell.debugger.pc)).startswith(file)
        assert "task_init" in shell("finish").splitlines()[0]
        shell("until vm_add")
        seen = set()
        for _ in range(12):  # into what is called
            shell("step")
            seen.add(shell.debugger.symbols.name(shell.debugger.pc).partition("+")[0])
        assert len(seen) > 1


@each_isa
def test_a_step_of_the_program_goes_through_its_faults(isa: str) -> None:
    with Shell("storm", isa=isa, **SMALL) as shell:
        shell("break storm.c:37")
        shell("continue")
        shell("delete")
        task = shell.debugger.current_task()
        for _ in range(4):
            shell("step")
            assert shell.debugger.current_task() == task and shell("where").count("trap from") == 0
        assert shell.machine.vcpus[0].counters()["fault_guest"] > 0


@each_isa
def test_memory_is_the_same_from_every_side(isa: str) -> None:
    with Shell("storm", isa=isa, **SMALL) as shell:
        shell("until vm_fault")
        shell("stepi 2000")
        words = [shell(f"x/4gx {place}").split(": ", 1)[1] for place in ("tasks", "&tasks", "task 1:&tasks")]
        gpa = re.search(r"page 0x([0-9a-f]+)", shell("page tasks"))
        assert gpa is not None
        offset = shell.debugger.symbols.lookup("tasks") % 4096
        words.append(shell(f"x/4gx p:{int(gpa[1], 16) + offset:#x}").split(": ", 1)[1])
        # virtual addresses carry names, physical ones do not: the numbers are the same
        assert len({re.sub(r"<.*?>", "", w.splitlines()[0].strip()) for w in words}) == 1
        assert shell("print tasks[0].pid") == "1\n" and shell("x/1dw &tasks[0].pid").endswith(": 1\n")
        assert shell("print/u sizeof(struct task)") == shell("print/u sizeof(tasks[0])")


def test_a_page_that_is_away_is_read_where_it_is() -> None:
    with Shell("storm", isa="arm64", resident="4M") as shell:
        shell("until 12000000")
        core = shell.machine.core
        away = [i for i in range(int(core.ptr.npages)) if core.page(i).state == PageState.SWAPPED]
        gpa, stats = core.gpa(away[0]), core.stats()
        assert "is away: read in the store, not paged in" in shell(f"x/4gx p:{gpa:#x}")
        assert "away: in the store, slot" in shell(f"page p:{gpa:#x}")
        assert core.stats() == stats and core.page(away[0]).state == PageState.SWAPPED


@each_isa
@settings(max_examples=5)
@given(offsets=st.lists(st.integers(0, (1 << 48) - 1), min_size=4, max_size=4))
def test_walks_agree_with_the_engine(isa: str, offsets: list[int]) -> None:
    shell = running(isa)
    vcpu = shell.machine.vcpus[0]
    bases = [0, 0x10000000, 0x200000000000, shell.debugger.pc & ~4095, shell.debugger.symbols.lookup("tasks")]
    for base in bases:
        for offset in offsets:
            va = base + offset % (1 << 21 if base else 1 << 47)
            text, walk = shell(f"walk {va:#x}"), vcpu.walk(va, 0)
            result = text.splitlines()[-2 if text.splitlines()[-1].startswith("      ") else -1]
            assert ("= guest-physical" in result) == (walk.status == 0), (text, walk)
            if walk.status == 0:
                assert f"= guest-physical {walk.gpa:#x} " in result


def test_breakpoints_and_watchpoints() -> None:
    with Shell("storm", isa="x86_64", smp=2, **SMALL) as shell:
        shell("tbreak kmain")
        assert "kmain" in shell("continue") and shell("breakpoints") == "no breakpoints and no watchpoints\n"
        shell("break vm_fault vcpu 1")
        assert shell("continue").startswith("vCPU 1 ")
        shell("disable 2")
        assert "(off, vCPU 1, hit once)" in shell("info breakpoints")
        shell("watch tasks[3].state")
        stop = ""
        for _ in range(20):  # the kernel clears the struct byte by byte first
            before, stop = shell("print tasks[3].state"), shell("continue")
            if "write of 4" in stop:
                break
        assert "watchpoint 3, tasks[3].state: write of 4 bytes" in stop and shell("print tasks[3].state") == before
        shell("stepi")
        assert shell("print tasks[3].state") != before
        shell("delete")


def test_there_and_back() -> None:
    with Shell("storm", isa="ppc64", smp=2, **SMALL) as shell:
        shell("until vm_fault")
        shell("bookmark first")
        here = shell("registers all"), shell("tasks"), shell.machine.insns
        shell("stepi 300")
        assert "+" in shell("diff first")
        shell("goto first")
        assert here[1:] == (shell("tasks"), shell.machine.insns)
        assert here[0].replace("*", " ") == shell("registers all").replace("*", " ")
        assert shell("diff first now") == "nothing differs\n"
        shell("stepi 20")
        where = shell.machine.insns
        shell("back 20")
        assert shell("registers all").replace("*", " ") == here[0].replace("*", " ")
        shell(f"goto {where + 200_000}")
        shell("break vm_fault")
        shell("continue")
        last = shell.machine.insns
        shell("continue")
        shell("back continue")
        assert shell.machine.insns == last
        assert "bookmark first" in shell("timeline")
        shell("goto start")
        assert shell.machine.insns == 0
        shell("delete")
        shell("until output:PASS")
        assert "PASS" in shell.guest.decode() or b"PASS" in shell.machine.console.output


def test_changes_by_hand_are_kept_and_told(tmp_path: object) -> None:
    with Shell("storm", isa="x86_64", **SMALL) as shell:
        shell("until vm_fault")
        shell("bookmark before")
        shell("write tasks[40].killed = 9")
        assert shell("print tasks[40].killed") == "9\n"
        shell("stepi 3")
        assert "tasks[40].killed" in shell("diff before now")
        shell("set $r15 = 0x1234")
        assert shell("print/x $r15") == "0x1234\n"
        assert shell("timeline").count("intervention: ") == 2
        shell("goto start")
        shell("goto before")
        shell("stepi")
        assert shell("print tasks[40].killed") == "9\n"  # done again on the way


def test_ctrl_c_stops_the_guest_each_time() -> None:
    with Shell("walk", isa="arm64", append="pages=64 passes=1000000") as shell:
        for _ in range(2):
            before = shell.machine.insns
            timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
            timer.start()
            text = shell("continue")
            timer.join()
            assert "(interrupted; instruction" in text and shell.machine.insns > before
        shell("stepi")


def test_registers_mark_what_has_changed() -> None:
    with Shell("hello", isa="arm64") as shell:
        shell("until kmain")
        shell("stepi")
        lines = shell("registers")
        assert "*        pc " in lines and "(M=EL1h" in lines
        assert "*" not in shell("registers ttbr1_el1")
