# SPDX-License-Identifier: GPL-2.0-or-later
"""What pyproject.toml cannot say: the C units, and the guest images that go into the wheel."""

import json
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MANIFEST = Path("guest_images/images/manifest.json")


class BuildWithImages(build_py):
    """Copies the built images to vmemu/_data, in the layout of the checkout (vmemu/machine/images.py reads both)."""

    def run(self) -> None:
        super().run()
        if not getattr(self, "editable_mode", False):
            for path in self._images():
                target = Path(self.build_lib) / "vmemu" / "_data" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, target)

    def _images(self) -> list[Path]:
        if not (ROOT / MANIFEST).is_file():
            raise SystemExit(f"{MANIFEST} is missing: run `make images`")
        return [MANIFEST, *map(Path, json.loads((ROOT / MANIFEST).read_text())["images"])]


setup(
    cffi_modules=["cffi_build.py:ffibuilder", "cffi_build.py:nx", "cffi_build.py:tce"],
    cmdclass={"build_py": BuildWithImages},
)
