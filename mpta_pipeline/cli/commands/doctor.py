"""`mpta doctor`: whether the deployment can work."""

from __future__ import annotations

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result


@command(Group.START, examples=["mpta doctor", "mpta doctor --json"])
def doctor() -> Result:
    """Check folders, configuration, models and survey files. Read-only; sends no request to any model."""
    from rich.text import Text

    from mpta_pipeline.cli.dagster_instance import dagster_home
    from mpta_pipeline.core.untrusted_text import printable
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.pipeline.doctor import examine

    deployment = Deployment.from_env()
    found = list(examine(deployment, dagster_home(deployment)))
    lines = [
        Text.assemble(
            ("good  ", "green") if finding.good else ("wrong ", "red"),
            printable(f"{finding.what}: {finding.message}"),
        )
        for finding in found
    ]
    result = Result(ok=all(finding.good for finding in found))
    rows = [{"checked": finding.what, "good": finding.good, "message": finding.message} for finding in found]
    result.table("findings", rows, shown=lines)
    return result
