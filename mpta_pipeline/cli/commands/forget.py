"""`mpta forget`: remove a respondent who withdrew."""

from __future__ import annotations

from typing import Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result


@command(
    Group.UPKEEP,
    examples=[
        "mpta forget gss-2018:317  # wave and the file's own number",
        "mpta forget r_0123456789abcdef --no-run  # leave the rebuild to the daemon",
    ],
)
def forget(
    respondent: Annotated[
        str, typer.Argument(help="The respondent's id (r_…), or wave and own key, e.g. gss-2018:317.")
    ],
    *,
    rebuild: Annotated[
        bool, typer.Option("--run/--no-run", help="Rebuild the affected tables now, or leave that to the daemon.")
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> Result:
    """Remove a respondent who withdrew, with everything made from their answers. This cannot be undone."""
    from datetime import UTC, datetime

    from mpta_pipeline import inference
    from mpta_pipeline.cli import output
    from mpta_pipeline.cli.dagster_instance import dagster_home, open_instance
    from mpta_pipeline.cli.pipeline_run import run_pipeline
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.publication import withdrawal

    deployment = Deployment.from_env()
    who = withdrawal.find(deployment.layout, deployment.sources, respondent.strip())
    if not yes:
        typer.confirm(f"Remove {who.id} of {', '.join(who.waves)} permanently?", abort=True, err=True)
    with open_instance(deployment) as instance:
        from mpta_pipeline.core.storage import alone, sweep_half_written
        from mpta_pipeline.orchestration.command_runs import sole_command
        from mpta_pipeline.orchestration.event_log import purge

        def waiting() -> None:
            output.progress("Waiting for running steps to finish. Cancel them in the UI, or stop this with Ctrl-C.")

        with sole_command(deployment, instance), alone(deployment.layout, waiting):
            texts = withdrawal.texts_of(deployment.layout, who.id, deployment.study)
            models = inference.load_models(deployment.config / "models.yaml")
            outcome = withdrawal.forget(deployment.layout, deployment.sources, models, who, on=datetime.now(UTC).date())
            runs = purge(instance, texts)
            sweep_half_written(deployment.layout)
    result = Result()
    if outcome.again:
        result.info("This respondent had withdrawn before; what was left has been removed now.")
    rows = [{"what": f"rows of {table}", "removed": n} for table, n in sorted(outcome.rows.items())]
    rows += [{"what": f"responses of {model}", "removed": n} for model, n in outcome.answers.items()]
    rows += [{"what": "runs whose previews showed them", "removed": runs}]
    result.table("removed", rows)
    for note in outcome.notes:
        result.warning(f"{note}.")
    output.show(result)
    if rebuild:
        result.extend(run_pipeline(Deployment.from_env()))
    left = withdrawal.tables_with(deployment.layout, who.id, [dagster_home(deployment) / "history"])
    result.facts["still_there"] = [str(path) for path in left]
    if left:
        for path in left:
            result.error(str(path), subject="still holds them, or cannot be read")
        result.error("Delete files that were exported or put there by hand. For anything else, run this command again.")
        return result
    result.info("No stored file holds them any more.")
    if not rebuild:
        result.info("The daemon, or the next `mpta run`, will rebuild the affected tables.")
    return result
