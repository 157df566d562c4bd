"""How often intervals and marks hold the truth: simulated studies whose truth is known.

A study has nine cells whose true RMSE lies between 66 and 80 m, and validation photos of unevenly
photographed spots. Errors share a part within spots, photos and cells, and every run has luck. Some
cases have runs that go astray, with errors half as large again, or errors that are alike over 30 or
60 m, in some of them also what sets cells apart. Where the share for a difference or a chance comes
near a limit, ten times as many studies are drawn. Further cases cross the number of seeds with the
luck and one condition each; fewer figures of these are measured. Each case is kept as soon as it is
measured; a second call goes on where the first one stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import ROOT, Settings
from img2gps.analysis import stats
from img2gps.analysis.stats.luck import TYPICAL_RELATIVE
from img2gps.core.errors import BadInput
from img2gps.report.build import load
from tests.helpers.fake_study import (
    SPREAD_M,
    Noise,
    Photos,
    draw_errors,
    draw_photos,
    draw_runs,
    rmse_of_average,
)

TITLE = "Coverage of intervals and marks, in simulated studies"
RMSE_M = (66.0, 68.0, 70.0, 70.0, 72.0, 74.0, 76.0, 78.0, 80.0)
ASTRAY = 1.5  # times the errors of a run that went astray
STUDIES = 6000  # a share of 95 % is then known to 0.3 points
FEWER = 3  # times as few of the crossed cases
MORE = 10  # times as many, where a share is nearer to its limit than NEAR standard errors
NEAR = 2.0
FEWEST_CELLS = 4  # of a study that is simulated: pairs of them are compared
PULL_ALIKE = 0.4  # share of the RMSE that is pull where errors are alike, so that the rest matters
TOP = 3  # cells that are averaged
RESAMPLES = 500
REPORT_S = 20  # between two lines of progress
TWO_SIDED = (0.93, 0.97)  # coverage that a nominal 95 % must have

CELL, DIFFERENCE, WINNER, AVERAGE = "cell", "difference", "winner", "average"
BEST, ALL_KEPT, SOLVED_KEPT, CHANCE = "best", "all_kept", "solved_kept", "chance"
FALSE_MARK, FALSE_EQUAL = "false_mark", "false_equal"
OF_CROSSED = (CELL, DIFFERENCE, WINNER)
OF_PAIRS = (DIFFERENCE, CHANCE)  # quickly judged, because they need no resamples of nine cells
KINDS = {
    CELL: "95 % interval of one cell",
    DIFFERENCE: "95 % interval of the difference of two cells chosen beforehand",
    WINNER: "95 % interval of the winner, corrected for having been selected",
    AVERAGE: f"95 % interval of the average of the {TOP} best cells, corrected likewise",
    CHANCE: "95 % interval of the chance that one cell beats another",
    BEST: "the best cell is in the confidence set",
    ALL_KEPT: "nine cells that are equally good are all in the confidence set",
    SOLVED_KEPT: "nine such cells that no seed changes are all in it",
    FALSE_MARK: "any of nine cells that equal a baseline is marked as better",
    FALSE_EQUAL: "two cells that differ by the margin are called equivalent",
}
Errors = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One kind of study."""

    seeds: int
    luck: float = 0.03  # standard deviation of a run's RMSE, as part of it
    spots: int = 41
    photos: int = 60
    astray: float = 0.0  # share of the runs
    alike_m: float = 0.0  # distance at which 1/e of the correlation between spots is left
    cells_alike: bool = False  # whether what only one cell gets wrong is alike over it, too
    rmse_m: tuple[float, ...] = RMSE_M  # true ones, ascending

    @property
    def text(self) -> str:
        """The case in words."""
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        astray = f", {self.astray:.0%} of the runs astray" if self.astray else ""
        alike = f", errors alike over {self.alike_m:.0f} m" if self.alike_m else ""
        alike += ", also what sets cells apart" if self.cells_alike else ""
        return f"{seeds}, luck {100 * self.luck:g} %, {self.spots} spots{astray}{alike}"

    @property
    def noise(self) -> Noise:
        """What the errors of this case are drawn with."""
        if not self.alike_m:
            return Noise(cell_seed=self.luck)
        return Noise(
            cell_seed=self.luck,
            alike_m=self.alike_m,
            cells_alike=self.cells_alike,
            pull=PULL_ALIKE,
        )


CASES = (
    Case(3),
    Case(3, alike_m=30),
    Case(3, alike_m=30, cells_alike=True),
    Case(1),
    Case(2),
    Case(5),
    Case(3, spots=8, photos=12),
    Case(3, spots=20, photos=30),
    Case(3, spots=100, photos=150),
    Case(3, astray=0.05),
    Case(1, alike_m=30),
    Case(3, spots=100, photos=150, alike_m=30),
    *(Case(seeds, 0.043) for seeds in (1, 2, 3, 5)),
    Case(3, alike_m=60, cells_alike=True),
    Case(3, spots=100, photos=150, alike_m=60, cells_alike=True),
)
SEEDS = (1, 2, 3, 5)
CONDITIONS: Mapping[str, Mapping[str, Any]] = {
    "20 spots": {"spots": 20, "photos": 30},
    "41 spots": {},
    "100 spots": {"spots": 100, "photos": 150},
    "41 spots, 5 % of the runs astray": {"astray": 0.05},
    "41 spots, errors alike over 30 m": {"alike_m": 30},
}
LUCKS = (0.03, 0.043)


def crossed_case(condition: str, luck: float, seeds: int) -> Case:
    """Return the case with this condition, luck and number of seeds."""
    return Case(seeds, luck, **CONDITIONS[condition])


CROSSED = tuple(
    case for key in product(CONDITIONS, LUCKS, SEEDS) if (case := crossed_case(*key)) not in CASES
)


class Simulation:
    """The studies of one case, drawn one by one, and what their intervals held."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.truth = (
            np.array(case.rmse_m) * (1 + case.astray * (ASTRAY - 1)) / math.hypot(1, case.luck)
        )
        self.studies: list[dict[str, float]] = []
        self.pairs: list[dict[str, float]] = []

    def step(self) -> None:
        """Draw one study and judge all of it."""
        case = self.case
        rng, photos, away, level = self._study(len(self.studies))
        error, places, luck = self._seen(photos, away)
        self.pairs.append(self._compared(error, places, luck))
        held = self._interval(error, places, luck) | self._chosen(error, places, luck)
        held |= self._averaged(error, away, level, places)
        held |= self._called_equal(error[[0, -1]], places, luck)
        same_m = [SPREAD_M] * len(case.rmse_m)
        equal, _ = self._draw(rng, photos, same_m)
        held |= self._marked(np.hypot(*equal), photos, places)
        solved = draw_errors(rng, photos, same_m, 1, replace(case.noise, cell_seed=0.0))
        alike = np.hypot(solved[..., 0], solved[..., 1])
        drawn = stats.resample(alike, places, luck=stats.NO_LUCK, n=RESAMPLES)
        held[SOLVED_KEPT] = float(stats.confidence_set(drawn).marked.all())
        self.studies.append(held)

    def step_of_three(self) -> None:
        """Draw one study and judge a cell, a difference and the winner."""
        _, photos, away, _ = self._study(len(self.studies))
        seen = self._seen(photos, away)
        self.pairs.append(self._compared(*seen))
        self.studies.append(self._interval(*seen) | self._chosen(*seen))

    def step_of_pair(self) -> None:
        """Draw one study and judge only two of its cells."""
        _, photos, away, _ = self._study(len(self.pairs))
        self.pairs.append(self._compared(*self._seen(photos, away)))

    def shares(self) -> dict[str, float]:
        """Return the share of the studies that held the truth, by kind."""
        table, pairs = _columns(self.studies), _columns(self.pairs)
        beaten = pairs["first_lower"].mean()
        held = (pairs["chance_low"] <= beaten) & (beaten <= pairs["chance_high"])
        found = {kind: float(values.mean()) for kind, values in table.items()}
        of_pairs = {DIFFERENCE: float(pairs[DIFFERENCE].mean()), CHANCE: float(held.mean())}
        return {**found, **of_pairs, "pairs": len(self.pairs)}

    def _study(self, number: int) -> tuple[np.random.Generator, Photos, Errors, Errors]:
        """Draw the photos of one study, errors east and north on them, and the luck in these."""
        case = self.case
        key = [case.seeds, case.spots, round(1000 * case.luck), number]
        rng = np.random.default_rng(key)
        photos = draw_photos(rng, case.photos, case.spots)
        return rng, photos, *self._draw(rng, photos, case.rmse_m)

    def _draw(
        self, rng: np.random.Generator, photos: Photos, rmse: Sequence[float]
    ) -> tuple[Errors, Errors]:
        """Return errors east and north (2, c, s, p), and what luck multiplies them by (c, s)."""
        offset, luck = draw_runs(rng, photos, rmse, self.case.seeds, self.case.noise)
        gone = rng.random((len(rmse), self.case.seeds)) < self.case.astray
        factor = np.where(gone, ASTRAY, 1.0)
        return np.moveaxis(offset, 3, 0) * factor[..., None], luck * factor

    def _seen(self, photos: Photos, away: Errors) -> tuple[Errors, stats.Places, stats.Luck]:
        """Return errors (c, s, p), where the photos were taken, and the luck that is seen.

        Positions are known where photos are no random draw, as for a split by place.
        """
        position = np.stack([photos.east, photos.north], axis=1) if self.case.alike_m else None
        error, places = np.hypot(*away), stats.Places(photos.spot, position)
        return error, places, stats.luck_of(error, places)

    def _interval(self, error: Errors, places: stats.Places, luck: stats.Luck) -> dict[str, float]:
        strays = stats.strays_of(error, luck).of([2])
        cell = stats.cell_interval(error[2], places, luck=luck, strays=strays)
        return {CELL: float(cell.low <= self.truth[2] <= cell.high)}

    def _compared(self, error: Errors, places: stats.Places, luck: stats.Luck) -> dict[str, float]:
        pair, apart_m = error[[1, 3]], self.truth[1] - self.truth[3]
        strays = stats.strays_of(error, luck).of([1, 3])
        apart = stats.contrast_interval(pair, [1, -1], places, luck=luck, strays=strays)
        chance = stats.chance_of_lower(pair, [1, -1], places, luck=luck, difference=apart)
        first, second = np.sqrt((pair[:, 0] ** 2).mean(axis=1))
        return {
            DIFFERENCE: float(apart.low <= apart_m <= apart.high),
            "first_lower": float(first < second),
            "chance_low": chance.low,
            "chance_high": chance.high,
        }

    def _called_equal(
        self, ends: Errors, places: stats.Places, luck: stats.Luck
    ) -> dict[str, float]:
        """Test two cells that differ by just the margin; one seed shows nothing."""
        if self.case.seeds < 2:
            return {}
        margin_m = self.truth[-1] - self.truth[0]
        found = stats.equivalence(ends, [1, -1], places, margin_m, luck=luck)
        return {FALSE_EQUAL: float(found.shown)}

    def _chosen(self, error: Errors, places: stats.Places, luck: stats.Luck) -> dict[str, float]:
        won = stats.selection_corrected(error, places, luck=luck, n=RESAMPLES)
        drawn = stats.resample(error, places, luck=luck, n=RESAMPLES)
        assert won.interval is not None
        return {
            WINNER: float(won.interval.low <= self.truth[won.winner] <= won.interval.high),
            "too_high_m": won.corrected - self.truth[won.winner],
            BEST: float(stats.confidence_set(drawn).marked[0]),
        }

    def _averaged(
        self, error: Errors, away: Errors, level: Errors, places: stats.Places
    ) -> dict[str, float]:
        best = stats.cell_rmse(error).argsort()[:TOP]
        truth = rmse_of_average([self.case.rmse_m[i] for i in best], level[best], self.case.noise)
        found = stats.average_of_best(error, away, places, TOP, n=RESAMPLES)
        assert found.interval is not None
        return {
            AVERAGE: float(found.interval.low <= truth <= found.interval.high),
            "average_too_high_m": found.corrected - truth,
        }

    def _marked(self, error: Errors, photos: Photos, places: stats.Places) -> dict[str, float]:
        """Test nine equal cells, also against a mean predictor; one seed gets no mark."""
        if self.case.seeds < 2:
            return {}
        rival = np.hypot(photos.east, photos.north)
        found = stats.beats_baseline(error, places, rival, n=RESAMPLES)
        kept = stats.confidence_set(stats.resample(error, places, n=RESAMPLES)).marked
        return {FALSE_MARK: float(found.marked.any()), ALL_KEPT: float(kept.all())}


def measure(settings: Settings, before: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Simulate all cases, and yield what is known after each one.

    Args:
        settings: `rounds` is the number of studies.
        before: what an earlier call has measured; its cases are kept if it drew as many studies.
    """
    cases, studies = (*CASES, *CROSSED), settings.rounds or STUDIES
    if settings.quick:
        cases, studies = (CASES[0], CROSSED[0]), 5
    known = before.get("cases", []) if before.get("studies") == studies else []
    found = {case["text"]: case for case in known}
    for number, case in enumerate(cases, 1):
        if case.text not in found:
            print(f"{number} of {len(cases)}: {case.text}", flush=True)
            shares = _simulate(case, studies) if case in CASES else _simulate_crossed(case, studies)
            found[case.text] = {**_plain(case), **shares}
        shown = [found[one.text] for one in cases if one.text in found]
        yield {"studies": studies, "cases": shown}


def like_study(name: str, settings: Settings) -> dict[str, Any]:
    """Simulate studies with the photos, spots, seeds, luck and errors of one study's cells.

    Raises:
        BadInput: there is no such study, or it has fewer than four cells.
    """
    rankings = load(name, [Path("runs"), ROOT / "results"]).rankings
    if not rankings or len(rankings[0].cells) < FEWEST_CELLS:
        raise BadInput(f"{name}: fewer than {FEWEST_CELLS} ranked cells; name a larger study")
    ranking = rankings[0]
    errors, winner = ranking.errors, ranking.winner.interval
    case = Case(
        winner.n_seeds,
        round(errors.luck.relative if errors.luck.cells else TYPICAL_RELATIVE, 3),
        errors.n_spots,
        len(errors.photos),
        alike_m=winner.alike_m,
        rmse_m=tuple(sorted(cell.interval.estimate for cell in ranking.cells)),
    )
    studies = 5 if settings.quick else settings.rounds or STUDIES
    shares = _simulate(case, studies)
    return {"studies": studies, "cases": [{**_plain(case), **shares}]}


def _plain(case: Case) -> dict[str, Any]:
    plain = asdict(case)
    del plain["rmse_m"]
    return {**plain, "text": case.text}


def every_case(settings: Settings) -> dict[str, Any]:
    """Simulate all cases, and return their shares."""
    *_, last = measure(settings, {})
    return last


def _simulate(case: Case, studies: int) -> dict[str, float]:
    simulation = Simulation(case)
    _repeat(simulation.step, studies, "studies")
    shares = simulation.shares()
    if any(near_limit(shares[kind], studies) for kind in OF_PAIRS):
        _repeat(simulation.step_of_pair, (MORE - 1) * studies, "more studies of two cells")
    return simulation.shares()


def _simulate_crossed(case: Case, studies: int) -> dict[str, float]:
    simulation = Simulation(case)
    _repeat(simulation.step_of_three, max(studies // FEWER, 1), "studies")
    return simulation.shares()


def _repeat(step: Callable[[], None], times: int, of_what: str) -> None:
    told = time.monotonic()
    for number in range(1, times + 1):
        step()
        if time.monotonic() - told > REPORT_S:
            print(f"  {number} of {times} {of_what}", flush=True)
            told = time.monotonic()


def near_limit(share: float, studies: int) -> bool:
    """Whether more studies could put a share on the other side of one of its limits."""
    error = {limit: math.sqrt(limit * (1 - limit) / studies) for limit in TWO_SIDED}
    return any(abs(share - limit) < NEAR * error[limit] for limit in TWO_SIDED)


def _columns(studies: Sequence[Mapping[str, float]]) -> dict[str, Errors]:
    return {name: np.array([one[name] for one in studies]) for name in studies[0]}
