"""Steps that publish: one DuckDB file and one report."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from mpta_pipeline import metrics
from mpta_pipeline import report as domain
from mpta_pipeline.core import tables
from mpta_pipeline.core.storage import shared, write_text
from mpta_pipeline.pipeline.inputs import Inputs
from mpta_pipeline.pipeline.labels import labels
from mpta_pipeline.pipeline.step import Output, step
from mpta_pipeline.publication import warehouse as duckdb_file


@step("warehouse")
def warehouse(inputs: Inputs) -> Output:
    """Publish all tables as one DuckDB file, built beside the old one and swapped in."""
    crosswalk, layout = inputs.crosswalk, inputs.layout

    def publish() -> Path:
        duckdb_file.leave_out(layout, inputs.stored_outside_the_study())
        return duckdb_file.publish(layout)

    return Output(
        notes={"tables": len(tables.PUBLISHED)},
        companions={"concepts": crosswalk.concepts, "options": crosswalk.options, "lineage": _lineage(inputs)},
        publish=publish,
    )


def _lineage(inputs: Inputs) -> pl.DataFrame:
    """What every stored partition that is published was made from."""
    rows = [
        (str(node), parent, record.version, version or None)
        for node, record in inputs.ancestors()
        for parent, version in record.parents.items()
    ]
    return tables.LINEAGE.conform(pl.DataFrame(rows, schema=tables.LINEAGE.schema, orient="row"))


@step("report")
def report(inputs: Inputs) -> Output:
    """Write the report from the stored estimates."""
    names = ("subgroup_metrics", "pockets", "items", "scores", "people_shares")
    frames = {name: inputs.stacked(name) for name in names}
    frames["model_comparison"] = inputs.table("model_comparison")
    frames["models"] = inputs.table("models")
    frames["waves"] = inputs.stacked("waves").with_columns(inputs.permitted_use("codebook"))
    frames["panel"] = inputs.table("panel")
    frames["options"] = inputs.crosswalk.options
    waves, study = set(frames["waves"]["wave"]), inputs.study
    html = domain.render_report(
        frames,
        study=study,
        metrics=metrics.METRICS,
        title=f"Study {study.name}",
        generated=datetime.now(UTC),
        labels=labels(
            sources=inputs.sources,
            crosswalk=inputs.crosswalk,
            study_tasks=study.tasks,
            dimensions=study.figures.dimensions,
            countries=frames["waves"]["countries"].explode().drop_nulls().unique().sort().to_list(),
            config_folder=inputs.config_folder,
            controls=frames["models"].filter("control")["model"].to_list(),
        ),
        notes=[f"{one.subject}: {one.message}" for one in inputs.held],
        set_aside={
            wave: record.notes.get("set_aside", [])
            for wave, record in sorted(inputs.records("harmonized_wave").items())
            if wave in waves
        },
    )
    layout = inputs.layout
    return Output(notes={"bytes": len(html)}, publish=lambda: shared(layout, write_text(html, layout.report)))
