"""Sort a figure over all configurations, count those in which it holds, and say which choice moves it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.core.multiverse import Configuration, NamedFigure
from mpta_pipeline.core.tables import FACTOR_MOVES, MULTIVERSE_FINDINGS, SPECIFICATION_CURVE
from mpta_pipeline.metrics.multiverse.configurations import configuration_frame
from mpta_pipeline.metrics.multiverse.joint_test import joint_test
from mpta_pipeline.metrics.statistics.multiplicity import holm

_OF_CURVE = ("task", "over", "survey", "figure")
_KEY = (*_OF_CURVE, "model", "configuration")


@dataclass(frozen=True)
class Multiverse:
    """What becomes of each figure.

    Attributes:
        curve: SPECIFICATION_CURVE.
        findings: MULTIVERSE_FINDINGS.
        moves: FACTOR_MOVES.
    """

    curve: pl.DataFrame
    findings: pl.DataFrame
    moves: pl.DataFrame


def findings(
    configurations: Sequence[Configuration],
    estimates: pl.DataFrame,
    people: pl.DataFrame,
    groups: pl.DataFrame,
    *,
    figures: Sequence[NamedFigure],
    strata: Sequence[str] = (),
    level: float = 0.05,
    permutations: int = 500,
    seed: int = 0,
) -> Multiverse:
    """Compute the specification curves, the shares of configurations that hold, and the joint tests.

    A difference (gap or effect) holds in a configuration if it has the sign of the configurations taken together
    (that of the sum of their estimates over errors) and its p-value, corrected for the number of configurations (Holm
    1979), is below `level`.

    Args:
        configurations: The configurations.
        estimates: CONFIGURATION_ESTIMATES of all models and tasks that they ask.
        people: CONFIGURATION_PEOPLE of the same.
        groups: GROUPS.
        figures: The figures, as the estimates name them.
        strata: Dimensions within which the joint test permutes persons.
        level: Level of all tests.
        permutations: Permutations of the joint test.
        seed: The study's seed.
    """
    curve = _curves(configurations, estimates, {f.title: f for f in figures}, level)
    named = {figure.title: figure for figure in figures}
    rows, moves = [], []
    for key, part in curve.group_by(list(_OF_CURVE), maintain_order=True):
        of_curve = dict(zip(_OF_CURVE, map(str, key), strict=True))
        figure = named[of_curve["figure"]]
        known = part.drop_nulls("estimate")
        test = joint_test(
            known, people, groups, figure, strata=strata, level=level, permutations=permutations, seed=seed
        )
        rows.append(of_curve | _finding(known, figure, level) | test)
        moves += [of_curve | row for row in _moves(known)]
    return Multiverse(
        SPECIFICATION_CURVE.conform(curve.select(list(SPECIFICATION_CURVE.schema))),
        MULTIVERSE_FINDINGS.conform(pl.DataFrame(rows, schema=MULTIVERSE_FINDINGS.schema, orient="row")),
        FACTOR_MOVES.conform(pl.DataFrame(moves, schema=FACTOR_MOVES.schema, orient="row")),
    )


def _curves(
    configurations: Sequence[Configuration],
    estimates: pl.DataFrame,
    figures: Mapping[str, NamedFigure],
    level: float,
) -> pl.DataFrame:
    """SPECIFICATION_CURVE with asked_task and asked_model, sorted by the figures' order and value."""
    asked = estimates.rename({"task": "asked_task", "model": "asked_model"}).filter(
        pl.col("figure").is_in(list(figures))
    )
    curve = configuration_frame(configurations).join(asked, on=["asked_task", "asked_model"])
    order = {name: i for i, name in enumerate(figures)}
    curve = curve.with_columns(pl.col("figure").replace_strict(order, return_dtype=pl.Int64).alias("order"))
    curve = curve.sort(
        "task", "over", "survey", "order", "estimate", "model", "configuration", nulls_last=True, maintain_order=True
    )
    over = list(_OF_CURVE)
    corrected = (
        pl.col("p_value")
        .map_batches(lambda p: pl.Series(holm(p.fill_null(np.nan).to_numpy())), return_dtype=pl.Float64)
        .over(over)
        .fill_nan(None)
    )
    together = (pl.col("estimate") / pl.when(pl.col("se") > 0).then("se")).sum().over(over).sign()
    return curve.with_columns(
        pl.int_range(pl.len()).over(over).alias("place"), corrected.alias("p_holm"), together.alias("together")
    ).with_columns(
        pl.when(pl.col("p_holm").is_not_null())
        .then((pl.col("p_holm") < level) & (pl.col("estimate").sign() == pl.col("together")))
        .alias("holds")
    )


def _finding(known: pl.DataFrame, figure: NamedFigure, level: float) -> dict[str, object]:
    """In how many configurations a figure holds."""
    values = known["estimate"]
    found: dict[str, object] = {
        "what": figure.what,
        "n_configurations": known.height,
        "median": values.median(),
        "lowest": values.min(),
        "highest": values.max(),
    }
    tested = known.drop_nulls("p_value")
    if figure.what == "estimate" or tested.is_empty():
        return found
    same = pl.col("estimate").sign() == pl.col("together")
    excluded = (pl.col("ci_low") > 0) | (pl.col("ci_high") < 0)
    holds = int(tested["holds"].sum())
    return found | {
        "n_holds": holds,
        "n_excluding_zero": tested.filter(same & excluded).height,
        "n_opposite": tested.filter(~same & (pl.col("p_holm") < level)).height,
        "share_holds": holds / tested.height,
    }


def _moves(known: pl.DataFrame) -> list[dict[str, object]]:
    """How much a figure moves with each factor alone."""
    rows = [
        ({one["factor"]: one["level"] for one in levels} | {"": model}, value)
        for levels, model, value in known.select("levels", "model", "estimate").iter_rows()
    ]
    found = []
    for factor in dict.fromkeys(name for levels, _ in rows for name in levels if name):
        by_level: dict[str, list[float]] = {}
        others: dict[tuple[tuple[str, str], ...], list[float]] = {}
        for levels, value in rows:
            by_level.setdefault(levels[factor], []).append(value)
            # Where the model is the factor, it is no other choice.
            skipped = {factor} | ({""} if factor == "model" else set())
            others.setdefault(tuple((n, v) for n, v in levels.items() if n not in skipped), []).append(value)
        means = {level: float(np.mean(values)) for level, values in by_level.items()}
        pairs = [abs(a - b) for values in others.values() for a, b in itertools.combinations(values, 2)]
        compared = pairs or [abs(a - b) for a, b in itertools.combinations(means.values(), 2)]
        found.append(
            {
                "factor": factor,
                "moves": float(np.mean(compared)) if compared else None,
                "most": max(compared, default=None),
                "lowest_level": min(means, key=lambda level: means[level]),
                "highest_level": max(means, key=lambda level: means[level]),
                "n_pairs": len(pairs),
            }
        )
    return found
