"""Each defect of the reference (reference.md) that concerns personas or tasks has a test that its behaviour fails.

3 (zero-token options) is inference's, 13 and 14 are the metrics', 15 and 16 the engine's and repository's.
"""

import json

import polars as pl
import pytest

from mpta_pipeline import personas, tasks
from mpta_pipeline.personas.controls import MEANING
from mpta_pipeline.study import TaskConfig
from mpta_pipeline.tables import MISSING_KINDS
from mpta_pipeline.tasks.kinds.normad import alpha3
from mpta_pipeline.tasks.kinds.opinions import country_code
from tests.personas import fabricate
from tests.tasks.conftest import answered, made


@pytest.mark.parametrize("name", ["sample_myths", "value_alignment", "trait_inference", "sample_stereotypes"])
def test_defect_01_gold_is_not_always_first_and_always_a_is_at_chance(world, name):
    prompts = world.prompts[name]
    positions = prompts["gold_pos"].value_counts(normalize=True)
    assert positions["proportion"].max() < 0.6
    scores = tasks.score(prompts, world.items[name], answered(prompts, "A"))
    assert scores["score"].mean() == pytest.approx(scores.select((1 / pl.col("k_options")).mean()).item())


@pytest.mark.parametrize("reply", ["I cannot answer that.", "???", "", None])
def test_defect_01_a_refused_or_unreadable_reply_is_no_option(world, reply):
    prompts = world.prompts["sample_myths"]
    scores = tasks.score(prompts, world.items["sample_myths"], answered(prompts, reply))
    assert scores["pred_idx"].null_count() == scores["score"].null_count() == scores.height


def test_defect_02_options_are_never_split_at_commas(world, benchmarks, crosswalk):
    """Every option of the 790 questions is a whole answer of the file."""
    path = benchmarks / "truthfulqa" / "TruthfulQA.csv"
    config = TaskConfig(kind="truthfulqa_binary", path=path)
    items = tasks.build_items("t", config, crosswalk=crosswalk, respondents=world.people, study=world.study)
    source = pl.read_csv(path, infer_schema=False)
    whole = set(source["Best Answer"]) | set(source["Best Incorrect Answer"])
    shown = set(items["options"].explode())
    assert shown <= whole
    assert any("," in option for option in shown)


def test_defect_04_every_elicitation_sees_the_options(world, crosswalk):
    for elicitation in ("letter", "option_logprob", "verbalized", "free_text"):
        study = fabricate.study(tasks={"sample_myths": {"kind": "truthfulqa_binary", "elicitation": elicitation}})
        prompts = made(world.people, crosswalk, study).prompts["sample_myths"]
        seen = prompts.select(pl.col("user").str.contains(pl.col("options").list.first(), literal=True)).to_series()
        assert seen.all()
        assert set(prompts["elicitation"]) == {elicitation}


def test_defect_05_bbq_says_which_way_an_answer_leans(world):
    prompts, items = world.prompts["sample_stereotypes"], world.items["sample_stereotypes"]
    for meta in (json.loads(m) for m in items["metadata"]):
        assert {"context_condition", "question_polarity", "option_bias", "biased_idx", "unknown_idx"} <= set(meta)
    assert tasks.score(prompts, items, answered(prompts, "A"))["bias"].null_count() == 0


def test_defect_06_the_answer_key_depends_on_the_persona(world):
    for name in ("value_alignment", "trait_inference"):
        keys = world.prompts[name].group_by("item_id").agg(pl.col("gold_idx").n_unique())
        assert keys["gold_idx"].min() >= 2


def test_defect_07_there_is_a_control_for_everything_but_the_persons_own_traits():
    assert {"no_persona", "demographics_only", "shuffled_country", "shuffled_any", "placebo"} < set(MEANING)
    assert {f"without_{d}" for d in ("demographic", "belief", "value", "attitude")} < set(MEANING)
    assert personas.PARAPHRASES >= 3


def test_defect_08_points_are_told_with_their_scale(world):
    texts = personas.render(world.personas)
    told = texts.str.extract_all(r"place yourself at [^.]*")
    assert told.list.len().sum() > 50
    assert told.explode().drop_nulls().str.contains("on a scale from 1").all()


def test_defect_09_no_missing_answer_reaches_a_persona(world):
    """Not one of the missing kinds, whatever it is called, and not the code that stands for it."""
    traits = world.personas.select("traits").explode("traits").unnest("traits")
    assert not traits["value"].is_in(list(MISSING_KINDS)).any()
    assert "-1" not in set(traits["code"])
    answered_ = sum(
        world.people.filter(dialect=d)[c].is_not_null().sum()
        for d, c in traits.join(world.personas.select("dialect").unique(), how="cross")
        .select("dialect", "column")
        .unique()
        .rows()
        if c in world.people.columns
    )
    assert traits.height <= answered_


@pytest.mark.parametrize("lookup", [alpha3, country_code])
def test_defect_10_countries_are_never_matched_by_part_of_their_name(lookup):
    assert lookup("US") == "USA"
    for other in ("Australia", "Austria", "Belarus", "Cyprus", "Russia"):
        assert lookup(other) not in (None, "USA")
    assert lookup("rus sia") is None


def test_defect_11_the_answer_asked_for_is_not_in_the_prompt(world):
    for row in world.prompts["value_alignment"].filter(condition="persona").sample(200, seed=1).to_dicts():
        person = world.personas.filter(persona_id=row["shown_persona_id"]).row(0, named=True)
        column = row["item_id"].split("@")[0]
        hidden = [t for t in person["traits"] if t["column"] == column]
        assert all(t["statement"] not in row["system"] for t in hidden)


def test_defect_12_every_model_sees_the_same_people_and_the_baseline_the_same_options(world):
    """Prompts know no model; the twin without persona shows the same options in the same order."""
    prompts = world.prompts["sample_myths"]
    assert "model" not in prompts.columns
    shown = prompts.group_by("item_id", "persona_id", "order_id").agg(
        pl.col("user").n_unique(), pl.col("condition").n_unique().alias("conditions")
    )
    assert set(shown["user"]) == {1}
    assert set(shown["conditions"]) == {3}
