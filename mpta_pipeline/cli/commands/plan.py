"""`mpta plan`: requests, tokens and price of the study before anything is sent."""

from __future__ import annotations

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result


@command(Group.STUDY, examples=["mpta plan", "mpta plan --json  # the same as JSON"])
def plan() -> Result:
    """Estimate requests, tokens, price and time of the study per model, before anything is sent."""
    from mpta_pipeline import inference
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.pipeline.steps.tasks import items_left_out
    from mpta_pipeline.pipeline.stored import stacked

    deployment = Deployment.from_env()
    prompts = stacked(deployment, "prompts")
    result = Result()
    if prompts.is_empty():
        result.table("plan", [], shown=())
        result.info("There are no prompts yet: `mpta run --until prompts` builds them without any request to a model.")
        return result
    rows = [
        {"model": name} | inference.plan(spec, prompts, deployment.layout.ledger(name)).as_row()
        for name, spec in deployment.models.items()
    ]
    result.table("plan", rows)
    for task, told in items_left_out(deployment):
        result.warning(told, subject=task)
    return result
