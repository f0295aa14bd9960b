"""`mpta watch`: look for new releases of the surveys in use."""

from __future__ import annotations

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result


@command(Group.INPUTS, examples=["mpta watch", "mpta watch --json"])
def watch() -> Result:
    """Check the sources' addresses for new releases; download what may be downloaded, and name the rest."""
    from rich.text import Text

    from mpta_pipeline.core.untrusted_text import printable
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.surveys import release_watch

    deployment = Deployment.from_env()
    deployment.look()
    findings = release_watch.watch(deployment.sources, deployment.layout, deployment.in_use())
    rows = [
        {
            "source": found.codebook,
            "address": found.address,
            "outcome": found.outcome,
            "good": found.good,
            "message": found.message,
        }
        for found in findings
    ]
    lines = [
        Text.assemble(
            (found.outcome.replace("_", " "), "green" if found.good else "yellow"),
            f" {printable(found.message)}\n",
            (f"  {printable(found.address)}", "dim"),
        )
        for found in findings
    ]
    result = Result()
    result.table("releases", rows, shown=lines)
    if not findings:
        result.info("No source in use has an address to check. Add one under `watch:` in surveys.yaml.")
    return result
