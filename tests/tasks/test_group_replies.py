"""Protects what a reply about a described group becomes: shares in canonical order, ties included, or nothing."""

import polars as pl
import pytest

from mpta_pipeline import tasks
from mpta_pipeline.metrics.samples.direct_estimates import DirectEstimates
from tests.factories import simulated_study


@pytest.fixture(scope="module")
def world():
    """One question about everyone, forward and reversed."""
    made = simulated_study.study(people=4, items=1, directions=True, described=True)
    about = made.prompts.filter(pl.col("respondent_id") == "group:gss:all=all").sort("order_id")
    return made, about


def scored(world, *texts, error=None):
    """Scores of these replies, in turns to the scale forward and reversed."""
    made, about = world
    about = pl.concat([about] * (len(texts) // 2 + 1)).head(len(texts))
    about = about.with_columns(pl.format("p{}", pl.int_range(pl.len())).alias("prompt_id"))
    responses = pl.DataFrame(
        {"model": "m", "prompt_id": about["prompt_id"], "request_hash": about["prompt_id"]}
    ).with_columns(
        pl.Series("text", texts, dtype=pl.String),
        pl.lit(None, pl.List(pl.Float64)).alias("option_logprobs"),
        pl.lit(error, pl.String).alias("error"),
        pl.lit("stop").alias("finish_reason"),
    )
    return tasks.score(about, made.items, responses).sort("prompt_id")


def test_a_reversed_scale_is_read_in_the_options_own_order_and_ties_are_an_answer(world):
    """40, 40 and 20 is what a group may be like; for a person, it would pick no option."""
    scores = scored(world, '{"A": 50, "B": 30, "C": 20}', '{"A": 20, "B": 40, "C": 40}')
    assert scores["p_vec"].to_list() == [pytest.approx([0.5, 0.3, 0.2]), pytest.approx([0.4, 0.4, 0.2])]
    assert scores["pred_idx"].to_list() == [0, None]
    assert scores["status"].to_list() == ["ok", "ok"]
    assert scores["score"].to_list() == [None, None], "nobody's answer is right or wrong"
    assert DirectEstimates.read(scores).frame["share"].to_list() == pytest.approx([0.45, 0.35, 0.2])


def test_anything_but_shares_is_unparsed(world):
    said = {
        "A": ("unparsed", "no_distribution"),
        "Most of them would choose A.": ("unparsed", "no_distribution"),
        '{"A": 500, "B": 300, "C": 200}': ("unparsed", "no_distribution"),
        '{"A": 15–25, "B": 50, "C": 30}': ("unparsed", "no_distribution"),
        "": ("unparsed", "empty"),
        "I'm sorry, but I can't answer that.": ("refused", None),
        'I cannot know this, but I estimate {"A": 50, "B": 30, "C": 20}': ("ok", None),
    }
    scores = scored(world, *said)
    assert list(scores.select("status", "unparsed_reason").iter_rows()) == list(said.values())
    assert DirectEstimates.read(scores).frame["replies"].unique().to_list() == [1]
    assert set(scored(world, None, error="timeout")["status"]) == {"error"}


def test_numbers_that_are_no_shares_pick_no_option_for_a_person_either(world):
    """The first letter of a list of ranges is no answer."""
    made, about = world
    alone = made, about.with_columns(pl.lit("persona").alias("condition"))
    assert scored(alone, '{"A": 15–25, "B": 50, "C": 30}', "B")["status"].to_list() == ["unparsed", "ok"]
