# SPDX-License-Identifier: GPL-2.0-or-later
"""The machinery that all asynchronous page fault protocols share: per-vCPU queues of works, workers, completion.

    work.py        one page-in under way, as data
    steps.py       sequences of named atomic steps, between which Choices may let others run
    words.py       words that host threads share without a lock, with a store buffer for each thread
    references.py  who holds the VM and its address space
    ledger.py      what became of each token: counters, violations, the table at the end of a run
    pager.py       fault -> work -> worker -> completion; what a protocol adds is a subclass
    mishaps.py     notifications and I/O that the injector spoils
    halt.py        the profile `halt`: asynchronous for the host alone
"""
