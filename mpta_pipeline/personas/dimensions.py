"""Derive the dimensions by which people are stratified and estimates are broken down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from mpta_pipeline.core.countries import country_code
from mpta_pipeline.core.cultural_zones import ZONES
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.row_dimensions import ROW_DIMENSIONS
from mpta_pipeline.core.unknown_names import unknown_name
from mpta_pipeline.personas.traits import CrosswalkTables
from mpta_pipeline.personas.wording import number

_RESPONDENT = ("country", "year", "wave", "survey", "codebook")
# Dimensions of the question or its wording are made from the answers. Of people they need, at most, the country.
_OF_QUESTIONS = {
    dimension.name: ("country",) if dimension.of == "items and country" else ()
    for dimension in ROW_DIMENSIONS
    if dimension.name not in _RESPONDENT
}

# Names for people. Other dimensions are called by the label of their concept.
TITLES: Mapping[str, str] = {
    "country": "Country",
    "year": "Year",
    "wave": "Wave",
    "survey": "Survey",
    "codebook": "Codebook",
    "age_band": "Age",
    "age_decade": "Age",
    "sex": "Sex",
    "education_3": "Education",
    "party_3": "Party",
    "race": "Race",
    "cultural_zone": "Cultural zone",
    "country_group": "Group of countries",
    **{dimension.name: dimension.title for dimension in ROW_DIMENSIONS},
}
# Values whose phrase says what they are without the name of the dimension.
VALUES: Mapping[tuple[str, str], str] = {
    ("sex", "female"): "women",
    ("sex", "male"): "men",
    ("age_band", "18–29"): "18–29",
    ("age_band", "30–44"): "30–44",
    ("age_band", "45–64"): "45–64",
    ("age_band", "65+"): "65 and over",
    ("race", "black"): "Black",
    ("race", "white"): "White",
    ("race", "other"): "of another race",
    ("party_3", "democrat"): "Democrats",
    ("party_3", "republican"): "Republicans",
    ("party_3", "independent"): "independents",
    ("party_3", "other"): "another party",
    ("education_3", "lower"): "lower education",
    ("education_3", "middle"): "middle education",
    ("education_3", "upper"): "upper education",
}


def age_band(age: pl.Expr) -> pl.Expr:
    """18–29 (including respondents under 18, whom some surveys admit), 30–44, 45–64, 65+."""
    return (
        pl.when(age.is_null()).then(None).when(age < 30).then(pl.lit("18–29")).when(age < 45).then(pl.lit("30–44"))
        .when(age < 65).then(pl.lit("45–64")).otherwise(pl.lit("65+"))
    )  # fmt: skip


def age_decade(age: pl.Expr) -> pl.Expr:
    """The decade of age: 20s, 30s and so on."""
    return pl.when(age.is_not_null()).then(pl.format("{}s", (age // 10 * 10).cast(pl.Int64)))


# Name → (concept it is derived from, function).
_DERIVED: dict[str, tuple[str, Callable[[pl.Expr], pl.Expr]]] = {
    "age_band": ("age", age_band),
    "age_decade": ("age", age_decade),
}


def concepts_of(name: str) -> list[str]:
    """The concepts or columns that a base dimension of people tells something about."""
    if name in ("cultural_zone", "country_group"):
        return ["country"]
    return [_DERIVED[name][0]] if name in _DERIVED else [name]


def zones(country: pl.Expr) -> pl.Expr:
    """The country's zone on the Inglehart–Welzel map; null for countries that are not on it."""
    return country.replace_strict(ZONES, default=None, return_dtype=pl.String)


def country_group(groups: Mapping[str, Sequence[str]]) -> pl.Expr:
    """The study's group of a country; null for countries in no group.

    Raises:
        ConfigError: A name is not a country, a country is in two groups, or there are no groups.
    """

    def wrong(problem: str, value: str | None, remedy: str) -> ConfigError:
        return ConfigError(problem, variable="figures.country_groups", value=value, remedy=remedy)

    if not groups:
        raise wrong(
            "The study uses the dimension country_group without groups", None, "name the groups and their countries"
        )
    found: dict[str, str] = {}
    for group, countries in groups.items():
        for name in countries:
            code = country_code(name)
            if code is None:
                raise wrong("The country is unknown", name, "give its whole name or its ISO 3166-1 code")
            if found.setdefault(code, group) != group:
                raise wrong(
                    "A country is in two groups", f"{name}: {found[code]}, {group}", "remove it from one of them"
                )
    return pl.col("country").replace_strict(found, default=None, return_dtype=pl.String)


def dimension_names(crosswalk: CrosswalkTables) -> tuple[list[str], list[str]]:
    """The names of all dimensions: of people, and of questions or their wording."""
    concepts = crosswalk.concepts.filter(pl.col("column").is_not_null())
    known = {*_RESPONDENT, *_DERIVED, "cultural_zone", "country_group", *concepts["concept"], *concepts["column"]}
    return sorted(known), sorted(_OF_QUESTIONS)


def derived_dimensions(
    respondents: pl.DataFrame,
    names: Sequence[str],
    crosswalk: CrosswalkTables,
    *,
    country_groups: Mapping[str, Sequence[str]] | None = None,
) -> pl.DataFrame:
    """Each respondent's value on each dimension.

    Args:
        respondents: RESPONDENTS rows with their harmonized columns.
        names: Dimensions or intersections of them (`sex×age_band`): a respondent field (country, wave, year), a
            derived one (age_band, cultural_zone, country_group), a harmonized column, or a concept, which stands for
            the column that the respondent's survey has. Dimensions of the question (category, in_culture, …) have no
            column here.
        crosswalk: Concepts and options.
        country_groups: Groups of the dimension `country_group`: name → countries, by name or ISO code.

    Returns:
        respondent_id, survey, and one String column per base dimension; null if the answer is missing or not asked.

    Raises:
        ConfigError: A name is none of these.
    """
    parts = [part for name in names for part in name.split("×")]
    bases = list(dict.fromkeys(base for part in parts for base in _OF_QUESTIONS.get(part, (part,))))
    found = respondents.select(
        "respondent_id",
        "survey",
        *(
            (
                country_group(country_groups or {})
                if name == "country_group"
                else _dimension(name, respondents, crosswalk)
            ).alias(name)
            for name in bases
            if name != "survey"
        ),
    )
    return found.with_columns(
        (number(pl.col(name)) if dtype.is_float() else pl.col(name).cast(pl.String)).alias(name)
        for name, dtype in found.schema.items()
    ).sort("respondent_id")


def _dimension(name: str, respondents: pl.DataFrame, crosswalk: CrosswalkTables) -> pl.Expr:
    if name in _RESPONDENT:
        return pl.col(name)
    if name == "cultural_zone":
        return zones(pl.col("country"))
    concepts = crosswalk.concepts.filter(pl.col("column").is_not_null())
    rows = concepts.filter(pl.col("concept") == name)
    if rows.is_empty():
        rows = concepts.filter(pl.col("column") == name)
    if rows.is_empty():
        if name in _DERIVED:
            concept, derive = _DERIVED[name]
            return derive(_dimension(concept, respondents, crosswalk))
        raise unknown_name("dimension", name, dimension_names(crosswalk)[0], variable="dimensions")
    by_codebook = [
        pl.when(pl.col("codebook") == codebook).then(pl.col(column))
        for codebook, column in rows.select("codebook", "column").unique().sort("codebook", "column").rows()
        if column in respondents.columns
    ]
    numeric = rows["scale"].first() == "numeric"
    return pl.coalesce(by_codebook) if by_codebook else pl.lit(None, pl.Float64 if numeric else pl.String)
