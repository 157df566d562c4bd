"""`img2gps sync`: upload to W&B what it lacks."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "upload to W&B what it lacks; safe to repeat and to interrupt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="default: all below --root")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--project", help="instead of the runs' own logger.project")
    parser.add_argument("--entity", help="instead of the runs' own logger.entity")
    parser.add_argument(
        "--all", action="store_true", help="also runs whose logger was csv, none or tensorboard"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be uploaded")


def execute(args: argparse.Namespace) -> int:
    """Upload run by run, telling each; 1 if one failed."""
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    from img2gps.tracking import sync

    options = sync.Options(args.project, args.entity, args.all, args.dry_run)
    table = Table("study", "run", "name", "outcome", "detail", box=None, pad_edge=False)
    counts: Counter[str] = Counter()
    projects = set()
    console = Console()
    try:
        with console.status("W&B") as status:
            for line in sync.sync(args.root, args.study, options):
                counts[line.outcome] += 1
                projects |= {line.url.partition("/runs/")[0]} if line.url else set()
                table.add_row(line.study, line.run, line.name, line.outcome, line.detail)
                status.update(f"W&B: {line.study} {line.run}")
    finally:
        if table.row_count:
            console.print(table)
    console.print(", ".join(f"{n} {outcome}" for outcome, n in counts.items()))
    for url in sorted(projects):
        console.print(url, soft_wrap=True)
    return 1 if counts.keys() & {"no answer", "failed", "not tried"} else 0
