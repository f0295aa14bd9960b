"""Run launcher for Kubernetes: runs inside the process of another run have no job of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dagster_k8s import K8sRunLauncher

from mpta_pipeline.orchestration.run_launcher import InsideOtherRuns


class KubernetesRunLauncher(InsideOtherRuns, K8sRunLauncher):  # type: ignore[misc]
    """dagster_k8s's launcher. Run monitoring would mark a run without a job as failed while it works.

    Inside a pod the cluster is reached as pods reach it, whatever dagster.yaml says for the daemon: a run there submits
    jobs for parts of its steps.
    """

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> KubernetesRunLauncher:
        """The launcher of an instance."""
        if "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG"):
            config_value = {**config_value, "load_incluster_config": True, "kubeconfig_file": None}
        made: KubernetesRunLauncher = super().from_config_value(inst_data, config_value)
        return made
