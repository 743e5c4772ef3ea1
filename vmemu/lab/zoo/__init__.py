# SPDX-License-Identifier: GPL-2.0-or-later
"""The zoo: every known bug with a scenario in which an explorer finds it, and the proof that it finds nothing without it.

A case lies in the file of its protocol; importing this makes all cases, and their scenarios, known.
"""

from __future__ import annotations

import importlib

from vmemu.lab.explore.scenario import SCENARIOS, register
from vmemu.lab.zoo import actions, corners, host  # noqa: F401 - register
from vmemu.lab.zoo.case import Case

#: Modules that have a tuple CASES, and OUTSIDE: bug -> why there is no case for it.
FILES = ("kvm", "generic", "guest", "sdei", "esn", "vas", "tce")

CASES: dict[str, Case] = {}
OUTSIDE: dict[str, str] = {}

for _file in FILES:
    _module = importlib.import_module(f"vmemu.lab.zoo.{_file}")
    OUTSIDE.update(_module.OUTSIDE)
    for _case in _module.CASES:
        if _case.bug in CASES:
            raise ValueError(f"bug {_case.bug} has two cases")
        CASES[_case.bug] = _case
        if _case.scenario.name not in SCENARIOS:
            register(_case.scenario)

__all__ = ["CASES", "FILES", "OUTSIDE", "Case"]
