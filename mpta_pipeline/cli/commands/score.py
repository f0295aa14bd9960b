"""`mpta score`: estimates for answers made elsewhere."""

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
        "mpta score answers.csv --look  # how the file is understood; computes nothing",
        "mpta score answers.csv --by sex,sex×age --out results",
        "mpta score llm.csv --people poll.csv --ordered",
        "mpta score preds.jsonl --items bbq/ --metadata additional_metadata.csv",
        "mpta score log.eval --json",
    ],
)
def score(
    files: Annotated[
        list[Path],
        typer.Argument(help="CSV, TSV, JSON, JSON lines, Parquet; logs of inspect_ai and lm-evaluation-harness."),
    ],
    *,
    items: Annotated[
        Path | None, typer.Option(help="The benchmark's own item file or folder, or Parquet of the table items.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="A task of the study, whose items the answers are to.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Kind of the items of --items, where their file does not say.")
    ] = None,
    people: Annotated[
        Path | None, typer.Option(help="What people answered: respondents' answers or published shares.")
    ] = None,
    answer: Annotated[str | None, typer.Option(help="Columns that hold answers, comma-separated.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Roles of columns, e.g. item_id=qid,own_answer=truth,respondent_id=case.")
    ] = None,
    questions: Annotated[str | None, typer.Option(help="Questions that have a column each, comma-separated.")] = None,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="The options, in the order given, are steps of a scale.")
    ] = False,
    count_from: Annotated[
        int | None, typer.Option(min=0, max=1, help="What numbers count options from: 0 or 1.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Columns that group the personas, comma-separated; sex×age (or sex*age) crosses.")
    ] = None,
    metadata: Annotated[Path | None, typer.Option(help="BBQ's additional_metadata.csv (in supplemental/).")] = None,
    look: Annotated[
        bool, typer.Option("--look", help="Show how the file is understood and what would be computed, then stop.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option("--out", help="A .csv, .parquet or .json file for the estimates, or a folder for everything."),
    ] = None,
) -> Result:
    """Compute estimates for answers made elsewhere: tables, BBQ's files, logs of inspect_ai and lm-evaluation-harness.

    The file has one row per answer: item_id (or question) and answer (option text, letter or number). What is right
    comes from the column own_answer (the person's own answer) or key, from --people FILE or from --items FILE. A table
    with one column per question is read, too. Start with --look.
    """
    from mpta_pipeline import api, external
    from mpta_pipeline.cli import score_tables
    from mpta_pipeline.cli.options import names

    if save is not None:
        external.check_out(save)
    read = api.read_answers(
        list(files),
        items=items,
        task=task,
        kind=kind,
        people=people,
        answer=names(answer),
        columns=_roles(columns),
        questions=names(questions),
        ordered=ordered,
        count_from=count_from,
        by=names(by),
        metadata=metadata,
    )
    if look:
        return _preview(read.preview())
    scored = read.score()
    result = Result()
    score_tables.add_estimates(result, scored)
    score_tables.add_numbers(result, scored.numbers)
    score_tables.add_comparison(result, scored.comparison)
    score_tables.add_pockets(result, scored.pockets, searched=bool(read.reading.by))
    for text in scored.left_out:
        result.warning(text)
    for text in scored.notes:
        result.note(text)
    if save is not None:
        written = scored.write(save)
        for path in written:
            result.info(str(path))
        result.facts["files"] = [str(path) for path in written]
    return result


def _preview(sections: list[tuple[str, list[str]]]) -> Result:
    """How the file is understood, heading by heading."""
    from rich.text import Text

    from mpta_pipeline.core.untrusted_text import printable

    result = Result()
    lines = [
        shown
        for heading, texts in sections
        for shown in (Text(heading, style="bold"), *(Text(f"  {printable(text)}") for text in texts))
    ]
    result.table("preview", [{"heading": heading, "lines": texts} for heading, texts in sections], shown=lines)
    return result


def _roles(option: str | None) -> dict[str, str]:
    """The ROLE=COLUMN pairs of an option.

    Raises:
        ConfigError: A part is no such pair.
    """
    from mpta_pipeline.cli.options import names

    pairs = {}
    for part in names(option):
        role, mark, column = part.partition("=")
        if not mark or not column.strip():
            raise ConfigError(
                "This does not say what a column is",
                variable="--columns",
                value=part,
                remedy="write ROLE=COLUMN, e.g. item_id=qid,own_answer=truth",
            )
        pairs[role.strip()] = column.strip()
    return pairs
