"""Alerts: what failed is told once, to the log and to a webhook, and a webhook that fails stops and loses nothing."""

import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import httpx
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from mpta_pipeline.orchestration import alerts


class Hook(ThreadingHTTPServer):
    """A webhook that keeps what it gets and answers with the statuses it is given, then 200."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.got: list[dict] = []
        self.tries = 0


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def log_message(self, format, *args):
        pass

    def do_POST(self):
        self.server.tries += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if status == 200:
            self.server.got.append(body)
        self.send_response(status)
        self.end_headers()


@pytest.fixture
def hook(monkeypatch):
    server = Hook()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(alerts.VARIABLE, f"http://127.0.0.1:{server.server_address[1]}/secret-token")
    yield server
    server.shutdown()
    server.server_close()


@dg.asset(
    check_specs=[
        dg.AssetCheckSpec("holds", asset="table"),
        dg.AssetCheckSpec("broken", asset="table"),
        dg.AssetCheckSpec("doubtful", asset="table"),
    ]
)
def table():
    yield dg.MaterializeResult(
        check_results=[
            dg.AssetCheckResult(passed=True, check_name="holds"),
            dg.AssetCheckResult(passed=False, check_name="broken", description="12 rows too many"),
            dg.AssetCheckResult(passed=False, check_name="doubtful", severity=dg.AssetCheckSeverity.WARN),
        ]
    )


@dg.asset
def fails():
    raise ValueError("no")


CHECKS = [dg.AssetCheckKey(dg.AssetKey("table"), name) for name in ("holds", "broken", "doubtful")]


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


class Ticks:
    """Ticks of the sensor on one instance, with the cursor kept between them."""

    def __init__(self, instance, caplog):
        self.instance, self.caplog, self.cursor = instance, caplog, None

    def tick(self):
        self.caplog.clear()
        with self.caplog.at_level(logging.INFO):
            self.cursor, new = alerts.tick(
                self.instance, self.cursor, CHECKS, logging.getLogger("alerts"), study="test", pause=0.01
            )
        return new


@pytest.fixture
def ticks(instance, caplog):
    started = Ticks(instance, caplog)
    assert started.tick() == 0
    return started


def backfill(instance, status, ended):
    instance.add_backfill(
        PartitionBackfill(
            backfill_id=f"b-{status.value}-{ended}",
            status=status,
            from_failure=False,
            tags={},
            backfill_timestamp=ended - 60,
            asset_selection=[dg.AssetKey("table")],
            backfill_end_timestamp=ended,
        )
    )


def test_failed_checks_are_told_once_with_what_they_say(ticks, instance, hook):
    for _ in range(2):
        dg.materialize([table], instance=instance)
    assert ticks.tick() == 2
    (sent,) = hook.got
    texts = {a["check"]: a["text"] for a in sent["alerts"]}
    assert texts == {
        "broken": "Check broken of table failed: 12 rows too many",
        "doubtful": "Check doubtful of table warns: see the UI",
    }
    assert "12 rows too many" in sent["text"] and "12 rows too many" in ticks.caplog.text
    assert ticks.tick() == 0 and len(hook.got) == 1


def test_a_failed_run_and_finished_backfills_are_told(ticks, instance, hook):
    job = dg.Definitions(assets=[fails]).resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance, asset_selection=[fails.key], raise_on_error=False)
    now = time.time()
    for status in (BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.CANCELED):
        backfill(instance, status, now)
    backfill(instance, BulkActionStatus.COMPLETED_SUCCESS, now - 86_400)
    assert ticks.tick() == 4, "yesterday's backfill ended before the first tick"
    texts = {a["text"] for a in hook.got[0]["alerts"]}
    assert {
        "Backfill of table: finished",
        "Backfill of table: finished; some of its runs failed",
        "Backfill of table: was canceled",
    } < texts
    assert any(text.startswith("Run of fails failed") for text in texts)
    assert ticks.tick() == 0


def test_what_happened_before_the_first_tick_is_not_told(instance, caplog, hook):
    dg.materialize([table], instance=instance)
    time.sleep(0.05)
    started = Ticks(instance, caplog)
    assert (started.tick(), started.tick()) == (0, 0) and hook.got == []


def test_a_webhook_that_stumbles_is_tried_again_at_once(ticks, instance, hook):
    hook.statuses = [503, 500]
    dg.materialize([table], instance=instance)
    ticks.tick()
    assert hook.tries == 3 and len(hook.got[0]["alerts"]) == 2


@pytest.mark.parametrize("status", [500, 404])
def test_a_webhook_that_fails_gets_everything_later_and_its_address_is_never_shown(ticks, instance, hook, status):
    hook.statuses = [status] * 3
    dg.materialize([table], instance=instance)
    assert ticks.tick() == 2 and hook.got == []
    assert hook.tries == (3 if status == 500 else 1), "a refusal is not tried again at once"
    assert f"HTTP status {status}" in ticks.caplog.text and "secret-token" not in ticks.caplog.text
    assert "secret-token" not in ticks.cursor
    hook.statuses = []
    assert ticks.tick() == 0 and len(hook.got[0]["alerts"]) == 2


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/secret-token", "not an address secret-token", "ftp://secret-token"]
)
def test_an_address_that_cannot_be_reached_or_is_none_breaks_nothing(ticks, instance, monkeypatch, address):
    monkeypatch.setenv(alerts.VARIABLE, address)
    dg.materialize([table], instance=instance)
    assert ticks.tick() == 2
    assert "did not accept 2 alert(s)" in ticks.caplog.text and "secret-token" not in ticks.caplog.text


def test_without_an_address_alerts_are_in_the_log_alone(ticks, instance, monkeypatch):
    monkeypatch.delenv(alerts.VARIABLE, raising=False)
    monkeypatch.setattr(httpx, "post", lambda *args, **kwargs: pytest.fail("nothing is sent"))
    dg.materialize([table], instance=instance)
    assert ticks.tick() == 2 and "12 rows too many" in ticks.caplog.text


def test_too_many_that_wait_are_dropped_with_their_number(ticks, instance, hook, monkeypatch):
    monkeypatch.setattr(alerts, "_MAX_WAITING", 3)
    hook.statuses = [404] * 2
    for _ in range(2):
        dg.materialize([table], instance=instance)
        ticks.tick()
    ticks.tick()
    sent = hook.got[0]["alerts"]
    assert [a["kind"] for a in sent] == ["lost", "check", "check", "check"] and sent[0]["text"].startswith("1 earlier")


def test_a_cursor_that_is_not_ours_starts_anew(instance, caplog):
    started = Ticks(instance, caplog)
    started.cursor = "garbage"
    assert started.tick() == 0 and json.loads(started.cursor)["waiting"] == []
