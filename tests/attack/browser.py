"""A real browser without a window, driven over Chromium's own protocol; every address that it asks for is kept."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 120.0


def program() -> str | None:
    """The browser's program; None if none is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def running(resolve: str = "") -> Iterator[int]:
    """A browser; the port of its protocol. `resolve` are rules such as `MAP evil.example 127.0.0.1`."""
    found = program()
    assert found is not None
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        words = [
            found, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", f"--host-resolver-rules={resolve}",
            "about:blank",
        ]  # fmt: skip
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield _port(Path(profile) / "DevToolsActivePort")
            finally:
                process.terminate()


def _port(file: Path) -> int:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.1)
    raise AssertionError("the browser does not start")


class Page:
    """A page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._last = socket, 0
        self.asked_for: list[str] = []

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result."""
        self._last += 1
        await self._socket.send_json({"id": self._last, "method": method, "params": parameters})
        while True:
            message = json.loads((await asyncio.wait_for(self._socket.receive(), PATIENCE)).data)
            if message.get("method") == "Network.requestWillBeSent":
                self.asked_for.append(message["params"]["request"]["url"])
            if message.get("id") == self._last:
                return message["result"]

    async def value(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        done = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    async def wait_for(self, script: str) -> Any:
        """Wait until an expression is true; its value."""
        until = time.monotonic() + PATIENCE
        while not (value := await self.value(script)):
            assert time.monotonic() < until, f"{script}\n{await self.value('document.body.innerText')}"
            await asyncio.sleep(0.2)
        return value


@asynccontextmanager
async def page(port: int, address: str) -> AsyncIterator[Page]:
    """A page of a running browser that has opened an address."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.put("/json/new?about:blank") as answer:
            target = await answer.json(content_type=None)
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            opened = Page(socket)
            await opened.send("Network.enable")
            await opened.send("Page.enable")
            await opened.send("Page.navigate", url=address)
            yield opened
