"""`mpta plan`: requests, tokens, price and time of the study before anything is sent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result

if TYPE_CHECKING:
    from mpta_pipeline.inference import Plan


@command(
    Group.STUDY,
    examples=[
        "mpta plan",
        "mpta plan --calibrate  # measure the speed of models on this machine first",
        "mpta plan --json  # the same as JSON",
    ],
)
def plan(
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="First send up to 24 requests of the study to each model that runs in this process and has not "
            "answered yet. Their responses are kept.",
        ),
    ] = False,
) -> Result:
    """Estimate requests, tokens, price and time of the study per model, before anything is sent.

    The time has a range: from the model's earlier responses, or else from an assumed speed.
    """
    from mpta_pipeline import inference
    from mpta_pipeline.core.storage import at_work
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.pipeline.steps.inference import as_permitted, prompts_for
    from mpta_pipeline.pipeline.steps.tasks import items_left_out
    from mpta_pipeline.pipeline.stored import read, stacked

    deployment = Deployment.from_env()
    layout = deployment.layout
    prompts = stacked(deployment, "prompts")
    result = Result()
    if prompts.is_empty():
        result.table("plan", [], shown=())
        result.info("There are no prompts yet: `mpta run --until prompts` builds them without any request to a model.")
        return result
    prompts = as_permitted(prompts, read(deployment, "personas"), deployment.permitted_use("codebook"))
    told = {name: prompts_for(spec, prompts, deployment) for name, spec in deployment.models.items()}
    if calibrate:
        with at_work(layout):
            for name, spec in deployment.models.items():
                if sent := inference.calibrate(spec, told[name], layout.ledger(name), layout.models):
                    result.info(
                        f"{sent} requests were sent to measure its speed; their responses are kept.", subject=name
                    )
    plans = [inference.plan(spec, told[name], layout.ledger(name)) for name, spec in deployment.models.items()]
    result.table("plan", [one.as_row() for one in plans], shown=[_shown(one) for one in plans])
    for task, gap in items_left_out(deployment):
        result.warning(gap, subject=task)
    return result


def _shown(one: Plan) -> dict[str, object]:
    """The row of a plan for a terminal: its time with range and origin in one cell."""
    row = one.as_row()
    seconds, low, high, speed = (row.pop(name) for name in ("seconds", "seconds_low", "seconds_high", "speed"))
    time = f"{_duration(seconds)}\n({_duration(low)} to {_duration(high)},\n{speed})" if one.calls else ""
    return row | {"time": time}


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
