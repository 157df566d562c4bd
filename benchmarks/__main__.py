"""`python -m benchmarks [NAME ...]`: measure, keep the figures, write docs/performance.md.

Figures of one comparison come from one run; the others' stay as they are. On a busy machine the
ratios move; the load is kept beside them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import (
    coverage,
    epoch,
    limit,
    others,
    planning,
    precision,
    race,
    scale,
    search,
    startup,
    workers,
)
from benchmarks.harness import ROOT, Comparison, Row, Settings, context
from img2gps.core import hardware
from img2gps.core.files import read_json, write_json, write_text_atomic

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
COVERAGE = "coverage"  # has a page of its own, written case by case
STATISTICS = ROOT / "docs" / "statistics.md"
LONG = ("precision", COVERAGE, "race")  # only when named

COMPARISONS = {
    "limit": Comparison(limit.TITLE, limit.measure, limit.rows),
    "epoch": Comparison(epoch.TITLE, epoch.measure, epoch.rows),
    "startup": Comparison(startup.TITLE, startup.measure, startup.rows),
    "ingest": others.ingest,
    "workers": Comparison(workers.TITLE, workers.measure, workers.rows),
    "search": Comparison(search.TITLE, search.measure, search.rows),
    "race": Comparison(race.TITLE, race.measure, race.rows),
    COVERAGE: Comparison(coverage.TITLE, coverage.every_case, coverage.rows),
    "planning": Comparison(planning.TITLE, planning.measure, planning.rows),
    "ledger": others.ledger,
    "scale": Comparison(scale.TITLE, scale.measure, scale.rows),
    "report": others.report,
    "precision": Comparison(precision.TITLE, precision.measure, precision.rows),
}


def table(results: Path) -> str:
    """Everything that has been measured, as Markdown."""
    lines: list[str] = []
    for name, comparison in COMPARISONS.items():
        found = read_json(results / f"{name}.json")
        if found is None or name == COVERAGE:
            continue
        machine = found["context"]["hardware"]
        lines += [
            f"### {comparison.title}",
            "",
            f"`{name}`, {found['context']['at']}, {found['threads']} of {machine['cores']} cores "
            f"of {machine['cpu']}, torch {found['context']['versions']['torch']}, load before the "
            f"start {found['context']['load']}.",
            "",
            "| what | figure | must reach | reached |",
            "|---|---|---|---|",
            *(_line(row) for row in comparison.rows(found["measured"])),
            "",
        ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    reached = {None: "", True: "yes", False: "**no**"}[row.reached]
    return f"| {row.what} | {row.figure} | {row.must} | {reached} |"


def write_page(page: Path, text: str) -> None:
    """Put the tables between the page's markers."""
    old = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    new = pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n{END}", old)
    write_text_atomic(page, new)


def measured(
    names: list[str], settings: Settings, results: Path
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each comparison's figures with what they were measured on; some as far as they are known."""
    for name in names:
        before, started = context(), time.perf_counter()
        if name == COVERAGE:
            earlier = (read_json(results / f"{name}.json") or {}).get("measured", {})
            steps: Iterable[dict[str, Any]] = coverage.measure(settings, earlier)
        else:
            steps = [COMPARISONS[name].measure(settings)]
        for figures in steps:
            found = {
                "name": name,
                "context": before,
                "threads": settings.threads,
                "seconds": round(time.perf_counter() - started, 1),
                "measured": figures,
            }
            write_json(results / f"{name}.json", found)
            if name == COVERAGE and not settings.quick:
                write_page(STATISTICS, coverage.matrix(figures))
        yield name, found


def main() -> int:
    """Measure, print, write. Exit status 1 when something that must be reached is not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="side by side")
    known = ", ".join(COMPARISONS)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"default: all but precision; {known}"
    )
    parser.add_argument("--quick", action="store_true", help="seconds; its figures say nothing")
    parser.add_argument("--threads", type=int, default=hardware.cores())
    parser.add_argument("--rounds", type=int, help="turns of each way")
    parser.add_argument("--photos", type=Path, help="a folder of real 12-megapixel JPEGs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    args = parser.parse_args()
    unknown = set(args.names) - set(COMPARISONS)
    if unknown:
        parser.error(f"no such comparison: {', '.join(sorted(unknown))}; one of {known}")
    names = args.names or [name for name in COMPARISONS if name not in LONG]
    settings = Settings(args.quick, args.threads, args.rounds, args.photos)
    ok = True
    for name, result in measured([] if args.page else names, settings, args.results):
        path = args.results / f"{name}.json"
        print(f"\n{COMPARISONS[name].title} ({result['seconds']:.0f} s) -> {path}")
        for row in COMPARISONS[name].rows(json.loads(path.read_text(encoding="utf-8"))["measured"]):
            ok &= row.reached is not False
            must = f"  [{row.must}: {'yes' if row.reached else 'NO'}]" if row.must else ""
            print(f"  {row.what}: {row.figure}{must}", flush=True)
    if not args.quick:
        write_page(PAGE, table(args.results))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
