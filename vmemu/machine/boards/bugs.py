# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs and deviations of real platforms that the boards can show."""

from __future__ import annotations

from vmemu.bugs import Bug, register

KVM_SC1 = register(
    Bug("kvm-sc1", "machine", "a hypercall from problem state raises a program interrupt, as KVM has radix guests take it")
)
