"""What `mpta run` makes, without Dagster, for tests that look at what is stored."""

# pandera imports this at its first check, deep in a step. There pytest's rewriting of it can fail in Python 3.11 with
# "AST constructor recursion depth mismatch"; here it is imported before anything runs.
import hypothesis.strategies  # noqa: F401

from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make
from mpta_pipeline.pipeline.staleness import is_current
from mpta_pipeline.pipeline.stored import forget_departed_waves


def bring_up_to_date():
    """Make every table that is out of date, in order; returns the deployment and the nodes that were made."""
    deployment, made = Deployment.from_env(), []
    deployment.look()
    forget_departed_waves(deployment)
    for node in graph.nodes(deployment):
        if not is_current(deployment, node):
            make(deployment, node.asset, node.partition)
            made.append(str(node))
    return deployment, made
