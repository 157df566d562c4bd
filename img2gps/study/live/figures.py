"""The live page's figures: those of the report, drawn from what has finished so far."""

from __future__ import annotations

from img2gps.analysis.overview import Analysis, analyse
from img2gps.analysis.racing import Course, doubts
from img2gps.analysis.ranking import knobs
from img2gps.analysis.scene import scene_of
from img2gps.analysis.study import Study
from img2gps.analysis.winner import FOLD_AXIS
from img2gps.analysis.wording import cell_name
from img2gps.core.errors import BadInput
from img2gps.report.figures import choose
from img2gps.report.figures.base import Figure, inline
from img2gps.report.figures.doubt import doubt
from img2gps.runs.race import Look, RaceRecord
from img2gps.study.live.content import Drawn

MOST_RUNS = 400  # finished ones: comparing more takes longer than somebody who watches may wait
TOO_FEW = "Two cells with a finished run are needed."


def curves(study: Study) -> Drawn | None:
    """Draw the curves of the best cells; None before the first epoch."""
    return _drawn(choose.curves_of_cells(scene_of(Analysis(study, [], [], []), None)))


def doubt_left(study: Study) -> tuple[Drawn | None, str]:
    """Draw the intervals that say what is not decided yet, or say why there are none."""
    race = study.record.race
    try:
        if race is not None:
            look = race.looks[-1] if race.looks else None
            if look is not None and look.end and len(look.kept) == 1:
                return None, "None: one cell is left."
            if look is None or len(look.rmse_m) < 2:
                return None, "The race has not compared two cells yet."
            return _drawn(_of_race(study, race, look)), ""
        if len(study.finished) > MOST_RUNS:
            return None, f"More than {MOST_RUNS} runs have finished: img2gps report {study.name}"
        analysis = analyse(study)
        if not analysis.rankings:
            return None, TOO_FEW
        figure = choose.ranking_of_cells(scene_of(analysis, analysis.rankings[0]))
    except BadInput as error:
        return None, str(error)
    return _drawn(figure), TOO_FEW


def _of_race(study: Study, race: RaceRecord, look: Look) -> Figure:
    """Draw the last look of a race, from the runs that it judged."""
    judged = [run for runs in look.runs.values() for run in runs]
    rows = study.runs[study.runs["run_id"].isin(judged)]
    if gone := len(judged) - int(rows["folder"].ne("").sum()):
        raise BadInput(f"{study.name}: {gone} of the runs that look {look.number} judged are not "
                       "in this copy; copy their folders too")  # fmt: skip
    errors = study.errors(rows)
    first = rows[rows["seed"] == study.record.seeds[0]]
    folds = int(first.groupby("rank_cell").size().min())
    course = Course(look.number, study.runs["rank_cell"].nunique(), look.seeds, folds)
    params = study.runs.drop_duplicates("rank_cell").set_index("rank_cell")["params"]
    varied = [key for key, values in study.axes.items() if len(values) > 1 and key != FOLD_AXIS]
    labels = [cell_name(knobs(params[cell], varied)) for cell in errors.cells]
    kept = [cell in look.kept for cell in errors.cells]
    found = doubts(errors.error_m, errors.places, course)
    return doubt(labels, found, kept, look.number, race.margin_m)


def _drawn(figure: Figure | None) -> Drawn | None:
    if figure is None:
        return None
    svg = inline(figure.svg, figure.alt)
    return Drawn(figure.name, figure.title, figure.caption, svg)
