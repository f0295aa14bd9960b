"""Names for people come from one place: titles of sources, kinds, concepts and dimensions, never their ids."""

from __future__ import annotations

import pytest

from mpta_pipeline.core.labels import Labels
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.labels import labels, survey_title
from tests.factories.deployment import STUDY


@pytest.fixture
def known(world) -> Labels:
    dimensions = ["education_3", "party_3", "sex×age_band", "social_class"]
    world.study(
        STUDY
        | {
            "figures": {"dimensions": dimensions, "min_personas": 5},
            "tasks": {"value_alignment": {"kind": "value_alignment"}, "truthfulqa_mc1": {"kind": "truthfulqa_mc1"}},
        }
    )
    deployment = Deployment.from_env()
    return labels(
        sources=deployment.sources,
        crosswalk=deployment.crosswalk,
        study_tasks=deployment.study.tasks,
        dimensions=deployment.study.figures.dimensions,
        countries=["USA"],
    )


def test_surveys_tasks_and_dimensions_have_titles(known: Labels) -> None:
    assert known.survey("gss") == "General Social Survey"
    assert known.survey("wvs") == "World Values Survey"
    assert known.task("truthfulqa_mc1") == "TruthfulQA, MC1"
    assert known.task("value_alignment") == "value alignment"
    assert known.dimension("education_3") == "Education"
    assert known.dimension("party_3") == "Party"
    assert known.dimension("sex×age_band") == "Sex × Age"
    assert known.subgroup("country×sex", "USA×female") == "United States, women"
    assert known.dimension("social_class") == "Social class"


def test_subgroups_are_people(known: Labels) -> None:
    assert known.subgroup("sex×age_band", "female×65+") == "women 65 and over"
    assert known.subgroup("age_band×sex", "18–29×male") == "18–29, men"
    assert known.subgroup("party_3", "democrat") == "Democrats"
    assert known.subgroup("sex×social_class", "male×working") == "men, social class: working"
    assert known.subgroup("social_class", "lower_middle") == "lower middle"
    assert known.subgroup("sex", "all") == known.dimension("all") == "everyone"


def test_what_has_no_label_is_still_readable() -> None:
    assert Labels().survey("my_survey") == "my_survey"
    assert Labels().dimension("own_trait") == "own trait"
    assert Labels().subgroup("own", "a×b") == "a × b"


@pytest.mark.parametrize(
    ("title", "short"),
    [
        (
            "General Social Survey {wave}, teaching extract (stevedata)",
            "General Social Survey, teaching extract (stevedata)",
        ),
        ("World Values Survey wave {wave}", "World Values Survey"),
        ("European Values Study 2017", "European Values Study"),
    ],
)
def test_a_survey_is_named_without_its_wave(title: str, short: str) -> None:
    assert survey_title(title) == short


def test_every_source_has_a_title_of_its_own() -> None:
    from mpta_pipeline import surveys

    titles = [survey_title(source.title) for source in surveys.load_sources()]
    assert all(titles) and not any("{" in title for title in titles)


def test_a_control_is_named_as_one() -> None:
    names = Labels(controls=frozenset({"echo"}))
    assert names.model("echo") == "echo (simulated respondent, a control)"
    assert names.model("gpt") == "gpt"
