"""Transcripts, the persona beside its controls, trust, sources: what they say, and what they must not show."""

from __future__ import annotations

import html as markup
import re
from datetime import UTC, datetime
from typing import Any

import polars as pl

from mpta_pipeline import metrics, report
from mpta_pipeline.core import tables
from mpta_pipeline.core.study import Study
from tests.factories import planted_study as planted
from tests.factories import stored_study as fab
from tests.report.test_report import METRICS, frames, study

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def section(html: str, name: str) -> str:
    part = html.split(f'<h2 id="{name}"')[1].split("<h2", maxsplit=1)[0]
    return re.sub(r"\s+", " ", markup.unescape(re.sub(r"<svg.*?</svg>|<[^>]+>", " ", part, flags=re.S)))


def page(changes: dict[str, pl.DataFrame], of: Study | None = None, **options: Any) -> str:
    return report.render_report(
        frames() | changes, study=of or study(), metrics=METRICS, title="t", generated=NOW, **options
    )


def planted_page(changes: dict[str, pl.DataFrame]) -> str:
    return report.render_report(
        planted.frames(1) | changes, study=planted.study(), metrics=metrics.METRICS, title="t", generated=NOW,
        labels=planted.LABELS,
    )  # fmt: skip


def test_transcripts_show_a_refusal_and_an_answer_to_the_same_question() -> None:
    said = section(planted_page({}), "transcripts")
    refusal = said[said.index("Black people: 32 % refused") :]
    assert "Reply : refused I cannot answer <b>that</b>." in refusal.replace("Reply: ", "Reply : ")
    asked = re.findall(r"Question (i\d\d)\?", refusal)
    assert asked[0] == asked[1]
    assert "Where it shows" in refusal and "Where it does not" in refusal


def test_transcripts_keep_to_the_policy_of_today() -> None:
    """The prompts were made while the policy allowed it; the personas carry today's."""
    closed = planted.frames(1)["personas"].with_columns(pl.lit("local_only").alias("data_use"))
    html = planted_page({"personas": closed})
    assert "You are r_" not in html
    assert "keeps its personas on the machine that holds the data" in section(html, "transcripts")
    assert planted.frames(1)["prompts"]["data_use"].unique().to_list() == ["any"]


def test_only_the_texts_of_chosen_prompts_are_asked_for() -> None:
    wanted = report.shown_prompts(
        planted.frames(1), study=planted.study(), metrics=metrics.METRICS, labels=planted.LABELS
    )
    assert 4 <= len(wanted) <= 8


def effect(condition: str, value: float, q: float = 0.001) -> dict[str, object]:
    return fab.estimate(
        condition=condition, estimate=0.5 + value, effect=value, effect_se=0.01, effect_low=value - 0.02,
        effect_high=value + 0.02, p_value=q, q_value=q, mde=0.03,
    )  # fmt: skip


def test_the_effect_of_the_persona_is_weighed_against_its_controls() -> None:
    rows = [effect("persona", 0.098), effect("demographics_only", 0.086), effect("placebo", 0.01)]
    rows += [fab.estimate(condition="no_persona", estimate=0.5)]
    contrast = {"ci_low": -0.005, "ci_high": 0.03}
    rows += [fab.estimate(metric="effect_vs_demographics_only", estimate=0.012, **contrast)]
    rows += [fab.estimate(metric="effect_vs_placebo", estimate=0.088, ci_low=0.05, ci_high=0.12)]
    rows += [fab.estimate(metric="flip_rate", estimate=0.3), fab.estimate(metric="paraphrase_flip_rate", estimate=0.2)]
    said = section(page({"subgroup_metrics": fab.estimates(*rows)}), "persona")
    assert (
        "showing the persona helps by 9.8 points, of which 8.6 come with demographics alone; that the other traits "
        "add to it could not be shown (+1.2 points [−0.5, +3.0]); neutral text of the same length changes it by +1.0 "
        "points, so that +8.8 points [+5.0, +12.0] are due to this person; the persona changes 30.0 % of the answers, "
        "another wording of it 20.0 %."
    ) in said
    assert "No control was asked" not in said


def test_without_a_control_the_page_says_what_is_missing() -> None:
    rows = [effect("persona", 0.098), fab.estimate(condition="no_persona", estimate=0.5)]
    said = section(page({"subgroup_metrics": fab.estimates(*rows)}), "persona")
    assert "No control was asked: without placebo and shuffled_any" in said


def models(*names: str) -> pl.DataFrame:
    row = dict.fromkeys(tables.MODELS.schema)
    known = {"control": False, "provider": "openai", "provider_name": "big", "revision": "2026-01", "local": False}
    needed = {c.name: "" for c in tables.MODELS.columns if not c.nullable and c.dtype == pl.String}
    return pl.DataFrame([row | needed | known | {"model": name} for name in names], schema=tables.MODELS.schema)


def test_a_model_that_failed_is_named_with_the_reason() -> None:
    notes = {"errors": 12, "error_reasons": "12 × 401 wrong <key>", "stopped": "12 failures in a row"}
    html = page({"models": models("org/always-a", "lost")}, records={"responses": {"lost|values": notes}})
    said = section(html, "replies")
    assert (
        "lost has no estimates: 12 requests failed (12 × 401 wrong <key>); asking stopped: 12 failures in a row" in said
    )
    assert "&lt;key&gt;" in html


def test_a_study_without_a_warning_says_so() -> None:
    assert "No warning:" in section(page({"models": models("org/always-a", fab_model())}), "replies")


def fab_model() -> str:
    return str(frames()["subgroup_metrics"].filter(pl.col("model") != "org/always-a").item(0, "model"))


def test_sources_have_revision_tokens_cost_and_citations_that_cannot_break_out() -> None:
    waves = frames()["waves"].with_columns(pl.lit("A} title, {bad\\").alias("title"))
    usage = {"org/always-a": {"tokens_in": 12_000, "tokens_out": 300, "cost": 1.234, "fingerprint": "big-2026"}}
    html = page({"models": models("org/always-a"), "waves": waves}, usage=usage)
    said = section(html, "sources")
    assert "2026-01" in said and "big-2026" in said and "12 000 · 300" in said and "1.23" in said
    bibtex = markup.unescape(html.split('<pre class="bibtex"><code>')[1].split("</code>")[0])
    assert "@software{mpta_pipeline," in bibtex
    assert "{A title, bad}" in bibtex
    assert bibtex.count("{") == bibtex.count("}")
