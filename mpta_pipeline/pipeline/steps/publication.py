"""Steps that publish: one DuckDB file and one report."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from mpta_pipeline import metrics
from mpta_pipeline import report as domain
from mpta_pipeline.core import tables
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.multiverse import is_variant
from mpta_pipeline.core.storage import shared, write_text
from mpta_pipeline.pipeline.inputs import Inputs
from mpta_pipeline.pipeline.labels import labels
from mpta_pipeline.pipeline.step import Output, step
from mpta_pipeline.pipeline.steps.tasks import without_items
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
    names = (
        "subgroup_metrics",
        "rivals",
        "experiments",
        "answer_shares",
        "pockets",
        "items",
        "people_shares",
        "people_effects",
    )
    frames = {name: inputs.stacked(name, _own if name == "items" else None) for name in names}
    frames |= {name: inputs.table(name) for name in _WHOLE}
    frames["model_comparison"] = inputs.table("model_comparison")
    frames["models"] = inputs.table("models")
    frames["waves"] = inputs.stacked("waves").with_columns(inputs.permitted_use("codebook"))
    frames["panel"] = inputs.table("panel")
    frames["options"] = inputs.crosswalk.options
    waves, study = set(frames["waves"]["wave"]), inputs.study
    spoken = labels(
        sources=inputs.sources,
        crosswalk=inputs.crosswalk,
        study_tasks=study.tasks,
        dimensions=study.figures.dimensions,
        countries=frames["waves"]["countries"].explode().drop_nulls().unique().sort().to_list(),
        config_folder=inputs.config_folder,
        controls=frames["models"].filter("control")["model"].to_list(),
    )
    frames["groups"] = inputs.table("groups")
    people = inputs.columns("personas", "respondent_id", "codebook", "data_use", "k_anonymity")
    frames["personas"] = people.with_columns(inputs.permitted_use("codebook"))
    published, problem = inputs.published
    scores = _scores(inputs)
    first = domain.first_screen(
        frames, study=study, metrics=metrics.METRICS, labels=spoken, published=published, scores=scores
    )
    wanted = first.prompts
    frames["prompts"] = inputs.stacked(
        "prompts", lambda part: part.filter(pl.col("prompt_id").is_in(wanted)), by_chunk=True
    )
    responses = domain.gather(
        (inputs.one_by_one("responses", [key], domain.READ) for key in inputs.partitions("responses")), wanted
    )
    frames["responses"] = responses.shown
    records = {name: {key: record.notes for key, record in inputs.records(name).items()} for name in _RECORDED}
    html = domain.render_report(
        frames,
        study=study,
        metrics=metrics.METRICS,
        title=f"Study {study.name}",
        generated=datetime.now(UTC),
        labels=spoken,
        notes=[
            *(f"{one.subject}: {one.message}" for one in inputs.held),
            *(
                f"{spoken.task(task)} is set aside. {nothing}"
                for task, nothing in without_items(inputs.records("items"))
            ),
            *([problem] if problem else []),
        ],
        set_aside={
            wave: notes.get("set_aside", [])
            for wave, notes in sorted(records["harmonized_wave"].items())
            if wave in waves
        },
        records=records,
        usage=_usage(inputs, responses.usage),
        published=published,
        scores=scores,
        failures=responses.failures,
        first=first,
    )
    layout = inputs.layout
    notes = {"bytes": len(html), **first.told}
    return Output(notes=notes, publish=lambda: shared(layout, write_text(html, layout.report)))


def _own(part: pl.DataFrame) -> pl.DataFrame:
    """The rows of the study's own tasks and models: those at the levels of a configuration have their own section."""
    names = [name for name in ("task", "model") if name in part.columns and part.height]
    return part.clear() if any(is_variant(str(part.item(0, name))) for name in names) else part


_WHOLE = ("configurations", "specification_curve", "multiverse_findings", "factor_moves", "variance_budget", "power")
_RECORDED = ("harmonized_wave", "responses")
"""Tables whose records hold warnings and failures of the run."""


def _scores(inputs: Inputs) -> domain.Scores:
    """The scores of the study's own tasks and models, to be read in parts."""
    own = [pair for pair in map(ModelTask.parse, inputs.partitions("scores")) if not any(map(is_variant, pair))]

    def part(pair: ModelTask) -> domain.Part:
        return domain.Part(*pair, lambda columns: inputs.one_by_one("scores", [str(pair)], columns))

    return domain.Scores([part(pair) for pair in own])


def _usage(inputs: Inputs, totals: pl.DataFrame) -> dict[str, dict[str, object]]:
    """Model → tokens and US dollars of the replies in use, and the model as its provider reports it."""
    found: dict[str, dict[str, object]] = {}
    for row in totals.iter_rows(named=True):
        spec = inputs.models.get(row["model"])
        price = None if spec is None else spec.price
        cost = None if price is None else price.of(row["tokens_in"], row["tokens_out"])
        found[row["model"]] = {
            "tokens_in": row["tokens_in"], "tokens_out": row["tokens_out"], "cost": cost,
            "fingerprint": "; ".join(row["fingerprints"][:3]) or None,
        }  # fmt: skip
    return found
