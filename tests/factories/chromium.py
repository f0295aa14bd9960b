"""A headless Chromium for tests of the page, and a page of many estimates to open in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mpta_pipeline import metrics, report
from mpta_pipeline.core.countries import spoken_name
from mpta_pipeline.core.labels import Labels
from mpta_pipeline.core.study import EstimateRules, Study, TaskConfig
from tests.factories import many_estimates as many

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
DIMENSIONS = ("sex", "age_band", "sex×age_band", "country")


def missing() -> str:
    """Why no browser can be started; empty if one can."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed (extra `test`)"
    return "" if _executable() else f"no Chromium: none of {', '.join(NAMES)} is on the path, MPTA_CHROMIUM is not set"


def _executable() -> str | None:
    return os.environ.get("MPTA_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium, for several pages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_executable())
        yield browser
        browser.close()


NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def study(tasks: int) -> Study:
    """The study of many estimates."""
    return Study(
        name="many",
        tasks={f"task_{i}": TaskConfig(kind="multiple_choice") for i in range(tasks)},
        figures=EstimateRules(dimensions=DIMENSIONS),
    )


def labels(n_countries: int, controls: tuple[str, ...] = ()) -> Labels:
    """Names for people."""
    countries = {("country", code): spoken_name(code).removeprefix("the ") for code in many.countries(n_countries)}
    return Labels(
        surveys={"wvs": "World Values Survey"},
        dimensions={"sex": "Sex", "age_band": "Age", "country": "Country"},
        values={("sex", "female"): "women", ("sex", "male"): "men", ("age_band", "65+"): "65 and over"} | countries,
        controls=controls,
    )


def page_of_many(*, models: int, tasks: int, n_countries: int) -> str:
    """A report of many estimates; the first model is a control."""
    estimates = many.estimates(models=models, tasks=tasks, n_countries=n_countries)
    controls = ("model-00",)
    return report.render_report(
        {
            "subgroup_metrics": estimates,
            "models": many.model_records(models, controls),
            "model_comparison": many.ties(estimates).filter(~many.is_one_of(controls)),
        },
        study=study(tasks),
        metrics=metrics.METRICS,
        title="Study many",
        generated=NOW,
        labels=labels(n_countries, controls),
    )


def opened(
    browser: Any, path: Path, view: str = "", *, width: int = 1280, scheme: str = "light", scripts: bool = True
) -> Any:
    """The page in a window of its own; `page.said` collects console messages, errors and requests of the network."""
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        java_script_enabled=scripts,
        accept_downloads=True,
    )
    page.set_default_timeout(20_000)
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda it: it.url.startswith(("file:", "blob:", "data:")) or page.said.append(it.url))
    page.goto(f"{path.as_uri()}{view}")
    return page
