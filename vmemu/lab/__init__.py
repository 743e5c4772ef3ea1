# SPDX-License-Identifier: GPL-2.0-or-later
"""Floor 7: models, exploration, the zoo of bugs, benchmarks. Above `debug`, whose traces its failures leave."""
