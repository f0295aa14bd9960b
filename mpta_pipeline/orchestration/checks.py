"""Asset checks: their names and meaning, and the domain's check results in Dagster's form.

The domain runs the checks, before it replaces a stored table; a failed blocking check raises there and the last good
table stays. What is reported here is what it found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import dagster as dg


class Result(Protocol):
    """What the domain packages' check results have in common."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def passed(self) -> bool: ...  # noqa: D102
    @property
    def severity(self) -> str: ...  # noqa: D102
    @property
    def description(self) -> str: ...  # noqa: D102
    @property
    def metadata(self) -> dict[str, Any]: ...  # noqa: D102


def specs(asset: str, checks: dict[str, str], *, blocking: Iterable[str] = ()) -> list[dg.AssetCheckSpec]:
    """Check specs of an asset: name → description."""
    hard = set(blocking)
    return [
        dg.AssetCheckSpec(name, asset=asset, description=description, blocking=name in hard)
        for name, description in checks.items()
    ]


def results(found: Sequence[Result], declared: Iterable[str]) -> list[dg.AssetCheckResult]:
    """The domain's results as Dagster's. A declared check that had nothing to look at passes and says so."""
    by_name: dict[str, list[Result]] = {}
    for check in found:
        by_name.setdefault(check.name, []).append(check)
    return [_merged(name, by_name.get(name, [])) for name in declared]


def _merged(name: str, found: list[Result]) -> dg.AssetCheckResult:
    failed = [c for c in found if not c.passed]
    severity = dg.AssetCheckSeverity.ERROR if any(c.severity == "error" for c in failed) else dg.AssetCheckSeverity.WARN
    metadata = {"looked at": len(found)} | {
        key: dg.MetadataValue.json(value) if isinstance(value, list | dict) else value
        for c in (failed or found)[:1]
        for key, value in c.metadata.items()
        if value is not None
    }
    return dg.AssetCheckResult(
        passed=not failed,
        check_name=name,
        severity=severity,
        description="; ".join(c.description for c in failed) if failed else None,
        metadata=metadata,
    )
