# SPDX-License-Identifier: GPL-2.0-or-later
"""Run-time abstraction services (LoPAR 2.9, "RTAS"), called through H_RTAS with the address of an argument buffer.

The buffer is big-endian 32-bit cells: token, number of arguments, number of results, arguments, results; the first
result is the status. Tokens are ours to choose and stand in the device tree.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from vmemu.devices.base import Now, Quiet, State
from vmemu.devices.papr import H_PARAMETER, NoWindow, Refused
from vmemu.devices.xics import Xics

OK, HARDWARE_ERROR, PARAMETER_ERROR = 0, -1, -3
CELLS = 16  # arguments and results together
#: Virtual time 0; any fixed moment does.
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)

TOKENS = {
    name: 0x2000 + i
    for i, name in enumerate(
        (
            "display-character", "get-time-of-day", "set-time-of-day", "power-off", "system-reboot", "ibm,set-xive",
            "ibm,get-xive", "ibm,int-on", "ibm,int-off", "query-cpu-stopped-state", "start-cpu", "stop-self",
            "ibm,get-system-parameter",
        )
    )
}  # fmt: skip

RUNNING, STOPPED = 2, 0  # query-cpu-stopped-state


class Processors(Protocol):
    """The machine's CPUs by the numbers of the device tree."""

    def running(self, cpu: int) -> bool | None:
        """None: no such CPU."""

    def start(self, caller: int, cpu: int, entry: int, argument: int) -> None: ...
    def stop(self, cpu: int) -> None: ...


#: service(arguments) -> status and results
Service = Callable[[list[int]], list[int]]


class Rtas(NoWindow, Quiet):
    """The services; ``is_ram``, ``read`` and ``write`` are the machine's access to guest memory."""

    def __init__(
        self, now: Now, put: Callable[[int], None], power_off: Callable[[int], None], xics: Xics,
        is_ram: Callable[[int, int], bool], read: Callable[[int, int], bytes], write: Callable[[int, bytes], None],
        processors: Processors | None = None,
    ) -> None:  # fmt: skip
        self._now, self._put, self._power_off, self._xics = now, put, power_off, xics
        self._is_ram, self._read, self._write = is_ram, read, write
        self._processors = processors
        self._caller = 0  # CPU whose call is being served
        #: token -> service; protocols add theirs
        self.services: dict[int, Service] = {
            TOKENS["display-character"]: self._display,
            TOKENS["get-time-of-day"]: self._get_time,
            TOKENS["set-time-of-day"]: self._set_time,
            TOKENS["power-off"]: lambda _: self._off(0),
            TOKENS["system-reboot"]: lambda _: self._off(0),
            TOKENS["ibm,set-xive"]: self._set_xive,
            TOKENS["ibm,get-xive"]: self._get_xive,
            TOKENS["ibm,int-on"]: lambda args: self._enable(args, True),
            TOKENS["ibm,int-off"]: lambda args: self._enable(args, False),
            TOKENS["query-cpu-stopped-state"]: self._cpu_state,
            TOKENS["start-cpu"]: self._start_cpu,
            TOKENS["stop-self"]: self._stop_self,
        }
        self.reset()

    def reset(self) -> None:
        self.offset = 0  # seconds that the guest has set the clock forward

    def call(self, buffer: int, cpu: int = 0) -> None:
        """H_RTAS on a CPU. Raises Refused when the buffer cannot be one."""
        self._caller = cpu
        if not self._is_ram(buffer, 12):
            raise Refused(H_PARAMETER)
        token, nargs, nret = (int.from_bytes(self._read(buffer + 4 * i, 4), "big") for i in range(3))
        if nargs + nret > CELLS or not self._is_ram(buffer, 12 + 4 * (nargs + nret)):
            raise Refused(H_PARAMETER)
        args = [int.from_bytes(self._read(buffer + 12 + 4 * i, 4), "big") for i in range(nargs)]
        service = self.services.get(token)
        results = [PARAMETER_ERROR] if service is None else service(args)
        for i, value in enumerate(results[:nret]):
            self._write(buffer + 12 + 4 * (nargs + i), (value & 0xFFFF_FFFF).to_bytes(4, "big"))

    # ------------------------------------------------------------------ services
    def _display(self, args: list[int]) -> list[int]:
        if len(args) != 1:
            return [PARAMETER_ERROR]
        self._put(args[0] & 0xFF)
        return [OK]

    def _off(self, status: int) -> list[int]:
        self._power_off(status)
        return [OK]

    def _get_time(self, args: list[int]) -> list[int]:
        now = self._now()
        moment = EPOCH + timedelta(seconds=now // 1_000_000_000 + self.offset)
        return [OK, *moment.timetuple()[:6], now % 1_000_000_000]

    def _set_time(self, args: list[int]) -> list[int]:
        try:
            year, month, day, hour, minute, second = args[:6]
            moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except (ValueError, OverflowError):
            return [PARAMETER_ERROR]
        offset = int((moment - EPOCH).total_seconds()) - self._now() // 1_000_000_000
        if abs(offset) > 100 * 366 * 86400:  # keep get-time-of-day inside what dates can express
            return [PARAMETER_ERROR]
        self.offset = offset
        return [OK]

    def _set_xive(self, args: list[int]) -> list[int]:
        return [OK if len(args) == 3 and self._xics.set_xive(*args) else PARAMETER_ERROR]

    def _get_xive(self, args: list[int]) -> list[int]:
        found = self._xics.get_xive(args[0]) if len(args) == 1 else None
        return [PARAMETER_ERROR] if found is None else [OK, *found]

    def _enable(self, args: list[int], on: bool) -> list[int]:
        return [OK if len(args) == 1 and self._xics.enable(args[0], on) else PARAMETER_ERROR]

    def _running(self, cpu: int) -> bool | None:
        if self._processors is None:
            return True if cpu == 0 else None
        return self._processors.running(cpu)

    def _cpu_state(self, args: list[int]) -> list[int]:
        running = self._running(args[0]) if len(args) == 1 else None
        return [PARAMETER_ERROR] if running is None else [OK, RUNNING if running else STOPPED]

    def _start_cpu(self, args: list[int]) -> list[int]:
        """CPU, where it starts in real mode, its r3."""
        if len(args) != 3 or self._processors is None or self._running(args[0]) is not False:
            return [PARAMETER_ERROR]
        self._processors.start(self._caller, *args)
        return [OK]

    def _stop_self(self, args: list[int]) -> list[int]:
        """Does not return, where there is somebody to stop it."""
        if args or self._processors is None:
            return [PARAMETER_ERROR]
        self._processors.stop(self._caller)
        return [OK]

    # ------------------------------------------------------------------- Device
    def save(self) -> State:
        return {"version": 1, "offset": self.offset}

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"rtas: state version {state['version']}")
        self.offset = state["offset"]
