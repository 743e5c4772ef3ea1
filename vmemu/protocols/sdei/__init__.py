# SPDX-License-Identifier: GPL-2.0-or-later
"""SDEI, the Software Delegated Exception Interface (Arm DEN 0054): calls.py its numbers, state.py handlers, dispatch.py delivery."""
