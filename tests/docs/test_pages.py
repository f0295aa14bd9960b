"""Pages that are made from code are as the code makes them."""

import importlib.util
import re
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "pages.py"
SPEC = importlib.util.spec_from_file_location("pages", TOOL)
pages = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pages)


@pytest.mark.parametrize("name", pages.PAGES)
def test_a_page_is_as_the_code_makes_it(name):
    written = (pages.DOCS / name).read_text(encoding="utf-8")
    assert written == pages.PAGES[name](), "run `nox -s pages` (or `python tools/pages.py`)"


def test_every_environment_variable_is_explained():
    root = pages.DOCS.parent
    # Dagster keeps its databases beside the configuration once a deployment ran here.
    files = [*(root / "mpta_pipeline").rglob("*.py"), *(root / "dagster_home").rglob("*.yaml")]
    read = {name for f in files for name in re.findall(r"\bMPTA_[A-Z_]+\b", f.read_text("utf-8"))}
    explained = (pages.DOCS / "reference/folders-and-variables.md").read_text(encoding="utf-8")
    assert {name for name in read if f"`{name}`" not in explained} == set()


def test_every_key_of_the_configuration_has_a_meaning():
    lines = (pages.DOCS / "reference/configuration.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `") and line.endswith("|  |")] == []


def test_every_command_and_table_has_a_section():
    commands = (pages.DOCS / "reference/commands.md").read_text(encoding="utf-8")
    tables = (pages.DOCS / "reference/tables.md").read_text(encoding="utf-8")
    assert commands.count("\n## mpta ") >= 15
    assert tables.count("\n## ") == len(pages.PUBLISHED)
