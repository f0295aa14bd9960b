"""Answer options of the concepts whose answers are countries."""

from __future__ import annotations

from functools import cache

from mpta_pipeline.core.countries import OWN_ALPHA, OWN_CODES, codes, spoken_name
from mpta_pipeline.harmonize.concept_schema import Option


@cache
def country_options(kind: bool | str) -> tuple[Option, ...]:
    """One option per country and code (ISO numeric without leading zeros, alpha-2, alpha-3), with alpha-3 and name."""
    if isinstance(kind, str):
        return (_option(kind, kind, spoken_name(kind)),)
    found = [_option(code, iso, spoken_name(iso)) for code, iso in codes().items()]
    found += [_option(code, iso, name) for code, (iso, name) in OWN_CODES.items()]
    found += [_option(alpha, *OWN_CODES[code]) for alpha, code in OWN_ALPHA.items()]
    return tuple({option.code: option for option in found}.values())


def _option(code: str, iso: str, name: str) -> Option:
    return Option.model_construct(code=code, label=None, value=iso, text=name, off_scale=False)
