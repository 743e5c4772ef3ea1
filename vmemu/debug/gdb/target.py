# SPDX-License-Identifier: GPL-2.0-or-later
"""Target descriptions: which registers a vCPU has for gdb, in which order, and where they are in the vCPU.

gdb knows each architecture's own features by name and wants their registers complete, with its names and sizes (GDB manual, G.5
"Standard Target Features"). All that vmemu has besides is a feature of its own, made from the isa room's data, bit-fields and all.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from xml.sax.saxutils import quoteattr

from vmemu.core import CoreVcpu
from vmemu.debug.gdb import arm64, ppc64, x86_64
from vmemu.debug.gdb.slots import Feature, Slot, whole
from vmemu.isa import load_isa
from vmemu.isa.base import Format, Register

PORTS = {"x86_64": x86_64.PORT, "arm64": arm64.PORT, "ppc64": ppc64.PORT}
#: Groups of the isa room that gdb's own features cover, or that no guest can see.
_COVERED = ("general", "vector", "float", "simd", "hidden")


class Target:
    """The registers of one architecture for gdb. Numbers are places in `slots`."""

    def __init__(self, isa: str) -> None:
        self.isa = load_isa(isa)
        self.port = PORTS[isa]
        standard = [slot for feature in self.port.features for slot in feature.slots]
        known = {slot.name for slot in standard}
        own = [r for r in self.isa.registers if r.group not in _COVERED and r.name not in known]
        system = Feature(f"org.vmemu.{isa}.system", tuple(_system(r) for r in own))
        self.features = (*self.port.features, system)
        self.slots = (*standard, *system.slots)
        self.number = {slot.name: i for i, slot in enumerate(self.slots)}
        self._formats = {r.format.name: r.format for r in self.isa.registers if r.format is not None}

    # --------------------------------------------------------------- values
    def _bytes(self, slot: Slot, value: int) -> bytes:
        return value.to_bytes(slot.bits // 8, "big" if self.isa.big_endian else "little")

    def read(self, vcpu: CoreVcpu, number: int) -> bytes:
        """A register in the guest's byte order. Raises IndexError."""
        slot = self.slots[number]
        return self._bytes(slot, slot.read(vcpu))

    def sp(self, vcpu: CoreVcpu) -> int:
        """The stack pointer in use."""
        return self.slots[self.number[self.port.sp]].read(vcpu)

    def read_all(self, vcpu: CoreVcpu) -> bytes:
        """All, one behind the other: the reply to `g`."""
        return b"".join(self._bytes(slot, slot.read(vcpu)) for slot in self.slots)

    def changes(self, vcpu: CoreVcpu, number: int, data: bytes) -> list[tuple[str, int]]:
        """(register of the isa room, value) that a write changes. Raises IndexError, or ValueError for a wrong size."""
        slot = self.slots[number]
        if len(data) != slot.bits // 8:
            raise ValueError(f"{slot.name} has {slot.bits // 8} bytes")
        return slot.split(vcpu, int.from_bytes(data, "big" if self.isa.big_endian else "little"))

    def split(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(number, bytes) of each register in the data of `G`. Raises ValueError when the size is wrong."""
        if len(data) != sum(slot.bits // 8 for slot in self.slots):
            raise ValueError("that is not all registers")
        at = 0
        for number, slot in enumerate(self.slots):
            yield number, data[at : at + slot.bits // 8]
            at += slot.bits // 8

    # ------------------------------------------------------------------ XML
    @cached_property
    def xml(self) -> bytes:
        """target.xml. The guest has no operating system that gdb knows."""
        features = "".join(self._feature(feature) for feature in self.features)
        return (
            '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">'
            f"<target><architecture>{self.port.arch}</architecture><osabi>none</osabi>{features}</target>"
        ).encode()

    def _feature(self, feature: Feature) -> str:
        types = dict.fromkeys((slot.type, slot.bits) for slot in feature.slots if slot.type in self._formats)
        flags = "".join(_flags(self._formats[name], bits) for name, bits in types)
        registers = "".join(self._register(slot) for slot in feature.slots)
        return f"<feature name={quoteattr(feature.name)}>{feature.types}{flags}{registers}</feature>"

    def _register(self, slot: Slot) -> str:
        group = f" group={quoteattr(slot.group)}" if slot.group else ""
        kind = f"{slot.type}{slot.bits}" if slot.type in self._formats else slot.type
        return (
            f"<reg name={quoteattr(slot.name)} bitsize={quoteattr(str(slot.bits))} type={quoteattr(kind)}"
            f" regnum={quoteattr(str(self.number[slot.name]))}{group}/>"
        )


def _system(register: Register) -> Slot:
    bits = -(-register.bits // 8) * 8
    kind = register.format.name if register.format is not None and bits in (32, 64) else f"uint{bits}"
    return whole(register.name, bits, kind, group="system")


def _flags(form: Format, bits: int) -> str:
    """A type of gdb's from bit-fields: it prints the names of bits that are set, and words for numbers."""
    size = str(bits // 8)
    enums, fields = "", ""
    for field in form.fields:
        if field.hi >= bits:
            continue
        kind = f"uint{bits}" if field.hi != field.lo else ""
        if field.values:
            kind = f"{form.name}{bits}_{field.name}"
            words = "".join(f"<evalue name={quoteattr(word)} value={quoteattr(str(n))}/>" for n, word in field.values)
            enums += f"<enum id={quoteattr(kind)} size={quoteattr(size)}>{words}</enum>"
        type = f" type={quoteattr(kind)}" if kind else ""
        fields += f'<field name={quoteattr(field.name)} start="{field.lo}" end="{field.hi}"{type}/>'
    return f"{enums}<flags id={quoteattr(form.name + str(bits))} size={quoteattr(size)}>{fields}</flags>"
