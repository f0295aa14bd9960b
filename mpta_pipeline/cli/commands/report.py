"""`mpta report`: publish warehouse and report again."""

from __future__ import annotations

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result
from mpta_pipeline.core.errors import ConfigError


@command(Group.STUDY, examples=["mpta report", "mpta report --json  # the paths of report and warehouse"])
def report() -> Result:
    """Publish the warehouse and the report again from the stored estimates. Sends no request to any model."""
    from mpta_pipeline.cli.pipeline_run import publish
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.pipeline.stored import made

    deployment = Deployment.from_env()
    if made(deployment, Node("model_comparison")) is None:
        raise ConfigError(
            "There are no estimates yet",
            file=deployment.layout.store,
            remedy="`mpta run` computes them, and writes the report at its end",
        )
    return publish(deployment)
