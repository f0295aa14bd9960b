"""`mpta export`: the personas for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result
from mpta_pipeline.core.errors import ConfigError


@command(
    Group.RESULTS,
    examples=[
        "mpta export personas/  # Parquet with a data card",
        "mpta export personas/ --panel --min-k 5",
        "mpta export personas/ --format reference_json",
    ],
)
def export(
    folder: Annotated[Path, typer.Argument(help="Folder to write to; created if it does not exist.")],
    *,
    format: Annotated[
        str, typer.Option(help="huggingface: Parquet with a data card; reference_json: the MPTA reference's file.")
    ] = "huggingface",
    surveys: Annotated[str | None, typer.Option(help="Surveys, comma-separated; default: all of the study.")] = None,
    min_k: Annotated[
        int, typer.Option(help="Leave out people who share their demographics with fewer people than this.", min=1)
    ] = 1,
    panel: Annotated[bool, typer.Option("--panel", help="Export only the personas of the panel.")] = False,
) -> Result:
    """Write the personas for other tools. Sources whose policy keeps them on this machine are left out and named."""
    import polars as pl

    from mpta_pipeline import personas
    from mpta_pipeline.cli.options import names
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.core.unknown_names import check_name
    from mpta_pipeline.personas.export import FORMATS
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.pipeline.stored import made, read

    check_name("export format", format, FORMATS, variable="--format")
    deployment = Deployment.from_env()
    if made(deployment, Node("personas")) is None:
        raise ConfigError(
            "There are no personas yet",
            file=deployment.config / "study.yaml",
            remedy="`mpta run --until panel` builds them without any request to a model",
        )
    frame = read(deployment, "personas")
    if panel:
        frame = frame.join(read(deployment, "panel"), on="respondent_id", how="semi")
    known = sorted(frame["survey"].unique())
    for name in names(surveys):
        check_name("survey", name, known, variable="--surveys")
    frame = frame.filter(pl.col("survey").is_in(names(surveys) or known))
    # Today's policy counts, not the one in force when the personas were built.
    frame = frame.with_columns(deployment.permitted_use("codebook"))
    facts = personas.column_facts(deployment.crosswalk).filter(pl.col("question").is_not_null())
    done = personas.export_personas(
        frame,
        folder,
        format=format,
        min_k=min_k,
        questions=dict(facts.unique("column", keep="first", maintain_order=True).select("column", "question").rows()),
    )
    result = Result()
    for survey, why in done.left_out.items():
        result.warning(why, subject=f"{survey} was left out")
    hidden = frame.filter((pl.col("data_use") == "any") & (pl.col("k_anonymity") < min_k)).height
    result.info(f"{done.personas:,} personas" + (f"; {hidden:,} left out: k-anonymity below {min_k}" if hidden else ""))
    for path in done.files:
        result.info(str(path))
    result.facts |= {"personas": done.personas, "files": [str(path) for path in done.files]}
    return result
