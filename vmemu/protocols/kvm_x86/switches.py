# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of KVM's x86 half, and what the injector can do to its events."""

from __future__ import annotations

from vmemu.bugs import Bug, register
from vmemu.clock.inject import Do, declare

ROOM = "protocols.kvm_x86"

for _name, _sheet, _text in (
    ("kvm-token-zero", "B01", "the id of a token may wrap to 0: token 0 of vCPU 0 means that the slot is free (until 2022, 6f3c1fc53d86)"),
    ("kvm-ready-untold", "B04", "a page that the guest was not told to be away is announced as ready (until 2020, 2a18b7e7cd88)"),
    ("kvm-lapic-off", "B02", "completions are taken off the queue while the local APIC is disabled, and lost (until 2021, 2f15d027c05f)"),
    ("kvm-paging-off", "B12", "notifications are injected with CR0.PG clear (until 2022)"),
    ("kvm-early-token", "", "tokens are sent while a wake-all waits, which then wakes their sleepers: the guest is left with markers"),
    ("kvm-no-rescan", "B05", "an ACK does not look for the next completion"),
):
    register(Bug(_name, ROOM, _text, _sheet))

declare("apf.flag", "the not-present flag is written to the shared area", Do.DROP)
declare("apf.token", "the token of a ready event is written to the shared area", Do.CORRUPT)
