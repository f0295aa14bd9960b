"""Adding a provider is writing one file: nothing else of the package or the configuration changes.

The provider is Cohere's chat API (version 2), which the package does not have, served by a loopback server.
"""

import sys
from pathlib import Path

import pytest

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ConfigError, ModelError
from mpta_pipeline.inference import providers
from tests.factories.model_calls import make_prompts
from tests.factories.provider_server import Answer, Request, Server

PROVIDER = '''
"""Cohere's chat API, version 2."""

from functools import partial
from typing import Any, Literal

from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError
from mpta_pipeline.inference.providers.base import Call, ModelResponse, Provider, ProviderOptions
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.response_checks import unreadable_response
from mpta_pipeline.inference.response_fields import count_of, listing, mapping, usage_of, words


class CohereOptions(ProviderOptions):
    safety_mode: Literal["CONTEXTUAL", "STRICT", "OFF"] | None = None


class Cohere(Provider):
    """Letters by text only."""

    base_url = "https://api.cohere.com/v2"
    key_variable = "CO_API_KEY"
    elicitations = ("letter", "free_text")
    Options = CohereOptions

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"authorization": f"Bearer {key}"}

    async def complete(self, request: ModelRequest, call: Call) -> ModelResponse:
        options = self.spec.options
        assert isinstance(options, CohereOptions)
        messages = [] if request.system is None else [{"role": "system", "content": request.system}]
        body = {
            "model": self.spec.model,
            "messages": [*messages, {"role": "user", "content": request.user}],
            "max_tokens": self.limit(request.elicitation),
            "safety_mode": options.safety_mode,
            **self.parameters({"temperature": 0}),
        }
        return await call("/chat", body, partial(self.read_response, request))

    def read_response(self, request: ModelRequest, payload: Any) -> ModelResponse:
        message = mapping(mapping(payload).get("message"))
        if "content" not in message:
            raise unreadable_response("it has no message with content")
        parts = [mapping(part) for part in listing(message["content"])]
        tokens = usage_of(usage_of(mapping(payload)), "tokens")
        finish = words(payload.get("finish_reason"))
        return ModelResponse(
            text="".join(words(part.get("text")) for part in parts if part.get("type") == "text"),
            finish_reason={"COMPLETE": "stop", "MAX_TOKENS": "length"}.get(finish, finish.lower()),
            prompt_tokens=count_of(tokens, "input_tokens"),
            completion_tokens=count_of(tokens, "output_tokens"),
        )

    def classify_error(self, status: int, payload: Any, text: str) -> ProviderError:
        error = super().classify_error(status, payload, text)
        if status == 404:
            error = ProviderError(ErrorKind.FATAL, f"the endpoint does not know the model: {error.reason}")
        return error
'''
MODELS = """
models:
  command: {{provider: cohere, model: command-a-03-2025, base_url: "{url}", key_env: CO_KEY, safety_mode: "OFF"}}
  gone: {{provider: cohere, model: command-gone, base_url: "{url}", key_env: CO_KEY}}
  other: {{provider: openai, model: gpt}}
"""


def cohere(server: Server, request: Request) -> Answer:
    """Cohere's server, as its API reference describes it."""
    if request.path != "/v1/chat" or request.headers.get("authorization") != "Bearer co-secret-key":
        return Answer(401, {"message": "invalid api token"})
    if request.body["model"] == "command-gone":
        return Answer(404, {"message": "model 'command-gone' not found, make sure the correct model ID was used"})
    text = "B" if request.body.get("safety_mode") == "OFF" else "A"
    body = {
        "id": "c14c80c3-18eb-4519-9460-6c92edd8cfb4",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
        "usage": {
            "billed_units": {"input_tokens": 13, "output_tokens": 1},
            "tokens": {"input_tokens": 63, "output_tokens": 1},
        },
    }
    return Answer(body=body)


def in_package(folder: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the package's own folder."""
    monkeypatch.setattr(providers, "__path__", [*providers.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, f"{providers.__name__}.cohere", raising=False)
    return folder / "cohere.py"


def in_configuration(folder: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the deployment's configuration."""
    return config / "providers" / "cohere.py"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "config"
    (folder / "providers").mkdir(parents=True)
    monkeypatch.setenv("MPTA_CONFIG_DIR", str(folder))
    monkeypatch.setenv("CO_KEY", "co-secret-key")
    return folder


@pytest.mark.parametrize("place", [in_package, in_configuration])
def test_one_file_is_a_provider(place, serve, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server = serve(cohere)
    (config / "models.yaml").write_text(MODELS.format(url=server.url))
    with pytest.raises(ConfigError, match=r"no provider cohere.*Known providers: anthropic, embedded, gemini, openai"):
        inference.load_models()

    place(tmp_path, config, monkeypatch).write_text(PROVIDER)

    models = inference.load_models()
    assert inference.overview(models["command"])["state"] == "ready"
    assert inference.card(models["command"])["identity"]["safety_mode"] == "OFF"
    prompts = make_prompts(["Which?", "What?"])
    report = inference.send_requests(models["command"], prompts, tmp_path / "ledger")
    assert (report.answered, report.errors, report.prompt_tokens) == (2, 0, 126)
    frame = inference.responses(models["command"], prompts, tmp_path / "ledger")
    assert frame["text"].to_list() == ["B", "B"] and frame["finish_reason"].to_list() == ["stop", "stop"]

    with pytest.raises(ModelError, match=r"does not know the model: .*'command-gone' not found.*correct `model`"):
        inference.send_requests(models["gone"], prompts, tmp_path / "gone")
    monkeypatch.setenv("CO_KEY", "wrong-secret")
    with pytest.raises(ModelError, match=r"key was rejected: invalid api token.*check the key in CO_KEY"):
        inference.send_requests(models["command"], make_prompts(["New?"]), tmp_path / "ledger")
    with pytest.raises(ModelError, match="does not support elicitation verbalized"):
        inference.plan(models["command"], make_prompts(["x"], elicitation="verbalized"), tmp_path / "ledger")
    assert "key was rejected" in str(inference.probe(models["command"], tmp_path / "ledger").problem)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("provider: coher, model: x", "did you mean cohere"),
        ("provider: cohere, model: x, safety_mode: LAX", r"models\.m\.safety_mode"),
        ("provider: cohere, model: x, safety_mod: STRICT", "write safety_mode"),
        ("provider: openai, model: x, safety_mode: STRICT", "belongs to cohere models only"),
        ("provider: cohere, model: x, api: completions", "exists for these providers only"),
        ("provider: cohere, model: x, structured: true", "these providers only: embedded, gemini, openai"),
        ("provider: cohere, model: x, batch: true", "has no batch endpoint"),
    ],
)
def test_entries_are_checked_by_what_the_provider_declares(entry: str, message: str, config: Path):
    (config / "providers" / "cohere.py").write_text(PROVIDER)
    (config / "models.yaml").write_text(f"models: {{m: {{{entry}}}}}")
    with pytest.raises(ConfigError, match=message):
        inference.load_models()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import no_such_package\n", r"No module named 'no_such_package' \(line 1\)"),
        ("def broken(:\n", r"SyntaxError.*line 1"),
        ("x = 1\n", "must define one subclass of Provider, and defines 0"),
        (PROVIDER.replace("async def complete", "async def answer"), "Cohere does not define complete"),
        (PROVIDER.replace('("letter", "free_text")', '("letter", "essay")'), "'essay'"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
    ],
)
def test_a_broken_file_sets_only_itself_aside(text: str, problem: str, config: Path, tmp_path: Path):
    file = config / "providers" / "cohere.py"
    file.write_text(text)
    (config / "models.yaml").write_text(MODELS.format(url="http://127.0.0.1:1/v1"))
    models = inference.load_models()
    assert inference.overview(models["other"])["state"] == "set OPENAI_API_KEY"
    assert "could not be loaded" in inference.overview(models["command"])["state"]
    with pytest.raises(ModelError, match=problem) as failure:
        inference.send_requests(models["command"], make_prompts(["Which?"]), tmp_path / "ledger")
    assert str(file) in str(failure.value) and "correct the file" in str(failure.value)
    assert [one.file for one in inference.provider_problems()] == [file]

    file.write_text(PROVIDER)  # corrected while the process runs
    assert inference.overview(inference.load_models()["command"])["state"] == "ready"
    assert inference.provider_problems() == ()


def test_a_file_cannot_replace_a_provider_of_the_package(config: Path):
    (config / "providers" / "openai.py").write_text(PROVIDER)
    (config / "models.yaml").write_text("models: {m: {provider: openai, model: x}}")
    assert inference.load_models()["m"].url == "https://api.openai.com/v1"
    (problem,) = inference.provider_problems()
    assert "the package has a provider openai already" in str(problem)
