# SPDX-License-Identifier: GPL-2.0-or-later
"""How commands talk: results on stdout, everything about the run on stderr, one line for an error."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Table

from vmemu.errors import ConfigError, VmemuError


def say(text: str) -> None:
    """One line on stderr, without control characters: parts of it may come from a file or a guest."""
    clean = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    click.echo(f"vmemu: {clean}", err=True)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal; tab-separated lines without a header when piped, for cut and awk."""
    console = Console()
    if not console.is_terminal:
        for row in rows:
            click.echo("\t".join(row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def open_output(path: str, option: str) -> TextIO:
    """A file to write a report to; ``-`` is stdout. ConfigError when it cannot be written, before the work is done."""
    if path == "-":
        return sys.stdout
    try:
        return open(path, "w", encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{option} {path}: cannot write: {reason}") from None


def check_place(path: str | None, option: str) -> None:
    """Before hours of work whose result goes to `path`: ConfigError when no file can be made there."""
    folder = os.path.dirname(path or "") or "."
    if path is None:
        return
    if "\0" in path or not os.path.isdir(folder):
        raise ConfigError(f"{option} {path}: cannot write: {os.strerror(errno.ENOENT)}")
    if os.path.isdir(path):
        raise ConfigError(f"{option} {path}: cannot write: {os.strerror(errno.EISDIR)}")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise ConfigError(f"{option} {path}: cannot write: {os.strerror(errno.EACCES)}")


@contextmanager
def report_file(path: str | None) -> Iterator[TextIO | None]:
    """The --json file: opened before the run, so that hours of it are not lost to a typing error."""
    if path is None:
        yield None
        return
    file = open_output(path, "--json")
    try:
        yield file
    finally:
        if file is not sys.stdout:
            try:
                file.close()
            except OSError as error:
                raise VmemuError(f"--json {path}: cannot write: {error.strerror}") from None


def count(number: float) -> str:
    """1234567 -> 1.23M."""
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}" if number < 999.5 * factor else f"{number / factor:.0f}{unit}"
    return f"{number:.0f}"


def duration(ns: float) -> str:
    """Virtual or real time in the unit that fits."""
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= factor:
            return f"{ns / factor:.3g} {unit}" if ns < 999.5 * factor else f"{ns / factor:.0f} {unit}"
    return f"{ns:.0f} ns"
