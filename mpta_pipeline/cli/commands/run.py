"""`mpta run` and `mpta demo`: bring the configured study, or the demo's, up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result


@command(
    Group.STUDY,
    examples=[
        "mpta run",
        "mpta run --until prompts  # send no request to any model",
        "mpta run --models my-model --tasks value_alignment --budget 5",
        "mpta run --retry-errors  # retry requests that failed permanently",
    ],
)
def run(
    models: Annotated[
        str | None, typer.Option(help="Models to send requests to, comma-separated; default: the study's.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks to run, comma-separated; default: the study's.")] = None,
    until: Annotated[str | None, typer.Option(help="Last asset to build, e.g. prompts.")] = None,
    budget: Annotated[
        float | None,
        typer.Option(min=0, help="US dollars that this run may spend on all models; default: the study's budget."),
    ] = None,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Retry requests that failed permanently before.")
    ] = False,
) -> Result:
    """Bring the configured study up to date: rebuild stale tables, send only the requests without a response."""
    from mpta_pipeline.cli.options import model_names, task_names
    from mpta_pipeline.cli.pipeline_run import run_pipeline
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    return run_pipeline(
        deployment,
        models=model_names(models, deployment),
        tasks=task_names(tasks, deployment),
        until=until,
        budget=budget,
        retry_errors=retry_errors,
    )


@command(
    Group.START,
    examples=[
        "mpta demo",
        "mpta demo --quick  # under a minute: the simulated respondents alone, without the embedded model",
    ],
)
def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out all models; ask the simulated respondents alone.")
    ] = False,
) -> Result:
    """Run the starter study end to end: real survey answers, known truth to be found, no API key, no network.

    Two simulated respondents answer like the people of the survey; one of them has a planted weakness, which the
    report must find. A small embedded model answers, too, unless you say --quick.
    """
    from mpta_pipeline import surveys
    from mpta_pipeline.cli import output
    from mpta_pipeline.cli.options import control_names
    from mpta_pipeline.cli.pipeline_run import run_pipeline
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    models = control_names(deployment) if quick else []
    for path in surveys.write_demo_surveys(deployment.layout.surveys, only=[surveys.DEMO]):
        output.progress(f"survey file {path.name}")
    result = run_pipeline(deployment, models=models)
    if left := [name for name in deployment.models if models and name not in models]:
        result.info(f"Not asked: {', '.join(left)}. `mpta demo` without --quick asks all models.")
    return result
