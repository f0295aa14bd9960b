"""What a user should know of the study's stored tables: headline estimates, and what is missing and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from mpta_pipeline.cli.labels import names_of
from mpta_pipeline.core.untrusted_text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import polars as pl

    from mpta_pipeline.cli.result import Result
    from mpta_pipeline.core.labels import Labels
    from mpta_pipeline.pipeline.deployment import Deployment


def add_headline(result: Result, deployment: Deployment) -> None:
    """Add the table of headline estimates with a sentence per row."""
    import polars as pl

    from mpta_pipeline import metrics
    from mpta_pipeline.pipeline.stored import stacked

    estimates = stacked(deployment, "subgroup_metrics")
    if estimates.is_empty():
        return
    headline = metrics.headline(estimates, level=deployment.study.figures.level)
    open_text = " (for open text: ROUGE-L)" if estimates.filter(metric=metrics.OPEN_TEXT).height else ""
    title = f"Accuracy over balanced option orders{open_text}, with {deployment.study.figures.confidence} intervals"
    names = names_of(deployment)
    named = headline.with_columns(
        pl.col("model").replace({key: names.model(key) for key in headline["model"]}),
        pl.col("task").replace({key: names.task(key) for key in headline["task"]}),
        pl.col("survey").replace({key: names.survey(key) for key in headline["survey"]}),
    )
    result.table("headline", headline, title=title, shown=_readable(named))
    for model, task, survey, verdict in named.select("model", "task", "survey", "verdict").iter_rows():
        result.info(f"  {model} on {task} ({survey}): {verdict}.")
    weighted = estimates.filter(pl.col("weighted"))["survey"].unique().to_list()
    if unweighted := sorted(set(estimates["survey"]) - set(weighted)):
        titles = ", ".join(map(names.survey, unweighted))
        result.info(f"{titles}: no survey weights, so estimates describe the panel, not the population.")


def add_out_of_date(result: Result, deployment: Deployment) -> None:
    """Warn that the results below are those of before, if a table that they are made from is out of date."""
    from mpta_pipeline.pipeline import graph
    from mpta_pipeline.pipeline.staleness import due
    from mpta_pipeline.pipeline.stored import remembering

    with remembering():
        stale = len(list(due(deployment, graph.assets())))
    if stale and deployment.layout.report.exists():
        tables = "1 table is" if stale == 1 else f"{stale} tables are"
        result.warning(
            f"{tables} out of date, so the results are those of before. `mpta status` says which and why, "
            "`mpta run` rebuilds them.",
            subject="out of date",
        )


SHOWN_FINDINGS = 8


def add_found(result: Result, deployment: Deployment) -> None:
    """Add what the report found, in its words: findings first, then what was looked for and not found."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.stored import made

    record = made(deployment, Node("report"))
    if record is None or "found" not in record.notes:  # an earlier version's report
        return
    names = names_of(deployment)
    found, looked = record.notes["found"], record.notes.get("looked_for", [])
    lines = []
    for one in found[:SHOWN_FINDINGS]:
        where = f"{names.model(one['model'])} on {names.task(one['task'])}, {names.survey(one['survey'])}"
        trace = f" `mpta trace {one['trace']}`" if one["trace"] else ""
        lines.append(Text.assemble("  ", (f"{printable(one['sentence'])}.", "bold")))
        lines.append(Text(f"      {one['kind']}, {printable(where)}; {printable(one['sure'])}{trace}", style="dim"))
    if more := len(found) - SHOWN_FINDINGS:
        lines += [Text(f"  {more} more in the report.")] if more > 0 else []
    result.table("found", found, title="What we found", shown=lines)
    if not found:
        result.info("No difference between groups, and no harm by the persona, is confirmed.")
    result.facts["looked_for"] = looked
    for text in looked[:SHOWN_FINDINGS]:
        result.note(text, subject="looked for")


def add_published_figures(result: Result, deployment: Deployment) -> None:
    """Add the figures of published.yaml beside the study's own, as the report shows them."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.stored import made

    published, problem = deployment.published
    record = made(deployment, Node("report"))
    if problem:
        result.warning(problem, subject="published.yaml")
    if published is None or record is None or not record.notes.get("published"):
        return
    rows = record.notes["published"]
    names = names_of(deployment)
    shown = [
        {"figure": "\n".join(part for part in (figure, of) if part), "published": value, "ours": "\n".join(lines)}
        for (figure, of, value), lines in _of_figures(rows, names).items()
    ]
    plain = [{key: value for key, value in row.items() if key != "shown"} for row in rows]
    result.table("published_and_ours", plain, title=f"Published and ours: {published.citation}", shown=shown)


SHOWN_MODELS = 4


def _of_figures(rows: Sequence[Mapping[str, Any]], names: Labels) -> dict[tuple[str, str, str], list[str]]:
    """Figure, model and published value → a line per own estimate. Controls are left out if there are models."""
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["figure"], row["of"], row["shown"]["published"]), []).append(row)
    several = len({row["survey"] for row in rows if row["survey"]}) > 1
    lines: dict[tuple[str, str, str], list[str]] = {}
    for figure, own in found.items():
        models = [row for row in own if not row["control"]] or own
        lines[figure] = [_of_model(row, names, several=several) for row in models[:SHOWN_MODELS]]
        if more := len(models) - SHOWN_MODELS:
            lines[figure] += [f"{more} more in the report"] if more > 0 else []
    return lines


def _of_model(row: Mapping[str, Any], names: Labels, *, several: bool) -> str:
    """An own estimate in a line: value, interval, difference, model."""
    shown = row["shown"]
    if row["model"] is None:
        return _first_clause(shown["estimate"])
    who = row["model"] + (f", {names.survey(row['survey'])}" if several else "")
    interval = f" {shown['interval']}" if shown["interval"] else ""
    difference = "" if row["difference"] is None else f", {shown['difference']}"
    return f"{_first_clause(shown['estimate'])}{interval}{difference} ({who})"


def _first_clause(text: str) -> str:
    """A value, or why there is none, without the details that the report has."""
    return text.partition(";")[0].partition(" (")[0]


def _readable(headline: pl.DataFrame) -> pl.DataFrame:
    """The headline for a terminal: estimates with their intervals in one column each."""
    import polars as pl

    from mpta_pipeline.core.tables import CONDITIONS

    def interval(name: str) -> pl.Expr:
        shown = pl.format("{}\n[{}, {}]", *(_two_digits(f"{name}{end}") for end in ("", "_low", "_high")))
        return pl.coalesce(shown, _two_digits(name)).alias(name)

    conditions = [c for c in CONDITIONS if headline[c].is_not_null().any()]
    models = [] if headline["model"].n_unique() == 1 else [pl.col("model")]
    return headline.select(
        *models,
        pl.format("{}\n{}", "task", "survey").alias("task, survey"),
        *map(interval, conditions),
        *map(_two_digits, ("chance", "item_mode")),
        "n_answers",
        "n_personas",
    )


def _two_digits(name: str) -> pl.Expr:
    """A share with two decimals, as survey tables print it."""
    import polars as pl

    return pl.col(name).round(2).cast(pl.Decimal(10, 2)).cast(pl.String)


def add_reading_notes(result: Result, deployment: Deployment) -> None:
    """Add what was unusual in reading the waves in use."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.stored import made

    for wave in deployment.catalogue().waves:
        record = made(deployment, Node("raw_wave", wave))
        for name, notes in (record.notes.get("told", {}) if record else {}).items():
            result.info(f"{'; '.join(notes)}.", subject=f"{wave}, {name}")


def add_held(result: Result, deployment: Deployment) -> None:
    """Add the releases that are held until a person decides, with both releases and how to accept."""
    from mpta_pipeline.pipeline.held_releases import held_releases

    for one in held_releases(deployment):
        result.warning(one.message, subject=one.subject)


def add_set_aside(result: Result, deployment: Deployment) -> None:
    """Add the columns, or parts of them, that harmonized waves lack because the crosswalk does not know their codes."""
    from mpta_pipeline.core.provenance import read_record
    from mpta_pipeline.core.storage import listed

    for path in sorted(listed(deployment.layout.store / "harmonized", "*.parquet")):
        record = read_record(path)
        problems = record.notes.get("set_aside", []) if record else []
        if problems:
            result.warning(
                f"{'; '.join(problems)}. Nothing is guessed: add what the codebook says to the concept's file, then "
                "run again.",
                subject=f"{path.stem}: {len(problems)} column(s) set aside, whole or in part",
            )


def add_without_items(result: Result, deployment: Deployment) -> None:
    """Add the tasks that are set aside because no wave of the study has a question of theirs."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.steps.tasks import without_items
    from mpta_pipeline.pipeline.stored import made

    records = {task: made(deployment, Node("items", task)) for task in deployment.study.own_tasks}
    for task, said in without_items(records):
        result.warning(said, subject=f"{task} is set aside")


def add_unanswered(result: Result, deployment: Deployment) -> None:
    """Add the requests without a response, per model and task, with the reason and the remedy."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.graph import model_tasks
    from mpta_pipeline.pipeline.stored import made

    for pair in model_tasks(deployment):
        record = made(deployment, Node("responses", str(pair)))
        notes = record.notes if record else {}
        told = []
        if left := notes.get("left"):
            told.append(f"{left:,} not sent: {notes.get('stopped', 'stopped')}; run again to continue")
        if errors := notes.get("errors"):
            reasons = notes.get("error_reasons")
            told.append(f"{errors:,} failed{f' ({reasons})' if reasons else ''}; `mpta run --retry-errors` retries")
        if withheld := notes.get("withheld"):
            told.append(f"{withheld:,} withheld: {notes.get('withheld_because', 'by the policy of their source')}")
        if told:
            result.warning(f"{'; '.join(told)}.", subject=f"{pair.label}, of {notes['requests']:,} requests")
        if said := notes.get("groups_left_out"):
            result.warning(f"{said}.", subject=pair.label)


def add_unreadable(result: Result, deployment: Deployment) -> None:
    """Add the models and tasks of which too few responses can be read, and what was noted during the requests."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.graph import model_tasks
    from mpta_pipeline.pipeline.stored import made
    from mpta_pipeline.tasks import check_readable

    for pair in model_tasks(deployment):
        responses, scores = (made(deployment, Node(asset, str(pair))) for asset in ("responses", "scores"))
        if responses is not None and (notes := responses.notes.get("notes")):
            result.note(str(notes), subject=pair.label)
        if scores is None:
            continue
        enough = check_readable(scores.notes.get("readable", []), deployment.study.least_readable)
        if not enough.passed:
            result.warning(
                f"{enough.description}. Its estimates must not be quoted; `mpta models --probe` shows what the model "
                "can do.",
                subject=pair.label,
            )


def add_own_records(result: Result, deployment: Deployment) -> None:
    """Add the deployment's own records of sources and concepts, and those that cannot be used, with the reason."""
    files = {
        f"own source {name}": (own.file, name in deployment.sources.replaced)
        for name, own in deployment.sources.own.items()
    }
    if deployment.has_own_concepts:
        files |= {
            f"own concept {name}": (own.file, name in deployment.crosswalk.replaced)
            for name, own in deployment.crosswalk.own.items()
        }
    for subject, (file, replaces) in files.items():
        result.note(f"{file}{', in place of the packaged record' if replaces else ''}", subject=subject)
    for aside in deployment.set_aside:
        result.warning(f"Set aside: {aside}", subject=aside.name)
