"""The engine's promises: nothing asked twice, nothing lost, nothing sent where it may not go, nothing leaked."""

import itertools
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ModelError, PolicyError
from mpta_pipeline.inference.ledger import Ledger
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import Answer, Server, answers, chat

REPOSITORY = Path(__file__).parents[2]


def test_equal_texts_are_asked_once_and_a_second_run_asks_nothing(server: Server, ledger: Path):
    prompts = make_prompts(["same"] * 4 + ["other"] * 4)
    spec = make_spec(server.url)
    report = inference.send_requests(spec, prompts, ledger)
    assert (report.requests, report.answered, len(server.log)) == (2, 2, 2)
    frame = inference.responses(spec, prompts, ledger)
    assert frame.height == 8
    again = inference.send_requests(spec, prompts, ledger)
    assert (again.answered, again.reused, len(server.log)) == (0, 2, 2)
    assert_frame_equal(frame, inference.responses(spec, prompts, ledger))


def test_one_percent_of_new_prompts_asks_one_percent(server: Server, ledger: Path):
    spec = make_spec(server.url)
    inference.send_requests(spec, make_prompts([f"item {i}" for i in range(200)]), ledger)
    changed = make_prompts([f"item {i}" if i % 100 else f"new {i}" for i in range(200)])
    assert inference.plan(spec, changed, ledger).calls == 2
    assert inference.send_requests(spec, changed, ledger).answered == 2


def test_the_plan_tells_calls_tokens_price_and_time_and_asks_nothing(server: Server, ledger: Path):
    spec = make_spec(server.url, price={"input": 1.0, "output": 2.0}, requests_per_minute=60)
    prompts = make_prompts(["x" * 3984] * 1 + ["y" * 3984] * 1)
    plan = inference.plan(spec, prompts, ledger)
    assert (plan.requests, plan.calls, plan.cached) == (2, 2, 0)
    assert plan.prompt_tokens == pytest.approx(2000, rel=0.02)
    assert plan.price == pytest.approx(0.002 + 2 * 16e-6, rel=0.03)
    assert plan.seconds == 2.0
    assert server.log == []
    assert not ledger.exists()


def test_usage_is_accounted_and_compared_with_the_estimate(server: Server, ledger: Path):
    spec = make_spec(server.url, price={"input": 10.0, "output": 20.0})
    report = inference.send_requests(spec, make_prompts([f"item {i}" for i in range(10)]), ledger)
    assert report.cost == pytest.approx(10 * (40 * 10 + 1 * 20) / 1e6)
    assert report.estimated_cost is not None
    assert Ledger(ledger).totals()["cost"] == pytest.approx(report.cost)


def test_a_budget_stops_cleanly_and_is_never_passed(server: Server, ledger: Path):
    prompts = make_prompts([f"item {i}" for i in range(100)])
    spec = make_spec(server.url, price={"input": 1000.0}, budget=1.0, max_tokens=1)
    report = inference.send_requests(spec, prompts, ledger)
    assert report.stopped is not None
    assert "1 US dollars" in report.stopped
    assert 10 <= report.answered < 100
    assert report.left == 100 - report.answered
    assert report.cost <= 1.0
    assert inference.responses(spec, prompts, ledger).height == report.answered
    for _ in range(2):
        inference.send_requests(spec, prompts, ledger)
    assert Ledger(ledger).totals()["cost"] <= 1.0 + 1e-9, "the model's budget is for all runs together"
    shared = inference.Budget(0.5)
    other = make_spec(server.url, price={"input": 1000.0}, max_tokens=1)
    first = inference.send_requests(other, prompts, ledger.parent / "b", budget=shared)
    second = inference.send_requests(other, prompts, ledger.parent / "c", budget=shared)
    assert first.cost + second.cost == pytest.approx(shared.spent)
    assert shared.spent <= 0.5


def test_a_budget_without_a_price_is_refused(server: Server, ledger: Path):
    with pytest.raises(ModelError, match="no price"):
        inference.send_requests(make_spec(server.url, budget=1.0), make_prompts(["x"]), ledger)


def test_local_data_is_not_sent_elsewhere_and_the_rest_goes_on(server: Server, ledger: Path):
    prompts = make_prompts(
        [f"item {i}" for i in range(10)], data_use=["local_only", "any"] * 5, survey=["evs", "gss"] * 5
    )
    # The name resolves to this machine but is no loopback name, as a server elsewhere would be.
    away = make_spec(server.url.replace("127.0.0.1", "0.0.0.0"))
    report = inference.send_requests(away, prompts, ledger)
    assert (report.answered, report.withheld) == (5, 5)
    message = str(report.refusal)
    for word in ("evs", "mock", "0.0.0.0", "Remedy", "trusted"):
        assert word in message
    assert "gss" not in message
    assert all(int(r.text.split()[1]) % 2 for r in server.log)
    with pytest.raises(PolicyError, match="evs"):
        inference.send_requests(away, prompts.filter(pl.col("data_use") == "local_only"), ledger)
    assert len(server.log) == 5
    assert inference.send_requests(make_spec(server.url), prompts, ledger.parent / "local").answered == 10
    trusted = make_spec(server.url.replace("127.0.0.1", "0.0.0.0"), trusted=True)
    assert inference.send_requests(trusted, prompts, ledger).answered == 5


def test_equal_text_from_a_local_source_and_another_is_withheld(server: Server, ledger: Path):
    prompts = make_prompts(["same", "same"], data_use=["any", "local_only"], system=[None, None])
    with pytest.raises(PolicyError):
        inference.send_requests(make_spec("http://0.0.0.0:1/v1"), prompts, ledger)


def test_the_key_is_nowhere_but_in_the_request(serve, ledger: Path, monkeypatch, caplog, capfd):
    """Also where the endpoint sends it back in replies and errors."""
    key = "sk-secret-0123456789"
    monkeypatch.setenv("MOCK_KEY", key)
    caplog.set_level(logging.DEBUG)

    def decide(server, request):
        given = request.headers["authorization"]
        if "bad" in request.text:
            return Answer(400, {"error": {"message": f"Incorrect: {given}", "code": given}})
        return Answer(body=chat(f"your key is {given}", fingerprint=given))

    server = serve(decide)
    spec = make_spec(server.url, key_env="MOCK_KEY")
    prompts = make_prompts(["x", "bad y", "z"])
    report = inference.send_requests(spec, prompts, ledger)
    assert server.log[0].headers["authorization"] == f"Bearer {key}"
    frame = inference.responses(spec, prompts, ledger)
    Ledger(ledger).compact()
    shown = [str(report), str(report.as_notes()), frame.write_json(), caplog.text, *capfd.readouterr(), repr(spec)]
    shown += [str(inference.card(spec)), *(f.read_bytes().decode("latin-1") for f in ledger.rglob("*") if f.is_file())]
    shown += [Ledger(ledger).read().write_json()]
    assert not any(key in text for text in shown)
    assert "key removed" in frame["text"][0]
    rejected = serve(lambda s, r: Answer(401, {"error": {"message": f"bad key {key}"}}))
    with pytest.raises(ModelError) as failure:
        inference.send_requests(make_spec(rejected.url, key_env="MOCK_KEY"), prompts, ledger.parent / "r")
    assert key not in str(failure.value)
    assert "MOCK_KEY" in str(failure.value)


def test_a_change_of_the_providers_model_is_noticed(server: Server, ledger: Path):
    report = inference.send_requests(make_spec(server.url), make_prompts(["a", "{{fingerprint}} b", "c"]), ledger)
    assert sorted(report.fingerprints) == ["mock-1 fp_1", "mock-1 fp_2"]
    assert any("changed during the run" in note for note in report.notes)
    frame = Ledger(ledger).read()
    assert frame["provider_model"].n_unique() == 2


def test_provenance_is_kept_with_each_answer(server: Server, ledger: Path):
    inference.send_requests(make_spec(server.url), make_prompts(["a", "{{500}} b"]), ledger)
    found = Ledger(ledger).read().sort("attempts")
    assert found["attempts"].to_list() == [1, 2]
    assert (found["latency"] > 0).all()
    assert abs(found["asked_at"][0] / 1000 - time.time()) < 60
    assert found["finish_reason"].to_list() == ["stop", "stop"]


def test_progress_tells_rate_spent_and_remaining(server: Server, ledger: Path):
    seen = []
    prompts = make_prompts([f"item {i}" for i in range(50)])
    spec = make_spec(server.url, price={"input": 1.0})
    inference.send_requests(spec, prompts[:10], ledger)
    inference.send_requests(spec, prompts, ledger, progress=seen.append)
    last = seen[-1]
    assert (last.model, last.total, last.done, last.reused, last.errors) == ("mock", 50, 50, 10, 0)
    assert last.rate > 0
    assert last.spent > 0
    assert len(seen) < 20


def test_requests_per_minute_are_kept(server: Server, ledger: Path):
    began = time.monotonic()
    inference.send_requests(
        make_spec(server.url, requests_per_minute=600), make_prompts([f"i {i}" for i in range(75)]), ledger
    )
    # A tenth of the minute's 600 may go at once, the other 15 at ten a second.
    assert time.monotonic() - began > 1.2


def test_connections_are_a_limit(ledger: Path):
    with Server(latency=0.02).running() as server:
        inference.send_requests(
            make_spec(server.url, connections=5), make_prompts([f"i {i}" for i in range(60)]), ledger
        )
        assert server.peak == 5


def test_equal_prefixes_are_asked_together(server: Server, ledger: Path):
    prompts = make_prompts([f"i {i}" for i in range(40)]).sample(fraction=1, shuffle=True, seed=3)
    inference.send_requests(make_spec(server.url, connections=1), prompts, ledger)
    systems = [r.body["messages"][0]["content"] for r in server.log]
    assert sum(a != b for a, b in itertools.pairwise(systems)) == 9


def test_one_failing_model_does_not_touch_anothers_answers(server: Server, ledger: Path):
    prompts = make_prompts(["a", "b"])
    good = make_spec(server.url, name="good")
    inference.send_requests(good, prompts, ledger)
    with pytest.raises(ModelError):
        inference.send_requests(make_spec("http://127.0.0.1:9/v1", name="bad"), prompts, ledger.parent / "bad")
    assert inference.responses(good, prompts, ledger).height == 2


def test_an_elicitation_that_the_model_is_not_used_with_is_refused(server: Server, ledger: Path):
    with pytest.raises(ModelError, match="option_logprob"):
        inference.send_requests(make_spec(server.url), make_prompts(["a"], elicitation="option_logprob"), ledger)


def test_asking_works_inside_a_running_event_loop(server: Server, ledger: Path):
    import asyncio

    async def notebook():
        return inference.send_requests(make_spec(server.url), make_prompts(["a", "b"]), ledger)

    assert asyncio.run(notebook()).answered == 2


CHILD = """
import sys
from pathlib import Path
from mpta_pipeline import inference
from tests.factories.model_calls import make_prompts, make_spec
url, ledger, n, connections = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
spec = make_spec(url, connections=connections, timeouts={"first_byte": 30, "whole": 60})
print("ready", flush=True)
inference.send_requests(spec, make_prompts([f"item {i}" for i in range(n)]), ledger)
print("done", flush=True)
"""


@pytest.mark.parametrize("kills", [int(os.environ.get("MPTA_KILLS", "4"))])
def test_killed_at_any_instant_nothing_is_lost_and_only_what_was_in_flight_is_asked_twice(tmp_path: Path, kills: int):
    """SIGKILL during a run of 2,000 requests; MPTA_KILLS=50 is the long version."""
    import random

    rng = random.Random(7)
    n, connections, ledger = 2000, 32, tmp_path / "ledger"
    prompts = make_prompts([f"item {i}" for i in range(n)])
    with Server(latency=0.02).running() as server:
        spec = make_spec(server.url, connections=connections)
        command = [sys.executable, "-c", CHILD, server.url, str(ledger), str(n), str(connections)]
        done = 0
        for _ in range(kills):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.02, 2.4 / kills + 0.1))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kept = Ledger(ledger).read().height
            assert kept >= done, "no answer is lost"
            done = kept
        inference.send_requests(spec, prompts, ledger)
        asked = Counter(r.text for r in server.log)
    frame = inference.responses(spec, prompts, ledger)
    assert frame.height == n
    assert frame["error"].null_count() == n
    assert len(asked) == n
    assert sum(asked.values()) - n <= kills * connections
    with Server().running(port=int(server.port)) as fresh:
        clean = tmp_path / "clean"
        assert fresh.url == server.url
        inference.send_requests(spec, prompts, clean)
    assert_frame_equal(frame, inference.responses(spec, prompts, clean))


def test_ctrl_c_keeps_what_was_answered(tmp_path: Path):
    ledger = tmp_path / "ledger"
    with Server(latency=0.05).running() as server:
        command = [sys.executable, "-c", CHILD, server.url, str(ledger), "2000", "8"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY)
        assert process.stdout is not None
        process.stdout.readline()
        while len(server.log) < 20 and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
        assert b"KeyboardInterrupt" in error
        asked = len(server.log)
    kept = Ledger(ledger).read().height
    assert asked - 8 <= kept <= asked


def test_letters_come_in_shown_order(serve, ledger: Path):
    server = serve(lambda s, r: Answer(body=chat("B", logprobs={"B": -0.5, "A": -1.0, " B": -3.0, "C": -4.0})))
    spec = make_spec(server.url)
    prompts = make_prompts(["x"])
    inference.send_requests(spec, prompts, ledger)
    found = inference.responses(spec, prompts, ledger)["option_logprobs"][0].to_list()
    assert found[0] == -1.0
    assert found[1] == pytest.approx(-0.42112, abs=1e-4)  # log(exp(-.5) + exp(-3)), by hand


def test_an_endpoint_that_rejects_logprobs_is_asked_without(serve, ledger: Path):
    def decide(server, request):
        if request.body.get("logprobs"):
            return Answer(400, {"error": {"message": "'logprobs' is not supported with this model"}})
        return answers(request)

    server = serve(decide)
    report = inference.send_requests(make_spec(server.url), make_prompts([f"i {i}" for i in range(10)]), ledger)
    assert (report.answered, report.errors, len(server.log)) == (10, 0, 11)
    assert any("log-probabilities" in note for note in report.notes)


def test_a_slot_takes_whole_personas(ledger: Path):
    with Server(latency=0.005).running() as server:
        prompts = make_prompts([f"i {i}" for i in range(48)])
        report = inference.send_requests(make_spec(server.url, slots=3), prompts, ledger)
        assert (report.answered, server.peak) == (48, 3)
        systems = [r.body["messages"][0]["content"] for r in server.log]
    for place, system in enumerate(systems):
        others = set(systems[systems.index(system) : place + 1])
        assert len(others) <= 5, "a persona is finished before its slot begins another"


def test_a_disk_that_fails_stops_the_model_with_its_reason(
    server: Server, ledger: Path, monkeypatch: pytest.MonkeyPatch
):
    from mpta_pipeline.inference import ledger as ledger_module

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger_module.os, "fdatasync", full)
    with pytest.raises(ModelError, match=r"No space left.*free space"):
        inference.send_requests(make_spec(server.url), make_prompts([f"i {i}" for i in range(3000)]), ledger)
