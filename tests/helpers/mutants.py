# SPDX-License-Identifier: GPL-2.0-or-later
"""Models with one small error each: what a test of the tests is made of.

A mutant is a model whose module, or one that it is built on, has one node of its syntax tree changed. Many of them watch the same
run, beside the model as it is; a mutant that says anything else than that one, or that fails, is noticed.
"""

from __future__ import annotations

import ast
import builtins
import copy
import importlib
import importlib.util
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from vmemu.core.observe import Seen
from vmemu.lab.models import End, Model, Watch
from vmemu.lab.models.base import Violation
from vmemu.machine.machine import Machine

ROOM = "vmemu.lab.models"
#: What no verdict depends on: summaries for coverage and reports, snapshots, patience.
QUIET = ("state", "more_state", "summary", "save", "load", "waits", "migrated", "unfinished", "at_rest", "_why_not_taken", "_over", "wrong")
SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """The n-th place of a module where something can be changed."""

    module: str
    place: int
    text: str

    def __str__(self) -> str:
        return f"{self.module}: {self.text}"


def source(module: str) -> ast.Module:
    spec = importlib.util.find_spec(f"{ROOM}.{module}")
    assert spec is not None and spec.origin is not None
    return ast.parse(Path(spec.origin).read_text())


def changes(tree: ast.Module) -> Iterator[tuple[str, Callable[[], None]]]:
    """Each change that can be made to the tree: what it is, and how to make it in place."""
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name not in QUIET]:
        for node in ast.walk(function):
            where = f"{function.name}, line {getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.If | ast.IfExp):
                yield f"{where}: the opposite condition", lambda node=node: _negate(node)
            elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
                yield f"{where}: {type(node.ops[0]).__name__} swapped", lambda node=node: _swap(node)
            elif isinstance(node, ast.BoolOp):
                yield f"{where}: and for or", lambda node=node: _other(node)
            for field in ("body", "orelse"):
                for i, statement in enumerate(getattr(node, field, None) or [] if isinstance(node, ast.stmt) else []):
                    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) or isinstance(statement, ast.Assign):
                        if isinstance(statement, ast.Assign) and not isinstance(statement.targets[0], ast.Attribute | ast.Subscript):
                            continue
                        text = f"{function.name}, line {statement.lineno}: {ast.unparse(statement)[:60]!r} left out"
                        yield text, lambda node=node, field=field, i=i: _drop(node, field, i)


def _negate(node: Any) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _swap(node: ast.Compare) -> None:
    node.ops[0] = SWAPPED[type(node.ops[0])]()


def _other(node: ast.BoolOp) -> None:
    node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()


def _drop(node: Any, field: str, i: int) -> None:
    getattr(node, field)[i] = ast.Pass()


def mutations(modules: Sequence[str]) -> list[Mutation]:
    return [Mutation(module, i, text) for module in modules for i, (text, _) in enumerate(changes(source(module)))]


def sample(modules: Sequence[str], most: int, seed: int = 1) -> list[Mutation]:
    found = mutations(modules)
    return sorted(random.Random(seed).sample(found, min(most, len(found))), key=lambda m: (m.module, m.place))


class Family:
    """Modules that build on each other, the model's own last; `make` builds the model with at most one mutation."""

    def __init__(self, modules: Sequence[str], model: str) -> None:
        self.modules, self.model = tuple(modules), model
        for name in modules:  # dataclasses look their modules up
            importlib.import_module(f"{ROOM}.{name}")
        self._plain = {name: self._compile(name, source(name)) for name in modules}

    @staticmethod
    def _compile(name: str, tree: ast.Module) -> CodeType:
        tree.body = [s for s in tree.body if not (isinstance(s, ast.Expr) and ast.unparse(s).startswith("register("))]
        return compile(ast.fix_missing_locations(tree), f"<mutant of {name}>", "exec")

    def make(self, mutation: Mutation | None) -> Callable[[Machine], Model]:
        made: dict[str, ModuleType] = {}

        def load(name: str, *rest: Any) -> Any:
            return made[name] if name in made else builtins.__import__(name, *rest)

        for name in self.modules:
            code = self._plain[name]
            if mutation is not None and mutation.module == name:
                tree = copy.deepcopy(source(name))
                next(change for i, (_, change) in enumerate(changes(tree)) if i == mutation.place)()
                code = self._compile(name, tree)
            module = ModuleType(f"{ROOM}.{name}")
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": load}
            exec(code, module.__dict__)
            made[module.__name__] = module
        make: Callable[[Machine], Model] = getattr(made[f"{ROOM}.{self.modules[-1]}"], self.model)
        return make


class Guarded(Model):
    """A mutant whose failures are noticed, not raised."""

    name = "mutant"

    def __init__(self, machine: Machine, make: Callable[[Machine], Model]) -> None:
        super().__init__(machine)
        self._inner: Model | None = None
        self._try(lambda: setattr(self, "_inner", make(machine)))

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            self.violations.append(Violation("CRASH", type(error).__name__))
            self._inner = None

    def see(self, seen: Seen) -> None:
        if (inner := self._inner) is not None:
            self._try(lambda: inner.see(seen))

    def check(self) -> None:
        if (inner := self._inner) is not None:
            self._try(inner.check)

    def at_end(self, end: End) -> None:
        if (inner := self._inner) is not None:
            self._try(lambda: inner.at_end(end))

    def verdict(self) -> tuple[tuple[str, str], ...]:
        """What it has to say, without the numbers that differ from token to token."""
        inner = [] if self._inner is None else self._inner.violations
        return tuple(sorted({(v.invariant, "".join(c for c in v.text if not c.isdigit())[:24]) for v in (*self.violations, *inner)}))

    def state(self) -> None:
        return None

    def save(self) -> None:
        return None

    def load(self, state: Any) -> None:
        return None


def survivors(family: Family, tried: Sequence[Mutation], runs: Sequence[Callable[[Callable[[Machine], Watch]], None]]) -> list[Mutation]:
    """Those that say the same as the model in every run. A run calls what it is given with its machine, and drives that to its end."""
    alive, makers = list(tried), {m: family.make(m) for m in tried}
    for run in runs:
        guarded: list[Guarded] = []

        wanted = [family.make(None), *(makers[m] for m in alive)]

        def attach(machine: Machine, guarded: list[Guarded] = guarded, wanted: list[Callable[[Machine], Model]] = wanted) -> Watch:
            guarded += [Guarded(machine, make) for make in wanted]
            return Watch(machine, guarded, keep=0)

        run(attach)
        plain, *others = [g.verdict() for g in guarded]
        alive = [m for m, verdict in zip(alive, others, strict=True) if verdict == plain]
    return alive
