# SPDX-License-Identifier: GPL-2.0-or-later
"""One line about a run's JSON, for `make demo`."""

import json
import sys
from pathlib import Path

run = json.loads(Path(sys.argv[1]).read_text())
print(
    f"  {run['isa']}: status {run['status']}, {run['instructions'] / 1e6:.1f} M instructions in {run['wall_s']:.2f} s, "
    f"at most {run['resident_peak']} pages resident, {run['swap_ins']} paged in, {run['swap_outs']} paged out"
)
