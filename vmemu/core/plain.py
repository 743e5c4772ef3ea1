# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain Unicorn: what benchmarks compare the engine with, in its fastest sensible configuration.

No hooks while it is timed. Data is mapped without EXEC: stores to a page that may hold code are slow.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import unicorn
from unicorn import ppc_const, x86_const
from unicorn.unicorn_py3 import unicorn as binding

from vmemu.core import ffi, lib
from vmemu.errors import EngineError

_ARCH = {
    "x86_64": (unicorn.UC_ARCH_X86, unicorn.UC_MODE_64),
    "arm64": (unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM),
    "ppc64": (unicorn.UC_ARCH_PPC, unicorn.UC_MODE_PPC64 | unicorn.UC_MODE_BIG_ENDIAN),
}
_Uc: Any = unicorn.Uc  # type: ignore[attr-defined]
READ, WRITE, EXEC = unicorn.UC_PROT_READ, unicorn.UC_PROT_WRITE, unicorn.UC_PROT_EXEC


class Plain:
    """One plain engine.

    Args:
        isa: architecture name.
        virtual: use UC_TLB_VIRTUAL with an identity fill in C instead of the CPU's own TLB (ppc64 needs it). The
            calls of the fill are counted in `fills`.
    """

    def __init__(self, isa: str, *, virtual: bool | None = None) -> None:
        self.isa = isa
        self.uc: Any = _Uc(*_ARCH[isa])
        self._counter = ctypes.c_uint64(0)
        self._fills = ctypes.c_uint64(0)
        self._hypercall: Callable[[int], None] | None = None
        if isa == "arm64":
            self.uc.ctl_set_page_size(4096)  # must be the very first call
        if virtual if virtual is not None else isa == "ppc64":
            self.uc.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
            self._hook(unicorn.UC_HOOK_TLB_FILL, "identity", self._fills)
        if isa == "ppc64":
            self.uc.reg_write(ppc_const.UC_PPC_REG_MSR, 1 << 63 | 1 << 12)
            self.uc.hook_add(unicorn.UC_HOOK_INTR, self._on_ppc_interrupt)

    def _hook(self, kind: int, callback: str, user: ctypes.c_uint64) -> None:
        handle = ctypes.c_size_t(0)
        function = int(ffi.cast("uintptr_t", lib.bench_callback(callback.encode())))
        status = binding.uclib.uc_hook_add(
            self.uc._uch, ctypes.byref(handle), kind, ctypes.c_void_p(function), ctypes.byref(user),
            ctypes.c_uint64(1), ctypes.c_uint64(0),
        )  # fmt: skip
        if status:
            raise EngineError(f"plain Unicorn refused a hook: {status}")

    @property
    def fills(self) -> int:
        """TLB fills, when `virtual`."""
        return int(self._fills.value)

    def map(self, address: int, size: int, rights: int) -> None:
        self.uc.mem_map(address, size, rights)

    def write(self, address: int, data: bytes) -> None:
        self.uc.mem_write(address, data)

    def set_stack(self, address: int) -> None:
        """The x86 stack pointer; the other architectures' code sets its own."""
        if self.isa == "x86_64":
            self.uc.reg_write(x86_const.UC_X86_REG_RSP, address)

    def serve_bench(self, out: bytearray) -> None:
        """The devices of the image bench-cpu: what it prints goes to `out`; power-off stops the run."""
        if self.isa == "x86_64":

            def on_out(uc: Any, port: int, size: int, value: int, user: object) -> None:
                if port == 0x3F8:
                    out.append(value & 0xFF)
                else:
                    uc.emu_stop()

            self.uc.hook_add(unicorn.UC_HOOK_INSN, on_out, None, 1, 0, x86_const.UC_X86_INS_OUT)
        elif self.isa == "arm64":
            self.uc.mmio_map(
                0x09000000, 0x1000, lambda *_: 0, None, lambda uc, offset, size, value, user: out.append(value & 0xFF), None
            )
            self.uc.hook_add(unicorn.UC_HOOK_INTR, lambda uc, number, user: uc.emu_stop())
        else:
            self._hypercall = out.append

    def _on_ppc_interrupt(self, uc: Any, number: int, user: object) -> None:
        """`sc 1`: H_PUT_TERM_CHAR prints, anything else stops. SC leaves PC behind the instruction."""
        if self._hypercall is not None and uc.reg_read(ppc_const.UC_PPC_REG_3) == 0x58:
            self._hypercall(uc.reg_read(ppc_const.UC_PPC_REG_6) >> 56)
            uc.reg_write(ppc_const.UC_PPC_REG_3, 0)
        else:
            uc.emu_stop()

    def run(self, address: int) -> float:
        """Run to HLT, WFI or a hypercall; seconds of this thread's processor time."""
        start = time.thread_time()
        self.uc.emu_start(address, 0)
        return time.thread_time() - start

    def count(self, address: int) -> int:
        """Run with a C hook on every instruction: the independent count. Untimed; the hook stays."""
        self._hook(unicorn.UC_HOOK_CODE, "count", self._counter)
        before = int(self._counter.value)
        self.uc.emu_start(address, 0)
        return int(self._counter.value) - before
