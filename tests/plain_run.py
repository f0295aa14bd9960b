"""What `mpta run` makes, without Dagster, for tests that look at what is stored."""

from mpta_pipeline.core.provenance import Node
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Deployment


def bring_up_to_date():
    """Take each step whose record is out of step, in order; returns the deployment and the nodes that were made."""
    deployment, made = Deployment.from_env(), []

    def make(node, *args):
        if not steps.is_current(deployment, node):
            getattr(steps, f"make_{node.asset}")(deployment, *args)
            made.append(str(node))

    deployment.look()
    for wave in deployment.catalogue().waves:
        for name in ("raw_wave", "harmonized_wave", "survey_changelog"):
            make(Node(name, wave), wave)
    for name in ("personas", "panel"):
        make(Node(name))
    for task in deployment.study.tasks:
        for name in ("items", "prompts"):
            make(Node(name, task), task)
    for cell in steps.cells(deployment):
        for name in ("responses", "scores", "subgroup_metrics", "pockets"):
            make(Node(name, cell), *cell.split("|"))
    for name in ("model_comparison", "warehouse", "report"):
        make(Node(name))
    return deployment, made
