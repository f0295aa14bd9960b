"""Asset checks: the graph's declarations and the domain's results in Dagster's form.

The domain runs the checks before it replaces a stored table; a failed blocking check raises there and the last good
table stays. The results that it returned are reported here.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.pipeline import graph


def specs(asset: str) -> list[dg.AssetCheckSpec]:
    """Check specs of an asset."""
    return [
        dg.AssetCheckSpec(name, asset=asset, description=check.meaning, blocking=not check.advisory)
        for name, check in graph.TABLES[asset].checks.items()
    ]


def results(asset: str, found: Sequence[CheckResult]) -> list[dg.AssetCheckCheckResult]:
    """The domain's results as Dagster's. A declared check without a result passes and says that it examined nothing.

    Raises:
        KeyError: A result belongs to a check that the graph does not declare.
    """
    declared = graph.TABLES[asset].checks
    if undeclared := {check.name for check in found} - set(declared):
        raise KeyError(f"checks of {asset} that pipeline/graph.py does not declare: {sorted(undeclared)}")
    by_name: dict[str, list[CheckResult]] = {}
    for check in found:
        by_name.setdefault(check.name, []).append(check)
    return [_merged(name, by_name.get(name, [])) for name in declared]


def _merged(name: str, found: list[CheckResult]) -> dg.AssetCheckResult:
    failed = [c for c in found if not c.passed]
    severity = dg.AssetCheckSeverity.ERROR if any(c.severity == "error" for c in failed) else dg.AssetCheckSeverity.WARN
    metadata = {"examined": len(found)} | {
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
