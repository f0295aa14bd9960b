"""`mpta plan`: requests, tokens, price and time of the study before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.labels import duration
from mpta_pipeline.cli.result import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpta_pipeline.inference import Plan
    from mpta_pipeline.pipeline.deployment import Deployment


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
    """Estimate requests, tokens, price and time of the study, and how small a gap it can find, before anything is sent.

    The time has a range: from the model's earlier responses, or else from an assumed speed. The smallest gap follows
    from the panel, the questions, the weights and the groups of the study.
    """
    from mpta_pipeline import inference
    from mpta_pipeline.core.storage import at_work
    from mpta_pipeline.pipeline.configuration_problems import configuration_problems
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
        for problem in configuration_problems(deployment):
            result.warning(str(problem))
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
    _add_by_task(result, deployment)
    _add_total(result, deployment, plans)
    _add_detectable(result, deployment)
    for task, gap in items_left_out(deployment):
        result.warning(gap, subject=task)
    for problem in configuration_problems(deployment):
        result.warning(str(problem))
    return result


def _add_by_task(result: Result, deployment: Deployment) -> None:
    """Add requests, price and time per model and task; the terminal shows them if there are several tasks."""
    from mpta_pipeline.core.errors import MptaError
    from mpta_pipeline.pipeline.status import to_send

    rows: list[dict[str, Any]] = [
        {
            "model": pair.model,
            "task": pair.task,
            "requests": one.requests,
            "to send": one.calls,
            "dollars": one.price,
            "seconds": one.seconds,
        }
        for pair, one in to_send(deployment)
        if not isinstance(one, MptaError)
    ]
    shown = [
        {
            "model": row["model"],
            "task": row["task"],
            "requests": f"{row['requests']:,}",
            "to send": f"{row['to send']:,}",
            "US$": "" if row["dollars"] is None else f"{row['dollars']:.2f}",
            "time": duration(row["seconds"]) if row["to send"] else "",
        }
        for row in rows
    ]
    several = len({row["task"] for row in rows}) > 1
    result.table("by_task", rows, title="Per task", shown=shown if several else ())


def _add_total(result: Result, deployment: Deployment, plans: Sequence[Plan]) -> None:
    """Add the sum of all models. Models in this process take turns, all others work side by side."""
    from mpta_pipeline.pipeline.request_options import queue_of

    queues: dict[str, float] = {}
    for one in plans:
        queue = queue_of(deployment, one.model)
        queues[queue] = queues.get(queue, 0.0) + one.seconds
    requests = sum(one.calls for one in plans)
    priced = [one.price for one in plans if one.price is not None]
    seconds = max(queues.values(), default=0.0)
    result.facts["total"] = {"requests": requests, "dollars": sum(priced) if priced else None, "seconds": seconds}
    if not requests:
        result.info("Total: nothing to send, every request has a response.")
        return
    minutes = f"about {seconds / 60:,.0f} min" if seconds >= 60 else "less than a minute"
    dollars = f", about {sum(priced):,.2f} US$" if priced else ""
    result.info(f"Total: {requests:,} requests{dollars}, {minutes}.")
    free = [one.model for one in plans if one.price is None and one.calls and not deployment.model(one.model).is_local]
    if free:
        result.warning(
            f"models.yaml gives no price for {', '.join(free)}, so the total does not include what they cost."
        )
    if limit := deployment.study.budget:
        result.info(f"The budget of a run is {limit:g} US$ (study.yaml); what is beyond it waits for the next run.")


def _add_detectable(result: Result, deployment: Deployment) -> None:
    """Add how small a gap between groups the design can find."""
    from mpta_pipeline.cli.labels import names_of
    from mpta_pipeline.metrics.statistics.power import ALIKE
    from mpta_pipeline.pipeline.design_power import design_power

    found = design_power(deployment)
    names = names_of(deployment)
    shown = [
        {
            "task": names.task(one.task),
            "survey": names.survey(one.survey),
            "people": f"{one.people:,}",
            "questions each": f"{one.questions:.1f}",
            "group": "none is large enough" if one.group_size is None else f"{one.group_size:,} people",
            "smallest gap found": "none" if one.gap is None else f"{100 * one.gap:.0f} points",
        }
        for one in found
    ]
    result.table("detectable", [vars(one) for one in found], title="How small a gap can be found", shown=shown)
    if found:
        level, least = deployment.study.figures.level, deployment.study.figures.min_personas
        result.info(
            "A gap in right answers between a group of median size and everyone else, found with 80 % power at level "
            f"{level:g}, corrected for the number of groups of at least {least} people. Assumed: shares around one "
            f"half, and an intraclass correlation of {ALIKE:g} between the answers of a person. More people, or more "
            "questions per person, make it smaller."
        )


def _shown(one: Plan) -> dict[str, object]:
    """The row of a plan for a terminal: its time with range and origin in one cell."""
    row = one.as_row()
    seconds, low, high, speed = (row.pop(name) for name in ("seconds", "seconds_low", "seconds_high", "speed"))
    time = f"{duration(seconds)}\n({duration(low)} to {duration(high)},\n{speed})" if one.calls else ""
    return row | {"time": time}
