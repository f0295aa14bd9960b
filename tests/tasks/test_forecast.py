"""Protects the framing `forecast`: the same description as `third_person`, and another question about the person."""

import polars as pl
import pytest

from mpta_pipeline.core.vocabulary import Framing
from mpta_pipeline.personas import FRAMINGS
from tests.factories import small_survey
from tests.factories.task_tables import made

ASKED = "How would this person answer the following question? Predict their answer."


@pytest.fixture(scope="module")
def prompts(crosswalk):
    """Prompts of a survey task and of a benchmark under three framings."""
    study = small_survey.study(
        framings=["you_are", "third_person", "forecast"],
        conditions=["persona", "no_persona", "placebo"],
        tasks={
            "value_alignment": {"kind": "value_alignment", "items_per_persona": 2},
            "sample_myths": {"kind": "truthfulqa_binary", "items": 3},
        },
    )
    return made(small_survey.respondents(), crosswalk, study).prompts


def shown(frame, framing, condition="persona"):
    cell = ["respondent_id", "item_id", "order_id"]
    return frame.filter(framing=framing, condition=condition).sort(cell)


def test_the_person_is_described_alike_and_their_answer_is_to_be_predicted(prompts):
    frame = prompts["value_alignment"]
    third, forecast = (shown(frame, name) for name in ("third_person", "forecast"))
    told = [
        system.removesuffix(f"\n{end}").split("\n")
        for system, end in zip(
            [*third["system"], *forecast["system"]],
            ["Answer as this person would."] * third.height + [ASKED] * forecast.height,
            strict=True,
        )
    ]
    assert told[: third.height] == told[third.height :]
    assert forecast["system"].str.ends_with(ASKED).all()
    assert not forecast["system"].str.contains(r"\b[Yy]ou\b").any()
    assert forecast["user"].equals(third["user"])


def test_a_question_with_a_right_answer_is_asked_once_for_both(prompts):
    """It is not about the person, so that nothing is to be predicted: the request is that of `third_person`."""
    third, forecast = (shown(prompts["sample_myths"], name) for name in ("third_person", "forecast"))
    assert forecast["content_hash"].equals(third["content_hash"])


@pytest.mark.parametrize("condition", ["no_persona", "placebo"])
def test_without_a_person_the_requests_are_those_of_role_play(prompts, condition):
    frame = prompts["value_alignment"].filter(condition=condition)
    if condition == "no_persona":
        assert frame["content_hash"].n_unique() == frame.filter(framing="you_are")["content_hash"].n_unique()
    assert not frame["system"].fill_null("").str.contains(ASKED, literal=True).any()


def test_adding_the_framing_changes_no_other_prompt(prompts, crosswalk):
    study = small_survey.study(
        framings=["you_are", "third_person"],
        conditions=["persona", "no_persona", "placebo"],
        tasks={"value_alignment": {"kind": "value_alignment", "items_per_persona": 2}},
    )
    before = made(small_survey.respondents(), crosswalk, study).prompts["value_alignment"]
    after = prompts["value_alignment"].filter(pl.col("framing") != "forecast")
    assert after.equals(before)


def test_every_framing_is_rendered():
    assert set(FRAMINGS) == set(Framing.__args__)
