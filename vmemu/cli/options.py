# SPDX-License-Identifier: GPL-2.0-or-later
"""The options that describe a machine: the same for every command that makes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from vmemu.memory.latency import PRESETS

ISAS = ("x86_64", "arm64", "ppc64")
F = TypeVar("F", bound=Callable[..., Any])

_MACHINE: tuple[Callable[[Any], Any], ...] = (
    click.option("--isa", type=click.Choice(ISAS), help="Architecture. Default: the image's; x86_64 for a built-in name."),
    click.option("--smp", type=click.IntRange(1, 16), default=1, show_default=True, metavar="N", help="vCPUs."),
    click.option("-m", "--memory", default="64M", show_default=True, metavar="SIZE", help="Guest memory, for example 1G."),
    click.option("--resident", metavar="SIZE", help="Most memory that may be resident at once. Default: all of it."),
    click.option("--store", default="ram:", show_default=True, metavar="STORE",
                 help="Where pages go: ram:, file:PATH, or fail:read@PAGE,STORE."),
    click.option("--latency", default="none", show_default=True, metavar="NAME",
                 help=f"Time of one page-in: {', '.join(PRESETS)}, or microseconds like 85us."),
    click.option("--keep-zeros", is_flag=True,
                 help="Pages of zeros go to the store too. Default: they are dropped, and come back at once."),
    click.option("--append", default="", metavar="TEXT", help="The guest's command line."),
    click.option("--seed", default=0, show_default=True, metavar="N", help="Seed of all choices; 0: default policy."),
    click.option("--pct", metavar="DEPTH[:SEED]", help="Choices by probabilistic concurrency testing: a bug of that depth."),
    click.option("--choices", metavar="STRING", help="The choices that another run printed."),
    click.option("--max-cycles", type=click.IntRange(min=1), metavar="N", help="Stop with status 4 after so many cycles."),
    click.option("--pin", multiple=True, metavar="LO-HI",
                 help="Guest-physical range that is never paged out. Repeatable. Multiboot: 0-32M."),
    click.option("--bug", "bugs", multiple=True, metavar="NAME", help="Switch on a known bug (vmemu bugs). Repeatable."),
    click.option("--inject", multiple=True, metavar="EVENT:K:ACTION",
                 help="Make the K-th event go wrong, as in store.read:3:fail. Repeatable."),
    click.option("--apf", default="off", show_default=True, metavar="PROFILE",
                 help="Asynchronous page faults: off, halt; x86_64 kvm, kvm-2010; arm64 sdei, ppi-only; ppc64 papr, rfc."),
    click.option("--store-buffer", is_flag=True, help="Stores of host threads wait in buffers, as the choices decide (x86-TSO)."),
    click.option("--vas", default="auto", show_default=True, metavar="OWNER",
                 help="ppc64's accelerator switchboard: native, powervm, off; auto is native."),
    click.option("--tce", default="auto", show_default=True, metavar="PROFILE",
                 help="ppc64: DMA windows and a network card; papr, kvm, kvm-4.14, qemu, off; auto: as the image asks."),
    click.option("--tce-real-mode", default="on", show_default=True, metavar="on|off", help="Answer their calls in real mode first."),
    click.option("--tce-away", default="busy", show_default=True, metavar="busy|suspend",
                 help="When they need a page that is away: answer long busy (if the guest has agreed to CMO), or wait."),
    click.option("--tce-pages", default="vmemmap", show_default=True, metavar="KIND",
                 help="The host's page structs: vmemmap, vmemmap-4k (small blocks), vmemmap-56, -72 (bytes of one), flatmem."),
    click.option("--cmo", type=click.Choice(("on", "off")), default="on", show_default=True,
                 help="ppc64: whether the platform offers cooperative memory over-commitment, which papr needs."),
    click.option("--bolt", type=click.Choice(("kernel", "none")), default="kernel", show_default=True,
                 help="What is never paged out: what the kernel declares, or (for tests) nothing of it."),
)


def machine_options(command: F) -> F:
    """Decorate a command with the options of a machine; they arrive as keywords, named as the fields of BootOptions."""
    for option in reversed(_MACHINE):
        command = option(command)
    return command


def given(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that the user has given."""
    return {name: value for name, value in options.items() if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
