"""`mpta models`: the registered models, and with `--probe` what each of them can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from mpta_pipeline.inference import ModelSpec, Probe
    from mpta_pipeline.pipeline.deployment import Deployment


@command(
    Group.INPUTS,
    examples=[
        "mpta models",
        "mpta models --probe --models my-model  # three tiny requests: what the model can do",
    ],
)
def models(
    *,
    probe: Annotated[
        bool, typer.Option("--probe", help="Send each model three tiny requests and show what it can do.")
    ] = False,
    models: Annotated[str | None, typer.Option(help="Models to show, comma-separated; default: the study's.")] = None,
) -> Result:
    """List the registered models and whether each can be used now; with --probe what each can do."""
    from mpta_pipeline import inference
    from mpta_pipeline.cli.options import model_names
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    specs = [deployment.models[name] for name in model_names(models, deployment) or deployment.models]
    result = Result()
    result.table("models", [inference.overview(spec) for spec in specs])
    if probe:
        _probe(result, specs, deployment)
    return result


def _probe(result: Result, specs: Sequence[ModelSpec], deployment: Deployment) -> None:
    """Probe models one by one, and show and record what is found."""
    from mpta_pipeline import inference
    from mpta_pipeline.cli import output
    from mpta_pipeline.cli.dagster_instance import dagster_home, open_instance

    found = []
    for spec in specs:
        with output.progress_console().status(f"{spec.name} …"):
            one = inference.probe(spec, deployment.layout.ledger(spec.name), cache_dir=deployment.layout.models)
        found.append(one)
        shown = {"problem": one.problem} if one.problem else one.shown()
        result.table("probes", [{"model": spec.name} | shown], shown=[_probe_table(spec.name, shown, one)])
        result.ok = result.ok and one.problem is None
        output.show(result)
    if dagster_home(deployment).is_dir():
        with open_instance(deployment) as instance:
            from mpta_pipeline.orchestration.source_observations import report_probes

            report_probes(deployment, instance, found)


def _probe_table(name: str, shown: dict[str, str], probe: Probe) -> Table:
    """A probe for the terminal: one line per capability."""
    from rich.table import Table
    from rich.text import Text

    from mpta_pipeline.core.untrusted_text import printable

    table = Table(title=Text(printable(name)), title_justify="left", show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for what, words in shown.items():
        marked = what == "problem" or (what == "to do" and probe.to_do)
        table.add_row(what, Text(printable(words), style="yellow" if marked else ""))
    return table
