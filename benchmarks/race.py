"""What a race costs and how often it errs: replayed on published studies and on simulated ones.

The truth of a simulated study is known. Its cells are those of table 1, or nine cells some 2 m
apart, or one good cell among equal ones, or 4 to 18 cells drawn at random; its runs have the luck
that ours have.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import ROOT, Row, Settings
from img2gps.analysis import racing, stats
from img2gps.analysis.collect import load_study
from img2gps.analysis.overview import analyse
from img2gps.analysis.racing import End
from img2gps.core.errors import BadInput
from img2gps.runs.race import Rules
from img2gps.study import judging, rest
from img2gps.study.judging import Recorded
from img2gps.study.replay import Curve
from tests.helpers.fake_study import TABLE1, Noise, draw_errors, draw_photos, true_rmse_m

TITLE = "Races, replayed on published studies and on simulated ones"
STUDIES, SEARCHES, SEEDS, EPOCHS = 1000, 200, 5, 15
NINE_M = (66.0, 68.0, 70.0, 70.0, 72.0, 74.0, 76.0, 78.0, 80.0)
LUCK = (0.03, 0.043)  # standard deviation of a run's RMSE, as part of it, in turn
ASTRAY = 1.5  # times the errors of a run that went astray
MARGIN_M = 5.0
TRUTHS: Mapping[str, Callable[[np.random.Generator], list[float]]] = {
    "table 1": lambda _: [
        true_rmse_m(dict(zip(TABLE1, values, strict=True)))
        for values in itertools.product(*TABLE1.values())
    ],
    "nine cells 2 m apart": lambda _: list(NINE_M),
    "one of nine is better": lambda _: [64.0, *[70.0] * 8],
    "4 to 18 cells at random": lambda rng: rng.uniform(55, 95, rng.integers(4, 19)).tolist(),
}


@dataclass(frozen=True)
class Raced:
    """One simulated race.

    Attributes:
        share: of the runs of the grid with five seeds.
        lost: whether a cell was dropped that is better than every cell left by more than the
            margin.
        best_lost: whether the best cell was dropped.
        equivalent, wrongly: whether the cells left were called equivalent, and were not.
        agrees: whether the grid's winner, with five seeds, is left, and the cell that the race
            chose is in the grid's best set.
        left, in_set: how many cells the race and the grid leave.
    """

    share: float
    lost: bool
    best_lost: bool
    equivalent: bool
    wrongly: bool
    agrees: bool
    left: int
    in_set: int
    end: str


def simulated(number: int, truth: str, luck: float, astray: float = 0.0) -> Recorded:
    """Return a study with known truth."""
    rng = np.random.default_rng([18, number])
    rmse = TRUTHS[truth](rng)
    photos = draw_photos(rng, 60, 45)
    offset = draw_errors(rng, photos, rmse, SEEDS, Noise(cell_seed=luck))
    gone = rng.random((len(rmse), SEEDS, 1)) < astray
    error = np.hypot(offset[..., 0], offset[..., 1]) * np.where(gone, ASTRAY, 1.0)
    final = np.sqrt(np.square(error).mean(axis=2))
    curves: list[list[Curve]] = [[_curve(rng, float(end)) for end in own] for own in final]
    return Recorded(truth, error, photos.spot, curves, np.array(rmse))


def _curve(rng: np.random.Generator, final: float) -> Curve:
    """Return a falling curve, noisier before the rate drops after epoch 5, that ends at `final`."""
    epochs = np.arange(1, EPOCHS + 1)
    noise = rng.normal(0, np.where(epochs <= 5, 8.0, 2.0))
    noise[-1] = 0.0
    return [float(x) for x in final + 25 * (np.exp(-epochs / 4) - np.exp(-EPOCHS / 4)) + noise]


def raced(recorded: Recorded, rules: Rules) -> Raced:
    """Race one simulated study, and compare with what the grid says."""
    truth = recorded.rmse_m
    found = racing.replay(recorded.error, recorded.spot, rules)
    dropped, kept = truth[found.dropped], truth[found.kept]
    winner, best_set = grid_says(recorded.error, recorded.spot)
    return Raced(
        share=sum(found.runs) / (recorded.cells * recorded.seeds),
        lost=bool((dropped < kept.min() - rules.margin_m).any()),
        best_lost=int(truth.argmin()) in found.dropped,
        equivalent=found.end is End.equivalent,
        wrongly=found.end is End.equivalent and bool(kept.max() - kept.min() > rules.margin_m),
        agrees=winner in found.kept and found.kept[0] in best_set,
        left=len(found.kept),
        in_set=len(best_set),
        end=found.end,
    )


def grid_says(error: NDArray[np.float64], spot: NDArray[np.int64]) -> tuple[int, set[int]]:
    """Return the grid's winner, and the cells that are indistinguishable from the best."""
    drawn = stats.resample(error, spot, luck=stats.luck_of(error, spot), n=1000)
    marked = np.flatnonzero(stats.confidence_set(drawn).marked)
    return int(stats.cell_rmse(error).argmin()), set(marked.tolist())


def _races(studies: int, rules: Rules, astray: float = 0.0) -> dict[str, Any]:
    """Race simulated studies of all kinds in turn, with a line of progress."""
    found = []
    for number in range(studies):
        truth = list(TRUTHS)[number % len(TRUTHS)]
        luck = LUCK[number // len(TRUTHS) % len(LUCK)]
        found.append(raced(simulated(number, truth, luck, astray), rules))
        if number % 50 == 49:
            print(f"  {number + 1} of {studies} races", file=sys.stderr, flush=True)
    shares = [one.share for one in found]
    return {
        "studies": studies,
        "median": statistics.median(shares),
        "tenth": float(np.quantile(shares, 0.9)),
        **{
            name: statistics.fmean(float(getattr(one, name)) for one in found)
            for name in ("lost", "best_lost", "equivalent", "wrongly", "agrees", "left", "in_set")
        },
        "ends": {end: sum(one.end == end for one in found) for end in End},
    }


def _equivalence(studies: int) -> dict[str, Any]:
    """Race two cells that differ by just more than the margin, until all seeds are used."""
    said = 0
    rules = Rules(margin_m=10.0, give_up_below=0.0)
    for number in range(studies):
        rng = np.random.default_rng([19, number])
        photos = draw_photos(rng, 60, 45)
        offset = draw_errors(rng, photos, [66.0, 76.01], SEEDS, Noise(cell_seed=LUCK[number % 2]))
        error = np.hypot(offset[..., 0], offset[..., 1])
        said += racing.replay(error, photos.spot, rules).end is End.equivalent
    return {"studies": studies, "wrongly": said / studies}


def _ways(studies: int) -> list[dict[str, Any]]:
    """Judge every way on simulated studies, one replay each."""
    answers: dict[str, list[judging.Judged]] = {way: [] for way in judging.WAYS}
    for number in range(studies):
        truth = list(TRUTHS)[number % len(TRUTHS)]
        one = simulated(number, truth, LUCK[number // len(TRUTHS) % len(LUCK)])
        for found in judging.judge(one, times=1):
            answers[found.way].append(found)
    return [_together(way, found) for way, found in answers.items()]


def _together(way: str, found: Sequence[judging.Judged]) -> dict[str, Any]:
    spent = [one.median for one in found]
    means = {name: statistics.fmean(getattr(one, name) for one in found)
             for name in ("wrong", "lost", "regret_m")}  # fmt: skip
    return {"way": way, "median": statistics.median(spent),
            "tenth": float(np.quantile(spent, 0.9)), **means}  # fmt: skip


def _published(times: int) -> list[dict[str, Any]]:
    """Judge every way on the published studies that have several seeds."""
    found = []
    for path in sorted((ROOT / "results").glob("*/study.json")):
        try:
            recorded = judging.read(analyse(load_study(path.parent, [ROOT / "results"])))
        except BadInput:
            continue  # not finished, or cells that cannot be compared
        if recorded.seeds > 1 and recorded.cells > 2:
            print(f"  {recorded.name}", file=sys.stderr, flush=True)
            judged = judging.judge(recorded, times=times)
            size = {"cells": recorded.cells, "seeds": recorded.seeds}
            found += [{**asdict(one), **size} for one in judged]
    return found


def measure(settings: Settings) -> dict[str, Any]:
    """Race simulated and published studies, part by part."""
    studies = 8 if settings.quick else settings.rounds or STUDIES
    parts: dict[str, Callable[[], Any]] = {
        "simulated": lambda: _races(studies, Rules()),
        "with_margin": lambda: _races(studies, Rules(margin_m=MARGIN_M)),
        "equivalence": lambda: _equivalence(studies),
        "astray": lambda: _races(studies // 2, Rules(), astray=0.05),
        "ways": lambda: _ways(min(studies, SEARCHES)),
        "published": lambda: [] if settings.quick else _published(judging.TIMES),
    }
    return {name: settings.part(f"race, {name}", part) for name, part in parts.items()}


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """Return the rows that must be reached, and what stands beside them."""
    plain, margin = measured["simulated"], measured["with_margin"]
    studies, equivalence = plain["studies"], measured["equivalence"]
    lost = max(plain["lost"], margin["lost"])
    wrongly = max(plain["wrongly"], margin["wrongly"], equivalence["wrongly"])
    return [
        Row(
            f"{studies} simulated studies: runs of a race / grid with five seeds, median",
            f"{plain['median']:.2f}; in {plain['agrees']:.1%} the two agree (the grid's winner is "
            "left, and the chosen cell is in the grid's best set)",
            "<= 1/3",
            plain["median"] <= 1 / 3,
        ),
        Row(
            "the same, 9 of 10 races",
            f"{plain['tenth']:.2f}; cells left: {plain['left']:.1f} (grid: {plain['in_set']:.1f})",
            "<= 1/2",
            plain["tenth"] <= 1 / 2,
        ),
        Row(
            f"a better cell (by more than the margin of 0 or {MARGIN_M:g} m) dropped, at any time",
            f"{lost:.1%}; the best cell dropped: {plain['best_lost']:.1%}",
            "<= 5 %",
            lost <= 0.05,
        ),
        Row(
            "'equivalent' said of cells that differ by more than the margin",
            f"{wrongly:.1%} (of two cells that differ by just the margin of 10 m: "
            f"{equivalence['wrongly']:.1%})",
            "<= 5 %",
            wrongly <= 0.05,
        ),
        Row(
            "where 5 % of the runs go astray: the best cell dropped",
            f"{measured['astray']['best_lost']:.1%} of {measured['astray']['studies']} races",
        ),
        Row("how races end", _ends(plain)),
        *(
            Row(
                f"simulated, {one['way']}",
                f"{one['median']:.0%} of the grid's epochs (9 of 10: {one['tenth']:.0%}); more "
                f"than {rest.NOTICED_M:g} m above the best: {one['wrong']:.0%}; a better cell "
                f"given up: {one['lost']:.0%}",
            )
            for one in measured["ways"]
        ),
        *map(_published_row, itertools.groupby(measured["published"], lambda one: one["study"])),
    ]


def _published_row(group: tuple[str, Iterator[Mapping[str, Any]]]) -> Row:
    """Return one row on a published study, with every way but the grid itself."""
    study, ways = group[0], [one for one in group[1] if one["way"] != "grid"]
    return Row(
        f"{study} ({ways[0]['cells']} cells, {ways[0]['seeds']} seeds): share of the grid's "
        f"epochs (chosen cell above the best; a better cell given up)",
        "; ".join(
            f"{one['way']} {one['median']:.0%} ({one['regret_m']:.1f} m; {one['lost']:.0%})"
            for one in ways
        ),
    )


def _ends(found: Mapping[str, Any]) -> str:
    return "; ".join(f"{count} {end}" for end, count in found["ends"].items() if count)
