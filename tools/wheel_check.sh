#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Build the wheel, install it in a fresh environment and boot every architecture from a folder outside the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v "${PYTHON:-python3}")
out=$PWD/build/wheel
rm -rf "$out" build/lib build/bdist.*
mkdir -p "$out"
"$python" -m build -q --wheel --outdir "$out" .
"$python" -m venv "$out/venv"
"$out/venv/bin/pip" install -q --disable-pip-version-check "$out"/vmemu-*.whl
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
cd "$elsewhere"
unset PYTHONPATH
"$out/venv/bin/python" -I -c 'import vmemu; assert "site-packages" in vmemu.__file__, vmemu.__file__'
"$out/venv/bin/vmemu" images --check
for isa in x86_64 arm64 ppc64; do
    timeout 120 "$out/venv/bin/vmemu" boot walk --isa "$isa" -m 32M --resident 4M --store file:swap --append "pages=2048 passes=1" \
        --json "$isa.json"
    "$out/venv/bin/python" -I -c "import json; r = json.load(open('$isa.json')); assert r['status'] == 0 and r['swap_ins'] > 0, r"
done
echo "wheel: works outside the checkout"
