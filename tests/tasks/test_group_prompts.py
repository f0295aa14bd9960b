"""Protects the condition `group`: which groups are asked what, in which words, once each, and nothing given away."""

import polars as pl
import pytest

from mpta_pipeline import personas, tasks
from mpta_pipeline.core.described_groups import named_groups
from mpta_pipeline.core.tables import PROMPTS
from mpta_pipeline.tasks.group_prompts import _people
from tests.factories import small_survey
from tests.factories.task_tables import answered, made

DIMENSIONS = ["sex", "age_band", "sex×age_band", "education", "category"]


def built(crosswalk, conditions, **task):
    """Prompts of a survey task with the groups of its dimensions."""
    config = {"kind": "trait_inference", "items_per_persona": 2} | task
    study = small_survey.study(
        conditions=["persona", "no_persona"],
        tasks={"t": config},
        figures={"dimensions": DIMENSIONS},
    )
    people = small_survey.respondents()
    world = made(people, crosswalk, study)
    groups = personas.derived_dimensions(people, ("sex", "age_band", "education"), crosswalk)
    study = study.model_copy(update={"conditions": conditions})
    prompts = tasks.build_prompts(
        "t", study, items=world.items["t"], gold=world.gold["t"], panel=world.panel, personas=world.personas,
        groups=groups, crosswalk=crosswalk,
    )  # fmt: skip
    return world, groups, prompts


@pytest.fixture(scope="module")
def asked(crosswalk):
    return built(crosswalk, ("persona", "no_persona", "group"), kind="value_alignment")


def test_the_other_prompts_are_those_without_the_condition(asked):
    world, _, prompts = asked
    PROMPTS.validate(prompts)
    assert prompts.filter(pl.col("condition") != "group").equals(world.prompts["t"])
    assert all(check.passed for check in tasks.check_prompts(prompts))


def test_a_group_is_asked_exactly_the_questions_of_its_personas(asked):
    _, groups, prompts = asked
    mine = prompts.filter(condition="group").with_columns(**named_groups(pl.col("respondent_id")))
    assert set(mine["dimensions"]) == {"all", "sex", "age_band", "sex×age_band", "education"}
    persona = prompts.filter(condition="persona").join(groups.drop("survey"), on="respondent_id")
    for dimension in ("sex", "age_band"):
        expected = set(persona.select("survey", dimension, "item_id").drop_nulls().iter_rows())
        rows = mine.filter(dimensions=dimension)
        assert set(rows.select("survey", "subgroup", "item_id").iter_rows()) == expected
    assert set(mine.filter(dimensions="all")["item_id"]) == set(persona["item_id"])
    cell = ["respondent_id", "survey", "item_id", "order_id"]
    assert mine.select(cell).n_unique() == mine.height
    assert mine["content_hash"].n_unique() <= mine.height


def test_what_is_sent(asked):
    _, _, prompts = asked
    rows = prompts.filter(pl.col("respondent_id").str.ends_with("sex×age_band=female×65+"), condition="group")
    row = rows.sort("survey", "item_id", "order_id").row(0, named=True)
    assert row["system"] == (
        "Think of 100 adults in the United States who all belong to this group: women, aged 65 and over. "
        "Each of them answers the following question in a survey."
    )
    assert row["user"].endswith(
        "How many of the 100 would choose each option? Answer with JSON: a number for each letter, sum 100."
    )
    assert "\nA) " in row["user"]
    assert (row["elicitation"], row["shown_respondent_id"], row["data_use"]) == ("verbalized", None, "any")
    everyone = prompts.filter(pl.col("respondent_id").str.ends_with(":all=all"), condition="group")["system"][0]
    assert everyone == (
        "Think of 100 adults in the United States. Each of them answers the following question in a survey."
    )
    school = prompts.filter(pl.col("respondent_id").str.ends_with("education=school"))["system"][0]
    assert "highest degree: a high school diploma" in school


def test_no_group_is_asked_what_its_description_gives_away(crosswalk):
    _, _, prompts = built(crosswalk, ("group",))
    found = prompts.with_columns(
        pl.col("item_id").str.split("@").list.first().alias("asked"), **named_groups(pl.col("respondent_id"))
    )
    assert set(found["condition"]) == {"group"}
    about = dict(found.group_by("dimensions").agg(pl.col("asked").unique()).iter_rows())
    assert not any(name.startswith("sex") for name in about["sex"])
    assert not any(name.startswith(("age", "birth_year")) for name in about["age_band"])
    assert not any(name.startswith(("sex", "age", "birth_year")) for name in about["sex×age_band"])
    assert any(name.startswith("sex") for name in about["age_band"])


def test_a_benchmark_has_no_people_to_compare_with_and_is_not_asked(crosswalk):
    _, _, prompts = built(crosswalk, ("persona", "group"), kind="truthfulqa_binary")
    assert set(prompts["condition"]) == {"persona"}


def test_orders_follow_the_tasks_design(crosswalk):
    _, _, prompts = built(crosswalk, ("group",), kind="value_alignment", orders="scale")
    ten = prompts.filter(pl.col("options").list.len() == 10)
    assert ten.group_by("respondent_id", "item_id").len()["len"].unique().to_list() == [2]


def test_shares_are_read_and_normalized_and_anything_else_is_unparsed(asked):
    world, _, prompts = asked
    mine = prompts.filter(pl.col("options").list.len() == 3, condition="group")
    said = {
        '{"A": 50, "B": 30, "C": 21}': [50 / 101, 30 / 101, 21 / 101],
        "A: 50 %, B: 30 %, C: 20 %": [0.5, 0.3, 0.2],
        '{"A": 90, "B": 90, "C": 90}': None,
        '{"A": 50, "B": 50}': None,
        "Most would say A.": None,
    }
    for text, shares in said.items():
        scores = tasks.score(mine, world.items["t"], answered(mine, text)).filter(order_id=0)
        got = scores["p_vec"].to_list()[0]
        assert got is None if shares is None else got == pytest.approx(shares)


@pytest.mark.parametrize(
    ("countries", "words"),
    [
        (["NLD"], "Think of 100 adults in the Netherlands"),
        (["CAN", "NLD", "USA"], "Think of 100 adults in Canada, the Netherlands and the United States"),
        ([f"{letter}XX" for letter in "ABCDEFGHI"], "Think of 100 adults from 9 countries"),
    ],
)
def test_the_population_is_that_of_the_survey(countries, words):
    assert _people(countries) == words
