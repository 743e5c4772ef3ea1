# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces: read back with a decoder of their own, compared with the run's counters."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers.guest import ISAS, run_vmemu
from helpers.pftrace import INSTANT, Trace, read

from vmemu.core.events import EventKind
from vmemu.debug.trace import Tracer, check_path
from vmemu.errors import ConfigError
from vmemu.machine import images
from vmemu.machine.machine import Machine
from vmemu.machine.result import RunResult

each_isa = pytest.mark.parametrize("isa", ISAS)
PRESSED: dict[str, Any] = {"memory": "16M", "resident": "4M", "latency": "nvme", "max_cycles": 2_000_000_000, "console": lambda _: None}
WALK: dict[str, Any] = {"append": "pages=1500 passes=2"}
TASKS: dict[str, Any] = {"append": "tasks=1 pages=64 rounds=2", "resident": "2M"}  # task 1 sleeps, it does not poll

#: A line of ftrace's text: task, pid, CPU, flags, seconds, event, arguments.
LINE = re.compile(r"^ *(.+)-(\d+) +\[(\d{3})\] [.dDnNHhsS]{4,5} +(\d+\.\d{6}): (\w+): (.*)$")
HEX = r"(?:0x[1-9a-f][0-9a-f]*|0)"  # %#llx
FORMATS = {
    "kvm_page_fault": r"vcpu \d+ rip 0x[0-9a-f]+ address 0x[0-9a-f]{16} error_code 0x[0-9a-f]+",
    "kvm_vcpu_wakeup": r"(?:wait|poll) time \d+ ns, polling (?:valid|invalid)",
    "kvm_mmio": r"mmio (?:read|write) len \d+ gpa 0x[0-9a-f]+ val 0x[0-9a-f]+",
    "kvm_pio": r"pio_(?:read|write) at 0x[0-9a-f]+ size \d+ count \d+ val 0x[0-9a-f]+ ",
    "kvm_msr": r"msr_(?:read|write) [0-9a-f]+ = 0x[0-9a-f]+",
    "kvm_inj_virq": r"IRQ 0x[0-9a-f]+",
    "kvm_try_async_get_page": rf"gva = {HEX}, gfn = {HEX}",
    "kvm_async_pf_repeated_fault": rf"gva = {HEX}, gfn = {HEX}",
    "kvm_async_pf_not_present": rf"token {HEX} gva {HEX}",
    "kvm_async_pf_ready": rf"token {HEX} gva {HEX}",
    "kvm_async_pf_completed": rf"gva {HEX} address {HEX}",
}
EXITS = {
    "x86_64": r"vcpu \d+ reason \w+ rip 0x[0-9a-f]+ info1 0x[0-9a-f]{16} info2 0x[0-9a-f]{16} intr_info 0x[0-9a-f]{8} "
              r"error_code 0x[0-9a-f]{8} requests 0x[0-9a-f]{16}",
    "arm64": r"TRAP: HSR_EC: 0x[0-9a-f]{4} \(\w+\), PC: 0x[0-9a-f]{16}",
    "ppc64": r"exit=\w+ \| pc=0x[0-9a-f]+ \| msr=0x[0-9a-f]+ \| dar=0x[0-9a-f]+ \| srr1=0x[0-9a-f]+ \| last_inst=0x[0-9a-f]+",
}


def run(image: str, isa: str, path: Path, ring: int = 14, **options: Any) -> RunResult:
    """One traced run."""
    machine = Machine.boot(image, isa=isa, **{**PRESSED, **options})
    with Tracer(machine, path, ring) as tracer:
        result = machine.run()
    machine.close()
    assert (tracer.failure, tracer.lost) == (None, 0)
    return result


def pftrace(image: str, isa: str, folder: Path, **options: Any) -> tuple[RunResult, Trace]:
    result = run(image, isa, folder / "run.pftrace", **options)
    return result, read((folder / "run.pftrace").read_bytes())


# -------------------------------------------------------------------- Perfetto


@each_isa
def test_page_ins_are_slices_with_a_flow_each(isa: str, tmp_path: Path) -> None:
    result, trace = pftrace("walk", isa, tmp_path, **WALK)
    waits = [s for s in trace.slices("vCPU 0") if s.category == "page-in"]
    reads = [s for server in trace.children("store") for s in trace.slices(server) if s.name == "read"]
    writes = [s for server in trace.children("store") for s in trace.slices(server) if s.name == "write"]
    assert len(waits) == len(reads) == result.swap_ins > 0
    assert len(writes) == result.swap_outs
    assert {s.end - s.begin >= 80_000 for s in waits} == {True}  # nvme's latency
    ended = {flow: e for e in trace.on("vCPU 0") if e.type == INSTANT for flow in e.ends}
    served = {flow: s for s in reads for flow in s.flows}
    assert len(ended) == len(served) == len(waits)
    for wait in waits:
        (flow,) = wait.flows
        assert wait.begin <= served[flow].begin <= served[flow].end <= wait.end + 1
        assert ended[flow].ns == wait.end and ended[flow].name == "page is there"
        assert ended[flow].arguments["gpa"] == wait.arguments["gpa"] == served[flow].arguments["gpa"]


@each_isa
def test_handlers_and_halts_nest(isa: str, tmp_path: Path) -> None:
    result, trace = pftrace("tasks", isa, tmp_path, **TASKS)
    kinds = Counter(s.category for s in trace.slices("vCPU 0"))  # asserts the nesting
    assert kinds["handler"] >= result.exits["exception"] + result.exits["interrupt"]
    assert kinds["page-in"] == result.swap_ins
    names = Counter(s.name for s in trace.slices("vCPU 0") if s.category == "handler")
    assert names["syscall"] == result.exits["syscall"] > 0
    assert max(s.depth for s in trace.slices("vCPU 0")) < 8
    for label in trace.children("page workers") + trace.children("store") + trace.children("guest tasks"):
        trace.slices(label)


@each_isa
def test_counters(isa: str, tmp_path: Path) -> None:
    result, trace = pftrace("walk", isa, tmp_path, **WALK)
    resident = trace.values("resident pages")
    assert max(resident) <= result.resident_peak <= 1024 and min(resident) >= 0
    in_flight, queue = trace.values("pages in flight"), trace.values("store queue depth")
    assert set(in_flight) == {0, 1} and in_flight[-1] == 0
    assert min(queue) == 0 and queue[-1] == 0 and max(queue) >= 1


@each_isa
def test_guest_tasks(isa: str, tmp_path: Path) -> None:
    """One track for each task; one CPU runs one task at a time."""
    if images.find("kernel", isa).load().tasks is None:
        pytest.skip("this kernel does not say which task runs")
    _, trace = pftrace("tasks", isa, tmp_path, append="tasks=2 pages=8 rounds=1")
    labels = trace.children("guest tasks")
    assert {"task 1", "task 2", "task 3"} <= set(labels)
    turns = sorted((s.begin, s.end) for label in labels for s in trace.slices(label))
    assert all(a[1] <= b[0] for a, b in pairwise(turns))
    assert {s.name for label in labels for s in trace.slices(label)} == {"on vCPU 0"}


def test_resident_ends_as_the_machine_says(tmp_path: Path) -> None:
    machine = Machine.boot("walk", isa="arm64", **PRESSED, **WALK)
    with Tracer(machine, tmp_path / "a.pftrace"):
        machine.run()
    assert read((tmp_path / "a.pftrace").read_bytes()).values("resident pages")[-1] == machine.core.stats()["resident"]
    machine.close()


@each_isa
def test_several_vcpus_share_one_line_of_time(isa: str, tmp_path: Path) -> None:
    _, trace = pftrace("tasks", isa, tmp_path, smp=2, seed=3, **TASKS)
    assert trace.children("vCPUs") == ["vCPU 0", "vCPU 1"]
    slices = [s for label in trace.children("vCPUs") for s in trace.slices(label)]
    assert any(s.name == "halt" and s.end - s.begin > 100_000 for s in slices)


@pytest.mark.parametrize("suffix", [".pftrace", ".txt"])
def test_the_size_of_the_ring_does_not_show(suffix: str, tmp_path: Path) -> None:
    """What is drained in the middle of a turn, at many points, is what is drained at the end: nothing is lost or doubled."""
    results = {ring: run("walk", "x86_64", tmp_path / f"{ring}{suffix}", ring, smp=2, seed=5, **WALK).state_hash for ring in (3, 17)}
    assert len(set(results.values())) == 1
    assert (tmp_path / f"3{suffix}").read_bytes() == (tmp_path / f"17{suffix}").read_bytes()


@each_isa
def test_tracing_does_not_change_the_run(isa: str, tmp_path: Path) -> None:
    options = {**PRESSED, "smp": 2, "seed": 7, **TASKS}
    machine = Machine.boot("tasks", isa=isa, **options)
    plain = machine.run().to_json() | {"wall_s": 0}
    machine.close()
    for suffix in (".pftrace", ".txt"):
        assert run("tasks", isa, tmp_path / f"t{suffix}", smp=2, seed=7, **TASKS).to_json() | {"wall_s": 0} == plain


def test_a_python_store_gives_the_same_trace(tmp_path: Path) -> None:
    run("walk", "arm64", tmp_path / "ram.pftrace", **WALK)
    run("walk", "arm64", tmp_path / "file.pftrace", store=f"file:{tmp_path}/swap", **WALK)
    ours, other = (read((tmp_path / f"{name}.pftrace").read_bytes()) for name in ("ram", "file"))
    for label in ("vCPU 0", "server 0"):
        keep = [(s.name, s.begin, s.end) for s in ours.slices(label)]
        assert keep == [(s.name, s.begin, s.end) for s in other.slices(label)]


def test_google_s_own_decoder_reads_it(tmp_path: Path) -> None:
    pb = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    result = run("walk", "arm64", tmp_path / "a.pftrace", **WALK)
    data = (tmp_path / "a.pftrace").read_bytes()
    theirs = pb.Trace()
    theirs.ParseFromString(data)
    assert theirs.SerializeToString()  # no unknown wire types
    events = [(p.timestamp, p.track_event) for p in theirs.packet if p.HasField("track_event")]
    begin = [e for _, e in events if e.type == pb.TrackEvent.TYPE_SLICE_BEGIN]
    assert sum("page-in" in e.categories for e in begin) == result.swap_ins
    assert all(len(e.flow_ids) == 1 for e in begin if e.name == "read")
    assert {p.track_descriptor.name for p in theirs.packet if p.track_descriptor.HasField("counter")} == {
        "resident pages", "pages in flight", "store queue depth",
    }
    ours = read(data)
    assert [(e.ns, e.track, e.name) for e in ours.events] == [(ns, e.track_uuid, e.name) for ns, e in events]


# --------------------------------------------------------------------- tokens


def tokens(path: Path) -> Machine:
    """A machine that runs nothing; a protocol speaks of three tokens."""
    machine = Machine.boot("hello", isa="x86_64", **PRESSED)
    core = machine.core
    with Tracer(machine, path):
        said = (
            (EventKind.TOKEN_TRY, 0x7F0000001000, 0x123000, 0), (EventKind.TOKEN_NOT_PRESENT, 0x1001, 0x7F0000001000, 0x123000),
            (EventKind.TOKEN_REPEATED, 0x7F0000001000, 0x123000, 0x1001), (EventKind.TOKEN_NOT_PRESENT, 0x2001, 0, 0x456000),
            (EventKind.TOKEN_COMPLETED, 0x1001, 0x7F0000001000, 0x123000), (EventKind.TOKEN_READY, 0x1001, 0x7F0000001000, 0x123000),
            (EventKind.TOKEN_NOT_PRESENT, 0x1001, 0x7F0000002000, 0x124000),  # the token is used again
            (EventKind.TOKEN_REFUSED, 0x7F0000003000, 0x125000, 1), (EventKind.TOKEN_WAKE_ALL, 2, 0, 0),
        )
        for number, (kind, a, b, c) in enumerate(said):
            core.put_event(kind, a, b, c, vcpu=core.vcpus[0], cycles=(number + 1) * 128_000)
    return machine


def test_a_token_is_one_flow(tmp_path: Path) -> None:
    tokens(tmp_path / "a.pftrace").close()
    trace = read((tmp_path / "a.pftrace").read_bytes())
    told = [e for e in trace.on("vCPU 0") if e.name == "not present"]
    flows = [e.flows[0] for e in told]
    assert len(set(flows)) == 3
    assert [(e.ns, e.arguments["token"]) for e in told] == [(2000, 0x1001), (4000, 0x2001), (7000, 0x1001)]
    assert trace.children("page workers") == ["worker 0", "worker 1"]
    work = {s.flows[0]: s for label in trace.children("page workers") for s in trace.slices(label)}
    assert (work[flows[0]].begin, work[flows[0]].end) == (2000, 5000)
    (ready,) = (e for e in trace.on("vCPU 0") if e.name == "ready")
    assert ready.ends == [flows[0]]
    (everyone,) = (e for e in trace.on("vCPU 0") if e.name == "wake all")
    assert sorted(everyone.ends) == sorted(flows[1:])
    assert trace.values("pages in flight") == [0, 1, 2, 1, 2, 0]
    assert {e.name for e in trace.on("vCPU 0")} >= {"token try", "token repeated", "token refused"}


def test_a_job_is_one_flow(tmp_path: Path) -> None:
    machine = Machine.boot("hello", isa="ppc64")
    with Tracer(machine, tmp_path / "a.pftrace"):
        said = (
            (EventKind.JOB_PASTED, 1, 5, 1, 0), (EventKind.JOB_BEGUN, 1, 5, 0x10, None), (EventKind.JOB_PASTED, 2, 5, 1, 0),
            (EventKind.JOB_FAULTED, 1, 5, 0x7000, None), (EventKind.JOB_BEGUN, 2, 5, 0x10, None), (EventKind.JOB_DONE, 2, 5, 0x20, None),
        )  # fmt: skip
        for number, (kind, a, b, c, vcpu) in enumerate(said):
            machine.core.put_event(kind, a, b, c, vcpu=None if vcpu is None else machine.vcpus[vcpu], cycles=(number + 1) * 128_000)
    machine.close()
    trace = read((tmp_path / "a.pftrace").read_bytes())
    first, second = (e.flows[0] for e in trace.on("vCPU 0") if e.name == "paste")
    assert [(s.flows[0], s.begin, s.end) for s in trace.slices("engine 0")] == [(first, 2000, 4000), (second, 5000, 6000)]


# --------------------------------------------------------------------- ftrace


def lines(path: Path) -> list[tuple[str, ...]]:
    """Parsed lines; asserts the header and that every line has the form."""
    head, *rest = path.read_text().splitlines()
    assert head == "# tracer: nop"
    found = [LINE.match(line) for line in rest if not line.startswith("#")]
    assert found and all(found)
    return [m.groups() for m in found if m is not None]


@each_isa
def test_ftrace_lines_have_kvm_s_own_formats(isa: str, tmp_path: Path) -> None:
    result = run("tasks", isa, tmp_path / "a.txt", **TASKS)
    kinds: Counter[str] = Counter()
    times = []
    for task, pid, cpu, seconds, event, arguments in lines(tmp_path / "a.txt"):
        assert (task, pid, cpu) == ("CPU 0/KVM", "1000", "000")
        assert re.fullmatch(EXITS[isa] if event == "kvm_exit" else FORMATS[event], arguments), (event, arguments)
        kinds[event] += 1
        times.append(float(seconds))
    assert times == sorted(times)
    assert kinds["kvm_page_fault"] >= result.swap_ins + result.faults["zero"] > 0
    assert kinds["kvm_exit"] >= kinds["kvm_page_fault"] + result.exits["io"] + result.exits["hcall"]


def test_ftrace_tokens(tmp_path: Path) -> None:
    tokens(tmp_path / "a.txt").close()
    got = [(event, arguments) for *_, event, arguments in lines(tmp_path / "a.txt")]
    assert got == [
        ("kvm_try_async_get_page", "gva = 0x7f0000001000, gfn = 0x123"), ("kvm_async_pf_not_present", "token 0x1001 gva 0x7f0000001000"),
        ("kvm_async_pf_repeated_fault", "gva = 0x7f0000001000, gfn = 0x123"), ("kvm_async_pf_not_present", "token 0x2001 gva 0"),
        ("kvm_async_pf_completed", "gva 0x7f0000001000 address 0x123000"), ("kvm_async_pf_ready", "token 0x1001 gva 0x7f0000001000"),
        ("kvm_async_pf_not_present", "token 0x1001 gva 0x7f0000002000"), ("kvm_async_pf_ready", "token 0xffffffff gva 0"),
    ]
    for event, arguments in got:
        assert re.fullmatch(FORMATS[event], arguments)


# ------------------------------------------------------------------------ CLI


@pytest.mark.parametrize("name", ["x", "x.json", "x.pftrace.gz", ""])
def test_other_names_are_refused_before_the_run(name: str) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.pftrace .* or \.txt"):
        check_path(name)


def test_boot_and_replay_write_the_same_trace(tmp_path: Path) -> None:
    common = ("boot", "tasks", "--isa", "arm64", "-m", "16M", "--resident", "4M", "--latency", "nvme", "--seed", "3", "--append", "tasks=1")
    plain = run_vmemu(*common, "--json", "a.json", "--record", "r.rec", cwd=tmp_path)
    traced = run_vmemu(*common, "--json", "b.json", "--trace", "a.pftrace", cwd=tmp_path)
    assert (plain.status, traced.status, traced.err) == (0, 0, "")
    assert plain.json | {"wall_s": 0} == traced.json | {"wall_s": 0}
    assert run_vmemu("replay", "r.rec", "--trace", "b.pftrace", cwd=tmp_path).status == 0
    assert (tmp_path / "a.pftrace").read_bytes() == (tmp_path / "b.pftrace").read_bytes()


@pytest.mark.parametrize(
    ("path", "message"), [("run.json", "must end in .pftrace"), ("nowhere/run.txt", "cannot write: No such file or directory")]
)
def test_bad_names_are_one_line(path: str, message: str, tmp_path: Path) -> None:
    ran = run_vmemu("boot", "hello", "--trace", path, cwd=tmp_path)
    assert ran.status == 2 and ran.out == ""
    assert message in ran.err and ran.err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_costs_the_trace_and_not_the_result(tmp_path: Path) -> None:
    (tmp_path / "t.pftrace").symlink_to("/dev/full")
    good = run_vmemu("boot", "walk", "--isa", "arm64", "--resident", "8M", "--json", "a.json", cwd=tmp_path)
    bad = run_vmemu("boot", "walk", "--isa", "arm64", "--resident", "8M", "--json", "b.json", "--trace", "t.pftrace", cwd=tmp_path)
    assert bad.status == 5 and bad.out == good.out
    assert "No space left on device" in bad.err and bad.err.count("\n") == 1
    assert bad.json["status"] == 5 and bad.json["guest_status"] == 0
    assert bad.json["state_hash"] == good.json["state_hash"]
