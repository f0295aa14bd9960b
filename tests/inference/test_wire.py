"""Replies in the shapes that each provider documents, one file a situation, through every elicitation and the batches.

Each file of `wire/` holds what is sent, what comes back and what it means. A property test mutates them: whatever
comes, the outcome is one of four with a reason, and never an option that the text does not name.
"""

import contextlib
import copy
import json
import math
import re
import unicodedata
from functools import cache, partial
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpta_pipeline import inference
from mpta_pipeline.core.tables import UNPARSED_REASONS
from mpta_pipeline.inference.option_logprobs import sum_of_echo, sum_of_prompt, sum_of_response
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError
from mpta_pipeline.inference.provider_registry import provider_for
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.response_fields import parse_json
from mpta_pipeline.tasks import parse_replies
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import Answer, Request, Server

WIRE = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted(Path(__file__).with_name("wire").glob("*.json"))
}
OPTIONS = next(iter(WIRE.values()))["options"]
GOOD = {"openai": "openai_chat_letter", "anthropic": "anthropic_letter", "gemini": "gemini_letter"}
CUE = re.compile(r"\{\{(\w+)\}\}")


def spec_of(situation: dict[str, Any], url: str = "http://127.0.0.1:1/v1", **values: Any) -> inference.ModelSpec:
    if situation["provider"] == "gemini":
        url = url.removesuffix("/v1") + "/v1beta"
    asked = ["letter", "verbalized", "free_text", "option_logprob"]
    values = {"provider": situation["provider"], "api": situation["api"], "elicitations": asked, "attempts": 2} | values
    return make_spec(url, **values)


def prompts_of(texts: list[str], options: list[str], elicitation: str = "letter") -> pl.DataFrame:
    return make_prompts(texts, options=[options] * len(texts), elicitation=elicitation).with_columns(
        option_order=pl.lit(list(range(len(options))))
    )


def answer_of(situation: dict[str, Any]) -> Answer:
    response = situation["response"]
    raw = response["raw"].encode() if "raw" in response else None
    return Answer(response["status"], response.get("body"), raw=raw)


def record_of(
    situation: dict[str, Any], payload: Any, elicitation: str = "letter", status: int = 200
) -> dict[str, Any]:
    """A payload as the engine would store it."""
    here, options = provider_for(spec_of(situation)), situation["options"]
    record: dict[str, Any] = {"text": None, "error": None}
    try:
        if status >= 300:
            raise here.classify_error(status, payload, "")
        response = here.read_response(ModelRequest("h", None, "", tuple(options), elicitation, ""), payload)
        names = ("text", "option_logprobs", "finish_reason", "completion_tokens", "letter_share", "thought")
        record |= {name: getattr(response, name) for name in names}
    except ProviderError as error:
        if error.kind is ErrorKind.CONTENT_FILTER:
            record |= {"text": "", "finish_reason": "content_filter"}
        else:
            record["error"] = error.reason
    orjson.dumps(record)  # as the ledger writes it
    return record


def read_all(records: list[dict[str, Any]], elicitation: str = "letter") -> list[dict[str, Any]]:
    """What the tasks read in stored records; all at once, because reading one takes as long."""
    schema = {
        "text": pl.String,
        "option_logprobs": pl.List(pl.Float64),
        "finish_reason": pl.String,
        "error": pl.String,
        "completion_tokens": pl.Int64,
        "letter_share": pl.Float64,
        "thought": pl.Boolean,
    }
    ids = [f"p{i:05d}" for i in range(len(records))]
    frame = pl.DataFrame(records, schema=schema).with_columns(
        model=pl.lit("m"), prompt_id=pl.Series(ids), request_hash=pl.lit("h")
    )
    options = next(iter(WIRE.values()))["options"]
    prompts = prompts_of(ids, [] if elicitation == "free_text" else options, elicitation)
    read = {row["prompt_id"]: row for row in parse_replies(prompts, frame).to_dicts()}
    return [
        read[name] | {k: record.get(k) for k in ("error", "thought")} for name, record in zip(ids, records, strict=True)
    ]


def body_of(situation: dict[str, Any]) -> Any:
    response = situation["response"]
    return parse_json(response["raw"]) if "raw" in response else copy.deepcopy(response["body"])


@cache
def outcomes(elicitation: str) -> dict[str, dict[str, Any]]:
    """Outcome of every situation."""
    records = [record_of(s, body_of(s), elicitation, s["response"]["status"]) for s in WIRE.values()]
    return dict(zip(WIRE, read_all(records, elicitation), strict=True))


@cache
def out_of_batches() -> dict[str, dict[str, Any]]:
    """Outcome of every situation as a line of a batch's results; those that the line itself fails are left out."""
    records = {}
    for name, situation in WIRE.items():
        here, body, status = provider_for(spec_of(situation)), body_of(situation), situation["response"]["status"]
        line: dict[str, Any] = {"metadata": {"key": "h"}, "response": body}
        if situation["provider"] == "openai":
            line = {"custom_id": "h", "response": {"status_code": status, "body": body}, "error": None}
        elif situation["provider"] == "anthropic":
            line = {"custom_id": "h", "result": {"type": "succeeded", "message": body}}
        result = here.batches()._result(parse_json(json.dumps(line).encode()))
        assert result.request_hash == "h"
        if result.error is None:
            records[name] = record_of(situation, result.payload)
        else:
            assert (result.error.kind is ErrorKind.CONTENT_FILTER) == (situation["means"]["outcome"] == "refused")
    return dict(zip(records, read_all(list(records.values())), strict=True))


def check(means: dict[str, Any], found: dict[str, Any]) -> None:
    """What was read against what the situation means."""
    assert found["status"] == means["outcome"], found
    assert found["unparsed_reason"] == (means.get("reason") if means["outcome"] == "unparsed" else None), found
    assert found["pred_pos"] == means.get("option"), found
    if "probabilities" in means:
        assert (found["p_vec"] is not None) == means["probabilities"], found
    if means["outcome"] == "error":
        assert means["error"] in found["error"], found
    if means["outcome"] == "ok":
        assert bool(found["thought"]) == means.get("thought", False), found
    if found["p_vec"] is not None:
        assert math.fsum(found["p_vec"]) == pytest.approx(1)
        assert found["p_vec"].index(max(found["p_vec"])) == found["pred_idx"]


def test_every_situation_of_the_list_is_there():
    assert len(WIRE) >= 90
    servers = " ".join(situation["server"] for situation in WIRE.values())
    names = (
        "OpenAI responses", "OpenAI completions", "Anthropic", "Gemini", "Azure", "OpenRouter", "vLLM", "SGLang",
        "llama.cpp", "Ollama", "LM Studio", "TGI", "DeepSeek", "Mistral", "Qwen", "gpt-oss", "Together",
    )  # fmt: skip
    assert all(name in servers for name in names)


@pytest.mark.parametrize(
    ("name", "api"), [("openai", "chat"), ("openai", "completions"), ("anthropic", "chat"), ("gemini", "chat")]
)
def test_a_situation_means_what_its_file_says(name: str, api: str, tmp_path: Path):
    """Over HTTP, through the engine, the ledger and the tasks."""
    chosen = {n: s for n, s in WIRE.items() if (s["provider"], s["api"]) == (name, api)}
    first = "openai_completions_letter" if api == "completions" else GOOD[name]
    names = [first, *(n for n in chosen if n != first)]

    def decide(request: Request) -> Answer:
        return answer_of(WIRE[CUE.search(request.text)[1]])  # type: ignore[index]

    with Server(decide).running() as server:
        spec = spec_of(WIRE[first], server.url)
        prompts = prompts_of([f"{{{{{n}}}}}" for n in names], OPTIONS)
        report = inference.send_requests(spec, prompts, tmp_path / "ledger")
    responses = inference.responses(spec, prompts, tmp_path / "ledger")
    assert report.stopped is None and responses.height == len(names)
    read = parse_replies(prompts, responses).join(responses.select("prompt_id", "error", "thought"), on="prompt_id")
    for one in read.to_dicts():
        check(WIRE[names[int(one["prompt_id"][1:])]]["means"], one)


def test_a_situation_means_the_same_out_of_a_batch():
    found = out_of_batches()
    assert len(found) >= len(WIRE) - 1
    for name, one in found.items():
        check(WIRE[name]["means"], one)


@pytest.mark.parametrize("elicitation", ["verbalized", "free_text"])
def test_a_situation_through_the_other_elicitations(elicitation: str):
    """The text and the failures are the same; letters' log-probabilities belong to letters only."""
    for name, found in outcomes(elicitation).items():
        means = WIRE[name]["means"]
        assert found["p_vec"] is None
        if means["outcome"] in ("error", "refused"):
            assert found["status"] == means["outcome"], name
        elif elicitation == "verbalized":
            assert (found["status"], found["pred_pos"]) == (means["outcome"], means.get("option")), name
        else:
            silent = means.get("reason") in ("empty", "thought_only") or (
                means.get("reason") == "cut_off" and means.get("thought", False)
            )
            assert found["status"] == ("unparsed" if silent else "ok"), name
            assert found["pred_pos"] is None


def test_no_situation_is_taken_for_scored_options():
    """What comes in place of the log-probabilities of whole options is a fault, never a number of something else."""
    for situation in WIRE.values():
        body = body_of(situation)
        for read in (partial(sum_of_prompt, before=3, option="yes"), partial(sum_of_echo, prompt="x", option=" yes")):
            with pytest.raises(ProviderError):
                read(body)
        with contextlib.suppress(ProviderError):
            assert math.isfinite(sum_of_response(body, 1))


# --- whatever comes ---------------------------------------------------------------------------------------------------

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(
        ["", " ", "A", "B", "C", "I", "stop", "length", "error", "<think>", "</think>A", "<|channel|>final"]
    ),
    st.text(max_size=6),
    st.just([]),
    st.just({}),
    st.lists(st.none() | st.text(max_size=2), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all parts of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def replaced(document: Any, path: tuple[Any, ...], value: Any, *, remove: bool) -> Any:
    if not path:
        return value
    document = copy.deepcopy(document)
    part = document
    for key in path[:-1]:
        part = part[key]
    if remove:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return document


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), elicitation=st.sampled_from(["letter", "verbalized"]))
def test_whatever_comes_is_one_of_four_outcomes_and_names_what_the_text_names(data, elicitation):
    records = []
    for name in data.draw(st.lists(st.sampled_from(sorted(WIRE)), min_size=20, max_size=40)):
        body = body_of(WIRE[name])
        for _ in range(data.draw(st.integers(1, 3))):
            path = data.draw(st.sampled_from(places(body)))
            body = replaced(body, path, data.draw(ODD), remove=bool(path) and data.draw(st.booleans()))
        records.append(record_of(WIRE[name], body, elicitation))
    for found in read_all(records, elicitation):
        assert found["status"] in ("ok", "refused", "unparsed", "error")
        assert (found["status"] == "unparsed") == (found["unparsed_reason"] in UNPARSED_REASONS)
        assert (found["status"] == "error") == bool(found["error"])
        assert (found["status"] == "ok") == (found["pred_pos"] is not None)
        if found["status"] == "ok":
            letter, option = "ABC"[found["pred_pos"]], OPTIONS[found["pred_pos"]]
            said = unicodedata.normalize("NFKC", found["text"]).lower()
            assert letter.lower() in said or option in said, found


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_bytes_that_are_no_json_are_a_fault_of_their_own(data):
    try:
        orjson.dumps(parse_json(data), option=orjson.OPT_NON_STR_KEYS)
    except ValueError:
        return
    except TypeError as failure:
        assert "64-bit" in str(failure)
