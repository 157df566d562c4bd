"""`img2gps sync`: upload to W&B or MLflow what it lacks."""

from __future__ import annotations

import argparse
import shlex

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest

HELP = "upload to W&B or MLflow what it lacks; safe to repeat and to interrupt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="default: all below --runs")
    add_runs_option(parser)
    parser.add_argument("--to", choices=("wandb", "mlflow"), default="wandb", help="default: wandb")
    parser.add_argument("--project", help="instead of the runs' own logger.project")
    parser.add_argument("--entity", help="instead of the runs' own logger.entity")
    parser.add_argument("--all", action="store_true", help="also runs whose logger was another one")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be uploaded")


def execute(args: argparse.Namespace) -> int:
    """Upload run by run and print what came of each; return 1 if one could not be uploaded."""
    from rich.console import Console
    from rich.table import Table

    from img2gps.tracking import sync
    from img2gps.tracking.mlflow.sync import sync_mlflow

    options = sync.Options(args.project, args.entity, args.all, args.dry_run)
    table = Table("study", "run", "name", "outcome", "detail", box=None, pad_edge=False)
    lines: list[sync.Line] = []
    console = Console()
    try:
        upload = sync_mlflow if args.to == "mlflow" else sync.sync
        for line in upload(args.root, args.study, options):
            lines.append(line)
            table.add_row(line.study, line.run, line.name, line.outcome, line.detail)
    finally:
        if lines:
            console.print(table)
    console.print(sync.summary(lines))
    for project in sorted({line.url.partition("/runs/")[0] for line in lines if line.url}):
        console.print(project, soft_wrap=True)
    study = f" {shlex.quote(args.study)}" if args.study else ""
    to = "" if args.to == "wandb" else f" --to {args.to}"
    if args.dry_run:
        suggest(f"img2gps sync{study}{to}", "upload them", args.root)
    elif args.to == "wandb":
        suggest("img2gps dashboard", "charts of the runs at W&B")
    return 1 if any(line.outcome.is_missing for line in lines) else 0
