"""`python -m benchmarks [NAME ...]`: measure, keep the figures, write docs/performance.md.

Figures of one comparison come from one run on one processor; the others' stay as they are. Each
part of a comparison is kept as soon as it is measured, and the same command goes on after a stop.
On a busy machine the ratios move; the load is kept beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import (
    around,
    choice,
    claims,
    coverage,
    coverage_page,
    epoch,
    limit,
    others,
    planning,
    power,
    precision,
    race,
    scale,
    search,
    startup,
    tracking,
    workers,
)
from benchmarks.harness import ROOT, Comparison, Parts, Row, Settings, context, processor
from benchmarks.page import tables, write_page
from img2gps.core import hardware
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_json

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
COVERAGE = "coverage"  # has a page of its own, written case by case, and depends on no processor
STATISTICS = ROOT / "docs" / "statistics.md"
LONG = ("power", "precision", COVERAGE, "race", "claims")  # only when named

COMPARISONS = {
    "choice": Comparison(choice.TITLE, choice.measure, choice.rows),
    "limit": Comparison(limit.TITLE, limit.measure, limit.rows),
    "around": Comparison(around.TITLE, around.measure, around.rows),
    "epoch": Comparison(epoch.TITLE, epoch.measure, epoch.rows),
    "startup": Comparison(startup.TITLE, startup.measure, startup.rows),
    "tracking": Comparison(tracking.TITLE, tracking.measure, tracking.rows),
    "ingest": others.ingest,
    "workers": Comparison(workers.TITLE, workers.measure, workers.rows),
    "search": Comparison(search.TITLE, search.measure, search.rows),
    "race": Comparison(race.TITLE, race.measure, race.rows),
    COVERAGE: Comparison(coverage.TITLE, coverage.every_case, coverage_page.rows),
    "power": Comparison(power.TITLE, power.measure, power.rows),
    "planning": Comparison(planning.TITLE, planning.measure, planning.rows),
    "ledger": others.ledger,
    "claims": Comparison(claims.TITLE, claims.measure, claims.rows),
    "scale": Comparison(scale.TITLE, scale.measure, scale.rows),
    "report": others.report,
    "precision": Comparison(precision.TITLE, precision.measure, precision.rows),
}


def measure(name: str, settings: Settings, folder: Path) -> Mapping[str, Any]:
    """Measure one comparison, or go on with it, and keep its figures with the machine's state."""
    part = Parts(folder / f".{name}.partial.json", _setting(settings))
    about = part("the machine before the start", context)
    started = time.perf_counter()
    figures = COMPARISONS[name].measure(replace(settings, part=part))
    result = {
        "name": name,
        "context": about,
        "threads": settings.threads,
        "seconds": round(time.perf_counter() - started, 1),
        "measured": figures,
    }
    path = folder / f"{name}.json"
    write_json(path, result)
    part.forget()
    kept: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return kept


def measure_coverage(settings: Settings, folder: Path) -> Mapping[str, Any]:
    """Simulate case by case, and write the figures and their page after each one."""
    path = folder / f"{COVERAGE}.json"
    about, started = context(), time.perf_counter()
    kept = read_json(path) or {}
    same_code = kept.get("context", {}).get("commit") == about["commit"]
    earlier = kept["measured"] if same_code else {}
    result: dict[str, Any] = {}
    for figures in coverage.measure(settings, earlier):
        result = {
            "name": COVERAGE,
            "context": about,
            "threads": settings.threads,
            "seconds": round(time.perf_counter() - started, 1),
            "measured": figures,
        }
        write_json(path, result)
        if not settings.quick:
            write_page(STATISTICS, coverage_page.page(figures))
    return result


def _setting(settings: Settings) -> dict[str, Any]:
    """Return what must be the same for a stopped comparison to go on."""
    return {
        "quick": settings.quick,
        "threads": settings.threads,
        "rounds": settings.rounds,
        "photos": str(settings.photos),
        "versions": hardware.versions(),
        "commit": hardware.code()["commit"],
    }


def main() -> int:
    """Measure, print, write. Exit status 1 when something that must be reached is not."""
    args = _arguments()
    names = args.names or [name for name in COMPARISONS if name not in LONG]
    settings = Settings(args.quick, args.threads, args.rounds, args.photos)
    if args.study:
        return _like(args.study, settings)
    folder, ok = args.results / processor(), True
    for number, name in enumerate([] if args.page else names, 1):
        print(f"\n{COMPARISONS[name].title} ({number} of {len(names)})", flush=True)
        if name == COVERAGE:
            result = measure_coverage(settings, args.results)
        else:
            result = measure(name, settings, folder)
        ok &= _show(COMPARISONS[name].rows(result["measured"]))
        if not args.quick:
            write_page(PAGE, tables(args.results, COMPARISONS))
    if args.page:
        write_page(PAGE, tables(args.results, COMPARISONS))
    return 0 if ok else 1


def _like(study: str, settings: Settings) -> int:
    """Print how often intervals and marks hold the truth in studies like one of the user's."""
    try:
        measured = coverage.like_study(study, settings)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if _show(coverage_page.rows(measured)) else 1


def _show(rows: Iterable[Row]) -> bool:
    """Print figures, and return whether all that must be reached is."""
    ok = True
    for row in rows:
        ok &= row.reached is not False
        must = f"  [{row.must}: {'yes' if row.reached else 'NO'}]" if row.must else ""
        print(f"  {row.what}: {row.figure}{must}", flush=True)
    return ok


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="side by side")
    known, long = ", ".join(COMPARISONS), " and ".join(LONG)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"default: all but {long}; {known}"
    )
    parser.add_argument("--quick", action="store_true", help="seconds; its figures say nothing")
    parser.add_argument("--threads", type=int, default=hardware.cores())
    parser.add_argument("--rounds", type=int, help="turns of each way")
    parser.add_argument("--photos", type=Path, help="a folder of real 12-megapixel JPEGs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--study", help="coverage in studies like this one; writes nothing")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    args = parser.parse_args()
    unknown = set(args.names) - set(COMPARISONS)
    if unknown:
        parser.error(f"no such comparison: {', '.join(sorted(unknown))}; one of {known}")
    return args


if __name__ == "__main__":
    sys.exit(main())
