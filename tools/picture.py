"""Take the picture of the report that README.md and the documentation show.

    python -m tools.picture                  # data/report.html → docs/assets/report.png
    python -m tools.picture REPORT TARGET

Needs Playwright (extra `docs`) and a Chromium of the system, or one that `playwright install chromium` fetched. Run it
after `mpta demo`: only a report of the demo may be shown, because its data may be.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "assets" / "report.png"
WIDTH, HEIGHT = 1120, 716
LARGEST = 250_000  # bytes; a README is read on slow lines, too


def take(report: Path, target: Path, *, height: int = HEIGHT) -> Path:
    """Photograph the first screen of a report, light, at the width of a laptop's window.

    Raises:
        SystemExit: The report is absent, or the picture is too large to commit.
    """
    from playwright.sync_api import sync_playwright

    if not report.is_file():
        raise SystemExit(f"There is no report at {report}: run `mpta demo` first, or give its path.")
    browser_of_system = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_of_system, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": height}, color_scheme="light", locale="en-US")
        page.goto(report.resolve().as_uri(), wait_until="load")
        page.wait_for_timeout(1500)  # charts are drawn when they are in view
        target.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=target)
        browser.close()
    if target.stat().st_size > LARGEST:
        raise SystemExit(f"{target} has {target.stat().st_size:,} bytes, more than {LARGEST:,}: choose a lower height.")
    return target


def main() -> None:
    """Take the picture as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    data = Path(os.environ.get("MPTA_DATA_DIR", "data"))
    parser.add_argument("report", nargs="?", type=Path, default=data / "report.html")
    parser.add_argument("target", nargs="?", type=Path, default=TARGET)
    parser.add_argument("--height", type=int, default=HEIGHT, help="height of the picture in pixels")
    given = parser.parse_args()
    taken = take(given.report, given.target, height=given.height)
    print(f"{taken}: {taken.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
