"""README.md, `.ci/run` and noxfile.py name the same commands."""

import ast
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def sessions() -> dict[str, list[str]]:
    """Session of noxfile.py → its commands, as they are written there."""
    found = {}
    for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            name = node.name
            for keyword in (k for d in node.decorator_list if isinstance(d, ast.Call) for k in d.keywords):
                name = ast.literal_eval(keyword.value) if keyword.arg == "name" else name
            runs = [n for n in ast.walk(node) if isinstance(n, ast.Call) and getattr(n.func, "attr", "") == "run"]
            found[name] = [" ".join(a.value for a in n.args if isinstance(a, ast.Constant)) for n in runs]
    return found


def readme_commands() -> list[str]:
    section = README.split("\n## Two commands\n")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*)\n```", section, re.MULTILINE)


def test_sessions_of_contributors():
    assert {"lint", "types", "unit", "all", "docs", "bench", "demo"} <= set(sessions())


def test_ci_runs_both_commands_of_the_readme():
    set_up, test = readme_commands()
    steps = [s for part in set_up.split(" && ") if (s := part.strip()).startswith("pip install")]
    assert len(steps) == 2
    for step in steps:
        assert step.removeprefix("pip install ") in CI
    assert set_up.endswith(" && mpta demo")
    assert sorted(sessions()["demo"]) == ["mpta demo", "mpta demo --quick", "python docs/notebooks/first_look.py"]
    assert re.search(rf"^{re.escape(test)}$", CI, re.MULTILINE)
    assert sessions()["all"] == [test]


def test_ci_runs_the_sessions_of_nox():
    run = {name for line in re.findall(r"^nox -s (.+)$", CI, re.MULTILINE) for name in line.split()}
    assert run == {"lint", "types", "definitions", "site", "demo"}
    assert run <= set(sessions())


def test_hooks_before_a_commit_use_the_tools_of_lint_and_types():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    tools = {hook["entry"].split()[0] for repo in hooks for hook in repo["hooks"]}
    assert {command.split()[0] for name in ("lint", "types") for command in sessions()[name]} <= tools


def test_extras_that_pages_name_exist():
    extras = PYPROJECT["project"]["optional-dependencies"]
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for named in re.findall(r"pip install -e '\.\[([\w,-]+)\]'", page.read_text(encoding="utf-8")):
            assert set(named.split(",")) <= set(extras), page


def test_coverage_has_a_floor():
    assert PYPROJECT["tool"]["coverage"]["report"]["fail_under"] > 0
