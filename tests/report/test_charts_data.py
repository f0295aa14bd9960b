"""What the charts of the page read: every estimate once, weighted if possible, with its baselines, in little room."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import polars as pl
import pytest

from mpta_pipeline.core.study import EstimateRules, Study, TaskConfig
from mpta_pipeline.report import charts_data, render_report
from tests.factories import many_estimates as many
from tests.factories import stored_study as fab
from tests.report.test_report import METRICS, NOW


def packed(estimates: pl.DataFrame, **frames: pl.DataFrame) -> dict[str, Any]:
    """What the page's script would read of these estimates."""
    study = Study(
        name="s",
        tasks={"values": TaskConfig(kind="value_alignment")},
        figures=EstimateRules(dimensions=("sex", "age_band", "sex×age_band", "country")),
    )
    html = render_report(
        {"subgroup_metrics": estimates} | frames, study=study, metrics=METRICS, title="t", generated=NOW
    )
    block = html.split('id="estimates">')[1].partition("<")[0]
    return json.loads(gzip.decompress(base64.b64decode(block)))


def rows(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: column[i] for name, column in data["columns"].items()} for i in range(data["rows"])]


def test_an_estimate_is_one_row_with_its_baselines_interval_and_id() -> None:
    estimate = fab.estimate(dimensions="sex", subgroup="female", verdict="gap", gap=-0.3, gap_q=0.001)
    frame = fab.estimates(
        *(
            estimate | {"baseline": b, "baseline_estimate": v}
            for b, v in (("", None), ("chance", 1 / 3), ("human", 0.9))
        )
    )
    data = packed(frame)
    (row,) = rows(data)
    assert (row["e"], row["l"], row["h"], row["b_chance"], row["b_human"]) == (3400, 600, 600, 3333, 9000)
    assert data["verdicts"][row["flags"] - 1] == "gap"
    assert (row["gap"], row["people"], f"f_{data['ids']}") == (-3000, 40, frame["estimate_id"][0])
    assert data["names"]["group"][row["group"]] == [0, "female", "female"]


def test_the_weighted_estimate_is_shown_where_there_is_one() -> None:
    both = pl.concat([fab.estimates(fab.estimate(weighted=w, estimate=0.5 if w else 0.4)) for w in (True, False)])
    (row,) = rows(packed(both))
    assert (row["e"], row["flags"] & 8) == (5000, 8)


def test_undefined_values_are_null_and_small_cells_are_marked() -> None:
    frame = fab.estimates(
        fab.estimate(estimate=float("nan"), ci_low=None, ci_high=None, n_personas=3),
        fab.estimate(model="other", n_personas=400),
    )
    first, second = rows(packed(frame))
    assert (first["e"], first["l"], first["flags"] & 4, second["flags"] & 4) == (None, None, 4, 0)


def test_estimates_of_a_whole_dimension_are_no_group() -> None:
    frame = fab.estimates(fab.estimate(), fab.estimate(metric="accuracy_range", dimensions="sex"))
    assert [m["key"] for m in packed(frame)["names"]["metric"]] == ["accuracy"]


def test_controls_come_last_and_are_marked() -> None:
    estimates = many.estimates(models=2, tasks=1, n_countries=2, metrics=("accuracy",))
    models = packed(estimates, models=many.model_records(2, ("model-00",)))["names"]["model"]
    assert [(m["key"], m["control"]) for m in models] == [("model-01", False), ("model-00", True)]


def test_a_page_holds_what_readers_ask_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    estimates = many.estimates(models=2, tasks=1, n_countries=5)
    everything = packed(estimates)
    monkeypatch.setattr(charts_data, "ROWS", 120)
    data = packed(estimates)
    assert (data["rows"], data["of"]) == (120, everything["rows"])
    names = data["names"]
    kept = {(names["metric"][r["metric"]]["key"], names["condition"][r["condition"]]["key"]) for r in rows(data)}
    assert ("accuracy", "persona") in kept
    assert ("brier", "demographics_only") not in kept
    dimensions = {names["dimensions"][names["group"][r["group"]][0]]["key"] for r in rows(data)}
    assert {"all", "sex", "age_band", "country"} <= dimensions


def test_an_estimate_takes_little_room() -> None:
    estimates = many.estimates(models=6, tasks=2, n_countries=40)
    data = packed(estimates)
    assert len(charts_data.packed(data)) / data["rows"] < 20
