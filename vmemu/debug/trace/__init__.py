# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces: what happened in a run, for ui.perfetto.dev (.pftrace) or for scripts that read ftrace's text (.txt).

    with Tracer(machine, "run.pftrace"):
        machine.run()
"""

from vmemu.debug.trace.sink import Tracer, check_path

__all__ = ["Tracer", "check_path"]
