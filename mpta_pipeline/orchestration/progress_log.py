"""Write the progress of requests into the log of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from mpta_pipeline.inference import RequestProgress

EVERY_SECONDS = 30.0


def log_progress(info: Callable[[str], None], warn: Callable[[str], None]) -> Callable[[RequestProgress], None]:
    """A callback that logs one line per model and half minute, and each warning once, at once."""
    last: dict[str, float] = {}
    warned: set[tuple[str, str]] = set()

    def log(progress: RequestProgress) -> None:
        for warning in progress.warnings:
            if (progress.model, warning) not in warned:
                warned.add((progress.model, warning))
                warn(f"{progress.model}: {warning}")
        if time.monotonic() - last.setdefault(progress.model, time.monotonic()) < EVERY_SECONDS:
            return
        last[progress.model] = time.monotonic()
        left = progress.remaining_seconds
        name = f"{progress.model} on {progress.task}" if progress.task else progress.model
        info(
            f"{name}: {progress.done:,} of {progress.total:,} answers, {progress.rate:.1f} per second"
            + (f", {progress.errors:,} errors" if progress.errors else "")
            + (f", {progress.spent:.2f} $" if progress.spent else "")
            + ("" if left is None else f", {timedelta(seconds=round(left))} to go")
        )

    return log
