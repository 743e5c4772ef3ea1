# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's kernel owns the switchboard: window contexts in device memory, one interrupt, as on PowerNV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.devices.base import State
from vmemu.devices.vas import PASTE_BASE, PASTE_SHIFT, Window
from vmemu.devices.vas_mmio import CONTEXT_SIZE, LARGEST_RECEIVE_KIB, WINDOWS, WindowContexts
from vmemu.machine.fdt import Node, cells, cells64
from vmemu.protocols.vas.facility import VasFacility

if TYPE_CHECKING:
    from vmemu.machine.boot import BootOptions
    from vmemu.machine.machine import Machine

#: Window contexts; and the trigger page of the interrupt, which only the switchboard stores to.
HVWC_BASE, PORT = 0x0006_0190_0000_0000, 0x0006_0302_0000_0000
INTERRUPT = 0x1200
PAGE = 4096


class NativeVas(VasFacility):
    """VAS 0 of a bare-metal like kernel."""

    def __init__(self, machine: Machine, options: BootOptions) -> None:
        super().__init__(machine, options, WINDOWS)
        self.contexts = WindowContexts(self.vas)
        size = WINDOWS * CONTEXT_SIZE
        self.board.mmio.add(HVWC_BASE, size, self.contexts, "vas")
        for page in range(HVWC_BASE, HVWC_BASE + size, PAGE):
            machine.core.add_mmio(page)
        self.board.xics.add_source(INTERRUPT, level=False)

    def interrupt(self, window: Window) -> None:
        if window.port == PORT:
            self.board.xics.pulse(INTERRUPT)

    def describe(self, root: Node) -> None:
        node = root.add(f"vas@{HVWC_BASE:x}").set("compatible", ["ibm,power9-vas", "ibm,vas"]).set("ibm,vas-id", 0)
        node.set("reg", cells64(HVWC_BASE, WINDOWS * CONTEXT_SIZE, PASTE_BASE, WINDOWS << PASTE_SHIFT))
        node.set("ibm,vas-windows", WINDOWS).set("ibm,vas-port", cells64(PORT))
        node.set("interrupts", cells(INTERRUPT, 0)).set("interrupt-parent", 1)
        node.add("gzip").set("compatible", "ibm,p9-nx-gzip").set("rx-fifo-size", LARGEST_RECEIVE_KIB * 1024)

    def save_owner(self) -> State:
        return self.contexts.save()

    def load_owner(self, state: State) -> None:
        self.contexts.load(state)
