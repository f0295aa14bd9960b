"""Test a figure over all configurations at once, by permuting the labels of persons (Simonsohn et al. 2020).

Configurations share their people and questions, so their estimates are far from independent, and no formula says how
many of them are significant by chance. If the label tells nothing, any other assignment of the labels to the persons
of a stratum is as likely: each permutation gives what all configurations would show together. For a gap the label is
the person's subgroup; for the persona's effect it is which of a person's two answers, with and without persona, is
which, so that the sign of the person's difference changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.multiverse import NamedFigure
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.statistics.arrays import Floats

_ENOUGH = 0.8  # share of persons whose stratum holds both labels
_STEP = 64  # permutations at a time


def joint_test(
    curve: pl.DataFrame,
    people: pl.DataFrame,
    groups: pl.DataFrame,
    figure: NamedFigure,
    *,
    strata: Sequence[str] = (),
    level: float = 0.05,
    permutations: int = 500,
    seed: int = 0,
) -> dict[str, object]:
    """Test one figure in all configurations of one curve.

    Args:
        curve: Rows of one specification curve: asked_task, asked_model, survey, estimate.
        people: CONFIGURATION_PEOPLE.
        groups: GROUPS.
        figure: The figure.
        strata: Dimensions within which persons are permuted, as far as most strata hold both labels.
        level: A configuration is significant alone if its estimate is beyond this share of its permuted ones.
        permutations: Permutations.
        seed: Seed.

    Returns:
        p_median, p_count, permutations and note, as columns of MULTIVERSE_FINDINGS.
    """
    if figure.what == "estimate" or curve.is_empty():
        note = "the joint test is one of differences" if figure.what == "estimate" else None
        return {"p_median": None, "p_count": None, "permutations": None, "note": note}
    sums = person_sums(curve, people, figure)
    if sums is None:
        return {"p_median": None, "p_count": None, "permutations": None, "note": "no answers that can be permuted"}
    who, value, weight = sums
    rng = np.random.default_rng(
        int(digest("joint test", seed, figure.title, str(curve.item(0, "survey")), length=12), 16)
    )
    note = None
    if figure.what == "effect":
        draws = _effects(value, weight, permutations, rng)
    elif not set(g.bases(figure.dimensions)) <= set(groups.columns):
        return {"p_median": None, "p_count": None, "permutations": None, "note": "the subgroup is not one of persons"}
    else:
        label, stratum, note = _labels(who, groups, figure, strata)
        if len(np.unique(label[label >= 0])) < 2:
            return {"p_median": None, "p_count": None, "permutations": None, "note": "nobody to compare with"}
        draws = _gaps(value, weight, label, stratum, permutations=permutations, rng=rng)
    p_median, p_count = _p_values(draws, level)
    return {"p_median": p_median, "p_count": p_count, "permutations": permutations, "note": note}


def person_sums(
    curve: pl.DataFrame, people: pl.DataFrame, figure: NamedFigure
) -> tuple[list[str], Floats, Floats] | None:
    """Persons, and (persons × configurations) sums of values and of weights."""
    column = "effect" if figure.what == "effect" else "total"
    mine = people.filter(
        pl.col("survey") == curve.item(0, "survey"), metric=figure.metric, condition=figure.condition
    ).drop_nulls(column)
    # Configurations that ask the same count as often as they are on the curve.
    place = curve.select(
        pl.col("asked_model").alias("model"), pl.col("asked_task").alias("task"), pl.int_range(pl.len()).alias("c")
    )
    rows = mine.join(place, on=["model", "task"])
    if rows.is_empty():
        return None
    who = rows["respondent_id"].unique().sort()
    person = rows["respondent_id"].replace_strict(who, range(len(who)), return_dtype=pl.Int64).to_numpy()
    shape = (len(who), curve.height)
    value, weight = np.zeros(shape), np.zeros(shape)
    value[person, rows["c"].to_numpy()] = rows[column].to_numpy()
    weight[person, rows["c"].to_numpy()] = rows["weight"].to_numpy()
    return who.to_list(), value, weight


def _labels(
    who: Sequence[str], groups: pl.DataFrame, figure: NamedFigure, strata: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], str | None]:
    """Label of each person (1: in the subgroup, 0: in another one, −1: unknown), stratum, and a note on the strata."""
    own = g.bases(figure.dimensions)
    usable = [name for name in strata if name in groups.columns and name not in own]
    frame = pl.DataFrame({"respondent_id": who}).join(groups, on="respondent_id", how="left", maintain_order="left")
    subgroup = frame.select(pl.concat_str(list(own), separator=g.CROSS)).to_series()
    label = (subgroup == figure.subgroup).cast(pl.Int64).fill_null(-1).to_numpy()
    for n in range(len(usable), -1, -1):
        kept = usable[:n]
        stratum = (
            frame.select(pl.concat_str(pl.col(kept).fill_null("?"), separator="\x1f").rank("dense") - 1)
            .to_series()
            .cast(pl.Int64)
            .to_numpy()
            if kept
            else np.zeros(len(who), dtype=np.int64)
        )
        sizes = [np.bincount(stratum[label == value], minlength=stratum.max() + 1) for value in (0, 1)]
        both = (sizes[0] > 0) & (sizes[1] > 0)
        if n == 0 or both[stratum[label >= 0]].mean() >= _ENOUGH:
            said = f"labels permuted within {', '.join(kept)}" if kept else "labels permuted within the survey"
            return label, stratum, said
    raise AssertionError("the survey as a whole is the last stratum")


def _gaps(
    value: Floats,
    weight: Floats,
    label: NDArray[np.int64],
    stratum: NDArray[np.int64],
    *,
    permutations: int,
    rng: np.random.Generator,
) -> Floats:
    """(1 + permutations × configurations) gaps; the first row is the observed one."""
    known = label >= 0
    value, weight, label, stratum = value[known], weight[known], label[known], stratum[known]
    order = np.argsort(stratum, kind="stable")
    value, weight, labelled = value[order], weight[order], label[order].astype(np.float64)
    starts = np.flatnonzero(np.r_[True, np.diff(stratum[order]) != 0])
    ends = np.r_[starts[1:], len(labelled)]
    total_value, total_weight = value.sum(axis=0), weight.sum(axis=0)
    found = []

    def gaps(labels: Floats) -> Floats:
        inside, n_inside = labels @ value, labels @ weight
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(inside / n_inside - (total_value - inside) / (total_weight - n_inside))

    found.append(gaps(labelled[None]))
    for first in range(0, permutations, _STEP):
        labels = np.tile(labelled, (min(_STEP, permutations - first), 1))
        for start, end in zip(starts, ends, strict=True):
            labels[:, start:end] = rng.permuted(labels[:, start:end], axis=1)
        found.append(gaps(labels))
    return np.concatenate(found)


def _effects(value: Floats, weight: Floats, permutations: int, rng: np.random.Generator) -> Floats:
    """(1 + permutations × configurations) effects; a permutation changes the sign of random persons' differences."""
    total = weight.sum(axis=0)
    found = [value.sum(axis=0, keepdims=True) / total]
    for first in range(0, permutations, _STEP):
        signs = rng.choice((-1.0, 1.0), size=(min(_STEP, permutations - first), len(value)))
        found.append(signs @ value / total)
    return np.concatenate(found)


def _p_values(draws: Floats, level: float) -> tuple[float, float]:
    """p-values of the median and of the number of configurations that are significant alone, with one sign."""
    draws = np.where(np.isfinite(draws), draws, 0.0)
    median = np.abs(np.median(draws, axis=1))
    # Significant alone: among the share `level` of the equally likely assignments that are most extreme, the observed
    # one included. Ties at the border are left out, so that it is never more than this share.
    border = np.sort(np.abs(draws), axis=0)[-1 - int(level * len(draws))]
    beyond = np.abs(draws) > border + 1e-12
    count = np.maximum((beyond & (draws > 0)).sum(axis=1), (beyond & (draws < 0)).sum(axis=1))
    tolerance = 1e-12
    return (
        float((median >= median[0] - tolerance).mean()),
        float((count >= count[0]).mean()),
    )
