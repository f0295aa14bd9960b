"""`mpta plan`: total, per task, dollars, minutes, and how small a gap the design can find."""

import json

import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.metrics.statistics.power import detectable, effective
from tests.factories.deployment import model

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
    assert "Total: " in said and "US$" in said and "about 1 min." in said and "Per task" in said
    assert server.calls == before


def test_the_smallest_gap_follows_from_panel_questions_and_groups(world):
    told = json.loads(CliRunner().invoke(cli.app, ["plan", "--json"]).stdout)
    (row,) = [row for row in told["detectable"] if row["task"] == "value_alignment"]
    # 12 personas, 2 questions each, two groups by sex of at least 5 people.
    assert (row["people"], row["questions"], row["groups"]) == (12, 2.0, 2)
    n = row["group_size"]
    ends = (effective(k, 2.0, weights=row["weights"]) for k in (n, 12 - n))
    assert row["gap"] == detectable(*ends, level=0.05 / 2)
    said = CliRunner().invoke(cli.app, ["plan"]).output
    assert "How small a gap can be found" in said and "80 % power" in said
