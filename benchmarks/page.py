"""docs/performance.md: the tables of all comparisons, with a column for each processor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import Comparison, Row
from img2gps.core.files import read_json, write_text_atomic

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
Results = Mapping[str, Mapping[str, Any]]  # by processor


def tables(folder: Path, comparisons: Mapping[str, Comparison]) -> str:
    """Return everything that has been measured, on every processor, as Markdown."""
    lines: list[str] = []
    for name, comparison in comparisons.items():
        paths = sorted(folder.glob(f"*/{name}.json"))
        found = {path.parent.name: read for path in paths if (read := read_json(path))}
        if found:
            lines += [f"### {comparison.title}", "", *_measured_on(name, found), ""]
            lines += [*_table(comparison, found), ""]
    return "\n".join(lines)


def _measured_on(name: str, found: Results) -> list[str]:
    """Return a line on each processor: when, on what, and what `auto` took there."""
    lines = []
    for processor, result in found.items():
        about, machine = result["context"], result["context"]["hardware"]
        auto = f", auto takes {about['auto']}" if about.get("auto") else ""
        lines.append(
            f"- {processor}: `{name}`, {about['at']}, {result['threads']} of {machine['cores']} "
            f"cores of {machine['cpu']}, torch {about['versions']['torch']}, load before the start "
            f"{about['load']}{auto}."
        )
    return lines


def _table(comparison: Comparison, found: Results) -> list[str]:
    rows = {
        processor: {row.what: row for row in comparison.rows(result["measured"])}
        for processor, result in found.items()
    }
    every = dict.fromkeys(what for own in rows.values() for what in own)  # in order, once each
    return [
        f"| what | {' | '.join(rows)} |",
        "|---" * (1 + len(rows)) + "|",
        *(
            f"| {what} | {' | '.join(_cell(own.get(what)) for own in rows.values())} |"
            for what in every
        ),
    ]


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    reached = {None: "", True: ": reached", False: ": **not reached**"}[row.reached]
    return row.figure + (f" [{row.must}{reached}]" if row.must else "")


def write_page(page: Path, text: str) -> None:
    """Put the tables between the page's markers."""
    old = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    new = pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n{END}", old)
    write_text_atomic(page, new)
