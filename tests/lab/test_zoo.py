# SPDX-License-Identifier: GPL-2.0-or-later
"""The zoo: every known bug has a case or a reason for having none; a part of the table, and the whole of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmemu.bugs import known
from vmemu.cli.main import run as command
from vmemu.lab.explore.scenario import Scenario
from vmemu.lab.zoo import CASES, OUTSIDE
from vmemu.lab.zoo.case import Case
from vmemu.lab.zoo.runner import Quiet, Row, Table, hunt, once_each, watch

#: Found within few executions, one or two for each room that has bugs.
QUICK = ("kvm-token-zero", "kvm-no-rescan", "apf-cancel-leak", "apf-flush-running", "apf-wake-one", "apf-no-eoi", "sdei-refault-spin")


def test_every_bug_has_a_case_or_a_reason() -> None:
    assert not set(CASES) & set(OUTSIDE)
    assert set(CASES) | set(OUTSIDE) == set(known())
    assert all(len(reason) > 20 for reason in OUTSIDE.values())


def test_the_catalogue_is_in_the_zoo() -> None:
    """Those that its notes mark as most worth modelling, but for s390, nested guests and the VMM's own."""
    bugs = known()
    sheets = {sheet for bug in CASES for sheet in bugs[bug].sheets}
    assert sheets >= {"B01", "B02", "B03", "B04", "B15", "B16", "B21", "B22", "B23", "B32", "B33", "B43", "B44", "B45"}
    assert len(CASES) >= 30


def test_cases_are_about_bugs_that_exist_and_say_what_finds_them() -> None:
    bugs = known()
    for case in CASES.values():
        assert case.bug in bugs and case.invariants and case.bug not in case.also and case.bug not in case.scenario.bugs
        assert set(case.also) <= set(bugs)


@pytest.mark.parametrize("bug", QUICK)
def test_found_and_shrunk(bug: str) -> None:
    row = hunt(CASES[bug], known()[bug].sheets, 1000)
    assert row.found, (row.invariant, row.text)
    assert row.length <= 15 and row.executions <= 500


def test_nothing_is_found_without_the_bugs() -> None:
    for case, _ in once_each(CASES[bug] for bug in QUICK):
        quiet = watch(case, 25)
        assert not quiet.invariant, (case.scenario.name, quiet)
        assert quiet.executions == 25


def test_what_is_found_first_must_be_what_the_case_expects() -> None:
    case = CASES["apf-wake-one"]
    row = hunt(Case(case.bug, case.scenario, ("EOI",)), (), 10)
    assert row.invariant == "LIVE" and not row.found
    table = Table([row], [Quiet("x", (), 10, 0.1, "TOK", "a token is told twice")])
    assert table.escaped == [row] and len(table.false_alarms) == 1
    assert "0 of 1 bugs found" in table.summary() and "1 false alarms" in table.summary()


def test_a_scenario_without_its_bug_escapes() -> None:
    row = hunt(Case("apf-no-ack", CASES["apf-wake-one"].scenario, ("LIVE",)), (), 5)
    assert not row.found and row.executions == 5 and not row.invariant


def test_scenarios_are_run_once_for_all_their_cases() -> None:
    one, other = Scenario("one"), Scenario("other")
    cases = [Case("a", one, ("X",)), Case("b", other, ("X",)), Case("c", one, ("X",)), Case("d", one, ("X",), also=("e",))]
    assert [(case.bug, count) for case, count in once_each(cases)] == [("a", 2), ("b", 1), ("d", 1)]


def test_markdown_has_a_row_for_each_bug() -> None:
    table = Table([Row("a-bug", ("B01",), "somewhere", executions=7, invariant="TOK", expected=True), Row("b-bug", (), "elsewhere", 9)])
    lines = table.markdown().splitlines()
    assert lines[2] == "| `a-bug` | B01 | somewhere | TOK | 7 | 0 |" and lines[3] == "| `b-bug` |  | elsewhere | escaped | 9 |  |"
    assert "7 executions in the median" in lines[-1]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "zoo.json"
    assert command(["zoo", "--only", "B03", "--budget", "20", "--json", str(out), "--markdown", str(tmp_path / "zoo.md")]) == 0
    assert "apf-no-eoi" in capsys.readouterr().out
    table = json.loads(out.read_text())
    assert [row["bug"] for row in table["bugs"]] == ["apf-no-eoi"] and table["bugs"][0]["found"]
    assert table["off"][0]["executions"] == 20 and not table["off"][0]["invariant"]
    assert "| `apf-no-eoi` | B03 |" in (tmp_path / "zoo.md").read_text()


def test_the_command_without_a_case_and_without_a_find(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["zoo", "--only", "kvm-paging-off"]) == 2
    assert "no case: needs a guest without paging" in capsys.readouterr().err
    assert command(["zoo", "--only", "kvm-token-reuse", "--budget", "1", "--off-budget", "0"]) == 1
    assert "kvm-token-reuse escaped" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("bug", sorted(CASES))
def test_the_whole_table(bug: str) -> None:
    case = CASES[bug]
    row = hunt(case, known()[bug].sheets, 10_000)
    assert row.found, (row.invariant, row.text)
    assert row.length <= 15
    assert not watch(case, 500).invariant
