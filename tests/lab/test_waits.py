# SPDX-License-Identifier: GPL-2.0-or-later
"""The wait graph: who waits for ever, in a cycle or for what nothing brings; and what it says of real stalls."""

from __future__ import annotations

from helpers.watched import names, storm
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.lab.models.base import Wait
from vmemu.lab.models.waits import WaitGraph

NODES = "abcdefg"
EDGES = st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from([*NODES, ""])), max_size=12)


def reference(edges: list[tuple[str, str]]) -> set[str]:
    """Who goes on some day: the least set that holds whoever waits only for members of it, or for what ends by itself."""
    ending: set[str] = set()
    while True:
        more = {n for n, _ in edges if all(on == "" or on in ending for waiter, on in edges if waiter == n)}
        if more == ending:
            return ending
        ending = more


@settings(max_examples=150, deadline=None)
@given(EDGES)
def test_ends_and_cycles(edges: list[tuple[str, str]]) -> None:
    graph = WaitGraph(Wait(waiter, on, "so") for waiter, on in edges)
    ending = reference(edges)
    assert {node for node in graph.edges if graph.ends(node)} == ending
    for ring in graph.cycles():
        assert not set(ring) & ending
        assert all((a, b) in edges for a, b in zip(ring, [*ring[1:], ring[0]], strict=True))
    stuck = set(graph.edges) - ending
    assert bool(graph.lines()) == bool(stuck)
    if stuck and not graph.cycles():
        assert set(graph.dead_ends()) - set(graph.edges)


def test_chains_in_words() -> None:
    sleeps, waits = Wait("task 3", "token 0x2000", "sleeps"), Wait("token 0x2000", "vCPU 0", "no ACK")
    graph = WaitGraph([sleeps, waits, Wait("vCPU 0", "task 3", "spins")])
    assert graph.cycles() == [["task 3", "token 0x2000", "vCPU 0"]]
    assert "which is a cycle of 3" in graph.lines()[0]
    graph = WaitGraph([Wait("task 3", "page 0x5", "away"), Wait("page 0x5", "", "its I/O ends at 90 ns")])
    assert graph.lines() == [] and graph.chain("task 3").endswith("page 0x5: its I/O ends at 90 ns")


def test_a_lost_announcement() -> None:
    _, found, _ = storm("kvm", smp=2, inject=("apf.ready:9:drop",))
    text = next(v.text for v in found if v.text.startswith("stalled"))
    assert "LIVE" in names(found) and "waits for announcement on vCPU" in text and "which nothing under way will bring" in text
    assert "task " in text and "sleeps on it, told on vCPU" in text
