"""Trials of a search that are several runs: a cell with every seed and every fold.

The sampler draws a trial's cell when its first run is claimed. Each further run is queued when the
one before has finished, unless the trial is given up. The ledger has all that was decided: whoever
looks next, after a kill for example, sees the same runs and goes on from there.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from img2gps.runs.names import without_fold
from img2gps.runs.states import RunState
from img2gps.study.display import metres
from img2gps.study.ledger import Ledger
from img2gps.study.space import Params, name_of
from img2gps.study.spec import Done, Runner, Spec
from img2gps.study.trials import Entry, NewRun, key_of

FEWEST = 5  # complete trials, with fewer of which none is given up
GIVEN_UP = "given up"  # how the reason begins of a run that is not made because of it


@dataclass(frozen=True)
class Trial:
    """One cell of a search with the runs that it has had, in order."""

    cell: str  # without its fold
    params: Params  # of its first run
    runs: list[Entry]
    size: int  # runs that a trial has unless it is given up

    @property
    def finished(self) -> list[Done]:
        """The runs that have finished, up to the first that has not."""
        ended = (run.done if run.state is RunState.finished else None for run in self.runs)
        return [done for done in takewhile(bool, ended) if done is not None]

    def means(self, aim: str) -> list[float]:
        """Return the mean of a figure over the first finished run, the first two, and so on."""
        values = [done.aims.get(aim) if done.aims else done.value for done in self.finished]
        known = [math.nan if value is None else value for value in values]
        return [statistics.fmean(known[: n + 1]) for n in range(len(known))]

    @property
    def complete(self) -> bool:
        """Whether all its runs have finished."""
        return len(self.finished) == self.size

    @property
    def given_up(self) -> bool:
        """Whether its further runs are not made."""
        return any(run.reason.startswith(GIVEN_UP) for run in self.runs)


def trials_of(spec: Spec, entries: Sequence[Entry]) -> list[Trial]:
    """Return the trials whose cells are drawn; runs that confirm the best cells are left out."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.params and entry.seed in spec.seeds:
            found.setdefault(without_fold(entry.cell), []).append(entry)
    trials = []
    for cell, own in found.items():
        units = spec.units(own[0].params)
        known = {key_of(entry.params, entry.seed): entry for entry in reversed(own)}
        runs = [known[key] for unit in units if (key := key_of(*unit)) in known]
        trials.append(Trial(cell, own[0].params, runs, len(units)))
    return trials


def new_run(spec: Spec, runner: Runner, params: Params, seed: int) -> NewRun:
    """Return a further run of a cell that a sampler has drawn; samplers do not see it itself."""
    ref = runner.identify(spec.overrides_of(params, seed))
    name = name_of(params, spec.named_cells)
    return NewRun(key_of(params, seed), params, seed, name, ref, hidden=True)


class Repeats:
    """Queues the further runs of trials, or gives them up."""

    def __init__(self, ledger: Ledger, runner: Runner) -> None:
        self.ledger, self.spec, self._runner = ledger, ledger.spec, runner

    def advance(self) -> bool:
        """Queue the runs that are due; whether there were any."""
        if not self.spec.repeated:
            return False
        with self.ledger.lock():
            self.ledger.refresh()
            trials = trials_of(self.spec, self.ledger.entries())
            due = [run for trial in trials if (run := self._next(trial, trials)) is not None]
            return bool(self.ledger.enqueue(due))

    def _next(self, trial: Trial, trials: Sequence[Trial]) -> NewRun | None:
        """Return the run that a trial lacks, if the one before has finished."""
        made = len(trial.finished)
        if made < len(trial.runs) or made == trial.size:
            return None
        run = new_run(self.spec, self._runner, *self.spec.units(trial.params)[made])
        assert run.ref is not None
        if why := self._hopeless(trial, made, trials):
            ended = Done(run.ref.run_id, run.ref.path, RunState.pruned, why)
            return replace(run, done=ended)
        return replace(run, done=self._runner.find([run.ref]).get(run.ref.run_id))

    def _hopeless(self, trial: Trial, made: int, trials: Sequence[Trial]) -> str:
        """Return why a trial is given up; "" if it goes on.

        It is, when its mean so far is worse than the median of what complete trials had after as
        many runs.
        """
        aim = self.spec.monitor
        known = [other.means(aim)[made - 1] for other in trials if other.complete]
        if len(known) < FEWEST:
            return ""
        own, middle = trial.means(aim)[-1], statistics.median(known)
        worse = own > middle if self.spec.direction == "minimize" else own < middle
        if not worse:
            return ""
        of = "1 run" if made == 1 else f"{made} runs"
        figures = metres(own, aim), metres(middle, aim)
        return (
            f"{GIVEN_UP}: {figures[0]} after {of} of {trial.size}, worse than {figures[1]}, the "
            f"median of {len(known)} complete trials"
        )
