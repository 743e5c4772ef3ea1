# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be made to go wrong in the generic layer: known bugs as switches, and events for the injector."""

from __future__ import annotations

from vmemu.bugs import Bug, register
from vmemu.clock.inject import Do, declare

ROOM = "protocols.async_page"

for _name, _sheet, _text in (
    ("apf-schedule-first", "B28", "the worker is scheduled before its work is queued (until 7863e346e108)"),
    ("apf-stale-gfns", "B13", "a flush leaves the gfns of the works that it threw away in the table (until e5f3f027)"),
    ("apf-endless-retry", "B23", "a page that the store cannot give back is announced as ready, again and again (V. Goyal, 2020)"),
    ("apf-cancel-leak", "B17", "a work that is cancelled keeps its reference to the address space (until 28b441e24088)"),
    ("apf-worker-vm-reference", "B15", "workers hold the VM: the last put destroys it in a worker that waits for itself (22583f0d9c85)"),
    ("apf-flush-running", "B16", "a flush does not wait for workers that have put their references and not returned (until 3d75b8aa5c29)"),
    ("apf-flush-unlocked", "B41", "a flush from outside does not wait for the vCPU's own sequence (s390 APF_DISABLE_WAIT, 2024)"),
    ("apf-wake-no-barrier", "B21", "no barrier between done and who sleeps: a halted vCPU sleeps on (--store-buffer; until 6003a4201047)"),
    ("apf-blind-delete", "B14", "the wake-all takes a gfn out of the table as pages do; it has none, and another one goes (4.19)"),
    ("apf-mm-count", "B18", "workers hold the struct of the address space, and not the address space (until 41c22f626254)"),
    ("apf-second-token", "", "a page that is under way is not found in the table, and gets a second token (2010, c7d28c24040b)"),
    ("apf-one-completion", "", "one completion is taken off the list each time the vCPU looks (2010, 15096ffceabb)"),
):
    register(Bug(_name, ROOM, _text, _sheet))

NOT_PRESENT = declare("apf.not_present", "the guest is told that a page is away: drop, it never sees that; fail, the host finds "
                      "that it cannot tell, and the vCPU waits", Do.DROP, Do.FAIL)  # fmt: skip
IO = declare("apf.io", "an asynchronous page-in ends: fail, the store cannot give the page back", Do.DELAY, Do.FAIL)
KICK = declare("apf.kick", "a completion kicks the vCPU", Do.DROP, Do.DELAY)
READY = declare("apf.ready", "a completion, or a wake-all, is announced to the guest", Do.DROP, Do.DELAY, Do.DUPLICATE)
IRQ = declare("apf.irq", "the interrupt of a ready event is raised (on pseries, esn.irq)", Do.DROP, Do.DELAY, Do.DUPLICATE)
