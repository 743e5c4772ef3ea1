# SPDX-License-Identifier: GPL-2.0-or-later
"""The zoo of the pseries board: expropriation notifications, VAS, DMA windows."""

from __future__ import annotations

import pytest

from vmemu.bugs import known
from vmemu.lab.explore.scenario import find
from vmemu.lab.explore.search import Budget, explore
from vmemu.lab.explore.strategies import make
from vmemu.lab.zoo import CASES, OUTSIDE
from vmemu.lab.zoo.runner import hunt, once_each, watch

OURS = ("esn-", "vas-", "tce-")
QUICK = (
    "esn-deregister-live", "esn-no-arm", "esn-number-per-fault", "esn-number-wraps", "esn-unarmed-dropped", "vas-ccw-kept",
    "vas-csb-at-once", "vas-fault-overrun", "vas-no-cpabort", "tce-absent-success", "tce-early-drop", "tce-list-leak", "tce-no-flush",
    "tce-window-wrap",
)  # fmt: skip


def test_every_bug_has_a_case_or_a_reason() -> None:
    bugs = {bug for bug in known() if bug.startswith(OURS)}
    assert {bug for bug in (*CASES, *OUTSIDE) if bug.startswith(OURS)} == bugs


def test_the_catalogue_is_in_the_zoo() -> None:
    bugs = known()
    sheets = {sheet for bug in CASES for sheet in bugs[bug].sheets}
    assert sheets >= {"B43", "B44", "B45", "B46", "B47", "B48"}
    assert sheets >= {f"TCE-B{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 17, 18)}


@pytest.mark.parametrize("bug", QUICK)
def test_found_and_shrunk(bug: str) -> None:
    row = hunt(CASES[bug], (), 1000)
    assert row.found, (row.invariant, row.text)
    assert row.length <= 15


def test_nothing_is_found_without_the_bugs() -> None:
    for case, _ in once_each(case for bug, case in CASES.items() if bug.startswith(OURS)):
        quiet = watch(case, 25)
        assert not quiet.invariant, (case.scenario.name, quiet)


@pytest.mark.slow
@pytest.mark.parametrize("bug", [bug for bug in CASES if bug.startswith(OURS) and bug not in QUICK])
def test_the_others_are_found(bug: str) -> None:
    row = hunt(CASES[bug], (), 10_000)
    assert row.found and row.length <= 15, (row.invariant, row.text)


@pytest.mark.slow
def test_nothing_is_found_in_more_executions() -> None:
    for case, _ in once_each(case for bug, case in CASES.items() if bug.startswith(OURS)):
        quiet = watch(case, 1000)
        assert not quiet.invariant, (case.scenario.name, quiet)


@pytest.mark.parametrize(("name", "invariants"), [("esn-out-of-order", {"V1"}), ("esn-in-order", set())])
def test_the_order_in_which_a_partition_clears_its_ring(name: str, invariants: set[str]) -> None:
    """LoPAR's R1-2 counts entries in use, wherever they lie; events are put in one after the other (docs/findings.md)."""
    report = explore(find(name), make("exhaustive", 1), Budget(executions=500))
    found = set() if report.found is None else set(report.found.invariants)
    assert found == invariants and report.ended == ("violation" if invariants else "exhausted")
