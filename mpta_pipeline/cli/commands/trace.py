"""`mpta trace`: where an estimate or response comes from, and what was made from a file or respondent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result
from mpta_pipeline.core.errors import MptaError

if TYPE_CHECKING:
    from mpta_pipeline.pipeline.deployment import Deployment


@command(
    Group.RESULTS,
    examples=[
        "mpta trace f_0a1b2c3d4e  # an estimate of the report, back to respondents and variables",
        "mpta trace gss-2018:317  # a respondent, by wave and the file's own number",
        "mpta trace gss-2018:abany  # a variable: what was made from it",
    ],
)
def trace(
    identifier: Annotated[
        str,
        typer.Argument(
            help="An estimate, pocket, prompt, response, persona, respondent, wave, survey file, or wave:variable."
        ),
    ],
) -> Result:
    """Trace an estimate, pocket, response, prompt or persona back to respondents and files, or a file forward."""
    from rich.text import Text

    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.publication import warehouse

    deployment = Deployment.from_env()
    try:
        found = warehouse.trace(deployment.layout, identifier)
    except MptaError as failure:
        raise _with_suggestion(failure, identifier, deployment) from None
    result = Result()
    result.table("rows", found.frame, shown=[Text(found.text())])
    result.facts |= {
        "kind": found.kind,
        "identifier": found.identifier,
        "title": found.title,
        "sections": [{"title": s.title, "rows": s.frame.to_dicts(), "note": s.note} for s in found.sections],
    }
    return result


def _with_suggestion(failure: MptaError, identifier: str, deployment: Deployment) -> MptaError:
    """The failure with the wave, file or variable that was probably meant."""
    from mpta_pipeline.core.tables import VARIABLES
    from mpta_pipeline.core.unknown_names import closest
    from mpta_pipeline.publication import warehouse

    look = deployment.last_look()
    if look is None or failure.value != identifier:
        return failure
    wave, mark, variable = identifier.partition(":")
    meant = None
    if mark and wave in look.waves:
        with warehouse.connect(deployment.layout, []) as con:
            known = con.execute(f"select variable from {VARIABLES.name} where wave = ?", [wave]).fetchall()
        if name := closest(variable, (name for (name,) in known)):
            meant = f"{wave}:{name}"
    else:
        files = [part.name for file in look.waves.values() for part in file.parts]
        name = closest(wave, [*look.waves, *files])
        meant = name and f"{name}{mark}{variable}"
    if meant is None:
        return failure
    return type(failure)(
        failure.problem, value=failure.value, remedy=f'did you mean "{meant}"? Otherwise {failure.remedy}'
    )
