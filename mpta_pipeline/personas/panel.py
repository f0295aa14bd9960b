"""Draw the panel: the personas that are asked."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

import polars as pl

from mpta_pipeline.core.hashing import hash_uniform
from mpta_pipeline.core.study import PanelDesign
from mpta_pipeline.core.tables import PANEL

UNKNOWN = "unknown"


def draw_panel(personas: pl.DataFrame, dimensions: pl.DataFrame, design: PanelDesign, seed: int) -> pl.DataFrame:
    """Draw the panel: stratified within each survey, by lowest keyed hash within stratum.

    The size is divided equally among the surveys, because estimates are never pooled over surveys; a survey that is
    smaller than its share leaves the rest to the others. Within a survey the strata get equal shares, or shares
    proportional to their personas by largest remainder; the hash of the stratum's name breaks ties. A stratum too
    small for a place is joined to its nearest neighbour, so that every persona has a chance and the inverse inclusion
    probabilities sum to all personas (collapsed strata). Whether a persona is drawn depends only on its id and the
    seed: a new wave or country takes only the places that its share of the strata requires.

    Args:
        personas: PERSONAS rows.
        dimensions: respondent_id and the design's strata as columns (`derived_dimensions`).
        design: Size, strata, allocation.
        seed: The study's seed.

    Returns:
        PANEL. `inclusion_probability` is the stratum's share drawn, `weight` = survey weight / inclusion probability.
    """
    if personas.is_empty():
        return PANEL.empty()
    strata = [pl.col(name).fill_null(UNKNOWN) for name in design.strata]
    frame = personas.select("respondent_id", "survey", "wave", pl.col("weight").alias("survey_weight")).join(
        dimensions.select(
            "respondent_id", (pl.concat_str(strata, separator="×") if strata else pl.lit("all")).alias("stratum")
        ),
        on="respondent_id",
        how="left",
    )
    frame = frame.with_columns(hash_uniform(frame, ["respondent_id"], key=f"panel\x1f{seed}").alias("rank"))
    sizes = frame.group_by("survey", "stratum").agg(pl.len().cast(pl.Int64).alias("stratum_size"))
    sizes = sizes.with_columns(hash_uniform(sizes, ["survey", "stratum"], key=f"stratum\x1f{seed}").alias("tie"))
    surveys = sizes.group_by("survey").agg(pl.col("stratum_size").sum().alias("size")).sort("survey")
    surveys = surveys.with_columns(hash_uniform(surveys, ["survey"], key=f"survey\x1f{seed}").alias("tie"))
    shares = dict(
        zip(surveys["survey"], _equal(surveys["size"].to_list(), surveys["tie"].to_list(), design.size), strict=True)
    )
    drawn = [
        _allocated(part, shares[str(survey)], _equal if design.allocation == "equal" else _proportional)
        for (survey,), part in sizes.sort("survey", "stratum").partition_by("survey", as_dict=True).items()
    ]
    chosen = (
        frame.join(pl.concat(drawn), on=["survey", "stratum"])
        .with_columns(pl.col("joined").alias("stratum"))
        .filter(
            pl.col("rank").rank("ordinal").over("survey", "stratum", order_by=["rank", "respondent_id"])
            <= pl.col("stratum_selected")
        )
        .with_columns((pl.col("stratum_selected") / pl.col("stratum_size")).alias("inclusion_probability"))
        .with_columns((pl.col("survey_weight") / pl.col("inclusion_probability")).alias("weight"))
    )
    return PANEL.conform(chosen.select(list(PANEL.schema)))


def _allocated(
    strata: pl.DataFrame, total: int, allocate: Callable[[list[int], list[float], int], list[int]]
) -> pl.DataFrame:
    """Divide the places of a survey among its strata, and join strata that would get none.

    Args:
        strata: survey, stratum, stratum_size, tie of one survey, in the order of the strata's names.
        total: Places.
        allocate: How they are shared.

    Returns:
        survey, stratum, joined (name of what it became part of), stratum_size and stratum_selected of the whole.
    """
    names, sizes, ties = (strata[c].to_list() for c in ("stratum", "stratum_size", "tie"))
    cells = [[i] for i in range(len(names))]
    while True:
        whole = [sum(sizes[i] for i in cell) for cell in cells]
        counts = allocate(whole, [ties[cell[0]] for cell in cells], total)
        if all(counts) or len(cells) == 1 or not total:
            break
        cells = _joined(cells, counts, names)
    by_place = {i: j for j, cell in enumerate(cells) for i in cell}
    place = [by_place[i] for i in range(len(names))]
    joined = [" + ".join(names[i] for i in cell) for cell in cells]
    return strata.select("survey", "stratum").with_columns(
        pl.Series("joined", [joined[j] for j in place], dtype=pl.String),
        pl.Series("stratum_size", [whole[j] for j in place], dtype=pl.Int64),
        pl.Series("stratum_selected", [counts[j] for j in place], dtype=pl.Int64),
    )


def _joined(cells: list[list[int]], counts: list[int], names: list[str]) -> list[list[int]]:
    """Join every cell without a place to the one before or behind it with which its name has more in common."""

    def alike(one: list[int], other: list[int]) -> int:
        parts = zip(names[one[-1]].split("×"), names[other[0]].split("×"), strict=True)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], parts))

    made: list[list[int]] = []
    ahead = False  # the last cell made waits for the next one
    for j, cell in enumerate(cells):
        if ahead:
            made[-1], ahead = made[-1] + cell, False
        elif counts[j]:
            made.append(cell)
        elif j + 1 < len(cells) and (not made or alike(cell, cells[j + 1]) > alike(made[-1], cell)):
            made.append(cell)
            ahead = True
        else:
            made[-1] = made[-1] + cell
    return made


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
