"""Errors that a user can act on: each says what is wrong, where, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpta_pipeline.core.untrusted_text import printable


class MptaError(Exception):
    """An error whose message names the file, variable, value and remedy, where each applies.

    Args:
        problem: What is wrong, one sentence without a full stop.
        remedy: What the user can do, one sentence without a full stop.
        file: The file concerned. Only its name is shown when it lies in a survey folder.
        variable: The variable, field or configuration key concerned.
        value: The invalid value. It is never a secret; from microdata it is at most a code or label.
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str,
        file: str | Path | None = None,
        variable: str | None = None,
        value: object = None,
    ) -> None:
        self.problem = problem
        self.remedy = remedy
        self.file = Path(file) if isinstance(file, str) else file
        self.variable = variable
        self.value = value
        where = [
            f"{name} {shown}"
            for name, shown in (
                ("file", self.file),
                ("variable", variable),
                ("value", None if value is None else _short(value)),
            )
            if shown is not None
        ]
        place = f" ({', '.join(where)})" if where else ""
        super().__init__(printable(f"{problem}{place}. Remedy: {remedy}."))


class SurveyFileError(MptaError):
    """A survey file that cannot be read or recognized."""


class DiskFullError(MptaError):
    """A file that cannot be written because the disk has no room. What was being read may be good."""


class CrosswalkError(MptaError):
    """An invalid concept file, or a wave that does not fit the crosswalk."""


class ValidationError(MptaError):
    """A table that violates its schema or a blocking quality check."""


class DamagedError(MptaError):
    """A stored file that changed since it was written."""


class ConfigError(MptaError):
    """A configuration file or environment variable that cannot be used."""


class ReplacedError(ConfigError):
    """A stored table was made again by another process while it was read part by part."""


class TaskError(MptaError):
    """An item file of a task that is absent or does not have the published structure."""


class ModelError(MptaError):
    """A model or endpoint that cannot be used. Single failed requests are rows of a table, not errors."""


class PolicyError(MptaError):
    """A use of data that the source's data-use policy does not allow."""


class ApprovalError(MptaError):
    """Requests that cost money and wait until a person approves their model.

    Args:
        problem: As in `MptaError`, likewise the keywords that are not named here.
        requests: How many wait.
        dollars: What they are estimated to cost, in US dollars.
        model: The model.
    """

    def __init__(self, problem: str, *, requests: int, dollars: float, model: str, **where: Any) -> None:
        super().__init__(problem, **where)
        self.requests = requests
        self.dollars = dollars
        self.model = model


def _short(value: object, limit: int = 200) -> str:
    """Show a value on one line with control characters escaped, cut at `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return repr(text if len(text) <= limit else text[:limit] + "…")
