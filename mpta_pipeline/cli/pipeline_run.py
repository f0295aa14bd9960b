"""Running the pipeline from the command line: progress, budget, and what the run leaves to say."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mpta_pipeline.cli import output, study_state
from mpta_pipeline.cli.dagster_instance import open_instance
from mpta_pipeline.cli.result import Result
from mpta_pipeline.cli.run_display import RunDisplay
from mpta_pipeline.core.unknown_names import check_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.deployment import Deployment


def run_pipeline(
    deployment: Deployment,
    *,
    models: Sequence[str] = (),
    tasks: Sequence[str] = (),
    until: str | None = None,
    budget: float | None = None,
    retry_errors: bool = False,
) -> Result:
    """Bring the study up to date.

    Args:
        deployment: The deployment.
        models: Models to send requests to; none means those of the study.
        tasks: Tasks to run; none means those of the study.
        until: Last asset to build; None for all.
        budget: US dollars that this run may spend; None for the study's budget.
        retry_errors: Retry requests that failed permanently before.

    Raises:
        ConfigError: `until` names no asset, or another command is running.
    """
    from mpta_pipeline.pipeline import graph
    from mpta_pipeline.pipeline.configuration_problems import configuration_problems

    if until is not None:
        check_name("asset", until, graph.assets(), variable="--until")
    for found in configuration_problems(deployment):
        output.err.print(output.line(str(found), "warning"), soft_wrap=True)
    started = time.monotonic()
    display = RunDisplay()
    with open_instance(deployment) as instance:
        from mpta_pipeline import definitions
        from mpta_pipeline.orchestration.command_runs import Runner, sole_command

        runner = Runner(
            deployment,
            definitions.build(deployment),
            instance,
            announce=display.say,
            before=lambda nodes: _before(display, deployment, nodes),
            models=models or None,
            tasks=tasks or None,
            until=until,
        )
        shown = _shown_and_limited(display, deployment, budget, retry_errors=retry_errors)
        with sole_command(deployment, instance), shown:
            outcome = runner.run()
    result = Result()
    for name, problem in outcome.problems.items():
        result.warning(problem, subject=f"{name} was not used")
    for label, message in outcome.failures.items():
        result.error(message, subject=f"failed {label}")
    study_state.add_reading_notes(result, deployment)
    study_state.add_set_aside(result, deployment)
    study_state.add_without_items(result, deployment)
    study_state.add_unanswered(result, deployment)
    study_state.add_unreadable(result, deployment)
    if until is not None or models or tasks:
        study_state.add_out_of_date(result, deployment)
    study_state.add_headline(result, deployment)
    study_state.add_found(result, deployment)
    study_state.add_published_figures(result, deployment)
    seconds = time.monotonic() - started
    result.info(f"{len(outcome.made)} table(s) built in {seconds:.0f} s")
    result.facts |= {"built": outcome.made, "failures": outcome.failures, "seconds": round(seconds, 1)}
    add_published(result, deployment)
    # Last, where a log or a mail of cron is read first. It is no failure, so the exit code stays 0; `mpta check` has 1.
    study_state.add_held(result, deployment)
    return result


def publish(deployment: Deployment) -> Result:
    """Publish warehouse and report again from the stored estimates.

    Raises:
        ConfigError: Another command is running.
    """
    with open_instance(deployment) as instance:
        from mpta_pipeline import definitions
        from mpta_pipeline.orchestration.command_runs import Runner, sole_command

        runner = Runner(deployment, definitions.build(deployment), instance)
        with sole_command(deployment, instance):
            runner.publish_again()
    result = Result()
    for label, message in runner.outcome.failures.items():
        result.error(message, subject=f"failed {label}")
    if result.ok:
        study_state.add_out_of_date(result, deployment)
        study_state.add_headline(result, deployment)
        study_state.add_found(result, deployment)
        study_state.add_published_figures(result, deployment)
        add_published(result, deployment)
    return result


def add_published(result: Result, deployment: Deployment) -> None:
    """Add where the report and the warehouse are, if they have been published."""
    if deployment.layout.report.exists():
        result.info(f"Report:    {deployment.layout.report}")
        result.info(f"Warehouse: {deployment.layout.warehouse}")
        result.facts |= {"report": str(deployment.layout.report), "warehouse": str(deployment.layout.warehouse)}


def _before(display: RunDisplay, deployment: Deployment, nodes: Sequence[Node]) -> None:
    """Show what is made next and what it costs. `--quiet` does not hide the price of a model without an approval."""
    from mpta_pipeline.core.model_task import ModelTask
    from mpta_pipeline.pipeline import approvals, graph

    display.before(nodes)
    pairs = {ModelTask.parse(node.partition) for node in nodes if graph.TABLES[node.asset].sends_requests}
    if not pairs:
        return
    for one in approvals.unsent(deployment, [pair.model for pair in pairs], [pair.task for pair in pairs]):
        if one.pair in pairs:
            text = f"{one.pair.label}: sends {one.requests:,} request(s), about {one.dollars:,.2f} US$"
            display.say(text, always=one.because is not None)


@contextmanager
def _shown_and_limited(
    display: RunDisplay, deployment: Deployment, dollars: float | None, *, retry_errors: bool
) -> Iterator[None]:
    """Show progress, keep to the budget, and count the person who typed the command as approving its prices."""
    from mpta_pipeline import inference
    from mpta_pipeline.pipeline.part_jobs import heard_by
    from mpta_pipeline.pipeline.request_options import RequestOptions, request_options
    from mpta_pipeline.pipeline.step_progress import listening

    limit = deployment.study.budget if dollars is None else dollars
    budget = None if limit is None else inference.Budget(limit)
    options = RequestOptions(display.requests, budget, retry_errors, approved=True)
    with display, listening(display.step), heard_by(display.jobs), request_options(options):
        yield
