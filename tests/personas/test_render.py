"""Protects rendering: all styles and framings carry exactly the same traits, and a hidden trait cannot be found."""

import time

import polars as pl
import pytest

from mpta_pipeline import personas
from mpta_pipeline.personas.wording import third_person
from tests.factories.small_survey import CONCEPT_ROWS
from tests.personas.read_back import answers_of, pairs


def templates(framing):
    found = {}
    for codebook in ("alpha", "beta"):
        for name, (_, _, label, _, statement, _, _) in CONCEPT_ROWS.items():
            column = name if name in ("country", "sex", "age") else f"{name}_{codebook}"
            sentence = statement or f"Your {label}: {{answer}}."
            found[column] = sentence if framing == "you_are" else third_person(sentence)
    return found


HEADS = ("You are talking with a user. This is known about them.", "Consider this person.")


@pytest.mark.parametrize("framing", personas.FRAMINGS)
@pytest.mark.parametrize("style", personas.STYLES)
def test_every_style_and_framing_reads_back_to_the_same_traits(frame, style, framing):
    people = frame.sample(40, seed=5)
    masked = ["party_alpha", "views_alpha", "party_beta", "age", "birth_year_alpha"]
    texts = personas.render(people, style=style, framing=framing, masked=masked).to_list()
    for traits, text in zip(people["traits"].to_list(), texts, strict=True):
        shown = [t for t in traits if t["column"] not in masked]
        if style in ("json", "bullets", "oneliner"):
            said = [(label[0].lower() + label[1:], answer) for label, answer in pairs(text, style)]
            assert said == [(t["label"][0].lower() + t["label"][1:], t["answer"]) for t in shown]
        else:
            body = text.removeprefix(HEADS[0]).removeprefix(HEADS[1])
            mine = {c: t for c, t in templates(framing).items() if c in {t["column"] for t in traits}}
            assert answers_of(body, mine) == {t["column"]: t["answer"] for t in shown}


def test_hidden_columns_leave_no_word_behind(frame):
    """Neither label nor sentence of a masked trait is in any style's text."""
    people = frame.filter(survey="alpha").head(30)
    for style in personas.STYLES:
        for traits, text in zip(
            people["traits"].to_list(), personas.render(people, style=style, masked=["views_alpha"]), strict=True
        ):
            hidden = [t for t in traits if t["column"] == "views_alpha"]
            for t in hidden:
                assert t["statement"] not in text
                assert t["label"].lower() not in text.lower()


def test_masks_differ_by_row(frame):
    people = frame.filter(survey="alpha").head(2)
    masked = pl.Series([["sex"], ["age"]])
    first, second = personas.render(people, style="bullets", masked=masked)
    assert "- Sex" not in first
    assert "- Age" in first
    assert "- Sex" in second
    assert "- Age" not in second


def test_conditions(frame):
    people = frame.head(20)
    assert personas.render(people, condition="no_persona").null_count() == 20
    for traits, text in zip(
        people["traits"].to_list(), personas.render(people, style="json", condition="demographics_only"), strict=True
    ):
        assert [k for k, _ in pairs(text, "json")] == [t["label"] for t in traits if t["domain"] == "demographic"]
    for domain in ("demographic", "belief", "value", "attitude"):
        texts = personas.render(people, style="json", condition=f"without_{domain}")
        for traits, text in zip(people["traits"].to_list(), texts, strict=True):
            assert [k for k, _ in pairs(text, "json")] == [t["label"] for t in traits if t["domain"] != domain]


def test_nothing_to_show_is_no_text(frame):
    columns = frame["traits"].explode().struct.field("column").unique().to_list()
    assert personas.render(frame.head(3), masked=columns).null_count() == 3


def test_placebo_is_as_long_and_says_nothing_of_anybody(frame):
    people = frame.head(50)
    texts, neutral = personas.render(people), personas.render(people, condition="placebo")
    off = (texts.str.len_chars().cast(pl.Int64) - neutral.str.len_chars().cast(pl.Int64)).abs()
    assert off.max() <= 45  # half a sentence
    assert not neutral.str.contains(r"\b[Yy]ou\b|United States|Your age").any()


def test_paraphrases_change_the_frame_and_not_the_traits(frame):
    people = frame.head(5)
    texts = [personas.render(people, style="json", paraphrase=i) for i in range(personas.PARAPHRASES)]
    heads = {t[0].split("\n")[0] for t in texts}
    assert len(heads) == personas.PARAPHRASES
    assert len({t[0].split("\n")[1] for t in texts}) == 1


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("You are 43 years old.", "They are 43 years old."),
        ("Your highest degree is none.", "Their highest degree is none."),
        ("You think that people like you have no say.", "They think that people like them have no say."),
        ("When asked, you say yes.", "When asked, they say yes."),
        ("Asked if others trust you, you say no.", "Asked if others trust them, they say no."),
        ("You place yourself at 3.", "They place themselves at 3."),
        ("You say that the choice is yours.", "They say that the choice is theirs."),
        ("Religion is important to you.", "Religion is important to them."),
        ("You never pray before you are asked.", "They never pray before they are asked."),
        ("Young yourselfers are not you.", "Young yourselfers are not them."),
    ],
)
def test_second_person_becomes_third(said, expected):
    assert third_person(said) == expected


def test_a_hundred_thousand_personas_take_seconds(frame):
    """By table operations: a loop over rows would take minutes with 100 traits."""
    many = frame.sample(100_000, with_replacement=True, seed=1)
    start = time.perf_counter()
    texts = personas.render(many, masked=["age"])
    assert texts.null_count() == 0
    assert time.perf_counter() - start < 30


def test_json_survives_any_words(frame):
    """Quotes and backslashes in labels and answers: the object is still valid JSON with the same words."""
    nasty = pl.col("traits").list.eval(
        pl.element().struct.with_fields(
            (pl.element().struct.field("label") + pl.lit(' "quoted" \\ ')).alias("label"),
            (pl.element().struct.field("answer") + pl.lit(' "x"\\n é 中 {}')).alias("answer"),
        )
    )
    people = frame.head(3).with_columns(nasty.alias("traits"))
    for traits, text in zip(people["traits"].to_list(), personas.render(people, style="json"), strict=True):
        assert pairs(text, "json") == [(t["label"], t["answer"]) for t in traits]
