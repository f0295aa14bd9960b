"""Run as a job on a cluster: send the requests of the given model × task partitions, store and report the results.

The cluster's Python runs this file by its path; it communicates with the run through Dagster Pipes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from dagster_pipes import open_dagster_pipes

from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.inference import run_in_parallel
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.request_options import current_options, queue_of, request_options
from mpta_pipeline.pipeline.run_step import Made, make


def main() -> None:
    """Make each partition; one that fails does not stop the others."""
    with open_dagster_pipes() as pipes:
        deployment = Deployment.from_env()
        failures = {}
        options = replace(current_options(deployment), approved=pipes.get_extra("approved"))

        def responses(pair: ModelTask) -> Made:
            return make(deployment, "responses", str(pair))

        with request_options(options):
            pairs = [ModelTask.parse(key) for key in pipes.get_extra("pairs")]
            for pair, result in run_in_parallel(pairs, responses, options.stop, partial(queue_of, deployment)):
                if isinstance(result, MptaError):
                    failures[str(pair)] = str(result)
                else:
                    pipes.log.info(f"{pair.label}: {result.record.rows} answers")
        pipes.report_custom_message({"failures": failures})


if __name__ == "__main__":
    main()
