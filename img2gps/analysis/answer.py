"""The answer that a ranking gives, in four sentences."""

from __future__ import annotations

import numpy as np

from img2gps.analysis.baselines import NAMES
from img2gps.analysis.ranking import Ranking
from img2gps.analysis.wording import cell_name, named_span, span, tenths
from img2gps.core.counted import among_others, counted


def sentences(ranking: Ranking) -> list[str]:
    """Return what was learned, the winner, how sure it is, and what the mean predictor gets."""
    sure = "; ".join([*_compared(ranking), _photos(ranking)])
    return [
        f"{_learned(ranking)}.",
        f"{_lowest(ranking)}.",
        f"How sure: {sure}.",
        f"{_mean_predictor(ranking)}.",
    ]


def _learned(ranking: Ranking) -> str:
    """Compare the lowest cell with the strongest answer that needs no training."""
    strongest, winner, apart = ranking.rivals[0], ranking.winner, ranking.over_strongest
    lowest = f"the lowest{ranking.among or ' cell'}"
    text = (
        f"{lowest} gets {winner.interval.estimate:.1f} m, the strongest answer without "
        f"training ({NAMES[strongest.name]}) {strongest.rmse_m:.1f} m"
    )
    unknown = "Not shown to have learned more than an answer without training"
    if apart is None:
        return f"{unknown}: {text}, and its errors photo by photo are not stored"
    text += f"; difference {tenths(apart.estimate, '+')} m ({named_span(apart, sign='+')})"
    if winner.beats_baselines:
        by = "" if apart.high < 0 else "; shown by a one-sided test at 5 %"
        return f"Shown to have learned: {text}{by}"
    if (winner.interval.n_seeds > 1 or ranking.winner_is_solved) and apart.low > 0:
        return f"Beaten by an answer without training: {text}"
    if apart.high < 0:
        text += f"; {_why_not(ranking)}"
    return f"{unknown}: {text}"


def _why_not(ranking: Ranking) -> str:
    """Say why an interval without 0 is not enough."""
    if ranking.winner.interval.n_seeds < 2 and not ranking.winner_is_solved:
        return "no verdict rests on one seed"
    beats, strongest = ranking.winner.beats, ranking.rivals[0].name
    if beats[strongest] is False:
        tested = sum(cell.beats[strongest] is not None for cell in ranking.cells)
        return f"the test that allows for {counted(tested, 'cell')} does not confirm it"
    unbeaten = [NAMES[name] for name, mark in beats.items() if mark is False]
    if unbeaten:
        return f"it is not shown to be better than the {' and the '.join(unbeaten)}"
    untested = [NAMES[name] for name, mark in beats.items() if mark is None]
    return f"it was not compared with the {' and the '.join(untested)}, whose errors are not stored"


def _lowest(ranking: Ranking) -> str:
    winner, expected, interval = ranking.winner, ranking.expected, ranking.winner.interval
    alone = "no seed changes it" if ranking.winner_is_solved else "one seed"
    seeds = f"mean of {interval.n_seeds} seeds" if interval.n_seeds > 1 else alone
    text = (
        f"Lowest validation RMSE{ranking.among}: {cell_name(winner.params) or winner.cell}, "
        f"{interval.estimate:.1f} m ({seeds}, {named_span(interval)})"
    )
    if expected is None:
        return text
    cells = "confirmed cells" if ranking.confirmed else "cells"
    return (
        f"{text}; corrected for having been selected among {ranking.candidates} {cells}, expect "
        f"{expected.estimate:.1f} m ({span(expected)}) on other photos like these"
    )


def _compared(ranking: Ranking) -> list[str]:
    marks = [cell.in_best_set for cell in ranking.cells if cell.in_best_set is not None]
    if len(ranking.cells) == 1:
        return ["there is only one cell, so nothing was compared"]
    if not marks and ranking.candidates == 1:
        return [_alone(ranking)]
    if not marks and ranking.errors.n_spots < 2:
        return ["all photos are of one spot, so nothing was compared"]
    if not marks:
        several = ranking.errors.solved | np.array([c.interval.n_seeds > 1 for c in ranking.cells])
        single = int((~several).sum())
        who = "with one seed per cell, differences"
        if single < len(ranking.cells):
            have, them = ("has", "it") if single == 1 else ("have", "them")
            who = f"{single} of {len(ranking.cells)} cells {have} one seed, so differences from "
            who += them
        return [f"{who} may be the luck of the seed"]
    same, others = sum(marks) - 1, len(marks) - 1
    kind = "indistinguishable" if same else "distinguishable"
    which = among_others(same or others, others, "cell")
    text = f"{which} {'is' if others == 1 else 'are'} statistically {kind} from it"
    share = f"{ranking.winner.win_share:.0%}"
    return [text, f"it is selected in {share} of the resamples of photos and seeds"]


def _alone(ranking: Ranking) -> str:
    """Say why only one of several cells can win."""
    allowed = [cell for cell in ranking.cells if ranking.study.may_win(cell.cell)]
    if len(allowed) != 1:
        return "only one cell has all its seeds, so nothing was compared"
    if ranking.confirmed:
        return "only one cell was confirmed, so nothing was compared"
    return "only one cell is left in the race, so no mark is given"


def _photos(ranking: Ranking) -> str:
    interval = ranking.winner.interval
    photos = f"{counted(interval.n_photos, 'photo')} of {counted(interval.n_spots, 'spot')}"
    if ranking.detectable is None:
        return f"the validation part is {photos}"
    return f"{photos} show differences of about {ranking.detectable.median_m:.0f} m or more"


def _mean_predictor(ranking: Ranking) -> str:
    mean = ranking.mean_predictor
    text = f"The mean predictor, which looks at no photo, gets {mean.estimate:.1f} m ({span(mean)})"
    shown = [cell.beats_mean for cell in ranking.cells if cell.beats_mean is not None]
    if not shown:
        return text
    which = " that could be tested" if ranking.errors.solved.any() else " with several seeds"
    which = which if len(shown) < len(ranking.cells) else ""
    if len(shown) == 1:
        return f"{text}; the cell{which} is {'' if shown[0] else 'not '}shown to do better"
    if all(shown):
        return f"{text}; all {len(shown)} cells{which} are shown to do better"
    return f"{text}; {shown.count(False)} of {len(shown)} cells{which} are not shown to do better"
