# SPDX-License-Identifier: GPL-2.0-or-later
"""Client architecture support (LoPAR 2.9, "ibm,client-architecture-support"): what a partition and its platform agree upon.

Open Firmware's method has no place on a board without Open Firmware, so it is reached by the hypercall that QEMU's firmware
makes of it: H_CAS 0xf002 (r4 = vectors, r5 = buffer for the answer or 0, r6 = its size). The argument is a list of (mask, PVR)
pairs of 32 bits, ended by one whose PVR has bits outside of its mask; then the number of option vectors less one; then each
vector: its length less one, and its bytes. The answer is the agreed option vector 5, as the property
``ibm,architecture-vec-5`` of /chosen holds it: the length, and so many bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from vmemu.devices.base import Quiet, State
from vmemu.devices.papr import H_HARDWARE, H_P2, H_PARAMETER, NoWindow, Refused

PVR = 0x0080_0100  # POWER10, what the engine is
MOST_PVRS = 512
#: Option vector 5: byte (counted from 1, after the length) and its mask. CMO: bit 0 of byte 4.
VECTOR5_BYTES = 8
CMO = (4, 0x80)


class Cas(NoWindow, Quiet):
    """The agreement of one partition. `offered[i]` is what the platform can do, of byte i + 1 of option vector 5."""

    def __init__(
        self, is_ram: Callable[[int, int], bool], read: Callable[[int, int], bytes], write: Callable[[int, bytes], None]
    ) -> None:
        self._is_ram, self._read, self._write = is_ram, read, write
        self.offered = bytearray(VECTOR5_BYTES)
        self.reset()

    def reset(self) -> None:
        self.agreed = bytes(VECTOR5_BYTES)

    def offer(self, option: tuple[int, int], on: bool = True) -> None:
        """Have the platform offer an option of vector 5, or not."""
        byte, mask = option
        self.offered[byte - 1] = self.offered[byte - 1] & ~mask | (mask if on else 0)

    def has(self, option: tuple[int, int]) -> bool:
        """Agreed upon?"""
        byte, mask = option
        return self.agreed[byte - 1] & mask == mask

    def call(self, vectors: int, buffer: int, size: int) -> None:
        """H_CAS. A later agreement replaces an earlier one. Raises Refused, with nothing changed."""
        wanted = self._vector5(vectors)
        if buffer and (size < 1 + VECTOR5_BYTES or not self._is_ram(buffer, 1 + VECTOR5_BYTES)):
            raise Refused(H_P2)
        self.agreed = bytes(a & b for a, b in zip(wanted, self.offered, strict=True))
        if buffer:
            self._write(buffer, bytes([VECTOR5_BYTES]) + self.agreed)

    def _vector5(self, at: int) -> bytes:
        """The client's option vector 5, as long as ours; zeros when it sends none."""
        known = False
        for _ in range(MOST_PVRS):
            entry = self._bytes(at, 8)
            mask, value = int.from_bytes(entry[:4], "big"), int.from_bytes(entry[4:], "big")
            at += 8
            known = known or PVR & mask == value
            if value & ~mask & 0xFFFF_FFFF:
                break
        else:
            raise Refused(H_PARAMETER)
        if not known:
            raise Refused(H_HARDWARE)
        count = self._bytes(at, 1)[0] + 1
        at += 1
        for number in range(1, count + 1):
            length = self._bytes(at, 1)[0] + 1
            if number == 5:
                return self._bytes(at + 1, length)[:VECTOR5_BYTES].ljust(VECTOR5_BYTES, b"\0")
            at += 1 + length
        return bytes(VECTOR5_BYTES)

    def _bytes(self, at: int, size: int) -> bytes:
        if not self._is_ram(at, size):
            raise Refused(H_PARAMETER)
        return self._read(at, size)

    # ------------------------------------------------------------------- Device
    def save(self) -> State:
        return {"version": 1, "agreed": self.agreed.hex()}

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"cas: state version {state['version']}")
        agreed = bytes.fromhex(state["agreed"])
        if len(agreed) != VECTOR5_BYTES:
            raise ValueError("cas: an agreement of another length")
        self.agreed = agreed
