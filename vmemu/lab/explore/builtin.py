# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios that are always there: the smallest one of each architecture, and the storm."""

from __future__ import annotations

from vmemu.lab.explore.scenario import Scenario, register

PROFILES = {"x86_64": "kvm", "arm64": "sdei", "ppc64": "papr"}
#: What may happen to a protocol that keeps its promises.
_BENIGN = ("apf.kick:delay=100us", "apf.io:delay=100us,delay=10us")
#: The page of the program's code, which it needs again after its first system call.
_CODE = {"x86_64": 0x1000, "arm64": 0x40002000, "ppc64": 0xC000}

for _isa, _apf in PROFILES.items():
    register(Scenario(
        name=f"smallest-{_isa}",
        text=f"one page fault of one program, told by {_apf}; then it ends",
        isa=_isa, image="hello", start="syscall:1", setup=(f"evict {_CODE[_isa]:#x}",), cycles=20_000_000,
        options={"apf": _apf, "latency": "zram", "memory": "16M"},
        actions=("evict",), events=_BENIGN,
    ))  # fmt: skip
    register(Scenario(
        name=f"storm-{_isa}",
        text=f"tasks that share pages on two vCPUs, little memory, told by {_apf}",
        isa=_isa, image="storm", start="fault_swap:1", cycles=400_000_000,
        options={"apf": _apf, "latency": "nvme", "memory": "16M", "resident": "2M", "smp": 2, "store_buffer": True,
                 "append": "tasks=4 pages=24 passes=1 shared=8"},
        actions=("evict",), events=(*_BENIGN, "store.read:delay=100us"),
    ))  # fmt: skip
