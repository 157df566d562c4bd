"""What a person sees while a study runs: a table, or lines where there is no terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from img2gps.analysis.winner import best_cell
from img2gps.runs import study_record as record
from img2gps.runs.records import StudyRecord

SHOWN_RUNNING = 8


def duration(seconds: float | None) -> str:
    """Rounded to what matters.

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


def metres(value: float | None, monitor: str = "val/rmse_m") -> str:
    """A value with its unit, where the monitored metric is in metres."""
    if value is None:
        return "-"
    return f"{value:.2f} m" if monitor.endswith("_m") else f"{value:.4g}"


def best_line(study: Mapping[str, Any]) -> str:
    """The best cell so far with the mean predictor beside it, which no one may forget."""
    monitor = study["monitor"]
    means = [c["mean_predictor"] for c in study["cells"] if c.get("mean_predictor") is not None]
    beside = ""
    if means and monitor == "val/rmse_m":
        low, high = min(means), max(means)
        figure = metres(low) if high - low < 0.005 else f"{low:.2f} to {high:.2f} m"
        beside = f" (the mean predictor gets {figure})"
    best = best_cell(StudyRecord.from_dict(study))
    if best is None:
        return f"none finished with all its seeds yet{beside}"
    return f"{best.cell}: {monitor} {metres(best.value, monitor)}{beside}"


def progress_line(study: Mapping[str, Any]) -> str:
    """`12 of 24 done: 11 finished, 1 failed; 3 running, 9 queued`."""
    found = record.counts(study["cells"])
    done = {s: n for s, n in found.items() if s not in ("running", "queued") and n}
    parts = ", ".join(f"{n} {state}" for state, n in done.items())
    left = ", ".join(f"{found[s]} {s}" for s in ("running", "queued") if found[s])
    text = f"{sum(done.values())} of {len(study['cells'])} done"
    return text + (f": {parts}" if parts else "") + (f"; {left}" if left else "")


def cell_line(cell: Mapping[str, Any], monitor: str) -> str:
    """One run that has ended."""
    who = f"{cell['cell'] or 'trial'} seed={cell['seed']}"
    if cell["state"] == "finished":
        mean = cell.get("mean_predictor")
        in_metres = mean is not None and monitor == "val/rmse_m"
        beside = f" (mean predictor {metres(mean)})" if in_metres else ""
        linked = ", linked from " + cell["path"] if cell["linked"] else ""
        took = f", {duration(cell['seconds'])}" if cell["seconds"] is not None else ""
        return f"{who}: {metres(cell['value'], monitor)}{beside}{took}{linked}"
    return f"{who}: {cell['state']}: {cell['reason']}"


class Display:
    """Shows a study's record each time it changes."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._told: set[tuple[str, int, str]] = set()

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def begin(self, study: Mapping[str, Any]) -> None:
        """What is done before this session is not told again."""
        self._told = {_end(cell) for cell in study["cells"] if _ended(cell)}

    def show(self, study: Mapping[str, Any], left_s: float | None) -> None:
        """Bring the table up to date and tell of each run that has ended since."""
        for cell in study["cells"]:
            if _ended(cell) and _end(cell) not in self._told:
                self._told.add(_end(cell))
                self.say(
                    f"[{len(self._told)}/{len(study['cells'])}] {cell_line(cell, study['monitor'])}"
                )
        if self._live is not None:
            self._live.update(_table(study, left_s), refresh=True)

    def say(self, line: str) -> None:
        """One line, above the table where there is one."""
        self.console.print(line, soft_wrap=True)


def _ended(cell: Mapping[str, Any]) -> bool:
    return cell["state"] not in ("queued", "running")


def _end(cell: Mapping[str, Any]) -> tuple[str, int, str]:
    return cell["cell"], cell["seed"], cell["state"]


def _table(study: Mapping[str, Any], left_s: float | None) -> Table:
    table = Table(title=f"study {study['study']}", title_justify="left", show_header=False)
    table.add_row("cells", progress_line(study))
    table.add_row("best so far", best_line(study))
    left = "not known yet" if left_s is None else f"about {duration(left_s)}"
    table.add_row("time left", left)
    under_way = [c for c in study["cells"] if c["state"] == "running"]
    for cell in under_way[:SHOWN_RUNNING]:
        attempt = f", attempt {cell['attempts']}" if cell["attempts"] > 1 else ""
        epochs = f", epoch {cell['epochs']}" if cell["epochs"] else ""
        table.add_row("running", f"{cell['cell'] or 'trial'} seed={cell['seed']}{epochs}{attempt}")
    return table
