"""What a job on a cluster runs: asks the model × task partitions that the run names, stores them, says what failed.

The cluster's Python runs this file by its path; it speaks to the run through Dagster Pipes.
"""

from __future__ import annotations

from dagster_pipes import open_dagster_pipes

from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.inference import run_in_parallel
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Deployment


def main() -> None:
    """Ask each partition; one that fails does not stop the others."""
    with open_dagster_pipes() as pipes:
        deployment = Deployment.from_env()
        failures = {}
        how = steps.how_to_ask(deployment)
        for cell, made in run_in_parallel(
            pipes.get_extra("cells"),
            lambda model, task: steps.make_responses(deployment, model, task, how),
            how.stop,
            lambda model: steps.lane(deployment, model),
        ):
            if isinstance(made, MptaError):
                failures[cell] = str(made)
            else:
                pipes.log.info(f"{cell}: {made.rows} answers")
        pipes.report_custom_message({"failures": failures})


if __name__ == "__main__":
    main()
