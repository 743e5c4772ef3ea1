# SPDX-License-Identifier: GPL-2.0-or-later
"""The calls in virtual mode: takes up what real mode left, or starts over. Errors are for user space unless the profile says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.devices.papr import H_SUCCESS
from vmemu.errors import StoreError
from vmemu.protocols.tce.kernel import Kernel, NoPage
from vmemu.protocols.tce.native import GIVEN, MAPPED, Host, Table
from vmemu.protocols.tce.profiles import No, Place, Rules, first_bad, locate
from vmemu.protocols.tce.wire import H_LONG_BUSY_1MS, TOO_HARD, Answer, Call, Later, Marker, Token

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu


class Virtual:
    """`keep`: entries stored before one that fails stay (KVM); else a failing call changes nothing (LoPAR 5.4.2.4)."""

    def __init__(self, kernel: Kernel, rules: Rules, keep: bool) -> None:
        self.kernel, self.rules, self.keep = kernel, rules, keep
        #: Switches of the bug zoo that virtual mode has.
        self.rollback_from_0 = self.keep_marker = False

    @property
    def host(self) -> Host:
        return self.kernel.host

    def call(self, vcpu: CoreVcpu, call: Call) -> Answer:
        """Finish a call that real mode refused, or never saw. What it left is taken over or let go, whatever happens."""
        cpu = self.host.cpu(vcpu.id)
        for held in (int(cpu.list_page), int(cpu.stray)):  # the list is copied: its page is not needed any more
            if held:
                self.kernel.unpin(held)
        cpu.list_page = cpu.stray = 0
        try:
            marker = Marker(cpu.marker)
            return self._start(vcpu, call) if marker is Marker.NONE else self._resume(vcpu, call, marker)
        except No as no:
            return no.answer if isinstance(no.answer, Later) else (no.answer, None)
        finally:
            if not self.keep_marker:
                self.host.forget(vcpu.id)

    # ------------------------------------------------------------- beginning
    def _start(self, vcpu: CoreVcpu, call: Call) -> Answer:
        place = locate(self.rules, self._find, call)
        table = self.host.tables[place.table]
        if call.token is Token.GET:
            return H_SUCCESS, self.host.read(table, GIVEN, place.index)
        return self._check(vcpu, table, place.index, self._values(vcpu, call, place), [])

    def _check(self, vcpu: CoreVcpu, table: Table, index: int, values: list[int], mapped: list[int]) -> Answer:
        """Every entry is looked at before the first is stored, or before its turn comes, as the profile has it."""
        bad = first_bad(self.rules, self.kernel.is_memory, values)
        if bad is None:
            return self._change(vcpu, table, index, values, mapped)
        if self.rules.all_or_none:
            self.kernel.unpin_all(mapped)
        elif self._change(vcpu, table, index, values[: bad[0]], mapped) is TOO_HARD:
            return TOO_HARD
        raise No(bad[1])

    def _find(self, liobn: int) -> tuple[int, Table] | None:
        found = self.host.find(liobn)
        return found if found is not None and found[1].in_kernel else None

    def _values(self, vcpu: CoreVcpu, call: Call, place: Place) -> list[int]:
        """The entries asked for, from a private copy of the list."""
        if call.token is not Token.INDIRECT:
            return [call.value] * place.count
        if not self.kernel.is_memory(call.value):
            raise No(TOO_HARD)
        memory = self.kernel.machine.memory
        try:
            if not memory.serve(vcpu, call.value):
                raise No(TOO_HARD)
            data = memory.read(call.value, 8 * place.count)
        except StoreError:
            raise No(TOO_HARD) from None
        return [int.from_bytes(data[i : i + 8], "big") for i in range(0, len(data), 8)]

    # ------------------------------------------------------------ going on
    def _resume(self, vcpu: CoreVcpu, call: Call, marker: Marker) -> Answer:
        cpu, host = self.host.cpu(vcpu.id), self.host
        num, total, index, table = int(cpu.num), int(cpu.total), int(cpu.index), host.tables[int(cpu.table)]
        given, mapped = host.left(vcpu.id, GIVEN, total), host.left(vcpu.id, MAPPED, total)
        if marker is Marker.PUT_LIST:
            return H_SUCCESS, None
        if marker is Marker.DROP_OLD:
            self.kernel.unpin_all(mapped[num:])
            return H_SUCCESS, None
        return self._check(vcpu, table, index, given, mapped[:num])

    def _change(self, vcpu: CoreVcpu, table: Table, index: int, values: list[int], mapped: list[int]) -> Answer:
        """References for the entries that have none yet, then the exchange, then the old ones' references.

        `mapped` holds those that real mode has got: one for each entry, tables of 4 KiB pages only.
        """
        kernel, done = self.kernel, len(mapped)
        try:
            for value in values[done:]:
                mapped += kernel.pin_entry(vcpu, table, value)
                done += 1
        except NoPage as error:
            if error.code == H_LONG_BUSY_1MS:
                kernel.unpin_all(mapped)
                kernel.ask_for(vcpu, values[done:])
                return error.code, None
            if self.keep:
                kernel.unpin_all(kernel.store(table, index, [*values[:done], 0], [*mapped, *[0] * table.parts]))
            elif not self.rollback_from_0:
                kernel.unpin_all(mapped)
            return TOO_HARD
        kernel.unpin_all(kernel.store(table, index, values, mapped))
        return H_SUCCESS, None
