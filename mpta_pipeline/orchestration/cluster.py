"""Choose where requests are sent from: the run's own process, or a job of a Slurm cluster.

Only the requests leave the run. The job uses the same store and the same ledgers (on a file system that login and
compute nodes share) and stores the responses there; the run then reads their records. So responses and estimates are
the same wherever a model runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from mpta_pipeline.core.errors import ConfigError, ModelError
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.orchestration import cluster_job
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.part_jobs import cluster
from mpta_pipeline.pipeline.request_options import current_options
from mpta_pipeline.pipeline.run_step import Made, make
from mpta_pipeline.pipeline.staleness import unanswered
from mpta_pipeline.pipeline.stored import made

PASSED_ON = ("MPTA_DATA_DIR", "MPTA_DATA_URL", "MPTA_LEDGER_DIR", "MPTA_CONFIG_DIR", "MPTA_SURVEY_DIR")
"""Environment variables passed to a job: paths only. Keys and passwords are set where the job runs, never sent."""

# The cluster's time limit ends a job, not this one.
_WAIT_SECONDS = 30 * 24 * 3600


def resource() -> Any:
    """Dagster's resource `cluster`, from `MPTA_CLUSTER`.

    With `slurm` requests are sent from its jobs. With `ray` and `kubernetes` the whole run is a job already.

    Raises:
        ConfigError: The variable names no cluster, or dagster-slurm is absent or not configured.
    """
    if cluster() != "slurm":
        return dg.ResourceDefinition.none_resource("Requests are sent from the run's own process.")
    settings = slurm_settings()
    from dagster_slurm import BashLauncher, ComputeResource

    return ComputeResource(
        mode="slurm",  # type: ignore[arg-type]
        slurm=settings,
        default_launcher=BashLauncher(),
        pre_deployed_env_path=os.environ["MPTA_SLURM_ENVIRONMENT"],
    )


def slurm_settings() -> Any:
    """The settings of dagster-slurm: how to reach the login node, and the queue.

    Raises:
        ConfigError: dagster-slurm is absent or not configured.
    """
    try:
        from dagster_slurm import SlurmResource

        _ = os.environ["MPTA_SLURM_ENVIRONMENT"]
        return SlurmResource.from_env()
    except (ImportError, KeyError, ValueError) as failure:
        raise ConfigError(
            f"The Slurm cluster cannot be used: {failure}",
            variable="MPTA_CLUSTER",
            value="slurm",
            remedy="install the extra `slurm` and set the variables of dagster_home/examples/slurm/slurm.env",
        ) from None


def response_maker(
    context: dg.AssetExecutionContext, deployment: Deployment, slurm: Any | None, table: str
) -> Callable[[ModelTask], Made]:
    """The function that makes one model × task partition of the run's responses.

    With a cluster all open partitions of a model are sent in one job first, so that the model's server starts once and
    has the node for itself. The models of a run follow each other: dagster-slurm listens for signals, which only the
    main thread can.

    Args:
        context: The run's context.
        deployment: The deployment.
        slurm: The resource `cluster`; None to send requests from this process.
        table: The table of responses.
    """
    if slurm is None:
        return lambda pair: make(deployment, table, str(pair))
    open_pairs = unanswered(deployment, [ModelTask.parse(key) for key in context.partition_keys])
    failures: dict[str, str] = {}
    for model in dict.fromkeys(pair.model for pair in open_pairs):
        keys = [str(pair) for pair in open_pairs if pair.model == model]
        try:
            failures |= _submit(context, slurm, keys, approved=current_options(deployment).approved)
        except ModelError as failure:  # the job as a whole; the other models have their own
            failures |= dict.fromkeys(keys, failure.problem)

    def stored_by_job(pair: ModelTask) -> Made:
        key = str(pair)
        record = made(deployment, Node(table, key))
        if key in failures or record is None:
            raise ModelError(
                f"The job on the cluster did not complete {pair.label}: {failures.get(key, 'it stored no responses')}",
                remedy="see the job's output in the run's log; answers received so far are kept, not requested again",
            )
        return Made(record, ())

    return stored_by_job


def _submit(context: dg.AssetExecutionContext, slurm: Any, keys: list[str], *, approved: bool) -> dict[str, str]:
    """Send the requests of partitions in a job and wait for it; returns partition → message for those that failed."""
    done = slurm.run(
        context=context,
        payload_path=str(Path(cluster_job.__file__)),
        extras={"pairs": keys, "approved": approved},
        extra_env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
        poll_timeout=_WAIT_SECONDS,
    )
    messages = done.get_custom_messages()
    if not messages:
        raise ModelError(
            "The job on the cluster finished without reporting results",
            remedy="see the job's output in the run's log; answers received so far are kept, not requested again",
        )
    return dict(messages[-1]["failures"])
