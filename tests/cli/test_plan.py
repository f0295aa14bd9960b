"""`mpta plan` says how small a difference the study can find."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from tests.factories.deployment import STUDY


@pytest.mark.usefixtures("finished")
def test_the_plan_says_what_would_be_found(world):
    done = CliRunner().invoke(cli.app, ["plan"])
    assert done.exit_code == 0, done.output
    assert "would find with 80 % power" in done.output
    found = json.loads(CliRunner().invoke(cli.app, ["plan", "--json"]).output)["detectable"]
    assert {row["task"] for row in found} <= set(STUDY["tasks"])
    assert all(0 < row["smallest"] <= row["detectable"] <= row["largest"] for row in found) and found
