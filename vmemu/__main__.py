# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m vmemu``."""

from vmemu.cli.main import main

main()
