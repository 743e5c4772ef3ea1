# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain Unicorn: what benchmarks compare the engine with, in its fastest sensible configuration.

No hooks while it is timed. Data is mapped without EXEC: stores to a page that may hold code are slow.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any

import unicorn
from unicorn import arm64_const, ppc_const, x86_const
from unicorn.unicorn_py3 import unicorn as binding

from vmemu.core import ffi, lib
from vmemu.errors import EngineError

_ARCH = {
    "x86_64": (unicorn.UC_ARCH_X86, unicorn.UC_MODE_64),
    "arm64": (unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM),
    "ppc64": (unicorn.UC_ARCH_PPC, unicorn.UC_MODE_PPC64 | unicorn.UC_MODE_BIG_ENDIAN),
}
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
        self.uc: Any = unicorn.Uc(*_ARCH[isa])
        self._counter = ctypes.c_uint64(0)
        self._fills = ctypes.c_uint64(0)
        if isa == "arm64":
            self.uc.ctl_set_page_size(4096)  # must be the very first call
        if virtual if virtual is not None else isa == "ppc64":
            self.uc.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
            self._hook(unicorn.UC_HOOK_TLB_FILL, "identity", self._fills)
        if isa == "ppc64":
            self.uc.reg_write(ppc_const.UC_PPC_REG_MSR, 1 << 63 | 1 << 12)
            self.uc.hook_add(unicorn.UC_HOOK_INTR, lambda uc, *_: uc.emu_stop())

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

    def set_tables(self, root: int) -> None:
        """Turn on the engine's own stage-1 translation: x86 CR3, or arm64 TTBR0 with T0SZ 25."""
        if self.isa == "x86_64":
            for register, value in ((x86_const.UC_X86_REG_CR3, root), (x86_const.UC_X86_REG_CR4, 1 << 5),
                                    (x86_const.UC_X86_REG_CR0, 1 << 31 | 1 << 16 | 1 << 4 | 1)):
                self.uc.reg_write(register, value)
        elif self.isa == "arm64":
            self._system(2, 0, 2, 1 << 23 | 25)  # TCR_EL1
            self._system(2, 0, 0, root)  # TTBR0_EL1
            self._system(1, 0, 0, self._system(1, 0, 0) | 1)  # SCTLR_EL1.M

    def _system(self, crn: int, crm: int, op2: int, value: int | None = None) -> int:
        key = (crn, crm, 3, 0, op2)
        if value is None:
            return int(self.uc.reg_read(arm64_const.UC_ARM64_REG_CP_REG, key))
        self.uc.reg_write(arm64_const.UC_ARM64_REG_CP_REG, (*key, value))
        return value

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

    def register(self, name: str) -> int:
        """By the assembler's register names."""
        modules = {"x86_64": (x86_const, "X86"), "arm64": (arm64_const, "ARM64"), "ppc64": (ppc_const, "PPC")}
        const, prefix = modules[self.isa]
        short = name[1:] if self.isa == "ppc64" else name.upper()
        return int(self.uc.reg_read(getattr(const, f"UC_{prefix}_REG_{short}")))
