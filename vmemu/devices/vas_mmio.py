# SPDX-License-Identifier: GPL-2.0-or-later
"""Window contexts in device memory (HVWC): how a kernel that owns the switchboard opens windows and returns credits.

512 bytes for each window, 64-bit registers, big-endian; offsets and fields as arch/powerpc/platforms/powernv/vas.h has them.
The engine hands a doubleword over as two words, the upper one first: it is kept until the lower one comes.
"""

from __future__ import annotations

from vmemu.devices.base import Quiet, State
from vmemu.devices.vas import Kind, Vas, Window
from vmemu.isa.base import Field, Format, bit

CONTEXT_SIZE = 512
WINDOWS = 512
MASK32 = (1 << 32) - 1


def _ibm(name: str, first: int, last: int) -> Field:
    """Bits first:last in IBM's order, 0 = most significant."""
    return Field(name, 63 - first, 63 - last)


XLATE_MSR = Format("XLATE_MSR", (_ibm("HV", 0, 0), _ibm("SF", 1, 1), _ibm("DR", 2, 2), _ibm("PR", 3, 3)))
WINCTL = Format("WINCTL", (
    bit("OPEN", 63), bit("REJ_NO_CREDIT", 62), bit("PIN", 61), bit("TX_WCRED_MODE", 60), bit("RX_WCRED_MODE", 59), bit("FAULT_WIN", 53),
    bit("NX_WIN", 52),
))  # fmt: skip

LPID, PID, MSR, LPCR, CTL, AMR = 0x010, 0x018, 0x020, 0x028, 0x030, 0x040
FAULT_TX_WIN, HV_INTR_SRC_RA, PSWID, LFIFO_BAR = 0x050, 0x070, 0x078, 0x0A0
LRX_WCRED, TX_WCRED, LFIFO_SIZE, CONTROL, STATUS, LRFIFO_WIN_PTR = 0x0E0, 0x0F0, 0x100, 0x108, 0x110, 0x128
LRX_WCRED_ADDER, TX_WCRED_ADDER = 0x190, 0x1A0

#: The one field of each register that is kept as it is written (WINCTL apart).
FIELDS = {
    LPID: _ibm("LPID", 52, 63), PID: _ibm("PID", 44, 63), MSR: _ibm("MSR", 0, 63), LPCR: _ibm("LPCR", 0, 63), CTL: _ibm("CTL", 0, 63),
    AMR: _ibm("AMR", 0, 63), FAULT_TX_WIN: _ibm("FAULT_WIN", 48, 63), HV_INTR_SRC_RA: _ibm("RA", 8, 63), PSWID: _ibm("PSWID", 0, 31),
    LFIFO_BAR: _ibm("BAR", 8, 53), LRX_WCRED: _ibm("CREDITS", 0, 15), TX_WCRED: _ibm("CREDITS", 4, 15), LFIFO_SIZE: _ibm("SIZE", 0, 3),
    LRFIFO_WIN_PTR: _ibm("WIN", 48, 63), LRX_WCRED_ADDER: _ibm("CREDITS", 0, 15), TX_WCRED_ADDER: _ibm("CREDITS", 4, 15),
}  # fmt: skip
LARGEST_RECEIVE_KIB, LARGEST_FAULT_KIB = 32, 8192


class WindowContexts(Quiet):
    """The registers of all windows. `base` of a FIFO is a guest-physical address."""

    def __init__(self, vas: Vas) -> None:
        self._vas = vas
        self.reset()

    def reset(self) -> None:
        self._kept: dict[int, dict[int, int]] = {}
        self._upper = (-1, 0)  # offset of a register, and the upper word that was written to it

    # ------------------------------------------------------------------- access
    def read(self, offset: int, size: int) -> int:
        if size == 4 and offset % 4 == 0:
            value = self._read(offset & ~7)
            return value & MASK32 if offset & 4 else value >> 32
        return self._read(offset) if size == 8 else 0

    def write(self, offset: int, size: int, value: int) -> None:
        if size == 8:
            self._write(offset, value)
        elif size == 4 and offset % 8 == 0:
            self._upper = offset, value & MASK32
        elif size == 4 and offset % 8 == 4:
            (at, upper), self._upper = self._upper, (-1, 0)
            if at == offset & ~7:
                self._write(at, upper << 32 | value & MASK32)

    def _read(self, offset: int) -> int:
        number, register = divmod(offset, CONTEXT_SIZE)
        if register in (LRX_WCRED_ADDER, TX_WCRED_ADDER, STATUS):
            return 0
        value = self._kept.get(number, {}).get(register, 0)
        window = self._vas.windows.get(number)
        if window is None:
            return value
        if register == CONTROL:
            return WINCTL.set(value, OPEN=int(window.open))
        if register == (TX_WCRED if window.kind is Kind.SEND else LRX_WCRED):
            return FIELDS[register].set(0, window.credits)
        return value

    def _write(self, offset: int, value: int) -> None:
        number, register = divmod(offset, CONTEXT_SIZE)
        if register == CONTROL:
            self._control(number, value)
        elif register in (LRX_WCRED_ADDER, TX_WCRED_ADDER):
            self._add(number, register, FIELDS[register].get(value))
        elif register in FIELDS and self._vas.find(number) is None:
            self._kept.setdefault(number, {})[register] = value & FIELDS[register].mask

    def _add(self, number: int, register: int, n: int) -> None:
        window = self._vas.windows.get(number)
        if window is None:
            self._vas.counts["credit_surplus"] += n
        elif register == TX_WCRED_ADDER:
            self._vas.return_send_credits(window, n)
        else:
            self._vas.return_fifo_credits(window, n)

    def _control(self, number: int, value: int) -> None:
        value &= sum(field.mask for field in WINCTL.fields)
        registers = self._kept.setdefault(number, {})
        window = self._vas.find(number)
        if window is None and WINCTL.get(value, "OPEN"):
            registers[CONTROL] = value
            made = self._window(number, registers)
            if made is None or not self._vas.open(made):
                registers[CONTROL] = WINCTL.set(value, OPEN=0)
            return
        registers[CONTROL] = value
        if window is not None and not WINCTL.get(value, "OPEN"):
            self._vas.close(window)

    # ----------------------------------------------------------- what is written
    def _window(self, number: int, registers: dict[int, int]) -> Window | None:
        """The window that the registers describe; None: no kind of window is like that."""

        def get(register: int) -> int:
            return FIELDS[register].get(registers.get(register, 0))

        control, msr = registers[CONTROL], registers.get(MSR, 0)
        fault, receive = WINCTL.get(control, "FAULT_WIN"), WINCTL.get(control, "NX_WIN")
        if fault and receive:
            return None
        if fault or receive:
            kib = 1 << get(LFIFO_SIZE)
            if kib > (LARGEST_FAULT_KIB if fault else LARGEST_RECEIVE_KIB):
                return None
            kind = Kind.FAULT if fault else Kind.RECEIVE
            return Window(number, kind, get(LRX_WCRED), fifo=registers.get(LFIFO_BAR, 0), entries=kib * 1024 // 128)
        translated = XLATE_MSR.get(msr, "DR")
        if translated != XLATE_MSR.get(msr, "PR"):
            return None
        return Window(
            number, Kind.SEND, get(TX_WCRED), pid=get(PID) if translated else None, pswid=get(PSWID), receive=get(LRFIFO_WIN_PTR),
            fault=get(FAULT_TX_WIN), port=get(HV_INTR_SRC_RA),
        )  # fmt: skip

    # -------------------------------------------------------------------- state
    def save(self) -> State:
        return {
            "version": 1,
            "upper": list(self._upper),
            "windows": {str(n): {str(r): v for r, v in sorted(kept.items())} for n, kept in sorted(self._kept.items())},
        }

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"vas contexts: state version {state['version']}")
        self._upper = (state["upper"][0], state["upper"][1])
        self._kept = {int(n): {int(r): v for r, v in kept.items()} for n, kept in state["windows"].items()}
