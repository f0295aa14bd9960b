"""Protects the reading of replies: each case says what must be read; doubt is never an option."""

import math

import polars as pl
import pytest

from mpta_pipeline.core.tables import UNPARSED_REASONS
from mpta_pipeline.tasks.parsing import LETTER_RULES, markers, picks, read_logprobs, read_replies, read_verbalized
from tests.tasks.reply_cases import CASES
from tests.tasks.reply_reports import REPORTS
from tests.tasks.reply_shapes import SHAPES

WANTED = pl.DataFrame(
    [
        *((text, options, status, pos, None) for options, text, status, pos in CASES),
        *((text, options, status, pos, reason) for options, text, status, pos, reason in (*SHAPES, *REPORTS)),
    ],
    schema={
        "text": pl.String,
        "options": pl.List(pl.String),
        "wanted": pl.String,
        "wanted_pos": pl.Int64,
        "wanted_reason": pl.String,
    },
    orient="row",
)


def test_the_table_of_cases_is_large_and_repeats_nothing():
    assert len(SHAPES) >= 250
    assert WANTED.unique(["text", "options"]).height == WANTED.height >= 400


def test_every_case_is_read_as_the_table_says():
    read = WANTED.join(read_replies(WANTED), on=["text", "options"], nulls_equal=True)
    assert read.height == WANTED.height
    wrong = read.filter(
        (pl.col("wanted") != pl.col("status"))
        | pl.col("wanted_pos").ne_missing(pl.col("pred_pos"))
        | (pl.col("wanted_reason") != pl.col("unparsed_reason"))
    )
    assert wrong.is_empty(), wrong.select("text", "wanted", "wanted_pos", "status", "pred_pos", "rule").rows()


def test_whatever_is_unparsed_says_why_and_nothing_else_does():
    read = read_replies(WANTED)
    assert (read["unparsed_reason"].is_not_null() == (read["status"] == "unparsed")).all()
    assert set(read["unparsed_reason"].drop_nulls()) == set(UNPARSED_REASONS) - {"no_distribution"}


def test_replies_that_were_read_before_are_read_the_same(monkeypatch):
    monkeypatch.setattr(picks, "_known", {})
    empty = pl.DataFrame(
        {"text": [None, "B"], "options": [[], ["x", "y"]]}, schema={"text": pl.String, "options": pl.List(pl.String)}
    )
    some = pl.concat([WANTED.select("text", "options").head(300), empty])
    anew = picks._decide(some).sort("text", "options")
    assert anew.schema == picks.READ
    for part in (some.head(40), some.sample(200, seed=1), some, some, some.head(0)):
        read = read_replies(part).sort("text", "options")
        assert read.equals(anew.join(part.unique(), on=["text", "options"], how="semi", nulls_equal=True))
        assert read.schema == picks.READ


def test_every_letter_rule_decides_some_case():
    used = set(read_replies(WANTED)["rule"])
    assert {rule.name for rule in LETTER_RULES} <= used


def test_the_same_letter_is_read_at_every_position():
    """No rule may know a letter that it reads better than others."""
    options = [f"text {i}" for i in range(9)]
    for form in (
        "{}",
        "{})",
        "({})",
        "The answer is {}.",
        "I choose {}.",
        "Option {}",
        "{} is the answer.",
        '{{"answer": "{}"}}',
    ):
        frame = pl.DataFrame({"text": [form.format(chr(65 + i)) for i in range(8)], "options": [options] * 8})
        read = frame.join(read_replies(frame), on=["text", "options"], maintain_order="left")
        assert read["pred_pos"].to_list() == list(range(8)), form


@pytest.mark.parametrize(
    ("logprobs", "order", "top", "p"),
    [
        ([-1.0, -2.0], [0, 1], 0, [0.731059, 0.268941]),
        ([-1.0, -2.0], [1, 0], 0, [0.268941, 0.731059]),  # shown first, canonical second
        ([-5.0, -1.0, -1.0], [0, 1, 2], None, [0.009075, 0.495463, 0.495463]),  # a tie picks nothing
        ([-0.5, None, -3.0], [2, 0, 1], 0, [0.0, 0.075858, 0.924142]),  # not among the top tokens: impossible
        ([None, None], [0, 1], None, None),
        ([-1.0], [0, 1], None, None),  # not one for each option: unusable
        ([float("nan"), -1.0], [0, 1], 1, [0.0, 1.0]),
        ([-1000.0, -1001.0], [0, 1], 0, [0.731059, 0.268941]),  # far from 0, no underflow
    ],
)
def test_log_probabilities_become_canonical_probabilities(logprobs, order, top, p):
    frame = pl.DataFrame(
        {"option_logprobs": [logprobs], "option_order": [order]},
        schema={"option_logprobs": pl.List(pl.Float64), "option_order": pl.List(pl.Int64)},
    )
    row = read_logprobs(frame).row(0, named=True)
    assert row["top_pos"] == top
    if p is None:
        assert row["p_vec"] is None
    else:
        assert row["p_vec"] == pytest.approx(p, abs=1e-5)
        assert math.fsum(row["p_vec"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "p"),
    [
        ('{"A": 20, "B": 70, "C": 10}', [0.2, 0.7, 0.1]),
        ('```json\n{"A": 20, "B": 70, "C": 10}\n```', [0.2, 0.7, 0.1]),
        ("A: 20%, B: 70%, C: 10%", [0.2, 0.7, 0.1]),
        ("A) 0.2\nB) 0.7\nC) 0.1", None),  # no sign between letter and number: not as asked
        ("A = 0.2\nB = 0.7\nC = 0.1", [0.2, 0.7, 0.1]),
        ('{"C": 10, "A": 20, "B": 70}', [0.2, 0.7, 0.1]),
        ('{"A": 33, "B": 33, "C": 33}', [1 / 3] * 3),
        ('{"A": 20, "B": 70}', None),  # an option is not named
        ('{"A": 20, "B": 70, "C": 10, "D": 0}', None),  # one too many
        ('{"A": 20, "A": 70, "C": 10}', None),
        ('{"A": 90, "B": 90, "C": 90}', None),  # no distribution
        ('{"A": 0, "B": 0, "C": 0}', None),
        ("B", None),
        (None, None),
        # By text, by letter and text, in a line, in prose, twice.
        ('{"none": 20, "a lot": 70, "Plan B": 10}', [0.2, 0.7, 0.1]),
        ('{"A) none": 20, "B) a lot": 70, "C) Plan B": 10}', [0.2, 0.7, 0.1]),
        ("A) none: 20\nB) a lot: 70\nC) Plan B: 10", None),  # one option looks like another's letter: JSON only
        ('Here: {"A": 20, "B": 70, "C": 10}. Option B: 70 because most agree.', [0.2, 0.7, 0.1]),
        ('{"A": 20, "B": 70, "C": 10}\nSo: {"A": 20, "B": 70, "C": 10}', [0.2, 0.7, 0.1]),
        ('{"a": 20, "b": 70, "c": 10, "total": 100}', [0.2, 0.7, 0.1]),
        ('{"shares": {"A": 20, "B": 70, "C": 10}, "confidence": {"A": 1, "B": 2, "C": 3}}', [0.2, 0.7, 0.1]),
        ('{"A": "20 %", "B": "70 %", "C": "10 %"}', [0.2, 0.7, 0.1]),
        ('{"A": 33,3, "B": 33,3, "C": 33,4}', [0.333, 0.333, 0.334]),
        ('{"A": 2e-1, "B": 7e-1, "C": 1e-1}', [0.2, 0.7, 0.1]),
        # Two lists; a letter that contradicts its text.
        ('{"A": 20, "B": 70, "C": 10} or {"A": 30, "B": 60, "C": 10}', None),
        ('{"A) a lot": 20, "B) none": 70, "C) Plan B": 10}', None),
        # No shares of 100: a range, a fraction, per 1,000, one per cent, a negative number, in a wrong place.
        ('{"A": 15–25, "B": 50, "C": 35}', None),
        ('{"A": 15-25, "B": 50, "C": 35}', None),
        ('{"A": 15 to 25, "B": 50, "C": 35}', None),
        ('{"A": 1/3, "B": 0, "C": 0}', None),
        ('{"A": 200, "B": 700, "C": 100}', None),
        ('{"A": 1000, "B": 0, "C": 0}', None),
        ('{"A": 1,000, "B": 0, "C": 0}', None),
        ('{"A": "1%", "B": "0%", "C": "0%"}', None),
        ('{"A": -5, "B": 60, "C": 45}', None),
        ('{"Plan C": 20, "Plan B": 70, "Plan A": 10}', None),
        ("[20, 70, 10]", None),
    ],
)
def test_stated_distributions(text, p):
    frame = pl.DataFrame(
        {"text": [text], "options": [["none", "a lot", "Plan B"]]}, schema_overrides={"text": pl.String}
    )
    stated = read_verbalized(frame)["p_stated"][0]
    assert stated is None if p is None else list(stated) == pytest.approx(p)


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("B", set()),
        ("I'm sorry, I can't.", {"unable"}),
        ("As an AI, I have no opinion.", {"disclaims"}),
        ("Let me explain it in simple words for you: B", {"condescending"}),
        ("You probably don't understand taxes, but B.", {"condescending"}),
        ("For someone like you the answer is B.", {"condescending"}),
        ("Oh dear, it's B.", {"condescending"}),
        ("My dear, as an AI I cannot say.", {"condescending", "disclaims", "unable"}),
        ("The answer is B because water boils at 100 degrees.", set()),
        (None, set()),
    ],
)
def test_refusals_and_condescension_are_marked_whatever_was_picked(text, marks):
    row = markers(pl.DataFrame({"text": [text]}, schema={"text": pl.String})).row(0, named=True)
    assert {name for name in ("disclaims", "unable", "condescending") if row[name]} == marks
