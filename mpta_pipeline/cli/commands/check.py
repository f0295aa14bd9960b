"""`mpta check`: verify everything that is stored."""

from __future__ import annotations

from typing import Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result


@command(
    Group.MAINTENANCE,
    examples=["mpta check", "mpta check --only ledgers", "mpta check --json"],
)
def check(
    only: Annotated[str | None, typer.Option(help="Run only this check, e.g. ledgers.")] = None,
) -> Result:
    """Verify everything that is stored: tables, records, ledgers, waves, the published file. Read-only.

    Ends with exit code 1 if something stored is wrong, or waits for a person's decision, as a held release does. What
    only waits for the next run is listed and ends with 0.
    """
    from rich.text import Text

    from mpta_pipeline.core.unknown_names import check_name
    from mpta_pipeline.core.untrusted_text import printable
    from mpta_pipeline.pipeline import integrity
    from mpta_pipeline.pipeline.deployment import Deployment

    if only is not None:
        check_name("check", only, integrity.CHECKS, variable="--only")
    found = integrity.check_all(Deployment.from_env(), only)
    failed = [f for f in found if not f.passed]
    wrong = {f.check for f in failed if f.severity == "error"}
    undecided = {f.check for f in failed if f.severity == "decide"} - wrong
    waiting = {f.check for f in failed} - wrong - undecided
    rows = [
        {
            "check": name,
            "looked at": sum(f.check == name for f in found),
            "failed": sum(f.check == name for f in failed),
            "state": "WRONG"
            if name in wrong
            else "TO DECIDE"
            if name in undecided
            else "to look at"
            if name in waiting
            else "holds",
            "meaning": meaning,
        }
        for name, (_, meaning) in integrity.CHECKS.items()
        if only in (None, name)
    ]
    result = Result(ok=not wrong and not undecided)
    result.table("checks", rows)
    result.table(
        "findings",
        [{"check": f.check, "subject": f.subject, "severity": f.severity, "message": f.message} for f in failed],
        shown=[
            Text.assemble(
                (f.check, "red" if f.severity == "error" else "yellow"), printable(f" {f.subject}: {f.message}")
            )
            for f in failed
        ],
    )
    return result
