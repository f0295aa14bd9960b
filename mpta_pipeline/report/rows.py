"""Turn the table of estimates into the rows that the report shows."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from mpta_pipeline.core import verdicts
from mpta_pipeline.core.estimate_ids import ESTIMATE_KEY
from mpta_pipeline.core.verdicts import accuracy_verdict

ALL = "all"


class MetricRecord(Protocol):
    """The facts about a metric that the report shows. The records of the metric registry have them."""

    @property
    def name(self) -> str:
        """Name in the table of estimates."""

    @property
    def title(self) -> str:
        """Its name for people."""

    @property
    def definition(self) -> str:
        """What it measures."""

    @property
    def unit(self) -> str:
        """Unit; `share` is written in percent."""

    @property
    def low(self) -> float | None:
        """Least possible value."""

    @property
    def high(self) -> float | None:
        """Greatest possible value."""

    @property
    def direction(self) -> str:
        """Which way is better: higher, lower, zero, none."""

    @property
    def source(self) -> str:
        """Where the definition comes from."""

    @property
    def chance(self) -> str:
        """Value of a model that knows nothing."""


@dataclass(frozen=True)
class Estimate:
    """One estimate with everything that the report shows about it."""

    estimate_id: str
    model: str
    task: str
    survey: str
    metric: str
    condition: str
    dimensions: str
    subgroup: str
    weighted: bool
    estimate: float | None
    low: float | None
    high: float | None
    unweighted: float | None
    shrunken: float | None
    n_answers: int
    n_personas: int
    n_items: int
    n_eff: float | None
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    effect_p: float | None
    effect_q: float | None
    gap: float | None
    gap_q: float | None
    mde: float | None
    verdict: str | None
    small: bool
    method: str
    note: str = ""
    gap_apart: float | None = None
    n_people: int | None = None
    weights: str | None = None
    baselines: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def of_dimension(self) -> bool:
        """The estimate is of a whole dimension, such as the range of its groups, not of one group."""
        return self.dimensions != ALL and self.subgroup == ALL


def read(estimates: pl.DataFrame, min_personas: int, spans: Mapping[str, float] | None = None) -> list[Estimate]:
    """Gather the rows of each estimate into one record: its baselines, and the unweighted value beside a weighted one.

    Args:
        estimates: SUBGROUP_METRICS of any models and tasks.
        min_personas: Cells of fewer people are marked small, whatever the table says.
        spans: Width of each bounded metric's range. Intervals of effects are cut to it.
    """
    if estimates.is_empty():
        return []
    by_id = estimates.sort(*ESTIMATE_KEY, "weighted", "baseline").group_by(
        *ESTIMATE_KEY, "weighted", maintain_order=True
    )
    plain = pl.col("baseline") == ""
    # An estimate without a row of its own is read from its first baseline row, which repeats it.
    lead = by_id.agg(
        pl.struct(pl.exclude("baseline", "baseline_estimate", "release_ids"))
        .sort_by(plain, descending=True)
        .first()
        .alias("lead"),
        pl.struct("baseline", "baseline_estimate").filter(~plain).alias("baselines"),
    )
    unweighted = {
        tuple(row[name] for name in ESTIMATE_KEY): row["lead"]["estimate"]
        for row in lead.filter(~pl.col("weighted")).iter_rows(named=True)
    }
    chosen = lead.filter(pl.col("weighted") == pl.col("weighted").any().over(*ESTIMATE_KEY))
    return [
        Estimate(
            estimate_id=row["lead"]["estimate_id"] or "",
            **{name: row[name] for name in ESTIMATE_KEY},
            weighted=row["weighted"],
            estimate=(f := row["lead"])["estimate"],
            low=f["ci_low"],
            high=f["ci_high"],
            unweighted=unweighted.get(tuple(row[name] for name in ESTIMATE_KEY)) if row["weighted"] else None,
            shrunken=f["shrunken_estimate"],
            n_answers=f["n_answers"],
            n_personas=f["n_personas"],
            n_items=f["n_items"],
            n_eff=f["n_eff"],
            effect=f["effect"],
            effect_low=_within(f["effect_low"], (spans or {}).get(row["metric"], math.inf)),
            effect_high=_within(f["effect_high"], (spans or {}).get(row["metric"], math.inf)),
            effect_p=f["p_value"],
            effect_q=f["q_value"],
            gap=f["gap"],
            gap_q=f["gap_q"],
            mde=f["mde"],
            verdict=f["verdict"],
            small=bool(f["small"]) or f["n_personas"] < min_personas,
            method=f["method"],
            note=f["note"] or "",
            gap_apart=f["gap_apart"],
            n_people=f.get("n_people"),
            weights=f.get("weights"),
            baselines={b["baseline"]: b["baseline_estimate"] for b in row["baselines"]},
        )
        for row in chosen.iter_rows(named=True)
    ]


def _within(end: float | None, span: float) -> float | None:
    """The end of an effect's interval, cut to the possible range of a difference of the metric."""
    return None if end is None else min(max(end, -span), span)


def group_modes(
    estimates: pl.DataFrame, metric: str, asked: Mapping[str, Collection[str]]
) -> dict[tuple[str, ...], tuple[float, str]]:
    """Find the best baseline of always giving the most frequent answer in the person's group.

    The baseline covers everyone whose group is known. Returns, per model, task, survey and condition, its highest value
    over the dimensions, with the name of that dimension. Values are unweighted: all answers count equally. A dimension
    that a task's own items ask about is left out, because its groups are the answers.

    Args:
        estimates: SUBGROUP_METRICS.
        metric: Metric whose `group_mode` baseline is read.
        asked: Columns that each task's items ask about.
    """
    key = ("model", "task", "survey", "condition")
    rows = estimates.filter(
        (pl.col("metric") == metric) & (pl.col("baseline") == "group_mode") & ~pl.col("weighted")
    ).drop_nulls("baseline_estimate")
    cuts = rows.select("task", "dimensions").unique()
    told = [_asks(asked.get(task, ()), dimension) for task, dimension in cuts.iter_rows()]
    rows = rows.join(cuts.filter(pl.Series(told, dtype=pl.Boolean)), on=["task", "dimensions"], how="anti")
    best = (
        rows.group_by(*key, "dimensions")
        .agg((pl.col("baseline_estimate") * pl.col("n_answers")).sum() / pl.col("n_answers").sum())
        .sort(*key, "baseline_estimate", "dimensions", descending=[False] * 4 + [True, False])
        .unique(key, keep="first", maintain_order=True)
    )
    return {row[:4]: (row[5], row[4]) for row in best.iter_rows()}


def _asks(columns: Collection[str], dimension: str) -> bool:
    """Whether a part of the dimension was made from one of the columns, e.g. party_3 from party_gss."""
    stems = [re.sub(r"_(band|\d+)$", "", part) for part in dimension.split("×")]
    return any(column == stem or column.startswith(f"{stem}_") for stem in stems for column in columns)


@dataclass(frozen=True)
class DimensionRows:
    """The estimates of one dimension."""

    dimension: str
    rows: Sequence[Estimate]


def value_order(options: pl.DataFrame) -> dict[str, int]:
    """Place of each canonical value on its scale, for values that have the same place wherever they occur."""
    if options.is_empty():
        return {}
    rank = pl.col("score").fill_null(pl.col("position")).rank("dense").over("column", "codebook").cast(pl.Int64)
    places = options.select("value", rank.alias("place")).unique()
    return dict(places.filter(pl.col("value").is_unique()).iter_rows())


def blocks(estimates: Iterable[Estimate], order: Sequence[str], values: Mapping[str, int]) -> list[DimensionRows]:
    """Estimates by dimension: everyone first, then in the study's order; subgroups by place on the scale, then name."""
    rank = {name: i for i, name in enumerate((ALL, *order))}
    found: dict[str, list[Estimate]] = {}
    for estimate in estimates:
        found.setdefault(estimate.dimensions, []).append(estimate)
    names = sorted(found, key=lambda name: (rank.get(name, len(rank)), name))

    def place(estimate: Estimate) -> list[tuple[int, str]]:
        return [(values.get(part, len(values)), part) for part in estimate.subgroup.split("×")]

    return [DimensionRows(name, sorted(found[name], key=place)) for name in names]


def by_metric(estimates: Iterable[Estimate]) -> list[DimensionRows]:
    """Estimates by metric, in the order given."""
    found: dict[str, list[Estimate]] = {}
    for estimate in estimates:
        found.setdefault(estimate.metric, []).append(estimate)
    return [DimensionRows(name, rows) for name, rows in found.items()]


def verdict(everyone: Estimate) -> str:
    """How accuracy compares with the baselines that need no model, in words."""
    if everyone.estimate is None:
        return accuracy_verdict(None, None, chance=None, mode=None)
    baselines = everyone.baselines
    return accuracy_verdict(
        everyone.low, everyone.high, chance=baselines.get("chance"), mode=baselines.get("item_mode")
    )


def effect_verdict(row: Estimate, level: float) -> str:
    """What the persona changes, in words; empty if no effect was tested."""
    return verdicts.effect_verdict(row.effect, p_value=row.effect_p, q_value=row.effect_q, mde=row.mde, level=level)
