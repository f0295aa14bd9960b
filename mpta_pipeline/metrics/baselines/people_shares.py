"""Compute the shares of people who chose each option, by group, with design-based errors."""

from __future__ import annotations

import numpy as np
import polars as pl

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import PEOPLE_SHARES
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.human_answers import People, people
from mpta_pipeline.metrics.samples.published_polls import polls_of
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, ratio, sums
from mpta_pipeline.metrics.statistics.clustered import t_quantile
from mpta_pipeline.metrics.statistics.linearization import Design
from mpta_pipeline.metrics.statistics.proportions import wilson


def people_shares(
    items: pl.DataFrame, gold: pl.DataFrame, groups: pl.DataFrame, *, rules: EstimateRules
) -> pl.DataFrame:
    """Compute the shares of people's own answers to each item, for everyone and by the study's dimensions of people.

    Shares are unweighted, and also weighted if all of a survey's people have weights. Intervals are Wilson's on the
    effective number of people with the t quantile (Korn and Graubard 1998). Groups of fewer than `rules.min_personas`
    people with an answer are left out, because shares of few people could reveal individual answers.

    Args:
        items: ITEMS of the task.
        gold: GOLD of the task.
        groups: GROUPS.
        rules: Dimensions, minimum group size and level.

    Returns:
        PEOPLE_SHARES; empty for tasks whose key is not the person's own answer, published polls included.
    """
    if gold.is_empty() or polls_of(items) is not None:
        return PEOPLE_SHARES.empty()
    groups = g.apart(groups)
    texts = items.select("item_id", "options")
    parts: list[pl.DataFrame] = []
    for survey in gold.get_column("survey").unique().sort().to_list():
        own = people(gold, groups, survey, items.get_column("item_id"))
        of_survey = gold.get_column("survey") == survey
        has_weights = gold.get_column("weight").filter(of_survey).null_count() == 0
        for weighted in (False, True) if has_weights else (False,):
            answered = own.weighted() if weighted else own
            parts.extend(
                _shares(answered, dimension, rules).with_columns(
                    pl.lit(survey).alias("survey"), pl.lit(weighted).alias("weighted")
                )
                for dimension in dict.fromkeys((g.ALL, *rules.dimensions))
                if g.of_people(dimension)
            )
    if not parts:
        return PEOPLE_SHARES.empty()
    made = pl.concat(parts).join(texts, on="item_id", how="inner")
    # Omit options beyond the item's own, which exist only because another item has more.
    made = made.filter(pl.col("option") < pl.col("options").list.len()).with_columns(
        pl.col("options").list.get(pl.col("option")).alias("answer"),
        pl.lit(items.item(0, "task")).alias("task"),
        pl.col(pl.Float64).fill_nan(None),
    )
    return PEOPLE_SHARES.conform(made.select(list(PEOPLE_SHARES.schema)))


def _shares(answered: People, dimension: str, rules: EstimateRules) -> pl.DataFrame:
    """Make the rows of one dimension."""
    cut = answered.cut_persons(dimension)
    n, n_items = len(cut.labels), len(answered.items)
    if not n or not n_items:
        return pl.DataFrame(schema=_SCHEMA)
    counts = answered.counts(dimension)
    total = counts.sum(axis=2)
    p = ratio(counts, np.broadcast_to(total[..., None], counts.shape))
    rows = answered.rows()
    here = (cut.codes[rows.person] >= 0) & (rows.weight > 0)
    slice_item = np.where(here, cut.codes[rows.person], n) * n_items + rows.item
    heads = sums(slice_item, here, (n + 1) * n_items)[: n * n_items].reshape(n, n_items)
    if answered.design.known:
        v, df = _by_units(answered, answered.design, cut.codes, p, total)
    else:
        squares = answered.counts(dimension, squared=True)
        spread = (1 - p) ** 2 * squares + p**2 * (squares.sum(axis=2, keepdims=True) - squares)
        with np.errstate(divide="ignore", invalid="ignore"):
            v = (heads / (heads - 1))[..., None] * spread / total[..., None] ** 2
        df = heads - 1.0
    df = np.where(df >= 1, df, np.nan)
    se = np.sqrt(np.where(np.isfinite(df)[..., None], v, np.nan))
    kish = ratio(total**2, answered.counts(dimension, squared=True).sum(axis=2))
    simple = p * (1 - p) / np.maximum(heads, 1)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        deff = np.where(simple > 0, v / simple, np.nan)
        effective = np.where(v > 0, p * (1 - p) / v, kish[..., None])
        low, high = wilson(p, np.maximum(effective, 1.0), t_quantile(df, rules.level)[..., None])
    owner, item, option = (a.ravel() for a in np.indices(p.shape))
    keep = np.flatnonzero((heads >= rules.min_personas)[owner, item])
    return pl.DataFrame(
        {
            "item_id": [answered.items[i] for i in item[keep]],
            "dimensions": dimension,
            "subgroup": [cut.labels[s] for s in owner[keep]],
            "option": option[keep],
            "share": p.ravel()[keep],
            "se": se.ravel()[keep],
            "ci_low": low.ravel()[keep],
            "ci_high": high.ravel()[keep],
            "n_people": heads[owner, item][keep].astype(np.int64),
            "deff": deff.ravel()[keep],
            "method": answered.design.words().removeprefix("people's "),
        },
        schema=_SCHEMA,
    )


_SCHEMA = pl.Schema(
    {
        "item_id": pl.String(),
        "dimensions": pl.String(),
        "subgroup": pl.String(),
        "option": pl.Int64(),
        "share": pl.Float64(),
        "se": pl.Float64(),
        "ci_low": pl.Float64(),
        "ci_high": pl.Float64(),
        "n_people": pl.Int64(),
        "deff": pl.Float64(),
        "method": pl.String(),
    }
)


def _by_units(answered: People, design: Design, codes: Ints, p: Floats, total: Floats) -> tuple[Floats, Floats]:
    """Compute the variance of each share, and units minus strata of each slice and item.

    Args:
        answered: The people.
        design: Their sampling design.
        codes: Slice of each person.
        p: (slices × items × options) shares.
        total: (slices × items) weight.
    """
    n, n_items, width = p.shape
    v, df = np.full(p.shape, np.nan), np.full((n, n_items), np.nan)
    given = answered.rows()
    weight, answer = given.weight, given.option
    slot, unit = codes[given.person], design.unit[given.person]
    inside: Flags = (slot >= 0) & (weight > 0)
    of_stratum = np.zeros((design.n_units, len(design.units_of_stratum)))
    of_stratum[np.arange(design.n_units), design.stratum] = 1.0
    for i in range(n_items):
        rows = np.flatnonzero(inside & (given.item == i))
        place = (slot[rows] * width + answer[rows]) * design.n_units + unit[rows]
        counts = sums(place, weight[rows], n * width * design.n_units).reshape(n, width, design.n_units)
        asked = counts.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (counts - p[:, i, :, None] * asked) / total[:, i, None, None]
        v[:, i] = design.variance(np.nan_to_num(z))
        there = (asked[:, 0] > 0).astype(float)
        df[:, i] = there.sum(axis=1) - ((there @ of_stratum) > 0).sum(axis=1)
    return v, df
