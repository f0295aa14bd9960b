"""Web pages that attack the UI: DNS rebinding, foreign origins, GraphQL by GET. All by real HTTP requests."""

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from mpta_pipeline.orchestration.web_guard import allowed_hosts
from mpta_pipeline.orchestration.web_server import GUARDED, WEB_SERVER, GuardedStarts

PATIENCE = 90.0
WIPE = "mutation { reloadWorkspace { __typename } }"
EVIL = "http://evil.example"


@contextmanager
def web_server(home):
    """The port of Dagster's web server as `mpta ui` starts it, without code locations."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    words = [sys.executable, *GUARDED, "--empty-workspace", "-h", "127.0.0.1", "-p", str(number)]
    environment = os.environ | {"DAGSTER_HOME": str(home), "MPTA_UI_HOSTS": "ui.lan, *"}
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(number, server)
            yield number
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with web_server(tmp_path_factory.mktemp("home")) as number:
        yield number


def _wait_for(port: int, server: subprocess.Popen) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert server.poll() is None, "the server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the server does not listen")


def _ask(port: int, method: str, path: str, headers: dict[str, str], body: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(None if body is None else body.encode())
    response = connection.getresponse()
    answer = response.status, response.read().decode(errors="replace")
    connection.close()
    return answer


def _graphql(port: int, headers: dict[str, str], query: str = "{ version }") -> tuple[int, str]:
    given = {"Host": f"localhost:{port}", "Content-Type": "application/json"} | headers
    return _ask(port, "POST", "/graphql", given, json.dumps({"query": query}))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "ui.lan", "LOCALHOST"])
def test_its_own_pages_are_answered(port, host):
    status, text = _graphql(port, {"Host": f"{host}:{port}", "Origin": f"http://{host.lower()}:{port}"})
    assert status == 200 and "version" in text
    assert _graphql(port, {"Host": f"{host}:{port}", "Sec-Fetch-Site": "same-origin"})[0] == 200
    assert _graphql(port, {"Host": f"{host}:{port}"})[0] == 200, "a program that is no browser sends no Origin"
    assert _ask(port, "GET", "/server_info", {"Host": f"{host}:{port}"})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "localhost.evil.example:{port}",
        "127.0.0.1.evil.example",
        "evil.example@localhost",
        "10.0.0.7:{port}",
        "",
        "*",
    ],
)
def test_a_name_that_was_rebound_to_this_machine_gets_nothing(port, host):
    host = host.format(port=port)
    for headers in ({}, {"Origin": f"http://{host}"}, {"Sec-Fetch-Site": "same-origin"}):
        assert _graphql(port, {"Host": host} | headers)[0] == 400
        assert _ask(port, "GET", "/", {"Host": host} | headers)[0] == 400
    assert _ask(port, "GET", "/logs/x", {})[0] == 400


@pytest.mark.parametrize(
    "origin",
    [EVIL, "null", "http://localhost", "http://localhost:1", "http://localhost.evil.example", "file://", "x", ""],
)
def test_a_page_of_another_origin_changes_and_reads_nothing(port, origin):
    assert _graphql(port, {"Origin": origin}, WIPE)[0] == 403
    assert (
        _ask(port, "POST", "/report_asset_materialization/x", {"Host": f"localhost:{port}", "Origin": origin}, "")[0]
        == 403
    )


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("what", ["image", "document", "iframe", "script"])
def test_an_image_or_link_on_another_page_executes_nothing(port, site, what):
    mode = "navigate" if what in ("document", "iframe") else "no-cors"
    headers = {"Host": f"localhost:{port}", "Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": what}
    query = WIPE.replace(" ", "%20")
    assert _ask(port, "GET", f"/graphql?query={query}", headers)[0] == 403
    assert _ask(port, "GET", f"/graphql/?query={query}", headers)[0] == 403
    assert _ask(port, "GET", "/server_info", headers)[0] == (200 if what == "document" else 403)


def test_graphql_by_get_is_refused_from_a_browser_that_says_nothing_of_its_page(port):
    status, text = _ask(port, "GET", "/graphql?query=%7Bversion%7D", {"Host": f"localhost:{port}"})
    assert status == 403 and "by POST only" in text


@pytest.mark.parametrize(
    "host, origin, opens",
    [
        ("localhost:{port}", "http://localhost:{port}", True),
        ("localhost:{port}", EVIL, False),
        ("localhost:{port}", "null", False),
        ("evil.example:{port}", "http://evil.example:{port}", False),
    ],
)
def test_a_web_socket_opens_for_its_own_page_only(port, host, origin, opens):
    headers = {
        "Host": host.format(port=port),
        "Origin": origin.format(port=port),
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "graphql-ws",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"GET /graphql HTTP/1.1\r\n{lines}\r\n".encode())
        answer = connection.recv(4096).decode(errors="replace")
    status = int(answer.split()[1])
    assert status == 101 if opens else status in (400, 403)


def test_a_host_that_is_sent_twice_is_refused(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            f"GET /server_info HTTP/1.1\r\nHost: localhost:{port}\r\nHost: evil.example\r\n\r\n".encode()
        )
        assert int(connection.recv(4096).split()[1]) in (400, 403)


def test_every_name_of_this_machine_counts_only_where_every_address_is_listened_on(monkeypatch):
    monkeypatch.delenv("MPTA_UI_HOSTS", raising=False)
    assert "*" not in allowed_hosts("*") and "0.0.0.0" not in allowed_hosts("0.0.0.0")
    assert socket.gethostname() in allowed_hosts("0.0.0.0")
    assert set(allowed_hosts("127.0.0.1")) == {"localhost", "127.0.0.1", "::1", "[::1]"}


def test_a_dagster_that_starts_its_server_in_another_way_serves_nothing():
    started = []
    starts = GuardedStarts(lambda words, **options: started.append(words))
    with pytest.raises(RuntimeError, match="in another way"):
        starts([sys.executable, "-m", "dagster._daemon", "run"])
    starts([sys.executable, *WEB_SERVER, "--port", "1"])
    starts([sys.executable, "-m", "dagster._daemon", "run"])
    assert started == [[sys.executable, *GUARDED, "--port", "1"], [sys.executable, "-m", "dagster._daemon", "run"]]
