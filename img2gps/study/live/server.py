"""Serving the page on this machine alone, with Python's own HTTP server."""

from __future__ import annotations

import sys
import webbrowser
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from img2gps.core.errors import BadInput
from img2gps.report.page import style
from img2gps.study.live.following import Follower

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
_STATIC = Path(__file__).with_name("static")
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def serve(follower: Follower, *, port: int = 0, open_browser: bool = False) -> None:
    """Serve the page until it is interrupted.

    Raises:
        BadInput: the port cannot be had.
    """
    try:
        server = _Server((HOST, port), partial(_Handler, follower))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "ports go up to 65535"
        raise BadInput(
            f"--port {port}: cannot listen on {HOST} ({reason}); leave it out"
        ) from error
    address = f"http://{HOST}:{server.server_port}"
    print(f"serving {address} (stop with Ctrl-C)", flush=True)  # noqa: T201
    if open_browser:
        webbrowser.open(address)
    with server, follower:
        server.serve_forever()


class _Server(ThreadingHTTPServer):
    """A server that says nothing of a browser that has gone before its answer came."""

    def handle_error(self, *given: Any) -> None:
        """Report what goes wrong, unless the other side has closed the connection."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(*given)


class _Handler(BaseHTTPRequestHandler):
    """Answers with the page, its two files, or its content."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def __init__(self, follower: Follower, *args: object) -> None:
        self._follower = follower
        super().__init__(*args)  # type: ignore[arg-type]  # as the server gives them

    def do_GET(self) -> None:
        """Answer one request; other sites' pages cannot ask under a name of their own."""
        # A browser leaves the port out where it is HTTP's own, 80.
        if self.headers.get("Host", "").partition(":")[0] not in _NAMES:
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"another host")
            return
        asked = urlsplit(self.path)
        match asked.path:
            case "/":
                self._answer(HTTPStatus.OK, "text/html", (_STATIC / "page.html").read_bytes())
            case "/live.js":
                self._answer(HTTPStatus.OK, "text/javascript", (_STATIC / "live.js").read_bytes())
            case "/live.css":
                sheet = style() + (_STATIC / "live.css").read_text(encoding="utf-8")
                self._answer(HTTPStatus.OK, "text/css", sheet.encode())
            case "/content":
                self._content(parse_qs(asked.query).get("version", [""])[0])
            case _:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"no such page")

    def _content(self, known: str) -> None:
        version, body = self._follower.newest
        if version == known:
            self._answer(HTTPStatus.NO_CONTENT, "application/json", b"")
        else:
            self._answer(HTTPStatus.OK, "application/json", body, version)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes, version: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        if version:
            self.send_header("X-Version", version)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log no request."""
