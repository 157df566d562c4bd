"""`img2gps dashboard`: make the W&B workspace of a project, or replace it."""

from __future__ import annotations

import argparse

from img2gps.cli.suggest import suggest

HELP = "make the W&B workspace of a project, or replace it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--project", default="img2gps", help="default: img2gps")
    parser.add_argument("--entity", help="user or team; default: the account's own")
    parser.add_argument("--study", help="show the runs of this study only")
    parser.add_argument(
        "--json", action="store_true", help="print the workspace without calling W&B"
    )


def execute(args: argparse.Namespace) -> int:
    """Save the workspace and print its address."""
    import json

    from img2gps.tracking import session, workspace

    if args.json:
        made = workspace.build(args.entity or "ENTITY", args.project, args.study)
        print(json.dumps(workspace.spec(made), indent=1))
        return 0
    session.require_credentials()
    entity = args.entity or session.default_entity()
    print(workspace.save(workspace.build(entity, args.project, args.study)))
    suggest("img2gps sync", "upload the runs that W&B lacks")
    return 0
