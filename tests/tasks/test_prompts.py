"""Protects the prompt table: masks, twins, balance, order, hashes, and that a small change changes little."""

import re

import polars as pl
import pytest

from mpta_pipeline import tasks
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.tables import PROMPTS
from mpta_pipeline.tasks.assignment import balanced_blocks, sweep
from mpta_pipeline.tasks.kinds.survey import _bin_texts, _edges
from tests.factories import small_survey
from tests.factories.task_tables import made

SURVEY = ("value_alignment", "trait_inference")
ALL = (*SURVEY, "sample_myths", "sample_stereotypes")


@pytest.mark.parametrize("name", ALL)
def test_conforms_and_passes_its_checks(world, name):
    PROMPTS.validate(world.prompts[name])
    assert all(c.passed for c in tasks.check_prompts(world.prompts[name]))


@pytest.mark.parametrize("name", SURVEY)
def test_target_and_what_gives_it_away_cannot_be_recovered_from_the_text(world, name):
    """An attacker who knows the labels and sentences of the target's whole group finds none of them."""
    facts = {}
    for concept, (_, scale, label, _, statement, reveals, options) in small_survey.CONCEPT_ROWS.items():
        said = [re.escape(text) for _, _, text in options] + ([r"\d+"] if scale == "numeric" else [])
        sentence = re.escape(statement or f"Your {label}: {{answer}}.").replace(r"\{answer\}", f"(?:{'|'.join(said)})")
        facts[concept] = (sentence, set(reveals))
    for row in world.prompts[name].filter(pl.col("system").is_not_null()).sample(400, seed=2).to_dicts():
        concept = re.sub(r"_(alpha|beta)$", "", row["item_id"].split("@")[0])
        for other, (sentence, reveals) in facts.items():
            if other == concept or reveals & facts[concept][1]:
                assert not re.search(sentence, row["system"]), (row["item_id"], other)


def test_mask_is_recorded_and_is_the_declared_group(world):
    masks = dict(world.prompts["value_alignment"].select("item_id", "masked").unique("item_id").rows())
    assert masks["views_alpha@alpha"] == ["party_alpha", "views_alpha"]
    assert masks["spend_health_alpha@alpha"] == ["spend_health_alpha", "spend_space_alpha"]
    assert masks["god_beta@beta"] == ["afterlife_beta", "god_beta"]
    assert set(world.prompts["sample_myths"]["masked"].list.len()) == {0}


@pytest.mark.parametrize("name", ALL)
def test_every_persona_prompt_has_its_twin_without_persona(world, name):
    prompts = world.prompts[name]
    key = ["item_id", "respondent_id", "order_id"]
    sides = {c: prompts.filter(condition=c).select(*key, "user", "gold_pos") for c in ("persona", "no_persona")}
    joined = sides["persona"].join(sides["no_persona"], on=key)
    assert joined.height == sides["persona"].height == sides["no_persona"].height
    assert (joined["user"] == joined["user_right"]).all()
    bare = prompts.filter(condition="no_persona")
    assert bare["system"].null_count() == bare.height
    assert bare["shown_respondent_id"].null_count() == bare.height
    assert bare["content_hash"].n_unique() == bare["user"].n_unique()  # asked once for everybody


def test_gold_is_the_persons_own_answer(world):
    people = {p["respondent_id"]: p for p in world.people.to_dicts()}
    items = {i["item_id"]: i for i in world.items["value_alignment"].to_dicts()}
    for row in world.prompts["value_alignment"].sample(300, seed=4).to_dicts():
        item = items[row["item_id"]]
        value = people[row["respondent_id"]][item["column"]]
        assert item["option_values"][row["gold_idx"]] == value
        shown = [item["options"][i] for i in row["option_order"]]
        assert shown == row["options"]
        assert row["option_order"][row["gold_pos"]] == row["gold_idx"]
        letters = re.findall(r"^([A-J])\) (.*)$", row["user"], re.MULTILINE)
        assert [text for _, text in letters] == shown
        assert [letter for letter, _ in letters] == [chr(65 + i) for i in range(len(shown))]


def test_numbers_are_asked_in_bins_that_hold_them(world):
    ages = dict(world.people.select("respondent_id", "age").rows())
    item = world.items["trait_inference"].filter(pl.col("item_id") == "age@alpha").row(0, named=True)
    assert item["options"] == ["below 30", "30 to 44", "45 to 64", "65 or more"]
    for persona, gold in (
        world.gold["trait_inference"].filter(item_id="age@alpha").select("respondent_id", "gold_idx").rows()
    ):
        assert [0 <= ages[persona] < 30, 30 <= ages[persona] < 45, 45 <= ages[persona] < 65, ages[persona] >= 65][gold]


@pytest.mark.parametrize(
    ("concept", "texts"),
    [
        ("n_children", ["0", "1", "2", "3 or more"]),
        ("household_size", ["1", "2", "3 to 4", "5 or more"]),
        ("education_years", ["below 12", "12", "13 to 15", "16 or more"]),
        ("birth_year", ["before 1946", "1946 to 1964", "1965 to 1980", "1981 to 1996", "1997 or later"]),
        ("acres", ["below 2", "2 to 3", "4 or more"]),
    ],
)
def test_bins_read_as_people_say_numbers(concept, texts):
    """And those of known concepts do not move with the people, so that a new wave asks nobody anew."""
    values = pl.Series([0.0, 2.0, 4.0, 4.0, 9.0])
    edges = _edges(concept, values)
    assert _bin_texts(concept, edges) == texts
    assert concept == "acres" or _edges(concept, values + 50) == edges


def test_who_did_not_answer_is_not_asked(world):
    asked = world.prompts["value_alignment"].select("respondent_id", "item_id").unique()
    people = {p["respondent_id"]: p for p in world.people.to_dicts()}
    assert all(people[p][i.split("@")[0]] is not None for p, i in asked.rows())


def test_ten_points_are_options_without_their_scale(world):
    item = world.items["value_alignment"].filter(pl.col("item_id") == "abortion_alpha@alpha").row(0, named=True)
    assert item["options"] == ["1 (never)", "2", "3", "4", "5", "6", "7", "8", "9", "10 (always)"]
    assert item["option_scores"][0] == 0
    assert item["option_scores"][-1] == 1


def test_prompts_of_a_group_stand_together_and_share_their_prefix(world):
    prompts = world.prompts["value_alignment"]
    runs = prompts["group"].rle_id().n_unique()
    assert runs == prompts["group"].n_unique()
    shown = prompts.filter(pl.col("system").is_not_null())
    assert shown.group_by("group").agg(pl.col("system").n_unique())["system"].max() == 1


def test_prompts_know_no_row_order(world):
    again = made(world.people.sample(fraction=1, shuffle=True, seed=8), world.crosswalk, world.study, ALL[:1])
    assert again.prompts[ALL[0]].equals(world.prompts[ALL[0]])


def test_one_changed_respondent_changes_only_their_prompts(world, crosswalk):
    """What the ledger lives on: 1 of 120 answers anew, and nobody else's prompts change."""
    who = world.panel.filter(survey="alpha")["respondent_id"][0]
    changed = world.people.with_columns(
        pl.when(pl.col("respondent_id") == who).then(pl.lit("yes")).otherwise("god_alpha").alias("god_alpha"),
        pl.when(pl.col("respondent_id") == who).then(None).otherwise("god_alpha__missing").alias("god_alpha__missing"),
        pl.when(pl.col("respondent_id") == who).then(pl.lit("1")).otherwise("god_alpha__code").alias("god_alpha__code"),
    )
    after = made(changed, crosswalk, world.study, ("sample_myths",)).prompts["sample_myths"]
    before = world.prompts["sample_myths"]
    new = after.join(before, on="prompt_id", how="anti")
    assert set(new["respondent_id"]) <= {who}


@pytest.mark.parametrize(
    ("k", "design", "n"), [(2, "cyclic", 2), (5, "cyclic", 5), (3, "full", 6), (4, "full", 24), (4, "given", 1)]
)
def test_orders_show_every_option_equally_often_at_every_position(k, design, n):
    orders = tasks.option_orders(k, design)
    assert len(orders) == n
    assert all(sorted(o) == list(range(k)) for o in orders)
    if design != "given":
        for position in range(k):
            shown = [o[position] for o in orders]
            assert {shown.count(i) for i in range(k)} == {n // k}


def test_too_many_orders_are_refused():
    with pytest.raises(ConfigError, match="cyclic"):
        tasks.option_orders(5, "full")


def test_blocks_are_balanced_over_items_and_groups(world):
    """Each item is asked equally often within each survey, and in both sexes alike as far as chance allows."""
    study = small_survey.study(
        tasks={"sample_myths": {"kind": "truthfulqa_binary", "items_per_persona": 3}},
        panel={"size": 160, "strata": ["sex"]},
    )
    few = made(world.people, world.crosswalk, study)
    asked = few.prompts["sample_myths"].select("survey", "respondent_id", "item_id").unique()
    assert set(asked.group_by("respondent_id").len()["len"]) == {3}
    counts = asked.group_by("survey", "item_id").len()
    assert counts.group_by("survey").agg((pl.col("len").max() - pl.col("len").min()).alias("d"))["d"].max() <= 1
    sex = few.people.select("respondent_id", "sex")
    by_sex = (
        asked.join(sex, on="respondent_id").group_by("item_id", "sex").len().pivot("sex", index="item_id", values="len")
    )
    total = by_sex.select("male", "female").sum().row(0)
    share = total[0] / sum(total)
    z = (by_sex["male"] - (by_sex["male"] + by_sex["female"]) * share) / (
        (by_sex["male"] + by_sex["female"]) * share * (1 - share)
    ).sqrt()
    assert z.abs().max() < 3.5


def test_blocks_know_no_row_order_and_move_little(world):
    pairs = (
        world.prompts["sample_myths"]
        .select("respondent_id", "survey", "item_id")
        .unique()
        .sort("respondent_id", "item_id")
    )
    chosen = balanced_blocks(pairs, 4, seed=1)
    again = balanced_blocks(pairs.sample(fraction=1, shuffle=True, seed=2), 4, seed=1)
    assert chosen.sort("respondent_id", "item_id").equals(again.sort("respondent_id", "item_id"))
    gone = pairs["respondent_id"][0]
    fewer = balanced_blocks(pairs.filter(pl.col("respondent_id") != gone), 4, seed=1)
    moved = fewer.join(chosen, on=["respondent_id", "item_id"], how="anti").height
    assert moved <= 8  # a chain or two; of about 160


def test_short_eligibility_is_filled_as_far_as_it_goes():
    pairs = pl.DataFrame({"respondent_id": ["p", "p", "q"], "item_id": ["i", "j", "i"], "survey": ["s"] * 3})
    assert balanced_blocks(pairs, 5, seed=1).height == 3


def test_sweep_asks_each_item_of_k_personas(world):
    pairs = world.prompts["sample_myths"].select("respondent_id", "survey", "item_id").unique()
    assert set(sweep(pairs, 5, seed=1).group_by("survey", "item_id").len()["len"]) == {5}


def test_controls_are_conditions_of_their_own(world, crosswalk):
    conditions = ["persona", "no_persona", "shuffled_country", "shuffled_any", "placebo", "without_belief"]
    study = small_survey.study(
        conditions=conditions, paraphrases=3, styles=["prose", "json"], framings=["you_are", "user_is"]
    )
    few = made(world.people, crosswalk, study, ("value_alignment",))
    prompts = few.prompts["value_alignment"]
    assert set(prompts["condition"]) == set(conditions)
    assert all(c.passed for c in tasks.check_prompts(prompts))
    shuffled = prompts.filter(pl.col("condition").str.starts_with("shuffled"))
    assert (shuffled["respondent_id"] != shuffled["shown_respondent_id"]).all()
    assert (
        prompts.filter(condition="placebo")["shown_respondent_id"].null_count()
        == prompts.filter(condition="placebo").height
    )
    assert set(prompts.filter(condition="persona")["paraphrase_id"]) == {0, 1, 2}
    # the stand-in's text hides what the item must not show, too
    for row in shuffled.sample(100, seed=1).to_dicts():
        stem = {"god": "belief in God", "party": "You feel closest", "views": "You call yourself"}
        concept = row["item_id"].split("_")[0]
        if concept in stem:
            assert stem[concept] not in row["system"]


def test_repeats_are_asked_again(world, crosswalk):
    study = small_survey.study(tasks={"sample_myths": {"kind": "truthfulqa_binary", "options": {"repeats": 2}}})
    prompts = made(world.people, crosswalk, study).prompts["sample_myths"]
    assert set(prompts["repeat_id"]) == {0, 1}
    by_repeat = prompts.partition_by("repeat_id", as_dict=True)
    assert not set(by_repeat[(0,)]["content_hash"]) & set(by_repeat[(1,)]["content_hash"])


@pytest.mark.parametrize("elicitation", ["letter", "option_logprob", "verbalized", "free_text"])
def test_all_elicitations_show_the_options(world, crosswalk, elicitation):
    study = small_survey.study(tasks={"sample_myths": {"kind": "truthfulqa_binary", "elicitation": elicitation}})
    prompts = made(world.people, crosswalk, study).prompts["sample_myths"]
    for row in prompts.head(50).to_dicts():
        assert all(option in row["user"] for option in row["options"])
    assert ("A) " in prompts["user"][0]) == (elicitation in ("letter", "verbalized"))


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_fewer_orders_are_spread_evenly_and_stay_balanced(world, crosswalk, most):
    """Ten points in two orders instead of ten: each persona × item gets so many, positions stay even over personas."""
    study = small_survey.study(
        tasks={"value_alignment": {"kind": "value_alignment", "options": {"max_orders": most}}}, panel={"size": 160}
    )
    prompts = made(world.people, crosswalk, study).prompts["value_alignment"]
    asked = (
        prompts.filter(condition="persona")
        .group_by("respondent_id", "item_id")
        .agg(pl.len(), pl.col("options").list.len().first().alias("k"))
    )
    assert (asked["len"] == asked.select(pl.min_horizontal("k", pl.lit(most))).to_series()).all()
    assert all(c.passed for c in tasks.check_prompts(prompts))


def test_nobody_to_ask_is_an_empty_table(world):
    nobody = tasks.build_prompts(
        "sample_myths",
        world.study,
        items=world.items["sample_myths"],
        gold=world.gold["sample_myths"],
        panel=world.panel.head(0),
        personas=world.personas,
    )
    assert nobody.is_empty()
    assert nobody.schema == PROMPTS.schema
    assert all(c.passed for c in tasks.check_prompts(nobody))
