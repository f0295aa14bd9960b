"""Make the error for an unknown name: it lists the known names and suggests the closest one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from mpta_pipeline.core.errors import ConfigError

SHOWN = 20
"""Maximum number of known names in a message."""


def closest(given: str, known: Iterable[str]) -> str | None:
    """The known name that a mistyped name probably means; None if no name is close.

    >>> closest("gss-2108", ["gss-2018", "wvs-7"])
    'gss-2018'
    """
    by_folded: dict[str, str] = {}
    for name in known:
        by_folded.setdefault(name.casefold(), name)
    folded = given.strip().casefold()
    near = get_close_matches(folded, by_folded, n=1, cutoff=0.6)
    if not near and len(folded) >= 3:
        near = [name for name in by_folded if folded in name or name in folded][:1]
    return by_folded[near[0]] if near else None


def unknown_name(
    kind: str,
    given: str,
    known: Iterable[str],
    *,
    variable: str,
    file: Path | None = None,
    hint: str = "",
) -> ConfigError:
    """Make the error for an unknown name.

    Args:
        kind: The kind of thing that the name should identify, e.g. `model`.
        given: The name as given.
        known: All known names.
        variable: The option or configuration key that holds the name.
        file: The file that declares the known names.
        hint: A further remedy, without a full stop.
    """
    names = list(dict.fromkeys(known))
    meant = closest(given, names)
    listed = ", ".join(names[:SHOWN]) + (f" … ({len(names)})" if len(names) > SHOWN else "")
    remedy = "; ".join(
        part
        for part in (
            f'did you mean "{meant}"?' if meant else "",
            f"choose one of {listed}" if names else f"there is no {kind} yet",
            hint,
        )
        if part
    )
    return ConfigError(f"There is no such {kind}", file=file, variable=variable, value=given, remedy=remedy)


def check_name(
    kind: str,
    given: str,
    known: Iterable[str],
    *,
    variable: str,
    file: Path | None = None,
    hint: str = "",
) -> None:
    """Reject an unknown name; the arguments are those of `unknown_name`.

    Raises:
        ConfigError: The name is not among the known ones.
    """
    names = list(known)
    if given not in names:
        raise unknown_name(kind, given, names, variable=variable, file=file, hint=hint)
