"""Name sampling strata and primary sampling units uniquely."""

from __future__ import annotations

import polars as pl

# Missing codes of surveys: negative numbers, and the tags .a to .z of Stata and SAS.
_MISSING = r"^(-\d|\.[a-z]?$)"


def sampling_design(respondents: pl.DataFrame) -> pl.DataFrame:
    """Wave, stratum and primary sampling unit of each respondent.

    Files restart the numbers of strata in each wave and country, and those of units in each stratum (GSS: `vpsu` is 1
    or 2 in every `vstrat`). A name therefore contains everything that it is numbered within. Countries and waves are
    separate samples, hence strata, even if a file has none. A missing code is not a unit; nor is the only unit of a
    country, which does not say how people were drawn there.

    Args:
        respondents: RESPONDENTS rows.

    Returns:
        respondent_id, `sample` (the country), `sample_wave` (the wave), `stratum` (never null) and `psu` (null:
        unknown, so that persons count as drawn individually).
    """
    own = {name: pl.when(~pl.col(name).str.contains(_MISSING)).then(pl.col(name)) for name in ("stratum", "psu")}
    frame = respondents.select(
        "respondent_id",
        pl.concat_str("wave", "country", own["stratum"].fill_null(""), separator="/")
        .str.strip_suffix("/")
        .alias("stratum"),
        pl.concat_str("wave", "country", separator="/").alias("of"),
        pl.col("country").alias("sample"),
        pl.col("wave").alias("sample_wave"),
        own["psu"].alias("unit"),
    ).with_columns(pl.concat_str("stratum", "unit", separator="/").alias("psu"))
    several = pl.col("psu").drop_nulls().n_unique().over("of") > 1
    psu = pl.when(several).then("psu").alias("psu")
    return frame.select("respondent_id", "sample", "sample_wave", "stratum", psu)
