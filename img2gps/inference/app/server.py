"""The pages and endpoints of the app. Photos that are sent to it are neither kept nor logged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from img2gps.inference.app.model import Model
from img2gps.inference.density import Density
from img2gps.inference.output import maps
from img2gps.inference.output.page import Shown, environment
from img2gps.inference.position import Neighbour, Position

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_STATIC = Path(__file__).with_name("static")
_POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_MAP_BYTES = 2_000_000  # of answers that are sent back to be drawn
_MOST_ON_MAP = 2_000  # photos
_MOST_ALIKE = 20  # training photos of one answer
_MOST_GAUSSIANS = 1_000  # of one density, as head=mixture allows
_LARGEST = 2.1e7  # metres: half way round the Earth; degrees are smaller anyway
# What reading JSON that is no list of answers raises; a whole number may be too large for a float.
_NO_ANSWERS = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)


@dataclass(frozen=True)
class Limits:
    """What one photo may take."""

    photo_bytes: int = 40_000_000
    seconds: float = 30.0
    at_once: int = 2  # photos; others wait


class App:
    """The endpoints, around one model."""

    def __init__(self, model: Model, study: Path | None, limits: Limits) -> None:
        self.model, self.study, self.limits = model, study, limits
        self._turn: anyio.CapacityLimiter | None = None

    async def index(self, _: Request) -> Response:
        """The page to drop photos on."""
        template = environment().get_template("app.html.j2")
        megabytes = self.limits.photo_bytes // 1_000_000
        page = template.render(card=self.model.card, study=self.study, megabytes=megabytes)
        return HTMLResponse(page, headers={"content-security-policy": _POLICY})

    async def predict(self, request: Request) -> Response:
        """Answer the photo in the body, as JSON; `?name=` is what to call it."""
        position, _ = await self._answer(request)
        return JSONResponse(_plain(position), 200 if not position.error else 422)

    async def answer(self, request: Request) -> Response:
        """Answer the photo in the body for the page: the JSON, and HTML that shows it."""
        position, data = await self._answer(request)
        explain = request.query_params.get("explain") == "1" and not position.error
        decided = await self._timed(self.model.decided, data) if explain else ""
        shown = Shown(position, decided=decided)
        html = environment().get_template("photo.html.j2").render(shown=shown)
        return JSONResponse({"position": _plain(position), "html": html})

    async def draw(self, request: Request) -> Response:
        """Draw answers that the page has collected."""
        sent = await self._body(request, _MAP_BYTES)
        try:
            positions = [_position(one) for one in json.loads(sent)[:_MOST_ON_MAP]]
        except _NO_ANSWERS as error:
            raise HTTPException(400, "not a list of answers") from error
        draw = partial(maps.draw, positions, self.model.ground, tiles=False)
        svg: Markup = await self._timed(draw)
        return HTMLResponse(str(svg))

    async def card(self, _: Request) -> Response:
        """Return what is known of the model."""
        return JSONResponse(self.model.card)

    async def _answer(self, request: Request) -> tuple[Position, bytes]:
        data = await self._body(request, self.limits.photo_bytes)
        name = request.query_params.get("name", "photo")[:200]  # decoded already
        if not data:
            raise HTTPException(400, "no photo in the body")
        position: Position = await self._timed(self.model.locate, data, name)
        return position, data

    async def _body(self, request: Request, most: int) -> bytes:
        """Return the body, and give up on one that is too large or comes too slowly."""
        parts, size = [], 0
        try:
            with anyio.fail_after(self.limits.seconds):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        reason = f"more than {most // 1_000_000} MB; send a smaller photo"
                        raise HTTPException(413, reason)
                    parts.append(part)
        except TimeoutError as error:
            raise HTTPException(408, "came too slowly; try again") from error
        except ClientDisconnect as error:
            raise HTTPException(400, "stopped half way") from error  # nobody is left to read it
        return b"".join(parts)

    async def _timed(self, function: Any, *arguments: Any) -> Any:
        """Run in a thread when it is this photo's turn, and give up when it takes too long."""
        if self._turn is None:
            self._turn = anyio.CapacityLimiter(self.limits.at_once)
        try:
            with anyio.fail_after(self.limits.seconds):
                return await to_thread.run_sync(
                    function, *arguments, limiter=self._turn, abandon_on_cancel=True
                )
        except TimeoutError as error:
            raise HTTPException(503, "took too long; try again later") from error


def create(
    model: Model,
    *,
    study: Path | None = None,
    limits: Limits | None = None,
    hosts: Sequence[str] = LOOPBACK,
) -> Starlette:
    """Return the application.

    Args:
        model: what answers.
        study: the folder of the study's report, shown as the second tab.
        limits: of one photo.
        hosts: names under which it may be asked, so that no other site's name leads here; "*" for
            any.
    """
    app = App(model, study, limits or Limits())
    routes: list[BaseRoute] = [
        Route("/", app.index),
        Route("/api/predict", app.predict, methods=["POST"]),
        Route("/api/card", app.card),
        Route("/page/answer", app.answer, methods=["POST"]),
        Route("/page/map", app.draw, methods=["POST"]),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    if study is not None:
        routes.append(Mount("/study", StaticFiles(directory=study, html=True)))
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[h.strip("[]") for h in hosts]),
            Middleware(_Headers),
        ],
        exception_handlers={HTTPException: _error},
    )


class _Headers:
    """Adds the headers of every response, pages of the report included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(key.encode(), value.encode()) for key, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        await self.app(scope, receive, with_headers)


def _error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


def _plain(position: Position) -> dict[str, Any]:
    density = None if position.density is None else position.density.plain()
    return {**asdict(position), "density": density, "error": position.error or None}


def _position(plain: Mapping[str, Any]) -> Position:
    """Return an answer that the page has sent back to be drawn."""
    here, density = plain.get("from_here"), plain.get("density")
    return Position(
        photo=str(plain["photo"]),
        lat_deg=_number(plain, "lat_deg"),
        lon_deg=_number(plain, "lon_deg"),
        radius_m=_number(plain, "radius_m"),
        from_here=None if here is None else bool(here),
        true_lat_deg=_number(plain, "true_lat_deg"),
        true_lon_deg=_number(plain, "true_lon_deg"),
        error_m=_number(plain, "error_m"),
        neighbours=tuple(
            Neighbour("", 0.0, _number(one, "lat_deg") or 0.0, _number(one, "lon_deg") or 0.0)
            for one in (plain.get("neighbours") or [])[:_MOST_ALIKE]
        ),
        density=None if density is None else _density(density),
    )


def _density(plain: Mapping[str, Any]) -> Density:
    """Return a density that the page has sent back to be drawn."""
    found = Density.from_plain(plain)
    numbers = (*found.lat_deg, *found.lon_deg, *found.width_m)
    if len(found.shares) > _MOST_GAUSSIANS or max(map(abs, numbers)) > _LARGEST:
        raise ValueError("density")
    return found


def _number(plain: Mapping[str, Any], key: str) -> float | None:
    value = plain.get(key)
    if value is not None and not abs(float(value)) <= _LARGEST:
        raise ValueError(key)
    return None if value is None else float(value)
