# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of vector registers in target descriptions (GDB manual, G.3): a union of all ways to look at the bits."""

from __future__ import annotations

#: suffix, element type, bits of an element
_LANES = (
    ("v2_double", "ieee_double", 64), ("v4_float", "ieee_single", 32), ("v2_int64", "uint64", 64), ("v4_int32", "uint32", 32),
    ("v8_int16", "uint16", 16), ("v16_int8", "uint8", 8),
)  # fmt: skip


def union128(name: str) -> str:
    """XML of a union called `name` for 128-bit vectors."""
    vectors = "".join(f'<vector id="{name}_{lane}" type="{kind}" count="{128 // bits}"/>' for lane, kind, bits in _LANES)
    fields = "".join(f'<field name="{lane}" type="{name}_{lane}"/>' for lane, _, _ in _LANES)
    return f'{vectors}<union id="{name}">{fields}<field name="uint128" type="uint128"/></union>'
