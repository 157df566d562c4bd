"""Running the best cells of a search again, with fresh seeds, before one of them is the winner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from img2gps.runs.confirm import Confirmation
from img2gps.runs.records import RunState
from img2gps.study.ledger import Ledger
from img2gps.study.planning import study_lock
from img2gps.study.space import name_of
from img2gps.study.spec import Runner
from img2gps.study.trials import Entry, NewRun, key_of


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
        with study_lock(Path(self.spec.root), self.spec.name):
            self.ledger.reload()
            self.ledger.refresh()
            if self.ledger.busy():
                return True
            entries = [e for e in self.ledger.entries() if e.state is RunState.finished]
            drawn = [e for e in entries if e.seed == self.spec.seeds[0]]
            if not drawn:
                return False
            found = self.ledger.confirmation
            if found is None or found.trials < len(drawn):
                found = self._decide(drawn)
                self.ledger.confirm(found)
                self._say(
                    f"confirming the best {len(found.cells)} cells with seeds "
                    f"{', '.join(map(str, found.seeds))}: {'; '.join(found.cells)}"
                )
            return self._queue(found, drawn)

    def _decide(self, drawn: list[Entry]) -> Confirmation:
        sign = 1.0 if self.spec.direction == "minimize" else -1.0
        values = {e.cell: e.done.value for e in drawn if e.done and e.done.value is not None}
        best = sorted(values, key=lambda cell: sign * values[cell])[: self.spec.confirm.top]
        first = self.spec.seeds[0] + 1
        seeds = list(range(first, first + self.spec.confirm.seeds))
        return Confirmation(best, seeds, [values[cell] for cell in best], len(drawn))

    def _queue(self, found: Confirmation, drawn: list[Entry]) -> bool:
        """Queue the confirming runs that the ledger lacks; whether there were any."""
        params = {entry.cell: entry.params for entry in drawn}
        runs = [
            NewRun(
                key_of(params[cell], seed),
                params[cell],
                seed,
                name_of(params[cell], self.spec.named_cells),
                self._runner.identify(self.spec.overrides_of(params[cell], seed)),
                hidden=True,
            )
            for seed in found.seeds  # one seed of all cells before the next
            for cell in found.cells
            if cell in params
        ]
        done = self._runner.find(run.ref for run in runs if run.ref)
        runs = [replace(run, done=done.get(run.ref.run_id)) if run.ref else run for run in runs]
        return bool(self.ledger.enqueue(runs))
