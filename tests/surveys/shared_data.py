"""Where the real files are, which are not part of the repository: `MPTA_SHARED_DATA`, else beside the repository."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("MPTA_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def real(name: str) -> Path:
    """A real file; the test skips where it is absent."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{name} is not there: set MPTA_SHARED_DATA to the folder that holds it")
    return path
