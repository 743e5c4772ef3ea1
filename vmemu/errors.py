# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors of vmemu, by who has to act. The message is one line that says what to do."""

from __future__ import annotations


class VmemuError(Exception):
    """Base of every error that vmemu raises on purpose. `status` is the process exit status (README, 'Exit status')."""

    status = 5


class ConfigError(VmemuError):
    """Usage or input: a wrong option, a bad image, an impossible size."""

    status = 2


class StoreError(VmemuError):
    """The swap store failed: read, write, checksum, space."""


class EngineError(VmemuError):
    """The engine is not the one that was measured, or did what it must not."""
