"""Compute design-based errors of people's own answers: Taylor linearization over strata and sampling units.

A statistic of weighted answers is linearized into one value z per person, its influence. With z summed by primary
sampling unit (PSU), V = Σ_h n_h/(n_h − 1) Σ_j (z_hj − z̄_h)² over the n_h units j of the strata h, with t on units
minus strata (Wolter 2007, chapter 6; as Stata's `svy: mean`, R's survey and the package svy). A stratum with a single
unit, a lonely stratum, has no variance of its own. Its unit is centred on the grand mean, which is conservative, and is
counted and reported. If a file has no units, people count as sampled individually and strata are not used: errors
reflect the weights alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, dense, sums
from mpta_pipeline.metrics.statistics.clustered import t_quantile


@dataclass(frozen=True)
class Design:
    """The sampling design of some people.

    Attributes:
        unit: Sampling unit of each person, from 0: the PSU, or the person.
        stratum: Stratum of each unit, from 0.
        known: Whether the survey's file has sampling units.
    """

    unit: Ints
    stratum: Ints
    known: bool

    @property
    def n_units(self) -> int:
        """Number of sampling units."""
        return len(self.stratum)

    @cached_property
    def units_of_stratum(self) -> Ints:
        """Number of units of each stratum."""
        return np.bincount(self.stratum) if len(self.stratum) else np.zeros(0, dtype=np.int64)

    @cached_property
    def lonely(self) -> Flags:
        """Strata with a single unit."""
        return (
            np.asarray(self.units_of_stratum == 1) if self.known else np.zeros(len(self.units_of_stratum), dtype=bool)
        )

    @property
    def df(self) -> float:
        """Degrees of freedom: units minus strata."""
        return float(self.n_units - len(self.units_of_stratum))

    def variance(self, z: Floats) -> Floats:
        """Compute the variance of statistics from the influences of their units.

        Args:
            z: (… × units) sums of the influences; they sum to 0 over all units.
        """
        # Sort units by stratum, in their own order, so that each sum runs over adjacent units.
        order = np.argsort(self.stratum, kind="stable")
        starts = np.concatenate([[0], np.cumsum(self.units_of_stratum)[:-1]]).astype(np.int64)
        z = z[..., order]
        n = self.units_of_stratum.astype(float)
        squares, total = np.add.reduceat(z**2, starts, axis=-1), np.add.reduceat(z, starts, axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = n / (n - 1) * np.maximum(squares - total**2 / n, 0.0)
        return np.asarray(np.where(n > 1, spread, squares).sum(axis=-1))

    def words(self) -> str:
        """Describe how the error was computed, for `method`."""
        if not self.known:
            return "people's by weights alone"
        lonely = int(self.lonely.sum())
        told = f", {lonely} lonely centred on the grand mean" if lonely else ""
        return f"people's by design ({self.n_units} PSUs in {len(self.units_of_stratum)} strata{told})"


def design_of(persons: pl.DataFrame) -> Design:
    """Read the sampling design of some people.

    Args:
        persons: One row per person, with `psu` and `stratum` as in GROUPS. Without them, or if nobody has a unit,
            people count as sampled individually.
    """
    n = persons.height
    if "psu" not in persons.columns or persons.get_column("psu").null_count() == n:
        return Design(np.arange(n), np.zeros(n, dtype=np.int64), known=False)
    alone = pl.format("person {}", pl.int_range(pl.len()))
    stratum = pl.col("stratum").fill_null("") if "stratum" in persons.columns else pl.lit("")
    # A unit belongs to one stratum, even if units of several strata have the same name.
    named = persons.select(stratum.alias("stratum"), pl.coalesce(pl.lit("psu ") + pl.col("psu"), alone).alias("unit"))
    unit = dense(named.select(pl.concat_str("stratum", "unit", separator="\x1f")).to_series())
    of_unit = np.zeros(int(unit.max(initial=-1)) + 1, dtype=np.int64)
    of_unit[unit] = dense(named.get_column("stratum"))
    return Design(unit, of_unit, known=True)


@dataclass(frozen=True)
class SurveyMean:
    """A weighted mean of people's answers with its design-based error.

    Attributes:
        estimate: The mean; a share if answers are 0 or 1.
        se: Its standard error; nan with fewer than two units.
        low: Lower end of its interval, t on `df`.
        high: Upper end.
        df: Units minus strata.
        deff: Design effect: variance relative to a simple random sample of the same size.
        n: Number of people.
        method: How the error was computed, with the number of lonely units.
    """

    estimate: float
    se: float
    low: float
    high: float
    df: float
    deff: float
    n: int
    method: str


def survey_mean(
    y: Floats, weight: Floats, *, stratum: pl.Series | None = None, psu: pl.Series | None = None, level: float = 0.05
) -> SurveyMean:
    """Compute a weighted mean or share of people's answers with its design-based error.

    Args:
        y: Answer of each person; nan if there is none. These people are excluded from the mean but stay in the design
            (domain estimation).
        weight: Survey weight of each person.
        stratum: Sampling stratum; None: a single stratum.
        psu: Primary sampling unit within the stratum; None: people were sampled individually.
        level: Level of the interval.
    """
    columns = {"stratum": stratum, "psu": psu}
    persons = pl.DataFrame({"y": y}).with_columns(
        s.cast(pl.String).alias(name) for name, s in columns.items() if s is not None
    )
    design = design_of(persons)
    here = np.isfinite(y) & (weight > 0)
    w, x = np.where(here, weight, 0.0), np.where(here, y, 0.0)
    n = int(here.sum())
    total = w.sum()
    if n == 0:
        return SurveyMean(*(float("nan"),) * 6, n=0, method="nobody answered")
    mean = float((w * x).sum() / total)
    if not design.known:
        design = design_of(persons.filter(pl.Series(here)))
        w, x = w[here], x[here]
    z = sums(design.unit, w * (x - mean) / total, design.n_units)
    df = design.df
    variance = float(design.variance(z)) if df >= 1 else float("nan")
    se = float(np.sqrt(variance))
    reach = float(t_quantile(np.array(df), level)) * se if df >= 1 else float("nan")
    simple = float((w * (x - mean) ** 2).sum() / total) / max(n - 1, 1)
    return SurveyMean(
        mean, se, mean - reach, mean + reach, df, variance / simple if simple > 0 else float("nan"), n, design.words()
    )
