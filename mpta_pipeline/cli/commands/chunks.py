"""`mpta chunks`: make some chunks of a large table, e.g. one share per job of a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result


@command(
    Group.STUDY,
    examples=[
        "mpta chunks prompts --task value_alignment --part 1/8",
        "mpta chunks scores --task value_alignment --model my-model --part 8/8  # then: mpta run",
    ],
)
def chunks(
    table: Annotated[str, typer.Argument(help="The table: prompts or scores.")],
    task: Annotated[str, typer.Option(help="Its task.")],
    part: Annotated[str, typer.Option(help="Which part of the chunks, of how many, e.g. 1/8.")],
    model: Annotated[str | None, typer.Option(help="Its model, for scores.")] = None,
) -> Result:
    """Make part of the chunks of a large table. The next `mpta run` uses them and makes what is missing.

    Several processes, or machines with the same data folder, can make the parts of one table at the same time: none of
    them changes the table. Chunks that are up to date are not made again.
    """
    from mpta_pipeline.core.errors import ConfigError
    from mpta_pipeline.core.model_task import ModelTask
    from mpta_pipeline.core.unknown_names import check_name
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.pipeline.run_step import make_part

    deployment = Deployment.from_env()
    check_name("table", table, ("prompts", "scores"), variable="table")
    check_name("task", task, deployment.study.tasks, variable="--task")
    if (table == "scores") != (model is not None):
        raise ConfigError(
            "Scores belong to a model and a task, prompts to a task alone",
            variable="--model",
            value=model,
            remedy="name the model of scores with --model, and none for prompts",
        )
    if model is not None:
        check_name("model", model, deployment.models, variable="--model")
    number, _, of = part.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ConfigError(
            "The part of the chunks cannot be read",
            variable="--part",
            value=part,
            remedy="give its number and the number of parts, e.g. 1/8",
        )
    key = task if model is None else str(ModelTask(model, task))
    found, made = make_part(deployment, table, key, int(number), int(of))
    result = Result(facts={"chunks": found, "made": made})
    if found:
        result.info(f"{made} of {found} chunks were made, the others are up to date; `mpta run` uses them.")
    else:
        result.info("This part has no chunks: the table is in fewer chunks, or in one file. `mpta run` makes it.")
    return result
