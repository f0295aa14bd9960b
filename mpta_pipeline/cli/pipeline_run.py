"""Running the pipeline from the command line: progress, budget, and what the run leaves to say."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mpta_pipeline.cli import output, study_state
from mpta_pipeline.cli.dagster_instance import open_instance
from mpta_pipeline.cli.result import Result
from mpta_pipeline.core.unknown_names import check_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mpta_pipeline.core.model_task import ModelTask
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

    if until is not None:
        check_name("asset", until, graph.assets(), variable="--until")
    started = time.monotonic()
    with open_instance(deployment) as instance:
        from mpta_pipeline import definitions
        from mpta_pipeline.orchestration.command_runs import Runner, sole_command

        runner = Runner(
            deployment,
            definitions.build(deployment),
            instance,
            announce=lambda line: output.progress(f"{time.monotonic() - started:6.1f} s  {line}"),
            before_requests=lambda pairs: _show_prices(deployment, pairs),
            models=models or None,
            tasks=tasks or None,
            until=until,
        )
        with sole_command(deployment, instance), _request_progress(deployment, budget, retry_errors=retry_errors):
            outcome = runner.run()
    result = Result()
    for name, problem in outcome.problems.items():
        result.warning(problem, subject=f"{name} was not used")
    for label, message in outcome.failures.items():
        result.error(message, subject=f"failed {label}")
    study_state.add_reading_notes(result, deployment)
    study_state.add_set_aside(result, deployment)
    study_state.add_unanswered(result, deployment)
    study_state.add_unreadable(result, deployment)
    study_state.add_headline(result, deployment)
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
        study_state.add_headline(result, deployment)
        add_published(result, deployment)
    return result


def add_published(result: Result, deployment: Deployment) -> None:
    """Add where the report and the warehouse are, if they have been published."""
    if deployment.layout.report.exists():
        result.info(f"Report:    {deployment.layout.report}")
        result.info(f"Warehouse: {deployment.layout.warehouse}")
        result.facts |= {"report": str(deployment.layout.report), "warehouse": str(deployment.layout.warehouse)}


def _show_prices(deployment: Deployment, pairs: Sequence[ModelTask]) -> None:
    """Show what is about to be paid, before it is. For models without an approval, `--quiet` does not hide it."""
    from mpta_pipeline.pipeline import approvals

    names = [list(dict.fromkeys(getattr(pair, unit) for pair in pairs)) for unit in ("model", "task")]
    for one in approvals.unsent(deployment, *names):
        if one.pair in pairs:
            text = f"          {one.pair.label}: sends {one.requests:,} request(s), about {one.dollars:,.2f} US$"
            output.progress(text, always=one.because is not None)


@contextmanager
def _request_progress(deployment: Deployment, dollars: float | None, *, retry_errors: bool) -> Iterator[None]:
    """Show a bar per model (requests, rate, dollars spent, time left) and keep to the budget."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mpta_pipeline import inference
    from mpta_pipeline.pipeline.request_options import RequestOptions, request_options

    limit = deployment.study.budget if dollars is None else dollars
    budget = None if limit is None else inference.Budget(limit)
    with Progress(
        TextColumn("          {task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=output.progress_console(),
        transient=True,
    ) as bar:
        rows: dict[str, Any] = {}
        warned: set[tuple[str, str]] = set()

        def show(progress: Any) -> None:
            row = rows.get(progress.model)
            if row is None or bar.tasks[row].finished:
                row = rows[progress.model] = bar.add_task(progress.model, total=progress.total, rate="")
            for warning in progress.warnings:
                if (progress.model, warning) not in warned:
                    warned.add((progress.model, warning))
                    console = output.err if bar.console.quiet else bar.console
                    console.print(output.line(warning, "warning", progress.model), soft_wrap=True)
            rate = f"{progress.rate:.1f}/s" + (f"  {progress.spent:.2f} $" if progress.spent else "")
            bar.update(row, completed=progress.done, total=progress.total, rate=rate)

        # A person typed the command and sees the price: nothing waits for an approval.
        with request_options(RequestOptions(show, budget, retry_errors, approved=True)):
            yield
