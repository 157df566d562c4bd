"""Serving the app: where it listens, and how it says so."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import uvicorn

from img2gps.core.errors import BadInput
from img2gps.core.hosts import is_loopback
from img2gps.inference.app.model import Model
from img2gps.inference.app.server import LOOPBACK, create

EXPOSED = (
    "anyone who reaches this address can send photos and learn where the model places them; "
    "photos that are sent are neither kept nor logged"
)
_MOST_CONNECTIONS = 64
_IDLE_S = 10


def serve(
    model: Model, *, host: str, port: int, expose: bool = False, study: Path | None = None
) -> None:
    """Serve until it is interrupted.

    Raises:
        BadInput: the address would expose the app without being asked to, or cannot be had.
    """
    host = host.strip("[]")  # around an IPv6 address, as in a URL
    local = is_loopback(host)
    if not local and not expose:
        raise BadInput(f"--host {host}: {EXPOSED}. If that is meant, add --expose")
    listening = _listen(host, port)
    address = f"http://{host if ':' not in host else f'[{host}]'}:{listening.getsockname()[1]}"
    print(f"serving {address} (stop with Ctrl-C)", flush=True)  # noqa: T201
    if not local:
        print(f"img2gps: exposed: {EXPOSED}", file=sys.stderr)  # noqa: T201
    app = create(model, study=study, hosts=LOOPBACK if local else ("*",))
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_IDLE_S,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # before the address is printed, so that nobody is refused
    except (OSError, OverflowError) as error:
        listening.close()
        too_high = isinstance(error, OverflowError)
        reason = "ports go up to 65535" if too_high else getattr(error, "strerror", None) or error
        raise BadInput(
            f"--port {port}: cannot listen on {host} ({reason}); give another, or 0 for any that "
            "is free"
        ) from error
    return listening
