"""Countries: the surveys' codes to ISO 3166-1 alpha-3, and the name a person would say."""

from __future__ import annotations

from functools import cache

import pycountry

from mpta_pipeline.harmonize.concept_schema import Option

# Codes that the surveys use and ISO 3166-1 numeric does not have. Northern Ireland is part of the United Kingdom in
# ISO 3166-1, where its respondents belong; the survey keeps it apart as a study of its own (key: country and study),
# and its native code stays in country__code. 197 is the surveys' Northern Cyprus, 915 and 383 their Kosovo.
OWN_CODES = {
    "909": ("GBR", "Northern Ireland, in the United Kingdom"),
    "197": ("CYP", "the northern part of Cyprus"),
    "915": ("XKX", "Kosovo"),
    "383": ("XKX", "Kosovo"),
    # Countries that are no more, as people were born in or surveyed in them.
    "278": ("DEU", "East Germany"),
    "280": ("DEU", "West Germany"),
    "736": ("SDN", "Sudan"),
    "891": ("SRB", "Serbia and Montenegro"),
    "900": ("DEU", "West Germany"),
    "901": ("DEU", "East Germany"),
}
OWN_ALPHA = {"NIR": "909", "XK": "915", "XKX": "915", "KOS": "915", "XKO": "915", "CYN": "197", "NCY": "197"}
_ARTICLE = {"USA", "GBR", "NLD", "PHL", "CZE", "DOM", "RUS", "MDV", "ARE", "BHS", "GMB", "COD", "COG", "CAF", "SDN"}
_NAMES = {
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
_NO_ARTICLE = {"RUS", "CZE"}


@cache
def country_options(kind: bool | str) -> tuple[Option, ...]:
    """One option a country: native code (ISO numeric without leading zeros, alpha-2, alpha-3), alpha-3, its name."""
    if isinstance(kind, str):
        return (_option(kind, kind, _said(kind)),)
    found = [
        _option(code, c.alpha_3, _said(c.alpha_3))
        for c in pycountry.countries
        for code in (str(int(c.numeric)), c.alpha_2, c.alpha_3)
    ]
    found += [_option(code, iso, name) for code, (iso, name) in OWN_CODES.items()]
    found += [_option(alpha, *OWN_CODES[code]) for alpha, code in OWN_ALPHA.items()]
    return tuple({o.code: o for o in found}.values())


def _option(code: str, iso: str, name: str) -> Option:
    return Option.model_construct(code=code, label=None, value=iso, text=name, off_scale=False)


def _said(iso: str) -> str:
    name = (_NAMES.get(iso) or str(getattr(pycountry.countries.get(alpha_3=iso), "name", iso))).split(",")[0]
    return f"the {name}" if iso in _ARTICLE - _NO_ARTICLE else name


@cache
def country_code(name: str) -> str | None:
    """ISO 3166-1 alpha-3 of a country by its code or whole name in any case; None for what is none.

    Never by a part of a name: "Niger" is no part of "Nigeria".
    """
    plain = name.strip().casefold().removeprefix("the ")
    own = {said.casefold(): iso for iso, said in (*_NAMES.items(), ("XKX", "Kosovo"), ("XKX", "XKX"))}
    if plain in own:
        return own[plain]
    try:
        return str(pycountry.countries.lookup(plain).alpha_3)
    except LookupError:
        return None
