"""Run launcher for Ray: runs inside the process of another run have no job of their own."""

from dagster_ray import RayRunLauncher

from mpta_pipeline.orchestration.run_launcher import InsideOtherRuns


class RayClusterRunLauncher(InsideOtherRuns, RayRunLauncher):  # type: ignore[misc]
    """dagster_ray's launcher. Run monitoring would mark a run without a job as failed while it works."""
