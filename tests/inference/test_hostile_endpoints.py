"""Endpoints that say anything: whatever comes, it ends in an answer, an error row or one message, in bounded time."""

import gzip
import resource
import time
import zlib
from pathlib import Path

import orjson
import pytest

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.inference import batches
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.provider_registry import provider_for
from mpta_pipeline.inference.requests import request_hashes
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import Answer, Request, Server, answers, chat, openai_error
from tests.inference.test_providers import BatchMock, batch_spec, submitted

GOOD = [f"good {i}" for i in range(6)]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK_KEY", "sk-secret-0123456789")


# --- time and memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429, 529])
def test_nobody_sleeps_a_day_because_an_endpoint_says_so(status: int, serve, ledger: Path):
    server = serve(lambda s, r: Answer(status, openai_error("come back tomorrow"), {"retry-after": "86400"}))
    began = time.monotonic()
    with pytest.raises(ModelError, match="come back tomorrow"):
        inference.send_requests(make_spec(server.url), make_prompts(GOOD), ledger)
    assert time.monotonic() - began < 5
    assert len(server.log) == 1


def test_one_request_that_is_told_to_wait_a_day_is_an_error_and_the_others_go_on(serve, ledger: Path):
    late = Answer(503, openai_error("busy"), {"retry-after": "86400"})
    server = serve(lambda s, r: late if "good 3" in r.text else answers(r))
    report = inference.send_requests(make_spec(server.url), make_prompts(GOOD), ledger)
    assert (report.answered, report.errors) == (5, 1)


def _bomb(times: int) -> bytes:
    """Gigabytes of blanks in a few kilobytes: packed `times` over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    data = b"".join(packer.compress(b" " * 2**20) for _ in range(1024)) + packer.flush()
    for _ in range(times - 1):
        data = gzip.compress(data)
    return data


@pytest.mark.parametrize("times", [1, 2])
def test_a_small_reply_that_unpacks_to_gigabytes_takes_no_memory(times: int, serve, ledger: Path):
    packed, encoding = _bomb(times), ", ".join(["gzip"] * times)
    server = serve(
        lambda s, r: Answer(raw=packed, headers={"content-encoding": encoding}) if "good 3" in r.text else answers(r)
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = inference.send_requests(make_spec(server.url), make_prompts(GOOD), ledger)
    assert (report.answered, report.errors) == (5, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),  # the bare stream that some servers send
        ("identity", bytes),
    ],
)
def test_a_packed_reply_is_read(encoding, pack, serve, ledger: Path):
    raw = pack(orjson.dumps(chat("A" + " " * 500_000)))
    server = serve(lambda s, r: Answer(raw=raw, headers={"content-encoding": encoding}))
    assert inference.send_requests(make_spec(server.url), make_prompts(["x"]), ledger).answered == 1


def test_names_that_an_endpoint_gives_are_bounded(serve, ledger: Path):
    server = serve(
        lambda s, r: (
            Answer(400, openai_error(f"{r.text} is bad"))
            if "bad" in r.text
            else Answer(body=chat("A", finish_reason="x" * 100_000) | {"model": r.text + "m" * 100_000})
        )
    )
    report = inference.send_requests(
        make_spec(server.url), make_prompts([f"{w} {i}" for i in range(60) for w in ("a", "bad")]), ledger
    )
    frame = Ledger(ledger).read()
    assert frame["provider_model"].str.len_chars().max() <= 200
    assert frame["finish_reason"].str.len_chars().max() <= 200
    assert len(report.fingerprints) <= 20
    assert len(report.error_reasons) <= 21
    assert sum(report.error_reasons.values()) == 60


# --- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:80O0/v1",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1:0/v1",
        f"http://{'a' * 64}.example/v1",
        "http://a..b/v1",
        "http://exa mple.org/v1",
    ],
)
def test_an_address_that_is_none_concerns_its_model_alone(url: str, serve, ledger: Path, tmp_path: Path):
    server = serve(lambda s, r: answers(r))
    path = tmp_path / "models.yaml"
    entry = "  {}:\n    provider: openai\n    model: x\n    base_url: '{}'\n"
    path.write_text("models:\n" + entry.format("slip", url) + entry.format("good", server.url))
    models = inference.load_models(path)

    slip, good = ModelTask("slip", "t"), ModelTask("good", "t")

    def make(pair: ModelTask) -> inference.RequestReport:
        return inference.send_requests(models[pair.model], make_prompts(GOOD), ledger / pair.model)

    made = dict(inference.run_in_parallel([slip, good], make, inference.Stop(), str))
    assert made[good].answered == 6
    assert isinstance(made[slip], ModelError)
    for words in ("models.slip.base_url", "models.yaml", "Remedy"):
        assert words in str(made[slip])
    assert "base_url" in inference.overview(models["slip"])["state"]


# --- replies of all kinds ---------------------------------------------------------------------------------------------

ODD = [
    None, True, 0, -1, 1e300, "", "text", [], [[]], [None], {}, {"choices": None}, {"choices": {}}, {"choices": [None]},
    {"choices": [{}]}, {"choices": [{"message": None}]}, {"choices": [{"message": []}]}, {"choices": "A"},
    {"choices": [{"message": {"content": {"a": 1}}}]}, {"choices": [{"message": {"content": [1, None]}}]},
    {"error": None}, {"error": True}, {"error": []}, {"error": {"code": None, "message": {"a": [1]}}},
    {"error": {"code": 10**30, "message": None}}, {"usage": "x", "choices": [{"message": {"content": "A"}}]},
    {"choices": [{"message": {"content": "A"}, "logprobs": {"content": [None]}}]},
    {"choices": [{"message": {"content": "A"}, "logprobs": {"content": [{"top_logprobs": [None, 3]}]}}]},
    {"choices": [{"message": {"content": "A"}, "finish_reason": {"a": 1}}], "usage": {"completion_tokens_details": 7}},
]  # fmt: skip


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_no_reply_is_an_error_of_the_program(provider: str, status: int, serve, ledger: Path):
    server = serve(lambda s, r: Answer(status, ODD[int(r.text.split()[-1])]))
    base = server.url.removesuffix("/v1") + ("/v1beta" if provider == "gemini" else "/v1")
    spec = make_spec(base, provider=provider, attempts=1)
    for i in range(len(ODD)):
        try:
            report = inference.send_requests(spec, make_prompts([f"x {i}"]), ledger / str(i))
        except ModelError as failure:
            assert "unexpected error" not in str(failure), ODD[i]
            assert "Remedy" in str(failure)
        else:
            assert report.answered == 1


# --- batches --------------------------------------------------------------------------------------------------------

BATCH_STATES = {
    "no object": [],
    "a number": 7,
    "nothing": None,
    "no status": {"id": "batch_0"},
    "status null": {"id": "batch_0", "status": None, "processing_status": None, "metadata": None},
    "counts as text": {"id": "batch_0", "status": "in_progress", "request_counts": "many"},
    "text": "later",
    "an unknown state": {
        "id": "batch_0", "status": "pondering", "processing_status": "pondering",
        "metadata": {"state": "BATCH_STATE_PONDERING"},
    },
}  # fmt: skip


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("odd", BATCH_STATES)
def test_an_odd_state_of_a_batch_ends_its_model_in_bounded_time_with_what_to_do(provider, odd, serve, ledger: Path):
    mock = BatchMock()

    def decide(server: Server, r: Request) -> Answer:
        if r.method == "GET":
            return Answer(body=BATCH_STATES[odd])
        return mock(server, r)

    spec = batch_spec(serve(decide), provider, timeouts={"patience": 0.5})
    began = time.monotonic()
    with pytest.raises(ModelError) as failure:
        inference.send_requests(spec, make_prompts(["a", "b"]), ledger)
    assert time.monotonic() - began < 10
    assert "unexpected error" not in str(failure.value)
    assert "batches.json" in str(failure.value), "the batch stays noted, and the user is told where"


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_a_batch_that_does_not_end_is_not_waited_for_for_ever(provider, serve, ledger: Path, monkeypatch):
    monkeypatch.setattr(batches, "LONGEST_WAIT", 0.3)
    server = serve(BatchMock())
    server.phase.value = 1
    with pytest.raises(ModelError, match="has not ended"):
        inference.send_requests(batch_spec(server, provider), make_prompts(["a"]), ledger)


LINES = [
    b"{", b"null", b"7", b"[]", b"{}", b'"x"', b'{"custom_id": null}', b'{"custom_id": 5, "response": 5}',
    b'{"custom_id": "alien", "response": {"status_code": 200, "body": {}}, "result": {"type": "succeeded"}}',
]  # fmt: skip


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_damaged_line_of_the_results_spoils_no_other(provider: str, serve, ledger: Path):
    mock = BatchMock()

    def decide(server: Server, r: Request) -> Answer:
        answer = mock(server, r)
        if answer.raw is not None and b"custom_id" in answer.raw:
            return Answer(raw=b"\n".join([*LINES, *answer.raw.splitlines(), *LINES]))
        return answer

    prompts = make_prompts(["a", "bad b", "c"])
    report = inference.send_requests(spec := batch_spec(serve(decide), provider), prompts, ledger)
    assert (report.answered, report.errors) == (2, 1)
    assert inference.responses(spec, prompts, ledger)["error"].is_not_null().to_list() == [False, True, False]
    assert any("could not be read" in note for note in report.notes)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_one_result_of_another_form_is_an_error_row_of_its_own(provider: str, serve, ledger: Path):
    mock = BatchMock()
    unreadable_response = {
        "openai": ("response", {"status_code": "200", "body": 5}),
        "anthropic": ("result", {"type": "succeeded", "message": {"content": 5}}),
        "gemini": ("response", {"candidates": 5}),
    }

    def decide(server: Server, r: Request) -> Answer:
        answer = mock(server, r)
        name, value = unreadable_response[provider]
        if answer.raw is not None:
            first, *rest = answer.raw.splitlines()
            if first:
                return Answer(raw=b"\n".join([orjson.dumps(orjson.loads(first) | {name: value}), *rest]))
        for one in (((answer.body or {}).get("response") or {}).get("inlinedResponses") or {}).get(
            "inlinedResponses", []
        )[:1]:
            one[name] = value
        return answer

    prompts = make_prompts(["a", "b", "c"])
    report = inference.send_requests(batch_spec(serve(decide), provider), prompts, ledger)
    assert (report.answered, report.errors) == (2, 1)


def test_a_batch_that_the_provider_no_longer_has_is_asked_again(serve, ledger: Path):
    mock = BatchMock()

    def decide(server: Server, r: Request) -> Answer:
        if "batch_gone" in r.path:
            return Answer(404, openai_error("No batch found with id 'batch_gone'."))
        return mock(server, r)

    server = serve(decide)
    spec, prompts = batch_spec(server, "openai"), make_prompts(["a", "b"])
    hashes = inference.responses(spec, prompts, ledger)
    assert hashes.is_empty()
    from mpta_pipeline.inference.requests import request_hashes

    ledger.mkdir(parents=True)
    note = [
        {"tag": "mpta-x", "id": "batch_gone", "requests": {h: [3, "letter"] for h in request_hashes(spec, prompts)}}
    ]
    (ledger / "batches.json").write_bytes(orjson.dumps(note))
    report = inference.send_requests(spec, prompts, ledger)
    assert (report.answered, submitted(server)) == (2, 1)
    assert any("no longer has batch" in note for note in report.notes)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_a_batch_is_submitted_with_what_is_still_wanted(provider: str, serve, ledger: Path, monkeypatch):
    """Prompts that are made again while earlier batches are submitted are not submitted in later ones."""
    spec = batch_spec(server := serve(BatchMock()), provider)
    prompts = make_prompts(["a", "b", "c", "d"])
    monkeypatch.setattr(type(provider_for(spec).batches()), "most", 2)
    wanted = iter([None, request_hashes(spec, prompts[2:3])])
    report = inference.send_requests(spec, prompts, ledger, look_again=lambda: next(wanted, None))
    assert (report.answered, report.superseded, report.left, submitted(server)) == (3, 1, 1, 2)
    report = inference.send_requests(spec, prompts[2:3], ledger)
    assert (report.reused, report.answered, submitted(server)) == (1, 0, 2)


@pytest.mark.parametrize(
    "damage", [b"", b"[", b"[1]", b'[{"tag": 1}]', b'[{"tag":"t","id":"i","requests":[]}]', b"{}x"]
)
def test_a_damaged_note_of_batches_is_named(damage: bytes, serve, ledger: Path):
    ledger.mkdir(parents=True)
    (ledger / "batches.json").write_bytes(damage)
    with pytest.raises(ModelError, match=r"batches\.json.*Remedy"):
        inference.send_requests(batch_spec(serve(BatchMock()), "openai"), make_prompts(["a"]), ledger)


class LimitMock(BatchMock):
    """OpenAI's limit of enqueued tokens: a batch beyond it is taken, validated, and fails with token_limit_exceeded."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.failed: set[str] = set()

    def openai(self, server: Server, r: Request, path: str):
        if path == "/v1/batches" and r.method == "POST":
            under_way = sum(
                len(b["lines"]) for k, b in self.batches.items() if b["looks"] <= 2 and k not in self.failed
            )
            found = super().openai(server, r, path)
            if under_way + len(self.batches[found["id"]]["lines"]) > self.room:
                self.failed.add(found["id"])
            return found
        key = path.split("/")[3] if path.startswith("/v1/batches/") else ""
        if key in self.failed:
            said = "Enqueued token limit reached for mock-1. Limit: 90,000 enqueued tokens. Please try again later."
            return {
                "id": key,
                "status": "failed",
                "errors": {"data": [{"code": "token_limit_exceeded", "message": said}]},
            }
        return super().openai(server, r, path)


@pytest.mark.parametrize("room", [4, 2, 1])
def test_batches_that_the_provider_has_no_room_for_are_handed_in_by_turns(room: int, serve, ledger: Path, monkeypatch):
    """The second batch must not end the run before the first, which is running, is collected."""
    from mpta_pipeline.inference.providers import openai

    monkeypatch.setattr(openai._Batches, "most", 4)
    server = serve(LimitMock(room))
    prompts, spec = make_prompts([f"i {i}" for i in range(12)]), batch_spec(server, "openai")
    report = inference.send_requests(spec, prompts, ledger)
    assert (report.answered, report.errors, report.left) == (12, 0, 0)
    assert any("in turn" in note for note in report.notes)
    assert inference.send_requests(spec, prompts, ledger).answered == 0


def test_a_batch_of_errors_alone_stops_the_model_with_the_first_errors_words(serve, ledger: Path):
    class AllWrong(BatchMock):
        def outcome(self, key: str, text: str) -> str:
            return "error"

    for provider in ("openai", "anthropic", "gemini"):
        server = serve(AllWrong())
        prompts = make_prompts([f"i {i}" for i in range(12)])
        with pytest.raises(ModelError, match=r"bad item") as failure:
            inference.send_requests(batch_spec(server, provider), prompts, ledger / provider)
        assert submitted(server) == 1
        if provider == "openai":  # the others do not say the status
            assert "`parameters`" in str(failure.value), "the remedy that live asking has"
        assert Ledger(ledger / provider).read().is_empty(), "the entry is at fault, not the items"
        assert not (ledger / provider / "batches.json").exists()


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_a_list_of_batches_without_an_end_is_not_followed_for_ever(provider, serve, ledger: Path, monkeypatch):
    from datetime import UTC, datetime

    from mpta_pipeline.inference.providers import anthropic, gemini, openai

    for module in (anthropic, gemini, openai):
        monkeypatch.setattr(module, "MOST_PAGES", 5)
    mock = BatchMock()
    now = datetime.now(UTC)
    other = {"id": "x", "created_at": now.isoformat() if provider == "anthropic" else now.timestamp()}
    other |= {"processing_status": "ended", "name": "batches/x"}
    page = {"data": [other], "has_more": True, "operations": [other], "nextPageToken": "t"}

    def decide(server: Server, r: Request) -> Answer:
        listing = r.method == "GET" and r.path.split("?")[0].endswith("/batches")
        return Answer(body=page) if listing else mock(server, r)

    ledger.mkdir(parents=True)
    note = [{"tag": "mpta-x", "id": None, "requests": {"f" * 32: [3, "letter"]}}]
    (ledger / "batches.json").write_bytes(orjson.dumps(note))
    report = inference.send_requests(batch_spec(serve(decide), provider), make_prompts(["a"]), ledger)
    assert report.answered == 1


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"max_tokens": 7}, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        ({"top_logprobs": 5, "logprobs": True}, "logprobs is not supported"),
    ],
)
def test_a_rejection_of_what_the_entry_itself_sends_is_not_answered_by_sending_it_again(
    parameters, said, serve, ledger: Path
):
    server = serve(lambda s, r: Answer(400, openai_error(said)))
    with pytest.raises(ModelError, match="upported"):
        inference.send_requests(make_spec(server.url, parameters=parameters), make_prompts(GOOD), ledger)
    assert len(server.log) <= 3
