# SPDX-License-Identifier: GPL-2.0-or-later
"""pytest plugin: the `vmemu` fixture, ``--vmemu-seed`` and ``--vmemu-choices``, and what a failed test leaves behind.

Installed with vmemu (entry point ``pytest11``); nothing of vmemu is imported before a test asks for the fixture.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vmemu.lab.testing import Lab

_LAB = pytest.StashKey["Lab"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vmemu", "vmemu: asynchronous paging between hypervisor and guest")
    group.addoption("--vmemu-seed", type=int, default=0, metavar="N",
                    help="Seed of the choices of every machine that a test leaves undecided; 0: default policy.")
    group.addoption("--vmemu-choices", metavar="STRING", help="Choices that another run printed, for the same machines.")
    group.addoption("--vmemu-artefacts", default=".vmemu", metavar="DIR",
                    help="Where failed tests leave recordings, traces and commands. Default: .vmemu")


@pytest.fixture
def vmemu(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Machines for this test (vmemu.lab.testing.Lab): closed at its end, and kept for inspection if it fails."""
    from vmemu.lab.testing import Lab

    option = request.config.getoption
    lab = Lab(seed=option("--vmemu-seed"), choices=option("--vmemu-choices"))
    request.node.stash[_LAB] = lab
    yield lab
    lab.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    lab = item.stash.get(_LAB, None)
    if report.when == "call" and report.failed and lab is not None:
        folder = Path(item.config.getoption("--vmemu-artefacts")) / re.sub(r"[^\w.=-]+", "-", item.nodeid)
        lines = lab.leave(folder)
        if lines:
            report.sections.append(("vmemu", "\n".join(lines)))
    return report
