"""Resources: the deployment, opened anew in each run, so that an edited configuration takes effect at once."""

from __future__ import annotations

import dagster as dg

from mpta_pipeline.pipeline.deployment import Deployment


class DeploymentResource(dg.ConfigurableResource[Deployment]):
    """The deployment named by `MPTA_DATA_DIR`, `MPTA_SURVEY_DIR` and `MPTA_CONFIG_DIR`."""

    def create_resource(self, context: dg.InitResourceContext) -> Deployment:
        """Open the deployment; its files are read on first use."""
        return Deployment.from_env()
