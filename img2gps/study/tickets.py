"""A lock that is made of trials, for ledgers whose own locks we do not know or cannot reach.

Whoever wants the lock of a study draws a ticket: a trial of a study beside it. The lowest ticket
that is not given back has the lock. Every holder renews its ticket. One that is not renewed, by the
clock of whoever waits, is given back for its holder, who must have died.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from img2gps.core.beside import beside

log = logging.getLogger(__name__)

NAME = "img2gps lock of {}"  # of the study that has the tickets
RENEWED = "renewed"
RENEWAL_S, GRACE_S = 5.0, 60.0
POLL_S = 0.5
MAKING_TRIES = 5
UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)


@contextmanager
def ticket_lock(ledger: BaseStorage, study: str) -> Iterator[None]:
    """Hold the lock of a study."""
    own = _study_id(ledger, NAME.format(study))
    ticket = ledger.create_new_trial(own)

    def renew(ended: threading.Event) -> None:
        count = 0
        while not ended.wait(RENEWAL_S):
            count += 1
            with suppress(Exception):  # the server may be back in a moment
                ledger.set_trial_user_attr(ticket, RENEWED, count)

    try:
        with beside(renew, "lock"):
            _wait_for(ledger, own, ticket)
            yield
    finally:
        _give_back(ledger, ticket)


def _wait_for(ledger: BaseStorage, own: int, ticket: int) -> None:
    """Wait until no lower ticket is out."""
    first_seen: dict[int, tuple[Any, float]] = {}
    while ahead := [trial for trial in _tickets(ledger, own) if trial._trial_id < ticket]:
        now = time.monotonic()
        for trial in ahead:
            renewed = trial.user_attrs.get(RENEWED)
            before, since = first_seen.setdefault(trial._trial_id, (renewed, now))
            if before != renewed:
                first_seen[trial._trial_id] = renewed, now
            elif now - since > GRACE_S:
                log.warning("the process that planned or decided before this one has died")
                _give_back(ledger, trial._trial_id)
        time.sleep(POLL_S)


def _tickets(ledger: BaseStorage, own: int) -> list[FrozenTrial]:
    return ledger.get_all_trials(own, deepcopy=False, states=UNFINISHED)


def _give_back(ledger: BaseStorage, ticket: int) -> None:
    with suppress(UpdateFinishedTrialError):  # another process has done so
        ledger.set_trial_state_values(ticket, TrialState.FAIL)


def _study_id(ledger: BaseStorage, name: str) -> int:
    """Return the study that has the tickets; make it if there is none."""
    for attempt in range(MAKING_TRIES):
        try:
            return ledger.get_study_id_from_name(name)
        except KeyError:
            with suppress(DuplicatedStudyError, StorageInternalError):
                return ledger.create_new_study([StudyDirection.MINIMIZE], name)
        time.sleep(0.1 * (attempt + 1))
    return ledger.get_study_id_from_name(name)
