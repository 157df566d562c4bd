"""The first process of a run on several devices: it starts the others and ends with them.

They are started as plain processes, because Lightning's launchers would start the command again,
which in a study is the worker, or would train in a copy of this process, which has the ledger's
connections.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from img2gps.core import process
from img2gps.core.errors import BadInput, ProcessLost
from img2gps.runs.folder import MEETING, Diverged, Pruned
from img2gps.runs.plan import RunPlan
from img2gps.runs.resume import Start
from img2gps.training.team import Team, connected

log = logging.getLogger(__name__)

OWN_ENDS = (BadInput, Diverged, Pruned)
NOTICED_S = 3.0  # until the system tells that a process has ended whose connection is lost
STUCK_S = 20.0  # after a helper's end, for this process to notice
FINISHING_S = 30.0  # for helpers to leave when the training is done
POLL_S = 0.5


@contextmanager
def leading(planned: RunPlan, start: Start) -> Iterator[Team]:
    """Start the helpers of a run, and yield the team once all are connected.

    Raises:
        ProcessLost: a helper was killed; the run can go on from its checkpoint.
        RuntimeError: a helper has failed.
    """
    trainer = planned.config.trainer
    size = trainer.devices
    if size == 1:
        yield Team()
        return
    meeting = planned.folder / MEETING
    meeting.unlink(missing_ok=True)
    helpers = Helpers(planned, start)
    try:
        helpers.wait_until_ready()
        team = Team(0, size)
        with connected(team, meeting, trainer.accelerator), helpers.ending_with_errors():
            yield team
        helpers.finish()
    finally:
        helpers.kill()
        meeting.unlink(missing_ok=True)


class Helpers:
    """The processes beside the first one."""

    def __init__(self, planned: RunPlan, start: Start) -> None:
        self._size = planned.config.trainer.devices
        self._over = threading.Event()
        command = [sys.executable, "-m", "img2gps.runs.helper", str(os.getpid())]
        self._processes = [
            subprocess.Popen(  # noqa: S603
                command,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,  # Ctrl-C reaches the first process, which ends the others
            )
            for _ in range(1, self._size)
        ]
        for rank, helper in enumerate(self._processes, start=1):
            assert helper.stdin is not None
            with suppress(BrokenPipeError):  # it has ended, which `wait_until_ready` sees
                task = pickle.dumps((planned, start, Team(rank, self._size)))
                # Its length, so that a helper takes it in at once and the next one gets its own.
                helper.stdin.write(f"{len(task)}\n".encode() + task)
                helper.stdin.flush()
        threading.Thread(target=self._watch, name="helpers", daemon=True).start()

    def wait_until_ready(self) -> None:
        """Wait until each helper has loaded what it needs."""
        for helper in self._processes:
            assert helper.stdout is not None
            if not helper.stdout.read(1):
                helper.wait()
                raise self._lost() or RuntimeError("a process of the run could not start")

    @contextmanager
    def ending_with_errors(self) -> Iterator[None]:
        """Kill the helpers if the block raises, and say so if the end of one was the reason."""
        try:
            yield
        except BaseException as error:
            lost = None
            if isinstance(error, Exception) and not isinstance(error, OWN_ENDS):
                lost = self._wait_for_lost() if isinstance(error, RuntimeError) else self._lost()
            self.kill()
            if lost is not None:
                raise lost from error
            raise

    def finish(self) -> None:
        """Wait for the helpers to leave."""
        self._over.set()
        end = time.monotonic() + FINISHING_S
        for helper in self._processes:
            with suppress(subprocess.TimeoutExpired):
                helper.wait(max(0.0, end - time.monotonic()))

    def kill(self) -> None:
        """End the helpers at once; they have nothing to save."""
        self._over.set()
        for helper in self._processes:
            helper.kill()
            helper.wait()
            for pipe in (helper.stdin, helper.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()

    def _wait_for_lost(self) -> Exception | None:
        end = time.monotonic() + NOTICED_S
        while (lost := self._lost()) is None and time.monotonic() < end:
            time.sleep(0.05)
        return lost

    def _lost(self) -> Exception | None:
        """Return what the end of a helper means for the run; None if none has ended early."""
        for rank, helper in enumerate(self._processes, start=2):
            if helper.poll():
                own_fault, how = process.how_it_ended(helper.returncode)
                what = f"process {rank} of the run's {self._size} {how}"
                if own_fault:
                    return RuntimeError(f"{what}; its own message stands above")
                return ProcessLost(f"{what}; the same command goes on from the last checkpoint")
        return None

    def _watch(self) -> None:
        """End this process if it does not notice by itself that a helper has ended.

        Processes that wait for each other's GPUs may do so for ever.
        """
        while not self._over.wait(POLL_S):
            if (lost := self._lost()) is not None:
                if not self._over.wait(STUCK_S):
                    log.error("%s", lost)
                    os._exit(process.HELPER_LOST)
                return
