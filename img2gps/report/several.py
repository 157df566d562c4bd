"""Several studies on one page: their winners side by side, photo by photo where they can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from img2gps.analysis import stats
from img2gps.analysis.ranking import Analysis, Ranking, described, span
from img2gps.core.errors import BadInput
from img2gps.report import page, paper, tables
from img2gps.report.figures import choose, curves, studies
from img2gps.report.figures.base import Figure, listed, metres
from img2gps.report.page import Link, Page, Section


@dataclass(frozen=True)
class Winner:
    """The first ranking of a study and the predictions of its winner."""

    name: str
    ranking: Ranking
    scene: choose.Scene
    predictions: pd.DataFrame


def page_of(analyses: Sequence[Analysis], folder: Path) -> Page:
    """The comparison's page; its figures and its table are written into `folder`."""
    winners = [_winner(a) for a in analyses if a.rankings]
    winners.sort(key=lambda w: w.ranking.winner.interval.estimate)
    counts: dict[str, int] = {}
    for analysis in analyses:
        for state, count in analysis.study.counts().items():
            counts[state] = counts.get(state, 0) + count
    names = [a.study.name for a in analyses]
    synthetic = [a.study.name for a in analyses if a.study.synthetic]
    table = tables.comparison(analyses)
    paper.write(folder, paper.table_files([table]))
    return Page(
        name=" and ".join(names),
        question="",
        source=", ".join(str(a.study.folder) for a in analyses),
        answer=answer(winners, names),
        counts=counts,
        banners=[f"{listed(synthetic)}: {tables.SYNTHETIC}"] if synthetic else [],
        notes=[f"{a.study.name}: {note}" for a in analyses for note in a.notes],
        sections=[Section("section-studies", "The studies", [page.shown(table)])],
        figures=[page.picture(f, folder / "figures") for f in _figures(winners)],
        commands=[str(a.study.facts["command"]) for a in analyses if a.study.facts.get("command")],
        studies=[Link(name, f"../{quote(name)}/index.html") for name in names],
    )


def _winner(analysis: Analysis) -> Winner:
    ranking = analysis.rankings[0]
    scene = choose.scene(analysis, ranking)
    return Winner(analysis.study.name, ranking, scene, choose.winners_predictions(scene))


def answer(winners: Sequence[Winner], names: Sequence[str]) -> list[str]:
    """Three sentences; winners by RMSE, the lowest first."""
    if not winners:
        return [
            f"No answer yet: nothing has finished in {listed(list(names))}.",
            "How sure: nothing can be compared.",
            "What the mean predictor gets will be known once a run has finished.",
        ]
    each = [
        f"{w.name} {metres(w.ranking.winner.interval.estimate)} "
        f"({described(w.ranking.winner.params) or w.ranking.winner.cell}, "
        f"{span(w.ranking.winner.interval)})"
        for w in winners
    ]
    sure = [_difference(winners[0], other) for other in winners[1:]]
    means = [f"{w.name} {metres(w.ranking.mean_predictor.estimate)}" for w in winners]
    left = [name for name in names if name not in {w.name for w in winners}]
    first = f"Lowest validation RMSE: {'; '.join(each)}."
    if left:
        first += f" Nothing has finished in {listed(left)}."
    return [
        first,
        f"How sure: {'; '.join(sure) if sure else 'there is only one study with a result'}.",
        f"The mean predictor, which looks at no photo, gets: {'; '.join(means)}.",
    ]


def difference(a: Analysis, b: Analysis) -> str:
    """How far the winner of b lies above that of a on the photos that both have.

    Raises:
        BadInput: one of them has no finished run.
    """
    for study in (a, b):
        if not study.rankings:
            raise BadInput(f"{study.study.name}: no finished run yet; run its cells first")
    return _difference(_winner(a), _winner(b))


def _difference(a: Winner, b: Winner) -> str:
    """How far b lies above a on the validation photos that both have."""
    wide = [
        w.predictions.pivot_table(index="seed", columns="content", values="error_m") for w in (a, b)
    ]
    common = wide[0].columns.intersection(wide[1].columns)
    if len(common) < 2:
        return f"{b.name} was validated on other photos than {a.name}, so they cannot be compared"
    spot = a.predictions.drop_duplicates("content").set_index("content")["spot"].loc[common]
    errors = [table[common].to_numpy(dtype=np.float64) for table in wide]
    found = stats.difference_interval(errors[1], errors[0], spot.to_numpy())
    photos = f"{len(common)} common photos"
    said = f"{b.name} lies {found.estimate:+.1f} m from {a.name} on their {photos}"
    if math.isnan(found.low):
        return said
    verdict = "which excludes 0" if found.low > 0 or found.high < 0 else "which includes 0"
    ends = f"95 % interval {found.low:+.1f} to {found.high:+.1f} m, {verdict}"
    return f"{said} ({'; '.join([ends, *found.notes])})"


def _figures(winners: Sequence[Winner]) -> list[Figure]:
    if not winners:
        return []
    rows = []
    for winner in winners:
        ranking = winner.ranking
        parts = [(studies.VALIDATION, ranking.winner.interval)]
        if len(ranking.cells) > 1 and ranking.corrected.interval is not None:
            parts.append((studies.CORRECTED, ranking.corrected.interval))
        parts.append((studies.MEAN, ranking.mean_predictor))
        for kind, i in parts:
            figures = {"rmse_m": i.estimate, "low_m": i.low, "high_m": i.high}
            rows.append({"study": winner.name, "kind": kind, **figures})
    same = len({w.ranking.group.validation for w in winners}) == 1
    found = [studies.winners(pd.DataFrame(rows), same_photos=same)]
    lines = pd.concat([choose.winners_curves(w.scene).assign(label=w.name) for w in winners])
    if len(lines):
        mean = winners[0].ranking.mean_predictor.estimate if same else math.nan
        found.append(curves.epochs(lines, name="epochs_by_study", legend="study", mean_rmse_m=mean))
    return found
