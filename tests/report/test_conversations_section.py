"""The section of conversations: what was held, where others stopped, and the sentence about the order's effect."""

from datetime import UTC, datetime
from types import SimpleNamespace

import polars as pl

from mpta_pipeline import report
from mpta_pipeline.core import tables
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.metrics.definitions.conversations import METRICS
from mpta_pipeline.report.transcripts import _asked
from tests.factories import stored_study as fab


def scores(**changed) -> pl.DataFrame:
    """Three conversations of three questions, of which the last stopped at its second."""
    known = {"model": "m", "task": "values", "survey": "gss_extract", "condition": "persona", "status": "ok"} | changed
    rows = [
        known | {"prompt_id": f"{c}{t}", "conversation": f"c{c}", "turn": t, "status": "error" if c + t == 4 else "ok"}
        for c, t in ((0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 1), (2, 2))
    ]
    return pl.DataFrame(rows, schema=tables.SCORES.schema | {}, infer_schema_length=None)


def page(estimates, frame, notes=None) -> str:
    study = Study(name="s", tasks={"values": TaskConfig(kind="questionnaire")})
    return report.render_report(
        {"subgroup_metrics": fab.estimates(*estimates), "scores": frame},
        study=study,
        metrics={one.name: SimpleNamespace(title=one.label, **vars(one)) for one in METRICS},
        title="t",
        generated=datetime(2026, 1, 1, tzinfo=UTC),
        records={"responses": {"m|values": notes or {}}},
    )


def estimate(metric, value, low, high):
    return fab.estimate(model="m", task="values", metric=metric, estimate=value, ci_low=low, ci_high=high)


def test_what_was_held_and_what_the_order_does():
    rows = [estimate("carry_over", 0.12, 0.05, 0.19), estimate("turn_shift", -0.02, -0.1, 0.06)]
    text = page(rows, scores(), {"not_reached": 4})
    assert 'id="conversations"' in text
    assert "answers are drawn to the answer just before, by 0.120 of the scale." in text
    assert "questions asked later" not in text, "its interval includes 0"
    assert "up to 4 questions were not reached" in text and "after 1 answers (median)" in text
    contrast = page([estimate("carry_over", -0.12, -0.2, -0.05)], scores())
    assert "answers are driven from the answer just before, by 0.120 of the scale." in contrast
    assert "not reached" not in contrast


def test_without_a_random_order_the_page_says_why_there_is_no_effect():
    text = page([estimate("accuracy", 0.5, 0.4, 0.6)], scores())
    assert "No order effect is shown" in text and "randomize: [questions]" in text


def test_no_section_without_conversations():
    assert 'id="conversations"' not in page(
        [], scores(condition="persona").with_columns(conversation=pl.lit(None, pl.String))
    )


def test_a_transcript_names_the_turn():
    assert _asked({"user": "Q?"}) == _asked({"user": "Q?", "turn": None}) == "Q?"
    assert _asked({"user": "Q?", "turn": 3}).startswith("[Question 3 of a conversation")
