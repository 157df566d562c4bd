"""A worker: claims one run after another until nothing is queued or running.

The engine starts it as a process: `python -m img2gps.study.worker STUDY INDEX`. The ledger's
address, which may hold a password, is in the environment, where other users cannot read it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from img2gps.core.errors import BadInput
from img2gps.core.process import identity
from img2gps.core.signals import Interrupted
from img2gps.runs.folder import Locked
from img2gps.study import search
from img2gps.study.ledger import BAD_INPUT, EXCEPTION, INTERRUPTED, POSTPONED, Claim, Ledger, Lost
from img2gps.study.process import Stop, die_with
from img2gps.study.space import name_of
from img2gps.study.spec import Done, Runner, Spec, make_runner
from img2gps.study.storage import open_storage

log = logging.getLogger(__name__)

STORAGE_VARIABLE = "IMG2GPS_LEDGER"
PARENT_VARIABLE = "IMG2GPS_PARENT"
POLL_S = 0.5  # between two looks at a ledger that has nothing queued
LONGEST_PAUSE_S = 60.0  # when all that is queued had to be postponed
REASON_LENGTH = 300


def work(
    ledger: Ledger,
    runner: Runner,
    stop: Stop,
    *,
    index: int = 0,
    before_each: Callable[[], None] = lambda: None,
) -> None:
    """Run what is queued, wait for what others run, and return when all has ended.

    Raises:
        Interrupted: the process was asked to stop; the run under way is queued again.
    """
    spec = ledger.spec
    ledger.refresh()
    ledger.study.sampler = search.sampler(spec, ledger.attempts(), index)
    ledger.study.pruner = search.pruner(spec)
    ledger.reap()
    postponed = 0  # runs in a row
    while True:
        if stop.wanted:
            raise Interrupted(stop.signum or 0)
        claim = ledger.claim()
        if claim is not None:
            before_each()
            postponed = 0 if attempt(ledger, runner, claim, stop) else postponed + 1
            if not postponed:
                continue
        else:
            ledger.reap()
            if ledger.settle():
                continue
            if not ledger.busy():
                return
        with stop.interruptible():
            time.sleep(min(POLL_S * 2**postponed, LONGEST_PAUSE_S))


def attempt(ledger: Ledger, runner: Runner, claim: Claim, stop: Stop) -> bool:
    """Attempt one run; whatever comes of it is in the ledger afterwards.

    Returns:
        False if it had to be postponed, because another process has its folder.
    """
    spec = ledger.spec
    try:
        with _heartbeat(ledger, claim, spec.limits.heartbeat_s):
            try:
                done = _run(ledger, runner, claim, spec, stop)
            except Interrupted:
                ledger.give_back(claim, INTERRUPTED, "interrupted")
                raise
            except SystemExit as error:
                if stop.wanted:  # Lightning's own answer to a signal
                    ledger.give_back(claim, INTERRUPTED, "interrupted")
                    raise Interrupted(stop.signum or 0) from error
                ledger.give_back(claim, EXCEPTION, f"the run ended its process: {_line(error)}")
            except Locked as error:  # a single run, an upload, or a worker that was given up
                log.warning("%s; trying again later", _line(error))
                ledger.give_back(claim, POSTPONED, _line(error))
                return False
                time.sleep(POLL_S)
            except Lost:
                raise
            except Exception as error:
                if stop.wanted:  # Hydra and OmegaConf turn a signal into errors of their own
                    ledger.give_back(claim, INTERRUPTED, "interrupted")
                    raise Interrupted(stop.signum or 0) from error
                if isinstance(error, BadInput):
                    ledger.give_back(claim, BAD_INPUT, _line(error))
                    return True
                traceback.print_exc()  # into the worker's log
                ledger.give_back(claim, EXCEPTION, f"{type(error).__name__}: {_line(error)}")
            else:
                ledger.finish(claim, done)
    except Lost:
        log.warning("%s was taken from this worker and is left to its successor", claim.key)
    return True


def _run(ledger: Ledger, runner: Runner, claim: Claim, spec: Spec, stop: Stop) -> Done:
    params = claim.params
    if params is None:
        params = search.draw(spec, claim.trial)
        ledger.draw(claim, params, name_of(params, spec.named_cells))
    overrides = spec.overrides_of(params, claim.seed)
    with stop.interruptible():
        ref = claim.ref or runner.identify(overrides)
        if (found := runner.find([ref]).get(ref.run_id)) is not None:
            return found
        last_epoch = int(params.get("max_epochs", spec.max_epochs))
        hook = search.epoch_hook(ledger, claim, spec.monitor, last_epoch, stop)
        return runner.run(overrides, hook)


@contextmanager
def _heartbeat(ledger: Ledger, claim: Claim, interval_s: float) -> Iterator[None]:
    """Tell the ledger regularly that this worker is alive; exit when its engine is not."""
    ended = threading.Event()
    parent = os.environ.get(PARENT_VARIABLE)

    def beat() -> None:
        while not ended.wait(interval_s):
            if parent and os.getppid() != int(parent):  # not every kernel does that for us
                os._exit(1)
            try:
                ledger.beat(claim.trial._trial_id)
            except Lost:
                return
            except Exception as error:  # the server may be back in a moment
                log.warning("heartbeat not written (%s); trying again", _line(error))

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:REASON_LENGTH]


def main() -> None:
    """Run as a process; exit status 0 if all has ended, 130 or 143 if interrupted."""
    parent = int(os.environ[PARENT_VARIABLE])
    die_with(parent)
    stop = Stop()
    stop.install()
    study, index = sys.argv[1], int(sys.argv[2])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    ledger = Ledger(open_storage(os.environ[STORAGE_VARIABLE]), study)
    ledger.engine = identity(parent)
    try:
        work(ledger, make_runner(ledger.spec), stop, index=index)
        status = 0
    except Interrupted as error:
        status = error.status
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # all is in the ledger, and unloading torch takes seconds


if __name__ == "__main__":
    main()
