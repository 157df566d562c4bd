"""What a person sees while a study runs: a table in a terminal, lines elsewhere."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.live import Live
from rich.table import Table

from img2gps.analysis.front import points
from img2gps.analysis.winner import RMSE, Rule, Scoring, best_cell
from img2gps.runs.records import StudyRecord, StudyRun
from img2gps.runs.states import RunState

SHOWN_RUNNING = 8

_End = tuple[str, int, RunState]  # run id, which of the runs with it, and how it ended


def duration(seconds: float | None) -> str:
    """Return a time, rounded to what matters.

    >>> [duration(s) for s in (None, 9.4, 90, 5400, 200000)]
    ['-', '9 s', '2 min', '1 h 30 min', '2 d 8 h']
    """
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def metres(value: float | None, monitor: str = RMSE) -> str:
    """Return a value, with its unit if the monitored metric is in metres."""
    if value is None:
        return "-"
    return f"{value:.2f} m" if monitor.endswith("_m") else f"{value:.4g}"


def run_name(run: StudyRun) -> str:
    """Return the cell and the seed of a run; a search has not chosen all cells yet."""
    return f"{run.cell or 'trial'} seed={run.seed}"


def best_line(study: StudyRecord) -> str:
    """Return the best cell so far, beside the mean predictor on the same photos."""
    best = best_cell(study)
    if best is None:
        return "no cell has finished with all its seeds yet"
    first = [run for run in best.runs if run.seed == best.runs[0].seed]  # one run for each fold
    mean = Scoring(Rule(), RMSE).mean_predictor(first) if study.monitor == RMSE else None
    beside = "" if mean is None else f" (the mean predictor gets {metres(mean)})"
    return f"{best.cell}: {study.monitor} {metres(best.value, study.monitor)}{beside}"


def front_lines(study: StudyRecord) -> list[str]:
    """Return the cells of the front of a study with several aims, each with its figures."""
    if not study.aims:
        return []
    found = [point for point in points(study) if point.on_front]
    said = [f"  {point.cell}: {figures_line(point.figures)}" for point in found]
    return [f"front: no other cell is better in all of {', '.join(study.aims)}:", *said]


def figures_line(figures: Mapping[str, float]) -> str:
    """Return figures by name in one line, such as `val/rmse_m 61.20 m, cost/seconds 204`."""
    return ", ".join(f"{aim} {metres(value, aim)}" for aim, value in figures.items())


def progress_line(study: StudyRecord) -> str:
    """Return a line such as `12 of 24 done: 11 finished, 1 failed; 3 running, 9 queued`."""
    found = {state: n for state, n in study.counts().items() if n}
    ended = {state: n for state, n in found.items() if state.has_ended}
    parts = ", ".join(f"{n} {state}" for state, n in ended.items())
    left = ", ".join(f"{found[s]} {s}" for s in (RunState.running, RunState.queued) if s in found)
    text = f"{sum(ended.values())} of {len(study.runs)} done"
    return text + (f": {parts}" if parts else "") + (f"; {left}" if left else "")


def time_left_line(left_s: float | None) -> str:
    """Return the time that a study still takes, in words."""
    return "not known yet" if left_s is None else f"about {duration(left_s)}"


def running_line(run: StudyRun) -> str:
    """Return one line on a run that is under way."""
    attempt = f", attempt {run.attempts}" if run.attempts > 1 else ""
    epochs = f", epoch {run.epochs}" if run.epochs else ""
    return f"{run_name(run)}{epochs}{attempt}"


def run_line(run: StudyRun, monitor: str) -> str:
    """Return one line on a run that has ended."""
    if run.state is not RunState.finished:
        return f"{run_name(run)}: {run.state}: {run.reason}"
    mean = run.mean_predictor
    in_metres = mean is not None and monitor == RMSE
    beside = f" (mean predictor {metres(mean)})" if in_metres else ""
    linked = f", linked from {run.path}" if run.linked else ""
    took = f", {duration(run.seconds)}" if run.seconds is not None else ""
    return f"{run_name(run)}: {metres(run.value, monitor)}{beside}{took}{linked}"


class Display:
    """Shows a study's record each time it changes."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._announced: set[_End] = set()

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def begin(self, study: StudyRecord) -> None:
        """Take note of the runs that ended before this session, which are not announced again."""
        self._announced = {end for end, _ in _ended(study)}

    def show(self, study: StudyRecord, left_s: float | None) -> None:
        """Update the table and announce each run that has ended since."""
        for end, run in _ended(study):
            if end not in self._announced:
                self._announced.add(end)
                self.say(
                    f"[{len(self._announced)}/{len(study.runs)}] {run_line(run, study.monitor)}"
                )
        if self._live is not None:
            self._live.update(_table(study, left_s), refresh=True)

    def say(self, line: str) -> None:
        """Print one line, above the table if there is one."""
        self.console.print(line, soft_wrap=True)


def _ended(study: StudyRecord) -> Iterator[tuple[_End, StudyRun]]:
    """Yield the runs that have ended.

    Trials may have no cell, and so no run id, or share one. Their places do not tell them apart,
    because those behind a run that was forgotten move up.
    """
    known: Counter[str] = Counter()
    for run in study.runs:
        known[run.run_id] += 1
        if run.state.has_ended:
            yield (run.run_id, known[run.run_id], run.state), run


def _table(study: StudyRecord, left_s: float | None) -> Table:
    table = Table(title=f"study {study.study}", title_justify="left", show_header=False)
    table.add_row("cells", progress_line(study))
    table.add_row("best so far", best_line(study))
    table.add_row("time left", time_left_line(left_s))
    under_way = [run for run in study.runs if run.state is RunState.running]
    for run in under_way[:SHOWN_RUNNING]:
        table.add_row("running", running_line(run))
    return table
