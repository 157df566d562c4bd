"""Running the best cells of a search again, with fresh seeds, before one of them is the winner."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from img2gps.runs.confirm import Confirmation
from img2gps.study.ledger import Ledger
from img2gps.study.repeats import Trial, new_run, trials_of
from img2gps.study.spec import Runner


class Confirming:
    """Confirms a search's best cells; which they are is decided once and kept in the ledger."""

    def __init__(
        self, ledger: Ledger, runner: Runner, say: Callable[[str], None] = lambda _: None
    ) -> None:
        """Take the ledger of a study that searches."""
        self.ledger, self.spec, self._runner, self._say = ledger, ledger.spec, runner, say

    def advance(self) -> bool:
        """Queue the confirming runs once the search has ended; False if nothing is left to do."""
        wanted = self.spec.confirm
        if not wanted.top:
            return False
        with self.ledger.lock():
            self.ledger.reload()
            self.ledger.refresh()
            if self.ledger.busy():
                return True
            trials = trials_of(self.spec, self.ledger.entries())
            drawn = {trial.cell: trial for trial in trials if trial.complete}
            if not drawn:
                return False
            found = self._decide(drawn)
            if found != self.ledger.confirmation:
                self.ledger.confirm(found)
                self._say(
                    f"confirming the best {len(found.cells)} cells with seeds "
                    f"{', '.join(map(str, found.seeds))}: {'; '.join(found.cells)}"
                )
            return self._queue(found, drawn)

    def _decide(self, drawn: Mapping[str, Trial]) -> Confirmation:
        """Return which cells are confirmed, with which seeds.

        What was decided stays, and cells and seeds that are asked for later are added to it. Only
        further trials decide anew, and further seeds of the search, if they were fresh ones.
        """
        wanted, known = self.spec.confirm, self.ledger.confirmation
        used = known is not None and not set(self.spec.seeds).isdisjoint(known.seeds)
        if known is None or used or known.trials < len(drawn):
            known = Confirmation()
        sign = 1.0 if self.spec.direction == "minimize" else -1.0
        values = {cell: trial.means(self.spec.monitor)[-1] for cell, trial in drawn.items()}
        ranked = sorted(values, key=lambda cell: (math.isnan(values[cell]), sign * values[cell]))
        others = [cell for cell in ranked if cell not in known.cells]
        more = others[: max(wanted.top - len(known.cells), 0)]
        first = max(*self.spec.seeds, *known.seeds, -1) + 1
        further = range(first, first + max(wanted.seeds - len(known.seeds), 0))
        return Confirmation(
            [*known.cells, *more],
            [*known.seeds, *further],
            [*known.values, *(values[cell] for cell in more)],
            max(known.trials, len(drawn)),
        )

    def _queue(self, found: Confirmation, drawn: Mapping[str, Trial]) -> bool:
        """Queue the confirming runs that the ledger lacks; whether there were any."""
        runs = [
            new_run(self.spec, self._runner, params, seed)
            for seed in found.seeds  # one seed of all cells before the next
            for cell in found.cells
            if cell in drawn
            for params in self.spec.folds_of(drawn[cell].params)
        ]
        done = self._runner.find(run.ref for run in runs if run.ref)
        runs = [replace(run, done=done.get(run.ref.run_id)) if run.ref else run for run in runs]
        return bool(self.ledger.enqueue(runs))
