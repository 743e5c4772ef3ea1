# SPDX-License-Identifier: GPL-2.0-or-later
"""An instant of a run as people write it: an instruction index, a time, what is on the console, how often something happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from vmemu.core import COUNTERS
from vmemu.errors import ConfigError
from vmemu.machine.timeline import first_instant

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

_TIME = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def parse_target(text: str, option: str) -> Callable[[Machine], bool] | int:
    """An instruction index, or a condition that stays true once it is. `option` is what an error names. Raises ConfigError."""
    if re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    if match := re.fullmatch(r"([0-9]{1,15})(\.[0-9]{1,9})?(ns|us|ms|s)", text):
        at = round(float(match[1] + (match[2] or "")) * _TIME[match[3]])
        return lambda machine: machine.instant() >= at
    name, _, rest = text.partition(":")
    if name == "output" and rest:
        wanted = rest.encode()
        return lambda machine: wanted in machine.console.output
    if name in COUNTERS and re.fullmatch(r"[1-9][0-9]{0,14}|", rest):
        count = int(rest or 1)
        return lambda machine: sum(v.counters()[name] for v in machine.vcpus) >= count
    raise ConfigError(
        f"{option} {text}: must be an instruction index, a time like 1.5ms, output:TEXT, or EVENT:K with an EVENT of "
        + " ".join(COUNTERS)
    )


def go_to(machine: Machine, text: str, option: str) -> None:
    """Run to that instant. Raises ConfigError when the run ends before it."""
    target = parse_target(text, option)
    end = machine.run_to(target) if isinstance(target, int) else first_instant(machine, target)
    if end is not None:
        raise ConfigError(f"{option} {text}: the run ends before, after {machine.insns} instructions: {end[1]}")
