"""Protects the section that sets published figures beside the study's own: which, how far, what is absent."""

from __future__ import annotations

import polars as pl
import pytest

from mpta_pipeline import report
from mpta_pipeline.core.labels import Labels
from mpta_pipeline.core.published_figures import PublishedStudy
from tests.factories import stored_study as fab
from tests.report.test_report import METRICS, NASTY, NOW, Page, estimates, frames, study

# What `estimates()` has of task values, metric accuracy: .34 [.28, .4], effect .012 [-.03, .05], chance 1/3.
OWN = {"task": "values", "metric": "accuracy"}


def figure(name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "source": "Table 2", "ours": OWN} | fields


def published(*figures: dict[str, object], **fields: object) -> PublishedStudy:
    about = {"title": "A study", "citation": "Doe 2026", "address": "https://example.org/paper"}
    return PublishedStudy.model_validate(about | {"figures": figures} | fields)


def told(*figures: dict[str, object], **changes: pl.DataFrame) -> list[dict[str, object]]:
    """The rows of the comparison, as the record of the report keeps them."""
    screen = report.first_screen(
        frames() | changes, study=study(), metrics=METRICS, labels=Labels(), published=published(*figures)
    )
    return screen.told["published"]


def page(value: PublishedStudy, **changes: pl.DataFrame) -> str:
    return report.render_report(
        frames() | changes, study=study(), metrics=METRICS, title="Study", generated=NOW, published=value
    )


@pytest.mark.parametrize(
    ("selection", "value", "difference", "ends"),
    [
        ({}, 0.34, 0.04, (0.28, 0.4)),
        ({"value": "effect"}, 0.012, -0.288, (-0.03, 0.05)),
        ({"baseline": "chance"}, 1 / 3, 1 / 3 - 0.3, (None, None)),
        ({"condition": "no_persona"}, 0.33, 0.03, (0.28, 0.4)),
        ({"dimensions": "sex", "subgroup": "female"}, 0.31, 0.01, (0.28, 0.4)),
        ({"metric": "tv", "baseline": "sampling_floor"}, 0.08, -0.22, (None, None)),
    ],
)
def test_the_selected_estimate_is_compared(selection, value, difference, ends):
    (row,) = told(figure("f", value=0.3, ours=OWN | selection))
    assert row["estimate"] == pytest.approx(value) and row["difference"] == pytest.approx(difference)
    assert (row["ci_low"], row["ci_high"]) == ends
    assert row["model"] == "org/always-a" and row["estimate_id"].startswith("f_") and not row["why"]


@pytest.mark.parametrize(
    ("selection", "why"),
    [
        ({"task": "nothing"}, "study.yaml has no task nothing"),
        ({"metric": "qwk"}, "no estimate of metric qwk in task values; there are: accuracy, accuracy_range"),
        ({"condition": "placebo"}, "no estimate of condition placebo in task values; there are: demographics_only"),
        ({"dimensions": "race"}, "no estimate of dimension race"),
        ({"dimensions": "sex", "subgroup": "other"}, "no estimate of subgroup other"),
        ({"baseline": "ceiling"}, "no baseline ceiling; there are: chance, item_mode"),
        ({"condition": "no_persona", "value": "effect"}, "no answers without a persona to compare with"),
    ],
)
def test_a_selection_without_an_estimate_says_what_is_absent(selection, why):
    (row,) = told(figure("f", value=0.3, ours=OWN | selection))
    assert why in row["why"]
    assert row["estimate"] is None and row["difference"] is None
    assert why.split(";")[0] in row["shown"]["estimate"]


def test_a_task_that_was_not_run_is_said():
    left = estimates().filter(pl.col("task") != "myths")
    (row,) = told(figure("f", ours=OWN | {"task": "myths"}), subgroup_metrics=left)
    assert "task myths has no estimates: it was not run, or its item file is absent" in row["why"]


def test_each_model_and_survey_has_a_row_and_controls_come_last():
    more = fab.estimates(
        fab.estimate(model="a control", estimate=0.9), fab.estimate(model="b", survey="gss", estimate=0.5)
    )
    models = pl.DataFrame({"model": ["a control", "b"], "control": [True, False]})
    rows = told(figure("f", value=0.3), subgroup_metrics=pl.concat([estimates(), more]), models=models)
    assert [(r["model"], r["survey"], r["control"]) for r in rows] == [
        ("b", "gss", False),
        ("org/always-a", "gss_extract", False),
        ("a control", "gss_extract", True),
    ]


def test_a_weighted_estimate_is_preferred_as_everywhere_in_the_report():
    more = fab.estimates(fab.estimate(model="w", estimate=0.5), fab.estimate(model="w", estimate=0.6, weighted=True))
    rows = told(figure("f"), subgroup_metrics=pl.concat([estimates(), more]))
    assert [r["estimate"] for r in rows if r["model"] == "w"] == [0.6]


def test_the_reading_follows_the_tolerance_or_else_our_interval():
    rows = told(
        figure("a", value=0.3, tolerance=0.05), figure("b", value=0.3, tolerance=0.03), figure("c", value=0.3),
        figure("d", value=0.5), figure("e"), figure("f", value=0.3, ours=OWN | {"baseline": "chance"}),
    )  # fmt: skip
    assert [row["verdict"] for row in rows] == [
        "within the tolerance",
        "beyond the tolerance",
        "published value within our interval",
        "published value outside our interval",
        "",
        "",
    ]


def test_the_page_shows_published_ours_and_difference_and_what_is_not_at_hand():
    html = page(
        published(
            figure("Share right", of="GPT-9", value=0.3, se=0.02, note="Other people"),
            figure("Looked up by nobody"),
            figure("In words", claim="No clear improvement", ours=OWN | {"value": "effect"}),
            figure("Incomparable", value=0.5069, ours=None),
            figure("Gone", value=0.1, ours=OWN | {"metric": "qwk"}),
        )
    )
    part = html[html.index('<h2 id="published">') : html.index('<h2 id="', html.index('<h2 id="published">') + 5)]
    assert '<a href="#published">Published and ours</a>' in html
    assert "Share right · GPT-9: published 30.0 % (standard error 2.0 %)" in part and "Table 2. Other people" in part
    assert "34.0 %" in part and "[28.0, 40.0]" in part and "+4.0" in part
    assert "published not at hand" in part and "published No clear improvement" in part
    assert "Nothing of ours: no estimate of this study is comparable." in part
    assert "+1.2 points" in part and "[−3.0, +5.0]" in part, "an effect is in signed points"
    assert "Nothing of ours: no estimate of metric qwk in task values" in part
    Page(html)


def test_absent_files_and_the_design_are_named_and_text_is_escaped():
    files = [
        {"survey": "gss_extract", "file": "here.sav", "address": "x"},
        {"survey": "evs2017", "wave": "evs-2017", "file": "WVS.csv", "address": "the WVS", "note": "Fewer countries"},
        {"task": "values", "file": "there.csv", "address": "x"},
        {"task": "myths", "file": "TruthfulQA.csv", "address": "its authors"},  # sample items stand in for it
    ]
    rows = [{"what": "People", "published": NASTY, "here": "GSS", "why": "Free"}]
    html = page(published(figure("f"), files=files, design=rows))
    assert "WVS.csv, from the WVS. Fewer countries" in html and "TruthfulQA.csv, from its authors" in html
    assert "here.sav" not in html and "there.csv" not in html
    assert NASTY not in html and "&lt;script&gt;" in html
    Page(html)


def test_a_study_without_a_published_one_has_no_section():
    html = report.render_report(frames(), study=study(), metrics=METRICS, title="Study", generated=NOW)
    assert "Published and ours" not in html
