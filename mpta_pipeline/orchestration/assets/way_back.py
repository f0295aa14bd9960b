"""The way from a figure back to the survey file, as metadata: how many of what, where they are, how to follow them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.untrusted_text import markdown
from mpta_pipeline.orchestration import links
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import read

_VARIABLES = 4  # that are named
_FILES = 4


def way_back(deployment: Deployment, figure: pl.DataFrame, id_column: str, partition: str) -> dict[str, Any]:
    """The first steps of the trace of a figure, with links.

    Counts and names only: a trace shows the rows, where the policy of their source permits it.

    Args:
        deployment: The deployment.
        figure: The figure, one row; without a row there is nothing to show.
        id_column: The column of its id.
        partition: Model and task.
    """
    if figure.is_empty():
        return {}
    row = figure.row(0, named=True)
    lines = ["| step | how much | follow it |", "| --- | --- | --- |"]
    lines += [f"| {step} | {what} | {where} |" for step, what, where in _steps(deployment, row, id_column, partition)]
    return {"where a figure comes from": dg.MetadataValue.md("\n".join(lines))}


def _steps(
    deployment: Deployment, row: dict[str, Any], id_column: str, partition: str
) -> Iterator[tuple[str, str, str]]:
    pair = ModelTask.parse(partition)
    figure = str(row[id_column])
    group = "everyone" if row["dimensions"] == "all" else f"{row['dimensions']}: {row['subgroup']}"
    about = f"{row.get('metric') or row.get('outcome')}, {row['survey']}, {row['condition']}, {group}"
    yield "figure", markdown(about), f"[{markdown(figure)}]({links.trace(figure)}), `mpta trace {figure}`"
    yield "responses", f"{row['n_answers']:,} answers", _asset("responses")
    yield "prompts", f"{row['n_items']:,} questions", _asset("prompts")
    yield "personas", f"{row['n_personas']:,} personas", _asset("personas")
    waves = deployment.waves().filter(pl.col("survey") == row["survey"]).sort("wave", descending=True)
    named = waves["wave"].unique(maintain_order=True).to_list()
    yield "respondents", markdown(", ".join(named)) or "none", _asset("harmonized_wave")
    if variables := _variables(deployment, pair.task, named):
        shown = [f"[{markdown(v)}]({links.trace(v)})" for v in variables[:_VARIABLES]]
        yield "variables", f"{len(variables)} of the newest wave", ", ".join(shown)
    for wave, name, release in waves.select("wave", "file_name", "release_id").head(_FILES).iter_rows():
        yield "file", f"{markdown(str(name))} ({markdown(str(release))})", f"[{markdown(wave)}]({links.trace(wave)})"


def _asset(name: str) -> str:
    return f"[{name}]({links.asset(name)})"


def _variables(deployment: Deployment, task: str, waves: list[str]) -> list[str]:
    """`wave:variable` of the task's survey questions in the newest wave that has any."""
    columns = set(read(deployment, "items", task)["column"].drop_nulls())
    for wave in waves:
        if not columns or wave not in deployment.catalogue().waves:
            continue
        codebooks = list(deployment.wave_file(wave).codebooks)
        rows = deployment.crosswalk.concepts.filter(
            pl.col("codebook").is_in(codebooks), pl.col("column").is_in(sorted(columns))
        )
        if "variable" in rows.columns and rows.height:
            return [f"{wave}:{variable}" for variable in rows["variable"].drop_nulls().unique().sort()]
    return []
