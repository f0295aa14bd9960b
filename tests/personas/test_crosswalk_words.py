"""Protects the words of the real crosswalk: every concept can be said in every style and framing."""

import re

import polars as pl
import pytest

from mpta_pipeline import harmonize, personas
from mpta_pipeline.personas.wording import as_option, third_person


@pytest.fixture(scope="module")
def crosswalk():
    return harmonize.load_crosswalk()


@pytest.fixture(scope="module")
def facts(crosswalk):
    return personas.column_facts(crosswalk).filter(pl.col("domain") != "design")


def test_third_person_leaves_no_you(facts):
    for statement in facts["statement"].drop_nulls().unique():
        said = third_person(statement)
        assert not re.search(r"\byou(r|rs|rself)?\b", said, re.IGNORECASE), said


def test_each_statement_says_its_answer_once(facts):
    for statement in facts["statement"].drop_nulls().unique():
        assert statement.count("{answer}") == 1
        assert statement.startswith(
            (
                "You",
                "In",
                "Asked",
                "When",
                "Compared",
                "On",
                "Your",
                "Of",
                "For",
                "As",
                "At",
                "To",
                "The",
                "With",
                "If",
                "From",
            )
        ), statement


def test_only_wordings_of_one_concept_share_a_label(facts):
    """A persona shows one of them, and all are hidden when one is asked."""
    shared = facts.group_by("codebook", "label").agg(pl.col("concept").n_unique(), pl.col("column"))
    mixed = shared.filter(pl.col("concept") > 1)
    assert mixed.is_empty(), mixed.rows()


def test_no_ordinal_answer_is_a_bare_number(crosswalk, facts):
    """The reference printed "Happiness: 2.0"."""
    scales = facts.select("codebook", "column", "scale")
    bare = crosswalk.options.join(scales, on=["codebook", "column"]).filter(
        (pl.col("scale") == "ordinal") & pl.col("text").str.contains(r"^-?[\d.]+$")
    )
    assert bare.is_empty(), bare.rows()


def test_numbers_and_never_stand_in_sentences_that_bear_them(crosswalk, facts):
    """No "89 or older years old", no "1 years of school", no "you are never married" or "you pray never"."""
    for statement in facts.filter(scale="numeric")["statement"].unique():
        assert not re.search(r"\{answer\} ?\w", statement), statement
    texts = crosswalk.options.join(facts.select("codebook", "column", "statement"), on=["codebook", "column"])
    never = texts.filter(pl.col("text").str.starts_with("never")).select("statement", "text").unique()
    assert never.height > 5
    for statement, text in never.rows():
        assert re.search(r"\byou \{answer\}|: \{answer\}|\"\{answer\}\"", statement, re.IGNORECASE), (statement, text)


def test_questions_can_be_understood_without_the_interview(facts):
    """Whoever is asked without a persona must know whose country, money and people are meant."""
    for question in facts["question"].unique():
        assert question is not None
        assert not re.search(r"\b(we|our|us|this country)\b", question), question


def test_the_third_person_reaches_the_answers_of_every_style(crosswalk):
    """To the model, "you" is itself: a list that says "you have doubts" of a user would speak of the model."""
    options = crosswalk.options.filter(pl.col("text").str.contains(r"\byour?\b"))
    assert options.height > 20
    trait = pl.struct(
        pl.lit("belief").alias("domain"),
        "column",
        pl.col("column").alias("label"),
        pl.col("text").alias("answer"),
        pl.format("You say: {}.", "text").alias("statement"),
    )
    told = options.select(pl.concat_list(trait).alias("traits"))
    for style in personas.STYLES:
        for framing in ("user_is", "third_person"):
            lines = personas.render(told, style=style, framing=framing).str.replace(r"^.*?(?:with:|person:|them\.)", "")
            assert not lines.str.contains(r"\b[Yy]ou(r|rs|rself)?\b").any(), (style, framing)


def test_no_word_holds_a_separator(crosswalk, facts):
    for text in [*crosswalk.options["text"].unique(), *facts["label"].unique()]:
        assert not re.search(r"\n| \| ", text), text


def test_points_are_short_among_options(crosswalk):
    texts = crosswalk.options.select(as_option(pl.col("text")).alias("text"))["text"]
    assert not texts.str.contains("on a scale from").any()


def test_a_child_quality_that_was_not_picked_was_not_picked_and_no_more(crosswalk, facts):
    """The reference made of it that children "should not be pushed to learn" it, of neighbours "comfortable with"."""
    picks = facts.filter(
        pl.col("concept").str.contains("^(child|neighbour)_")
        & pl.col("codebook").is_in(["wvs7", "joint", "evs2017", "wvs_ts"])
    )
    assert picks.height > 10
    texts = crosswalk.options.join(picks.select("codebook", "column", "statement"), on=["codebook", "column"])
    denials = texts.filter(pl.col("value").is_in(["not_mentioned", "not_mention", "no", "0"]))
    assert denials.height > 10
    for statement, text in denials.select("statement", "text").unique().rows():
        said = statement.replace("{answer}", text).lower()
        assert re.search(r"\bnot? \b|\bdid not\b|\bnot mention", said), said
        assert not re.search(r"should not|comfortable|fine with|do not mind|should be discouraged", said), said


def test_members_of_a_one_choice_battery_hide_each_other(crosswalk, facts):
    """Who picked five of eleven qualities tells much of the sixth."""
    members = crosswalk.batteries.filter("one_choice").join(facts, on=["codebook", "column"], how="inner")
    assert members.height > 20
    for (_, battery), part in members.partition_by("codebook", "battery", as_dict=True).items():
        groups = [set(reveals) for reveals in part["reveals"].to_list()]
        assert set.intersection(*groups), battery
