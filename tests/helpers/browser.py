"""A headless Chromium that a test drives through its DevTools protocol."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--remote-debugging-port=0", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
)
PATIENCE_S = 120

Send = Callable[..., Awaitable[dict[str, Any]]]


class Page:
    """One page: commands go out, console messages and requests are collected."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.number = 0
        self.complaints: list[str] = []
        self.requested: list[str] = []

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": params})
        while True:
            message = await asyncio.wait_for(self.socket.receive_json(), PATIENCE_S)
            if message.get("id") == self.number:
                assert "error" not in message, message
                found: dict[str, Any] = message["result"]
                return found
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        if event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        if event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])

    async def value(self, expression: str) -> Any:
        found = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    async def until(self, expression: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not await self.value(expression):
            assert time.monotonic() < end, f"{expression} is still false; {self.complaints}"
            await asyncio.sleep(0.1)

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            await self.send(f"{domain}.enable")
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def upload(self, selector: str, paths: list[Path]) -> None:
        document = await self.send("DOM.getDocument")
        node = await self.send(
            "DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector
        )
        names = [str(path) for path in paths]
        await self.send("DOM.setFileInputFiles", nodeId=node["nodeId"], files=names)


def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no chromium here; `make test-all` installs it")


def drive(profile: Path, script: Callable[[Page], Awaitable[None]]) -> Page:
    """Start a browser, let `script` use its page, and return the page with what it noted."""
    process = subprocess.Popen(
        [chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return asyncio.run(_drive(profile, script))
    finally:
        process.terminate()
        process.wait(30)


async def _drive(profile: Path, script: Callable[[Page], Awaitable[None]]) -> Page:
    chosen, end = profile / "DevToolsActivePort", time.monotonic() + PATIENCE_S
    while not (chosen.is_file() and chosen.read_text().count("\n")):
        assert time.monotonic() < end, "the browser did not start"
        await asyncio.sleep(0.1)
    port = chosen.read_text().splitlines()[0]
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json") as response:
            targets = await response.json()
        address = next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
        async with session.ws_connect(address, max_msg_size=0) as socket:
            page = Page(socket)
            await script(page)
            return page
