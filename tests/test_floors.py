# SPDX-License-Identifier: GPL-2.0-or-later
"""The house's rule: a room imports only from the floors below its own; models share nothing with what they judge."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parents[1] / "vmemu"
#: Lowest first; isa is declared data, which core's C tables are generated from.
FLOORS = (("isa",), ("core",), ("clock",), ("memory",), ("devices",), ("machine",), ("protocols",), ("debug",), ("lab",), ("cli",))
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports when it runs, wherever in it; not those for the type checker alone."""
    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(path.read_text()))


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "vmemu" and len(parts) > 1 and parts[1] in FLOOR else None


def test_imports_go_down() -> None:
    wrong = []
    for path in sorted(HOUSE.rglob("*.py")):
        room = path.relative_to(HOUSE).parts[0]
        for module in imports(path) if room in FLOOR else ():
            other = room_of(module)
            if other is not None and other != room and FLOOR[other] >= FLOOR[room]:
                wrong.append(f"{path.relative_to(HOUSE)} imports {module}")
    assert not wrong


def test_models_share_nothing_with_the_protocols() -> None:
    """The wait graph may look into a pager: it explains, and judges nothing."""
    for path in sorted((HOUSE / "lab/models").glob("*.py")):
        if path.name != "waits.py":
            assert not [m for m in imports(path) if m.startswith("vmemu.protocols")], path.name
