"""Trace an estimate, pocket, answer or persona back to the survey file, or a file, variable or person forward.

A trace back ends at the respondent's row, variable, native code and label in the file. The queries are in `sql/trace/`;
this module runs them and lays out the results for the terminal.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.named_sql import load
from mpta_pipeline.core.row_dimensions import ROW_DIMENSIONS
from mpta_pipeline.core.untrusted_text import printable
from mpta_pipeline.core.vocabulary import GROUP_CONDITION

SHOWN = 20
"""Largest number of rows that a table shows in the terminal. `Trace.frame` has all rows."""

Kind = Literal["estimate", "pocket", "response", "prompt", "persona", "release", "variable"]
Narrow = Callable[[duckdb.DuckDBPyConnection, pl.Series], None]

# A survey cell in one column of the terminal: variable = code (label).
_CODE = pl.format(
    "{}{}", pl.col("native_code").fill_null("(no code)"), pl.format(" ({})", pl.col("native_label")).fill_null("")
)
_CELL = (
    pl.when(pl.col("variable") != "")
    .then(pl.format("{} = {}", pl.col("variable"), _CODE))
    .when(pl.col("native_code").is_not_null())
    .then(pl.format("{}, given by the source", _CODE))
    .alias("in the file")
)

# A respondent's wave and own key, as `mpta forget` and `mpta trace` accept it. The own key omits the wave that a native
# key of a pooled file begins with.
_OWN_KEY = pl.format(
    "{}:{}",
    "wave",
    pl.when(pl.col("native_key").str.starts_with(pl.format("{}:", pl.col("wave").str.split("-").list.last())))
    .then(pl.col("native_key").str.split(":").list.slice(1).list.join(":"))
    .otherwise("native_key"),
)


@dataclass(frozen=True)
class TracedTable:
    """A table of a trace, with a title above and a note below. A single row is shown as a list of fields."""

    title: str
    frame: pl.DataFrame
    note: str = ""


@dataclass(frozen=True)
class Trace:
    """The origin of an estimate, answer or persona, or everything made from a release or variable.

    Attributes:
        kind: Type of the thing that the identifier names.
        identifier: The identifier as given.
        title: Description in a sentence.
        sections: The steps back to the file.
        frame: All answers, one row each, with the survey cell that counts for it: wave, release, file, SHA-256, row,
            variable, native code and label. For a persona: one row per survey answer. For a release or variable: one
            row per harmonized column made from it.
    """

    kind: Kind
    identifier: str
    title: str
    sections: tuple[TracedTable, ...]
    frame: pl.DataFrame

    def text(self, width: int = 120) -> str:
        """Render the trace for a terminal of this width. Tables are cut after 20 rows, with a note."""
        console = Console(file=io.StringIO(), width=width, highlight=False)
        console.print(Text(self.title, style="bold"))
        for section in self.sections:
            console.print()
            console.print(Text(section.title, style="bold"))
            console.print(_fields(section.frame) if section.frame.height == 1 else _rows(section.frame))
            for line in _notes(section):
                console.print(Text(line))
        file = console.file
        assert isinstance(file, io.StringIO)
        return file.getvalue()


def follow(con: duckdb.DuckDBPyConnection, identifier: str, narrow: Narrow) -> Trace:
    """Find what `identifier` names and follow it back.

    Args:
        con: Connection with the published tables and views.
        identifier: As `warehouse.trace` accepts it.
        narrow: Makes the table `traced` with the respondents concerned, and limits the view `answers` to it.

    Raises:
        MptaError: Nothing has this id.
    """
    _set(con, identifier=identifier)
    estimate = _ask(con, "estimate")
    if estimate.height:
        return _estimate(con, identifier, estimate, narrow)
    before = _ask(con, "replaced_estimate")
    if before.height:
        return _replaced(con, identifier, before, narrow)
    pocket = _ask(con, "pocket")
    if pocket.height:
        return _pocket(con, identifier, pocket, narrow)
    behind = _ask(con, "prompt_answers")
    if behind.height:
        return _prompt(con, identifier, behind, narrow)
    releases = _ask(con, "release")
    if releases.height:
        return _release(con, identifier, releases)
    variable = _ask(con, "variable")
    if variable.height:
        return _variable(con, identifier, variable)
    named = _ask(con, "respondent")["respondent_id"]
    if named.len() == 1:
        identifier = str(named[0])
    narrow(con, pl.Series([identifier], dtype=pl.String))
    origins = _ask(con, "origins")
    if origins.height:
        return _persona(con, identifier, origins)
    raise MptaError(
        "Nothing has this id",
        value=identifier,
        remedy="give the id of an estimate (f_…, shown beside each number of the report) or its key "
        "model/task/survey/metric/condition/dimensions/subgroup, the id of a pocket (p_…), a prompt id, "
        "model:prompt id, a request hash, the id of a respondent (r_…) or wave:own key, a wave, the name or SHA-256 of "
        "its file, or wave:variable. You find them in the warehouse's tables estimates, found_pockets, prompts, "
        "responses, respondents, waves and variables. After a new release, run the pipeline first",
    )


def _ask(con: duckdb.DuckDBPyConnection, name: str) -> pl.DataFrame:
    frame: pl.DataFrame = con.sql(load(f"trace/{name}")).pl()
    return frame


def _cells(con: duckdb.DuckDBPyConnection, behind: pl.DataFrame, narrow: Narrow) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the answers with the survey cells that count for them, and the origins of their people."""
    narrow(con, behind["respondent_id"])
    origins = _ask(con, "origins")
    con.register("origins", origins.to_arrow())
    con.register("behind", behind.to_arrow())
    return _ask(con, "answer_cells"), origins


def _sources(cells: pl.DataFrame) -> TracedTable:
    frame = (
        cells.group_by("wave", "release_id", "file_name", "sha256")
        .agg(pl.col("respondent_id").n_unique().alias("people"), pl.len().alias("answers"))
        .sort("wave")
    )
    return TracedTable("Waves, releases and files", frame)


def _estimate(con: duckdb.DuckDBPyConnection, identifier: str, estimate: pl.DataFrame, narrow: Narrow) -> Trace:
    first = estimate.row(0, named=True)
    values = estimate.select(
        "estimate",
        "ci_low",
        "ci_high",
        "weighted",
        "baseline",
        "baseline_estimate",
        "n_answers",
        "n_personas",
        "n_items",
    )
    note = "One row per baseline. An empty baseline is the estimate alone."
    head = TracedTable(f"Estimate {first['estimate_id']}", values, note)
    cells, sections = _answers_of_group(con, first, narrow)
    if first["metric"] == "panel_gain":
        note = "The panel is compared with the mean of the readable replies; shares are in the options' own order."
        stated = TracedTable("What the model stated about the group", _ask(con, "stated_shares"), note)
        sections = [stated, *sections]
    title = (
        f"{first['metric']} of {first['model']} on {first['task']}, {first['survey']}, condition {first['condition']}, "
        f"{first['dimensions']} = {first['subgroup']}"
    )
    return Trace("estimate", identifier, title, (head, *sections), cells)


def _replaced(con: duckdb.DuckDBPyConnection, identifier: str, before: pl.DataFrame, narrow: Narrow) -> Trace:
    """Trace a replaced estimate: its old value, its current value, and the origin of the current one."""
    # Imported here because it takes a second to load, which other traces can save.
    from mpta_pipeline.metrics.metric import METRICS
    from mpta_pipeline.report import phrases

    row = before.row(0, named=True)
    metric = METRICS.get(row["metric"])
    share = metric is not None and metric.unit == "share"
    was, now = (phrases.number(row[name], share=share) for name in ("estimate", "now_estimate"))
    weighting = "weighted" if row["weighted"] else "unweighted"
    if row["now_id"] is None:
        said = (
            f"The estimate {row['estimate_key']} ({weighting}) was {was} until {row['until']} UTC "
            "and is no longer computed."
        )
        return Trace("estimate", identifier, said, (TracedTable("Estimates replaced", before, said),), before)
    releases = (
        "from the same releases"
        if row["release_ids"] == row["now_release_ids"]
        else f"from {', '.join(row['now_release_ids'])} instead of {', '.join(row['release_ids'])}"
    )
    said = f"was {was}, is {now} since {row['until']} UTC ({weighting}; {releases}); its id is now {row['now_id']}"
    _set(con, identifier=row["now_id"])
    current = _estimate(con, row["now_id"], _ask(con, "estimate"), narrow)
    head = TracedTable(f"Estimate {identifier} has been replaced", before.drop("now_release_ids"), f"It {said}.")
    return Trace("estimate", identifier, f"{current.title}: {said}", (head, *current.sections), current.frame)


def _pocket(con: duckdb.DuckDBPyConnection, identifier: str, pocket: pl.DataFrame, narrow: Narrow) -> Trace:
    first = pocket.row(0, named=True)
    values = pocket.select(
        "estimate",
        "rest_estimate",
        "difference",
        "ci_low",
        "ci_high",
        "q_value",
        "confirmed",
        "n_answers",
        "n_personas",
    )
    note = (
        "These numbers are from the half on which the pocket was tested. The answers below are all those of its group, "
        "including the half on which it was searched."
    )
    head = TracedTable(f"Pocket {first['pocket_id']}", values, note)
    cells, sections = _answers_of_group(con, first, narrow)
    title = (
        f"Pocket of {first['model']} on {first['task']}, {first['survey']}, condition {first['condition']}: "
        f"{first['outcome']} where {first['dimensions']} = {first['subgroup']}"
    )
    return Trace("pocket", identifier, title, (head, *sections), cells)


def _answers_of_group(
    con: duckdb.DuckDBPyConnection, group: dict[str, Any], narrow: Narrow
) -> tuple[pl.DataFrame, list[TracedTable]]:
    """Trace a model's answers to a task under a condition, for the people of a subgroup, back to the file."""
    _set(con, **{name: group[name] for name in ("model", "task", "survey", "condition", "dimensions", "subgroup")})
    made_of = _ask(con, "estimate_scores")
    values = made_of.select("prompt_id", *(d.value.cast(pl.String).alias(d.name) for d in ROW_DIMENSIONS))
    long = values.unpivot(index="prompt_id", variable_name="dimension", value_name="value").drop_nulls("value")
    con.register("row_dimensions", long.to_arrow())
    cells, _ = _cells(con, _ask(con, "estimate_answers"), narrow)
    questions = (
        cells.group_by("item_id", "question", "wave", "variable")
        .agg(pl.len().alias("answers"), pl.col("score").mean().alias("right"))
        .sort("item_id", "wave")
    )
    people = cells.select(
        "respondent_id", "wave", "wave_row", "item_id", "status", "picked", "answer_key", _CELL, "prompt_id"
    )
    sections = [
        _sources(cells),
        TracedTable("Questions and the variables that hold people's own answers", questions),
        TracedTable(
            "Answers behind it, each with the person's own answer in the file",
            people,
            f"One answer in full: mpta trace {group['model']}:PROMPT_ID; one person: mpta trace RESPONDENT_ID.",
        ),
    ]
    if cells["variable"].null_count() == cells.height:
        sections.insert(2, _carried(_ask(con, "traits")))
    return cells, sections


def _carried(traits: pl.DataFrame) -> TracedTable:
    frame = (
        traits.group_by("column", "label", "wave", "variable")
        .agg(pl.col("respondent_id").n_unique().alias("people"))
        .sort("column", "wave")
    )
    return TracedTable("Traits that these personas carry, and the variables they come from", frame)


def _prompt(con: duckdb.DuckDBPyConnection, identifier: str, behind: pl.DataFrame, narrow: Narrow) -> Trace:
    cells, origins = _cells(con, behind, narrow)
    prompts = cells.unique("prompt_id", maintain_order=True)
    asked = prompts.select("prompt_id", "task", "condition", "item_id", "question", "shown_options", "answer_key")
    own = prompts.filter(pl.col("variable").is_not_null()).select(
        "respondent_id", "question", "answer_key", _CELL, "wave", "wave_row", "file_name"
    )
    replies = cells.filter(pl.col("model").is_not_null()).select(
        "model", "prompt_id", "reply", "status", "picked", "answer_key", "score", "error", "request_hash"
    )
    sections = [
        TracedTable("What was asked", asked),
        _where_from(origins),
    ]
    if origins.height > 1:
        sections.append(_sources(cells))
    if own.height:
        sections.append(TracedTable("The answer that counts, in the file", own))
    if prompts.height == 1 and (before := _earlier_turns(con)).height:
        sections.append(
            TracedTable("Earlier in the conversation: what each model was shown, with its own answers", before)
        )
    if prompts.height == 1:
        sections.append(_shown(_ask(con, "traits"), prompts.row(0, named=True)))
    sections.append(
        TracedTable("What models answered", replies, "" if replies.height else "No model has answered it yet.")
    )
    names_answer = identifier not in prompts["prompt_id"]
    first = prompts.row(0, named=True)
    title = (
        f"{'Answer to prompt' if names_answer else 'Prompt'} {first['prompt_id']} of {first['task']}, "
        f"item {first['item_id']}, condition {first['condition']}"
        if prompts.height == 1
        else f"Answer shared by {prompts.height} prompts of equal text"
    )
    return Trace("response" if names_answer else "prompt", identifier, title, tuple(sections), cells)


def _earlier_turns(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The turns before the traced prompt; none if it is no turn, or if the scores are of an earlier version."""
    if "conversation" not in con.sql("select * from scores limit 0").columns:
        return pl.DataFrame()
    return _ask(con, "earlier_turns")


def _where_from(origins: pl.DataFrame) -> TracedTable:
    shown = origins.with_columns(own_key=_OWN_KEY).select(
        "respondent_id", "own_key", pl.exclude("respondent_id", "own_key")
    )
    if origins.height == 1:
        return TracedTable("Where the person comes from", shown.drop("native_key"))
    return TracedTable("Where the people come from", shown.select("respondent_id", "own_key", "wave_row"))


def _shown(traits: pl.DataFrame, prompt: dict[str, Any]) -> TracedTable:
    condition = str(prompt["condition"])
    unmasked = ~pl.col("column").is_in(list(prompt["masked"] or []))
    if condition == "demographics_only":
        domain = pl.col("domain") == "demographic"
    else:
        domain = pl.col("domain") != condition.removeprefix("without_")
    visible = (
        pl.lit(prompt["shown_respondent_id"] == prompt["respondent_id"] and condition != "placebo") & unmasked & domain
    )
    frame = traits.with_columns(pl.when(visible).then(pl.lit("yes")).otherwise(pl.lit("")).alias("may be shown"))
    note = "" if prompt["shown_respondent_id"] == prompt["respondent_id"] else "This prompt does not show this person."
    if condition == GROUP_CONDITION:
        note = "This prompt describes a group, and shows no person."
    return TracedTable("Traits of the person", frame.select("column", "answer", _CELL, "may be shown"), note)


def _persona(con: duckdb.DuckDBPyConnection, identifier: str, origins: pl.DataFrame) -> Trace:
    cells = _ask(con, "cells")
    origin = origins.row(0, named=True)
    frame = cells.join(
        origins.select("respondent_id", "wave", "release_id", "file_name", "sha256", "native_key", "wave_row"),
        on="respondent_id",
        maintain_order="left",
    )
    given = cells.filter(pl.col("missing").is_null()).select("column", "question", "value", "text", _CELL)
    absent = cells.filter(pl.col("missing").is_not_null()).select("column", "missing", _CELL)
    asked = _ask(con, "asked")
    sections = (
        _where_from(origins),
        TracedTable("What they answered in the survey", given),
        TracedTable("What they did not answer", absent),
        TracedTable("What was asked with their answers as the key", asked, "" if asked.height else "Not in the panel."),
        TracedTable(
            "What was made from them",
            _ask(con, "made_from_respondent").drop("step"),
            f"If they withdraw: mpta forget {identifier}",
        ),
    )
    return Trace("persona", identifier, f"Respondent {identifier} of {origin['wave']}", sections, frame)


def _release(con: duckdb.DuckDBPyConnection, identifier: str, releases: pl.DataFrame) -> Trace:
    sections, columns = [], []
    for release in releases.iter_rows(named=True):
        _set(con, wave=release["wave"], release=release["release_id"], variable="")
        columns.append(_ask(con, "columns_of_wave"))
        sections += [
            TracedTable(
                f"Release of {release['wave']}", releases.filter(pl.col("release_id") == release["release_id"])
            ),
            TracedTable("What was made from it", _ask(con, "made_from_wave").drop("step")),
            TracedTable(
                "Harmonized columns and their variables",
                columns[-1].select("column", "label", "variable", "variable_label"),
                f"One variable: mpta trace {release['wave']}:VARIABLE",
            ),
        ]
    title = f"Release {', '.join(releases['release_id'])}"
    return Trace("release", identifier, title, tuple(sections), pl.concat(columns))


def _variable(con: duckdb.DuckDBPyConnection, identifier: str, variable: pl.DataFrame) -> Trace:
    first = variable.row(0, named=True)
    _set(con, wave=first["wave"], variable=first["variable"], release=first["release_id"])
    columns, made = _ask(con, "columns_of_wave"), _ask(con, "made_from_variable").drop("step")
    sections = (
        TracedTable(f"Variable {first['variable']} of {first['wave']}", variable),
        TracedTable(
            "Harmonized columns made from it",
            columns.select("column", "concept", "label", "question"),
            "" if columns.height else "No concept of the crosswalk uses it.",
        ),
        TracedTable("What uses them", made, "" if made.height else "Nothing yet."),
    )
    return Trace("variable", identifier, f"Variable {first['variable']} of {first['release_id']}", sections, columns)


def _set(con: duckdb.DuckDBPyConnection, **values: str) -> None:
    """Set the variables that named queries read with `getvariable`."""
    for name, value in values.items():
        con.execute(f"set variable {name} = ?", [value])


def _fields(frame: pl.DataFrame) -> RichTable:
    table = RichTable(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in frame.row(0, named=True).items():
        table.add_row(Text(name), Text(shown(value)))
    return table


def _rows(frame: pl.DataFrame) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in frame.columns:
        table.add_column(Text(name), overflow="fold")
    for row in frame.head(SHOWN).iter_rows():
        table.add_row(*(Text(shown(value)) for value in row))
    return table


def _notes(section: TracedTable) -> Iterator[str]:
    if section.frame.height > SHOWN:
        yield f"{SHOWN} of {section.frame.height:,} rows shown."
    if section.note:
        yield section.note


def shown(value: object) -> str:
    """Format a traced value for a person: short numbers, control characters escaped."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list():
            return " | ".join(shown(v) for v in value)
        case _:
            return printable(str(value))
