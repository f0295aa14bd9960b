"""Compare a harmonized wave with published figures (`marginals.csv`, one row per figure).

Columns of the file: codebook, native variable, column, year (empty: any), country (empty: all), study (evs or wvs, in
files that hold both), statistic (count, percent, mean of native codes), value (or missing kind) counted, expected,
decimals as printed, base (published number of cases, weighted as the statistic is), rows (respondents of the complete
file), denominator (valid answers, or all cases), weight (none, the survey's own, or a native variable), evidence.

A figure is computed only for the complete file that it was published for, not for extracts or later waves of the
same codebook.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.harmonize.crosswalk import Crosswalk
from mpta_pipeline.harmonize.recode import CODE_SUFFIX, MISSING_SUFFIX
from mpta_pipeline.surveys import RawWave, cells

MARGINALS = Path(__file__).with_name("marginals.csv")
# The cases of a complete file differ from the printed base only by rounding (weighted bases are printed as integers).
BASE_TOLERANCE = 0.001
COMPARED = {
    "column": pl.String,
    "year": pl.Int64,
    "country": pl.String,
    "study": pl.String,
    "statistic": pl.String,
    "value": pl.String,
    "weight": pl.String,
    "denominator": pl.String,
    "expected": pl.Float64,
    "found": pl.Float64,
    "base": pl.Float64,
    "base_found": pl.Float64,
    "agrees": pl.Boolean,
    "own_codebook": pl.Boolean,
    "evidence": pl.String,
}


@lru_cache(maxsize=2)
def read_marginals(path: Path = MARGINALS) -> pl.DataFrame:
    """The published figures."""
    return pl.read_csv(
        path,
        schema_overrides={
            "year": pl.Int64,
            "base": pl.Float64,
            "rows": pl.Int64,
            "value": pl.String,
            "missing": pl.String,
        },
        null_values=[""],
    )


def compare_marginals(
    frame: pl.DataFrame, raw: RawWave, crosswalk: Crosswalk, *, published: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Compute each published figure that this wave can reproduce, and compare.

    Returns:
        One row per figure: what it is about, `expected`, `found`, `agrees` (counts exact, with their base; percentages
        and means to the printed digit), `own_codebook` (published for this file, not for another one with the same
        people).
    """
    published = read_marginals() if published is None else published
    codebook = str(raw.release["codebook"])
    study = raw.source.part_of.study if raw.source.part_of else None
    wanted = about(published, raw)
    wanted = wanted.filter(pl.col("column").is_in(frame.columns))
    # A wave from which respondents were removed is not the complete file; its figures were compared before.
    if wanted.is_empty() or raw.release.get("withdrawn"):
        return pl.DataFrame(schema=COMPARED)
    whole = study is not None or not pools_studies(raw)
    frame = frame.with_columns(
        pl.lit(study, pl.String).alias("study") if whole else study_of(frame, raw),
        *_other_weights(frame, raw, wanted),
    )
    cases = wanted.group_by("year", "country", "study").agg(pl.col("rows").max(), pl.col("base").max())
    rows = []
    for year, country, part, n_rows, base in cases.iter_rows():
        cell = frame.filter(
            *(
                pl.col(name) == value
                for name, value in (("year", year), ("country", country), ("study", part))
                if value is not None
            ),
        )
        if cell.is_empty() or not _complete(cell, n_rows, base):
            continue
        figures = wanted.filter(
            pl.col("year").eq_missing(year), pl.col("country").eq_missing(country), pl.col("study").eq_missing(part)
        )
        rows += [_compare(cell, figure, codebook) for figure in figures.iter_rows(named=True)]
    return pl.DataFrame(rows, schema=COMPARED, orient="row").sort("column", "year", "country", "statistic")


def about(rows: pl.DataFrame, raw: RawWave) -> pl.DataFrame:
    """The rows about a wave's own codebook, or about its study in a pooled file that holds the same people.

    Args:
        rows: Frame with the columns codebook and study.
        raw: The wave.
    """
    pooled = raw.source.part_of
    own = pl.col("codebook") == str(raw.release["codebook"])
    if pooled is None:
        return rows.filter(own)
    return rows.filter(own | ((pl.col("codebook") == pooled.codebook) & (pl.col("study") == pooled.study)))


def pools_studies(raw: RawWave) -> bool:
    """Whether the wave's file says which study each respondent belongs to."""
    return raw.source.studies is not None and raw.resolve(raw.source.studies.variable) is not None


def study_of(frame: pl.DataFrame, raw: RawWave) -> pl.Series:
    """The study of each respondent of a pooled file; null if the file does not say."""
    studies = raw.source.studies
    if studies is None or not pools_studies(raw):
        return pl.Series("study", [None] * frame.height, dtype=pl.String)
    codes = cells(raw, studies.variable).get_column("code")
    named = codes.replace_strict(studies.codes, default=None, return_dtype=pl.String)
    # RESPONDENTS is sorted by id; the raw wave is not.
    return named.gather(frame.get_column("row_index")).alias("study")


def _other_weights(frame: pl.DataFrame, raw: RawWave, wanted: pl.DataFrame) -> list[pl.Series]:
    """Native weights of published figures, if they are not the survey's main weight."""
    named = wanted.filter(~pl.col("weight").is_in(["none", "survey"])).get_column("weight").unique().sort()
    return [
        cells(raw, name).get_column("number").gather(frame.get_column("row_index")).alias(f"weight {name}")
        for name in named
        if raw.resolve(name) is not None
    ]


def _complete(cell: pl.DataFrame, n_rows: int | None, base: float | None) -> bool:
    if n_rows is not None:
        return cell.height == n_rows
    total = float(cell.get_column("weight").sum())
    return base is not None and abs(total / base - 1) <= BASE_TOLERANCE


def _compare(cell: pl.DataFrame, figure: dict[str, Any], codebook: str) -> tuple[object, ...]:
    column, statistic = figure["column"], figure["statistic"]
    name = {"survey": "weight"}.get(figure["weight"], f"weight {figure['weight']}")
    weight = pl.lit(1.0) if figure["weight"] == "none" else pl.col(name).fill_null(0.0)
    valid = pl.col(column).is_not_null()
    everybody = pl.col("respondent_id").is_not_null()  # a column, since a literal would be summed once
    counted = valid if figure["denominator"] == "valid" or statistic == "mean" else everybody
    hit = (
        pl.col(column + MISSING_SUFFIX) == figure["missing"]
        if figure["missing"]
        else pl.col(column).cast(pl.String) == pl.lit(figure["value"], pl.String)
    ).fill_null(False)
    total = (weight * counted).sum()
    measured = {
        "count": (weight * hit).sum(),
        "percent": 100 * (weight * hit).sum() / total,
        "mean": (weight * counted * pl.col(column + CODE_SUFFIX).cast(pl.Float64, strict=False).fill_null(0.0)).sum()
        / total,
    }[statistic]
    found, base = cell.select(measured.alias("found"), total.alias("base")).row(0)
    expected = float(figure["expected"])
    # Half a unit of the last printed digit, plus rounding noise of a sum of weights.
    close = found is not None and abs(found - expected) <= 0.5 * 10 ** -int(figure["decimals"]) + 1e-9
    exact = statistic != "count" or (found == expected and base == (figure["base"] or base))
    return (
        column,
        figure["year"],
        figure["country"],
        figure["study"],
        statistic,
        figure["missing"] or figure["value"],
        figure["weight"],
        figure["denominator"],
        expected,
        found,
        figure["base"],
        base,
        close and exact,
        figure["codebook"] == codebook,
        figure["evidence"],
    )
