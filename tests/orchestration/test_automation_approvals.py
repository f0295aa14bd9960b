"""A model that costs money under the daemon: it waits for an approval, shows its price, and goes on once approved."""

import dagster as dg
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.core.storage import Layout
from tests.factories.deployment import model
from tests.orchestration.ticks import partitions

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("filled")
def test_a_model_with_a_price_waits_shows_its_price_and_is_asked_once_it_is_approved(daemon, world, server):
    calls = server.calls
    paid = model(server.url) | {"model": "paid", "price": {"input": 100.0, "output": 100.0}}
    world.models({"loopback": model(server.url), "paid": paid})
    daemon.settle()
    assert server.calls == calls, "nobody is asked anything"
    layout = Layout.from_env()
    assert not layout.table("responses", "paid", "value_alignment").exists()
    assert layout.report.exists()
    card = daemon.instance.get_latest_materialization_event(dg.AssetKey("model_card")).asset_materialization
    assert card.partition == "paid"
    assert "mpta approve paid" in card.metadata["waits for an approval"].value
    assert "100 US$" in card.metadata["waits for an approval"].value
    observed = daemon.instance.fetch_observations(dg.AssetKey("responses"), limit=10).records
    shown = {record.asset_observation.partition: record.asset_observation.metadata for record in observed}
    assert set(shown) == {"paid|value_alignment", "paid|sample_myths"}
    assert all(metadata["price that waits (US$)"].value > 0 for metadata in shown.values())
    assert daemon.settle() == [], "it is not tried again and again"
    done = CliRunner().invoke(cli.app, ["approve", "paid"])
    assert done.exit_code == 0, done.output
    ran = daemon.settle()
    assert not daemon.failed
    assert set(partitions(ran, "responses")) == {"paid|value_alignment", "paid|sample_myths"}
    assert server.by_model["paid"] > 0 and max(server.asked.values()) == 1
    assert layout.table("subgroup_metrics", "paid", "value_alignment").exists()
    assert "paid" in layout.report.read_text()
