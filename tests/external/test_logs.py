"""Protects the reading of other programs' logs: what their own readers and writers say of them is what is scored."""

import json
from types import SimpleNamespace

import pytest

from mpta_pipeline import external
from mpta_pipeline.core.errors import ConfigError, ValidationError
from mpta_pipeline.external import Reading
from mpta_pipeline.external.evaluation_logs import rows_of_inspect


def line(doc_id, likely, target, *, doc=None, mapping=True, name="none", **more):
    """A sample as lm-evaluation-harness 0.4.13 writes it (before 0.4.3 the arguments were a list)."""
    arguments = [["Q: heavy?\nA:", f" {o}"] for o in ("yes", "no", "maybe")]
    if mapping:
        arguments = {f"gen_args_{i}": {"arg_0": a, "arg_1": b} for i, (a, b) in enumerate(arguments)}
    replies = [[str(x), "False"] if mapping else [x, False] for x in likely]
    doc = {
        "question": f"Is thing {doc_id} heavy?",
        "choices": ["yes", "no", "maybe"],
        "subject": "things",
        **(doc or {}),
    }
    return {
        "doc_id": doc_id,
        "doc": doc,
        "target": target,
        "arguments": arguments,
        "resps": [[r] for r in replies],
        "filtered_resps": replies,
        "filter": name,
        "metrics": ["acc"],
        "acc": 0.0,
        **more,
    }


def lm_eval(tmp_path, rows):
    folder = tmp_path / "org__model-7b"
    folder.mkdir()
    path = folder / "samples_toy_2026-01-31T10-00-00.000000.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("mapping", [True, False])
def test_lm_eval_multiple_choice_by_log_likelihood(tmp_path, mapping):
    rows = [
        line(0, (-0.2, -0.8, -0.5), "0", mapping=mapping),
        line(1, (-0.2, -0.8, -0.5), "1", mapping=mapping),
        line(2, (-0.5, -0.5, -2.0), "1", mapping=mapping),
        line(3, (-0.2, -0.8, -0.5), "0", mapping=mapping, name="other"),
    ]
    given = external.load(lm_eval(tmp_path, rows))
    estimates = external.compute(given).estimates.filter(dimensions="all", baseline="", metric="accuracy")
    # A tie is shared; lm-eval's own argmax would give it to the first.
    assert estimates.item(0, "estimate") == pytest.approx((1 + 0 + 0.5) / 3)
    assert estimates.item(0, "model") == "org/model-7b"
    assert any("filters" in note for note in given.notes)


def test_lm_eval_of_personas(tmp_path):
    rows = [
        line(i, (-0.2, -0.8, -0.5), str(i % 3), doc={"item_id": "q", "respondent_id": f"p{i}", "sex": "fm"[i % 2]})
        for i in range(6)
    ]
    given = external.load(lm_eval(tmp_path, rows), reading=Reading(by=("sex",)))
    found = external.compute(given, by=("sex",)).estimates.filter(dimensions="sex", baseline="", metric="accuracy")
    assert dict(found.select("subgroup", "estimate").iter_rows()) == pytest.approx({"f": 1 / 3, "m": 1 / 3})


def test_lm_eval_without_options_is_refused(tmp_path):
    row = {
        "doc_id": 0,
        "doc": {"question": "2+2?"},
        "target": "4",
        "arguments": {"gen_args_0": {"arg_0": "2+2?", "arg_1": {}}},
        "resps": [["4"]],
        "filtered_resps": ["4"],
        "filter": "none",
    }
    with pytest.raises(ValidationError, match="No sample of the log has options"):
        external.load(lm_eval(tmp_path, [row]))


def sample(i, *, answer="A", target="A", error=None, choices=("yes", "no", "maybe"), **metadata):
    """A sample as inspect_ai's reader gives it."""
    scores = {"choice": SimpleNamespace(value="C", answer=answer)} if error is None else {}
    return SimpleNamespace(
        id=f"q{i}",
        epoch=1,
        input=f"Question {i}?",
        choices=list(choices) if choices else None,
        target=target,
        scores=scores,
        metadata=metadata,
        error=error,
        output=SimpleNamespace(completion=f"ANSWER: {answer}" if answer else "I cannot say"),
    )


def inspect_log(samples):
    return SimpleNamespace(status="success", samples=samples, eval=SimpleNamespace(model="openai/gpt", task="toy"))


def test_samples_of_inspect(tmp_path):
    samples = [
        sample(0),
        sample(1, answer="C"),
        sample(2, answer="", target="B"),
        sample(3, error="timeout"),
        sample(4, choices=None),
        sample(5, target=["A", "B"]),
    ]
    log = rows_of_inspect(inspect_log(samples), tmp_path / "x.eval")
    given = external.from_table(log.frame, tmp_path / "x.eval")
    found = external.compute(given).estimates.filter(dimensions="all", baseline="")
    of = dict(found.select("metric", "estimate").iter_rows())
    assert of["accuracy"] == pytest.approx(1 / 3)
    assert of["parse_rate"] == pytest.approx(2 / 3)
    assert of["error_rate"] == pytest.approx(1 / 4)
    assert found["model"].unique().to_list() == ["openai/gpt"]
    assert any("1 samples have no choices" in note for note in log.notes)
    assert any("several right answers" in note for note in log.notes)


def test_a_log_of_inspect_by_its_own_reader(tmp_path):
    log_module = pytest.importorskip("inspect_ai.log", reason="inspect_ai is not installed (extra `inspect`)")
    dataset = pytest.importorskip("inspect_ai.dataset")
    assert dataset.Sample
    log = log_module.EvalLog(
        eval=log_module.EvalSpec(
            created="2026-01-31T10:00:00+00:00",
            task="toy",
            dataset=log_module.EvalDataset(),
            model="mockllm/model",
            config=log_module.EvalConfig(),
        ),
        status="success",
        samples=[
            log_module.EvalSample(
                id=f"q{i}",
                epoch=1,
                input="Q?",
                choices=["yes", "no"],
                target="AB"[i % 2],
                scores={"choice": {"value": "C", "answer": "A"}},
            )
            for i in range(4)
        ],
    )
    path = tmp_path / "toy.eval"
    log_module.write_eval_log(log, str(path))
    found = external.compute(external.load(path)).estimates.filter(dimensions="all", baseline="", metric="accuracy")
    assert found.item(0, "estimate") == 0.5


def test_inspect_is_named_where_it_is_absent(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "inspect_ai.log", None)
    path = tmp_path / "a.eval"
    path.write_bytes(b"PK")
    with pytest.raises(ConfigError, match="pip install"):
        external.load(path)
