"""Protects experiments: arms balanced and stable, texts that differ only as stated, estimates of the control alone."""

import polars as pl
import pytest

from mpta_pipeline import metrics, personas, tasks
from mpta_pipeline.core.errors import ConfigError, TaskError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.study import EstimateRules, Study, TaskConfig, load_study
from mpta_pipeline.tasks.arms import assigned, drawn
from tests.factories import small_survey
from tests.factories.task_tables import answered

ARMS = {"plain": {}, "crime": {"text": "Crime rose last year."}, "peace": {"text": "Crime fell last year."}}
FIELD = """\
blocks:
  - name: b
    questions:
      - {id: close, question: "How close are you to {{party}}?", options: [close, far]}
      - {id: other, question: "Do you vote?", options: [yes, no]}
"""


def panel(n, stratum=lambda i: f"s{i % 3}"):
    return pl.DataFrame(
        {"respondent_id": [f"r{i:03}" for i in range(n)], "survey": "a", "stratum": [stratum(i) for i in range(n)],
         "rank": [((i * 7919) % 1000) / 1000 for i in range(n)]}
    )  # fmt: skip


def config(arms=ARMS, **more):
    return TaskConfig.model_validate({"kind": "value_alignment", "arms": arms} | more)


def arms_of(people, seed=1, task="t", before=None, **more):
    draws = drawn(people, config(**more), seed=seed, task=task, before=before)
    return assigned(people.select("respondent_id"), draws, config(**more), task=task)


def test_arms_are_balanced_within_strata():
    people = panel(92)
    made = arms_of(people).join(people, on="respondent_id")
    counts = made.group_by("stratum", "arm").len()
    assert counts.group_by("stratum").agg((pl.col("len").max() - pl.col("len").min()).alias("d"))["d"].max() <= 1
    assert made.filter(arm="plain")["treated"].any() is False and made.filter(arm="peace")["treated"].all()


def test_arms_are_random_by_hash_and_independent_between_tasks():
    people = panel(900)
    one, again, other = arms_of(people), arms_of(people.sample(fraction=1, shuffle=True)), arms_of(people, task="u")
    assert one.sort("respondent_id").equals(again.sort("respondent_id"))
    same = (one.sort("respondent_id")["arm"] == other.sort("respondent_id")["arm"]).mean()
    assert 0.27 < same < 0.40
    assert not one["arm"].equals(arms_of(people, seed=2)["arm"])


def test_people_keep_their_arm_when_the_panel_grows():
    people = panel(900)
    few = people.filter(pl.col("rank") < 0.5)
    both = arms_of(few).join(arms_of(people), on="respondent_id")
    # Only the last block of a stratum, which was not full, may have changed nothing at all: orders are set by block.
    assert (both["arm"] == both["arm_right"]).all()


def test_a_first_draw_is_that_of_earlier_versions():
    """Arms that users' studies have must not change: what version 0.2 drew before it kept draws."""
    assert digest(*arms_of(panel(900)).sort("respondent_id")["arm"]) == "412ccc0950488cad"
    assert digest(*arms_of(panel(7), seed=3).sort("respondent_id")["arm"]) == "9c7aaa89c97864f6"


def test_who_leaves_or_joins_changes_nobody_elses_arm():
    """Drawn anew, 267 of the 299 others of the stratum would change their arm, and be asked and paid for again."""
    people = panel(900).sort("stratum", "rank")
    before = drawn(people, config(), seed=1, task="t")
    first, last = people[0, "respondent_id"], people.filter(stratum="s1").sort("rank")[-1, "respondent_id"]
    left = people.filter(pl.col("respondent_id") != first)
    anew = arms_of(left).join(arms_of(people), on="respondent_id")
    assert (anew["arm"] != anew["arm_right"]).sum() > 200, "the specimen"
    # As `mpta forget` does: their row is gone. The replacement and another new one are drawn; everyone else stays.
    struck = before.filter(pl.col("respondent_id") != first)
    new = panel(903).filter(pl.col("respondent_id").is_in(["r900", "r901", "r902"]))
    after = arms_of(pl.concat([left, new]), before=struck)
    both = after.join(arms_of(people), on="respondent_id")
    assert both.height == 899 and (both["arm"] == both["arm_right"]).all()
    counts = after.join(pl.concat([left, new]), on="respondent_id").group_by("stratum", "arm").len()
    assert counts.group_by("stratum").agg((pl.col("len").max() - pl.col("len").min()).alias("d"))["d"].max() <= 1
    assert after["arm"].null_count() == 0
    # Who leaves and comes back is where they were.
    without = drawn(people.filter(pl.col("respondent_id") != last), config(), seed=1, task="t", before=before)
    again = arms_of(people, before=without)
    assert again.sort("respondent_id").equals(arms_of(people).sort("respondent_id"))


def test_a_renamed_arm_keeps_its_people():
    people = panel(92)
    before = drawn(people, config(), seed=1, task="t")
    renamed = {"plain": {}, "theft": {"text": "Crime rose last year.", "id": "crime"}, "peace": ARMS["peace"]}
    for kept in (None, before):
        after = arms_of(people, before=kept, arms=renamed)
        assert set(after["arm"]) == set(renamed)
        both = after.join(arms_of(people), on="respondent_id")
        assert (both["arm"].replace("theft", "crime") == both["arm_right"]).all()
    anew = {name: {k: v for k, v in arm.items() if k != "id"} for name, arm in renamed.items()}
    assert drawn(people, config(arms=anew), seed=1, task="t", before=before)["drawn_by"][0] != before["drawn_by"][0]
    assert not arms_of(people, before=before, arms=anew)["arm"].replace("theft", "crime").equals(arms_of(people)["arm"])


@pytest.mark.parametrize(
    ("arms", "names"),
    [
        ({"a": {}, "b": {"text": "x", "id": "a"}}, "two arms have the id a"),
        ({"plain": {}}, "at least two arms"),
        ({"a": {"text": "x"}, "b": {"text": "x"}}, "two arms are the same"),
        ({"a": {"fields": {"x": "1"}}, "b": {"fields": {"y": "1"}}}, "to the same fields"),
        ({"a": {}, "b": {"txt": "x"}}, 'did you mean "text"'),
        ({"a": {"text": "x"}, "b": {"text": "y"}}, "name the arm"),
    ],
)
def test_a_wrong_design_is_refused(tmp_path, arms, names):
    file = tmp_path / "study.yaml"
    file.write_text(str({"name": "s", "tasks": {"t": {"kind": "value_alignment", "arms": arms}}}))
    with pytest.raises(ConfigError) as raised:
        load_study(file)
    assert names in str(raised.value)


def world(tasks_of_study, **more):
    """Everything up to the prompts of one task."""
    people, crosswalk = small_survey.respondents(), small_survey.crosswalk()
    base = small_survey.study().model_dump(exclude={"tasks"})
    study = Study.model_validate(base | {"tasks": {"t": tasks_of_study}} | more)
    frame = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    groups = personas.derived_dimensions(people, study.panel.strata, crosswalk)
    drawn = personas.draw_panel(frame, groups, study.panel, study.seed)
    items = tasks.build_items("t", study.tasks["t"], crosswalk=crosswalk, respondents=people, study=study)
    gold = tasks.build_gold("t", study.tasks["t"], items, crosswalk=crosswalk, respondents=people)
    plan = tasks.plan_prompts("t", study, items=items, gold=gold, panel=drawn, personas=frame, groups=groups)
    return items, gold, plan, groups


TASK = {"kind": "value_alignment", "options": {"columns": ["god", "abortion"]}, "orders": "scale", "arms": ARMS}


@pytest.fixture(scope="module")
def asked():
    items, gold, plan, groups = world(TASK)
    return items, gold, plan.build(), groups, plan


def test_arms_differ_by_their_text_alone(asked):
    _, _, prompts, _, plan = asked
    assert prompts.height == plan.height() and prompts["prompt_id"].is_unique().all()
    own = prompts.filter(condition="persona")
    assert (
        own.group_by("respondent_id").agg(pl.col("arm").n_unique())["arm"].to_list()
        == [1] * own["respondent_id"].n_unique()
    )
    begins = own.with_columns(
        pl.col("arm")
        .replace_strict({"plain": "", "crime": "Crime rose last year.\n", "peace": "Crime fell last year.\n"})
        .alias("text")
    )
    rest = begins.with_columns(pl.col("user").str.strip_prefix(pl.col("text")).alias("rest"))
    assert (rest["user"].str.len_chars() - rest["rest"].str.len_chars() == rest["text"].str.len_chars()).all()
    assert (rest.group_by("item_id", "order_id").agg(pl.col("rest").n_unique())["rest"] == 1).all()
    twins = prompts.filter(condition="no_persona").join(own, on=["respondent_id", "item_id", "order_id"])
    assert (twins["arm"] == twins["arm_right"]).all(), "the twin without persona is in the persona's arm"
    assert all(check.passed for check in tasks.check_prompts(prompts, "scale"))


def test_prompts_of_the_control_are_those_of_the_task_without_arms(asked):
    """Nothing that has been asked is asked again."""
    _, _, plan, _ = world({k: v for k, v in TASK.items() if k != "arms"})
    plain = plan.build()
    assert plain["arm"].is_null().all()
    control = asked[2].filter(arm="plain")
    assert set(control["content_hash"]) <= set(plain["content_hash"])
    assert not set(asked[2].filter("treated")["content_hash"]) & set(plain["content_hash"])


def test_a_configuration_asks_the_people_of_the_control_and_nothing_twice(asked):
    """Its figures are about the control. Other people in it would be another difference, and paid for."""
    items, gold, prompts, _, _ = asked
    names = {"factors": {"paraphrase": [0]}, "figures": [{"what": "effect"}]}
    people, crosswalk = small_survey.respondents(), small_survey.crosswalk()
    base = small_survey.study().model_dump(exclude={"tasks"})
    study = Study.model_validate(base | {"tasks": {"t": TASK}, "multiverse": names}).with_variants()
    (name,) = set(study.tasks) - {"t"}
    frame = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    groups = personas.derived_dimensions(people, study.panel.strata, crosswalk)
    drawn = personas.draw_panel(frame, groups, study.panel, study.seed)
    varied = tasks.build_prompts(name, study, items=items, gold=gold, panel=drawn, personas=frame, groups=groups)
    control = prompts.filter(arm="plain")
    assert set(varied["arm"]) == {"plain"}
    assert set(varied["respondent_id"]) == set(control["respondent_id"])
    assert set(varied["content_hash"]) <= set(control["content_hash"])


def test_other_estimates_are_those_of_the_control(asked):
    items, gold, prompts, groups, _ = asked
    scores = tasks.score(prompts, items, answered(prompts, "A"))
    assert set(scores["arm"]) == set(ARMS)
    rules = EstimateRules(dimensions=(), bootstrap=50)
    made = metrics.compute_estimates(scores, groups, gold, rules=rules, items=items)
    alone = metrics.compute_estimates(scores.filter(arm="plain"), groups, gold, rules=rules, items=items)
    assert made.equals(alone)
    effects = metrics.experiments(scores, groups, rules=rules, items=items)
    assert set(effects["level"]) == {"crime", "peace"} and set(effects["reference"]) == {"plain"}
    assert {"right", "place", "share"} == set(effects["outcome"])


def test_each_persona_in_every_arm():
    _, _, plan, _ = world(TASK | {"arm_design": "every"})
    prompts = plan.build()
    assert prompts.height == plan.height() and prompts["prompt_id"].is_unique().all()
    counts = prompts.group_by("respondent_id", "item_id", "condition", "order_id").len()["len"]
    assert set(counts) == {3}


def test_fields_are_filled_by_arm(tmp_path):
    path = tmp_path / "q.yaml"
    path.write_text(FIELD)
    arms = {"green": {"fields": {"party": "the Greens"}}, "blue": {"fields": {"party": "the Blues"}}}
    task = {"kind": "questionnaire", "path": str(path), "arms": arms, "control": "green"}
    _, _, plan, _ = world(task)
    close = plan.build().filter(item_id="close", condition="persona")
    named = close.select("arm", pl.col("user").str.extract(r"to (the \w+)\?").alias("party")).unique()
    assert dict(named.iter_rows()) == {"green": "the Greens", "blue": "the Blues"}
    arms = {name: {"fields": {"prty": "x" + name}} for name in arms}
    with pytest.raises(TaskError, match="a field that no question has"):
        world(task | {"arms": arms, "options": {"fields": {"party": "x"}}})


CONJOINT = {
    "kind": "conjoint",
    "items_per_persona": 3,
    "options": {
        "question": "Which train?",
        "attributes": {"price": ["10", "20", "30"], "time": ["1 h", "2 h"], "seat": ["window", "aisle"]},
        "restrictions": [{"price": "30", "time": ["2 h"]}],
        "pool": 40,
    },
}


def test_conjoint_profiles():
    items, gold, plan, _ = world(CONJOINT)
    assert items.height == 40 and items["item_id"].is_unique().all() and gold.is_empty()
    drawn = (
        items.select("item_id", "profiles")
        .explode("profiles")
        .with_columns(pl.col("profiles").list.eval(pl.element().struct.field("level")).alias("levels"))
    )
    levels = drawn["levels"].to_list()
    assert not any(one[0] == "30" and one[1] == "2 h" for one in levels), "a restricted combination"
    assert {one[0] for one in levels} == {"10", "20", "30"}
    assert 0.35 < sum(one[2] == "aisle" for one in levels) / 80 < 0.65
    prompts = plan.build()
    own = prompts.filter(condition="persona")
    assert (own.group_by("respondent_id").agg(pl.col("item_id").n_unique())["item_id"] == 3).all()
    assert own.filter(order_id=0)["user"][0].startswith("Which train?\nA) price: ")
    again, *_ = world(CONJOINT)
    assert again.equals(items)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"restrictions": [{"price": "40", "time": "1 h"}]}, "no level"),
        ({"restrictions": [{"price": "10"}]}, "two attributes"),
        ({"profiles": 1}, "has a scale"),
        ({"attributes": {"a": ["x"], "b": ["y", "z"]}}, "at least two levels"),
        ({"restrictions": [{"time": ["1 h", "2 h"], "seat": ["window", "aisle"]}]}, "leave no profile"),
    ],
)
def test_a_wrong_conjoint_design_is_refused(change, names):
    with pytest.raises(TaskError, match=names):
        world(CONJOINT | {"options": CONJOINT["options"] | change})


def test_profiles_can_be_rated():
    scale = {"first": 1, "last": 7, "low": "bad", "high": "good"}
    items, _, plan, groups = world(
        CONJOINT | {"options": CONJOINT["options"] | {"profiles": 1, "scale": scale}, "orders": "scale"}
    )
    prompts = plan.build()
    assert prompts["user"][0].startswith("price: ") and items["profiles"].list.len().unique().to_list() == [1]
    scores = tasks.score(prompts, items, answered(prompts, "A"))
    made = metrics.experiments(scores, groups, rules=EstimateRules(dimensions=()), items=items)
    assert set(made["outcome"]) == {"place"} and {"amce", "marginal_mean"} == set(made["effect"])
