# SPDX-License-Identifier: GPL-2.0-or-later
"""The explorer on real guests: executions are reset in place, failures replay, shrink, are recorded, and become tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vmemu.cli.main import run as vmemu
from vmemu.errors import ConfigError
from vmemu.lab.explore.execution import Execution, Explorer
from vmemu.lab.explore.replay import Turn, replay
from vmemu.lab.explore.scenario import Scenario, find
from vmemu.lab.explore.schedule import parse_schedule
from vmemu.lab.explore.search import Budget, Report, explore
from vmemu.lab.explore.shrink import Shrinker
from vmemu.lab.explore.strategies import Random, make
from vmemu.protocols.async_page.pager import AsyncPager

ISAS = ("x86_64", "arm64", "ppc64")
#: A bug of the host's own order of steps, which takes a page-in that ends at once while its setup is interrupted.
BUG, SHORTEST = "apf-schedule-first", "latency#1,step#1"


def works(explorer: Explorer) -> int:
    pager = explorer.machine.pager
    assert isinstance(pager, AsyncPager)
    return pager.ledger.count["works"]


@pytest.mark.parametrize("isa", ISAS)
def test_executions_begin_at_the_same_instant(isa: str) -> None:
    """The default execution is the same before and after others, on this machine and on a fresh one; it has the one page-in."""
    explorer = Explorer(find(f"smallest-{isa}"))
    first = explorer.run(())
    assert first.status == 0 and not first.violations and works(explorer) == 1
    strategy = Random(5)
    others: list[Execution] = []
    for _ in range(30):
        task = strategy.batch()[0]
        others.append(explorer.run(task.plan))
        strategy.learn(task, others[-1])
    assert explorer.run(()) == first
    assert len({e.fingerprint for e in others}) > 10
    again = Explorer(find(f"smallest-{isa}"))
    assert [again.run(e.made) for e in others] == others
    explorer.close()
    again.close()


def report_of(jobs: int, strategy: str, bugs: tuple[str, ...], budget: int) -> Report:
    report = explore(find("smallest-x86_64"), make(strategy, 3), Budget(executions=budget), bugs=bugs, jobs=jobs)
    report.seconds = 0
    return report


@pytest.mark.parametrize("strategy", ["exhaustive", "portfolio"])
def test_processes_find_the_same(strategy: str) -> None:
    one, two = (report_of(jobs, strategy, (BUG,), 2000) for jobs in (1, 2))
    assert one == two and one.found is not None and "REF" in one.found.invariants
    assert report_of(1, strategy, (), 100).found is None


def test_shrinks_and_replays_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = find("smallest-x86_64")
    explorer = Explorer(scenario, (BUG,))
    long = parse_schedule("act#2=3,latency#1,step#1,step#7,apf.kick#1")
    found = explorer.run(long)
    assert "REF" in found.invariants
    best = Shrinker(explorer.run, "REF").shrink(found.made)
    assert explorer.run(best).schedule == SHORTEST
    explorer.close()
    replayed = replay(scenario, SHORTEST, bugs=[BUG])
    assert replayed.execution.violations and not replay(scenario, SHORTEST).execution.violations
    told = [entry for entry in replayed.story if isinstance(entry, Turn)]
    assert [str(t.deviation) for t in told] == SHORTEST.split(",")
    assert vmemu(["shrink", scenario.name, "--bug", BUG, "--schedule", ",".join(map(str, long))]) == 0
    assert capsys.readouterr().out.strip() == SHORTEST
    assert vmemu(["shrink", scenario.name, "--schedule", SHORTEST]) == 1
    record = str(tmp_path / "found.rec")
    assert vmemu(["explore", scenario.name, "--bug", BUG, "--schedule", SHORTEST, "--record", record]) == 1
    out = capsys.readouterr()
    assert "violated: REF" in out.out and "latency#1" in out.out and "--schedule 'latency#1,step#1'" in out.err
    assert vmemu(["replay", record]) == 0


@pytest.mark.parametrize("isa", ISAS)
def test_what_is_recorded_replays(isa: str, tmp_path: Path) -> None:
    """Actions, the host's decisions and injected failures: all of them are in the recording."""
    path = str(tmp_path / "run.rec")
    schedule = "act#1=1,act.evict#1=2,act#2=3,act#3=4,step#2,apf.io#1=2,latency#1=3"
    replayed = replay(find(f"smallest-{isa}"), schedule, record=path)
    assert len(replayed.execution.made) >= 5
    assert vmemu(["replay", path]) == 0


def test_as_pytest(tmp_path: Path) -> None:
    """The file fails as long as the bug is there, for the reason that was found, and passes without it."""
    path = tmp_path / "test_found.py"
    assert vmemu(["explore", "smallest-x86_64", "--bug", BUG, "--budget", "2000", "--as-pytest", str(path)]) == 1

    def run_it(text: str) -> None:
        names: dict[str, Any] = {}
        exec(compile(text, str(path), "exec"), names)
        next(value for name, value in names.items() if name.startswith("test_"))()

    text = path.read_text()
    assert f"BUGS = ('{BUG}',)" in text and "/" not in text.partition("SCENARIO")[2]
    with pytest.raises(AssertionError, match="REF: "):
        run_it(text)
    run_it(text.replace(f"BUGS = ('{BUG}',)", "BUGS = ()"))


def test_report_as_json(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    command = ["explore", "smallest-x86_64", "--bug", BUG, "--strategy", "exhaustive", "--budget", "2000", "--json", str(path)]
    assert vmemu(command) == 1
    report = json.loads(path.read_text())
    assert report["shrunk"]["schedule"] == SHORTEST and report["ended"] == "violation"
    assert report["found"]["execution"] == report["executions"]
    coverage = report["coverage"]
    assert coverage["states"] > 1 and coverage["transitions"] > 0
    assert coverage["events"]["apf.io"]["met"] > 0 and coverage["decisions"]["act"]["deviated"] > 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nothing"], "no scenario 'nothing'"),
        (["nothing.py"], "no such file"),
        (["smallest-x86_64", "--budget", "10 s"], "a number of executions, or a time"),
        (["smallest-x86_64", "--bug", "nonsense"], "unknown bug"),
        (["smallest-x86_64", "--schedule", "step"], "is not KIND#NUMBER"),
        (["smallest-x86_64", "--as-pytest", "nowhere/test.py"], "--as-pytest nowhere/test.py: cannot write: No such file"),
        (["smallest-x86_64", "--record", "."], "--record .: cannot write: Is a directory"),
        ([], "which SCENARIO?"),
    ],
)
def test_usage(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert vmemu(["explore", *arguments]) == 2
    assert text in capsys.readouterr().err


def test_what_came_to_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vmemu(["explore", "smallest-x86_64", "--schedule", "lunch#1,act#1=99"]) == 0
    assert "no such decision or option was met, so all went on as usual there: lunch#1, act#1=99" in capsys.readouterr().err
    assert vmemu(["explore", "smallest-x86_64", "--budget", "1", "--record", str(tmp_path / "x.rec")]) == 0
    assert "nothing was found, so --record has nothing to write" in capsys.readouterr().err


def test_bad_scenarios() -> None:
    with pytest.raises(ConfigError, match="action 'explode' is not known"):
        Explorer(Scenario("x", actions=("explode",)))
    with pytest.raises(ConfigError, match=r"event 'apf\.nothing' is not known"):
        Explorer(Scenario("x", events=("apf.nothing",)))
    with pytest.raises(ConfigError, match=r"ends before"):
        Explorer(Scenario("x", start="output:never said"))


def test_an_execution_that_takes_too_long() -> None:
    explorer = Explorer(Scenario("slow", image="hello", cycles=1000))
    execution = explorer.run(())
    assert execution.invariants == ("LIVE",) and execution.status == 4
    explorer.close()
