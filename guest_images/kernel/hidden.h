/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Included before every x86-64 C file: all symbols are in this image, so no access needs a GOT. */
#pragma GCC visibility push(hidden)
