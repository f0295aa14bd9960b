"""`mpta models --probe`."""

import dagster as dg
import pytest

from tests.cli.command_line import mpta
from tests.factories.deployment import model


@pytest.mark.usefixtures("finished")
def test_models_are_probed_and_the_ui_shows_what_was_found(world, server):
    assert mpta(world, "run", "--until", "prompts").returncode == 0
    done = mpta(world, "models", "--probe")
    assert done.returncode == 0, done.stderr
    for words in (
        "letters",
        "candidates",
        "whole options",
        "thinking",
        "structured",
        "context",
        "price",
        "speed",
        "sent",
    ):
        assert words in done.stdout
    with dg.DagsterInstance.from_config(str(world.config)) as instance:
        records = instance.fetch_observations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey("model_card"), asset_partitions=["loopback"]), limit=1
        ).records
        assert "probe: letters" in records[0].asset_observation.metadata
    world.models({"down": model("http://127.0.0.1:9/v1")})
    down = mpta(world, "models", "--probe")
    assert down.returncode == 1
    assert "no connection" in down.stdout
