"""A process that takes training steps when it is told to, so that several can take turns.

    python -m benchmarks.steps resnet18 16 224 [--as-runs]

reads lines such as `bf16 2 3` (precision, threads, steps) and answers each with a line of JSON:
seconds on the clock and of processor time for one step. With `--as-runs` its threads stay on their
cores as those of a run do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Self

from benchmarks.harness import OPENMP, config


def main() -> None:
    """Answer until the input ends."""
    import torch

    from img2gps.config.schema import Precision
    from img2gps.core import hardware
    from img2gps.core.pinning import pinned
    from img2gps.training import model
    from img2gps.training.step import TimedStep
    from img2gps.training.weights import ResolvedWeights

    name, photos, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    as_runs = "--as-runs" in sys.argv
    hardware.keep_freed_memory()
    net = model.build(config(f"model={name}").model, ResolvedWeights("none", "none"))
    step = TimedStep(net, photos, size)
    print("ready", flush=True)
    for line in sys.stdin:
        precision, threads, count = line.split()
        torch.set_num_threads(int(threads))
        with pinned(int(threads)) if as_runs else nullcontext():
            began, used = time.perf_counter(), time.process_time()
            for _ in range(int(count)):
                step.seconds(Precision(precision))
        times = time.perf_counter() - began, time.process_time() - used
        print(json.dumps([seconds / int(count) for seconds in times]), flush=True)


class Stepper:
    """That process, with OpenMP's threads as those of runs are, or as torch lets them."""

    def __init__(self, model: str, photos: int, size: int, *, as_runs: bool) -> None:
        env = {key: value for key, value in os.environ.items() if key not in OPENMP}
        command = [sys.executable, "-m", "benchmarks.steps", model, str(photos), str(size)]
        if as_runs:
            command.append("--as-runs")
        else:  # a setting of another OpenMP, so that `wait_passively` leaves ours alone
            env["KMP_BLOCKTIME"] = "200"
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._line() != "ready":
            raise RuntimeError(f"{' '.join(command)}: ended with {self.process.wait()}")

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def begin(self, precision: str, threads: int, count: int = 1) -> None:
        """Tell it to take steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{precision} {threads} {count}\n")
        self.process.stdin.flush()

    def seconds(self) -> tuple[float, float]:
        """Wait for its answer: seconds of a step on the clock and of processor time."""
        clock, processor = json.loads(self._line())
        return clock, processor

    def __enter__(self) -> Self:
        """Return the process, which is ready."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


class Busy:
    """A single-threaded program that never rests."""

    def __enter__(self) -> Self:
        """Start it."""
        self.process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


if __name__ == "__main__":
    main()
