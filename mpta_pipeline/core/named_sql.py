"""Named SQL: the files of the repository's `sql/` folder, loaded by name.

`views/` holds one view per file, published with the warehouse; `trace/` holds the queries of `mpta trace`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.hashing import digest

# No autoescape: the templates are SQL, and callers quote the values that they insert (`quoted`, `literal`).
_TEMPLATES = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True)


def folder() -> Path:
    """The folder of the named SQL: `MPTA_SQL_DIR`, else `sql/` beside the package, else where a wheel puts it.

    Raises:
        ConfigError: There is none.
    """
    if set_by_user := os.environ.get("MPTA_SQL_DIR"):
        candidates = [Path(set_by_user)]
    else:
        candidates = [
            Path(__file__).resolve().parents[2] / "sql",
            Path(sys.prefix) / "share" / "mpta_pipeline" / "sql",
        ]
    for candidate in candidates:
        if (candidate / "views").is_dir():
            return candidate
    raise ConfigError(
        "The folder of named SQL is missing",
        file=candidates[0],
        variable="MPTA_SQL_DIR",
        remedy="set MPTA_SQL_DIR to the folder `sql` of the repository, or install the package again",
    )


def load(name: str, **context: object) -> str:
    """The text of one named query, e.g. `trace/estimate`.

    Args:
        name: Path below the folder, without `.sql`.
        context: Values for a query that is a template.

    Raises:
        ConfigError: There is no query of that name.
    """
    path = folder() / f"{name}.sql"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            "A named query is missing",
            file=path,
            value=name,
            remedy="restore the file, or set MPTA_SQL_DIR to a complete folder",
        ) from None
    return _TEMPLATES.from_string(text).render(context)


def version(part: str) -> str:
    """Version of the named queries of a part, e.g. `views`: a hash of their texts."""
    return digest(
        *(text for path in sorted((folder() / part).glob("*.sql")) for text in (path.name, path.read_bytes()))
    )


def header(name: str) -> str:
    """The description of a named query: the first paragraph of its opening comment."""
    lines = []
    for line in (folder() / f"{name}.sql").read_text(encoding="utf-8").splitlines():
        if not line.startswith("--") or not line.removeprefix("--").strip():
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines)


def quoted(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
