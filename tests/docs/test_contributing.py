"""Follows every recipe of CONTRIBUTING.md word by word, in a copy of the project.

A recipe is a section "### Add …". A line that holds nothing but a path in backticks names the file of the code block
below it; with "Append to" before it, the block goes to the end of a file that exists. Blocks of `sh` are commands.
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
BLOCK = re.compile(r"^(?:(Append to )?`([\w./-]+)`\n\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MOST_FILES = {"Add a stored table": 2}  # beside the test; one for everything else


@dataclass
class Recipe:
    """One recipe: the files that it writes or extends, and the commands that show that they work."""

    title: str
    files: dict[str, str] = field(default_factory=dict)
    appended: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    @property
    def touched(self) -> list[str]:
        """Files beside the tests."""
        return [path for path in (*self.files, *self.appended) if not path.startswith("tests/")]


def recipes() -> list[Recipe]:
    found = []
    part = re.split(r"^## ", TEXT.split("\n## Recipes\n")[1], flags=re.MULTILINE)[0]
    for section in re.split(r"^### (?=Add )", part, flags=re.MULTILINE)[1:]:
        recipe = Recipe(section.splitlines()[0])
        for append, path, language, code in BLOCK.findall(section):
            if path:
                (recipe.appended if append else recipe.files)[path] = code
            elif language == "sh":
                recipe.commands += [line for line in code.splitlines() if line.strip()]
        found.append(recipe)
    return found


RECIPES = recipes()


def test_there_is_a_recipe_for_every_kind_of_addition():
    assert [recipe.title for recipe in RECIPES] == [
        "Add a survey source",
        "Add a concept",
        "Add a task kind",
        "Add a metric",
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
    for path, code in recipe.appended.items():
        with (copy / path).open("a", encoding="utf-8") as file:
            file.write(code)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MPTA_", "PYTEST_", "COV_"))}
    environment |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    shared = os.environ.get("MPTA_SHARED_DATA")
    environment |= {"MPTA_SHARED_DATA": shared} if shared else {}
    for command in recipe.commands:
        words = [sys.executable if word == "python" else word for word in shlex.split(command)]
        done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    python = [path for path in (*recipe.files, *recipe.appended) if path.endswith(".py")]
    for check in (("check", "-q"), ("format", "--check", "-q")):
        if python and shutil.which("ruff"):
            done = subprocess.run(["ruff", *check, *python], cwd=copy, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
