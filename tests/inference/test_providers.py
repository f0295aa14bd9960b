"""Each provider's published wire format: what is sent, what is read, whose fault an error is, and batches."""

import re
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference.ledger import Ledger
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import LETTERS, Answer, Request, Server, chat, openai_error

KEY = "secret-key-1"


def message(text: str = "B", **values) -> dict:
    """A reply of Anthropic's Messages API."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x-20260101",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 5,
            "cache_read_input_tokens": 20,
            "output_tokens": 3,
        },
    } | values


def generated(text: str = "A", **values) -> dict:
    """A reply of Gemini's generateContent."""
    top = [{"token": t, "tokenId": 1, "logProbability": v} for t, v in LETTERS.items()]
    candidate = {
        "content": {"parts": [{"text": text}], "role": "model"},
        "finishReason": "STOP",
        "index": 0,
        "avgLogprobs": -0.2,
        "logprobsResult": {"topCandidates": [{"candidates": top}], "chosenCandidates": [top[0]]},
    }
    return {
        "candidates": [candidate | values],
        "usageMetadata": {"promptTokenCount": 30, "candidatesTokenCount": 1, "thoughtsTokenCount": 4},
        "modelVersion": "gemini-x-001",
    }


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MOCK_KEY", KEY)
    return KEY


def send_requests(server: Server, ledger: Path, provider: str, users=("pick",), **values):
    base = server.url.removesuffix("/v1") + ("/v1beta" if provider == "gemini" else "/v1")
    spec = make_spec(base, provider=provider, key_env="MOCK_KEY", **values)
    prompts = make_prompts(list(users))
    report = inference.send_requests(spec, prompts, ledger)
    return report, inference.responses(spec, prompts, ledger)


# --- Anthropic -------------------------------------------------------------------------------------------------------


def test_anthropic_request_and_reply(serve, ledger: Path, key: str):
    server = serve(lambda s, r: Answer(body=message()))
    price = {"input": 10.0, "cached_input": 1.0, "output": 100.0}
    report, frame = send_requests(server, ledger, "anthropic", parameters={"top_p": 0.5}, price=price)
    sent = server.log[0]
    assert sent.path == "/v1/messages"
    assert sent.headers["x-api-key"] == key
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in sent.headers
    assert sent.body == {
        "model": "mock-1",
        "max_tokens": 8,
        "temperature": 0,
        "top_p": 0.5,
        "system": "You are person 0.",
        "messages": [{"role": "user", "content": "pick"}],
    }
    row = frame.row(0, named=True)
    assert (row["text"], row["finish_reason"], row["provider_model"]) == ("B", "end_turn", "claude-x-20260101")
    assert (row["prompt_tokens"], row["completion_tokens"]) == (35, 3), "tokens read from the cache are input too"
    assert row["option_logprobs"] is None
    assert report.cost == pytest.approx((15 * 10 + 20 * 1 + 3 * 100) / 1e6)
    assert any("log-probabilities" in note for note in report.notes)


def test_anthropic_refusal_is_a_refusal(serve, ledger: Path, key: str):
    server = serve(lambda s, r: Answer(body=message("", content=[], stop_reason="refusal")))
    report, frame = send_requests(server, ledger, "anthropic")
    assert (frame["text"][0], frame["finish_reason"][0], report.refused) == ("", "refusal", 1)


def anthropic_error(kind: str, text: str) -> dict:
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, anthropic_error("authentication_error", "invalid x-api-key"), "key was rejected"),
        (404, anthropic_error("not_found_error", "model: mock-1"), "does not know the model"),
        (400, anthropic_error("invalid_request_error", "Your credit balance is too low"), "credit balance"),
    ],
)
def test_anthropic_errors_that_stop_the_model(status, error, words, serve, ledger: Path, key: str):
    server = serve(lambda s, r: Answer(status, error))
    with pytest.raises(ModelError, match=words):
        send_requests(server, ledger, "anthropic", ["a", "b", "c"])
    assert len(server.log) == 1


def test_anthropic_overload_is_waited_for_and_a_bad_item_is_a_row(serve, ledger: Path, key: str):
    def decide(server: Server, r: Request) -> Answer:
        if "long" in r.text:
            return Answer(400, anthropic_error("invalid_request_error", "prompt is too long"))
        if "busy" in r.text and not r.seen:
            return Answer(529, anthropic_error("overloaded_error", "Overloaded"))
        return Answer(body=message())

    _, frame = send_requests(serve(decide), ledger, "anthropic", ["a", "busy", "long"])
    assert frame["error"].to_list() == [None, None, "HTTP 400: prompt is too long"]


# --- Gemini ----------------------------------------------------------------------------------------------------------


def test_gemini_request_and_reply(serve, ledger: Path, key: str):
    server = serve(lambda s, r: Answer(body=generated()))
    _, frame = send_requests(server, ledger, "gemini", parameters={"topK": 1})
    sent = server.log[0]
    assert sent.path == "/v1beta/models/mock-1:generateContent", "the key is not in the URL"
    assert sent.headers["x-goog-api-key"] == key
    config = {"temperature": 0, "topK": 1, "maxOutputTokens": 8, "responseLogprobs": True, "logprobs": 20}
    assert sent.body == {
        "contents": [{"role": "user", "parts": [{"text": "pick"}]}],
        "systemInstruction": {"parts": [{"text": "You are person 0."}]},
        "generationConfig": config,
    }
    row = frame.row(0, named=True)
    assert (row["text"], row["finish_reason"], row["provider_model"]) == ("A", "STOP", "gemini-x-001")
    assert (row["prompt_tokens"], row["completion_tokens"]) == (30, 5), "thinking is paid as output"
    assert len(row["option_logprobs"]) == 3


@pytest.mark.parametrize(
    "body",
    [
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}},
        {"candidates": [{"finishReason": "SAFETY", "index": 0}]},
        {"candidates": [{"finishReason": "PROHIBITED_CONTENT", "content": {}}]},
    ],
)
def test_gemini_blocks_are_refusals(body, serve, ledger: Path, key: str):
    report, frame = send_requests(serve(lambda s, r: Answer(body=body)), ledger, "gemini")
    assert (frame["finish_reason"][0], frame["error"][0], report.refused) == ("content_filter", None, 1)


def google_error(status: int, name: str, text: str, **detail) -> Answer:
    return Answer(status, {"error": {"code": status, "message": text, "status": name, "details": [detail]}})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (google_error(400, "INVALID_ARGUMENT", "API key not valid.", reason="API_KEY_INVALID"), "key was rejected"),
        (google_error(404, "NOT_FOUND", "models/mock-1 is not found"), "does not know the model"),
        (google_error(400, "FAILED_PRECONDITION", "User location is not supported"), "location"),
        (google_error(403, "PERMISSION_DENIED", "denied"), "denied"),
    ],
)
def test_gemini_errors_that_stop_the_model(answer, words, serve, ledger: Path, key: str):
    server = serve(lambda s, r: answer)
    with pytest.raises(ModelError, match=words):
        send_requests(server, ledger, "gemini", ["a", "b"])
    assert len(server.log) == 1


def test_gemini_waits_as_told_and_does_without_logprobs_where_there_are_none(serve, ledger: Path, key: str):
    def decide(server: Server, r: Request) -> Answer:
        if not r.body["generationConfig"].get("responseLogprobs"):
            plain = generated()
            del plain["candidates"][0]["logprobsResult"]
            return Answer(body=plain)
        return google_error(400, "INVALID_ARGUMENT", "Logprobs is not enabled for models/mock-1")

    report, frame = send_requests(serve(decide), ledger, "gemini", ["a", "b", "c"])
    assert frame["text"].to_list() == ["A"] * 3
    assert report.notes == ["the endpoint does not offer log-probabilities"]
    busy = google_error(429, "RESOURCE_EXHAUSTED", "quota", retryDelay="0.3s")
    server = serve(lambda s, r: Answer(body=generated()) if r.seen else busy)
    report, frame = send_requests(server, ledger.parent / "b", "gemini")
    assert frame["text"].to_list() == ["A"]
    assert report.seconds > 0.3


# --- OpenAI and its kin ----------------------------------------------------------------------------------------------


def test_openai_request(serve, ledger: Path, key: str):
    server = serve(lambda s, r: Answer(body=chat(logprobs=LETTERS)))
    send_requests(
        server, ledger, "openai", parameters={"seed": 1, "temperature": None}, max_tokens_field="max_completion_tokens"
    )
    sent = server.log[0]
    assert (sent.path, sent.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {key}")
    assert sent.body == {
        "model": "mock-1",
        "seed": 1,
        "max_completion_tokens": 8,
        "messages": [{"role": "system", "content": "You are person 0."}, {"role": "user", "content": "pick"}],
        "logprobs": True,
        "top_logprobs": 20,
    }


def test_azure_takes_its_key_header_and_version(serve, ledger: Path, key: str):
    server = serve(lambda s, r: Answer(body=chat()))
    send_requests(server, ledger, "openai", key_header="api-key", query={"api-version": "2024-10-21"})
    sent = server.log[0]
    assert sent.path == "/v1/chat/completions?api-version=2024-10-21"
    assert sent.headers["api-key"] == key
    assert "authorization" not in sent.headers


def test_a_prompt_without_system_message_sends_none(serve, ledger: Path, key: str):
    server = serve(lambda s, r: Answer(body=chat()))
    spec = make_spec(server.url)
    inference.send_requests(spec, make_prompts(["x"], system=[None]), ledger)
    assert [m["role"] for m in server.log[0].body["messages"]] == ["user"]


def test_completions_letters(serve, ledger: Path, key: str):
    body = {
        "model": "mock-1",
        "choices": [{"text": " A", "finish_reason": "length", "logprobs": {"top_logprobs": [LETTERS]}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1},
    }
    server = serve(lambda s, r: Answer(body=body))
    _, frame = send_requests(server, ledger, "openai", api="completions")
    assert server.log[0].body["prompt"] == "You are person 0.\n\npick"
    assert server.log[0].body["logprobs"] == 20
    assert len(frame["option_logprobs"][0]) == 3


@pytest.mark.parametrize(
    ("rejection", "field", "value", "note"),
    [
        ("Input validation error: `top_n_tokens` must be >= 0 and <= 5. Given: 20", "top_logprobs", 5, "more than 5"),
        (
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            "max_completion_tokens",
            8,
            "max_completion_tokens is sent",
        ),
    ],
)
def test_a_rejection_that_says_how_to_ask_is_followed(rejection, field, value, note, serve, ledger: Path, key: str):
    """TGI allows five log-probabilities; OpenAI's reasoning models know another field of tokens."""
    server = serve(
        lambda s, r: Answer(body=chat("A")) if r.body.get(field) == value else Answer(400, openai_error(rejection))
    )
    report, frame = send_requests(server, ledger, "openai", [f"i {i}" for i in range(10)])
    assert (frame["text"].to_list(), len(server.log)) == (["A"] * 10, 11)
    assert any(note in said for said in report.notes)


def test_a_parameter_that_the_model_does_not_take_stops_it_at_once(serve, ledger: Path, key: str):
    reason = "Unsupported value: 'temperature' does not support 0 with this model."
    server = serve(lambda s, r: Answer(400, openai_error(reason, "unsupported_value")))
    with pytest.raises(ModelError, match=r"temperature.*Remedy.*null in `parameters`"):
        send_requests(server, ledger, "openai", [f"i {i}" for i in range(10)])
    assert len(server.log) == 1


def test_an_error_in_a_good_reply_is_read(serve, ledger: Path, key: str):
    """OpenRouter reports what went wrong behind it with status 200."""

    def decide(server: Server, r: Request) -> Answer:
        code = 400 if "bad" in r.text else 502
        error = {"error": {"code": code, "message": f"upstream says {code}"}}
        return Answer(body=error) if "bad" in r.text or not r.seen else Answer(body=chat("A"))

    _, frame = send_requests(serve(decide), ledger, "openai", ["a", "bad", "c"])
    assert frame["error"].to_list() == [None, "HTTP 200 with error 400: upstream says 400", None]


def test_an_error_in_plain_words_says_that_the_address_is_wrong(serve, ledger: Path, key: str):
    """LM Studio at an address without /v1: 200 and a sentence, for each of 80 requests."""
    said = {"error": "Unexpected endpoint or method. (POST /chat/completions)"}
    server = serve(lambda s, r: Answer(body=said))
    with pytest.raises(ModelError, match=r"Unexpected endpoint.*correct base_url"):
        send_requests(server, ledger, "openai", [f"i {i}" for i in range(10)])
    assert len(server.log) == 1


@pytest.mark.parametrize(
    "broken",
    [
        chat("", finish_reason="error", error={"code": 502, "message": "upstream"}),
        chat("", finish_reason={"type": "abort", "message": "upstream", "status_code": 503}),
        chat("", finish_reason="insufficient_system_resource"),
        chat("") | {"usage": {"prompt_tokens": 0, "completion_tokens": 0}},
    ],
)
def test_a_reply_with_status_200_that_is_none_is_tried_again(broken, serve, ledger: Path, key: str):
    server = serve(lambda s, r: Answer(body=chat("A") if r.seen else broken))
    _, frame = send_requests(server, ledger, "openai", ["a", "b"])
    assert (frame["text"].to_list(), frame["error"].null_count()) == (["A", "A"], 2)
    assert len(server.log) == 4


# --- whole options ---------------------------------------------------------------------------------------------------


def score(server: Server, ledger: Path, **values):
    spec = make_spec(server.url, elicitations=["option_logprob"], **values)
    prompts = make_prompts(["pick"], elicitation="option_logprob")
    report = inference.send_requests(spec, prompts, ledger)
    return report, inference.responses(spec, prompts, ledger).row(0, named=True)


def test_a_chat_format_without_a_system_message_gets_the_persona_in_the_users(server: Server, ledger: Path):
    """The key changes with it: the answer may."""
    prompts = make_prompts(["Which one?"])
    with_role, without = make_spec(server.url), make_spec(server.url, system_role=False)
    inference.send_requests(without, prompts, ledger)
    assert server.log[-1].body["messages"] == [{"role": "user", "content": "You are person 0.\n\nWhich one?"}]
    inference.send_requests(with_role, prompts, ledger)
    assert [m["role"] for m in server.log[-1].body["messages"]] == ["system", "user"]
    assert "system_role" not in with_role.identity()


def test_options_by_prompt_logprobs(serve, ledger: Path):
    """vLLM: the option is the assistant's message; only its tokens count."""

    def decide(server: Server, r: Request) -> Answer:
        if r.path == "/tokenize":
            return Answer(404, {"detail": "Not Found"})
        body = chat("x")
        if "prompt_logprobs" in r.body:
            n = {"yes": 1, "no": 2, "maybe": 3}.get(r.body["messages"][-1]["content"], 0)
            text = r.body["messages"][-1]["content"]
            parts = [text[i * len(text) // n : (i + 1) * len(text) // n] for i in range(n)]
            own = [{str(i): {"logprob": -1.5, "rank": 1, "decoded_token": part}} for i, part in enumerate(parts)]
            body["prompt_logprobs"] = [None, *({"7": {"logprob": -9.0}} for _ in range(39)), *own]
        return Answer(body=body)

    server = serve(decide)
    _, row = score(server, ledger)
    assert row["option_logprobs"] == [-1.5, -3.0, -4.5]
    assert (row["text"], row["finish_reason"]) == ("yes", "scored")
    sent = server.log[-1].body
    assert sent["continue_final_message"] is True
    assert sent["add_generation_prompt"] is False


def test_options_by_echo(serve, ledger: Path):
    def decide(server: Server, r: Request) -> Answer:
        if r.path == "/tokenize":
            return Answer(404, {"detail": "Not Found"})
        text = r.body["prompt"]
        words = re.findall(r"\s*\S+", text)
        offsets = [sum(map(len, words[:i])) for i in range(len(words))]
        lp = {"text_offset": [*offsets, len(text)], "token_logprobs": [None, *[-2.0] * (len(words) - 1), -7.0]}
        choice = {"text": (text if r.body.get("echo") else "") + "!", "finish_reason": "length", "logprobs": lp}
        return Answer(body={"choices": [choice], "usage": {"prompt_tokens": 4, "completion_tokens": 1}})

    _, row = score(serve(decide), ledger, api="completions")
    assert row["option_logprobs"] == [-2.0, -2.0, -2.0]


def test_an_endpoint_that_ignores_the_wish_is_found_out(serve, ledger: Path):
    """llama.cpp before token grammars accepted `prompt_logprobs` and `echo` without doing anything."""

    def decide(server: Server, r: Request) -> Answer:
        return Answer(404, {"error": "not found"}) if r.path == "/tokenize" else Answer(body=chat("x"))

    with pytest.raises(ModelError, match="no log-probabilities of whole options"):
        score(serve(decide), ledger)


# --- batches ---------------------------------------------------------------------------------------------------------


class BatchMock:
    """The batch endpoints of the three providers; a batch ends after two looks, or when it is cancelled."""

    def __init__(self) -> None:
        self.batches: dict[str, dict] = {}
        self.files: dict[str, list] = {}

    def __call__(self, server: Server, r: Request) -> Answer:
        path = r.path.split("?")[0]
        if server.phase.value == 9:
            return Answer(hang=True)
        for handler in (self.openai, self.anthropic, self.gemini):
            found = handler(server, r, path)
            if found is not None:
                if server.phase.value == 5 and r.method == "POST" and not path.endswith("/files"):
                    return Answer(reset=True)  # the batch is made, and its id is lost
                return Answer(raw=found) if isinstance(found, bytes) else Answer(body=found)
        return Answer(404, openai_error(f"no such path {path}"))

    def look(self, key: str, server: Server) -> bool:
        batch = self.batches[key]
        batch["looks"] += 1
        return batch["cancelled"] or (batch["looks"] > 2 and server.phase.value != 1)

    def outcome(self, key: str, text: str) -> str:
        if self.batches[key]["cancelled"] and "late" in text:
            return "never"
        return "error" if "bad" in text else "ok"

    def openai(self, server: Server, r: Request, path: str):
        if path == "/v1/files":
            self.files["file-1"] = _lines(bytes(r.body))
            return {"id": "file-1", "object": "file"}
        if path == "/v1/batches" and r.method == "POST":
            assert r.body["endpoint"] == "/v1/chat/completions"
            key = f"batch_{len(self.batches)}"
            lines = self.files[r.body["input_file_id"]]
            self.batches[key] = {"looks": 0, "cancelled": False, "lines": lines, "meta": r.body["metadata"]}
            return {"id": key, "status": "validating"}
        if path == "/v1/batches":
            return {"data": [{"id": k, "metadata": b["meta"]} for k, b in self.batches.items()]}
        parts = path.split("/")
        if path.startswith("/v1/batches/batch_"):
            key = parts[3]
            if path.endswith("/cancel"):
                self.batches[key]["cancelled"] = True
                return {"id": key, "status": "cancelling"}
            ended = self.look(key, server)
            status = "cancelled" if self.batches[key]["cancelled"] else "completed" if ended else "in_progress"
            counts = {"total": len(self.batches[key]["lines"]), "completed": 0, "failed": 0}
            done = {"output_file_id": f"out-{key}", "error_file_id": f"err-{key}"} if ended else {}
            return {"id": key, "status": status, "request_counts": counts} | done
        if path.startswith("/v1/files/") and path.endswith("/content"):
            kind, key = parts[3].split("-")
            out = []
            for line in self.batches[key]["lines"]:
                outcome = self.outcome(key, line["body"]["messages"][-1]["content"])
                answer = {"id": "r", "custom_id": line["custom_id"], "response": None, "error": None}
                if outcome == "ok" and kind == "out":
                    out.append(answer | {"response": {"status_code": 200, "body": chat(logprobs=LETTERS)}})
                elif outcome == "error" and kind == "err":
                    out.append(answer | {"response": {"status_code": 400, "body": openai_error("bad item")}})
                elif outcome == "never" and kind == "err":
                    out.append(answer | {"error": {"code": "batch_cancelled", "message": "cancelled"}})
            return b"\n".join(orjson.dumps(line) for line in out) + b"\n"
        return None

    def anthropic(self, server: Server, r: Request, path: str):
        if not path.startswith("/v1/messages/batches"):
            return None
        if r.method == "POST" and path.endswith("/batches"):
            key = f"msgbatch_{len(self.batches)}"
            self.batches[key] = {"looks": 0, "cancelled": False, "lines": r.body["requests"]}
            return {"id": key, "processing_status": "in_progress"}
        if path == "/v1/messages/batches":
            now = datetime.now(UTC).isoformat()
            listed = [
                {
                    "id": k,
                    "created_at": now,
                    "processing_status": "ended" if b["looks"] > 2 else "in_progress",
                    "request_counts": {"processing": len(b["lines"]), "succeeded": 0},
                    "results_url": "there" if b["looks"] > 2 else None,
                }
                for k, b in reversed(self.batches.items())
            ]
            return {"data": listed, "has_more": False}
        key = path.split("/")[4]
        if path.endswith("/cancel"):
            self.batches[key]["cancelled"] = True
            return {"id": key, "processing_status": "canceling"}
        if not path.endswith("/results"):
            status = "ended" if self.look(key, server) else "in_progress"
            return {"id": key, "processing_status": status, "request_counts": {"processing": 1, "succeeded": 2}}
        results = {
            "ok": {"type": "succeeded", "message": message()},
            "error": {"type": "errored", "error": anthropic_error("invalid_request_error", "bad item")},
            "never": {"type": "canceled"},
        }
        out = [
            {"custom_id": x["custom_id"], "result": results[self.outcome(key, x["params"]["messages"][0]["content"])]}
            for x in self.batches[key]["lines"]
        ]
        return b"\n".join(orjson.dumps(line) for line in out)

    def gemini(self, server: Server, r: Request, path: str):
        if path.endswith(":batchGenerateContent"):
            key = f"batches/{len(self.batches)}"
            batch = r.body["batch"]
            lines = batch["input_config"]["requests"]["requests"]
            self.batches[key] = {"looks": 0, "cancelled": False, "lines": lines, "name": batch["display_name"]}
            return {"name": key, "metadata": {"state": "BATCH_STATE_PENDING"}}
        if path == "/v1beta/batches":
            return {
                "operations": [{"name": k, "metadata": {"displayName": b["name"]}} for k, b in self.batches.items()]
            }
        if not path.startswith("/v1beta/batches/"):
            return None
        key = path.removeprefix("/v1beta/").removesuffix(":cancel")
        if path.endswith(":cancel"):
            self.batches[key]["cancelled"] = True
            return {}
        if not self.look(key, server):
            return {"name": key, "metadata": {"state": "BATCH_STATE_RUNNING"}}
        results = {"ok": {"response": generated()}, "error": {"error": {"code": 3, "message": "bad item"}}, "never": {}}
        inlined = [
            results[self.outcome(key, x["request"]["contents"][0]["parts"][0]["text"])] | {"metadata": x["metadata"]}
            for x in self.batches[key]["lines"]
        ]
        state = "BATCH_STATE_CANCELLED" if self.batches[key]["cancelled"] else "BATCH_STATE_SUCCEEDED"
        response = {"inlinedResponses": {"inlinedResponses": inlined}}
        return {"name": key, "metadata": {"state": state}, "done": True, "response": response}


def _lines(form: bytes) -> list:
    """The JSON lines in a multipart form."""
    assert b'name="purpose"\r\n\r\nbatch' in form
    return [orjson.loads(line) for line in form.splitlines() if line.startswith(b'{"custom_id"')]


PROVIDERS = ["openai", "anthropic", "gemini"]


class Killed(BaseException):
    """Stands for a kill: no error, which the engine would tell."""


def batch_spec(server: Server, provider: str, **values):
    base = server.url.removesuffix("/v1") + ("/v1beta" if provider == "gemini" else "/v1")
    price = {"input": 10.0, "output": 10.0}
    return make_spec(base, provider=provider, key_env="MOCK_KEY", batch=True, batch_poll=0.02, price=price, **values)


def submitted(server: Server) -> int:
    return sum(
        r.method == "POST"
        and r.path.split("?")[0].endswith(("/v1/batches", "/messages/batches", "batchGenerateContent"))
        for r in server.log
    )


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_batch_is_handed_in_waited_for_and_read(provider: str, serve, ledger: Path, key: str):
    server = serve(BatchMock())
    spec, prompts = batch_spec(server, provider), make_prompts(["a", "bad b", "c"])
    report = inference.send_requests(spec, prompts, ledger)
    frame = inference.responses(spec, prompts, ledger)
    assert (report.answered, report.errors) == (2, 1)
    assert frame["text"].null_count() == 1
    assert "bad item" in frame["error"][1]
    assert submitted(server) == 1
    tokens = frame["prompt_tokens"].sum() + frame["completion_tokens"].sum()
    assert report.cost == pytest.approx(tokens * 10 / 1e6 / 2), "half price"
    assert inference.send_requests(spec, prompts, ledger).answered == 0
    assert not (ledger / "batches.json").exists()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_cut_off_run_goes_on_with_its_batch(provider: str, serve, ledger: Path, key: str):
    server = serve(BatchMock())
    server.phase.value = 1  # it does not end
    spec, prompts = batch_spec(server, provider), make_prompts(["a", "b", "c"])

    def stop(progress) -> None:
        if (ledger / "batches.json").exists() and submitted(server):
            raise Killed

    from mpta_pipeline.inference import engine

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(engine.asyncio, "sleep", _stopping(engine.asyncio.sleep, stop))
        inference.send_requests(spec, prompts, ledger)
    server.phase.value = 0
    more = make_prompts(["a", "b", "c", "d"])
    report = inference.send_requests(spec, more, ledger)
    assert report.answered == 4
    assert submitted(server) == 2, "what is with the provider is not handed in again; the new one is"


def _stopping(sleep, stop):
    async def wrapped(seconds):
        stop(None)
        await sleep(seconds)

    return wrapped


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_batch_whose_id_is_lost_on_the_way_is_found_and_not_handed_in_again(provider, serve, ledger: Path, key: str):
    """The endpoint took it and the connection broke: sending it again would be paid twice."""
    server = serve(BatchMock())
    server.phase.value = 5
    report = inference.send_requests(batch_spec(server, provider), make_prompts(["a", "b"]), ledger)
    assert (report.answered, submitted(server)) == (2, 1)


def test_results_that_come_a_second_time_are_paid_once(serve, ledger: Path, key: str):
    """Killed between the writing of a batch's results and the forgetting of it."""
    server = serve(BatchMock())
    spec, prompts = batch_spec(server, "openai"), make_prompts(["a", "bad b"])
    from mpta_pipeline.inference.batches import Batches

    saved = Batches._save

    def killed() -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Batches, "_save", lambda self: killed() if self.path.exists() and not self.open else saved(self))
        inference.send_requests(spec, prompts, ledger)
    spent = Ledger(ledger).totals()["cost"]
    assert spent > 0
    report = inference.send_requests(spec, make_prompts(["a", "bad b", "c"]), ledger)
    assert report.answered == 1
    assert Ledger(ledger).totals()["cost"] == pytest.approx(2 * spent)


def test_another_batch_of_the_same_size_is_not_taken_for_ours(serve, ledger: Path, key: str):
    """Anthropic takes no tag; the results of one that has ended name its requests."""
    mock = BatchMock()
    alien = [{"custom_id": "alien", "params": {"messages": [{"content": "x"}]}}]
    mock.batches["msgbatch_alien"] = {"looks": 9, "cancelled": False, "lines": alien}
    server = serve(mock)
    ledger.mkdir(parents=True)
    note = [{"tag": "mpta-x", "id": None, "requests": {"f" * 32: [3, "letter"]}}]
    (ledger / "batches.json").write_bytes(orjson.dumps(note))
    report = inference.send_requests(batch_spec(server, "anthropic"), make_prompts(["a"]), ledger)
    assert (report.answered, submitted(server)) == (1, 1)
    assert any("shows no such batch" in note for note in report.notes)


def test_results_without_their_names_are_told_by_their_order(serve, ledger: Path, key: str):
    """Gemini does not always send the metadata back."""
    mock = BatchMock()

    def decide(server: Server, r: Request) -> Answer:
        answer = mock(server, r)
        for one in ((answer.body or {}).get("response") or {}).get("inlinedResponses", {}).get("inlinedResponses", []):
            del one["metadata"]
        return answer

    prompts = make_prompts(["a", "bad b", "c"])
    spec = batch_spec(serve(decide), "gemini")
    assert inference.send_requests(spec, prompts, ledger).answered == 2
    assert inference.responses(spec, prompts, ledger)["error"].is_not_null().to_list() == [False, True, False]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_batch_without_a_noted_id_is_found(provider: str, serve, ledger: Path, key: str):
    """Killed between the handing in and the noting of the id: the provider knows it."""
    server = serve(BatchMock())
    server.phase.value = 1
    spec, prompts = batch_spec(server, provider), make_prompts(["a", "b"])

    def stop(_) -> None:
        if submitted(server):
            raise Killed

    from mpta_pipeline.inference import engine

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(engine.asyncio, "sleep", _stopping(engine.asyncio.sleep, stop))
        inference.send_requests(spec, prompts, ledger)
    note = ledger / "batches.json"
    entries = orjson.loads(note.read_bytes())
    entries[0]["id"] = None
    note.write_bytes(orjson.dumps(entries))
    server.phase.value = 0
    assert inference.send_requests(spec, prompts, ledger).answered == 2
    assert submitted(server) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_cancelled_batch_keeps_its_partial_results(provider: str, serve, ledger: Path, key: str):
    server = serve(BatchMock())
    server.phase.value = 1
    spec, prompts = batch_spec(server, provider), make_prompts(["a", "late b", "c"])

    def stop(_) -> None:
        if submitted(server):
            raise Killed

    from mpta_pipeline.inference import engine

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(engine.asyncio, "sleep", _stopping(engine.asyncio.sleep, stop))
        inference.send_requests(spec, prompts, ledger)
    report = inference.cancel_batches(spec, prompts, ledger)
    assert (report.answered, report.left) == (2, 1)
    server.phase.value = 0
    assert inference.send_requests(spec, prompts, ledger).answered == 1


def test_structured_output_admits_letters_only(serve, ledger: Path, key: str):
    server = serve(lambda s, r: Answer(body=chat('{"answer": "C"}' if "ignored" not in r.text else "B")))
    _, frame = send_requests(server, ledger, "openai", ["a", "ignored"], structured=True)
    sent = server.log[0].body
    assert sent["response_format"]["json_schema"]["schema"]["properties"]["answer"]["enum"] == ["A", "B", "C"]
    assert "logprobs" not in sent
    assert frame["text"].to_list() == ["C", "B"]
    google = serve(lambda s, r: Answer(body=generated("C")))
    send_requests(google, ledger.parent / "g", "gemini", structured=True)
    assert google.log[0].body["generationConfig"]["responseSchema"]["enum"] == ["A", "B", "C"]
