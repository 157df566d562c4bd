"""`img2gps proxy`: let many workers share a few connections to the ledger's database."""

from __future__ import annotations

import argparse
import os

from img2gps.core.errors import BadInput

HELP = "let many workers share a few connections to the ledger's database"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`img2gps proxy [--storage URL] [--host HOST] [--port PORT] [--expose]`."""
    parser.add_argument(
        "--storage", metavar="URL", help="the database; IMG2GPS_LEDGER where it is not given"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine alone)"
    )
    parser.add_argument("--port", type=int, default=13000, help="default: 13000")
    parser.add_argument("--expose", action="store_true", help="allow a host that others can reach")


def execute(args: argparse.Namespace) -> int:
    """Serve until it is interrupted."""
    from img2gps.study.proxy import serve
    from img2gps.study.spec import STORAGE_VARIABLE

    url = args.storage or os.environ.get(STORAGE_VARIABLE)
    if not url:
        raise BadInput("proxy: which database? give --storage postgresql://USER@HOST/DATABASE")
    serve(url, args.host, args.port, expose=args.expose)
    return 0
