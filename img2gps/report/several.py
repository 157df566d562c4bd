"""Build the page that compares the winners of several studies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from img2gps.analysis import pairs
from img2gps.analysis.overview import Analysis
from img2gps.analysis.ranking import Ranking
from img2gps.analysis.scene import Scene, scene_of
from img2gps.analysis.study import Study
from img2gps.analysis.tuning import tuning_curve
from img2gps.analysis.wording import cell_name, span, tenths
from img2gps.core.errors import BadInput
from img2gps.report import paper, tables
from img2gps.report.figures import curves, studies, tuning
from img2gps.report.figures.base import Figure, listed, metres, save
from img2gps.report.page import Link, Page, Section


@dataclass(frozen=True)
class Winner:
    """The winner of a study's first ranking."""

    name: str
    ranking: Ranking
    scene: Scene

    @property
    def curves(self) -> pd.DataFrame:
        """The history of the winner's runs, labelled with the name of the study."""
        table = self.scene.curves
        return table[table["rank_cell"] == self.scene.winner].assign(label=self.name)


def page_of(analyses: Sequence[Analysis], folder: Path) -> Page:
    """Return the page of the comparison, and write its figures and its table into `folder`."""
    winners = [_winner(a) for a in analyses if a.rankings]
    winners.sort(key=lambda w: w.ranking.winner.interval.estimate)
    counts: Counter[str] = Counter()
    for analysis in analyses:
        counts.update(analysis.study.counts())
    names = [a.study.name for a in analyses]
    synthetic = [a.study.name for a in analyses if a.study.synthetic]
    table = tables.comparison(analyses)
    paper.write(folder, paper.table_files([table]))
    figures = _figures(winners)
    for figure in figures:
        save(figure, folder / "figures")
    return Page(
        name=" and ".join(names),
        question="",
        source=", ".join(str(a.study.folder) for a in analyses),
        answer=answer(winners, [a.study for a in analyses if not a.rankings]),
        counts=counts,
        banners=[f"{listed(synthetic)}: {tables.SYNTHETIC}"] if synthetic else [],
        notes=[f"{a.study.name}: {note}" for a in analyses for note in a.notes],
        sections=[Section("section-studies", "The studies", [table])],
        figures=figures,
        commands=[a.study.record.command for a in analyses if a.study.record.command],
        studies=[Link(name, f"../{quote(name)}/index.html") for name in names],
    )


def _winner(analysis: Analysis) -> Winner:
    ranking = analysis.rankings[0]
    return Winner(analysis.study.name, ranking, scene_of(analysis, ranking))


def answer(winners: Sequence[Winner], unranked: Sequence[Study]) -> list[str]:
    """Return three sentences; winners are ordered by RMSE, the lowest first."""
    reasons: dict[str, list[str]] = {}
    for study in unranked:
        reasons.setdefault(study.why_unranked, []).append(study.name)
    left = "; ".join(f"in {listed(names)} {why}" for why, names in reasons.items())
    if not winners:
        return [
            f"No answer yet: {left}.",
            "How sure: nothing can be compared.",
            "The RMSE of the mean predictor is known once a run has finished with its predictions.",
        ]
    each = [
        f"{w.name} {metres(w.ranking.winner.interval.estimate)} "
        f"({cell_name(w.ranking.winner.params) or w.ranking.winner.cell}, "
        f"{span(w.ranking.winner.interval)}"
        + (f"; the lowest{w.ranking.among})" if w.ranking.among else ")")
        for w in winners
    ]
    sure = [_difference(winners[0], other) for other in winners[1:]]
    means = [f"{w.name} {metres(w.ranking.mean_predictor.estimate)}" for w in winners]
    first = f"Lowest validation RMSE: {'; '.join(each)}."
    if left:
        first += f" Without a figure: {left}."
    return [
        first,
        f"How sure: {'; '.join(sure) if sure else 'there is only one study with a result'}.",
        f"The mean predictor, which looks at no photo, gets: {'; '.join(means)}.",
    ]


def difference(a: Analysis, b: Analysis) -> str:
    """Say how much higher the RMSE of b's winner is than that of a's on their common photos.

    Raises:
        BadInput: no cell of one of them can be ranked.
    """
    for study in (a, b):
        if not study.rankings:
            raise BadInput(study.study.unranked)
    return _difference(_winner(a), _winner(b))


def _difference(a: Winner, b: Winner) -> str:
    """Say how much higher the RMSE of b is than that of a on their common validation photos."""
    apart = pairs.of_studies(b.ranking, a.ranking)
    if apart is None:
        return f"{a.name} and {b.name} cannot be compared: they have no validation photo in common"
    found = apart.interval
    than = f"{'higher' if found.estimate > 0 else 'lower'} than {a.name}"
    said = (
        f"{b.name} has an RMSE {tenths(abs(found.estimate))} m {than} on their "
        f"{apart.photos} common photos"
    )
    if math.isnan(found.low):
        return said
    verdict = "which excludes 0" if found.low > 0 or found.high < 0 else "which includes 0"
    ends = f"95 % interval {span(found, '+')}, {verdict}"
    return f"{said} ({'; '.join([ends, *_chosen(b, a), *found.notes])})"


def _chosen(*winners: Winner) -> list[str]:
    """Say that winners were chosen on the photos on which they are compared."""
    among = [winner.ranking.tried for winner in winners]
    if max(among) < 2:
        return []
    return [
        f"the winners were chosen on these photos, among {among[0]} and {among[1]} cells, which "
        "the interval leaves out"
    ]


def _figures(winners: Sequence[Winner]) -> list[Figure]:
    if not winners:
        return []
    rows = []
    for winner in winners:
        ranking = winner.ranking
        parts = [(studies.VALIDATION, ranking.winner.interval)]
        if ranking.expected is not None:
            parts.append((studies.CORRECTED, ranking.expected))
        parts.append((studies.MEAN, ranking.mean_predictor))
        for kind, i in parts:
            figures = {"rmse_m": i.estimate, "low_m": i.low, "high_m": i.high}
            rows.append({"study": winner.name, "kind": kind, **figures})
    same = len({w.ranking.group.validation for w in winners}) == 1
    found = [studies.winners(pd.DataFrame(rows), same_photos=same)]
    lines = pd.concat([winner.curves for winner in winners])
    if len(lines):
        mean = winners[0].ranking.mean_predictor.estimate if same else math.nan
        found.append(curves.epochs(lines, name="epochs_by_study", legend="study", mean_rmse_m=mean))
    return [*found, *(_tuning(winners) if same else [])]


def _tuning(winners: Sequence[Winner]) -> list[Figure]:
    """Draw the tuning curves of all studies that have one, if at least two have."""
    known = {winner.name: tuning_curve(winner.scene) for winner in winners}
    found = {name: curve for name, curve in known.items() if curve is not None}
    if len(found) < 2:
        return []
    first = winners[0].scene
    return [tuning.tuning(found, mean_rmse_m=first.mean_rmse_m, floor_m=first.floor_m)]
