"""Protects batteries asked in one request: one text for all statements, and the right line of the reply for each."""

import polars as pl
import pytest

from mpta_pipeline import tasks
from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.tasks.batteries import ASK, answer_lines, listed
from tests.factories.task_tables import answered
from tests.tasks.test_questionnaire import YAML, asked, built, file  # noqa: F401


@pytest.fixture(scope="module")
def battery(tmp_path_factory):
    path = tmp_path_factory.mktemp("battery") / "survey.yaml"
    path.write_text(YAML)
    return asked(path, questions="unmatched", asked="battery")


def test_a_battery_is_one_request(battery):
    items, _, prompts, _ = battery
    assert dict(items.drop_nulls("line").select("item_id", "line").iter_rows()) == {"fast": 1, "cheap": 2}
    both = prompts.filter(pl.col("line").is_not_null() & (pl.col("condition") == "persona"))
    women = both.group_by("respondent_id", "order_id").agg(pl.len(), pl.col("content_hash").n_unique().alias("sent"))
    assert set(women["sent"]) == {1} and 2 in set(women["len"]), "both statements in one request"
    assert set(both["elicitation"]) == {"free_text"} and set(prompts.filter(item_id="rider")["elicitation"]) == {
        "letter"
    }
    user = both.filter(order_id=0)["user"][0]
    assert user == (
        "Do you agree about the train?\n1. It is fast.\n2. It is cheap.\n"
        "Options:\nA) agree\nB) neither\nC) disagree\nD) don't know\n" + ASK
    )
    reversed_ = both.filter(order_id=1)["user"][0]
    assert "A) disagree\nB) neither\nC) agree\nD) don't know" in reversed_
    assert prompts["prompt_id"].is_unique().all()


def test_each_statement_has_its_own_line_of_the_reply(battery):
    items, _, prompts, _ = battery
    scores = tasks.score(prompts, items, answered(prompts, "1: A\n2: C"))
    forward = scores.filter(pl.col("order_id") == 0)
    assert set(forward.filter(item_id="fast")["pred_idx"]) == {0} and set(
        forward.filter(item_id="cheap")["pred_idx"]
    ) == {2}
    backward = scores.filter(pl.col("order_id") == 1)
    assert set(backward.filter(item_id="fast")["pred_idx"]) == {2} and set(
        backward.filter(item_id="cheap")["pred_idx"]
    ) == {0}


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("1: A\n2: B", ("ok", 0), ("ok", 1)),
        ("1. A) agree\n2. (b) neither", ("ok", 0), ("ok", 1)),
        ('{"1": "A", "2": "B"}', ("ok", 0), ("ok", 1)),
        ("**1**: **A**\n**2**: **B**", ("ok", 0), ("ok", 1)),
        ("Statement 1 - A\nStatement 2 - B", ("ok", 0), ("ok", 1)),
        ("<think>1: C or 2: C?</think>\n1) A\n2) B", ("ok", 0), ("ok", 1)),
        ("1: A", ("ok", 0), ("unparsed", None)),
        ("A", ("unparsed", None), ("unparsed", None)),
        ("12: B\n1: A", ("ok", 0), ("unparsed", None)),
        ("I'm sorry, but I can't answer that.", ("refused", None), ("refused", None)),
        ("1: A or B\n2: B", ("unparsed", None), ("ok", 1)),
    ],
)
def test_replies(battery, text, first, second):
    items, _, prompts, _ = battery
    mine = prompts.filter(pl.col("line").is_not_null() & (pl.col("order_id") == 0) & (pl.col("condition") == "persona"))
    scores = tasks.score(mine, items, answered(mine, text))
    found = {name: (s, p) for name, s, p in scores.select("item_id", "status", "pred_idx").iter_rows()}
    assert (found["fast"], found["cheap"]) == (first, second)


SPENDING = """\
blocks:
  - name: money
    questions:
      - battery: spending
        stem: "Does the government spend too little or too much on this?"
        scale: {options: [too little, about the right amount, too much], ordinal: true}
        statements:
          - {id: health, text: "Health", column: spend_health}
          - {id: parks, text: "Parks", column: spend_parks}
"""


def test_a_persona_hides_what_any_statement_of_the_battery_asks(tmp_path):
    """Otherwise the statements would differ in the persona's text, and be sent one by one."""
    path = tmp_path / "survey.yaml"
    path.write_text(SPENDING)
    _, gold, prompts, _ = asked(path, asked="battery")
    assert gold.height and prompts["gold_idx"].null_count() == 0
    own = prompts.filter(condition="persona")
    assert own.group_by("respondent_id", "order_id").agg(pl.col("content_hash").n_unique())["content_hash"].max() == 1
    hidden = own["masked"].explode().unique().to_list()
    assert {"spend_health_alpha", "spend_parks_alpha"} <= set(hidden)


def test_a_list_is_recognized_before_the_prompts_are_at_hand():
    """Inference judges early replies by their text: lists of a battery count as readable."""
    texts = ["1: A\n2: B", '{"1": "A"}', "**1**. B", "A", "11: B", None]
    frame = pl.DataFrame({"e": ["free_text"] * 6 + ["letter"], "t": [*texts, "1: A"]})
    assert frame.select(listed(pl.col("e"), pl.col("t"))).to_series().to_list() == [1, 1, 1, None, None, None, None]


def test_other_replies_are_left_alone():
    frame = pl.DataFrame({"text": ["1: A", None], "line": [None, None]}, schema_overrides={"line": pl.Int64})
    assert answer_lines(frame)["text"].to_list() == ["1: A", None]


def test_what_is_not_supported_is_refused(file):  # noqa: F811
    for options, names in (
        ({"asked": "talk"}, "conversation (one after the other, and the model sees its earlier answers)"),
        ({"randomize": ["blocks"]}, "no effect where each question is asked alone"),
        ({"asked": "battery", "max_orders": 1}, "different orders"),
    ):
        with pytest.raises(TaskError) as raised:
            built(file, questions="unmatched", **options)
        assert names in str(raised.value)
    gaps = tasks.Gaps()
    built(file, gaps, questions="unmatched", asked="battery")
    assert any(note.startswith("condition of a statement (1)") and note.endswith("cheap") for note in gaps.not_used)
