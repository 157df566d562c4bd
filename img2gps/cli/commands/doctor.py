"""`img2gps doctor`: show what this machine has for training, what it lacks, and the remedy."""

from __future__ import annotations

import argparse

HELP = "what this machine has for training, what it lacks, and the remedy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a page")
    parser.add_argument(
        "--online", action="store_true", help="try the network, too: W&B and sources of weights"
    )


def execute(args: argparse.Namespace) -> int:
    """Print all findings; the first call on a machine also measures precision and threads."""
    import json
    from dataclasses import asdict

    from img2gps.core.load import wait_passively

    wait_passively()
    from img2gps.cli.machine import examine

    if args.json:
        print(json.dumps([asdict(found) for found in examine(online=args.online)], indent=1))
        return 0
    topic = ""
    for found in examine(online=args.online):
        if found.topic != topic:
            print(f"{chr(10) if topic else ''}{found.topic}")
            topic = found.topic
        print(f"  {found.name:<22} {found.value}")
        if found.remedy:
            print(f"  {'':<22} -> {found.remedy}")
    return 0
