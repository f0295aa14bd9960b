"""Partition definitions. Waves and models are dynamic partitions; tasks are static, from study.yaml."""

from __future__ import annotations

import dagster as dg

from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.graph import Partitioning

SURVEY_WAVE = dg.DynamicPartitionsDefinition(name="survey_wave")
MODEL = dg.DynamicPartitionsDefinition(name="model")


def definitions(deployment: Deployment) -> dict[Partitioning, dg.PartitionsDefinition | None]:
    """The partitions definition of each way to cut a table into partitions."""
    task = dg.StaticPartitionsDefinition(list(deployment.study.tasks))
    return {
        Partitioning.NONE: None,
        Partitioning.WAVE: SURVEY_WAVE,
        Partitioning.MODEL: MODEL,
        Partitioning.TASK: task,
        # Dagster orders the dimensions by name, so that keys read model|task, as those of `ModelTask` do.
        Partitioning.MODEL_TASK: dg.MultiPartitionsDefinition({"model": MODEL, "task": task}),
    }
