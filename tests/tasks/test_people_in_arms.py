"""Protects people's own answers in an experiment: found in both shapes of files, hidden from personas, or refused."""

import numpy as np
import polars as pl
import pyreadstat
import pytest

from mpta_pipeline import harmonize, metrics, personas, surveys, tasks
from mpta_pipeline.core.errors import ConfigError, TaskError
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.core.study import EstimateRules, Study, TaskConfig, load_study
from tests.factories import small_survey
from tests.shared_data import gss_file, present

WORDINGS = """\
scales:
  amount: {options: [too little, about the right amount, too much], ordinal: true}
blocks:
  - name: b
    questions:
      - {id: spend, question: "Is too much or too little spent on {{what}}?", scale: amount}
"""
BY_COLUMN = {
    "space": {"fields": {"what": "space"}, "people": {"answers": {"spend": "spend_space"}}},
    "health": {"fields": {"what": "health"}, "people": {"answers": {"spend": "spend_health"}}},
}
# The answers to the item's own column, by a column that says who was assigned to what: here, the party.
BY_ASSIGNMENT = {
    "plain": {"people": {"where": {"party": ["dem"]}}},
    "told": {"text": "Think twice.", "people": {"where": {"party": [2, "none"]}}},
}


def wording_task(tmp_path, arms=BY_COLUMN, **more):
    path = tmp_path / "spend.yaml"
    path.write_text(WORDINGS)
    return {"kind": "questionnaire", "path": str(path), "arms": arms, "control": "space", "orders": "scale"} | more


def made(task, respondents=None):
    people, crosswalk = small_survey.respondents() if respondents is None else respondents, small_survey.crosswalk()
    base = small_survey.study().model_dump(exclude={"tasks"})
    study = Study.model_validate(base | {"tasks": {"t": task}})
    config = study.tasks["t"]
    items = tasks.build_items("t", config, crosswalk=crosswalk, respondents=people, study=study)
    gold = tasks.build_gold("t", config, items, crosswalk=crosswalk, respondents=people)
    own = tasks.arm_answers("t", config, items, gold, crosswalk=crosswalk, respondents=people)
    return study, people, crosswalk, items, gold, own


def test_one_column_per_wording(tmp_path):
    """Each person counts in the arm whose column they answered; the options are matched by their texts."""
    _, people, _, _, _, own = made(wording_task(tmp_path))
    alpha = people.filter(codebook="alpha")
    for arm, columns in (("space", ["spend_space_alpha"]), ("health", ["spend_health_alpha", "spend_health_beta"])):
        mine = own.filter(arm=arm)
        expected = {
            row["respondent_id"]: ["too_little", "about_right", "too_much"].index(row[column])
            for column in columns
            for row in people.filter(pl.col(column).is_not_null()).iter_rows(named=True)
        }
        assert dict(mine.select("respondent_id", "answer_idx").iter_rows()) == expected
    assert set(own.filter(arm="space")["survey"]) == {"alpha"}, "beta has no question about space"
    assert own.filter(~pl.col("treated"))["arm"].unique().to_list() == ["space"]
    assert own.filter(answer_idx=1)["scale_place"].unique().to_list() == [0.5]
    weights = dict(alpha.select("respondent_id", "weight").iter_rows())
    of_alpha = own.filter(survey="alpha").select("respondent_id", "weight")
    assert all(weights[who] == weight for who, weight in of_alpha.iter_rows())


def test_a_column_of_assignments(tmp_path):
    """By values or codes; the answers are those to the item's own column, which are its key."""
    task = {"kind": "value_alignment", "options": {"columns": ["abortion"]}, "arms": BY_ASSIGNMENT}
    _, people, _, _, gold, own = made(task)
    party = {r["respondent_id"]: r["party_alpha"] or r["party_beta"] for r in people.iter_rows(named=True)}
    expected = gold.with_columns(pl.col("respondent_id").replace_strict(party, default=None).alias("party"))
    for arm, values in (("plain", ["dem"]), ("told", ["rep", "none"])):
        mine = own.filter(arm=arm).select("item_id", "respondent_id", "answer_idx").sort(pl.all())
        theirs = expected.filter(pl.col("party").is_in(values)).select("item_id", "respondent_id", "gold_idx")
        assert mine.rows() == theirs.sort(pl.all()).rows() and mine.height


def test_what_people_answered_is_hidden_from_their_persona(tmp_path):
    """Both wordings, and what gives them away; without people, a question of the questionnaire hides nothing."""
    study, people, crosswalk, items, gold, _ = made(wording_task(tmp_path))
    frame = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    groups = personas.derived_dimensions(people, study.panel.strata, crosswalk)
    panel = personas.draw_panel(frame, groups, study.panel, study.seed)
    facts = {"gold": gold, "panel": panel, "personas": frame, "groups": groups}
    prompts = tasks.build_prompts("t", study, items=items, **facts).filter(condition="persona")
    assert not prompts["system"].str.contains("on (space|health)\\.").any()
    assert {"spend_space_alpha", "spend_health_alpha"} <= set(prompts.filter(survey="alpha")["masked"][0])
    bare = {name: {"fields": arm["fields"]} for name, arm in BY_COLUMN.items()}
    study, *_, items, gold, own = made(wording_task(tmp_path, bare))
    assert own.is_empty() and items["answers_in_arms"].is_null().all()
    prompts = tasks.build_prompts("t", study, items=items, **facts | {"gold": gold}).filter(condition="persona")
    assert prompts["system"].str.contains("on (space|health)\\.").any()
    # Who was in which arm is hidden, too: it is not what the model is asked in.
    task = {"kind": "value_alignment", "options": {"columns": ["abortion"]}, "arms": BY_ASSIGNMENT}
    items = made(task)[3]
    assert {"party_alpha", "views_alpha"} <= set(items.filter(codebook="alpha")["answers_in_arms"][0])


def people_of(told):
    return {name: arm | {"people": told[name]} for name, arm in BY_COLUMN.items() if name in told}


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ({"space": {"answers": {"spent": "spend_space"}}}, 'no question of the task.*did you mean "spend"'),
        ({"space": {"answers": {"spend": "spend_spce"}}}, 'no column of the surveys.*did you mean "spend_space"'),
        ({"space": {"answers": {"spend": "god"}}}, "Option 'too little' of question spend is not an answer to god_"),
        ({"health": {"where": {"party": ["green"]}}}, "Nobody in the surveys .* was in arm health.*party is green"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(tmp_path, told, names):
    whole = {name: arm["people"] for name, arm in BY_COLUMN.items()} | told
    arms = {name: arm | {"people": whole[name]} for name, arm in BY_COLUMN.items()}
    with pytest.raises(TaskError, match=f"(?s){names}"):
        made(wording_task(tmp_path, arms))


@pytest.mark.parametrize(
    ("arms", "names"),
    [
        ({"a": {}, "b": {"text": "x", "people": {"where": {"c": [1]}}}}, "add people to arms.a"),
        ({"a": {"people": {"where": {"c": [1]}}}, "b": {"text": "x"}}, "the people of another arm"),
        (
            {"a": {"people": {"where": {"c": [1]}}}, "b": {"text": "x", "people": {"where": {"c": [1]}}}},
            "the people of two arms are the same",
        ),
        ({"a": {"people": {}}, "b": {"text": "x"}}, "people needs where"),
    ],
)
def test_people_without_a_comparison_are_refused(tmp_path, arms, names):
    file = tmp_path / "study.yaml"
    file.write_text(str({"name": "s", "tasks": {"t": {"kind": "value_alignment", "arms": arms}}}))
    with pytest.raises(ConfigError) as raised:
        load_study(file)
    assert names in str(raised.value)


NATFARE = """\
scales:
  amount: {options: [too little, about right, too much], values: [too_little, about_right, too_much], ordinal: true}
blocks:
  - name: spending
    questions:
      - id: fare
        question: "Are we spending too much, too little, or about the right amount on {{what}}?"
        scale: amount
"""


def test_the_wording_experiment_of_the_general_social_survey(tmp_path):
    """Welfare or assistance to the poor, 2018, from NORC's file to the effect: the same as from the raw codes."""
    path = present(gss_file(2018))
    registry = surveys.load_sources(None)
    crosswalk = harmonize.load_crosswalk(sources=registry)
    people = harmonize.harmonize(surveys.ingest(path, "gss-2018", Layout(tmp_path), registry), crosswalk)
    (tmp_path / "q.yaml").write_text(NATFARE)
    arms = {
        "welfare": {"fields": {"what": "welfare"}, "people": {"answers": {"fare": "natfare"}}},
        "poor": {"fields": {"what": "assistance to the poor"}, "people": {"answers": {"fare": "natfarey"}}},
    }
    config = TaskConfig.model_validate(
        {"kind": "questionnaire", "path": str(tmp_path / "q.yaml"), "arms": arms, "control": "welfare"}
    )
    study = Study.model_validate({"name": "s", "tasks": {"t": config}})
    items = tasks.build_items("t", config, crosswalk=crosswalk, respondents=people, study=study)
    own = tasks.arm_answers(
        "t", config, items, tasks.build_gold("t", config, items, crosswalk=crosswalk, respondents=people),
        crosswalk=crosswalk, respondents=people,
    )  # fmt: skip
    groups = people.select("respondent_id", "survey", "sex", "stratum", "psu")
    made = metrics.people_effects(own, items, groups, rules=EstimateRules(dimensions=("sex",)))
    # Independent of the package: the raw codes, 1 too little to 3 too much.
    _, meta = pyreadstat.read_dta(str(path), metadataonly=True)
    names = {n.lower(): n for n in meta.column_names}
    wanted = ("natfare", "natfarey", "wtssall", "sex", "vstrat", "vpsu")
    columns, _ = pyreadstat.read_dta(str(path), usecols=[names[n] for n in wanted], output_format="dict")
    raw = {n: np.array([x if isinstance(x, int | float) else np.nan for x in columns[names[n]]], float) for n in wanted}
    poor = np.isfinite(raw["natfarey"])
    assert not (poor & np.isfinite(raw["natfare"])).any(), "everyone was asked one wording"
    place, w = (np.where(poor, raw["natfarey"], raw["natfare"]) - 1) / 2, raw["wtssall"]
    asked = np.isfinite(place)

    def by_hand(rows):
        sides = [(rows & asked & poor, 1), (rows & asked & ~poor, -1)]
        means = [np.average(place[side], weights=w[side]) for side, _ in sides]
        z = sum(
            sign * np.where(side, w * (place - mean), 0) / w[side].sum()
            for (side, sign), mean in zip(sides, means, strict=True)
        )
        variance = 0.0
        for stratum in np.unique(raw["vstrat"][asked]):
            of = asked & (raw["vstrat"] == stratum)
            units = np.array([z[of & (raw["vpsu"] == unit)].sum() for unit in np.unique(raw["vpsu"][of])])
            variance += len(units) / (len(units) - 1) * ((units - units.mean()) ** 2).sum()
        return means[0] - means[1], np.sqrt(variance)

    for dimension, subgroup, rows in (("all", "all", raw["sex"] > 0), ("sex", "female", raw["sex"] == 2)):
        row = made.filter(weighted=True, item_id="all", dimensions=dimension, subgroup=subgroup).row(0, named=True)
        assert (row["estimate"], row["se"]) == pytest.approx(by_hand(rows))
    whole = made.filter(weighted=True, item_id="all", dimensions="all").row(0, named=True)
    assert whole["estimate"] < -0.3, "far more people say that too little is spent on the poor than on welfare"
    assert (whole["n_arm"], whole["n_control"], whole["level"]) == (1132, 1133, "poor")
    assert whole["method"] == "by design (156 PSUs in 78 strata)"
