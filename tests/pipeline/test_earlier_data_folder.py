"""A data folder of version 0.1, whose files name the codebook `dialect`, is taken over without a request."""

import json
from dataclasses import replace

import pytest

from mpta_pipeline.core import tables
from mpta_pipeline.core.provenance import read_record, read_table, rewrite
from mpta_pipeline.core.storage import listed
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import stacked
from tests.plain_run import bring_up_to_date


@pytest.mark.usefixtures("finished")
def test_a_folder_of_the_version_before_is_rebuilt_without_a_request(world, server):
    deployment = Deployment.from_env()
    estimates, calls = stacked(deployment, "subgroup_metrics"), server.calls
    for path in listed(deployment.layout.raw, "*/*/release.json"):
        release = json.loads(path.read_text())
        new = ("codebook", "checksum", "checksums", "record")
        kept = {key: value for key, value in release.items() if key not in new}
        path.write_text(json.dumps(kept | {"dialect": release["codebook"]}))
    for pattern in ("tables/waves/*.parquet", "harmonized/*.parquet"):
        for path in listed(deployment.layout.store, pattern):
            record = replace(read_record(path), parents={"code": "of version 0.1"})
            rewrite(read_table(path).rename({"codebook": "dialect"}), path, record)
    again, _ = bring_up_to_date()
    assert server.calls == calls, "nothing was asked again"
    assert stacked(again, "subgroup_metrics").equals(estimates)
    assert again.waves().columns[: len(tables.WAVES.schema)] == list(tables.WAVES.schema)
