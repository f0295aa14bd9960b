"""Simulated respondents do what their entry says, the same every time, and cost nothing."""

from __future__ import annotations

import numpy as np
import orjson
import polars as pl
import pytest
import yaml

from mpta_pipeline import inference, tasks
from mpta_pipeline.core.errors import ConfigError, ModelError
from mpta_pipeline.inference.known_truth import WantedTruth
from mpta_pipeline.inference.providers import simulated
from tests.factories import simulated_study
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.simulated_study import respondent, told

PLANTED = {"accuracy": 0.7, "noise": 0.1, "position_bias": 0.1, "refusals": 0.05, "flattening": 0.1}


@pytest.fixture(scope="module")
def world():
    return simulated_study.study(people=60, items=6)


def replies(world, spec, folder, prompts=None):
    prompts = told(world, spec) if prompts is None else prompts
    report = inference.send_requests(spec, prompts, folder)
    return inference.responses(spec, prompts, folder).sort("prompt_id"), report


def test_the_same_entry_gives_the_same_bytes_in_any_order_and_any_parts(world, tmp_path):
    spec = respondent(**PLANTED)
    whole, _ = replies(world, spec, tmp_path / "whole")
    shuffled = told(world, spec).sample(fraction=1, shuffle=True, seed=3)
    inference.send_requests(spec, shuffled.head(500), tmp_path / "parts")
    again, report = replies(world, spec, tmp_path / "parts", shuffled)
    assert again.equals(whole)
    assert report.reused and report.cost is None, "nothing is asked twice, and nothing is charged"


def test_another_seed_or_name_is_another_respondent_with_the_same_properties(world, tmp_path):
    first, *others = (respondent(accuracy=0.7), respondent(accuracy=0.7, seed=1), respondent("echo2", accuracy=0.7))
    texts = [replies(world, spec, tmp_path / str(i))[0]["text"] for i, spec in enumerate((first, *others))]
    assert all(not texts[0].equals(other) for other in texts[1:])


@pytest.mark.parametrize(
    "change", [{"accuracy": 0.6}, {"noise": 0.2}, {"seed": 9}, {"accuracy_by": {"sex": {"male": 0.1}}}]
)
def test_every_property_enters_the_hash_so_that_a_change_asks_anew(world, change):
    hashes = [
        set(inference.with_request_hashes(spec, told(world, spec))["request_hash"])
        for spec in (respondent(**PLANTED), respondent(**PLANTED | change))
    ]
    assert hashes[0].isdisjoint(hashes[1])


def test_what_a_respondent_knows_leaves_the_hashes_of_models_as_they_are():
    """The hash of a model's request as version 0.1 computed it."""
    spec = make_spec("http://127.0.0.1:1/v1")
    prompts = make_prompts(["a", "b"])
    plain = inference.with_request_hashes(spec, prompts)["request_hash"].to_list()
    assert (
        inference.with_request_hashes(spec, prompts.with_columns(known=pl.lit("{}")))["request_hash"].to_list() == plain
    )


def test_accuracy_is_settled_once_for_each_person_and_question(world, tmp_path):
    """All option orders get the same answer; noise and position bias are drawn for each."""
    frame = world.prompts.select("prompt_id", "respondent_id", "item_id", "condition", "option_order", "options")

    def differing(spec) -> float:
        answers, _ = replies(world, spec, tmp_path / spec.name)
        position = pl.col("text").replace_strict({"A": 0, "B": 1, "C": 2}, return_dtype=pl.Int64)
        picked = answers.join(frame, on="prompt_id").with_columns(
            pl.col("option_order").list.get(position).alias("idx")
        )
        return picked.group_by("respondent_id", "item_id", "condition").agg(pl.col("idx").n_unique() > 1)["idx"].mean()

    assert differing(respondent("steady", accuracy=0.5)) == 0
    assert differing(respondent("noisy", noise=0.5)) > 0.2
    assert differing(respondent("first", position_bias=0.5)) > 0.2


def test_it_answers_like_the_person_the_group_or_the_key(world, tmp_path):
    right = {}
    for how in ("respondent", "group", "key"):
        spec = respondent(how, answers_like=how, group="race" if how == "group" else "")
        answers, _ = replies(world, spec, tmp_path / how)
        scores = tasks.score(world.prompts, world.items, answers)
        right[how] = dict(scores.group_by("condition").agg(pl.col("score").mean()).iter_rows())
    assert right["respondent"]["persona"] == right["key"]["persona"] == right["key"]["no_persona"] == 1.0
    mode = right["respondent"]["no_persona"]
    assert mode < 0.8, "without a person it can only give the most frequent answer"
    assert mode <= right["group"]["persona"] < 1.0
    assert right["group"]["no_persona"] == mode


def test_without_a_person_shown_it_knows_nothing_of_anybody(world):
    wanted = WantedTruth(subgroups={"sex": ("male",)}, group="race")
    known = tasks.with_known_truth(world.prompts, wanted, gold=world.gold, groups=world.groups)
    alone = known.filter(condition="no_persona")
    assert alone.group_by("item_id", "order_id").agg(pl.col("known").n_unique())["known"].max() == 1
    assert not alone["known"].str.contains("r_").any()


@pytest.mark.parametrize("elicitation", ["letter", "option_logprob", "verbalized", "free_text"])
def test_its_answers_and_refusals_are_read_in_every_form(elicitation, tmp_path):
    world = simulated_study.study(people=30, items=4, elicitation=elicitation)
    spec = respondent(accuracy=0.8, refusals=0.2)
    answers, _ = replies(world, spec, tmp_path)
    scores = tasks.score(world.prompts, world.items, answers)
    assert set(scores["status"]) == {"ok", "refused"}
    refused = scores.filter(status="refused").height / scores.height
    assert refused == pytest.approx(0.2, abs=0.1)
    of_people = scores.filter(condition="persona", status="ok")
    assert of_people["score"].mean() == pytest.approx(0.8, abs=0.1)


def test_questions_with_a_key_of_their_own_and_open_questions(world, tmp_path):
    """An item's key stands for the person's answer; a simulated respondent has no words of its own."""
    spec = respondent()
    nobody = world.gold.clear()
    prompts = tasks.with_known_truth(world.prompts, WantedTruth(), gold=nobody, groups=world.groups)
    answers, _ = replies(world, spec, tmp_path / "key", prompts)
    assert tasks.score(world.prompts, world.items, answers)["score"].mean() == 1.0
    opened = world.prompts.head(5).with_columns(
        pl.lit([], pl.List(pl.String)).alias("options"), pl.lit("free_text").alias("elicitation")
    )
    opened = tasks.with_known_truth(opened, WantedTruth(), gold=nobody, groups=world.groups)
    answers, _ = replies(world, spec, tmp_path / "open", opened)
    assert set(answers["text"]) == {simulated.NO_OPTIONS}


def test_it_is_a_control_that_stays_on_this_machine(tmp_path):
    spec = respondent("echo", accuracy=0.8, accuracy_by={"sex×age_band": {"female×65+": 0.5}}, refusals=0.02)
    assert spec.control and spec.is_local and spec.may_receive("local_only") and spec.model == "echo"
    table = inference.models_table([spec, make_spec("http://127.0.0.1:1/v1")])
    assert table.select("model", "control", "url").rows() == [
        ("echo", True, None),
        ("mock", False, "http://127.0.0.1:1/v1"),
    ]
    assert table["about"][0] == (
        "gives the answer of the person shown in 80 % of the questions; 50 % for female×65+ (sex×age_band); refuses 2 %"
    )
    assert inference.overview(spec)["kind"] == "simulated respondent, a control"
    found = inference.probe(spec, tmp_path)
    assert found.problem is None and "a control" in found.letters


def test_its_plan_is_a_matter_of_seconds(world, tmp_path):
    spec = respondent()
    plan = inference.plan(spec, told(world, spec), tmp_path)
    assert plan.price is None and plan.calls > 500 and plan.seconds < 2


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"accuracy": 1.2}, ["accuracy", "less than or equal to 1"]),
        ({"copying": 0.5}, ["group"]),
        ({"copying": 0.5, "flattening": 0.6, "group": "sex"}, ["sum"]),
        ({"accuracy_by": {"sex×age_band": {"female": 0.5}}}, ["no subgroup of sex×age_band"]),
        ({"price": {"input": 1.0}}, ["no price"]),
        ({"acuracy": 0.5}, ["acuracy"]),
    ],
)
def test_an_entry_that_cannot_be_is_refused(tmp_path, entry, words):
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump({"models": {"echo": {"provider": "simulated", **entry}}}))
    with pytest.raises(ConfigError) as failure:
        inference.load_models(path)
    assert all(word in str(failure.value) for word in ["echo", *words])


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        ({"sex": {"woman": 0.5}}, ["subgroup of sex", "woman", "female, male"]),
        ({"gender": {"female": 0.5}}, ["dimension", "gender", "figures.dimensions"]),
    ],
)
def test_a_group_that_the_study_does_not_have_is_refused_by_name(world, planted, words):
    """Else what was meant to be planted would silently not be."""
    with pytest.raises(ConfigError) as failure:
        told(world, respondent(accuracy_by=planted))
    assert all(word in str(failure.value) for word in words)


def test_the_group_with_most_dimensions_counts(world):
    own = simulated.SimulatedOptions(accuracy_by={"sex×race": {"female×black": 0.1}, "sex": {"female": 0.5}})
    rates = [
        simulated._most_specific(own.accuracy_by, subgroups, 0.9)
        for subgroups in (
            {"sex": "female", "sex×race": "female×black"},
            {"sex": "female", "sex×race": "female×white"},
            {"sex": "male", "sex×race": None},
        )
    ]
    assert rates == [0.1, 0.5, 0.9]


@pytest.fixture(scope="module")
def described():
    """Invented people, and questions about all of their groups, in three cyclic orders."""
    return simulated_study.study(people=200, items=3, described=True, seed=5)


def stated(world, tmp_path, **planted):
    """What it states of groups, in canonical order: (subgroup, item) → shares, which must be the same in each order."""
    spec = respondent("r", **planted)
    mine = world.prompts.filter(condition="group")
    prompts = tasks.with_known_truth(mine, spec.provider_class.wanted_truth(spec), gold=world.gold, groups=world.groups)
    answers, _ = replies(world, spec, tmp_path, prompts)
    scores = tasks.score(mine, world.items, answers)
    assert set(scores["status"]) == {"ok"}
    return {
        (row["respondent_id"].partition("=")[2], row["item_id"], row["order_id"]): row["p_vec"]
        for row in scores.iter_rows(named=True)
    }


def people(world, item, **group):
    answers = world.gold.filter(item_id=item).join(world.groups, on="respondent_id").filter(**group)["gold_idx"]
    return np.array([(answers == i).mean() for i in range(3)])


def test_a_described_group_gets_peoples_own_shares(described, tmp_path):
    found = stated(described, tmp_path)
    women = people(described, "q01", sex="female", age_band="65+")
    for order in range(3):
        assert found["female×65+", "q01", order] == pytest.approx(women, abs=2e-4)
        assert found["all", "q02", order] == pytest.approx(people(described, "q02"), abs=2e-4)


def test_what_it_states_is_what_its_answers_would_add_up_to(described, tmp_path):
    """Misses fall evenly on the other options; flattening and copying go to the most frequent ones."""
    women = people(described, "q01", sex="female")
    most, most_here = np.eye(3)[people(described, "q01").argmax()], np.eye(3)[women.argmax()]
    missed = 0.7 * women + 0.3 * (1 - women) / 2
    planted = {"accuracy": 0.9, "accuracy_by": {"sex": {"female": 0.7}}, "flattening": 0.2, "noise": 0.1}
    found = stated(described, tmp_path / "a", **planted)["female", "q01", 0]
    assert found == pytest.approx(0.9 * (0.8 * missed + 0.2 * most) + 0.1 / 3, abs=2e-4)
    found = stated(described, tmp_path / "b", copying=0.5, group="race")["female", "q01", 0]
    assert found == pytest.approx(0.5 * women + 0.5 * most_here, abs=2e-4)
    found = stated(described, tmp_path / "c", group_accuracy=0.4, accuracy=0.1)["female", "q01", 0]
    assert found == pytest.approx(0.4 * women + 0.6 / 3, abs=2e-4)


def test_place_and_direction_pull_what_it_states_by_order(described, tmp_path):
    women = people(described, "q01", sex="female")
    first = stated(described, tmp_path / "a", position_bias=0.3)
    assert first["female", "q01", 0] == pytest.approx(0.7 * women + 0.3 * np.eye(3)[0], abs=2e-4)
    assert first["female", "q01", 1] == pytest.approx(0.7 * women + 0.3 * np.eye(3)[1], abs=2e-4)
    pulled = stated(described, tmp_path / "b", direction=0.4)["female", "q01", 0]
    assert pulled == pytest.approx(
        [women[0] + 0.4 * women[1], 0.6 * women[1] + 0.4 * women[2], 0.6 * women[2]], abs=2e-4
    )


def test_weights_of_people_count_and_who_knows_nothing_states_equal_shares(described, tmp_path):
    heavy = described.gold.with_columns(pl.when(pl.col("gold_idx") == 0).then(3.0).otherwise(1.0).alias("weight"))
    mine = described.prompts.filter(pl.col("respondent_id") == "group:gss:all=all")

    def known(gold):
        made = tasks.with_known_truth(mine, WantedTruth(), gold=gold, groups=described.groups)
        return {row["item"]: row["shares"] for row in map(orjson.loads, made["known"])}

    counted = people(described, "q00") * np.array([3, 1, 1])
    assert known(heavy)["q00"] == pytest.approx(counted / counted.sum())
    assert known(described.gold.clear())["q00"] == []
    nothing = described.__class__(described.items, described.gold.clear(), described.groups, described.prompts)
    assert stated(nothing, tmp_path)["all", "q00", 0] == pytest.approx([1 / 3] * 3, abs=2e-4)


def test_questions_about_groups_leave_the_other_requests_as_they_are(described):
    spec = respondent(**PLANTED)
    alone = described.__class__(
        described.items, described.gold, described.groups, described.prompts.filter(pl.col("condition") != "group")
    )
    both = inference.with_request_hashes(spec, told(described, spec)).filter(pl.col("condition") != "group")
    assert both["request_hash"].equals(inference.with_request_hashes(spec, told(alone, spec))["request_hash"])
    assert not both["known"].str.contains("shares").any()


def test_a_model_that_states_no_shares_is_told_what_the_condition_group_needs(described, tmp_path):
    spec = make_spec("http://127.0.0.1:1/v1", elicitations=["letter"])
    with pytest.raises(ModelError) as raised:
        inference.plan(spec, described.prompts, tmp_path)
    said = str(raised.value)
    assert "verbalized, which the condition `group` needs: it asks for the shares of all options" in said
    assert "remove `group` from the study's conditions" in said and "elicitation letter" not in said
