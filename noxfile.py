"""The commands of this project: `nox -l` lists them, and continuous integration (`.ci/run`) runs the same ones.

Sessions use the environment in which nox runs (`pip install -e '.[demo,dev]'`), so that a session starts at once.
`tests/docs/test_commands.py` compares the commands with those in README.md and `.ci/run`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "unit"]

ROOT = Path(__file__).parent
BENCHMARKS = sorted(p.stem.removeprefix("bench_") for p in ROOT.glob("tests/benchmarks/bench_*.py"))


@nox.session
def lint(session: nox.Session) -> None:
    """Check formatting, Python and SQL."""
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("sqlfluff", "lint", "sql")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, in strict mode."""
    session.run("mypy")


@nox.session
def definitions(session: nox.Session) -> None:
    """Load everything that Dagster loads."""
    home = {"DAGSTER_HOME": str(ROOT / "dagster_home")}
    session.run("dagster", "definitions", "validate", "-w", "workspace.yaml", env=home)


@nox.session
def unit(session: nox.Session) -> None:
    """Run the unit tests; further arguments go to pytest."""
    session.run("python", "-m", "pytest", "-m", "unit", *session.posargs)


@nox.session(name="all")
def all_tests(session: nox.Session) -> None:
    """Run the whole suite, as README.md says; further arguments go to pytest."""
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the suite and fail below the floor of `[tool.coverage.report]`; name tests to measure a part of it."""
    session.run("python", "-m", "pytest", "--cov", "--cov-report=term", *session.posargs)


@nox.session
def pages(session: nox.Session) -> None:
    """Write the pages of docs/ that are made from code."""
    session.run("python", "tools/pages.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Test the documentation (links, examples, recipes, words) and build it as a web site."""
    session.run("python", "-m", "pytest", "tests/docs", *session.posargs, env={"MPTA_RECIPES": "each"})
    site(session)


@nox.session
def site(session: nox.Session) -> None:
    """Build the documentation as a web site in `build/site`, without network; a broken link is an error."""
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def picture(session: nox.Session) -> None:
    """Take the picture of the report that README.md shows, after a demo; arguments go to `tools/picture.py`."""
    session.run("python", "-m", "tools.picture", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the starter study in a fresh data folder, quick, then whole, twice, and the notebook on its results.

    The last run must send no request.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = os.environ.get("MPTA_DATA_DIR", folder)
        session.run("mpta", "demo", "--quick", env={"MPTA_DATA_DIR": data})
        for _ in range(2):
            session.run("mpta", "demo", env={"MPTA_DATA_DIR": data})
        session.run("python", "docs/notebooks/first_look.py", env={"MPTA_DATA_DIR": data})


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks that are named (`nox -s bench -- metrics engine`), or all of them. Needs an idle machine."""
    for name in session.posargs or BENCHMARKS:
        session.run("python", "-m", f"tests.benchmarks.bench_{name}")
