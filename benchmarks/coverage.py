"""How often the report's intervals hold the truth: simulated studies whose truth is known.

A study has nine cells whose true RMSE lies between 66 and 80 m, and validation photos of unevenly
photographed spots. Errors share a part within spots, photos and cells, and every run has luck. In
the last case 5 % of the runs go astray, with errors half as large again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.harness import Row, Settings
from img2gps.analysis import stats
from tests.helpers.fake_study import Noise, draw_errors, draw_photos

TITLE = "Coverage of the intervals, in simulated studies"
RMSE_M = (66.0, 68.0, 70.0, 70.0, 72.0, 74.0, 76.0, 78.0, 80.0)
ASTRAY = 1.5  # times the errors of a run that went astray
STUDIES = 1000
LOWEST, HIGHEST = 0.93, 0.97  # coverage that a nominal 95 % must have
KINDS = {
    "cell": "one cell",
    "difference": "the difference of two cells chosen beforehand",
    "winner": "the winner, corrected for having been selected",
    "best": "the best cell is in the confidence set",
}


@dataclass(frozen=True)
class Case:
    """One kind of study."""

    seeds: int
    luck: float = 0.03  # standard deviation of a run's RMSE, as part of it
    spots: int = 41
    photos: int = 60
    astray: float = 0.0  # share of the runs

    @property
    def text(self) -> str:
        """The case in words."""
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        astray = f", {self.astray:.0%} of the runs astray" if self.astray else ""
        return f"{seeds}, luck {100 * self.luck:g} %, {self.spots} spots{astray}"


CASES = (
    *(Case(seeds, luck) for luck in (0.03, 0.043) for seeds in (1, 2, 3, 5)),
    *(Case(3, spots=20, photos=30), Case(3, spots=100, photos=150), Case(3, astray=0.05)),
)


def simulate(case: Case, studies: int) -> dict[str, float]:
    """Return the share of the studies in which each interval holds the truth."""
    held = dict.fromkeys(KINDS, 0)
    left = []  # by how much the corrected figure of the winner is too high
    truth = np.array(RMSE_M) * (1 + case.astray * (ASTRAY - 1)) / math.hypot(1, case.luck)
    for number in range(studies):
        rng = np.random.default_rng([case.seeds, case.spots, round(1000 * case.luck), number])
        photos = draw_photos(rng, case.photos, case.spots)
        offset = draw_errors(rng, photos, RMSE_M, case.seeds, Noise(cell_seed=case.luck))
        gone = rng.random((len(RMSE_M), case.seeds, 1)) < case.astray
        error = np.hypot(offset[..., 0], offset[..., 1]) * np.where(gone, ASTRAY, 1.0)
        data, luck = (error, photos.spot), stats.luck_of(error, photos.spot)
        cell = stats.cell_interval(error[2], photos.spot, luck=luck, seed=number)
        apart = stats.difference_interval(error[1], error[3], photos.spot, luck=luck, seed=number)
        won = stats.selection_corrected(*data, luck=luck, n=500, seed=number)
        in_set = stats.confidence_set(stats.resample(*data, luck=luck, n=500, seed=number))
        held["cell"] += cell.low <= truth[2] <= cell.high
        held["difference"] += apart.low <= truth[1] - truth[3] <= apart.high
        assert won.interval is not None
        held["winner"] += won.interval.low <= truth[won.winner] <= won.interval.high
        held["best"] += bool(in_set.marked[0])
        left.append(won.corrected - truth[won.winner])
    shares = {kind: float(count) / studies for kind, count in held.items()}
    return {**shares, "too_high_m": float(np.mean(left))}


def measure(settings: Settings) -> dict[str, Any]:
    """Simulate all cases."""
    cases, studies = (CASES[:1], 5) if settings.quick else (CASES, settings.rounds or STUDIES)
    found = [{**asdict(case), "text": case.text, **simulate(case, studies)} for case in cases]
    return {"studies": studies, "cases": found}


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """Return a row for each kind of interval in each case."""
    return [
        Row(f"{case['text']}: {text}", f"{case[kind]:.1%}", *_judged(kind, case[kind]))
        for case in measured["cases"]
        for kind, text in KINDS.items()
    ]


def _judged(kind: str, share: float) -> tuple[str, bool]:
    if kind == "best":
        return "at least 95 %", share >= 0.95
    return f"{LOWEST:.0%} to {HIGHEST:.0%}", LOWEST <= share <= HIGHEST
