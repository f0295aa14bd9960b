"""What a job on a cluster runs: asks the model × task partitions that the run names, stores them, says what failed.

The cluster's Python runs this file by its path; it speaks to the run through Dagster Pipes.
"""

from __future__ import annotations

from dagster_pipes import open_dagster_pipes

from mpta_pipeline.errors import MptaError
from mpta_pipeline.orchestration import steps
from mpta_pipeline.orchestration.project import Project


def main() -> None:
    """Ask each partition; one that fails does not stop the others."""
    with open_dagster_pipes() as pipes:
        project = Project.from_env()
        failures = {}
        for cell in pipes.get_extra("cells"):
            model, _, task = cell.rpartition("|")
            try:
                record = steps.make_responses(project, model, task)
                pipes.log.info(f"{cell}: {record.rows} answers")
            except MptaError as failure:
                failures[cell] = str(failure)
        pipes.report_custom_message({"failures": failures})


if __name__ == "__main__":
    main()
