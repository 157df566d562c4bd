"""A process that helps another one to train a run: `python -m img2gps.runs.helper LEADER`.

It gets the plan from the first process, writes no file, and ends when that one does.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from typing import TYPE_CHECKING

from img2gps.core.process import die_with

if TYPE_CHECKING:
    from img2gps.runs.plan import RunPlan
    from img2gps.runs.resume import Start
    from img2gps.training.team import Team

# The first process decides what these mean, and ends this one.
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
PATIENCE_S = 2.0  # to be killed because of an error that is not this process's own


def main() -> None:
    """Train along, and leave with exit status 0 when the training is done."""
    die_with(int(sys.argv[1]))
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    ready = os.dup(sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    logging.basicConfig(level=logging.ERROR)
    warnings.simplefilter("ignore")  # the first process has the same ones
    task = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
    threading.Thread(target=_leave_with_leader, daemon=True).start()
    status = 0
    try:
        planned, start, team = pickle.loads(task)  # noqa: S301  # from the first process
        _help(planned, start, team, ready)
    except BaseException:
        time.sleep(PATIENCE_S)
        traceback.print_exc()
        status = 1
    os._exit(status)  # unloading torch takes seconds


def _leave_with_leader() -> None:
    """End this process when the first one has closed the pipe between them."""
    sys.stdin.buffer.read()
    os._exit(1)


def _help(planned: RunPlan, start: Start, team: Team, ready: int) -> None:
    from img2gps.runs.assembling import assemble
    from img2gps.runs.folder import CHECKPOINT, MEETING
    from img2gps.training import loop
    from img2gps.training.team import connected

    module, data = assemble(planned, start.threads)
    module.team = data.team = team
    os.write(ready, b".")
    os.close(ready)
    checkpoint = planned.folder / CHECKPOINT
    meeting = planned.folder / MEETING
    with connected(team, meeting, planned.config.trainer.accelerator):
        trainer = loop.make_trainer(planned.config, planned.precision, checkpoint, None, team=team)
        loop.fit(trainer, module, data, checkpoint, start.checkpoint)


if __name__ == "__main__":
    main()
