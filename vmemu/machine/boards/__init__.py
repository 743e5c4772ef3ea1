# SPDX-License-Identifier: GPL-2.0-or-later
"""The boards: one per architecture."""

from __future__ import annotations

import importlib

from vmemu.machine.board import Board

BOARDS = {"x86_64": ("pc", "Pc"), "arm64": ("virt", "Virt"), "ppc64": ("pseries", "Pseries")}


def board_for(isa: str) -> type[Board]:
    """The board class of an architecture."""
    module, name = BOARDS[isa]
    found = getattr(importlib.import_module(f"vmemu.machine.boards.{module}"), name)
    assert isinstance(found, type) and issubclass(found, Board)
    return found
