"""The race of a study's cells: each look is decided once, recorded, and then acted upon.

The ledger has all that a race is: the runs that were queued, and the decisions. Whoever finds
nothing queued and nothing running takes the study's lock. It first queues what the last decision
asked for, if a kill came in between, and only then decides the next look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from img2gps.analysis.racing import Course, End, Verdict, judge
from img2gps.analysis.winner import FOLD_AXIS
from img2gps.runs.fetching import Finder
from img2gps.runs.names import without_fold
from img2gps.runs.race import Drop, Look, RaceRecord
from img2gps.runs.records import now
from img2gps.runs.states import RunState
from img2gps.study.display import metres
from img2gps.study.ledger import Ledger
from img2gps.study.photo_errors import Finished, read_errors
from img2gps.study.space import cell_id
from img2gps.study.trials import Entry, NewRun


class Race:
    """One process's view of a race; the decisions are in the ledger."""

    def __init__(
        self, ledger: Ledger, runs: Sequence[NewRun], say: Callable[[str], None] = lambda _: None
    ) -> None:
        """`runs` are all that the cells may have, with every seed and fold."""
        self.ledger, self.spec, self._say = ledger, ledger.spec, say
        self._by_key = {run.key: run for run in runs}
        self._steps = _steps(runs, self.spec.seeds)
        self._folds = max(len({_fold(run) for run in runs}), 1)
        self._finder = Finder(Path(self.spec.root))

    def advance(self) -> bool:
        """Queue the runs that are due, or decide the next look; False once the race has ended."""
        with self.ledger.lock():
            self.ledger.reload()
            self.ledger.refresh()
            looks = self.ledger.looks
            if self._queue(looks[-1].following if looks else []) or self.ledger.busy():
                return True
            racing = self._racing(looks)
            if self._queue(self._behind(racing)) or self.ledger.busy():
                return True
            if looks and looks[-1].end and not self._changed(looks[-1], racing):
                return False
            look = self._decide(len(looks) + 1, racing)
            self.ledger.add_look(look)
            for line in look.lines():
                self._say(line)
            self._queue(look.following)
            return not look.end

    def _queue(self, keys: Sequence[str]) -> bool:
        """Queue those of the runs that are not in the ledger yet; whether there were any."""
        return bool(self.ledger.enqueue(self._by_key[key] for key in keys if key in self._by_key))

    def _racing(self, looks: Sequence[Look]) -> dict[str, list[Entry]]:
        """Return the planned runs of each cell that no look has dropped for a rival."""
        lost = {drop.cell for look in looks for drop in look.dropped if drop.rival}
        found: dict[str, list[Entry]] = {cell: [] for cell in self._steps if cell not in lost}
        for entry in self.ledger.entries():
            if without_fold(entry.cell) in found:
                found[without_fold(entry.cell)].append(entry)
        return found

    def _behind(self, racing: dict[str, list[Entry]]) -> list[str]:
        """Return the runs that cells lack: a first look, or a fold that the other cells have."""
        sound = {cell: own for cell, own in racing.items() if not _unfinished(own)}
        most = max([1, *(self._fold_of(own) for own in sound.values())])
        return [
            key
            for cell, own in sound.items()
            for step in self._steps[cell][min(self._fold_of(own), most) : most]
            for key in step
        ]

    def _fold_of(self, own: Sequence[Entry]) -> int:
        """Return how many folds a cell has with its first seed."""
        return sum(entry.seed == self.spec.seeds[0] for entry in own)

    def _changed(self, last: Look, racing: dict[str, list[Entry]]) -> bool:
        """Whether a race that had ended has new cells or seeds, or a run that went well at last."""
        if last.end == End.none and all(_unfinished(own) for own in racing.values()):
            return False
        judged = {run for runs in last.runs.values() for run in runs}
        sound = [own for own in racing.values() if not _unfinished(own)]
        new = any(entry.done and entry.done.run_id not in judged for own in sound for entry in own)
        return new or (last.seeds != len(self.spec.seeds) and last.end != End.one)

    def _decide(self, number: int, racing: dict[str, list[Entry]]) -> Look:
        out = [Drop(cell, why) for cell, own in racing.items() if (why := _unfinished(own))]
        sound = {cell: own for cell, own in racing.items() if not _unfinished(own)}
        seeds = len(self.spec.seeds)
        if not sound:
            return Look(number, {}, {}, out, [], [], seeds, end=End.none, at=now())
        finished = [
            Finished(Path(self.spec.root, entry.done.path), entry.done.run_id, cell, entry.seed)
            for cell, own in sound.items()
            for entry in own
            if entry.done
        ]
        self._finder.fetch([run.run_id for run in finished])
        errors = read_errors(finished)
        fold = min(self._fold_of(own) for own in sound.values())
        course = Course(number, len(self._steps), seeds, fold, self._folds)
        found = judge(errors.error_m, errors.places, course, self.spec.race)
        cells = list(sound)
        following = [key for i in found.following for key in self._next(sound, cells[i])]
        end = found.end if found.end or following else End.spent
        return Look(
            number=number,
            runs={cell: [e.done.run_id for e in own if e.done] for cell, own in sound.items()},
            rmse_m=dict(zip(cells, found.rmse_m, strict=True)),
            dropped=[*out, *self._drops(found, cells)],
            kept=[cells[i] for i in found.kept],
            following=following,
            seeds=seeds,
            chance=found.chance,
            end=end or "",
            at=now(),
        )

    def _next(self, sound: dict[str, list[Entry]], cell: str) -> list[str]:
        """Return the keys of a cell's next step: a fold, or all folds of a seed."""
        known = {entry.key for entry in sound[cell]}
        return next((step for step in self._steps[cell] if not known.issuperset(step)), [])

    def _drops(self, found: Verdict, cells: Sequence[str]) -> list[Drop]:
        margin = self.spec.race.margin_m
        more = f" by more than {metres(margin)}" if margin else ""
        return [
            Drop(
                cells[shown.cell],
                f"shown to be worse than {cells[shown.rival]}{more}: "
                f"{metres(found.rmse_m[shown.cell])} and {metres(found.rmse_m[shown.rival])}",
                cells[shown.rival],
                shown.difference_m,
            )
            for shown in found.dropped
        ]


def record_of(ledger: Ledger) -> RaceRecord | None:
    """Return the race of a study as it stands; None if the study is no race."""
    rules = ledger.spec.race
    if not ledger.spec.raced:
        return None
    return RaceRecord(rules.margin_m, rules.give_up_below, list(ledger.looks))


def _fold(run: NewRun) -> int | None:
    return (run.params or {}).get(FOLD_AXIS)


def _steps(runs: Sequence[NewRun], seeds: Sequence[int]) -> dict[str, list[list[str]]]:
    """Return, by cell, the keys of the runs of each step.

    Each fold of the first seed is a step, because folds show other photos. After these, each
    seed is a step, with all its folds.
    """
    by_seed: dict[str, dict[int, list[str]]] = {}
    for run in sorted(runs, key=lambda run: _fold(run) or 0):  # the same order for all cells
        cell = without_fold(cell_id(run.params or {}))
        by_seed.setdefault(cell, {seed: [] for seed in seeds})[run.seed].append(run.key)
    return {
        cell: [*([key] for key in own[seeds[0]]), *(own[seed] for seed in seeds[1:])]
        for cell, own in by_seed.items()
    }


def _unfinished(own: Sequence[Entry]) -> str:
    """Return why a cell cannot be judged; "" if it can."""
    for entry in own:
        if entry.state.has_ended and entry.state is not RunState.finished:
            return f"its run with seed {entry.seed} {entry.state}: {entry.reason}"
    return ""
