"""`img2gps weights fetch`: get ImageNet weights before they are needed."""

from __future__ import annotations

import argparse

HELP = "get ImageNet weights into the cache, for machines that will have no network"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    fetch = actions.add_parser("fetch", help="download a model's weights if they are missing")
    fetch.add_argument("name", metavar="NAME", help="such as resnet18, mobilenet_v2 or one of timm")


def execute(args: argparse.Namespace) -> int:
    """Fetch the weights and print where they are."""
    from img2gps.training.fetch import fetch

    print(fetch(args.name))
    return 0
