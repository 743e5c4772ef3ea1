# SPDX-License-Identifier: GPL-2.0-or-later
"""Floor 1: the architectures as data. Imports nothing but itself, so that the C unit's build can read it."""

from __future__ import annotations

import importlib

from vmemu.isa.base import Isa

ISAS = ("x86_64", "arm64", "ppc64")


def load_isa(name: str) -> Isa:
    """The architecture called `name`. Raises KeyError for an unknown one."""
    if name not in ISAS:
        raise KeyError(f"no architecture {name!r}; there are {', '.join(ISAS)}")
    isa = importlib.import_module(f"vmemu.isa.{name}").ISA
    assert isinstance(isa, Isa)
    return isa
