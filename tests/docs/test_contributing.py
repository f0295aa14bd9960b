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
# What is compiled stays, since nothing of it changes with the folder: each command would compile the package again.
LEFT_OUT = shutil.ignore_patterns("history", "storage", "logs", "schedules", ".logs*", "*.egg-info")
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
def test_a_recipe_touches_no_other_file(recipe):
    assert recipe.commands
    assert len(recipe.touched) == MOST_FILES.get(recipe.title, 1), recipe.touched
    assert any(path.startswith("tests/") for path in recipe.files)
    for path in recipe.files:
        assert not (ROOT / path).exists(), f"{path} exists already"


# Together the recipes take a fifth of the time. MPTA_RECIPES=each follows every one in a copy of its own.
GROUPS = [[recipe] for recipe in RECIPES] if os.environ.get("MPTA_RECIPES") == "each" else [RECIPES]


@pytest.mark.parametrize("group", GROUPS, ids=[group[0].title if len(group) == 1 else "all" for group in GROUPS])
def test_recipes_work_as_written(group, tmp_path):
    copy = tmp_path / "project"
    copy.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=LEFT_OUT)
        else:
            shutil.copy(ROOT / name, copy / name)
    for recipe in group:
        for path, code in recipe.files.items():
            (copy / path).write_text(code, encoding="utf-8")
        for path, line, name, code in recipe.insertions:
            insert(copy / path, line, name, code)
    for command in together([command for recipe in group for command in recipe.commands]):
        run(command, copy)
    python = sorted({p for recipe in group for p in (*recipe.files, *recipe.touched) if p.endswith(".py")})
    if shutil.which("ruff"):
        run(["ruff", "check", "-q", *python], copy)
        run(["ruff", "format", "--check", "-q", *python], copy)


def together(commands: list[str]) -> list[list[str]]:
    """The commands, those of pytest as one."""
    words = [shlex.split(command) for command in commands]
    start = ["python", "-m", "pytest", "-n", "0"]
    tests = [path for command in words if command[:5] == start for path in command[5:]]
    return [[*start, *tests], *(command for command in words if command[:5] != start)]


def run(words: list[str], folder: Path) -> None:
    """Run a command in the copy of the project, without the environment of this test run."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MPTA_", "PYTEST_", "COV_"))}
    environment |= {"PYTHONPATH": str(folder)}
    words = [sys.executable if word == "python" else word for word in words]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
