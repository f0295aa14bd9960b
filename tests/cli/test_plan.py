"""`mpta plan`: total, per task, dollars, minutes, and how small a difference the study can find."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.cli.commands.plan import _add_jobs
from mpta_pipeline.cli.designs import say_what_sets_the_width
from mpta_pipeline.cli.result import Result
from mpta_pipeline.core.multiverse import NamedFigure
from mpta_pipeline.metrics.multiverse import FigureError
from mpta_pipeline.pipeline import part_jobs
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.multiverse_designs import Candidate, Compared
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


def test_the_plan_says_which_steps_are_cut_into_jobs(world, monkeypatch):
    tasks = ["value_alignment", "sample_myths"]
    said = Result()
    _add_jobs(said, Deployment.from_env(), tasks)
    assert said.facts == {} and said.parts == [], "nothing without a cluster"
    monkeypatch.setenv("MPTA_CLUSTER", "slurm")
    _add_jobs(said, Deployment.from_env(), tasks)
    assert [m.text for m in said.parts] == [
        "No task is so large that its prompts and scores are made by jobs on Slurm."
    ]
    monkeypatch.setattr(part_jobs, "expected_jobs", lambda deployment, node: 5 if node.partition == tasks[0] else 1)
    _add_jobs(said, Deployment.from_env(), tasks)
    assert said.facts["jobs"] == {"value_alignment": 5}
    assert "up to 5 jobs on Slurm make the chunks of its prompts, and of each model's scores." in said.parts[-1].text


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


MULTIVERSE = {
    "tasks": ["value_alignment"],
    "factors": {"style": ["prose", "bullets"], "elicitation": ["letter", "verbalized"]},
    "figures": [{"what": "estimate", "name": "right answers"}, {"what": "effect"}],
}


def test_a_budget_names_the_design_with_the_narrowest_interval(world, server):
    def told(*options):
        done = CliRunner().invoke(cli.app, ["plan", "--json", *options])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    prices = {"loopback": model(server.url) | {"price": {"input": 100.0, "output": 100.0}}}
    world.models(prices)
    world.study(STUDY | {"multiverse": MULTIVERSE})
    assert CliRunner().invoke(cli.app, ["run", "--until", "prompts"]).exit_code == 0
    before = server.calls
    all_of = told("--figure", "right answers")
    designs = {(row["configurations"], row["share"]): row for row in all_of["designs"]}
    assert set(designs) == {(n, share) for n in (4, 2) for share in (1.0, 0.75, 0.5, 0.25)}
    assert all(row["exact"] and row["affordable"] for row in designs.values())
    full = designs[4, 1.0]
    # The design that study.yaml has takes what the plan says, in requests and in dollars.
    assert full["to_send"] == all_of["total"]["requests"]
    assert full["dollars"] == pytest.approx(all_of["total"]["dollars"], rel=1e-3)
    assert sum(row["dollars"] for row in all_of["configurations"]) == pytest.approx(
        all_of["multiverse"]["dollars"], rel=0.05
    )
    assert full["narrowest"] and all_of["design_figure"] == {"figure": "right answers", "measured": False}

    # A budget between two designs: the narrowest that it pays for, and nothing dearer.
    limit = round(designs[4, 0.5]["dollars"] + 0.01, 2)
    chosen = told("--budget", f"{limit}")["designs"]
    assert [row["dollars"] <= limit for row in chosen] == [row["affordable"] for row in chosen]
    (best,) = [row for row in chosen if row["narrowest"]]
    assert best["half_width"] == min(row["half_width"] for row in chosen if row["affordable"])
    said = " ".join(CliRunner().invoke(cli.app, ["plan", "--requests", str(designs[2, 0.5]["to_send"])]).output.split())
    assert "Write design: fractional and runs: 2 under multiverse in study.yaml, and panel_share: 0.5" in said
    assert "configurations differ by 3 points" in said and "of its variance" in said

    # What it says to write takes what it said.
    world.models({"loopback": prices["loopback"] | {"panel_share": 0.5}})
    world.study(STUDY | {"multiverse": MULTIVERSE | {"design": "fractional", "runs": 2}})
    assert CliRunner().invoke(cli.app, ["run", "--until", "prompts"]).exit_code == 0
    now = told("--requests", "1")
    assert now["total"]["requests"] == designs[2, 0.5]["to_send"]
    assert not any(row["affordable"] for row in now["designs"])
    assert not [row for row in now["designs"] if row["configurations"] == 4 and row["exact"]], "not all are built"
    assert server.calls == before


def test_a_budget_without_a_multiverse_or_a_price_says_what_to_do(world):
    done = CliRunner().invoke(cli.app, ["plan", "--budget", "5"])
    assert done.exit_code == 1 and "the study has none" in str(done.exception)
    world.study(STUDY | {"multiverse": MULTIVERSE | {"factors": {"style": ["prose", "bullets"]}}})
    assert (
        "once the prompts of the multiverse are built"
        in CliRunner().invoke(cli.app, ["plan", "--requests", "5"]).output
    )
    assert CliRunner().invoke(cli.app, ["plan", "--figure", "rigth answers"]).exit_code == 1


@pytest.mark.parametrize(
    ("persons", "configurations", "said"),
    [
        (
            0.01,
            0.0001,
            "More configurations hardly narrow the interval (8 instead of 4: by 0.1 %): with 8, 97 % of its ",
        ),
        (0.0001, 0.01, "With 8, 76 % of its variance comes from the configurations. More combinations of levels"),
    ],
)
def test_it_says_when_more_configurations_do_not_help(persons, configurations, said):
    error = FigureError(persons, 0.0, 0.0001, {"style": 0.0004}, {"style": 2}, configurations, 2.0, 50, measured=True)
    sizes = [Candidate("full", None, n, 1.0, n, None, True, (error.half_width(n),)) for n in (8, 4)]
    result = Result()
    say_what_sets_the_width(result, Compared(NamedFigure(what="estimate"), {("t", "m", "s"): error}, sizes))
    assert said in result.parts[0].text
