"""The house's import directions (section 2 of the design), as contracts in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_import_contracts_hold():
    code = "from importlinter.cli import lint_imports_command as c; c()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_domain_packages_load_without_dagster():
    names = ["surveys", "harmonize", "personas", "tasks", "inference", "metrics", "report"]
    names += ["external", "publication", "pipeline"]
    code = "import sys; " + "; ".join(f"import mpta_pipeline.{n}" for n in names)
    # pandas is not looked for: pandera loads it wherever it is installed. The contracts forbid our own imports of it.
    code += "; sys.exit('dagster' in sys.modules and 'Dagster was imported' or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
