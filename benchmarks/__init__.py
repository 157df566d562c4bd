"""Side by side timings: each module compares ways of doing one thing in one run, alternating.

`make bench` (`python -m benchmarks`) runs them, writes `benchmarks/results/NAME.json` and the
table in `docs/performance.md`.
"""

from img2gps.core.load import wait_passively

wait_passively()  # as every process does that trains
