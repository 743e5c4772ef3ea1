# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be made to go wrong in the generic layer: known bugs as switches, and events for the injector."""

from __future__ import annotations

from vmemu.bugs import Bug, register
from vmemu.clock.inject import Do, declare

ROOM = "protocols.async_page"

for _name, _text in (
    ("apf-schedule-first", "the worker is scheduled before its work is queued (until KVM 7863e346e108)"),
    ("apf-stale-gfns", "a flush leaves the gfns of the works that it threw away in the table (until KVM e5f3f027)"),
    ("apf-endless-retry", "a page that the store cannot give back is announced as ready, again and again (V. Goyal, 2020)"),
    ("apf-cancel-leak", "a work that is cancelled keeps its reference to the address space (until KVM 28b441e24088)"),
    ("apf-worker-vm-reference", "workers hold the VM: the last put destroys it inside a worker that waits for itself (KVM 22583f0d9c85)"),
    ("apf-flush-running", "a flush does not wait for workers that have put their references but not returned (until KVM 3d75b8aa5c29)"),
    ("apf-flush-unlocked", "a flush from outside does not wait for the vCPU's own sequence (s390 APF_DISABLE_WAIT, 2024)"),
    ("apf-no-barrier", "no barriers between request, pending flag and halt: needs --store-buffer (until KVM 6003a4201047 and late 2025)"),
):
    register(Bug(_name, ROOM, _text))

declare("apf.kick", "a completion kicks the vCPU", Do.DROP)
declare("apf.io", "an asynchronous page-in ends", Do.DELAY)
