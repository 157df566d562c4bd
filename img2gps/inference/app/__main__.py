"""`python -m img2gps.inference.app FOLDER`: the app from an exported folder alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.inference.app.model import OnnxModel
from img2gps.inference.app.serve import serve

parser = argparse.ArgumentParser(prog="app", description="A page to drop photos on.")
parser.add_argument("folder", type=Path, help="what img2gps export --format app has written")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=7860)
parser.add_argument("--expose", action="store_true", help="allow a host that others can reach")

if __name__ == "__main__":
    args = parser.parse_args()
    try:
        serve(OnnxModel(args.folder), host=args.host, port=args.port, expose=args.expose)
    except BadInput as error:
        print(f"app: error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
