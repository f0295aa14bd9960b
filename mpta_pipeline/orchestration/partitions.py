"""Partitions. What belongs here: their definitions and keys. Waves and models come and go, tasks are the study's."""

from __future__ import annotations

import dagster as dg

from mpta_pipeline.pipeline.deployment import Deployment

SURVEY_WAVE = dg.DynamicPartitionsDefinition(name="survey_wave")
MODEL = dg.DynamicPartitionsDefinition(name="model")


def task_partitions(deployment: Deployment) -> dg.StaticPartitionsDefinition:
    """One partition a task of the study."""
    return dg.StaticPartitionsDefinition(list(deployment.study.tasks))


def model_task_partitions(deployment: Deployment) -> dg.MultiPartitionsDefinition:
    """One partition a model and task. Dagster orders the dimensions by name: keys read model|task."""
    return dg.MultiPartitionsDefinition({"model": MODEL, "task": task_partitions(deployment)})
