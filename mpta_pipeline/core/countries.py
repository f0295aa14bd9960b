"""Countries of ISO 3166-1: their codes, names, and the codes and names that survey files use instead."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pycountry

# Codes that the surveys use and ISO 3166-1 numeric does not have. Northern Ireland is part of the United Kingdom in
# ISO 3166-1, so its respondents count there; the survey keeps it as a separate study (key: country and study), and its
# native code stays in country__code. 197 is the surveys' Northern Cyprus, 915 and 383 are their Kosovo.
OWN_CODES: Mapping[str, tuple[str, str]] = {
    "909": ("GBR", "Northern Ireland, in the United Kingdom"),
    "197": ("CYP", "the northern part of Cyprus"),
    "915": ("XKX", "Kosovo"),
    "383": ("XKX", "Kosovo"),
    # Countries that no longer exist, in which people were born or surveyed.
    "278": ("DEU", "East Germany"),
    "280": ("DEU", "West Germany"),
    "736": ("SDN", "Sudan"),
    "891": ("SRB", "Serbia and Montenegro"),
    "900": ("DEU", "West Germany"),
    "901": ("DEU", "East Germany"),
}
OWN_ALPHA: Mapping[str, str] = {
    "NIR": "909", "XK": "915", "XKX": "915", "KOS": "915", "XKO": "915", "CYN": "197", "NCY": "197"
}  # fmt: skip
_NAMES: Mapping[str, str] = {
    "USA": "United States",
    "GBR": "United Kingdom",
    "RUS": "Russia",
    "KOR": "South Korea",
    "PRK": "North Korea",
    "IRN": "Iran",
    "TWN": "Taiwan",
    "BOL": "Bolivia",
    "VEN": "Venezuela",
    "TZA": "Tanzania",
    "MDA": "Moldova",
    "MKD": "North Macedonia",
    "VNM": "Vietnam",
    "PSE": "Palestine",
    "SYR": "Syria",
    "TUR": "Turkey",
    "HKG": "Hong Kong",
    "MAC": "Macao",
    "BIH": "Bosnia and Herzegovina",
    "CZE": "Czechia",
}
_ARTICLE = {"USA", "GBR", "NLD", "PHL", "DOM", "MDV", "ARE", "BHS", "GMB", "COD", "COG", "CAF", "SDN"}


@cache
def codes() -> Mapping[str, str]:
    """ISO numeric code without leading zeros, alpha-2 and alpha-3 → alpha-3."""
    return {
        code: country.alpha_3
        for country in pycountry.countries
        for code in (str(int(country.numeric)), country.alpha_2, country.alpha_3)
    }


@cache
def survey_codes() -> Mapping[str, str]:
    """Codes that survey files use → alpha-3: those of ISO (`codes`), and the surveys' own."""
    own = {code: iso for code, (iso, _) in OWN_CODES.items()}
    return {**codes(), **own, **{alpha: own[code] for alpha, code in OWN_ALPHA.items()}}


@cache
def correlates_of_war() -> Mapping[str, str]:
    """Numbers and letters of the Correlates of War project → alpha-3."""
    with (Path(__file__).parent / "correlates_of_war.csv").open(encoding="utf-8", newline="") as file:
        return {code: row["iso"] for row in csv.DictReader(file) for code in (row["number"], row["alpha"])}


@cache
def official_names() -> Mapping[str, str]:
    """ISO's names, common names and official names, in lower case → alpha-3."""
    return {
        name.lower(): country.alpha_3
        for country in pycountry.countries
        for field in ("name", "common_name", "official_name")
        if (name := getattr(country, field, None))
    }


def spoken_name(iso: str) -> str:
    """The name of a country in a sentence, e.g. "the Netherlands"; the code itself if ISO has no such country."""
    name = (_NAMES.get(iso) or str(getattr(pycountry.countries.get(alpha_3=iso), "name", iso))).split(",")[0]
    return f"the {name}" if iso in _ARTICLE else name


def country_code(name: str, spellings: Mapping[str, str] | None = None) -> str | None:
    """ISO 3166-1 alpha-3 of a country, given its code or whole name in any case; None for anything else.

    A part of a name never matches: "Niger" does not find "Nigeria".

    Args:
        name: The country as a person or a file writes it.
        spellings: Further names that one file uses, in lower case → alpha-3.
    """
    plain = name.strip().casefold()
    if spellings and plain in spellings:
        return spellings[plain]
    return _country_code(plain) or _country_code(plain.removeprefix("the "))


@cache
def _country_code(plain: str) -> str | None:
    own = {said.casefold(): iso for iso, said in (*_NAMES.items(), ("XKX", "Kosovo"), ("XKX", "XKX"))}
    if plain in own:
        return own[plain]
    try:
        return str(pycountry.countries.lookup(plain).alpha_3)
    except LookupError:
        return None
