#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Build the C unit with ASan and UBSan in a copy of the tree, and run the tests that live in C there.
# usage: tools/sanitize.sh [pytest arguments]; PYTHON is the interpreter of an environment with the dev extras.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v "${PYTHON:-python3}")
copy=build/sanitize
rm -rf "$copy"
mkdir -p "$copy"
tar -cf - --exclude=__pycache__ --exclude='*.so' --exclude=guest_images/kernel \
    vmemu tests cffi_build.py pyproject.toml README.md guest_images firmware | tar -xf - -C "$copy"
cd "$copy"
# capstone's Python package asks for RTLD_DEEPBIND, which ASan refuses to load under.
echo 'import os; vars(os).pop("RTLD_DEEPBIND", None)' > sitecustomize.py
VMEMU_SANITIZE=1 "$python" -W ignore cffi_build.py

# Python itself is not instrumented: the runtime is preloaded, and its own leaks are not ours. Unicorn's generated code
# raises no signals; its TCG buffers are mapped outside ASan's view.
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:detect_stack_use_after_return=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export PYTHONPATH=$PWD PYTHONMALLOC=malloc VMEMU_SANITIZED=1
if [ $# -eq 0 ]; then
    set -- tests/core tests/memory tests/devices/test_nx_codec.py tests/devices/test_nx_engine.py tests/devices/test_vas_hostile.py tests/protocols/test_tce_*.py tests/cli/test_boot.py
fi
exec "$python" -m pytest -q -n auto -p no:cacheprovider "$@"
