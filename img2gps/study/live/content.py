"""What the live page says about a study: one object, made from its files alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from img2gps.analysis.study import Study
from img2gps.analysis.winner import best_cell
from img2gps.runs.records import StudyRecord
from img2gps.runs.states import RunState
from img2gps.study.display import (
    best_line,
    front_lines,
    progress_line,
    running_line,
    time_left_line,
)
from img2gps.study.live.cells import (
    AxisColumn,
    CellRow,
    Ended,
    axis_columns,
    cell_rows,
    ended_otherwise,
)


@dataclass(frozen=True)
class Drawn:
    """A figure of the report as SVG, with its title and caption."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Figures:
    """What takes longer than the rest, and follows it.

    Attributes:
        curves: the curves of the best cells; None before the first epoch.
        doubt: intervals, which say what is not decided yet; None where there are none.
        no_doubt: why there are no intervals.
    """

    curves: Drawn | None = None
    doubt: Drawn | None = None
    no_doubt: str = "Intervals are being computed."


@dataclass(frozen=True)
class Content:
    """Everything that the page shows; all texts are plain.

    `best` is the cell with the best metric so far of those that have all their runs.
    """

    study: str
    question: str
    standing: list[tuple[str, str]]
    notes: list[str]
    running: list[str]
    monitor: str
    axes: list[AxisColumn]
    cells: list[CellRow]
    best: str | None
    ended: list[Ended]
    updated_at: str
    at_work: bool
    figures: Figures = field(default_factory=Figures)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def content_of(study: Study, figures: Figures) -> Content:
    """Return what the page shows of a study."""
    record, cells = study.record, cell_rows(study)
    return Content(
        record.study,
        record.question,
        _standing(record),
        [*(record.race.lines()[-1:] if record.race else []), *front_lines(record)],
        [running_line(run) for run in record.runs if run.state is RunState.running],
        record.monitor,
        axis_columns(record, cells),
        cells,
        best.cell if (best := best_cell(record)) else None,
        ended_otherwise(record),
        record.updated_at,
        record.is_running,
        figures,
    )


def _standing(record: StudyRecord) -> list[tuple[str, str]]:
    lines = [("cells", progress_line(record)), ("best so far", best_line(record))]
    if record.is_running:
        return [*lines, ("time left", time_left_line(record.left_s))]
    if all(run.state.has_ended for run in record.runs):
        return [*lines, ("time left", "none: every run has ended")]
    return [*lines, ("time left", f"not known: nothing works on it; go on with {record.command}")]
