"""Resources. One: the deployment, opened afresh in each run, so that an edited configuration counts at once."""

from __future__ import annotations

import dagster as dg

from mpta_pipeline.pipeline.deployment import Deployment


class DeploymentResource(dg.ConfigurableResource[Deployment]):
    """The deployment named by `MPTA_DATA_DIR`, `MPTA_SURVEY_DIR` and `MPTA_CONFIG_DIR`."""

    def create_resource(self, context: dg.InitResourceContext) -> Deployment:
        """Open it. Files are read when first asked for."""
        return Deployment.from_env()
