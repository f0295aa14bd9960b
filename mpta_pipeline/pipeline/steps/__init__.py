"""The steps, one file per stage: each function makes one table of the graph from its declared inputs."""

from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.graph import model_tasks
from mpta_pipeline.pipeline.request_options import RequestOptions as Asking
from mpta_pipeline.pipeline.request_options import request_options as asking
from mpta_pipeline.pipeline.steps.tasks import items_left_out
from mpta_pipeline.pipeline.stored import made, path_of, read, stacked

__all__ = ["Asking", "asking", "cells", "items_left_out", "made", "path_of", "read", "stacked"]


def cells(deployment: Deployment) -> list[str]:
    """The keys of all pairs of a model and a task."""
    return [str(pair) for pair in model_tasks(deployment)]
