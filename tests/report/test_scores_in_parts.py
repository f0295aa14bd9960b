"""Protects the report of a large study: read part by part, it is the report of all scores and responses at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

import polars as pl
import pytest

from mpta_pipeline import metrics, report
from mpta_pipeline.core.tables import SCORES
from tests.factories import planted_study as planted
from tests.report.test_report import frames as small_frames
from tests.report.test_report import study as small_study

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def chunks_of(frame: pl.DataFrame, n: int) -> list[pl.DataFrame]:
    """The rows by persons, as a table in chunks has them; one part is empty."""
    number = pl.col("respondent_id").hash(seed=3) % (n - 1)
    return [frame.filter(number == i) for i in range(n)]


def in_parts(scores: pl.DataFrame, n: int) -> report.Scores:
    def read(chunks: list[pl.DataFrame], columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        for chunk in chunks:
            yield chunk.select(name for name in columns if name in chunk.columns)

    cells = scores.partition_by("model", "task", as_dict=True)
    return report.Scores([report.Part(*map(str, cell), partial(read, chunks_of(f, n))) for cell, f in cells.items()])


def with_groups(scores: pl.DataFrame) -> pl.DataFrame:
    """Scores with answers about two described groups, and with answers in a treatment."""
    asked = scores.filter(pl.col("condition") == "persona").head(30)
    about = asked.with_columns(
        pl.lit("group").alias("condition"),
        (pl.col("respondent_id").hash() % 2).cast(pl.String).alias("respondent_id"),
        pl.lit("unparsed").alias("status"),
        pl.Series("unparsed_reason", ["cut_off", "empty", "cut_off"] * 10),
    )
    scores = pl.concat([scores, about, asked.with_columns(pl.lit(True).alias("treated"))])
    held = pl.format("{}-{}", "respondent_id", "condition")
    return scores.with_columns(pl.when(pl.col("model") == planted.BETA).then(held).alias("conversation"))


@pytest.fixture(scope="module")
def told() -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """The tables of a study with planted findings, some failed requests among them, and its scores."""
    frames = dict(planted.frames(1))
    scores = with_groups(frames.pop("scores"))
    failed = pl.col("prompt_id").hash() % 50 == 0
    reason = pl.when(failed).then(pl.format("HTTP 50{}", pl.col("prompt_id").hash(1) % 3)).otherwise("error")
    frames["responses"] = frames["responses"].with_columns(reason.alias("error"))
    return frames, scores


def page(frames: dict[str, pl.DataFrame], **options: object) -> str:
    return report.render_report(
        frames, study=planted.study(), metrics=metrics.METRICS, title="t", generated=NOW, labels=planted.LABELS,
        **options,
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize("n", [2, 7])
def test_the_report_by_parts_is_the_report_of_all_scores_and_responses(told, n):
    frames, scores = told
    whole = page(frames, scores=report.Scores.of(scores.filter(pl.col("condition") != "group"), groups_of(scores)))
    cut = in_parts(scores, n)
    first = report.first_screen(
        frames, study=planted.study(), metrics=metrics.METRICS, labels=planted.LABELS, scores=cut
    )
    parts = chunks_of(frames["responses"].with_columns(pl.col("prompt_id").alias("respondent_id")), n)
    gathered = report.gather([parts], first.prompts)
    assert gathered.shown.height < 20  # texts of the chosen prompts alone
    now = page(frames | {"responses": gathered.shown}, scores=cut, failures=gathered.failures, first=first)
    assert now == whole
    assert "about described groups" in now.lower() and "HTTP 501" in now and "asked one after the other" in now


def groups_of(scores: pl.DataFrame) -> pl.DataFrame:
    return scores.filter(pl.col("condition") == "group")


def test_requests_that_prompts_of_several_parts_share_count_once(told):
    frames, _ = told
    responses = frames["responses"].with_columns(pl.lit("gpt-x-0613").alias("provider_model"))
    responses = responses.with_columns(pl.col("request_hash").hash() % 100).with_columns(
        pl.col("request_hash").cast(pl.String), (pl.col("request_hash").cast(pl.Int64) + 1).alias("prompt_tokens")
    )
    one = responses.filter(pl.col("model") == planted.ALPHA)
    once = one.unique("request_hash")
    usage = report.gather([one.iter_slices(101)], []).usage.row(0, named=True)
    assert once.height < one.height / 10
    assert usage["tokens_in"] == once["prompt_tokens"].sum()
    assert usage["fingerprints"] == ["gpt-x-0613"]


def test_scores_without_columns_that_came_later_are_read(told):
    """An earlier version stored no reasons, no arms and nobody's condescension."""
    frames, scores = told
    later = ["treated", "arm", "unparsed_reason", "condescending", "conversation"]
    old = scores.filter(pl.col("condition") != "group").drop(later, strict=False)
    assert page(frames, scores=in_parts(old, 3)) == page(frames, scores=report.Scores.of(old))


def test_a_report_without_scores_says_how_many_answers_its_estimates_have():
    frames = small_frames() | {"scores": SCORES.empty()}
    known = report.render_report(frames, study=small_study(), title="t", generated=NOW)
    empty = report.render_report(frames, study=small_study(), title="t", generated=NOW, scores=report.Scores([]))
    assert known == empty
