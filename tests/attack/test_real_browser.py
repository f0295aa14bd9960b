"""DNS rebinding, foreign pages and hostile Markdown in a real browser (Chromium), in front of the guarded UI."""

import asyncio
import http.client
import json
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mpta_pipeline.orchestration.metadata import preview
from tests.attack import browser
from tests.attack.test_foreign_web_pages import WIPE, web_server

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(browser.program() is None, reason="needs Chromium")

HOSTILE = ["![x](http://{bait}/a.png)", "<img src=http://{bait}/b.png>", '<script src="http://{bait}/c.js"></script>',
           "[![x](http://{bait}/d.png)](http://{bait}/e)", "a | ![x](http://{bait}/f.png)\n![x](http://{bait}/g.png)",
           "[i]: http://{bait}/h.png\n![x][i]", "`![x](http://{bait}/i.png)`"]  # fmt: skip
TRIES = """
(async () => {
  const query = '{ runsOrError { __typename } }', mutation = %s, told = {};
  const post = (address, query, type) => fetch(address, {
    method: 'POST', mode: type ? 'no-cors' : 'cors', headers: {'Content-Type': type || 'application/json'},
    body: JSON.stringify({query})});
  const attempt = async (name, doing) => {
    try { const answer = await doing(); told[name] = answer.status + ' ' + (await answer.text()).slice(0, 80) }
    catch (failure) { told[name] = 'failed' } };
  const at = %s;
  await attempt('query', () => post(at + '/graphql', query));
  await attempt('mutation', () => post(at + '/graphql', mutation));
  await attempt('mutation by GET', () => fetch(at + '/graphql?query=' + encodeURIComponent(mutation)));
  await attempt('server info', () => fetch(at + '/server_info'));
  await attempt('simple POST', () => post(at + '/graphql', mutation, 'text/plain'));
  await attempt('image', () => new Promise((done, failed) => {
    const image = new Image(); image.onload = () => done(new Response('')); image.onerror = failed;
    image.src = at + '/graphql?query=' + encodeURIComponent(mutation) }));
  await new Promise(done => {
    const frame = document.createElement('iframe'), form = document.createElement('form');
    frame.name = 'f'; document.body.append(frame, form);
    form.target = 'f'; form.method = 'POST'; form.enctype = 'text/plain'; form.action = at + '/graphql';
    frame.onload = () => setTimeout(done, 200); form.submit() });
  const socket = await new Promise(done => {
    const socket = new WebSocket(at.replace('http', 'ws') + '/graphql', 'graphql-ws');
    socket.onopen = () => done('open'); socket.onerror = () => done('failed') });
  return {...told, socket};
})()
"""


class Between(ThreadingHTTPServer):
    """A server that serves an empty page at /page, passes all else on to the UI (if any), and keeps the statuses.

    To browser and UI that is what a name that was rebound between two requests looks like: the page's own origin.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Between)
        self.ui = port
        self.passed: list[tuple[str, str, int]] = []


class _Between(BaseHTTPRequestHandler):
    server: Between

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        if self.path == "/page":
            status, body, kind = 200, b"<!doctype html><body>", "text/html"
        elif not self.server.ui:
            status, body, kind = 404, b"", "text/plain"
            self.server.passed.append((self.command, self.path, status))
        else:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection("127.0.0.1", self.server.ui, timeout=60)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "accept-encoding", "upgrade"):
                    connection.putheader(name, value)
            connection.endheaders(sent or None)
            answer = connection.getresponse()
            status, body, kind = answer.status, answer.read(), answer.getheader("Content-Type", "text/plain")
            connection.close()
            if self.path != "/favicon.ico":
                self.server.passed.append((self.command, self.path.partition("?")[0], status))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_OPTIONS = _serve


@contextmanager
def serving(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Dagster's home with the project's own settings."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def bait():
    """A server that keeps what it is asked for."""
    with serving(Between(0)) as server:
        yield server


@pytest.fixture(scope="module")
def ui(home, bait):
    """The UI with an asset of which one preview shows an image of ours, and another hostile texts."""
    at = f"127.0.0.1:{bait.server_address[1]}"
    hostile = pl.DataFrame({"text": [text.format(bait=at) for text in HOSTILE]})
    metadata = {"control": dg.MetadataValue.md(f"![x](http://{at}/control.png)"), "hostile": preview(hostile)}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("responses", metadata=metadata))
    with web_server(home) as port, serving(Between(port)) as server:
        yield server


def tried(port: int, page: str, at: str) -> dict[str, str]:
    async def attempt():
        async with browser.page(port, page) as opened:
            await opened.wait_for("document.readyState == 'complete'")
            return await opened.value(TRIES % (json.dumps(WIPE), json.dumps(at)))

    return asyncio.run(attempt())


def test_a_page_whose_name_was_rebound_and_a_foreign_page_get_and_change_nothing(ui):
    own = ui.server_address[1]
    with browser.running("MAP evil.example 127.0.0.1, MAP ui.lan 127.0.0.1") as port:
        control = tried(port, f"http://ui.lan:{own}/page", f"http://ui.lan:{own}")
        assert control["query"].startswith("200 ") and control["server info"].startswith("200 "), "an allowed name"
        ui.passed.clear()
        rebound = tried(port, f"http://evil.example:{own}/page", f"http://evil.example:{own}")
        passed = list(ui.passed)
        assert len(passed) >= 7 and {status for *_, status in passed} == {400}, passed
        assert rebound.pop("socket") == "failed"
        assert all(told == "failed" or told.startswith("400 Invalid host header") for told in rebound.values()), rebound
        ui.passed.clear()
        foreign = tried(port, f"http://evil.example:{own}/page", f"http://localhost:{own}")
        passed = list(ui.passed)
        assert len(passed) >= 6 and {status for *_, status in passed} == {403}, passed
        assert set(foreign.values()) <= {"failed", "0 "}, foreign


def test_a_browser_that_shows_a_preview_in_the_ui_fetches_nothing_of_it(ui, bait):
    at = f"http://127.0.0.1:{bait.server_address[1]}/"

    async def look(port):
        async with browser.page(port, f"http://localhost:{ui.ui}/assets/responses?view=events") as opened:
            await opened.wait_for("document.body?.innerText.includes('![x](http://')")
            await opened.wait_for("[...document.images].some(image => image.src.endsWith('control.png'))")
            await asyncio.sleep(2)
            return opened.asked_for

    with browser.running() as port:
        asked_for = asyncio.run(look(port))
    assert {path for _, path, _ in bait.passed} == {"/control.png"}, "ours is fetched, so others would be seen"
    assert {address for address in asked_for if address.startswith(at)} == {f"{at}control.png"}
    own = (f"http://localhost:{ui.ui}/", "data:", "blob:")
    assert [address for address in asked_for if not address.startswith((*own, at))] == [], "nor anything else elsewhere"
