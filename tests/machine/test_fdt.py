# SPDX-License-Identifier: GPL-2.0-or-later
"""The device tree that vmemu writes is the one libfdt reads."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmemu.machine.fdt import Node, cells, cells64, flatten

libfdt = pytest.importorskip("libfdt")


def read_back(tree: Any, offset: int, name: str) -> Node:
    node = Node(name)
    at = tree.first_property_offset(offset, [libfdt.NOTFOUND])
    while at >= 0:
        prop = tree.get_property_by_offset(at)
        node.properties[prop.name] = bytes(prop)
        at = tree.next_property_offset(at, [libfdt.NOTFOUND])
    child = tree.first_subnode(offset, [libfdt.NOTFOUND])
    while child >= 0:
        node.children.append(read_back(tree, child, tree.get_name(child)))
        child = tree.next_subnode(child, [libfdt.NOTFOUND])
    return node


def same(a: Node, b: Node) -> bool:
    return (
        a.name == b.name
        and a.properties == b.properties
        and len(a.children) == len(b.children)
        and all(same(x, y) for x, y in zip(a.children, b.children, strict=True))
    )


def sample() -> Node:
    root = Node().set("#address-cells", 2).set("#size-cells", 2).set("compatible", ["vmemu,virt", "linux,dummy"])
    root.add("memory@40000000").set("device_type", "memory").set("reg", cells64(0x4000_0000, 64 << 20))
    chosen = root.add("chosen").set("bootargs", "pages=8192 passes=2").set("linux,initrd-start", cells64(1 << 40))
    chosen.set("flag")
    cpus = root.add("cpus").set("#address-cells", 1).set("#size-cells", 0)
    cpus.add("cpu@0").set("reg", 0).set("interrupts", cells(1, 13, 4))
    return root


def test_reads_back() -> None:
    root = sample()
    blob = flatten(root, reserve=[(0x1000, 0x2000)], boot_cpu=3)
    tree = libfdt.FdtRo(blob)
    assert tree.totalsize() == len(blob)
    assert same(root, read_back(tree, 0, ""))
    assert tree.boot_cpuid_phys() == 3
    assert tree.num_mem_rsv() == 1
    assert list(tree.get_mem_rsv(0)[-2:]) == [0x1000, 0x2000]
    assert tree.getprop(tree.path_offset("/chosen"), "bootargs").as_str() == "pages=8192 passes=2"
    assert tree.getprop(tree.path_offset("/cpus/cpu@0"), "reg").as_uint32() == 0


names = st.text("abcdefgh,-", min_size=1, max_size=12)


properties = st.dictionaries(names, st.binary(max_size=20), max_size=4)


@given(st.recursive(
    properties.map(lambda p: (p, {})),
    lambda kids: st.tuples(properties, st.dictionaries(names, kids, max_size=3)),
    max_leaves=12,
))
def test_any_tree_reads_back(shape: Any) -> None:
    def build(node: Node, shape: Any) -> Node:
        for name, value in shape[0].items():
            node.set(name, value)
        for name, kid in shape[1].items():
            build(node.add(name), kid)
        return node

    root = build(Node(), shape)
    assert same(root, read_back(libfdt.FdtRo(flatten(root)), 0, ""))


@pytest.mark.skipif(shutil.which("dtc") is None, reason="no dtc on this machine")
def test_dtc_accepts_it() -> None:
    out = subprocess.run(["dtc", "-I", "dtb", "-O", "dts"], input=flatten(sample()), capture_output=True, check=True)
    assert b'bootargs = "pages=8192 passes=2"' in out.stdout


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="one cell"):
        Node().set("reg", 1 << 32)
    with pytest.raises(ValueError, match="NUL"):
        Node().set("bootargs", "a\0b")
    root = Node()
    root.add("cpus")
    with pytest.raises(ValueError, match="two nodes"):
        root.add("cpus")
