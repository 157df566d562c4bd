"""The methods paragraph of a study: what was done with the photos, and how it was judged.

It says of a study only what holds for its runs: which heads were trained and with which loss, how
its intervals were computed, and which tests were made.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from img2gps.analysis.marks import resamples
from img2gps.analysis.overview import Analysis
from img2gps.analysis.ranking import Ranking
from img2gps.analysis.stats import MIN_SPOTS
from img2gps.analysis.study import Study
from img2gps.analysis.winner import FOLD_AXIS
from img2gps.analysis.wording import knob_name
from img2gps.config.heads import SOLVED_HEADS
from img2gps.core.counted import counted
from img2gps.report.entries import counts, has_seeds

MOST_VALUES = 8  # that are listed one by one
_STARTS = {
    "imagenet": "ImageNet weights",
    "file": "weights in a file",
    "own": "weights that the model itself loads",
}
_LOSSES = {
    "mse": "the mean squared error of the scaled coordinates",
    "huber": "the Huber loss of the distance in metres",
    "l2_m": "the mean distance in metres",
    "nll": "the negative log likelihood of the position",
    "custom": "a loss of the user's own",
}
# Heads that bring their own loss, whatever the run's is.
_OWN_LOSSES = {
    "cells": "the cross-entropy of parts of the ground plus the squared error of their mean",
    "mixture": _LOSSES["nll"],
    "metric": "a contrastive loss of photos of near and of far places",
}


def methods(study: Analysis) -> str:
    """Return what was done and how it was judged, one paragraph of text for each ranking."""
    if not study.rankings:
        why = study.study.why_unranked
        return f"{why[0].upper()}{why[1:]}.\n"
    return "\n".join(_methods(study.study, ranking) for ranking in study.rankings)


def values_of(rows: pd.DataFrame, column: str, form: str = "{}") -> str:
    """Return the different values of a column in words; "unknown" where there are none.

    Of many numbers, as a search draws them, the least and the largest are named.
    """
    if column not in rows:
        return "unknown"
    seen: dict[str, None] = {}
    for value in rows[column].dropna():
        whole = isinstance(value, float | np.floating) and float(value).is_integer()
        seen[form.format(int(value) if whole and form == "{}" else value)] = None
    found = [text for text in seen if text]
    numbers = pd.to_numeric(rows[column].dropna(), errors="coerce")
    if len(found) > MOST_VALUES and numbers.notna().all():
        return f"{len(found)} values from {numbers.min():.3g} to {numbers.max():.3g}"
    return ", ".join(found) if found else "unknown"


def _methods(study: Study, ranking: Ranking) -> str:
    value = partial(values_of, ranking.group.runs)
    sentences = [
        _photos(ranking),
        *_models(ranking),
        _varied(study),
        *_intervals(ranking),
        *_tests(ranking),
        *_correction(ranking),
        f"Code: img2gps {value('code/version')}, commit {value('code/commit')}; Python "
        f"{value('versions/python')}, PyTorch {value('versions/torch')}, {value('hardware/cpu')}, "
        f"{value('threads')} threads.",
        *(f"{note.rstrip('.')}." for note in ranking.notes),
    ]
    return " ".join(sentences) + "\n"


def _photos(ranking: Ranking) -> str:
    value = partial(values_of, ranking.group.runs)
    synthetic = " (synthetic)" if ranking.group.synthetic else ""
    share = value("split/leakage/known_spots", "{:.0%}")
    return (
        f"Photos of the data set {value('data/name')}{synthetic} (fingerprint "
        f"{value('data/fingerprint')}) were squashed to {value('data/image_size')} pixels a side "
        f"and divided by a {value('split/kind')} split into {value('data/n_train')} training, "
        f"{value('data/n_val')} validation and {value('data/n_test')} test photos; {share} of the "
        "validation photos show a spot that training photos show too."
    )


def _models(ranking: Ranking) -> list[str]:
    """Say which heads answer, and what is trained and what is solved at once."""
    rows = ranking.group.runs
    heads = _column(rows, "head", "linear")
    parts = {name: None for head in heads for name in head.split("+")}
    trained = [name for name in parts if name not in SOLVED_HEADS]
    solved = [name for name in parts if name in SOLVED_HEADS]
    names = list(dict.fromkeys(heads))
    models = (
        f"Models ({values_of(rows, 'model')}; {'head' if len(names) == 1 else 'heads'} "
        f"{', '.join(names)}), {_start(ranking, any_trained=bool(trained))}, predict latitude and "
        "longitude"
    )
    if not solved:
        return [f"{models} and {_training(rows)}."]
    learns = heads.map(lambda head: any(name in trained for name in head.split("+")))
    settings = (
        "settings that the study does not give were chosen by the least squared error in folds "
        "inside the training part"
    )
    if not trained:
        found = [
            f"{models} from the features of a network that is not trained: their heads are solved "
            "at once from the features and positions of the training photos, and nothing is "
            f"trained by gradient descent. Their {settings}."
        ]
    else:
        found = [
            f"{models}.",
            f"Trained heads ({', '.join(trained)}) {_training(rows[learns])}.",
            f"Solved heads ({', '.join(solved)}) are computed at once from frozen features and the "
            f"positions of the training photos, without gradient descent; their {settings}.",
        ]
    if any("+" in name for name in names):
        found.append("Heads joined by + answer their average.")
    return found


def _start(ranking: Ranking, *, any_trained: bool) -> str:
    """Say what the networks of a ranking started from, which are pretrained or all are not."""
    rows = ranking.group.runs
    if ranking.group.pretrained:
        resolved = dict.fromkeys(_column(rows, "weights/resolved", ""))
        return f"started from {' or '.join(_STARTS[value] for value in resolved)}"
    frozen = _column(rows, "train", "all").eq("head").any()
    return "trained from scratch" if any_trained and not frozen else "with random initial weights"


def _training(rows: pd.DataFrame) -> str:
    """Say what the runs minimise, how, and for how long."""
    value = partial(values_of, rows)
    losses: dict[str, None] = {}
    heads, given = _column(rows, "head", "linear"), _column(rows, "loss", "mse")
    for head, loss in zip(heads, given, strict=True):
        for name in head.split("+"):
            if name not in SOLVED_HEADS:
                losses[_OWN_LOSSES.get(name, _LOSSES.get(loss, loss))] = None
    planned, ran = (pd.to_numeric(rows[c]) for c in ("max_epochs", "cost/epochs"))
    most = "at most " if (ran < planned).any() else ""
    return (
        f"minimise {' or '.join(losses)} with {value('optimizer')} (learning rate {value('lr')}, "
        f"schedule {value('scheduler')}, batch size {value('batch_size')}) for "
        f"{most}{value('max_epochs')} epochs in {value('precision')} precision; every figure is "
        "that after the final epoch"
    )


def _varied(study: Study) -> str:
    axes = {k: v for k, v in study.axes.items() if k != FOLD_AXIS}
    intervals = study.record.intervals
    tried = {k: (" to " if k in intervals else ", ").join(map(str, v)) for k, v in axes.items()}
    varied = "; ".join(f"{knob_name(knob)}: {values}" for knob, values in tried.items())
    states = ", ".join(f"{count} {state}" for state, count in study.counts().items())
    text = (
        f"The study varied {varied or 'nothing'}, with "
        f"{counted(len(study.record.seeds), 'seed')}: {counted(len(study.runs), 'run')} ({states})."
    )
    return " ".join([text, *_searched(study)])


def _searched(study: Study) -> list[str]:
    """Say how the cells of a search were chosen, and whether the best ones were run again."""
    if not study.searched:
        return []
    pruner = study.record.pruner
    early = "" if pruner == "none" else f", and runs without promise were ended by {pruner}"
    found = [f"The cells were chosen one after another by {study.kind}{early}."]
    again = study.standing
    if again is None or again.pending:
        return found
    one = len(again.cells) == 1
    best = "cell with the best figure" if one else f"{len(again.cells)} cells with the best figures"
    ran = f"The {best} ran again with {counted(len(again.seeds), 'fresh seed')}"
    if not again.confirmed:
        return [
            *found,
            f"{ran}, but no such run finished, so the search's own runs rank the cells.",
        ]
    if not again.lost:
        return [*found, f"{ran}, which alone rank {'it' if one else 'them'}."]
    some = len(again.confirmed)
    ranked = "the one cell that has" if some == 1 else f"the {some} cells that have"
    return [
        *found,
        f"{ran}, which alone rank {ranked} finished runs with such a seed; no other cell may win.",
    ]


def _intervals(ranking: Ranking) -> list[str]:
    """Say what a figure is, and how its interval was computed, which few spots change."""
    interval = ranking.winner.interval
    found = ["The RMSE of a cell is the mean over its seeds."] if has_seeds(ranking) else []
    if interval.n_spots < 2:
        text = f"No figure has an interval, because {counts(interval)} cannot be resampled by spot."
        return [*found, text]
    photos = counted(interval.n_photos, "validation photo")
    where = f"the {interval.n_spots} spots at which the {photos} were taken"
    if interval.n_spots >= MIN_SPOTS:
        text = (
            f"Intervals (95 %) resample {where} (bootstrap-t on the log scale; Efron and "
            "Tibshirani 1993)"
        )
    else:
        text = (
            f"Intervals (95 %) are over {where}; fewer than {MIN_SPOTS} are too few for the "
            "bootstrap, so they use Student's t on the log scale with the degrees of freedom of "
            "Bell and McCaffrey (2002)"
        )
    return [*found, f"{text}{_seeds_added(ranking)}."]


def _seeds_added(ranking: Ranking) -> str:
    if ranking.errors.seedless:
        return "; no seed changes these answers"
    source = "(Cameron, Gelbach and Miller 2011)"
    luck = "the variance between seeds"
    if not has_seeds(ranking):
        luck = f"a variance between seeds that one seed cannot show ({ranking.errors.luck.text})"
    besides = ", but for solved heads, which no seed changes" if ranking.errors.solved.any() else ""
    return f" and add {luck} {source}{besides}"


def _tests(ranking: Ranking) -> list[str]:
    """Name the tests that have given a mark to any cell."""
    found = []
    if any(cell.in_best_set is not None for cell in ranking.cells):
        found.append(
            "cells not distinguishable from the lowest form a model confidence set (Hansen, Lunde "
            "and Nason 2011)"
        )
    if any(cell.beats_mean is not None for cell in ranking.cells):
        found.append(
            "cells are compared with the predictor that always answers the mean training position "
            "by a step-down max-T test (Romano and Wolf 2005)"
        )
    if not found:
        return []
    both = "both are" if len(found) > 1 else "the test is"
    text = "; ".join([*found, f"{both} paired by photo and joint over all cells"])
    return [f"{text[0].upper()}{text[1:]}."]


def _correction(ranking: Ranking) -> list[str]:
    """Say how the winner's figure was corrected, where it won against others."""
    if ranking.expected is None:
        return []
    units = "spots and seeds" if has_seeds(ranking) else "spots"
    return [
        "The winner's figure is corrected for having been selected by repeating the selection on "
        f"{resamples(len(ranking.cells))} resamples of the {units} and scoring it on the {units} "
        "left out (BBC-CV; Tsamardinos, Greasidou and Borboudakis 2018)."
    ]


def _column(rows: pd.DataFrame, name: str, usual: str) -> pd.Series[str]:
    """Return a knob of each run; results leave it out where it has its usual value."""
    if name not in rows:
        return pd.Series(usual, index=rows.index, dtype=object)
    return rows[name].fillna(usual).astype(str)
