"""The estimates as the charts of the page read them: columns of small integers, compressed to a text.

`templates/3_explorer.js` reads the result of `packed(chart_data(…))`. A page holds at most `ROWS` estimates. If there
are more, those that readers ask for first are in it (`_priority`), and the page says how many are only in the
warehouse.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.estimate_ids import ESTIMATE_KEY
from mpta_pipeline.core.vocabulary import VERDICTS
from mpta_pipeline.report.rows import ALL

VENDOR = Path(__file__).parent / "vendor"
ROWS = 200_000
"""Estimates on one page at most. A row takes about 15 bytes of the page."""
SCALE = 10_000
"""Estimates are rounded to 1 / SCALE: a hundredth of a percentage point."""
BASELINES = ("chance", "item_mode", "group_mode", "ceiling", "sampling_floor", "human")
"""Baselines that the charts draw or the tables beside them list."""
FIRST = ("accuracy", "refusal_rate", "error_rate", "parse_rate", "tv", "w1n", "skill", "balanced_accuracy")
"""Metrics that readers ask for first. The others follow in the order of the registry."""


@dataclass(frozen=True)
class Names:
    """How the page writes the names in the estimates.

    Attributes:
        labels: Column of a name → function that returns its name for people.
        group: (dimension, subgroup) → its name for people.
        dimensions: Dimensions in the order of the study.
        conditions: Conditions in the order of the report.
        metrics: Metrics in the order of the registry.
        tasks: Tasks in the order of the study.
        about: Metric → what the page must know about it (`share`, `better`, `definition`).
        place: (dimension, subgroup) → place along the scale of the dimension.
    """

    labels: Mapping[str, Callable[[str], str]]
    group: Callable[[str, str], str]
    dimensions: Sequence[str]
    conditions: Sequence[str]
    metrics: Sequence[str]
    tasks: Sequence[str]
    about: Callable[[str], Mapping[str, Any]]
    place: Callable[[str, str], Sequence[Any]]


def chosen(estimates: pl.DataFrame) -> pl.DataFrame:
    """One row per estimate of a group, weighted if there are weights, with its baselines as columns."""
    key = list(ESTIMATE_KEY)
    rows = estimates.filter(
        (pl.col("dimensions") == ALL) | (pl.col("subgroup") != ALL),
        pl.col("weighted") == pl.col("weighted").any().over(key),
    )
    # Estimates without a row of their own are read from the first baseline's row, which repeats them.
    own = rows.sort(*key, "baseline").unique(key, keep="first", maintain_order=True)
    for name in BASELINES:
        of_it = rows.filter(pl.col("baseline") == name).select(*key, pl.col("baseline_estimate").alias(f"b_{name}"))
        own = own.join(of_it, on=key, how="left", maintain_order="left")
    return own


def chart_data(estimates: pl.DataFrame, names: Names, *, small: int, controls: Collection[str] = ()) -> dict[str, Any]:
    """Make what the charts read.

    Args:
        estimates: SUBGROUP_METRICS.
        names: Names for people and orders.
        small: Cells of fewer people are small, whatever the table says.
        controls: Models that are controls: they are never ranked.
    """
    rows = chosen(estimates)
    total = rows.height
    if total > ROWS:
        rows = _priority(rows, names).sort("rank", maintain_order=True).head(ROWS).drop("rank")
    order = {
        "model": sorted(rows["model"].unique(), key=lambda name: (name in controls, name)),
        "task": _known(rows["task"], names.tasks),
        "survey": sorted(rows["survey"].unique()),
        "metric": _known(rows["metric"], names.metrics),
        "condition": _known(rows["condition"], names.conditions),
        "dimensions": _known(rows["dimensions"], (ALL, *names.dimensions)),
    }
    rank = {name: i for i, name in enumerate(order["dimensions"])}
    groups = sorted(
        rows.select("dimensions", "subgroup").unique().iter_rows(),
        key=lambda pair: (rank[pair[0]], *names.place(*pair)),
    )
    index = pl.DataFrame(
        [(d, s, i) for i, (d, s) in enumerate(groups)], schema=["dimensions", "subgroup", "group"], orient="row"
    )
    coded = rows.join(index, on=["dimensions", "subgroup"], how="left", maintain_order="left").with_columns(
        pl.col(column).replace_strict(values, range(len(values)), return_dtype=pl.Int32)
        for column, values in order.items()
        if column != "dimensions"
    )
    coded = coded.sort("metric", "task", "survey", "condition", "group", "model")
    flags = sum(
        (pl.when(pl.col("verdict") == verdict).then(i).otherwise(0) for i, verdict in enumerate(VERDICTS, 1)), pl.lit(0)
    )
    is_small = pl.col("small") | (pl.col("n_personas") < small)
    columns = coded.select(
        "model", "task", "survey", "metric", "condition", "group",
        _scaled("estimate").alias("e"),
        (_scaled("estimate") - _scaled("ci_low")).alias("l"),
        (_scaled("ci_high") - _scaled("estimate")).alias("h"),
        (flags + 4 * is_small.cast(pl.Int32) + 8 * pl.col("weighted").cast(pl.Int32)).alias("flags"),
        pl.col("n_personas").alias("people"), pl.col("n_answers").alias("answers"),
        _scaled("gap").alias("gap"), _scaled("gap_q").alias("gap_q"),
        _scaled("effect").alias("effect"),
        (_scaled("effect") - _scaled("effect_low")).alias("effect_l"),
        (_scaled("effect_high") - _scaled("effect")).alias("effect_h"),
        _scaled("q_value").alias("effect_q"),
        *(_scaled(f"b_{name}").alias(f"b_{name}") for name in BASELINES),
        pl.col("estimate_id").fill_null("").str.strip_prefix("f_").alias("id"),
    )  # fmt: skip
    ids = columns["id"].to_list()
    return {
        "rows": rows.height,
        "of": total,
        "scale": SCALE,
        "verdicts": list(VERDICTS),
        "names": {
            **{
                column: [{"key": v, "label": names.labels[column](v)} for v in values]
                for column, values in order.items()
                if column not in ("metric", "model")
            },
            "model": [{"key": v, "label": names.labels["model"](v), "control": v in controls} for v in order["model"]],
            "metric": [{"key": v, "label": names.labels["metric"](v), **names.about(v)} for v in order["metric"]],
            "group": [[rank[d], s, names.group(d, s)] for d, s in groups],
        },
        # A column without any value is left out.
        "columns": {
            name: series.to_list()
            for name in columns.columns
            if name != "id" and (series := columns[name]).null_count() < series.len()
        },
        "ids": "".join(ids) if len({len(i) for i in ids}) == 1 else ids,
    }


def _known(values: pl.Series, order: Sequence[str]) -> list[str]:
    """The distinct values, those of the order first."""
    found = set(values.unique().to_list())
    return [*(v for v in dict.fromkeys(order) if v in found), *sorted(found.difference(order))]


def _priority(rows: pl.DataFrame, names: Names) -> pl.DataFrame:
    """Rank estimates by what readers ask for first.

    Everyone and single dimensions come before intersections, the first metrics and conditions before later ones.
    """

    def place(column: str, order: Sequence[str]) -> pl.Expr:
        known = _known(rows[column], order)
        return pl.col(column).replace_strict(known, range(len(known)), return_dtype=pl.Int32)

    crossed = pl.col("dimensions").str.contains("×").cast(pl.Int32)
    return rows.with_columns(
        (
            place("metric", names.metrics)
            + 4 * place("condition", names.conditions)
            + place("dimensions", (ALL, *names.dimensions))
            + 8 * crossed
        ).alias("rank")
    )


def _scaled(column: str) -> pl.Expr:
    value = pl.col(column)
    return pl.when(value.is_finite()).then((value * SCALE).round().clip(-2e9, 2e9)).cast(pl.Int64)


def packed(data: Any) -> str:
    """JSON, compressed and in letters that HTML does not escape: equal data give an equal text."""
    return _text(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


@cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed, packed like the data."""
    return base64.b64encode((VENDOR / "vega.js.gz").read_bytes()).decode()


@cache
def world() -> str:
    """Outlines of the countries by ISO 3166-1 alpha-3, packed like the data."""
    return _text((VENDOR / "world.json").read_bytes())


def _text(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
