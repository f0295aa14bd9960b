"""Resources. One: the deployment, opened afresh in each run, so that an edited configuration counts at once."""

from __future__ import annotations

import dagster as dg

from mpta_pipeline.pipeline.deployment import Project


class ProjectResource(dg.ConfigurableResource[Project]):
    """The deployment named by `MPTA_DATA_DIR`, `MPTA_SURVEY_DIR` and `MPTA_CONFIG_DIR`."""

    def create_resource(self, context: dg.InitResourceContext) -> Project:
        """Open it. Files are read when first asked for."""
        return Project.from_env()
