"""The result of a data check, which every stage of the pipeline reports in the same form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mpta_pipeline.core.vocabulary import Severity


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    Attributes:
        name: Name of the check.
        passed: Whether the data passed the check.
        severity: `error` blocks, `warn` is reported.
        description: What the check compares, one sentence.
        metadata: Numbers, texts and lists that explain the outcome.
    """

    name: str
    passed: bool
    severity: Severity
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
