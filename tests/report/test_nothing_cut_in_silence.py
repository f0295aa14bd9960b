"""What the page leaves out for its length, or cannot show, it names or counts."""

from datetime import UTC, datetime

import polars as pl

from mpta_pipeline import report
from mpta_pipeline.core import tables
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.report.sections.power import SHOWN


def _power(task: str, detectable: float) -> dict[str, object]:
    known = {
        "task": task, "survey": "gss", "what": "subgroup gap", "dimensions": "sex", "subgroup": "female",
        "people": 1.0, "questions": 1.0, "detectable": detectable,
    }  # fmt: skip
    filled = {pl.String: "x", pl.Int64: 9, pl.Float64: 0.5, pl.Boolean: False}
    return {name: known.get(name, filled.get(type(dtype))) for name, dtype in tables.POWER.schema.items()}


def _page(rows: list[dict[str, object]]) -> str:
    frame = tables.POWER.conform(pl.DataFrame(rows, schema=tables.POWER.schema))
    study = Study(name="s", tasks={"t": TaskConfig(kind="value_alignment")})
    made = datetime(2026, 1, 1, tzinfo=UTC)
    return report.render_report({"power": frame}, study=study, metrics={}, title="t", generated=made)


def test_tasks_beyond_the_curves_that_are_shown_are_counted():
    page = _page([_power(f"task_{i}", 0.2) for i in range(SHOWN + 3)])
    assert "The curves of 3 more are in the warehouse, table <code>power</code>." in page
    assert "would not be found for" not in page


def test_a_task_that_could_find_nothing_is_named():
    page = _page([_power("strong", 0.2), _power("weak", 1.4)])
    assert "Even a difference of 100 points would not be found for: weak" in page
    assert "more are in the warehouse" not in page


def test_where_no_task_could_find_anything_the_section_says_why():
    more = _power("weak", 0.3) | {"people": 4.0}
    page = _page([_power("weak", 0.3) | {"detectable": None}, more, _power("hopeless", 1.4)])
    assert "No task of this study would find even a difference of 100 points." in page
    assert (
        "weak · gss (9 people, 9 batteries; with 4 times the people, a subgroup gap of 30.0 points would be found)"
        in page
    )
    assert "hopeless · gss (9 people, 9 batteries)" in page
    assert "computed from its panel and questions" in page and "would not be found for:" not in page


def test_more_questions_that_find_less_are_explained():
    rows = [_power("t", 0.4) | {"what": "pocket", "questions": q, "n_clusters": n, "detectable": d}
            for q, n, d in ((1.0, 4, 0.672), (2.0, 8, 0.716))]  # fmt: skip
    assert "From 8 batteries of questions on, a pocket must be confirmed on other questions" in _page(rows)
    assert "From 8 batteries" not in _page([rows[0], rows[1] | {"detectable": 0.5}])
