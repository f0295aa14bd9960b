"""The panel: who is asked."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.hashing import hash_uniform
from mpta_pipeline.study import PanelDesign
from mpta_pipeline.tables import PANEL

UNKNOWN = "unknown"


def draw_panel(personas: pl.DataFrame, dimensions: pl.DataFrame, design: PanelDesign, seed: int) -> pl.DataFrame:
    """Draw the panel: stratified within each survey, by lowest keyed hash within stratum.

    The design's size is shared equally among the surveys (a survey that is smaller than its share gives the rest to
    the others), because figures are never pooled over surveys. Within a survey the strata get equal shares, or shares
    proportional to their personas by largest remainder; ties fall by the hash of the stratum's name. Which persona is
    drawn depends on nothing but its id and the seed, so a new wave or country takes places only as its share of its
    strata requires, and everybody else stays.

    Args:
        personas: PERSONAS rows.
        dimensions: persona_id and the design's strata as columns (`derived_dimensions`).
        design: Size, strata, allocation.
        seed: The study's seed.

    Returns:
        PANEL. `inclusion_probability` is the stratum's share drawn, `weight` = survey weight / inclusion probability.
    """
    if personas.is_empty():
        return PANEL.empty()
    strata = [pl.col(name).fill_null(UNKNOWN) for name in design.strata]
    frame = personas.select("persona_id", "survey", "wave", pl.col("weight").alias("survey_weight")).join(
        dimensions.select(
            "persona_id", (pl.concat_str(strata, separator="×") if strata else pl.lit("all")).alias("stratum")
        ),
        on="persona_id",
        how="left",
    )
    frame = frame.with_columns(hash_uniform(frame, ["persona_id"], key=f"panel\x1f{seed}").alias("rank"))
    sizes = frame.group_by("survey", "stratum").agg(pl.len().cast(pl.Int64).alias("stratum_size"))
    sizes = sizes.with_columns(hash_uniform(sizes, ["survey", "stratum"], key=f"stratum\x1f{seed}").alias("tie"))
    surveys = sizes.group_by("survey").agg(pl.col("stratum_size").sum().alias("size")).sort("survey")
    surveys = surveys.with_columns(hash_uniform(surveys, ["survey"], key=f"survey\x1f{seed}").alias("tie"))
    shares = dict(
        zip(surveys["survey"], _equal(surveys["size"].to_list(), surveys["tie"].to_list(), design.size), strict=True)
    )
    drawn = []
    for (survey,), part in sizes.sort("survey", "stratum").partition_by("survey", as_dict=True).items():
        allocate = _equal if design.allocation == "equal" else _proportional
        counts = allocate(part["stratum_size"].to_list(), part["tie"].to_list(), shares[str(survey)])
        drawn.append(part.with_columns(pl.Series("stratum_selected", counts, dtype=pl.Int64)))
    chosen = (
        frame.join(pl.concat(drawn).drop("tie"), on=["survey", "stratum"])
        .filter(
            pl.col("rank").rank("ordinal").over("survey", "stratum", order_by=["rank", "persona_id"])
            <= pl.col("stratum_selected")
        )
        .with_columns((pl.col("stratum_selected") / pl.col("stratum_size")).alias("inclusion_probability"))
        .with_columns((pl.col("survey_weight") / pl.col("inclusion_probability")).alias("weight"))
    )
    return PANEL.conform(chosen.select(list(PANEL.schema)))


def _proportional(sizes: list[int], ties: list[float], total: int) -> list[int]:
    """Largest-remainder shares of `total`, never more than a stratum holds."""
    population = sum(sizes)
    total = min(total, population)
    quotas = [total * n / population for n in sizes]
    counts = [int(q) for q in quotas]
    order = sorted(range(len(sizes)), key=lambda i: (counts[i] - quotas[i], ties[i]))
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


def _equal(sizes: list[int], ties: list[float], total: int) -> list[int]:
    """Equal shares of `total`; what a small stratum cannot fill goes to the others."""
    total = min(total, sum(sizes))
    counts = [0] * len(sizes)
    open_ = sorted(range(len(sizes)), key=lambda i: ties[i])
    while total:
        open_ = [i for i in open_ if counts[i] < sizes[i]]
        share = max(total // len(open_), 1)
        for i in open_:
            more = min(share, sizes[i] - counts[i], total)
            counts[i] += more
            total -= more
    return counts
