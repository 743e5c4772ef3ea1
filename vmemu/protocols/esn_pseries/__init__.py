# SPDX-License-Identifier: GPL-2.0-or-later
"""Expropriation/Subvention Notification of pseries partitions, in two profiles: `papr` and `rfc`.

    wire.py       what lies where, which bits, what the RFC does otherwise
    sns.py        the SNS area: registration, the ring, the trigger
    numbers.py    correlation numbers
"""
