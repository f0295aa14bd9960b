"""mpta_pipeline: survey respondents as personas, and how well language models answer as they do.

    import mpta_pipeline

    study = mpta_pipeline.open("data")                 # the published results of a study
    study.reported_estimates(metric="accuracy", dimensions="sex")
    mpta_pipeline.score("answers.csv").estimates       # answers of other tools: the same as `mpta score`

Importing the package costs next to nothing: everything is loaded at first use, and nothing here loads Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpta_pipeline.api import open, read_answers, score

    __version__: str

__all__ = ["__version__", "open", "read_answers", "score"]

_API = ("open", "read_answers", "score")


def __getattr__(name: str) -> Any:
    if name in _API:
        from mpta_pipeline import api

        return getattr(api, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("mpta-pipeline")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
