# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Deterministic examples: a red test must be red again on the next machine. No deadline: CI machines are shared.
settings.register_profile(
    "vmemu", derandomize=True, deadline=None, print_blob=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("vmemu")
