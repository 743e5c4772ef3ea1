# SPDX-License-Identifier: GPL-2.0-or-later
"""Take over a module's edited source while its objects live.

Functions and methods get their new code in place, so that bound methods, registered handlers and closures have it, too; new
functions, methods, classes, imports and constants are added. Nothing is executed twice but imports and changed assignments of the
module: what registers something when it is imported does not do so again.
"""

from __future__ import annotations

import ast
import gc
import importlib.util
import sys
import types
from collections.abc import Iterator

from vmemu.errors import ConfigError

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_VALUES = (ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom)


def take_over(names: list[str]) -> list[str]:
    """Reload these modules; what has new code. Raises ConfigError, and has changed nothing, when one is unknown or cannot be read."""
    read = [_read(name) for name in names]
    return [changed for module, text, code in read for changed in _install(module, text, code)]


def _read(name: str) -> tuple[types.ModuleType, str, types.CodeType]:
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if module is None or path is None or not path.endswith(".py"):
        raise ConfigError(f"{name}: not a module of Python source that is in use")
    try:
        with open(path, "rb") as file:
            text = importlib.util.decode_source(file.read())
        return module, text, compile(text, path, "exec", dont_inherit=True)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: {error}") from None


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield inner
            yield from _codes(inner)


def _install(module: types.ModuleType, text: str, code: types.CodeType) -> list[str]:
    new: dict[str, list[types.CodeType]] = {}
    for inner in _codes(code):
        new.setdefault(inner.co_qualname, []).append(inner)
    changed = []
    # by what they are called and in which order they stand: several lambdas of a function have one name
    old: dict[str, list[types.FunctionType]] = {}
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType) and thing.__module__ == module.__name__:
            old.setdefault(thing.__code__.co_qualname, []).append(thing)
    for name, functions in old.items():
        places = sorted({f.__code__.co_firstlineno for f in functions})
        for function in functions:
            codes = new.get(name, [])
            at = places.index(function.__code__.co_firstlineno)
            if at < len(codes) and codes[at] != function.__code__ and codes[at].co_freevars == function.__code__.co_freevars:
                function.__code__ = codes[at]
                if name not in changed:
                    changed.append(name)
    return changed + _add(module, ast.parse(text), module.__dict__, None, old)


def _add(module: types.ModuleType, tree: ast.Module | ast.ClassDef, names: dict[str, object], owner: type | None,
         known: dict[str, list[types.FunctionType]]) -> list[str]:
    """What the module, or one of its classes, does not have yet; and assignments of the module that give another value."""
    added = []
    for node in tree.body:
        if isinstance(node, _DEFINITIONS):
            name = node.name if owner is None else f"{owner.__qualname__}.{node.name}"
            there = vars(owner).get(node.name) if owner is not None else names.get(node.name)
            if isinstance(node, ast.ClassDef) and isinstance(there, type):
                added += _add(module, node, names, there, known)
            elif there is None:
                scope: dict[str, object] = {} if owner is not None else names
                _execute(module, node, scope)
                if owner is not None:
                    setattr(owner, node.name, scope[node.name])
                added.append(name)
        elif owner is None and isinstance(node, _VALUES):
            _assign(module, node, names)
    return added


def _execute(module: types.ModuleType, node: ast.stmt, scope: dict[str, object]) -> None:
    code = compile(ast.Module([node], []), str(module.__file__), "exec", dont_inherit=True, flags=_future(module))
    exec(code, module.__dict__, scope)


def _future(module: types.ModuleType) -> int:
    feature = getattr(module, "annotations", None)
    return int(getattr(feature, "compiler_flag", 0))


def _assign(module: types.ModuleType, node: ast.stmt, names: dict[str, object]) -> None:
    """Imports, and plain values (numbers, texts, tuples of them): anything else may be state, or a registration."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        if not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            _execute(module, node, names)
        return
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    if value is not None:
        try:
            ast.literal_eval(value)
        except ValueError:
            return
        _execute(module, node, names)
