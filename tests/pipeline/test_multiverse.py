"""Protects the multiverse from study.yaml to the report: each prompt asked once, a new level makes only its own."""

import json

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import read, stacked
from tests.factories.deployment import STUDY
from tests.plain_run import bring_up_to_date

TASK = "value_alignment"
FIGURES = [
    {"what": "gap", "dimensions": "sex", "subgroup": "female"},
    {"what": "effect", "name": "persona effect"},
    {"what": "estimate"},
]
MULTIVERSE = {"tasks": [TASK], "figures": FIGURES, "permutations": 99}
OWN = "style-prose~elicitation-letter"


def study(world, **factors):
    """The finished study, looked at under these choices as well."""
    world.study(STUDY | {"multiverse": MULTIVERSE | {"factors": factors}})
    return bring_up_to_date()


def test_a_study_is_asked_in_all_configurations_once_and_shown(world, server, finished):
    before = stacked(Deployment.from_env(), "subgroup_metrics")
    asked = server.calls
    deployment, made = study(world, style=["prose", "bullets"], elicitation=["letter", "verbalized"])
    assert [node for node in made if node.startswith(("prompts", "responses", "scores")) and "~" not in node] == []
    now = stacked(deployment, "subgroup_metrics")
    assert now.equals(before), "the study's own figures stay as they are"
    configurations = read(deployment, "configurations", "")
    by_name = {row["configuration"]: row for row in configurations.iter_rows(named=True)}
    assert len(by_name) == 4 and by_name[OWN]["new_requests"] == 0 < by_name[OWN]["requests"]
    assert server.calls - asked == configurations["new_requests"].sum()
    # Without a persona, a style says nothing: those requests are shared.
    bullets = by_name["style-bullets~elicitation-letter"]
    assert 0 < bullets["new_requests"] < bullets["requests"] == by_name[OWN]["requests"]

    # The configuration that the study itself is has the study's own figures.
    own = now.filter(task=TASK, metric="accuracy", condition="persona", baseline="", weighted=False)
    everyone = own.filter(dimensions="all").row(0, named=True)
    curve = read(deployment, "specification_curve", "")
    assert curve.height == 3 * 4
    there = {row["figure"]: row for row in curve.filter(configuration=OWN).iter_rows(named=True)}
    women = own.filter(dimensions="sex", subgroup="female").row(0, named=True)
    assert there["gap in accuracy, female"]["estimate"] == pytest.approx(women["gap"])
    assert there["persona effect"]["estimate"] == pytest.approx(everyone["effect"])
    assert there["persona effect"]["ci_low"] == pytest.approx(everyone["effect_low"])
    assert there["accuracy"]["ci_high"] == pytest.approx(everyone["ci_high"])

    with duckdb.connect(str(world.data / "warehouse.duckdb"), read_only=True) as warehouse:
        found = warehouse.sql("select figure, n_configurations, p_median from multiverse_findings").fetchall()
        tasks = warehouse.sql("select distinct task from subgroup_metrics").fetchall()
    assert {row[:2] for row in found} == {("accuracy", 4), ("gap in accuracy, female", 4), ("persona effect", 4)}
    assert sorted(tasks) == [("sample_myths",), (TASK,)]
    budget = read(deployment, "variance_budget", "")
    assert {"person × question", "style", "elicitation", "residual"} <= set(budget["component"])
    page = (world.data / "report.html").read_text(encoding="utf-8")
    assert "Other defensible choices" in page and page.count('id="multiverse-') == 3
    assert TASK + "~" not in page.partition('id="multiverse"')[0], "no other section shows a configuration"
    plan = json.loads(CliRunner().invoke(cli.app, ["plan", "--json"]).stdout)
    assert plan["multiverse"]["new_requests"] == configurations["new_requests"].sum()
    assert {row["task"] for row in plan["by_task"]} == {TASK, "sample_myths"}

    # Designs are compared by the variances of what was asked: everything that is asked already costs nothing.
    told = json.loads(CliRunner().invoke(cli.app, ["plan", "--json", "--requests", "0"]).stdout)
    assert told["design_figure"] == {"figure": "gap in accuracy, female", "measured": True}
    designs = {(row["configurations"], row["share"]): row for row in told["designs"]}
    assert designs[4, 1.0]["narrowest"] and {row["to_send"] for row in told["designs"]} == {0}
    (of_all,) = designs[4, 1.0]["half_widths"]
    gaps = curve.filter(figure="gap in accuracy, female")
    single = (gaps["ci_high"] - gaps["ci_low"]).max() / 2
    # With half of the persons, at most √2 times as wide: questions and choices stay.
    assert 0 < of_all["half_width"] < designs[4, 0.5]["half_width"] <= 2**0.5 * of_all["half_width"] + 1e-9
    assert of_all["half_width"] < 1.5 * single

    # A further level, and a temperature: only what is new is made and asked.
    calls = server.calls
    _, made = study(world, style=["prose", "bullets", "json"], elicitation=["letter", "verbalized"])
    of_level = [node for node in made if node.startswith(("prompts", "responses", "scores"))]
    assert len(of_level) == 3 * 2 and all("style-json" in node for node in of_level)
    assert server.calls > calls
    assert bring_up_to_date()[1] == []


def test_a_model_at_another_temperature_is_asked_the_multiverse_alone(world, server, finished):
    """No factor changes a prompt: the study's own task would have become the configuration's, and none been asked."""
    before = stacked(Deployment.from_env(), "subgroup_metrics")
    deployment, _ = study(world, temperature=[0.0, 0.7])
    assert stacked(deployment, "subgroup_metrics").equals(before), "the study's own figures stay as they are"
    assert read(deployment, "configurations", "")["configuration"].to_list() == ["temperature-0", "temperature-0.7"]
    hot = "loopback~temperature-0.7"
    assert list(deployment.models) == ["loopback", hot]
    assert deployment.models[hot].parameters == {"temperature": 0.7}
    assert read(deployment, "responses", f"{hot}|{TASK}").is_empty()
    assert read(deployment, "responses", f"{hot}|{TASK}~as_given").height > 0
    assert read(deployment, "models", "")["model"].to_list() == ["loopback", hot]
    new = read(deployment, "configurations", "").select(pl.col("new_requests").sum()).item()
    assert server.by_model["loopback"] == finished.by_model["loopback"] + new
