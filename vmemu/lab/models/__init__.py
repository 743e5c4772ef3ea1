# SPDX-License-Identifier: GPL-2.0-or-later
"""Models of the protocols, written from their descriptions, and what compares a machine with them.

base.py      what a model is; registry.py: which there are
watch.py     models at work on a machine; words.py: what they saw, for people
"""

from vmemu.lab.models.base import End, Model, Violation, peek, profile
from vmemu.lab.models.registry import Entry, models, models_for, register
from vmemu.lab.models.watch import Moment, Watch, tee

__all__ = [
    "End", "Entry", "Model", "Moment", "Violation", "Watch", "models", "models_for", "peek", "profile", "register", "tee",
]
