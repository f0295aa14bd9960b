"""Where models are asked: in the run's own process, or in a job of a Slurm cluster that the environment names.

Only asking leaves the run. The job sees the same store and the same ledgers (a file system that login and compute
nodes share), stores the answers there, and this side picks up the records; so the answers, and what comes of them, are
the same wherever a model is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from mpta_pipeline.core.errors import ConfigError, ModelError
from mpta_pipeline.core.provenance import Node, Record
from mpta_pipeline.orchestration import cluster_job
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Deployment

PASSED_ON = ("MPTA_DATA_DIR", "MPTA_DATA_URL", "MPTA_LEDGER_DIR", "MPTA_CONFIG_DIR", "MPTA_SURVEY_DIR")
"""Environment of a job: paths alone. Keys and passwords are set where the job runs, never sent."""

# The queue's time limit ends a job, not the patience of the run that waits for it.
_WAIT_SECONDS = 30 * 24 * 3600


def resource() -> Any:
    """Dagster's resource `cluster`, by `MPTA_CLUSTER`: none, or `slurm` with what dagster-slurm reads (`SLURM_…`).

    Raises:
        ConfigError: The variable names no cluster, or dagster-slurm is absent or not configured.
    """
    kind = os.environ.get("MPTA_CLUSTER") or None
    if kind is None:
        return dg.ResourceDefinition.none_resource("Models are asked in the run's own process.")
    if kind != "slurm":
        raise ConfigError("There is no such cluster", variable="MPTA_CLUSTER", value=kind, remedy="set it to slurm")
    try:
        from dagster_slurm import BashLauncher, ComputeResource, SlurmResource

        return ComputeResource(
            mode="slurm",  # type: ignore[arg-type]
            slurm=SlurmResource.from_env(),
            default_launcher=BashLauncher(),
            pre_deployed_env_path=os.environ["MPTA_SLURM_ENVIRONMENT"],
        )
    except (ImportError, KeyError, ValueError) as failure:
        raise ConfigError(
            f"The Slurm cluster cannot be used: {failure}",
            variable="MPTA_CLUSTER",
            value=kind,
            remedy="install the extra `slurm` and set the variables of dagster_home/examples/slurm/slurm.env",
        ) from None


def asker(
    context: dg.AssetExecutionContext, deployment: Deployment, cluster: Any | None, how: steps.Asking
) -> Callable[[str, str], Record]:
    """What makes one model × task partition of the run's answers.

    With a cluster all partitions of a model with something to ask are asked in one job first, so that the model's
    server starts once and has the node for itself. The models of a run follow each other: dagster-slurm listens for
    signals, which only the main thread can.
    """
    if cluster is None:
        return lambda model, task: steps.make_responses(deployment, model, task, how)
    open_cells = [c for c in context.partition_keys if steps.answered(deployment, *c.rsplit("|", 1)) is None]
    failures: dict[str, str] = {}
    for model in dict.fromkeys(cell.rpartition("|")[0] for cell in open_cells):
        cells = [cell for cell in open_cells if cell.rpartition("|")[0] == model]
        try:
            failures |= _submit(context, cluster, cells)
        except ModelError as failure:  # the job as a whole; the other models have theirs
            failures |= dict.fromkeys(cells, failure.problem)

    def picked_up(model: str, task: str) -> Record:
        cell = f"{model}|{task}"
        record = steps.made(deployment, Node("responses", cell))
        if cell in failures or record is None:
            raise ModelError(
                f"The job on the cluster did not answer {cell}: {failures.get(cell, 'it stored nothing')}",
                remedy="see the run's log for the job's own; what was answered is kept and not asked again",
            )
        return record

    return picked_up


def _submit(context: dg.AssetExecutionContext, cluster: Any, cells: list[str]) -> dict[str, str]:
    """Ask partitions in a job and wait for it; the message of each that failed."""
    done = cluster.run(
        context=context,
        payload_path=str(Path(cluster_job.__file__)),
        extras={"cells": cells},
        extra_env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
        poll_timeout=_WAIT_SECONDS,
    )
    messages = done.get_custom_messages()
    if not messages:
        raise ModelError(
            "The job on the cluster ended without a word of what it answered",
            remedy="see the run's log for the job's own; what was answered is kept and not asked again",
        )
    return dict(messages[-1]["failures"])
