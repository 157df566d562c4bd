"""What a ledger in a database needs often, in fewer statements than Optuna takes for it.

Optuna's `add_trial` sends a dozen statements for each trial, so that planning 10,000 runs took ten
minutes, and it reads a queue with all its attributes before a trial is taken out of it. The tables
and columns are Optuna's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from img2gps.study.trials import KEY

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

AT_ONCE = 500  # trials in a transaction, during which nobody else can add one to the study

LARGEST_ID = 2**31 - 1  # of a trial
Row = dict[str, Any]


def open_trials(
    database: RDBStorage, study_id: int, known: int
) -> list[tuple[int, int, TrialState]]:
    """Return number, id and state of each trial that has not ended or is not among the first known.

    Optuna would read every trial that has not ended with all its attributes, which takes a second
    where thousands are queued.
    """
    from optuna.storages._rdb.models import TrialModel
    from sqlalchemy import or_, select

    unfinished = TrialModel.state.in_((TrialState.WAITING, TrialState.RUNNING))
    wanted = select(TrialModel.number, TrialModel.trial_id, TrialModel.state).where(
        TrialModel.study_id == study_id, or_(unfinished, TrialModel.number >= known)
    )
    with database.engine.connect() as connection:
        rows = connection.execute(wanted.order_by(TrialModel.number))
        return [(number, trial_id, state) for number, trial_id, state in rows]


def new_trials(database: RDBStorage, study_id: int, known: int) -> list[int]:
    """Return the ids of the trials that are not among the first known, in order."""
    from optuna.storages._rdb.models import TrialModel
    from sqlalchemy import select

    own = TrialModel.study_id == study_id, TrialModel.number >= known
    with database.engine.connect() as connection:
        wanted = select(TrialModel.trial_id).where(*own).order_by(TrialModel.number)
        return list(connection.scalars(wanted))


def read_trials(
    database: RDBStorage, study_id: int, trial_ids: Collection[int]
) -> list[FrozenTrial]:
    """Return these trials in the order of their ids, by as many statements as for one."""
    return database._get_trials(study_id, None, set(trial_ids), LARGEST_ID) if trial_ids else []


def take_first(database: RDBStorage, study_id: int) -> int | None:
    """Begin the first queued trial, and return its id; None if none is queued.

    Workers who do this at once get one trial each, and none waits for another. This needs
    PostgreSQL.
    """
    from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
    from sqlalchemy import select, update
    from sqlalchemy.orm import aliased

    queued, attribute = aliased(TrialModel), TrialUserAttributeModel
    planned = select(attribute.trial_id).where(
        attribute.trial_id == queued.trial_id, attribute.key == KEY
    )
    first = (
        select(queued.trial_id)
        .where(queued.study_id == study_id, queued.state == TrialState.WAITING, planned.exists())
        .order_by(queued.trial_id)
        .limit(1)
        .with_for_update(skip_locked=True, of=queued)
    )
    table = TrialModel.__table__
    begun = {"state": TrialState.RUNNING, "datetime_start": datetime.now(UTC).replace(tzinfo=None)}
    taking = update(table).where(table.c.trial_id == first.scalar_subquery()).values(begun)
    with database.engine.begin() as connection:
        taken: int | None = connection.scalar(taking.returning(table.c.trial_id))
    return taken


def add_trials(database: RDBStorage, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    """Add trials that nobody has worked on: without system attributes and intermediate values."""
    from sqlalchemy.orm import Session

    for start in range(0, len(trials), AT_ONCE):
        with Session(database.engine) as session, session.begin():
            _add(session, study_id, trials[start : start + AT_ONCE])


def _add(session: Session, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    from optuna.storages._rdb import models
    from sqlalchemy import func, insert, select

    # As in Optuna, this lock makes others wait who number a new trial.
    models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
    own = models.TrialModel.study_id == study_id
    count = session.scalar(select(func.count()).select_from(models.TrialModel).where(own)) or 0
    rows = [
        models.TrialModel(
            study_id=study_id,
            number=number,
            state=trial.state,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
        )
        for number, trial in enumerate(trials, start=count)
    ]
    session.add_all(rows)
    session.flush()  # which numbers the rows
    attributes: list[Row] = []
    parameters: list[Row] = []
    values: list[Row] = []
    for row, trial in zip(rows, trials, strict=True):
        attributes += [
            {"trial_id": row.trial_id, "key": key, "value_json": json.dumps(value)}
            for key, value in trial.user_attrs.items()
        ]
        parameters += [
            {
                "trial_id": row.trial_id,
                "param_name": name,
                "param_value": trial.distributions[name].to_internal_repr(value),
                "distribution_json": distribution_to_json(trial.distributions[name]),
            }
            for name, value in trial.params.items()
        ]
        for objective, value in enumerate(trial.values or ()):
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            values.append(
                {
                    "trial_id": row.trial_id,
                    "objective": objective,
                    "value": stored,
                    "value_type": kind,
                }
            )
    for model, found in (
        (models.TrialUserAttributeModel, attributes),
        (models.TrialParamModel, parameters),
        (models.TrialValueModel, values),
    ):
        if found:
            session.execute(insert(model), found)
