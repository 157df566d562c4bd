"""How long the report of a large study takes: 1,000 runs of 15 epochs, in parts and in one.

    python benchmarks/report.py [--runs 1000] [--epochs 15] [--photos 60] [--limit 15]

The study is made by code, with three seeds a cell. The first figures are the parts, one after the
other in this process; the last is `img2gps report` as a user starts it, imports and all, and
decides: exit status 1 if it takes longer than --limit seconds. On a busy machine its processor
time, printed beside it, tells more. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the maker of studies is among the tests

from img2gps.analysis import collect  # noqa: E402
from img2gps.analysis.overview import analyse  # noqa: E402
from img2gps.report import paper, tables  # noqa: E402
from tests.helpers.fake_study import Options, make_study  # noqa: E402

T = TypeVar("T")
SEEDS = (0, 1, 2)
CLI = "from img2gps.cli.main import main; main()"
BATCH_SIZES = [4, 8, 16, 32, 64, 128]


def make(root: Path, runs: int, epochs: int, photos: int) -> int:
    """Write a study of at least `runs` runs; how many there are."""
    rates = -(-runs // (len(SEEDS) * 2 * len(BATCH_SIZES)))
    axes: dict[str, list[Any]] = {
        "model": ["resnet18", "resnet50"],
        "lr": [round(0.0001 * 1.15**i, 7) for i in range(rates)],
        "batch_size": BATCH_SIZES,
    }
    make_study(
        root,
        "large",
        Options(axes=axes, seeds=SEEDS, epochs=epochs, n_val=photos, n_spots=3 * photos // 4),
    )
    return len(SEEDS) * 2 * rates * len(BATCH_SIZES)


def main() -> int:
    """Time, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--photos", type=int, default=60, help="validation photos (default 60)")
    parser.add_argument("--limit", type=float, default=15.0, help="seconds (default 15)")
    args = parser.parse_args()
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], T]) -> T:
        begun = time.perf_counter()
        value = work()
        seconds[name] = round(time.perf_counter() - begun, 2)
        return value

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "runs"
        runs = make(root, args.runs, args.epochs, args.photos)
        study = timed("collect", lambda: collect.load_study(root / "large", [root]))
        found = timed("analyse", lambda: analyse(study))
        timed("tables", lambda: tables.study_tables(found))
        timed("paper_pack", lambda: paper.pack(found))
        command = [sys.executable, "-c", CLI, "report", "large"]
        places = ["--runs", str(root), "--out", str(Path(folder) / "reports")]
        timed(
            "report_command",
            lambda: subprocess.run([*command, *places], check=True, stdout=sys.stderr),
        )
        pages = list(Path(folder).glob("reports/large/index.html"))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds["report_command_cpu"] = round(used.ru_utime + used.ru_stime, 2)
    whole = seconds["report_command"]
    ok = bool(pages) and whole <= args.limit
    print(json.dumps({"runs": runs, "seconds": seconds, "limit_s": args.limit, "ok": ok}, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
