# SPDX-License-Identifier: GPL-2.0-or-later
"""Expropriation/Subvention Notification of pseries partitions, in two profiles: `papr` and `rfc`.

    wire.py       what lies where, which bits, what the RFC does otherwise
    sns.py        the SNS area: registration, the ring, the trigger
    numbers.py    correlation numbers
    events.py     what became of events, and what to say when nothing goes on any more
    signal.py     the interrupt
    switches.py   known defects that are no part of a profile, and events for the injector
    pager.py      who is told what: the option on the generic layer of asynchronous page faults
"""
