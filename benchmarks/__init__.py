"""Measurements against peers, each in one run: ``python -m benchmarks.<name>``."""

import os

# Read once, when torch is loaded: its threads then sleep after a parallel region, where by default they go on spinning
# and hold up those of the physics (by 6 %). The command line sets the same.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
