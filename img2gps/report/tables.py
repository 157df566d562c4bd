"""The tables of a study: what they say; `table` writes them and `entries` explains their marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from img2gps.analysis import pairs
from img2gps.analysis.baselines import Baseline
from img2gps.analysis.overview import Analysis, Searched
from img2gps.analysis.ranking import Cell, Ranking
from img2gps.analysis.sources import Sources
from img2gps.analysis.stats import MIN_SPOTS, Interval
from img2gps.analysis.wording import cell_name, knob_name, named_span, tenths
from img2gps.core.counted import counted
from img2gps.report import entries
from img2gps.report.entries import counts, figure, has_seeds, line, with_interval
from img2gps.report.grids import grids
from img2gps.report.radius_table import radius_tables
from img2gps.report.table import Entry, Legend, Table

POWER_TEXT = "a probability of 80 %"
SYNTHETIC = (
    "Synthetic photos: these figures are about the built-in quad, a scene made by a program, and "
    "say nothing about real photos."
)
_TIMES = " \N{MULTIPLICATION SIGN} "


def study_tables(study: Analysis) -> list[Table]:
    """Return all tables of a study, in the order in which a reader needs them."""
    found = []
    for number, ranking in enumerate(study.rankings):
        banner = SYNTHETIC if ranking.group.synthetic else ""
        found += [replace(table, banner=banner) for table in _of_ranking(study, number)]
    if study.luck is not None:
        found.append(luck(study.luck))
    if study.searched is not None:
        found.append(searched(study.searched))
    if study.missing:
        found.append(replace(missing(study), banner=SYNTHETIC if study.study.synthetic else ""))
    return found


def _of_ranking(study: Analysis, number: int) -> list[Table]:
    """Return the tables of one ranking, named and labelled by it where there are several."""
    ranking = study.rankings[number]
    found = [
        summary(ranking),
        *radius_tables(ranking.radius, ranking.density_fit),
        *grids(study, ranking),
    ]
    if not all(np.isnan(cell.best_rmse_m) for cell in ranking.cells):
        found += grids(study, ranking, best_epoch=True)
    found += [cells(ranking), *importance(ranking)]
    if len(study.rankings) == 1:
        return found
    label = f" [{ranking.group.label}]"
    return [
        replace(
            table,
            key=f"ranking{number + 1}_{table.key}",
            caption=table.caption + (label if table.key != "summary" else ""),
        )
        for table in found
    ]


def cells(ranking: Ranking) -> Table:
    """Return every ranked cell, the lowest first, with its interval, seeds and marks."""
    ordered = sorted(ranking.cells, key=lambda cell: cell.interval.estimate)
    named = any(cell.name for cell in ordered)
    header = (["name"] if named else []) + [knob_name(axis) for axis in ranking.axes]
    header = header or ["cell"]  # of a study that varies only the seed
    heads = len(header)
    rows = [_cell_row(cell, ranking, named=named) for cell in ordered]
    mean = ranking.mean_predictor
    label = [Entry("mean predictor"), *(Entry() for _ in range(heads - 1))]
    rest = [with_interval(mean), figure(mean.se_photos), *(Entry() for _ in range(5))]
    rows.append([*label, *rest])
    header += ["RMSE (m)", "± photos", "± seeds", "seeds", "averaged", "chosen", "best epoch"]
    drawn = "the photos' spots and seeds" if has_seeds(ranking) else "the photos' spots"
    legend: Legend = [
        *entries.legend(ranking, rows),
        "± photos, ± seeds: standard errors from which spots were photographed and from "
        "initialisation and order.",
        "averaged: RMSE of the mean answer of a cell's seeds, as an average of them gives it.",
        f"chosen: share of resamples of {drawn} in which the cell has the lowest "
        f"RMSE{ranking.among}.",
        "best epoch: optimistic, because the epoch was chosen on the validation photos.",
    ]
    caption = "All cells, lowest validation RMSE after the final epoch first"
    return Table("cells", caption, header, rows, legend, list(ranking.notes), heads=heads)


def _cell_row(cell: Cell, ranking: Ranking, *, named: bool) -> list[Entry]:
    seeds = len(cell.run_rmse_m)
    chosen = Entry("-")
    if ranking.expected is not None:  # otherwise nothing was selected or resampled
        chosen = Entry(f"{cell.win_share:.0%}", number=cell.win_share)
    heads = [cell.name] if named else []
    heads += [str(cell.params.get(axis, "")) for axis in ranking.axes]
    return [
        *(Entry(text) for text in heads or [cell.cell]),
        entries.of_cell(cell, ranking),
        figure(cell.interval.se_photos),
        figure(cell.interval.se_seeds),
        Entry(f"{seeds} of {cell.planned}", number=seeds),
        figure(cell.averaged_rmse_m),
        chosen,
        figure(cell.best_rmse_m),
    ]


def summary(ranking: Ranking) -> Table:
    """Return what may be said of the winner, beside what it has to beat."""
    rows = [*_winner_rows(ranking), *_rival_rows(ranking), *_sample_size_rows(ranking)]
    rows += _truth_rows(ranking)
    legend: Legend = []
    if ranking.candidates > 1:
        may = "a test figure" if ranking.expected is None else "the corrected and the test figure"
        legend.append(
            f"Only {may} may be called the winner's expected error: the lowest of several is "
            "flattered by having been chosen."
        )
    if not ranking.importance:
        legend.append(f"No analysis of variance: {ranking.no_importance}.")
    caption = f"The winner and what it has to beat, RMSE in metres ({ranking.group.label})"
    warnings = [*ranking.notes, *([entries.edge_said(ranking)] if ranking.edges else [])]
    header = ["figure", "metres", "what it is"]
    return Table("summary", caption, header, rows, legend, warnings, texts=(2,))


def _winner_rows(ranking: Ranking) -> list[list[Entry]]:
    """Return the winner's figures: on validation photos, corrected, on others, by spots."""
    winner, corrected = ranking.winner, ranking.expected
    lowest = f"lowest validation RMSE{ranking.among}"
    rows = [line(lowest, winner.interval, _called(winner), bold=True)]
    if corrected is not None:
        which = "confirmed cells" if ranking.confirmed else "cells tried"
        tried = f"expected on other photos like these; {ranking.candidates} {which}"
        rows.append(line("corrected for the selection", corrected, tried))
    if ranking.test is not None:
        text = "which selected nothing; the deployed run, one seed"
        rows.append(_part("test part", ranking.test, text))
    if ranking.folds is not None:
        folds = ranking.folds
        ends = None if np.isnan(folds.low) else (folds.low, folds.high)
        mean = replace(figure(folds.estimate), interval=ends)
        text = "interval with the Nadeau-Bengio correction"
        rows.append([Entry(f"mean of {folds.folds} folds"), mean, Entry(text)])
    rows += [_named(cell, ranking) for cell in ranking.cells if cell.name]
    if ranking.known_spots is not None:
        text = "with some training photos of the same spot"
        rows.append(_part("known spots", ranking.known_spots, text))
    if ranking.new_spots is not None:
        rows.append(
            _part("new spots", ranking.new_spots, "with no training photo of the same spot")
        )
    return rows


def _rival_rows(ranking: Ranking) -> list[list[Entry]]:
    """Return what the winner has to beat, and what no answer can."""
    rows = [_rival(baseline) for baseline in sorted(ranking.rivals, key=lambda b: b.name != "mean")]
    if not np.isnan(ranking.floor_m):
        text = "what a perfect answer gets against labels of the accuracy that they state"
        rows.append([Entry("floor"), figure(ranking.floor_m), Entry(text)])
    return rows


def _rival(baseline: Baseline) -> list[Entry]:
    name, text = {
        "mean": ("mean predictor", "always answers the mean position"),
        "knn": ("nearest neighbours", "on frozen features"),
        "ridge": ("ridge regression", "on frozen features"),
    }[baseline.name]
    if baseline.interval is None:
        return [Entry(name), figure(baseline.rmse_m), Entry(text)]
    return line(name, baseline.interval, text)


def _sample_size_rows(ranking: Ranking) -> list[list[Entry]]:
    """Return which differences these photos can show, and how many the reference's would take."""
    rows = []
    found, pair, needed = ranking.detectable, ranking.closest_pair_m, ranking.photos_for_pair
    if found is not None:
        between = f"{found.low_m:.0f} to {found.high_m:.0f} m"
        text = f"by which a competitor must be worse to lose its mark with {POWER_TEXT} ({between})"
        rows.append([Entry("smallest detectable difference"), figure(found.median_m), Entry(text)])
    if pair is not None and needed is not None and ranking.reference is not None:
        here = counts(ranking.mean_predictor)
        text = (
            f"validation photos that would tell {pair[0]} from {pair[1]} m if seeds made no "
            f"difference; here {here}"
        )
        name = f"photos needed for the difference that is {ranking.reference.label}"
        rows.append([Entry(name), Entry(_two_digits(needed), number=needed), Entry(text)])
    return rows


def _truth_rows(ranking: Ranking) -> list[list[Entry]]:
    if ranking.truth is None:
        return []
    rows = []
    for part, value, which in (
        ("validation", ranking.truth.validation_m, "the photos that chose the winner"),
        ("test", ranking.truth.test_m, "photos that chose nothing"),
    ):
        if not np.isnan(value):
            text = f"against positions without GPS noise, on {which}"
            rows.append([Entry(f"truth, {part} photos"), figure(value), Entry(text)])
    return rows


def importance(ranking: Ranking) -> list[Table]:
    """Return the shares of the variance between runs on a full grid; none elsewhere."""
    if not ranking.importance:
        return []
    rows = [
        [
            Entry(_TIMES.join(knob_name(axis) for axis in effect.axes) or "seeds"),
            Entry(f"{effect.share:.1%}", number=effect.share),
            Entry("-" if math.isnan(effect.low) else f"{effect.low:.1%} to {effect.high:.1%}"),
            _share(effect.omega),
            _p_value(effect.p_value),
        ]
        for effect in ranking.importance
    ]
    legend: Legend = [
        "Analysis of variance of the runs' RMSE on the full grid. share: eta squared, with an "
        "interval over resampled spots, in which the seeds' luck is not. It holds for the values "
        "tried and for nothing between or beyond them.",
        "without luck: omega squared, the share less what the luck of the seeds alone would give. "
        "p: F test against the variance between seeds, on these photos.",
    ]
    if all(effect.axes for effect in ranking.importance) and not ranking.errors.seedless:
        legend.append("A cell has one seed: the seeds' luck is in all these shares.")
    caption = "Share of the variance between runs that each hyperparameter explains"
    header = ["effect", "share", "95 % interval", "without luck", "p"]
    return [Table("importance", caption, header, rows, legend)]


def searched(found: Searched) -> Table:
    """Return how much each knob of a search decides whether a trial is among the best."""
    rows = [
        [Entry(knob_name(knob)), Entry(f"{share:.0%}", number=share)]
        for knob, share in found.importance.items()
    ]
    legend: Legend = [
        "PED-ANOVA: it compares the values of the best trials with those of all trials of this "
        f"search, {found.trials} finished ones, of which the best {found.best:.0%} count. The "
        "shares sum to 100 %. They are about being among the best and not about metres, they have "
        "no interval, and they hold for the values that the search has tried."
    ]
    caption = "Importance of each hyperparameter for being among the best trials of the search"
    return Table("importance_searched", caption, ["hyperparameter", "importance"], rows, legend)


def _share(omega: float) -> Entry:
    return Entry("-") if np.isnan(omega) else Entry(f"{omega:.1%}", number=omega)


def _p_value(p: float) -> Entry:
    return Entry("-") if np.isnan(p) else Entry(f"{p:.2g}" if p >= 0.001 else "< 0.001", number=p)


def luck(found: Sources) -> Table:
    """Return how much each kind of seed makes a run's RMSE differ."""
    rows = []
    for component in found.components:
        deviation, low, high = (
            100 * math.sqrt(max(variance, 0.0))
            for variance in (component.variance, component.low, component.high)
        )
        rows.append(
            [
                Entry(found.name(component)),
                Entry(f"{deviation:.1f} %", number=deviation),
                Entry(f"{low:.1f} to {high:.1f} %"),
                figure(deviation / 100 * found.rmse_m),
            ]
        )
    crossed = _TIMES.join(knob_name(seed) for seed in found.factors)
    legend: Legend = [
        f"Standard deviations of the RMSE of one run, in parts of the RMSE (mean "
        f"{found.rmse_m:.1f} m), from {found.runs} runs: {crossed}"
        + (f", in each of {found.groups} cells." if found.groups > 1 else "."),
        "Analysis of variance with random factors (Searle, Casella & McCulloch 1992) of the "
        "logarithm of the RMSE; generalised confidence intervals (Weerahandi 1993). A negative "
        "variance is shown as 0. Few values of a seed leave wide intervals.",
        "initial weights: with the draws inside the model, such as dropout. "
        "interactions: what seeds do only together. The order of the photos is another one in "
        "every split, so part of what it does is there.",
    ]
    warnings = []
    if found.left_out:
        lack = "lacks" if found.left_out == 1 else "lack"
        warnings.append(
            f"The table leaves out {counted(found.left_out, 'cell')} that {lack} a run of some "
            "combination."
        )
    if found.solved:
        warnings.append(
            f"The table leaves out {counted(found.solved, 'cell')} whose head is solved at once, "
            "so that no seed changes it but that of the split."
        )
    caption = "Where the luck of a run comes from"
    header = ["source", "standard deviation", "95 % interval", "metres"]
    return Table("luck", caption, header, rows, legend, warnings)


def missing(study: Analysis) -> Table:
    """Return the planned cells without a figure, or with fewer seeds, and why."""
    rows = [
        [
            Entry(cell_name(cell.params) or cell.cell),
            Entry("yes" if cell.ranked else "-"),
            Entry(cell.reason),
        ]
        for cell in study.missing
    ]
    caption = "Cells that are not complete"
    return Table("missing", caption, ["cell", "ranked", "why"], rows, texts=(1, 2))


def comparison(studies: Sequence[Analysis]) -> Table:
    """Return several studies side by side: winner, its expected error, what it has to beat."""
    rows: list[list[Entry]] = []
    for study in studies:
        rows += [_compared(study, ranking) for ranking in study.rankings]
        if not study.rankings:
            why = Entry(study.study.why_unranked)
            rows.append([Entry(study.study.name), why, *[Entry("-")] * 5])
    header = ["study", "runs", "winner", "validation", "corrected", "mean predictor", "synthetic"]
    legend: Legend = [
        "RMSE in metres with 95 % intervals. Studies on different photos or splits answer "
        "different questions; rows with different validation photos are not comparable."
    ]
    return Table("comparison", "Studies", header, rows, legend, heads=3, texts=(6,))


def _compared(study: Analysis, ranking: Ranking) -> list[Entry]:
    corrected = ranking.expected
    return [
        Entry(study.study.name),
        Entry(ranking.group.label),
        Entry(_called(ranking.winner)),
        with_interval(ranking.winner.interval),
        Entry("-") if corrected is None else with_interval(corrected),
        with_interval(ranking.mean_predictor),
        Entry("yes" if study.study.synthetic else "no"),
    ]


def _part(name: str, interval: Interval, text: str) -> list[Entry]:
    """Return a row about other photos than the table's, which may be too few."""
    few = "; interval unreliable" if interval.n_spots < MIN_SPOTS else ""
    return line(name, interval, f"{counts(interval)} {text}{few}")


def _named(cell: Cell, ranking: Ranking) -> list[Entry]:
    """Return the row of a cell with a name, such as the baseline, against the winner."""
    text = cell_name(cell.params)
    if cell.cell != ranking.winner.cell:
        apart = pairs.from_winner(ranking, cell)
        text += f"; {tenths(apart.estimate, '+')} m against the winner, "
        text += named_span(apart, "paired 95 % interval", "+")
    return line(cell.name, cell.interval, text)


def _called(cell: Cell) -> str:
    """Return a cell in words; of a study that varies only the seed, it has no knobs to name."""
    return cell_name(cell.params) or cell.cell


def _two_digits(count: int) -> str:
    """Return an estimated number with two significant digits."""
    return f"{int(float(f'{count:.2g}')):,}".replace(",", " ")
