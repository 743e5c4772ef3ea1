# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule-based machines: real guests hold under any rules, known bugs are found, shrunk, and reproduced by what is printed."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from vmemu.lab.explore.decisions import Plan
from vmemu.lab.explore.execution import Explorer
from vmemu.lab.explore.scenario import find
from vmemu.lab.explore.schedule import parse_schedule
from vmemu.lab.rules import Broken, GuestRules, rules_for
from vmemu.machine.control import Refused
from vmemu.protocols.async_page.pager import AsyncPager

ISAS = ("x86_64", "arm64", "ppc64")


def examples(rules: type[GuestRules], count: int, steps: int = 15) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(rules, settings=settings(max_examples=count, stateful_step_count=steps, deadline=None, derandomize=True,
                                                       database=None, suppress_health_check=checks, phases=[Phase.generate, Phase.shrink],
                                                       report_multiple_bugs=False))


@pytest.mark.parametrize("isa", ISAS)
def test_the_smallest_scenario_holds(isa: str) -> None:
    examples(rules_for(find(f"smallest-{isa}")), 40)


@pytest.mark.parametrize(("isa", "bug"), [("x86_64", "apf-no-eoi"), ("arm64", "sdei-no-clear"), ("ppc64", "esn-no-arm")])
def test_a_known_bug_is_found_and_its_schedule_reproduces_it(isa: str, bug: str) -> None:
    scenario = find(f"smallest-{isa}")
    with pytest.raises(Broken) as caught:
        examples(rules_for(scenario, [bug]), 200)
    match = re.search(r"--schedule (\S+)", str(caught.value))
    assert match is not None and match[1].count("#") <= 4
    explorer = Explorer(scenario, [bug])
    again = explorer.run(parse_schedule(match[1]))
    explorer.close()
    assert again.invariants == tuple(dict.fromkeys(v.invariant for v in caught.value.violations))


def test_what_is_announced_already_cannot_be_delayed() -> None:
    """On pseries the worker announces: found by the rules, as a late announcement of a page-in that was over."""
    explorer = Explorer(find("smallest-ppc64"))
    done = []

    def look() -> None:
        pager = explorer.machine.pager
        assert isinstance(pager, AsyncPager)
        for work in list(pager.works.values()):
            if work.done and not work.wake_all:
                with pytest.raises(Refused, match="announced already"):
                    explorer.command(f"delay {work.token:#x} 100")
                done.append(work.token)

    for number in range(1, 16):  # the host's own sequence rests at its n-th step
        explorer.begin()
        explorer.source.begin(Plan.of(parse_schedule(f"step#{number}")))
        while explorer.turn() is None and not explorer.watch.violations:
            look()
    explorer.close()
    assert done
