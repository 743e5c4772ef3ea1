# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be made to go wrong in the SDEI dispatcher: an event for the injector."""

from __future__ import annotations

from vmemu.clock.inject import Do, declare

SIGNAL = declare("sdei.event", "an SDEI event is signalled on a PE", Do.DROP, Do.DELAY)
