"""The house's import directions (section 2 of the design), as contracts in pyproject.toml."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

from tests import benchmarks

ROOT = Path(__file__).parents[1]


def test_import_contracts_hold():
    code = "from importlinter.cli import lint_imports_command as c; c()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_domain_packages_load_without_dagster():
    names = ["surveys", "harmonize", "personas", "tasks", "inference", "metrics", "report"]
    names += ["external", "publication", "pipeline"]
    code = "import sys; " + "; ".join(f"import mpta_pipeline.{n}" for n in names)
    # pandera takes half a second to load, with pandas wherever that is installed; only what breaks a rule needs it.
    code += "; sys.exit(', '.join({'dagster', 'pandera', 'pandas'} & {*sys.modules}) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_benchmarks_can_be_imported():
    """Nothing runs them but people: one imported a function that a change of the graph had removed."""
    for module in pkgutil.iter_modules(benchmarks.__path__, "tests.benchmarks."):
        importlib.import_module(module.name)
