# SPDX-License-Identifier: GPL-2.0-or-later
"""POWER VAS and NX: a switchboard with a gzip engine behind it, owned by the guest's kernel (`native`) or by the hypervisor
(`powervm`). docs/vas.md is what guests see.
"""
