"""Everything that a report says about a study: its rankings, what is missing, what to know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from img2gps.analysis.looks import looks
from img2gps.analysis.ranking import Ranking, knobs, rank
from img2gps.analysis.sources import Sources, sources
from img2gps.analysis.stats import average_of_best
from img2gps.analysis.study import DONE, Study
from img2gps.analysis.winner import Rule, read_rule
from img2gps.analysis.wording import span
from img2gps.core.counted import counted
from img2gps.runs.winner import read_winner


@dataclass(frozen=True)
class Missing:
    """A planned cell without a figure, or with fewer seeds than planned."""

    cell: str
    params: dict[str, Any]
    reason: str
    ranked: bool  # some of its seeds are in a ranking


@dataclass(frozen=True)
class Searched:
    """How much each knob of a search decides whether a trial is among the best (PED-ANOVA)."""

    importance: dict[str, float]  # by knob, the largest first; they sum to 1
    trials: int
    best: float  # share of the trials that count as the best


@dataclass(frozen=True)
class Analysis:
    """A study, analysed. `rankings` is empty as long as nothing can be ranked."""

    study: Study
    rankings: list[Ranking]  # the largest first
    missing: list[Missing]
    notes: list[str]
    searched: Searched | None = None  # of a search, where the caller has Optuna
    luck: Sources | None = None  # where the seeds were varied apart from each other


def analyse(study: Study) -> Analysis:
    """Return everything that the report says about a study."""
    rankings = [rank(study, group) for group in study.groups()]
    notes = list(study.notes)
    counts = study.counts()
    if set(counts) - {DONE}:
        parts = [f"{count} {state}" for state, count in counts.items()]
        notes.append(f"Of {len(study.runs)} planned runs: {', '.join(parts)}.")
    if len(rankings) > 1:
        notes.append(
            f"{len(rankings)} rankings, because runs on different validation photos, or with and "
            "without pretraining, are not comparable."
        )
    if study.record.left_out:
        notes.append(f"{study.record.left_out}.")
    notes += [
        f"The search began with {counted(count, 'run')} of {name}."
        for name, count in study.record.warm_start.items()
    ]
    notes += _raced(study)
    notes += _selected(study, rankings)
    notes += _looks(study, rankings)
    missing = _missing(study, rankings)
    return Analysis(study, rankings, missing, notes, luck=sources(study))


def _raced(study: Study) -> list[str]:
    """Say what a race has dropped, and how it ended."""
    race = study.record.race
    if race is None:
        return []
    drops = [drop for look in race.looks for drop in look.dropped]
    return [*(f"Dropped from the race: {d.cell}: {d.reason}." for d in drops), *race.lines()[-1:]]


def _selected(study: Study, rankings: Sequence[Ranking]) -> list[str]:
    """Say where the study's rule or its frozen winner differ from the ranking."""
    notes = []
    rule, ranked = read_rule(study.record.select, study.record.monitor, "minimize"), Rule()
    if (rule.by, rule.aggregate) != (ranked.by, ranked.aggregate):
        notes.append(
            f"The study selects by the {rule.aggregate} of {rule.by}; this report ranks by the "
            f"{ranked.aggregate} of {ranked.by}."
        )
    elif rule.top > 1 and rankings:
        notes += _answering_together(rule.top, rankings[0])
    frozen = read_winner(study.folder)
    if frozen and frozen.cell and rankings and frozen.cell != rankings[0].winner.cell:
        notes.append(
            f"img2gps select has frozen {frozen.cell}; the lowest RMSE{rankings[0].among} here is "
            f"that of {rankings[0].winner.cell}."
        )
    return notes


def _answering_together(top: int, ranking: Ranking) -> list[str]:
    """Say what the average of the best cells gets, and what to expect of it on other photos."""
    errors, may_win = ranking.errors, ranking.may_win
    if errors.away_m is None or ranking.candidates <= top:
        return []
    data = errors.error_m[may_win], errors.away_m[:, may_win], errors.places
    found = average_of_best(*data, top)
    text = (
        f"By the study's rule its {top} best cells answer together: the average of their runs gets "
        f"{found.apparent:.1f} m here"
    )
    if found.interval is None:
        return [f"{text}."]
    return [
        f"{text}; corrected for having been selected among {ranking.candidates} cells, expect "
        f"{found.corrected:.1f} m ({span(found.interval)})."
    ]


def _looks(study: Study, rankings: Sequence[Ranking]) -> list[str]:
    """Say how often the validation photos of the first ranking have chosen in other studies."""
    if not rankings:
        return []
    folders = [Path(str(folder)) for folder in rankings[0].group.runs["folder"]]
    return looks(folders, rankings[0].candidates, study.name, study.roots).lines()


def _missing(study: Study, rankings: Sequence[Ranking]) -> list[Missing]:
    """Return the cells that are not in any ranking, or not with all their seeds."""
    ranked = {cell.cell for ranking in rankings for cell in ranking.cells}
    found = []
    for cell, rows in study.runs.groupby("rank_cell", sort=False):
        left = rows[rows["state"] != DONE]
        if left.empty and cell in ranked:
            continue
        texts = [f"{run.state}: {run.reason}".removesuffix(": ") for run in left.itertuples()]
        reasons = Counter(texts or ["finished without a readable predictions.csv"] * len(rows))
        text = "; ".join(
            f"{count} {reason}" if len(rows) > 1 else reason for reason, count in reasons.items()
        )
        params = knobs(rows["params"].iloc[0], study.axes)
        found.append(Missing(str(cell), params, text, cell in ranked))
    return found
