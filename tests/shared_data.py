"""Where the files lie that are not part of the repository: surveys, benchmarks and skeletons.

`MPTA_SHARED_DATA` names the folder of the data, `MPTA_SKELETONS` that of the skeletons. Without these variables, the
folders beside the checkout are used (`../shared/data`, `../shared/skeletons`). A test whose file is absent is skipped,
and the reason names the variable to set.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

Test = TypeVar("Test")

_BESIDE = Path(__file__).resolve().parents[2] / "shared"
FOLDER = Path(os.environ.get("MPTA_SHARED_DATA") or _BESIDE / "data")
SKELETONS = Path(os.environ.get("MPTA_SKELETONS") or _BESIDE / "skeletons")

# Empty where BBQ's data is absent.
BBQ = sorted((FOLDER / "benchmarks" / "bbq").glob("*.jsonl"))
TRUTHFULQA = FOLDER / "benchmarks" / "truthfulqa"
WVS_CODEBOOK = FOLDER / "benchmarks" / "worldvaluesbench" / "codebook.json"
REFERENCE_CROSSWALK = FOLDER.parent / "spec" / "crosswalk.csv"


def gss_file(year: int) -> Path:
    """Return where NORC's file of a year would lie; `present` or `needs` says whether it does."""
    return FOLDER / "gss" / f"GSS{year}.dta"


def _reason(name: str) -> str:
    return f"{name} is absent: set MPTA_SHARED_DATA to the folder that contains it"


def real(name: str) -> Path:
    """Return the path of a real file or folder below the shared data; skip the test if it is absent."""
    return present(FOLDER / name)


def present(path: Path) -> Path:
    """Return a path of the shared data; skip the test if nothing is there."""
    if not path.exists():
        pytest.skip(_reason(path.name))
    return path


def needs(*paths: Path) -> Callable[[Test], Test]:
    """Mark a test or class that is skipped where one of these paths is absent."""
    absent = [path.name for path in paths if not path.exists()]
    return _needs(bool(absent), _reason(", ".join(absent)))


def _needs(absent: bool, reason: str) -> Callable[[Test], Test]:
    return lambda test: pytest.mark.shared_data(pytest.mark.skipif(absent, reason=reason)(test))


needs_bbq = _needs(not BBQ, _reason("BBQ's data"))
needs_truthfulqa = needs(TRUTHFULQA)
needs_skeletons = _needs(
    not SKELETONS.is_dir(), "the skeletons are absent: set MPTA_SKELETONS to the folder that contains them"
)
