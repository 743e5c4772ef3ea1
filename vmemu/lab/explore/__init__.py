# SPDX-License-Identifier: GPL-2.0-or-later
"""The explorer: a scenario is run again and again from one instant, each time with other decisions, until a model objects.

    schedule.py    deviations from the default decisions, as text
    decisions.py   the source of choices that follows a plan and keeps what was asked
    scenario.py    what is explored
    actions.py     what the environment may do between turns
    failures.py    events that may go wrong, as decisions
    execution.py   one execution: reset in place, run, watched by the models
    strategies.py  which executions are tried, in which order
    runners.py     by whom: this process or several
    coverage.py    what they reached
    search.py      all of it together, with a budget
    shrink.py      a schedule that fails, made as short and plain as can be
    replay.py      a schedule run again: its story, its recording, a trace of it
    as_pytest.py   a schedule as a regression test
    builtin.py     scenarios that are always there
"""
