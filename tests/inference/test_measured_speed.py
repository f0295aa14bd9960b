"""The time that `mpta plan` states: measured on earlier responses, with a range that holds what runs then take."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mpta_pipeline import inference
from mpta_pipeline.inference import calibration, engine
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.measured_speed import LEAST, measured_speed
from mpta_pipeline.inference.responses import ASSUMED_RANGE
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import Answer, Server, chat

IDLE, BUSY = 0.6, 1.6  # seconds per request


def _ledger(folder: Path, spec: inference.ModelSpec, prompts: pl.DataFrame, gaps: np.ndarray) -> Path:
    keys = inference.with_request_hashes(spec, prompts)["request_hash"]
    times = (1_700_000_000 + np.cumsum(gaps)) * 1000
    with Ledger(folder).writer() as writer:
        for key, at in zip(keys, times, strict=False):
            record = {"request_hash": key, "text": "A", "prompt_tokens": 100, "latency": 0.2, "asked_at": int(at)}
            writer.append(record | {"attempts": 1})
    return folder


@pytest.fixture
def one_by_one(monkeypatch):
    """A model whose requests are sent one after the other, as the embedded one's are."""
    spec = make_spec("http://127.0.0.1:9/v1")
    monkeypatch.setattr(spec.provider_class, "prefill_rate", 400.0)
    return spec


def test_a_model_in_this_process_is_timed_by_what_its_runs_took(one_by_one, tmp_path: Path):
    """The latency of the last call of a request (0.2 s) is not its time: 408 s were promised and 1,060 s taken."""
    rng = np.random.default_rng(1)
    busy_and_idle = np.concatenate([rng.normal(IDLE, 0.05, 200), [86_400.0], rng.normal(BUSY, 0.1, 100)])
    prompts = make_prompts([f"item {i} " + "x" * 392 for i in range(700)])
    ledger = _ledger(tmp_path / "ledger", one_by_one, prompts[:300], busy_and_idle)
    plan = inference.plan(one_by_one, prompts, ledger)
    assert plan.calls == 400 and plan.speed.startswith("measured on 2")
    assert plan.seconds_low < 400 * IDLE * 1.2 and 400 * BUSY * 0.9 < plan.seconds_high < 400 * BUSY * 1.5
    assert plan.seconds_low < plan.seconds < plan.seconds_high


def test_without_responses_the_time_is_an_assumption_and_says_so(one_by_one, tmp_path: Path):
    plan = inference.plan(one_by_one, make_prompts([f"item {i}" for i in range(50)]), tmp_path / "none")
    assert plan.speed == "assumed"
    assert (plan.seconds_low, plan.seconds_high) == pytest.approx([plan.seconds * r for r in ASSUMED_RANGE], abs=0.3)


def test_few_responses_measure_nothing(one_by_one, tmp_path: Path):
    prompts = make_prompts([f"item {i}" for i in range(LEAST)])
    ledger = Ledger(_ledger(tmp_path / "few", one_by_one, prompts, np.full(LEAST - 5, 1.0)))
    assert measured_speed(ledger, one_by_one=True) is None
    assert measured_speed(Ledger(tmp_path / "none"), one_by_one=True) is None


def test_a_calibration_sends_requests_of_the_study_once(server: Server, tmp_path: Path, monkeypatch):
    spec = make_spec(server.url)
    prompts, ledger = make_prompts([f"item {i}" for i in range(60)]), tmp_path / "ledger"
    assert inference.calibrate(spec, prompts, ledger, tmp_path) == 0, "not for a model elsewhere"
    monkeypatch.setattr(spec.provider_class, "in_process", True)
    assert inference.calibrate(spec, prompts, ledger, tmp_path) == calibration.REQUESTS
    assert inference.calibrate(spec, prompts, ledger, tmp_path) == 0, "its speed has been measured"
    report = inference.send_requests(spec, prompts, ledger)
    assert (report.answered, report.reused, len(server.log)) == (60 - calibration.REQUESTS, calibration.REQUESTS, 60)


def test_the_remaining_time_follows_the_latest_pace(serve, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(engine, "PACE_SECONDS", 0.2)
    monkeypatch.setattr(engine, "REPORT_EVERY", 0.04)
    server = serve(lambda _, r: Answer(body=chat("A"), delay=0.05 if "slow" in r.text else 0.0))
    texts = [f"quick {i}" for i in range(200)] + [f"slow {i}" for i in range(40)]
    seen: list[inference.RequestProgress] = []
    spec = make_spec(server.url, connections=1)
    inference.send_requests(spec, make_prompts(texts), tmp_path / "ledger", progress=seen.append)
    late = [s for s in seen if 220 < s.done < s.total and s.remaining_seconds is not None]
    assert late and all(s.remaining_seconds > 1.5 * (s.total - s.done) / s.rate for s in late)
