"""Run launcher for Kubernetes: runs inside the process of another run have no job of their own."""

from dagster_k8s import K8sRunLauncher

from mpta_pipeline.orchestration.run_launcher import InsideOtherRuns


class KubernetesRunLauncher(InsideOtherRuns, K8sRunLauncher):  # type: ignore[misc]
    """dagster_k8s's launcher. Run monitoring would mark a run without a job as failed while it works."""
