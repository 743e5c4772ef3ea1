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
    ("kvm-apic-no-rescan", "B02", "nobody looks for completions when the local APIC is enabled (the other half of 2f15d027c05f)"),
    ("kvm-two-exceptions", "B07", "kvm-2010: a ready event is queued over a pending exception: a double fault (until 9a6e7c39810e)"),
    ("kvm-blind-cancel", "B07", "kvm-2010: a ready event cancels a queued not-present, whichever token that has (2a266f23550b, 2017)"),
    ("kvm-ack-no-barrier", "B22", "no barriers between request and pending flag: a completion waits (--store-buffer; until late 2025)"),
    ("kvm-any-cpl", "B24", "a guest whose CPL is not known is told whatever it runs (until b9595d1ddef8)"),
    ("kvm-zero-refused", "B26", "EN cannot be written without a local APIC, not even with 0 (until d831de177217)"),
    ("kvm-token-reuse", "C7", "the id of a token just counts: after 2^20 faults two pages may have one"),
    ("kvm-early-token", "", "tokens are sent while a wake-all waits, which then wakes their sleepers: the guest is left with markers"),
    ("kvm-no-rescan", "B05", "an ACK does not look for the next completion"),
):
    register(Bug(_name, ROOM, _text, _sheet))

declare("apf.flag", "the not-present flag is written to the shared area", Do.DROP)
declare("apf.token", "the token of a ready event is written to the shared area", Do.CORRUPT)
