"""How large the report is, and how soon it can be used, for a small study and for 20 models × 7 tasks × 100 countries.

Run: python -m tests.benchmarks.bench_report
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.factories.chromium import chromium, missing, opened, page_of_many

SIZES = (((3, 4, 20), 3.0), ((20, 7, 100), 8.0))
"""Models, tasks and countries, and the limit in MB."""
INTERACTIVE = 1.5  # seconds


def main() -> None:
    """Measure and print."""
    for (models, tasks, countries), limit in SIZES:
        start = time.perf_counter()
        page = page_of_many(models=models, tasks=tasks, n_countries=countries)
        name = f"{models} models × {tasks} tasks × {countries} countries"
        seconds = time.perf_counter() - start
        print(f"{name:40s} {len(page.encode()) / 1e6:6.2f} MB (limit {limit}), made in {seconds:.1f} s")
        if missing():
            print(f"  not opened: {missing()}")
            continue
        with tempfile.TemporaryDirectory() as folder, chromium() as browser:
            path = Path(folder) / "report.html"
            path.write_text(page, encoding="utf-8")
            opened(browser, path).close()  # warms the browser
            shown = opened(browser, path)
            loaded = shown.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
            start = time.perf_counter()
            shown.evaluate("location.hash = '#view&by=country'")
            shown.wait_for_selector("#explorer figure[data-ready]")
            drawn = time.perf_counter() - start
            start = time.perf_counter()
            shown.select_option("#pick-by", "sex")
            shown.wait_for_function("document.querySelector('#explorer figcaption').textContent.includes('by sex')")
            changed = time.perf_counter() - start
        print(f"  page usable after {loaded / 1000:.2f} s (limit {INTERACTIVE}), first chart {drawn:.2f} s later,")
        print(f"  another choice drawn in {changed:.2f} s")


if __name__ == "__main__":
    main()
