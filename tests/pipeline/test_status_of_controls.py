"""Protects `mpta status` and approvals where a simulated respondent is told what its prompts do not say."""

from __future__ import annotations

import pytest

from mpta_pipeline import inference
from mpta_pipeline.pipeline import status
from mpta_pipeline.pipeline.deployment import Deployment
from tests.factories.deployment import model


@pytest.mark.usefixtures("finished")
def test_what_would_be_sent_is_counted_for_controls_and_parts_of_the_panel(world):
    part = model(world.url) | {"model": "other", "panel_share": 0.3}
    world.models({"loopback": model(world.url), "echo": {"provider": "simulated"}, "part": part})
    planned = {pair.model: plan for pair, plan in status.to_send(Deployment.from_env()) if pair.task == "sample_myths"}
    assert all(isinstance(plan, inference.Plan) for plan in planned.values()), planned
    assert planned["loopback"].calls == 0 < planned["part"].calls < planned["echo"].calls
