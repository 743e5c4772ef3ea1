# SPDX-License-Identifier: GPL-2.0-or-later
"""A server for gdb: the remote serial protocol on a debugging session (docs/gdb.md)."""

from vmemu.debug.gdb.server import Server, serve

__all__ = ["Server", "serve"]
