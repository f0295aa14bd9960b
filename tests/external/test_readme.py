"""Runs every example of the page on `mpta score`, as it is printed there."""

import re
import shlex
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli

SECTION = (Path(__file__).parents[2] / "docs/how-to/score-answers.md").read_text(encoding="utf-8")
FILES = {m[1]: m[2] for m in re.finditer(r"^`([\w.-]+\.\w+)`\n\n```\w+\n(.*?)```", SECTION, re.MULTILINE | re.DOTALL)}
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
# What these need is not on the page: a study, BBQ's own file, inspect_ai's log (see test_logs and test_answers).
ELSEWHERE = ("answers.parquet", "preds_Age.jsonl", "2026-01-31_toy.eval")
EXPECTED = {
    "own.csv": {"accuracy": 6 / 8},
    "twins.csv": {"accuracy": 5 / 8},
    "llm.csv": {"accuracy": 2 / 3, "tv": 0.5 * (abs(1 / 3 - 0.1) + abs(2 / 3 - 0.5) + 0.4)},
    "opinions.jsonl": {"accuracy": 0.4},
    "quiz.jsonl": {"accuracy": 2 / 3},
    "truthful.csv": {"accuracy": 0.5},
    "shares.jsonl": {"accuracy": 0.75, "accuracy_strict": 0.75, "accuracy_answered": 0.75},
    "samples_toy_2026-01-31T10-00-00.000000.jsonl": {"accuracy": 0.5},
}


def test_every_example_is_found():
    assert len(FILES) == 12
    assert len(COMMANDS) == 13
    assert {shlex.split(c)[2] for c in COMMANDS} - set(FILES) == set(ELSEWHERE)


@pytest.mark.parametrize("command", [c for c in COMMANDS if shlex.split(c)[2] not in ELSEWHERE])
def test_an_example_of_the_page(command, tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPTA_CONFIG_DIR", str(tmp_path / "none"))
    words = shlex.split(command)[1:]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output + str(done.exception)
    if "--look" in words:
        for heading in ("Columns", "Answers", "Missing", "never meet their options", "Will be computed"):
            assert heading in done.output
        return
    if "--out" in words:
        assert {p.name for p in (tmp_path / "results").iterdir()} >= {
            "subgroup_metrics.parquet", "pockets.parquet", "model_comparison.parquet", "scores.parquet", "report.html",
        }  # fmt: skip
        words = words[: words.index("--out")]
    if words[1] == "ratings.csv":
        assert "openness" in done.output
        return
    again = CliRunner().invoke(cli.app, [*words, "--out", "figures.parquet"])
    assert again.exit_code == 0, again.output
    estimates = pl.read_parquet("figures.parquet").filter(dimensions="all", baseline="", weighted=False)
    for metric, value in EXPECTED[words[1]].items():
        found = estimates.filter(metric=metric)["estimate"].to_list()
        assert found == pytest.approx([value] * len(found)), metric
        assert found
