"""The named SQL is found, says what it is, and reaches a wheel."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mpta_pipeline.core import named_sql
from mpta_pipeline.core.configuration import templates
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.publication import warehouse

ROOT = Path(__file__).parents[2]
NAMES = sorted(str(p.relative_to(ROOT / "sql").with_suffix("")) for p in (ROOT / "sql").glob("*/*.sql"))


@pytest.mark.parametrize("name", NAMES)
def test_each_file_says_what_it_is(name: str) -> None:
    assert named_sql.header(name).endswith(".")


def test_each_view_has_a_file_and_each_file_of_views_is_published() -> None:
    assert sorted(f"views/{v}" for v in warehouse.VIEWS) == [n for n in NAMES if n.startswith("views/")]


def test_a_wheel_carries_every_file() -> None:
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    found = {p for patterns in packed.values() for pattern in patterns for p in ROOT.glob(pattern)}
    assert found == set((ROOT / "sql").rglob("*.sql")) | set(templates())
    for target, patterns in packed.items():
        assert target.removeprefix("share/mpta_pipeline/") == str(Path(patterns[0]).parent)


def test_another_folder_may_be_named_and_must_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "estimates.sql").write_text("-- Mine.\nselect 1\n")
    monkeypatch.setenv("MPTA_SQL_DIR", str(tmp_path))
    assert warehouse.sql("views/estimates") == "-- Mine.\nselect 1\n"
    with pytest.raises(ConfigError, match="named query is missing"):
        warehouse.sql("views/answers")
    monkeypatch.setenv("MPTA_SQL_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="MPTA_SQL_DIR"):
        warehouse.sql("views/estimates")


def test_names_and_texts_are_quoted() -> None:
    assert named_sql.quoted('a"b') == '"a""b"'
    assert named_sql.literal("it's") == "'it''s'"
