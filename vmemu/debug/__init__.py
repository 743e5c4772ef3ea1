# SPDX-License-Identifier: GPL-2.0-or-later
"""Floor 6: looking at a machine from outside."""
