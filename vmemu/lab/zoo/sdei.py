# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases."""

from __future__ import annotations

from vmemu.lab.zoo.case import Case

CASES: tuple[Case, ...] = ()
OUTSIDE: dict[str, str] = {}
