"""Make the terminal tables of `mpta score`: a few metrics side by side, each with its interval below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mpta_pipeline.cli import labels
from mpta_pipeline.core.untrusted_text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from mpta_pipeline.api import ScoredAnswers
    from mpta_pipeline.cli.result import Result

METRICS_PER_TABLE = 5


def add_estimates(result: Result, scored: ScoredAnswers) -> None:
    """Add the estimates: all of them with `--json`; the most important ones in the terminal, one table per model."""
    shown = []
    overview = scored.overview()
    metrics = [c for c in overview.columns if f"{c}_low" in overview.columns]
    for (model,), part in overview.group_by("model", maintain_order=True):
        told = [name for name in metrics if _says_more(name, part, metrics)]
        for start in range(0, len(told), METRICS_PER_TABLE):
            title = str(model) if start == 0 else f"{model}, continued"
            shown.append(_table(title, part, told[start : start + METRICS_PER_TABLE]))
    result.table("estimates", scored.estimates, shown=shown)
    if scored.estimates.filter("weighted").height:
        compared = "; the comparison of models is weighted" if scored.comparison.height else ""
        result.info(
            f"These estimates are unweighted{compared}. --json and the files of --out also contain the weighted ones."
        )


def _says_more(name: str, part: pl.DataFrame, metrics: list[str]) -> bool:
    """Whether a metric is known and adds information: it differs from accuracy, or requests failed."""
    if part[name].is_null().all():
        return False
    if name.startswith("accuracy_") and "accuracy" in metrics and part["accuracy"].is_not_null().any():
        return not part[name].equals(part["accuracy"].alias(name))
    return not (name == "error_rate" and part[name].sum() == 0)


def _table(title: str, part: pl.DataFrame, metrics: list[str]) -> Table:
    """Make one table: groups as rows, each metric with its interval below it."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(title)), title_justify="left", header_style="bold")
    table.add_column("group", overflow="fold")
    table.add_column(labels.heading("n_answers"), justify="right", no_wrap=True)
    beside = [c for c in ("chance", "item_mode") if "accuracy" in metrics and part[c].is_not_null().any()]
    effects = "accuracy" in metrics and part["effect"].is_not_null().any()
    for name in metrics:
        table.add_column(labels.heading(name), justify="right", no_wrap=True)
        if name == "accuracy":
            for column in beside:
                table.add_column(labels.heading(column), justify="right", style="dim")
            if effects:
                table.add_column("persona's effect", justify="right")
    for row in part.iter_rows(named=True):
        label = labels.group(row["dimensions"], row["subgroup"])
        label += "".join(f"\n{row[c]}" for c in ("survey", "condition") if part[c].n_unique() > 1)
        cells = [printable(label), f"{row['n']:,}"]
        for name in metrics:
            cells.append(_estimate(row, name))
            if name == "accuracy":
                cells += [_rounded(row[c]) for c in beside]
                if effects:
                    cells.append(_effect(row))
        table.add_row(*map(Text, cells))
    return table


def _estimate(row: dict[str, Any], name: str) -> str:
    """An estimate with its interval, and with its number of answers if that differs from the row's."""
    lines = [_rounded(row[name])]
    if row[f"{name}_low"] is not None:
        lines.append(f"[{_rounded(row[f'{name}_low'], 2)}, {_rounded(row[f'{name}_high'], 2)}]")
    if n := row.get(f"{name}_n"):
        lines.append(f"n {n:,}")
    return "\n".join(lines)


def _effect(row: dict[str, Any]) -> str:
    """The persona's effect on accuracy, with its interval: with the persona minus without, on the same questions."""
    if row["effect"] is None:
        return ""
    ends = "" if row["effect_from"] is None else f"\n[{row['effect_from']:+.2f}, {row['effect_to']:+.2f}]"
    return f"{row['effect']:+.4f}{ends}"


def _rounded(value: float | None, digits: int = 4) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"


def add_numbers(result: Result, numbers: pl.DataFrame | None) -> None:
    """Add the comparison of numeric answers, one table per model."""
    if numbers is None:
        return
    from mpta_pipeline.cli.output import rich_table

    shown = []
    for (model,), part in numbers.group_by(["model"], maintain_order=True):
        frame = part.select(
            pl.when(pl.col("dimensions") == "all")
            .then(pl.lit("all"))
            .otherwise(pl.format("{} {}", "dimensions", "subgroup"))
            .alias("group"),
            pl.col("item_id").alias("question"),
            *("n_answers", "n_people", "mean_model", "mean_people"),
            pl.coalesce(
                pl.format("{}\n[{}, {}]", *(pl.col(c).round(2) for c in ("difference", "ci_low", "ci_high"))),
                pl.col("difference").round(2).cast(pl.String),
            ).alias("difference"),
            *("mae", "mae_n", "pearson", "sd_ratio"),
        )
        title = f"{model}: numeric answers (difference of question `all`: in standard deviations)"
        shown.append(rich_table(frame, title=title))
    result.table("numbers", numbers, shown=shown)


def add_comparison(result: Result, comparison: pl.DataFrame) -> None:
    """Add the models by accuracy, with their tie groups."""
    own = comparison.filter((pl.col("metric") == "accuracy") & (pl.col("model") == pl.col("other_model")))
    shown = own.sort("task", "survey", "condition", "tie_group", pl.col("estimate"), descending=[False] * 4 + [True])
    result.table(
        "comparison",
        comparison,
        title="Models compared on the answers that both gave; models of one tie group cannot be told apart",
        shown=()
        if own.is_empty()
        else shown.select(
            "model", "survey", "condition", pl.col("estimate").alias("accuracy"), "n_answers", "tie_group"
        ),
    )


def add_pockets(result: Result, pockets: pl.DataFrame, *, searched: bool) -> None:
    """Add the confirmed pockets, or a note that there are none."""
    confirmed = pockets.filter("confirmed")
    result.table(
        "pockets",
        pockets,
        title="Pockets: groups found on one half of the answers and confirmed on the other",
        shown=()
        if confirmed.is_empty()
        else confirmed.select(
            *("model", "condition", "outcome"),
            pl.format("{} = {}", "dimensions", "subgroup").alias("pocket"),
            *("n_personas", "estimate", "rest_estimate", "difference", "q_value"),
        ),
    )
    if pockets.is_empty() and searched:
        result.info("Pockets: no group has enough personas on both halves of the answers to be tested.")
    elif confirmed.is_empty() and pockets.height:
        result.info(f"No pocket: none of the {pockets.height} groups tested is confirmed as worse than the rest.")
