# SPDX-License-Identifier: GPL-2.0-or-later
"""The calls in user space: the whole model. It answers everything, and knows nothing of the levels below but what they offer to any
program: pin a page, change an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.devices.papr import H_HARDWARE, H_PARAMETER, H_SUCCESS
from vmemu.errors import StoreError
from vmemu.protocols.tce.kernel import Kernel, NoPage
from vmemu.protocols.tce.native import GIVEN, Table
from vmemu.protocols.tce.profiles import No, Rules, first_bad, locate
from vmemu.protocols.tce.wire import Answer, Call, Later, Token

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu


class User:
    """`keep`: entries stored before one that fails stay (QEMU); else a failing call changes nothing (LoPAR 5.4.2.4)."""

    def __init__(self, kernel: Kernel, rules: Rules, keep: bool) -> None:
        self.kernel, self.rules, self.keep = kernel, rules, keep

    def call(self, vcpu: CoreVcpu, call: Call) -> Answer:
        """Always a code. What cannot be had is an error the guest can live with."""
        try:
            place = locate(self.rules, self.kernel.host.find, call)
            table = self.kernel.host.tables[place.table]
            if call.token is Token.GET:
                return H_SUCCESS, self.kernel.host.read(table, GIVEN, place.index)
            values = self._list(vcpu, call, place.count) if call.token is Token.INDIRECT else [call.value] * place.count
        except No as no:
            return self._code(no.answer), None
        bad = first_bad(self.rules, self.kernel.is_memory, values)
        code = H_SUCCESS
        if bad is not None:
            code = self._code(bad[1])
            values = [] if self.rules.all_or_none else values[: bad[0]]
        try:
            if self.keep:
                for i, value in enumerate(values):
                    self._store(vcpu, table, place.index + i, [value])
            else:
                self._store(vcpu, table, place.index, values)
        except NoPage as error:
            return error.code, None
        return code, None

    @staticmethod
    def _code(answer: int | Later) -> int:
        assert not isinstance(answer, Later), "nobody is above user space"
        return answer

    def _list(self, vcpu: CoreVcpu, call: Call, count: int) -> list[int]:
        """A private copy of the list (LoPAR 5.4.2.4). Raises No."""
        memory = self.kernel.machine.memory
        if not self.kernel.is_memory(call.value & ~0xFFF):
            raise No(H_PARAMETER)
        try:
            if not memory.serve(vcpu, call.value):
                raise No(H_HARDWARE)
            data = memory.read(call.value, 8 * count)
        except StoreError:
            raise No(H_HARDWARE) from None
        return [int.from_bytes(data[i : i + 8], "big") for i in range(0, len(data), 8)]

    def _store(self, vcpu: CoreVcpu, table: Table, index: int, values: list[int]) -> None:
        kernel, mapped = self.kernel, list[int]()
        try:
            for value in values:
                mapped += kernel.pin_entry(vcpu, table, value)
        except NoPage:
            kernel.unpin_all(mapped)
            raise
        kernel.unpin_all(kernel.store(table, index, values, mapped))
