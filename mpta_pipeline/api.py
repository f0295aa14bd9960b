"""What a notebook imports: the published results of a study as polars frames, and scores of answers made elsewhere.

    import mpta_pipeline

    study = mpta_pipeline.open("data")
    women = study.reported_estimates(metric="accuracy", dimensions="sex", subgroup="female")
    study.trace(women["estimate_id"][0])

    scored = mpta_pipeline.score("answers.csv", by=["region"])
    scored.estimates, scored.pockets, scored.comparison

No Dagster here, and nothing that writes to the data folder. The names in `__all__`, the methods and attributes of their
classes and the columns of the published tables stay stable within a minor version; the changelog names what changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import duckdb
import polars as pl

from mpta_pipeline import external, plots
from mpta_pipeline.core import tables
from mpta_pipeline.core.configuration import config_dir
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.named_sql import load, quoted
from mpta_pipeline.core.storage import Layout, scratch
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.unknown_names import check_name, unknown_name

if TYPE_CHECKING:
    import altair as alt

    from mpta_pipeline.pipeline.deployment import Deployment

__all__ = ["PublishedStudy", "ReadAnswers", "ScoredAnswers", "open", "read_answers", "score"]

_TABLES: dict[str, tables.Table | tables.View] = {t.name: t for t in tables.PUBLISHED} | {
    v.name: v for v in tables.VIEWS
}
# Column → the table that holds every value that a filter can name. An empty result is checked against it.
_NAMES = {
    "model": tables.SUBGROUP_METRICS,
    "task": tables.ITEMS,
    "survey": tables.WAVES,
    "wave": tables.WAVES,
    "metric": tables.SUBGROUP_METRICS,
    "condition": tables.SUBGROUP_METRICS,
    "dimensions": tables.SUBGROUP_METRICS,
}

Filter = str | int | float | bool | None | Collection[str] | Collection[int]
"""A value that a column must have; several: any of them; None: the column is null."""


def open(data: str | os.PathLike[str] | None = None) -> PublishedStudy:
    """Open the published results of a study, read-only.

    Args:
        data: The data folder of the study, or its `warehouse.duckdb`; by default `MPTA_DATA_DIR`, else `data/`.

    Raises:
        ConfigError: Nothing has been published there yet.
    """
    if data is None:
        layout = Layout.from_env()
    else:
        path = Path(data).resolve()
        layout = Layout(path.parent if path.suffix == ".duckdb" else path)
        if path == Layout.from_env().root:
            layout = Layout.from_env()  # with the object store and ledgers that the environment names
    file = layout.warehouse if data is None or Path(data).suffix != ".duckdb" else Path(data).resolve()
    if not file.is_file():
        raise ConfigError(
            "There are no published results",
            file=file,
            remedy="`mpta run` publishes them; or give the data folder that holds warehouse.duckdb",
        )
    return PublishedStudy(file, layout)


@dataclass(frozen=True)
class PublishedStudy:
    """The published results of a study: each method returns a polars frame.

    Filters are keyword arguments named like the columns: a value, a list of values (any of them), or None (null).

        study.reported_estimates(model=["smollm2", "gpt"], task="value_alignment")

    `study.columns("reported_estimates")` explains the columns of a table. The file is opened for each call, read-only:
    a run that publishes new results meanwhile is neither stopped nor missed.

    Attributes:
        file: The published DuckDB file.
        layout: The paths of the data folder.
    """

    file: Path
    layout: Layout

    def reported_estimates(self, **filters: Filter) -> pl.DataFrame:
        """Estimates as the report shows them, one row each: a metric of a model on a task for one subgroup.

        Weighted where the survey has weights; the baselines are in the same row. Begin here: averages and joins over
        `estimates` count each estimate several times.
        """
        return self.table("reported_estimates", **filters)

    def estimates(self, **filters: Filter) -> pl.DataFrame:
        """All rows of the table `subgroup_metrics`: each estimate with weights and without, and once per baseline."""
        return self.table("subgroup_metrics", **filters)

    def pockets(self, **filters: Filter) -> pl.DataFrame:
        """Subgroups found on one half of the answers, tested on the other; `confirmed=True` for those confirmed."""
        return self.table("pockets", **filters)

    def comparison(self, **filters: Filter) -> pl.DataFrame:
        """Paired differences between models (table `model_comparison`)."""
        return self.table("model_comparison", **filters)

    def personas(self, **filters: Filter) -> pl.DataFrame:
        """Personas with their traits."""
        return self.table("personas", **filters)

    def prompts(self, **filters: Filter) -> pl.DataFrame:
        """Prompts, one row per item, persona, condition, option order and wording."""
        return self.table("prompts", **filters)

    def responses(self, **filters: Filter) -> pl.DataFrame:
        """Responses, one row per model and prompt."""
        return self.table("responses", **filters)

    def scores(self, **filters: Filter) -> pl.DataFrame:
        """Scores, one row per response."""
        return self.table("scores", **filters)

    def items(self, **filters: Filter) -> pl.DataFrame:
        """Items of the tasks, with their options."""
        return self.table("items", **filters)

    def waves(self, **filters: Filter) -> pl.DataFrame:
        """Survey waves and releases in use."""
        return self.table("waves", **filters)

    def plot_estimates(self, **filters: Filter) -> alt.Chart:
        """Draw reported estimates by subgroup, models side by side, with intervals and baselines.

            study.plot_estimates(metric="accuracy", dimensions="sex", condition="persona")

        Raises:
            ConfigError: Altair is not installed (extra `plots`), or there is nothing, or too much, to draw.
        """
        return plots.estimates(self.reported_estimates(**filters))

    def plot_pockets(self, **filters: Filter) -> alt.Chart:
        """Draw pockets with their difference from everyone else; filled marks are confirmed.

        Raises:
            ConfigError: As for `plot_estimates`.
        """
        controls = self.table("models").select("model", "control")
        return plots.pockets(self.pockets(**filters).join(controls, on="model", how="left"))

    def plot_comparison(self, **filters: Filter) -> alt.Chart:
        """Draw the paired differences between models.

        Raises:
            ConfigError: As for `plot_estimates`.
        """
        return plots.comparison(self.comparison(**filters))

    def table(self, name: str, **filters: Filter) -> pl.DataFrame:
        """Read a published table or view.

        Args:
            name: Its name, e.g. `respondents` or `answers`; `tables()` lists them.
            filters: Values per column.

        Raises:
            ConfigError: There is no such table or column, or nothing is named as a filter says.
        """
        check_name("table", name, _TABLES, variable="table")
        conditions, values = [], []
        with self._connected() as con:
            known = _columns_in(con, name, self.file)
            for column, wanted in filters.items():
                check_name(f"column of {name}", column, known, variable=column)
                if wanted is None:
                    conditions.append(f"{quoted(column)} is null")
                    continue
                several = [wanted] if isinstance(wanted, str | int | float) else list(wanted)
                conditions.append(f"list_contains(?, {quoted(column)})")
                values.append(several)
            where = f" where {' and '.join(conditions)}" if conditions else ""
            frame: pl.DataFrame = con.sql(f"select * from {quoted(name)}{where}", params=values).pl()
            if frame.is_empty():
                _check_values(con, filters)
        return frame

    def tables(self) -> pl.DataFrame:
        """The published tables with their meaning and number of rows; views with null in place of the number."""
        with self._connected() as con:
            rows = [
                (name, one.description, con.table(quoted(name)).shape[0] if isinstance(one, tables.Table) else None)
                for name, one in _TABLES.items()
            ]
        schema = {"table": pl.String, "description": pl.String, "rows": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def columns(self, table: str) -> pl.DataFrame:
        """The declared columns of a table or view: name, type, meaning, and whether they may be null.

        Raises:
            ConfigError: There is no such table.
        """
        check_name("table", table, _TABLES, variable="table")
        return pl.DataFrame(
            [(c.name, str(c.dtype), c.description, c.nullable) for c in _TABLES[table].columns],
            schema=["column", "type", "description", "nullable"],
            orient="row",
        )

    def trace(self, identifier: str) -> pl.DataFrame:
        """Trace an estimate, pocket, response, prompt or persona back to the survey files.

        Args:
            identifier: As `mpta trace` takes it, e.g. an estimate's `estimate_id`.

        Returns:
            One row per response and the survey answer that counts for it, with wave, release, file, row, variable,
            native code and label; of a persona one row per survey answer.

        Raises:
            MptaError: Nothing has this id.
        """
        from mpta_pipeline.publication import warehouse

        return warehouse.trace(self.layout, identifier).frame

    def sql(self, query: str, parameters: Sequence[object] | Mapping[str, object] | None = None) -> pl.DataFrame:
        """Run an SQL query on the published tables and views.

        Args:
            query: DuckDB SQL. `study.sql("show tables")` lists the tables and views.
            parameters: Values for `?` or `$name` in the query.

        Raises:
            ConfigError: DuckDB refuses the query; with its reason.
        """
        try:
            with self._connected() as con:
                relation = con.sql(query, params=parameters)
                # A statement without a result, such as SET, gives no relation.
                frame: pl.DataFrame = pl.DataFrame() if relation is None else relation.pl()
                return frame
        except duckdb.Error as failure:
            raise ConfigError(
                f"DuckDB refuses the query: {str(failure).splitlines()[0]}",
                value=query,
                remedy="correct the query; tables() and columns() list the names, and the file is open for reading "
                "only",
            ) from None

    @contextmanager
    def _connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with duckdb.connect(str(self.file), read_only=True) as con:
            yield con


def _columns_in(con: duckdb.DuckDBPyConnection, name: str, file: Path) -> list[str]:
    """The columns of a published table or view.

    Raises:
        ConfigError: The file was published by a version that did not have it.
    """
    try:
        return con.table(quoted(name)).columns
    except duckdb.CatalogException:
        raise ConfigError(
            "The published file has no such table or view: an earlier version published it",
            file=file,
            variable="table",
            value=name,
            remedy="`mpta run` publishes it again; stored responses are not requested again",
        ) from None


def _check_values(con: duckdb.DuckDBPyConnection, filters: Mapping[str, Filter]) -> None:
    """Refuse a model, task, survey, wave, metric, condition or dimension that nothing is named.

    Raises:
        ConfigError: With the name that was probably meant.
    """
    for column, wanted in filters.items():
        if column not in _NAMES or wanted is None:
            continue
        rows = con.sql(f"select distinct {quoted(column)} from {quoted(_NAMES[column].name)} order by all").fetchall()
        known = [str(value) for (value,) in rows]
        for value in [wanted] if isinstance(wanted, str | int | float) else wanted:
            if known and str(value) not in known:
                raise unknown_name(column, str(value), known, variable=column)


# --- answers made elsewhere -----------------------------------------------------------------------------------------

Answers = str | os.PathLike[str] | pl.DataFrame
"""A file of answers, or a frame with the same columns."""


class ReadingOptions(TypedDict, total=False):
    """How answers made elsewhere are to be read; every option has a default.

    Attributes:
        items: The benchmark's own item file or folder, or Parquet of the table `items`.
        task: A task of the study, whose items the answers are to.
        kind: Kind of the items, where their file does not say.
        people: What people answered: respondents' answers or published shares, as a file or frame.
        answer: Columns that hold answers, one per model.
        columns: Role → column, e.g. `{"item_id": "qid", "own_answer": "truth"}`.
        questions: Questions that have a column each.
        ordered: The options, in the order given, are steps of a scale.
        count_from: What numbers count options from: 0 or 1.
        by: Columns that group the personas; `sex×age` (or `sex*age`) crosses two.
        metadata: BBQ's additional_metadata.csv.
    """

    items: str | os.PathLike[str] | None
    task: str | None
    kind: str | None
    people: Answers | None
    answer: Sequence[str]
    columns: Mapping[str, str]
    questions: Sequence[str]
    ordered: bool
    count_from: int | None
    by: Sequence[str]
    metadata: str | os.PathLike[str] | None


def score(answers: Answers | Sequence[Answers], **options: Unpack[ReadingOptions]) -> ScoredAnswers:
    """Score answers made elsewhere; the same as `mpta score`.

        scored = mpta_pipeline.score("answers.csv", by=["sex"])
        scored.estimates.filter(metric="accuracy", dimensions="sex")

    Args:
        answers: A file (CSV, TSV, JSON, JSON lines, Parquet, a log of inspect_ai or lm-evaluation-harness), a polars
            frame, or several of them.
        options: See `ReadingOptions`.

    Raises:
        ValidationError: The answers cannot be understood, or none can be scored; with column, value and remedy.
        ConfigError: An option names something that does not exist.
    """
    return read_answers(answers, **options).score()


def read_answers(answers: Answers | Sequence[Answers], **options: Unpack[ReadingOptions]) -> ReadAnswers:
    """Read answers made elsewhere without scoring them, to see how they are understood (`mpta score --look`).

        mpta_pipeline.read_answers("answers.csv").preview()

    Args:
        answers: As for `score`.
        options: See `ReadingOptions`.

    Raises:
        ValidationError: The answers cannot be understood; with column, value and remedy.
        ConfigError: An option names something that does not exist.
    """
    from mpta_pipeline.tasks import task_kinds

    reading = external.Reading(
        answers=tuple(options.get("answer", ())),
        columns=dict(options.get("columns", {})),
        by=tuple(name.replace("*", "×") for name in options.get("by", ())),
        questions=tuple(options.get("questions", ())),
        count_from=options.get("count_from"),
        ordered=options.get("ordered", False),
    )
    items, task, kind = options.get("items"), options.get("task"), options.get("kind")
    metadata = None if (given := options.get("metadata")) is None else Path(given)
    if kind is not None:
        check_name("kind of task", kind, task_kinds().kinds, variable="--kind")
    known, rules = None, None
    if items is not None:
        known = external.known_items(Path(items), kind=kind, metadata=metadata)
    elif task is not None:
        known, rules = _items_of_task(_deployment(), task), _deployment().study.figures
    found: list[str] = []
    parts = answers if isinstance(answers, Sequence) and not isinstance(answers, str) else [answers]
    with scratch() as folder:
        people = options.get("people")
        people_file = None if people is None else _as_file(people, folder, "people.parquet")
        read = external.together(
            [
                external.load(
                    _as_file(part, folder, f"answers{number}.parquet"),
                    known=known,
                    find=_finder(found),
                    reading=reading,
                    people=people_file,
                    metadata=metadata,
                )
                for number, part in enumerate(parts, start=1)
            ]
        )
    if found:
        rules = _deployment().study.figures
    names = ["a frame" if isinstance(part, pl.DataFrame) else Path(part).name for part in parts]
    title = f"Answers of {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
    return ReadAnswers(read, reading, rules, title)


@dataclass(frozen=True)
class ReadAnswers:
    """Answers made elsewhere, matched with their items and not yet scored.

    Attributes:
        answers: The answers with their items, people's own answers and groups.
        reading: How they were read.
        rules: Rules of the study whose items they are to; None: the defaults.
        title: What they are, for the report.
    """

    answers: external.Answers
    reading: external.Reading
    rules: EstimateRules | None
    title: str

    def preview(self) -> list[tuple[str, list[str]]]:
        """How the answers are understood and what will be computed: headings, each with its lines."""
        return external.look(self.answers, self.reading.by)

    def score(self) -> ScoredAnswers:
        """Compute all estimates.

        Raises:
            ValidationError: No answer can be scored, or all requests failed.
        """
        results = external.compute(self.answers, by=self.reading.by, rules=self.rules)
        return ScoredAnswers(
            estimates=results.estimates,
            comparison=results.comparison,
            pockets=results.pockets,
            scores=results.scores,
            items=results.items,
            numbers=results.numeric,
            left_out=tuple(aside.text() for aside in self.answers.left_out),
            notes=tuple(self.answers.notes),
            title=self.title,
            rules=results.rules,
        )


@dataclass(frozen=True)
class ScoredAnswers:
    """Estimates of answers made elsewhere, in the tables that the pipeline makes of its own responses.

    Attributes:
        estimates: Table `subgroup_metrics`.
        comparison: Table `model_comparison`; empty with one model.
        pockets: Table `pockets`; empty where personas have no groups.
        scores: Table `scores`, one row per answer.
        items: Table `items`.
        numbers: Comparison of answers that are numbers; None where there are none.
        left_out: What could not be scored, and why.
        notes: What was assumed in reading.
        title: What the answers are.
        rules: The rules of estimation.
    """

    estimates: pl.DataFrame
    comparison: pl.DataFrame
    pockets: pl.DataFrame
    scores: pl.DataFrame
    items: pl.DataFrame
    numbers: pl.DataFrame | None
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    title: str
    rules: EstimateRules

    def reported_estimates(self) -> pl.DataFrame:
        """The estimates one row each, as the view `reported_estimates` of a study: weighted if there are weights."""
        with duckdb.connect() as con:
            con.register("subgroup_metrics", self.estimates.to_arrow())
            con.register("models", tables.MODELS.empty().to_arrow())
            for view in ("estimates", "reported_estimates"):
                con.execute(f"create view {view} as {load(f'views/{view}')}")
            frame: pl.DataFrame = con.table("reported_estimates").pl()
        return frame

    def plot_estimates(self, **equal: str) -> alt.Chart:
        """Draw reported estimates by subgroup, models side by side, with intervals and baselines.

            scored.plot_estimates(metric="accuracy", dimensions="region")

        Args:
            equal: Values that columns of the reported estimates must have.

        Raises:
            ConfigError: Altair is not installed (extra `plots`), or there is nothing, or too much, to draw.
        """
        return plots.estimates(self.reported_estimates().filter(**equal))

    def plot_pockets(self) -> alt.Chart:
        """Draw pockets with their difference from everyone else; filled marks are confirmed.

        Raises:
            ConfigError: As for `plot_estimates`.
        """
        return plots.pockets(self.pockets)

    def plot_comparison(self) -> alt.Chart:
        """Draw the paired differences between models.

        Raises:
            ConfigError: As for `plot_estimates`.
        """
        return plots.comparison(self.comparison)

    def overview(self) -> pl.DataFrame:
        """The estimates to read first: one row per model, condition and group, one column per metric."""
        return external.overview(self.estimates)

    def write(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write the estimates to a .csv, .json or .parquet file, or all tables and the report to a folder.

        Returns:
            The files that were written.

        Raises:
            ConfigError: The suffix names no format.
        """
        results = external.Results(
            self.estimates, self.comparison, self.pockets, self.scores, self.items, self.numbers, self.rules
        )
        return external.write(results, Path(path), title=self.title, notes=(*self.left_out, *self.notes))


def _deployment() -> Deployment:
    from mpta_pipeline.pipeline.deployment import Deployment

    return Deployment.from_env()


def _as_file(answers: Answers, folder: Path, name: str) -> Path:
    """The file of answers; a frame is written to one for the time of reading."""
    if not isinstance(answers, pl.DataFrame):
        return Path(answers)
    answers.write_parquet(folder / name)
    return folder / name


def _finder(found: list[str]) -> Callable[[pl.DataFrame], external.Known | None]:
    """Looks for the task of the study that a table's item ids belong to, and notes its name."""

    def find(frame: pl.DataFrame) -> external.Known | None:
        from mpta_pipeline.core.provenance import Node
        from mpta_pipeline.pipeline.stored import made, read

        if not (config_dir() / "study.yaml").exists():
            return None
        deployment = _deployment()
        asked = set(frame["item_id"].cast(pl.String).drop_nulls())
        for task in deployment.study.tasks:
            if made(deployment, Node("items", task)) and asked <= set(read(deployment, "items", task)["item_id"]):
                found.append(task)
                return _items_of_task(deployment, task)
        return None

    return find


def _items_of_task(deployment: Deployment, task: str) -> external.Known:
    """Items, people's own answers and groups of a task of the study, as they are stored.

    Raises:
        ConfigError: The study has no such task, or its items have not been built.
    """
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.stored import made, path_of, read

    check_name(
        "task",
        task,
        deployment.study.tasks,
        variable="--task",
        file=deployment.config / "study.yaml",
        hint="or give the item file with --items",
    )
    if not made(deployment, Node("items", task)):
        raise ConfigError(
            "The items of this task have not been built yet",
            variable="--task",
            value=task,
            remedy="run `mpta run --until prompts`, which sends no request to a model, or give the item file with "
            "--items",
        )
    groups = read(deployment, "groups") if path_of(deployment, Node("groups")).exists() else None
    return external.Known(read(deployment, "items", task), read(deployment, "gold", task), groups)
