"""Protects what a persona says: only answers that were given, in words, chosen alike for everybody."""

import polars as pl
import pytest

from mpta_pipeline import personas
from mpta_pipeline.core.errors import ConfigError, CrosswalkError
from mpta_pipeline.core.tables import PERSONAS
from tests.factories import small_survey


def long(frame):
    return frame.select("respondent_id", "codebook", "traits").explode("traits").unnest("traits")


def test_a_persona_is_its_respondent_and_conforms(frame, people):
    assert set(frame["respondent_id"]) <= set(people["respondent_id"])
    PERSONAS.validate(frame)


def test_each_trait_is_the_respondents_own_answer(frame, people, crosswalk):
    """Every trait's text is the option text of the very code in the respondent's row."""
    texts = {(c, d, k): t for c, d, k, t in crosswalk.options.select("column", "codebook", "code", "text").rows()}
    rows = {r["respondent_id"]: r for r in people.to_dicts()}
    for trait in long(frame).sample(300, seed=3).to_dicts():
        person = rows[trait["respondent_id"]]
        assert person[f"{trait['column']}__missing"] is None
        code = person[f"{trait['column']}__code"]
        assert trait["code"] == code
        expected = texts.get((trait["column"], trait["codebook"], code), code)  # numbers stand for themselves
        assert trait["answer"] == expected
        assert expected in trait["statement"]


def test_a_top_code_is_said_in_its_words(crosswalk, study):
    people = small_survey.respondents(3).with_columns(age=pl.lit(89.0), age__code=pl.lit("89"))
    built = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    assert "Your age is 89 or older." in personas.render(built)[0]


def test_an_answer_with_a_dollar_sign_survives(crosswalk, study):
    """Replacement patterns would read "$1" in an income bracket as a group."""
    options = crosswalk.options.with_columns(
        pl.when(pl.col("value") == "school").then(pl.lit("$1 000 to $2 999 {x}")).otherwise("text").alias("text")
    )
    changed = small_survey.FabricatedCrosswalk(crosswalk.concepts, options)
    people = small_survey.respondents(40)
    built = personas.build_personas(people, changed, study, small_survey.waves(people))
    said = long(built).filter(pl.col("value") == "school")["statement"].unique().to_list()
    assert said == ["Your highest degree is $1 000 to $2 999 {x}."]


def test_a_code_without_text_is_an_error_that_names_it(crosswalk, study, people):
    options = crosswalk.options.filter(pl.col("value") != "liberal")
    with pytest.raises(CrosswalkError, match=r"views_alpha.*'1'"):
        personas.build_personas(
            people, small_survey.FabricatedCrosswalk(crosswalk.concepts, options), study, small_survey.waves(people)
        )


def test_row_order_and_partition_do_not_matter(frame, people, crosswalk, study):
    mixed = people.sample(fraction=1, shuffle=True, seed=9)
    again = personas.build_personas(mixed, crosswalk, study, small_survey.waves(people))
    assert again.equals(frame)


def test_a_new_wave_changes_no_persona_of_another(people, crosswalk, study, frame):
    one = people.filter(pl.col("wave") != "alpha-2")
    before = personas.build_personas(one, crosswalk, study, small_survey.waves(one))
    assert before.equals(frame.filter(pl.col("wave") != "alpha-2"))


def test_the_same_columns_for_everybody_in_a_wave(frame, people, crosswalk):
    study = small_survey.study(traits={"min": 1, "max": 6})
    built = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    by_wave = long(built.select(PERSONAS.schema.names())).join(
        built.select("respondent_id", "wave"), on="respondent_id"
    )
    assert by_wave.group_by("wave").agg(pl.col("column").n_unique())["column"].to_list() == [6, 6, 6]
    assert built["n_traits"].max() == 6
    # demographics lead, and a third of the places is left to beliefs, values and attitudes
    for traits in built["traits"].to_list():
        domains = [t["domain"] for t in traits]
        assert domains == sorted(domains, key=lambda d: d != "demographic")
    shares = by_wave.unique(["wave", "column"]).group_by("wave").agg((pl.col("domain") == "demographic").sum())
    assert set(shares["domain"]) == {4}


def test_age_and_birth_year_are_not_both_shown(frame):
    """One number that says the other is a wasted place."""
    for traits in frame["traits"].to_list():
        assert not {"age", "birth_year_alpha"} <= {t["column"] for t in traits}


def test_named_traits_are_shown_in_the_order_named(people, crosswalk):
    study = small_survey.study(traits={"min": 1, "max": 20, "columns": ["god", "sex", "trust_alpha"]})
    built = personas.build_personas(people, crosswalk, study, small_survey.waves(people)).filter(survey="alpha")
    full = [t for t in built["traits"].to_list() if len(t) == 3]
    assert {tuple(x["column"] for x in t) for t in full} == {("god_alpha", "sex", "trust_alpha")}
    with pytest.raises(ConfigError, match="shoe_size"):
        personas.build_personas(
            people, crosswalk, small_survey.study(traits={"columns": ["shoe_size"]}), small_survey.waves(people)
        )


def test_too_few_traits_make_no_persona(people, crosswalk):
    study = small_survey.study(traits={"min": 12, "max": 20})
    built = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    assert built.height < people.height
    assert built["n_traits"].min() >= 12


def test_k_anonymity_counts_the_wave_and_can_be_demanded(people, crosswalk):
    """k is the number of respondents of wave and country who share the demographics shown, counted by hand here."""
    study = small_survey.study(traits={"min": 1, "max": 20, "columns": ["sex", "education"]})
    built = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    one = built.row(0, named=True)
    shown = {t["column"]: t["value"] for t in one["traits"]}
    same = [
        p for p in built.filter(wave=one["wave"]).to_dicts() if {t["column"]: t["value"] for t in p["traits"]} == shown
    ]
    assert one["k_anonymity"] == len(same)
    strict = small_survey.study(traits={"min": 1, "max": 20, "columns": ["sex", "education"], "k_anonymity": 12})
    kept = personas.build_personas(people, crosswalk, strict, small_survey.waves(people))
    assert kept["k_anonymity"].min() >= 12
    assert set(kept["respondent_id"]) == set(built.filter(pl.col("k_anonymity") >= 12)["respondent_id"])


def test_checks_pass_and_fire(frame, people):
    assert all(c.passed for c in personas.check_personas(frame, people))
    column = frame["traits"][0][0]["column"]
    who = frame["respondent_id"][0]
    broken = people.with_columns(
        pl.when(pl.col("respondent_id") == who)
        .then(pl.lit("dont_know"))
        .otherwise(f"{column}__missing")
        .alias(f"{column}__missing")
    )
    failed = {c.name for c in personas.check_personas(frame, broken) if not c.passed}
    assert failed == {"no_missing_told"}
    assert "respondents_known" in {c.name for c in personas.check_personas(frame, people.head(5)) if not c.passed}


def test_of_two_wordings_of_a_question_one_is_shown(people, crosswalk, study):
    """Split wordings are columns of one label; JSON cannot hold a key twice."""
    concepts = crosswalk.concepts.with_columns(
        pl.when(pl.col("concept") == "spend_space")
        .then(pl.lit("view of spending on health"))
        .otherwise("label")
        .alias("label")
    )
    both = small_survey.FabricatedCrosswalk(concepts, crosswalk.options)
    built = personas.build_personas(people, both, study, small_survey.waves(people))
    assert long(built).group_by("respondent_id", "label").len()["len"].max() == 1
    assert all(c.passed for c in personas.check_personas(built, people))
