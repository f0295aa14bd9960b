"""Errors of survey people's own answers by the survey's design: Taylor linearization over strata and sampling units.

A statistic of weighted answers is linearized into one value z a person, its influence. With z summed up by primary
sampling unit (PSU), V = Σ_h n_h/(n_h − 1) Σ_j (z_hj − z̄_h)² over the n_h units j of the strata h, with t on units
less strata (Wolter 2007, chapter 6; as Stata's `svy: mean`, R's survey and the package svy). A stratum with a single
unit, a lonely one, has no spread of its own: its unit is centred on the grand mean, which errs on the safe side, and is
counted and told. Where a file has no units, people count as drawn one by one and strata are not used: errors by the
weights alone.
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
    """How people were drawn.

    Attributes:
        unit: Sampling unit of each person, from 0: the PSU, or the person.
        stratum: Stratum of each unit, from 0.
        known: The survey's file has sampling units.
    """

    unit: Ints
    stratum: Ints
    known: bool

    @property
    def n_units(self) -> int:
        """Sampling units."""
        return len(self.stratum)

    @cached_property
    def units_of_stratum(self) -> Ints:
        """Units of each stratum."""
        return np.bincount(self.stratum) if len(self.stratum) else np.zeros(0, dtype=np.int64)

    @cached_property
    def lonely(self) -> Flags:
        """Strata with a single unit."""
        return (
            np.asarray(self.units_of_stratum == 1) if self.known else np.zeros(len(self.units_of_stratum), dtype=bool)
        )

    @property
    def df(self) -> float:
        """Degrees of freedom: units less strata."""
        return float(self.n_units - len(self.units_of_stratum))

    def variance(self, z: Floats) -> Floats:
        """Variance of statistics from the influences of their units.

        Args:
            z: (… × units) sums of the influences; they sum to 0 over all units.
        """
        # One stratum after the other in the units' own order, so that sums run over neighbours.
        order = np.argsort(self.stratum, kind="stable")
        starts = np.concatenate([[0], np.cumsum(self.units_of_stratum)[:-1]]).astype(np.int64)
        z = z[..., order]
        n = self.units_of_stratum.astype(float)
        squares, total = np.add.reduceat(z**2, starts, axis=-1), np.add.reduceat(z, starts, axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = n / (n - 1) * np.maximum(squares - total**2 / n, 0.0)
        return np.asarray(np.where(n > 1, spread, squares).sum(axis=-1))

    def words(self) -> str:
        """How the error was made, for `method`."""
        if not self.known:
            return "people's by weights alone"
        lonely = int(self.lonely.sum())
        told = f", {lonely} lonely centred on the grand mean" if lonely else ""
        return f"people's by design ({self.n_units} PSUs in {len(self.units_of_stratum)} strata{told})"


def design_of(persons: pl.DataFrame) -> Design:
    """The design of some people.

    Args:
        persons: One row a person, with `psu` and `stratum` as in GROUPS; without them, or where nobody has a unit,
            people count as drawn one by one.
    """
    n = persons.height
    if "psu" not in persons.columns or persons.get_column("psu").null_count() == n:
        return Design(np.arange(n), np.zeros(n, dtype=np.int64), known=False)
    alone = pl.format("person {}", pl.int_range(pl.len()))
    stratum = pl.col("stratum").fill_null("") if "stratum" in persons.columns else pl.lit("")
    # A unit lies within a stratum, whatever the names say.
    named = persons.select(stratum.alias("stratum"), pl.coalesce(pl.lit("psu ") + pl.col("psu"), alone).alias("unit"))
    unit = dense(named.select(pl.concat_str("stratum", "unit", separator="\x1f")).to_series())
    of_unit = np.zeros(int(unit.max(initial=-1)) + 1, dtype=np.int64)
    of_unit[unit] = dense(named.get_column("stratum"))
    return Design(unit, of_unit, known=True)


@dataclass(frozen=True)
class SurveyMean:
    """A weighted mean of people's answers with its design-based error.

    Attributes:
        estimate: The mean; of 0 and 1 the share.
        se: Its standard error; nan with fewer than two units.
        low: Lower end of its interval, t on `df`.
        high: Upper end.
        df: Units less strata.
        deff: Variance over that of a simple random sample of as many people.
        n: People.
        method: How the error was made, lonely units told.
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
    """Weighted mean or share of people's answers by the survey's design.

    Args:
        y: Answer of each person; nan where there is none. These people leave the mean, not the design (a domain).
        weight: Survey weight of each person.
        stratum: Sampling stratum; None: one.
        psu: Primary sampling unit within the stratum; None: people were drawn one by one.
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
