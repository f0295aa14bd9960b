"""`mpta plan`: total, per task, dollars, minutes, and how small a difference the study can find."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from tests.factories.deployment import STUDY, model

pytestmark = pytest.mark.usefixtures("finished")


def test_the_total_is_the_sum_of_the_tasks_in_requests_dollars_and_minutes(world, server):
    priced = {"price": {"input": 100.0, "output": 100.0}, "requests_per_minute": 60}
    world.models({name: model(server.url) | priced | {"model": name} for name in ("one", "two")})
    before = server.calls
    told = json.loads(CliRunner().invoke(cli.app, ["plan", "--json"]).stdout)
    rows = told["by_task"]
    assert {(row["model"], row["task"]) for row in rows} == {
        (name, task) for name in ("one", "two") for task in ("value_alignment", "sample_myths")
    }
    for name in ("one", "two"):
        (whole,) = [row for row in told["plan"] if row["model"] == name]
        mine = [row for row in rows if row["model"] == name]
        assert sum(row["to send"] for row in mine) == whole["calls"] > 0
        assert sum(row["dollars"] for row in mine) == pytest.approx(whole["price"], rel=1e-6)
    assert told["total"]["requests"] == sum(row["to send"] for row in rows)
    assert told["total"]["dollars"] == pytest.approx(sum(row["dollars"] for row in rows))
    assert told["total"]["seconds"] == max(row["seconds"] for row in told["plan"]), "models work side by side"
    said = CliRunner().invoke(cli.app, ["plan"]).output
    assert "Total: " in said and "US$" in said and "about 2 min." in said and "Per task" in said
    assert server.calls == before


def test_the_plan_says_what_would_be_found(world):
    done = CliRunner().invoke(cli.app, ["plan"])
    assert done.exit_code == 0, done.output
    assert "would find with 80 % power" in done.output
    found = json.loads(CliRunner().invoke(cli.app, ["plan", "--json"]).output)["detectable"]
    assert {row["task"] for row in found} <= set(STUDY["tasks"])
    assert all(0 < row["smallest"] <= row["detectable"] <= row["largest"] for row in found) and found
    assert "no gap of a subgroup of 5 people" not in done.output and "no gap of a subgroup of 7 people" in done.output


def test_the_plan_says_what_scales_forward_and_reversed_would_save(world):
    """The extract's items are of two options (two requests either way) but one of eleven (two instead of eleven)."""
    task = {"kind": "value_alignment", "options": {"columns": ["religious_activity_gss", "abortion_health_gss"]}}
    world.study(STUDY | {"tasks": {"value_alignment": task}})
    assert CliRunner().invoke(cli.app, ["run", "--until", "prompts"]).exit_code == 0
    (before,) = json.loads(CliRunner().invoke(cli.app, ["plan", "--json"]).output)["orders"]
    assert (before["orders"], before["scale"] < before["cyclic"]) == ("cyclic", True)
    world.study(STUDY | {"tasks": {"value_alignment": task | {"orders": "scale"}}})
    assert CliRunner().invoke(cli.app, ["run", "--until", "prompts"]).exit_code == 0
    told = json.loads(CliRunner().invoke(cli.app, ["plan", "--json"]).output)
    assert told["orders"] == [before | {"orders": "scale"}]
    assert told["plan"][0]["requests"] == before["scale"]
    assert "forward and reversed" in CliRunner().invoke(cli.app, ["plan"]).output


def test_the_plan_lists_the_requests_by_condition_and_framing(world):
    rows = json.loads(CliRunner().invoke(cli.app, ["plan", "--json"]).output)["by_condition"]
    assert {(row["condition"], row["framing"]) for row in rows} == {("persona", "you_are"), ("no_persona", "you_are")}
    assert "by condition and framing" not in CliRunner().invoke(cli.app, ["plan"]).output
    tasks = {"value_alignment": STUDY["tasks"]["value_alignment"]}
    world.study(STUDY | {"framings": ["you_are", "forecast"], "tasks": tasks})
    assert CliRunner().invoke(cli.app, ["run", "--until", "prompts"]).exit_code == 0
    rows = json.loads(CliRunner().invoke(cli.app, ["plan", "--json"]).output)["by_condition"]
    sizes = {(row["condition"], row["framing"]): row["requests"] for row in rows}
    assert sizes["persona", "forecast"] == sizes["persona", "you_are"] > 0
    assert sizes["no_persona", "forecast"] == sizes["no_persona", "you_are"]
    assert "by condition and framing" in CliRunner().invoke(cli.app, ["plan"]).output
