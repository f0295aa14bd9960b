"""Compare the structure of question batteries in the model and in people: Cronbach's α and factor congruence.

A battery is a cluster of at least three ordinal items. Answers are scaled to 0–1, and items that load negatively on the
people's first factor are reversed on both sides. Covariances are pairwise, so that personas who were asked part of a
battery count for that part. Errors come from a delete-a-group jackknife over persons, by the survey's sampling units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.metrics.metric import METRICS
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.survey_answers import View
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, dense
from mpta_pipeline.metrics.statistics.bootstrap import hash_ids
from mpta_pipeline.metrics.statistics.intervals import interval

LEAST_ITEMS, LEAST_COMMON = 3, 20
GROUPS = 20


def covariance(values: Floats, weight: Floats) -> Floats | None:
    """Weighted pairwise covariances of the columns; None if two columns share too few rows or a column is constant.

    Args:
        values: (persons × items) answers; nan if not asked.
        weight: Weight of each person.
    """
    known = np.isfinite(values) & (weight > 0)[:, None]
    if (known.T.astype(float) @ known.astype(float)).min() < LEAST_COMMON:
        return None
    x = np.where(known, values - np.nanmean(np.where(known, values, np.nan), axis=0), 0.0)
    w = known * weight[:, None]
    common = w.T @ known
    first = x.T @ w
    out = (x.T @ (x * weight[:, None])) / common - (first / common) * (first / common).T
    return np.asarray(out) if np.diag(out).min() > 1e-12 else None


def loadings(covariances: Floats) -> Floats:
    """Loadings on the first principal component of the correlations, signed so that their sum is not negative."""
    sd = np.sqrt(np.diag(covariances))
    values, vectors = np.linalg.eigh(covariances / np.outer(sd, sd))
    first = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
    return np.asarray(-first if first.sum() < 0 else first)


def alpha(covariances: Floats) -> float:
    """Cronbach's α: k/(k − 1) · (1 − Σ variances / variance of the sum)."""
    k, total = len(covariances), float(covariances.sum())
    return k / (k - 1) * (1 - float(np.trace(covariances)) / total) if total > 1e-12 else float("nan")


def congruence(a: Floats, b: Floats) -> float:
    """Tucker's φ of two vectors of loadings: Σab / √(Σa² Σb²)."""
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


@dataclass(frozen=True)
class _Battery:
    """Answers to one battery: the model's for the personas, the personas' own, and those of other people."""

    model: Floats
    own: Floats
    others: Floats


def battery_estimates(view: View) -> dict[str, pl.DataFrame]:
    """Compute mean α and mean congruence over the batteries of everyone; empty without batteries or shared answers."""
    block = view.block
    if view.cut.dimension != g.ALL or block.people.empty or block.polls is not None:
        return {}
    columns = (
        *("respondent_id", "item_id", "cluster_id", "k_options", "ordinal"),
        *("n_ok", "n_orders", "gold_idx", "own_idx"),
    )
    frame = (
        block.frame.select(*columns)
        .with_columns(
            pl.Series("place", (block.units.answer * np.arange(block.units.answer.shape[1])).sum(axis=1)),
            pl.Series("w", block.weight),
        )
        .filter(pl.col("ordinal") & (pl.col("n_ok") > 0) & (pl.col("w") > 0) & pl.col("own_idx").is_not_null())
    )
    items = frame.group_by("cluster_id", "item_id").agg(pl.col("k_options").max()).sort("cluster_id", "item_id")
    items = items.filter(pl.len().over("cluster_id") >= LEAST_ITEMS)
    if items.is_empty():
        return {}
    persona = dense(frame.get_column("respondent_id"))
    ids = frame.get_column("respondent_id").unique().sort()
    weight = np.zeros(len(ids))
    weight[persona] = frame.get_column("w").to_numpy()
    people = block.people
    everyone = people.persons.get_column("respondent_id")
    # People whom the model was not asked about, if there are enough, serve as a second sample.
    others = ~everyone.is_in(ids.implode()).to_numpy()
    if others.sum() < len(ids):
        others = np.ones(len(everyone), dtype=bool)
    other_ids = everyone.filter(pl.Series(others))
    other_weight = people.weight_of_persons[others]
    batteries = []
    for (_,), part in items.group_by("cluster_id", maintain_order=True):
        names, k = part.get_column("item_id").to_list(), part.get_column("k_options").to_numpy()
        mine = frame.filter(pl.col("item_id").is_in(names))
        batteries.append(
            _Battery(
                _table(mine, ids, names, "place") / (k - 1),
                _table(mine, ids, names, "gold_idx") / (k - 1),
                people.table(names, others) / (k - 1),
            )
        )
    unit = _units(view, ids), _units(view, other_ids)
    out = {}
    for name, baseline, statistic in (
        ("cronbach_alpha", "human", _alphas),
        ("factor_congruence", "second_sample", _congruences),
    ):
        made = _jackknifed(statistic, batteries, (weight, other_weight), unit)
        if made is None:
            continue
        estimate, of_people, se, used = made
        metric = METRICS[name]
        low, high, _ = interval(
            metric, np.array([estimate]), np.array([se]), np.array([GROUPS - 1.0]), level=block.rules.level
        )
        base = {
            "slice": [0, 0],
            "baseline": ["", baseline],
            "estimate": [estimate] * 2,
            "baseline_estimate": [None, of_people],
            "se": [se] * 2,
            "ci_low": [min(float(low[0]), estimate)] * 2,
            "ci_high": [max(float(high[0]), estimate)] * 2,
            "n_answers": [
                int(
                    frame.filter(pl.col("item_id").is_in(items.get_column("item_id").implode()))
                    .get_column("n_orders")
                    .sum()
                )
            ]
            * 2,
            "n_personas": [len(ids)] * 2,
            "n_people": [float(len(other_ids))] * 2,
            "n_items": [items.height] * 2,
            "method": [f"{used} batteries, jackknife over {GROUPS} groups of people, these questions; {block.note}"]
            * 2,
        }
        out[name] = pl.DataFrame(base)
    return out


def _table(rows: pl.DataFrame, ids: pl.Series, names: list[str], value: str) -> Floats:
    """Pivot to (persons × items) with the first value of each pair; nan if there is none."""
    out = np.full((len(ids), len(names)), np.nan)
    person = rows.get_column("respondent_id").cast(pl.Enum(ids)).to_physical().to_numpy()
    item = rows.get_column("item_id").cast(pl.Enum(names)).to_physical().to_numpy()
    out[person[::-1], item[::-1]] = rows.get_column(value).to_numpy()[::-1]
    return out


def _units(view: View, ids: pl.Series) -> Ints:
    """Assign each person to a jackknife group. People of one sampling unit are left out together."""
    persons = view.block.people.persons
    drawn = g.sampled(persons.select(c for c in ("respondent_id", "psu") if c in persons.columns), ids)
    return (hash_ids(drawn, key="jackknife") % np.uint64(GROUPS)).astype(np.int64)


def _sides(battery: _Battery, weight: Floats, other_weight: Floats) -> tuple[Floats, Floats, Floats] | None:
    """Covariances of the model's, the personas' own and other people's answers, with items reversed as for people."""
    made = [
        covariance(values, w)
        for values, w in ((battery.model, weight), (battery.own, weight), (battery.others, other_weight))
    ]
    if any(c is None for c in made):
        return None
    turn = np.where(loadings(made[2]) < 0, -1.0, 1.0)  # type: ignore[arg-type]
    model, own, others = (c * np.outer(turn, turn) for c in made if c is not None)
    return model, own, others


def _alphas(sides: tuple[Floats, Floats, Floats]) -> tuple[float, float]:
    return alpha(sides[0]), alpha(sides[1])


def _congruences(sides: tuple[Floats, Floats, Floats]) -> tuple[float, float]:
    reference = loadings(sides[2])
    return congruence(loadings(sides[0]), reference), congruence(loadings(sides[1]), reference)


def _jackknifed(
    statistic: Callable[[tuple[Floats, Floats, Floats]], tuple[float, float]],
    batteries: list[_Battery],
    weights: tuple[Floats, Floats],
    groups: tuple[Ints, Ints],
) -> tuple[float, float, float, int] | None:
    """Mean over batteries of the model's and the people's statistic, the model's error, and the number of batteries."""

    def means(kept: tuple[Flags | float, Flags | float], chosen: list[int]) -> Floats | None:
        made = [_sides(batteries[i], weights[0] * kept[0], weights[1] * kept[1]) for i in chosen]
        if any(m is None for m in made):
            return None
        return np.asarray(np.mean([statistic(m) for m in made if m is not None], axis=0))

    usable = [i for i, b in enumerate(batteries) if _sides(b, *weights) is not None]
    whole = means((1.0, 1.0), usable) if usable else None
    if whole is None or not np.isfinite(whole).all():
        return None
    without = [made for j in range(GROUPS) if (made := means((groups[0] != j, groups[1] != j), usable)) is not None]
    se = float("nan")
    if len(without) == GROUPS:
        left_out = np.array([m[0] for m in without])
        se = float(np.sqrt((GROUPS - 1) / GROUPS * ((left_out - left_out.mean()) ** 2).sum()))
    return float(whole[0]), float(whole[1]), se, len(usable)
