# SPDX-License-Identifier: GPL-2.0-or-later
"""vmemu: a laboratory for asynchronous paging between hypervisor and guest.

>>> from vmemu import Machine
>>> result = Machine.boot("hello", isa="arm64", memory="64M", resident="8M").run()
>>> result.status
0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmemu.machine.boot import BootOptions
    from vmemu.machine.machine import Machine
    from vmemu.machine.result import RunResult

__version__ = "0.1.0"
__all__ = ["BootOptions", "Machine", "RunResult", "__version__"]

_HOMES = {
    "Machine": "vmemu.machine.machine",
    "BootOptions": "vmemu.machine.boot",
    "RunResult": "vmemu.machine.result",
}


def __getattr__(name: str) -> Any:
    # Late: the C unit's own build imports vmemu.isa, before there is a C unit.
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vmemu' has no attribute {name!r}")
