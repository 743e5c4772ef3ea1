# SPDX-License-Identifier: GPL-2.0-or-later
"""Asynchronous page faults of KVM on x86 (x86-apf.md 1 to 6): the current protocol, since Linux 5.8, and the one of 2010.

abi.py      numbers, bits, the shared area's layout, tokens
registers.py  MSRs with their write rules, CPUID leaves
host.py     when the guest may be told, and how
"""
