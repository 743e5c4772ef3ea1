# SPDX-License-Identifier: GPL-2.0-or-later
"""Asynchronous page faults of the KVM/arm64 series (Gavin Shan, 2020-2022, never merged): not-present by SDEI, ready by a PPI."""
