"""Follows every recipe of CONTRIBUTING.md word by word, in a copy of the project.

A recipe is a section "### Add …". A line with nothing but a path in backticks names the file of the code block below
it. With "Insert into" before the path, the block goes into an existing file: before a line that is quoted, or at the
end of a tuple that is named. Blocks of `sh` are commands.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COPIED = ("mpta_pipeline", "sql", "dagster_home", "docs", "tests", "pyproject.toml", "workspace.yaml", "README.md")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "history", "storage", "logs", "schedules", ".logs*", "*.egg-info")
BLOCK = re.compile(
    r"^(?:(?:Insert into )?`(?P<path>[\w./-]+)`"
    r"(?: before the line `(?P<line>[^`\n]+)`| at the end of `(?P<tuple>\w+)`)?\n\n)?"
    r"```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
MOST_FILES = {"Add a stored table": 2}  # beside the test; one for everything else


@dataclass
class Recipe:
    """One recipe: the files that it writes or extends, and the commands that show that they work."""

    title: str
    files: dict[str, str] = field(default_factory=dict)
    insertions: list[tuple[str, str | None, str | None, str]] = field(default_factory=list)
    """File, line or tuple, and code, in the order of the text."""
    commands: list[str] = field(default_factory=list)

    @property
    def touched(self) -> set[str]:
        """Files beside the tests."""
        return {path for path in (*self.files, *(i[0] for i in self.insertions)) if not path.startswith("tests/")}


def recipes() -> list[Recipe]:
    found = []
    part = re.split(r"^## ", TEXT.split("\n## Recipes\n")[1], flags=re.MULTILINE)[0]
    for section in re.split(r"^### (?=Add )", part, flags=re.MULTILINE)[1:]:
        recipe = Recipe(section.splitlines()[0])
        for block in BLOCK.finditer(section):
            path, line, name, language, code = block.group("path", "line", "tuple", "language", "code")
            if line or name:
                recipe.insertions.append((path, line, name, code))
            elif path:
                recipe.files[path] = code
            elif language == "sh":
                recipe.commands += [line for line in code.splitlines() if line.strip()]
        found.append(recipe)
    return found


def insert(path: Path, line: str | None, name: str | None, code: str) -> None:
    """Insert a block before a line, or before the bracket that closes a tuple."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    at = lines.index(f"{line}\n") if line else lines.index(")\n", lines.index(f"{name} = (\n"))
    path.write_text("".join([*lines[:at], code, *lines[at:]]), encoding="utf-8")


RECIPES = recipes()


def test_there_is_a_recipe_for_every_kind_of_addition():
    assert [recipe.title for recipe in RECIPES] == [
        "Add a survey source",
        "Add a concept",
        "Add a task kind",
        "Add a provider",
        "Add a metric",
        "Add a report section",
        "Add a command",
        "Add a stored table",
    ]


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.title for recipe in RECIPES])
def test_a_recipe_works_as_written_and_touches_no_other_file(recipe, tmp_path):
    assert recipe.commands
    assert len(recipe.touched) == MOST_FILES.get(recipe.title, 1), recipe.touched
    copy = tmp_path / "project"
    copy.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=LEFT_OUT)
        else:
            shutil.copy(ROOT / name, copy / name)
    for path, code in recipe.files.items():
        assert not (copy / path).exists(), f"{path} exists already"
        (copy / path).write_text(code, encoding="utf-8")
    for path, line, name, code in recipe.insertions:
        insert(copy / path, line, name, code)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MPTA_", "PYTEST_", "COV_"))}
    environment |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    shared = os.environ.get("MPTA_SHARED_DATA")
    environment |= {"MPTA_SHARED_DATA": shared} if shared else {}
    for command in recipe.commands:
        words = [sys.executable if word == "python" else word for word in shlex.split(command)]
        done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    python = [path for path in {*recipe.files, *recipe.touched} if path.endswith(".py")]
    for check in (("check", "-q"), ("format", "--check", "-q")):
        if python and shutil.which("ruff"):
            done = subprocess.run(["ruff", *check, *python], cwd=copy, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
