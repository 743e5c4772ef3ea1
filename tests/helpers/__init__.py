# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of several rooms share; `tests` is on the path, so `from helpers.elfmaker import make_elf`."""
