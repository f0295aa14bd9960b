"""Map a codebook's missing codes, tags and labels to the kinds of missing answer. No other module does this.

A code is missing if the file declares it or the codebook's convention names it; zero is a code like any other. Its kind
follows from its label if that names one, else from the convention's table.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

from mpta_pipeline.surveys.source_registry import Convention


@lru_cache(maxsize=65536)
def plain(label: str) -> str:
    """A label on one line, in lower case, without accents and with plain quotes."""
    for curly in ("\u2019", "\u2018", "\u00b4", "`", "\u00e2\u20ac\u2122", "\u0092"):
        label = label.replace(curly, "'")
    label = re.sub(r"^\.[a-z]:\s*", "", label)  # ".i:  Inapplicable", as the GSS Data Explorer writes
    if not label.isascii():
        label = "".join(c for c in unicodedata.normalize("NFKD", label) if not unicodedata.combining(c))
    return " ".join(label.lower().split())


@lru_cache(maxsize=65536)
def _search(pattern: str, text: str, *, whole: bool = False) -> bool:
    return bool(re.fullmatch(pattern, text) if whole else re.search(pattern, text))


def is_declared(code: str, declared: Sequence[str]) -> bool:
    """Whether a code is one of the declared codes or lies in one of the declared ranges."""
    if code in declared:
        return True
    try:
        number = float(code)
    except ValueError:
        return False
    for bounds in declared:
        low, dots, high = bounds.partition("..")
        if dots and float(low) <= number <= float(high):
            return True
    return False


def kind_of_code(
    code: str,
    label: str | None,
    convention: Convention,
    *,
    variable: str = "",
    declared: Sequence[str] = (),
    file_declares: bool = False,
    categorical: bool = False,
) -> str | None:
    """The kind of missing answer that a code of a variable stands for; None if it is a value.

    Args:
        code: Native code as text; Stata's tags as .d.
        label: Its value label, if it has one.
        convention: The codebook's convention.
        variable: Native variable, for the convention's exemptions.
        declared: Missing codes and ranges that the file declares for the variable.
        file_declares: Whether the file declares missing codes for any variable at all, so that a code that it does
            not declare here is a value unless its label says otherwise.
        categorical: Whether the variable's values are labelled: there an unlabelled code of the convention is missing.
    """
    said = plain(label) if label else ""
    by_label = next((k for p, k in convention.labels.items() if said and _search(p, said)), None)
    if code.startswith("."):
        if by_label is not None:
            return by_label
        # A letter with a label that is no way of being missing ("ill, too tired") is a category put among the missing.
        if code in convention.codes and (not said or code not in convention.doubtful):
            return convention.codes[code]
        return "invalid" if said else "not_available_release"
    if variable.lower() in {v.lower() for v in convention.exempt}:
        return None
    if any(code in codes and variable.lower() == v.lower() for v, codes in convention.values.items()):
        return None
    marked = is_declared(code, declared)
    if code in convention.codes:
        # An undeclared code is a value where its own label says nothing of missing; without one, the codebook decides.
        unlabelled = not said and (categorical or not convention.declared_only)
        trusted = marked or unlabelled or not file_declares or by_label is not None
        return (by_label or convention.codes[code]) if trusted else None
    if marked:
        return by_label or next(
            (k for p, k in convention.value_labels.items() if _search(p, said, whole=True)), "invalid"
        )
    if said:
        return next((k for p, k in convention.value_labels.items() if _search(p, said, whole=True)), None)
    return None


def kinds(
    codes: Sequence[str],
    labels: Mapping[str, str],
    convention: Convention,
    *,
    variable: str = "",
    declared: Sequence[str] = (),
    file_declares: bool = False,
) -> dict[str, str]:
    """The codes among `codes` that are missing → their kind."""
    found = {
        code: kind_of_code(
            code,
            labels.get(code),
            convention,
            variable=variable,
            declared=declared,
            file_declares=file_declares,
            categorical=bool(labels),
        )
        for code in codes
    }
    return {code: kind for code, kind in found.items() if kind is not None}
