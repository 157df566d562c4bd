"""The tables of a study: what is said, cell by cell; `table` is how it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from img2gps.analysis import ranking as analysis
from img2gps.analysis.ranking import Analysis, Cell, Missing, Ranking, described, span, spoken
from img2gps.analysis.stats import MIN_SPOTS, Interval, difference_interval
from img2gps.report.table import Entry, Mark, Table

ROWS, COLUMNS = "lr", "batch_size"  # of Table 1
POWER_TEXT = "80 % power at the 95 % level"
MAX_GRIDS = 12  # more tables of one layout are a list, not a comparison
SYNTHETIC = (
    "Synthetic photos: these figures are about the built-in quad, a scene made by a program, and "
    "say nothing about real photos."
)

SAME = Mark("*", "*", "not distinguishable from the lowest (model confidence set, 95 %)")
MEAN = Mark("†", r"$\dagger$", "not shown to beat the mean predictor (joint test, 95 %)")
FEWER = Mark("§", r"\S", "fewer seeds than planned")
EDGE = Mark("‡", r"$\ddagger$", "on the grid's edge")  # its legend says where to extend


def study_tables(study: Analysis) -> list[Table]:
    """All tables of a study, in the order in which a reader needs them."""
    tables: list[Table] = []
    for number, ranking in enumerate(study.rankings, 1):
        found = [summary(ranking), *grids(study, ranking)]
        if not all(np.isnan(cell.best_rmse_m) for cell in ranking.cells):
            found += grids(study, ranking, best_epoch=True)
        found += [cells(ranking), *importance(ranking)]
        if len(study.rankings) > 1:
            label = f" [{ranking.group.label}]"
            found = [
                replace(
                    table,
                    key=f"ranking{number}_{table.key}",
                    caption=table.caption + (label if table.key != "summary" else ""),
                )
                for table in found
            ]
        tables += found
    if study.missing:
        tables.append(missing(study))
    if study.study.synthetic:
        tables = [replace(table, banner=SYNTHETIC) for table in tables]
    return tables


def grids(study: Analysis, ranking: Ranking, *, best_epoch: bool = False) -> list[Table]:
    """Table 1 in the layout of the published study: lr down, batch size across.

    One table for each combination of the other axes; none where the study has not both axes.
    `best_epoch` gives the same grid for each run's best epoch, an optimistic choice.
    """
    axes = {axis: v for axis, v in study.study.axes.items() if axis != analysis.FOLD_AXIS}
    if not {ROWS, COLUMNS} <= set(axes):
        return []
    others = [axis for axis in axes if axis not in (ROWS, COLUMNS)]
    points = [
        dict(zip(others, values, strict=True)) for values in product(*(axes[a] for a in others))
    ]
    ranked = {_key(cell.params, axes): cell for cell in ranking.cells}
    fields = list(product(axes[ROWS], axes[COLUMNS]))
    points = [
        point
        for point in points
        if any(_key({**point, ROWS: lr, COLUMNS: batch}, axes) in ranked for lr, batch in fields)
    ]
    if len(points) > MAX_GRIDS:
        return []
    absent = {_key(cell.params, axes): cell for cell in study.missing if not cell.ranked}
    return [_grid(ranking, axes, point, ranked, absent, best_epoch) for point in points]


def _grid(
    ranking: Ranking,
    axes: dict[str, list[Any]],
    point: dict[str, Any],
    ranked: dict[tuple[str, ...], Cell],
    absent: dict[tuple[str, ...], Missing],
    best_epoch: bool,
) -> Table:
    columns = sorted(axes[COLUMNS])
    published = {
        (lr, batch): ranking.published_m({**point, ROWS: lr, COLUMNS: batch})
        for lr, batch in product(axes[ROWS], columns)
    }
    reference = ranking.reference
    if best_epoch or all(value is None for value in published.values()):
        reference = None
    lowest = min(cell.best_rmse_m for cell in ranking.cells) if best_epoch else np.nan
    reasons: dict[str, Mark] = {}
    rows = []
    for lr in sorted(axes[ROWS]):
        row = [Entry(str(lr))]
        for batch in columns:
            key = _key({**point, ROWS: lr, COLUMNS: batch}, axes)
            if key not in ranked:
                reason = absent[key].reason if key in absent else "not part of the study"
                row.append(Entry("-", marks=(_footnote(reason, reasons),)))
            elif best_epoch:
                figure = ranked[key].best_rmse_m
                row.append(_figure(figure, bold=figure == lowest))
            else:
                row.append(_cell_entry(ranked[key], ranking))
        if reference is not None:
            row += [_published(published[(lr, batch)]) for batch in columns]
        rows.append(row)
    mean = ranking.mean_predictor
    blank = [Entry() for _ in columns[1:]]
    last = [
        Entry("mean predictor"),
        _with_interval(mean) if not best_epoch else _figure(mean.estimate),
    ]
    rows.append([*last, *blank])
    header = [spoken(ROWS), *(described({COLUMNS: batch}) for batch in columns)]
    if reference is not None:
        header += [f"{reference.label}, {described({COLUMNS: batch})}" for batch in columns]
        mean_m = reference.mean_predictor
        rows[-1] += [_figure(np.nan if mean_m is None else mean_m), *blank]
    name = "best_epoch" if best_epoch else "table1"
    start = "pretrained" if ranking.group.pretrained else "from scratch"
    where = f", {described(point)}, {start}" if point else f", {start}"
    if best_epoch:
        caption = f"Optimistic: validation RMSE in metres at each run's best epoch{where}"
        legend: list[tuple[Mark | None, str]] = [
            (
                None,
                "The epoch was chosen on the validation photos themselves, run by run, which "
                "flatters every figure; the study's own figure is that of the final epoch.",
            )
        ]
    else:
        caption = f"Validation RMSE in metres after the final epoch{where}"
        legend = _legend(ranking, rows)
        if reference is not None:
            columns_said = f"{reference.label[:1].upper()}{reference.label[1:]} columns"
            legend.append((None, f"{columns_said}: {reference.source}."))
    legend += [(mark, text) for text, mark in reasons.items()]
    key_parts = [name, *(re.sub(r"[^A-Za-z0-9.-]+", "-", str(value)) for value in point.values())]
    return Table("_".join(key_parts), caption, header, rows, legend)


def cells(ranking: Ranking) -> Table:
    """Every ranked cell, the lowest first, with its interval, seeds and marks."""
    axes = ranking.axes
    ordered = sorted(ranking.cells, key=lambda cell: cell.interval.estimate)
    with_names = any(cell.name for cell in ordered)
    rows = []
    for cell in ordered:
        row = [Entry(cell.name)] if with_names else []
        row += [Entry(str(cell.params.get(axis, ""))) for axis in axes]
        share = cell.win_share
        row += [
            _cell_entry(cell, ranking),
            _figure(cell.interval.se_photos),
            _figure(cell.interval.se_seeds),
            Entry(f"{len(cell.run_rmse_m)} of {cell.planned}", number=len(cell.run_rmse_m)),
            Entry(f"{share:.0%}", number=share),
            _figure(cell.best_rmse_m),
        ]
        rows.append(row)
    heads = len(axes) + with_names
    mean = ranking.mean_predictor
    label = [Entry("mean predictor"), *(Entry() for _ in range(heads - 1))] if heads else []
    rest = [_with_interval(mean), _figure(mean.se_photos), *(Entry() for _ in range(4))]
    rows.append([*label, *rest])
    header = (["name"] if with_names else []) + [spoken(axis) for axis in axes]
    header += ["RMSE (m)", "± photos", "± seeds", "seeds", "chosen", "best epoch"]
    legend = [
        *_legend(ranking, rows),
        (
            None,
            "± photos, ± seeds: standard errors from which spots were photographed and from "
            "initialisation and order.",
        ),
        (None, "chosen: share of resamples of the spots in which the cell has the lowest RMSE."),
        (None, "best epoch: optimistic, the epoch was chosen on the validation photos."),
    ]
    caption = "All cells, lowest validation RMSE after the final epoch first"
    return Table("cells", caption, header, rows, legend, heads=heads)


def summary(ranking: Ranking) -> Table:
    """What may be said of the winner, beside what it has to beat."""
    winner, corrected = ranking.winner, ranking.corrected
    rows = [_line("lowest validation RMSE", winner.interval, described(winner.params), bold=True)]
    several = ranking.candidates > 1
    if several and corrected.interval is not None:
        note = (
            f"expected on other photos like the validation ones; {ranking.candidates} cells tried"
        )
        rows.append(_line("corrected for the selection", corrected.interval, note))
    if ranking.test is not None:
        text = "which selected nothing; the deployed run, one seed"
        rows.append(_part_line("test part", ranking.test, text))
    if ranking.folds is not None:
        rows.append(_fold_line(ranking))
    rows += [_named_line(cell, ranking) for cell in ranking.cells if cell.name]
    parts = (("known spots", ranking.known_spots), ("new spots", ranking.new_spots))
    for name, interval in parts:
        if interval is not None:
            share = "some training photos" if name == "known spots" else "no training photo"
            rows.append(_part_line(name, interval, f"with {share} of the same spot"))
    mean = ranking.mean_predictor
    rows.append(_line("mean predictor", mean, "always answers the mean training position"))
    names = {"knn": "nearest neighbours", "ridge": "ridge regression"}
    for key, value in ranking.baselines.items():
        rows.append([Entry(names[key]), _figure(value), Entry("on frozen features")])
    found = ranking.detectable
    if found is not None:
        between = f"{found.low_m:.0f} to {found.high_m:.0f} m"
        text = f"with {POWER_TEXT}, between the winner and a competitor ({between})"
        rows.append([Entry("smallest detectable difference"), _figure(found.median_m), Entry(text)])
    if ranking.photos_for_pair is not None and ranking.closest_pair_m is not None:
        a, b = ranking.closest_pair_m
        needed = ranking.photos_for_pair
        rows.append(
            [
                Entry("photos needed for a difference as published"),
                Entry(_round(needed), number=needed),
                Entry(f"validation photos that would tell {a} from {b} m; here {_photos(mean)}"),
            ]
        )
    if ranking.truth is not None:
        truth = ranking.truth
        text = "against positions without GPS noise, on the photos that chose the winner"
        rows.append([Entry("truth, validation photos"), _figure(truth.validation_m), Entry(text)])
        if not np.isnan(truth.test_m):
            text = "against positions without GPS noise, on photos that chose nothing"
            rows.append([Entry("truth, test photos"), _figure(truth.test_m), Entry(text)])
    legend: list[tuple[Mark | None, str]] = [(None, note) for note in ranking.notes]
    if several:
        legend.append(
            (
                None,
                "Only the corrected and the test figure may be called the winner's "
                "expected error: the lowest of several is flattered by having been chosen.",
            )
        )
    legend += [(None, _edge_text(ranking))] if ranking.edges else []
    if not ranking.importance:
        legend.append((None, f"No analysis of variance: {ranking.no_importance}."))
    caption = f"The winner and what it has to beat, RMSE in metres ({ranking.group.label})"
    return Table("summary", caption, ["figure", "metres", "what it is"], rows, legend, texts=(2,))


def importance(ranking: Ranking) -> list[Table]:
    """Shares of the variance between runs, on full grids; none elsewhere."""
    if not ranking.importance:
        return []
    rows = [
        [
            Entry(
                " \N{MULTIPLICATION SIGN} ".join(spoken(axis) for axis in effect.axes) or "seeds"
            ),
            Entry(f"{effect.share:.1%}", number=effect.share),
            Entry(f"{effect.low:.1%} to {effect.high:.1%}"),
        ]
        for effect in ranking.importance
    ]
    legend: list[tuple[Mark | None, str]] = [
        (
            None,
            "Analysis of variance of the runs' RMSE on the full grid; intervals over resampled "
            "spots. It speaks of the values tried and of nothing between or beyond them.",
        )
    ]
    if all(effect.axes for effect in ranking.importance):
        legend.append((None, "A cell has one seed: the seeds' luck is in all these shares."))
    caption = "Share of the variance between runs that each hyperparameter explains"
    header = ["effect", "share", "95 % interval"]
    return [Table("importance", caption, header, rows, legend)]


def missing(study: Analysis) -> Table:
    """Planned cells without a figure, or with fewer seeds, and why."""
    rows = [
        [
            Entry(described(cell.params) or cell.cell),
            Entry("yes" if cell.ranked else "-"),
            Entry(cell.reason),
        ]
        for cell in study.missing
    ]
    caption = "Cells that are not complete"
    return Table("missing", caption, ["cell", "ranked", "why"], rows, texts=(1, 2))


def comparison(studies: Sequence[Analysis]) -> Table:
    """Several studies side by side: each one's winner, its expected error, what it has to beat."""
    rows = []
    for study in studies:
        for ranking in study.rankings:
            corrected = ranking.corrected.interval
            rows.append(
                [
                    Entry(study.study.name),
                    Entry(ranking.group.label),
                    Entry(described(ranking.winner.params)),
                    _with_interval(ranking.winner.interval),
                    Entry("-") if corrected is None else _with_interval(corrected),
                    _with_interval(ranking.mean_predictor),
                    Entry("yes" if study.study.synthetic else "no"),
                ]
            )
        if not study.rankings:
            rows.append([Entry(study.study.name), Entry("nothing finished"), *[Entry("-")] * 5])
    header = ["study", "runs", "winner", "validation", "corrected", "mean predictor", "synthetic"]
    legend: list[tuple[Mark | None, str]] = [
        (
            None,
            "RMSE in metres with 95 % intervals. Studies on different photos or splits answer "
            "different questions; rows with different validation photos are not comparable.",
        )
    ]
    return Table("comparison", "Studies", header, rows, legend, heads=3, texts=(6,))


def _key(params: dict[str, Any], axes: Sequence[str] | dict[str, Any]) -> tuple[str, ...]:
    """A cell's place in the grid, whatever the type of its values."""
    return tuple(
        str(float(value)) if isinstance(value := params.get(axis), int | float) else str(value)
        for axis in axes
    )


def _footnote(reason: str, reasons: dict[str, Mark]) -> Mark:
    """A letter for each reason: a, b, ..., z, aa, ..."""
    if reason not in reasons:
        number, letters = len(reasons), ""
        while number >= 0:
            letters = chr(ord("a") + number % 26) + letters
            number = number // 26 - 1
        reasons[reason] = Mark(letters, letters, reason)
    return reasons[reason]


def _marks_of(cell: Cell, ranking: Ranking) -> tuple[Mark, ...]:
    is_winner = cell.cell == ranking.winner.cell
    found = []
    if cell.in_best_set and not is_winner:
        found.append(SAME)
    if cell.beats_mean is False:
        found.append(MEAN)
    if is_winner and ranking.edges:
        found.append(EDGE)
    if len(cell.run_rmse_m) < cell.planned:
        found.append(FEWER)
    return tuple(found)


def _legend(ranking: Ranking, rows: list[list[Entry]]) -> list[tuple[Mark | None, str]]:
    """What bold type, brackets and the marks that occur mean, and the ranking's warnings."""
    entries = [entry for row in rows for entry in row]
    used = {mark for entry in entries for mark in entry.marks}
    seeds = sorted({cell.interval.n_seeds for cell in ranking.cells})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    figure = "one seed" if seeds == [1] else f"mean over {count} seeds"
    lines: list[tuple[Mark | None, str]] = []
    if not any(entry.bold for entry in entries):
        lines.append((None, f"The lowest cell is elsewhere: {described(ranking.winner.params)}."))
    elif ranking.candidates > 1:
        expected = f"the corrected figure, {ranking.corrected.corrected:.1f} m"
        lines.append((None, f"bold: the lowest of this ranking; its expected error is {expected}."))
    else:
        lines.append((None, "bold: the only cell that can win"))
    interval = ranking.winner.interval
    lines.append(
        (
            None,
            f"{figure} [95 % interval over spots"
            f"{'' if seeds == [1] else ' and seeds'}; {_photos(interval)}]",
        )
    )
    for mark in (SAME, MEAN, FEWER):
        if mark in used:
            lines.append((mark, mark.meaning))
    if EDGE in used:
        lines.append((EDGE, _edge_text(ranking)))
    return lines + [(None, note) for note in ranking.notes]


def _edge_text(ranking: Ranking) -> str:
    parts = [
        f"{spoken(edge.axis)} {edge.value:g} is the end of its axis: extend to {edge.suggestion:g}"
        for edge in ranking.edges
    ]
    return f"winner on the grid's edge; {'; '.join(parts)}"


def _photos(interval: Interval) -> str:
    photos = "1 photo" if interval.n_photos == 1 else f"{interval.n_photos} photos"
    return f"{photos} of {'1 spot' if interval.n_spots == 1 else f'{interval.n_spots} spots'}"


def _cell_entry(cell: Cell, ranking: Ranking) -> Entry:
    entry = _with_interval(cell.interval, bold=cell.cell == ranking.winner.cell)
    return replace(entry, marks=_marks_of(cell, ranking))


def _with_interval(interval: Interval, *, bold: bool = False) -> Entry:
    ends = None if np.isnan(interval.low) else (interval.low, interval.high)
    return replace(_figure(interval.estimate, bold=bold), interval=ends)


def _figure(value: float, *, bold: bool = False) -> Entry:
    if np.isnan(value):
        return Entry("-")
    return Entry(f"{value:.1f}", bold=bold, number=float(value))


def _published(value: float | None) -> Entry:
    return Entry("-") if value is None else Entry(f"{value:.2f}", number=value)


def _line(name: str, interval: Interval, text: str, *, bold: bool = False) -> list[Entry]:
    return [Entry(name), _with_interval(interval, bold=bold), Entry(text)]


def _part_line(name: str, interval: Interval, text: str) -> list[Entry]:
    """A figure on other photos than the table's, which may be too few."""
    few = "; interval unreliable" if interval.n_spots < MIN_SPOTS else ""
    return _line(name, interval, f"{_photos(interval)} {text}{few}")


def _named_line(cell: Cell, ranking: Ranking) -> list[Entry]:
    """A cell with a name, such as the baseline, and how far it is from the winner."""
    text = described(cell.params)
    if cell.cell != ranking.winner.cell:
        at = ranking.errors.cells.index
        error, winner = ranking.errors.error_m, at(ranking.winner.cell)
        apart = difference_interval(error[at(cell.cell)], error[winner], ranking.errors.spot)
        text += f"; {apart.estimate:+.1f} m against the winner, paired 95 % interval {span(apart)}"
    return _line(cell.name, cell.interval, text)


def _fold_line(ranking: Ranking) -> list[Entry]:
    folds = ranking.folds
    assert folds is not None
    ends = None if np.isnan(folds.low) else (folds.low, folds.high)
    return [
        Entry(f"mean of {folds.folds} folds"),
        replace(_figure(folds.estimate), interval=ends),
        Entry("interval with the Nadeau-Bengio correction"),
    ]


def _round(count: int) -> str:
    """Two significant digits: it is an estimate."""
    return f"{int(float(f'{count:.2g}')):,}".replace(",", " ")
