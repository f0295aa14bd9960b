"""What is taken out of the configuration is in no table, published file or report; put back, it asks nothing."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from mpta_pipeline.core.storage import Layout
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from tests.factories.deployment import World
from tests.factories.whole_configuration import STUDY, deployed
from tests.plain_run import bring_up_to_date

TASKS = STUDY["tasks"] | {"rivers": {"kind": "rivers", "path": "rivers.csv"}}
WHOLE = STUDY | {"tasks": TASKS, "figures": STUDY["figures"] | {"dimensions": ["sex", "age_band"]}}
# The crosswalk of all codebooks, whichever the study uses, and how the study's tables were made.
BEYOND_THE_STUDY = {"concepts", "options"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    with deployed(tmp_path_factory.mktemp("leaves"), WHOLE) as both:
        yield both


@pytest.fixture
def world(base, tmp_path, monkeypatch) -> World:
    """A copy of it that a test may change."""
    made, _ = base
    for name, folder in (("MPTA_DATA_DIR", made.data), ("MPTA_CONFIG_DIR", made.config)):
        shutil.copytree(folder, tmp_path / folder.name, copy_function=shutil.copy2)
        monkeypatch.setenv(name, str(tmp_path / folder.name))
    copied = World.__new__(World)
    copied.config, copied.data = tmp_path / made.config.name, tmp_path / made.data.name
    return copied


def edited(file: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(config: Path) -> None:
        document = yaml.safe_load((config / file).read_text())
        change(document)
        (config / file).write_text(yaml.safe_dump(document))

    return edit


def without_the_concept(config: Path) -> None:
    (config / "concepts" / "owns_pet.yaml").unlink()


def without_the_source(config: Path) -> None:
    edited("surveys.yaml", lambda policy: policy["sources"]["club"].update(use=False))(config)


def cells(word: str) -> dict[str, int]:
    """Table of the published file → rows in which a word stands, in a column or within one."""
    with duckdb.connect(str(Layout.from_env().warehouse), read_only=True) as con:
        tables = [name for (name,) in con.execute("select table_name from duckdb_tables()").fetchall()]
        found = {
            table: con.execute(
                f'select count(*) from (select to_json(t)::varchar as row from "{table}" t) '
                "where regexp_matches(row, ?)",
                [rf"(^|[^\w]){re.escape(word)}([^\w]|$)"],
            ).fetchone()
            for table in tables
        }
    return {table: number for table, (number,) in found.items() if number}


LEAVES = {
    "model": (edited("models.yaml", lambda m: m["models"].pop("guest")), "guest"),
    "model of the study": (edited("study.yaml", lambda s: s.update(models=["loopback"])), "guest"),
    "task": (edited("study.yaml", lambda s: s["tasks"].pop("rivers")), "rivers"),
    "source": (without_the_source, "club"),
    "survey of the study": (edited("study.yaml", lambda s: s.update(surveys=["gss_extract"])), "club"),
    "condition": (edited("study.yaml", lambda s: s.update(conditions=["persona"])), "no_persona"),
    "dimension": (edited("study.yaml", lambda s: s["figures"].update(dimensions=["sex"])), "age_band"),
    "concept": (without_the_concept, "owns_pet"),
}


# One after the other, the last ones without those before; then all come back at once. What is named in two files leaves
# by each of them, in two different orders.
ORDERS = (
    ("model", "condition", "dimension", "survey of the study"),
    ("model of the study", "task", "concept", "source"),
)


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_what_leaves_is_nowhere_and_comes_back_unasked(base, world, order):
    _, server = base
    layout, calls = Layout.from_env(), server.calls
    words = {name: LEAVES[name][1] for name in order}
    before = {name: without_lineage(cells(word)) for name, word in words.items()}
    assert all(before.values()), "each is somewhere to begin with"
    report = layout.report.read_text()
    kept = world.config.with_name("kept")
    shutil.copytree(world.config, kept)

    for name in order:
        leave, word = LEAVES[name]
        assert without_lineage(cells(word)), f"{name} stays while others leave"
        leave(world.config)
        bring_up_to_date()
        # Without a survey or a concept, other people or questions take their place, who are asked.
        calls = server.calls if word in ("club", "owns_pet") else calls
        assert server.calls == calls, name
        assert cells(word).keys() <= BEYOND_THE_STUDY, name
        assert not re.search(rf"\b{word}\b", layout.report.read_text()), name
        assert all(f.passed for f in integrity.check_all(Deployment.from_env())), name

    shutil.copytree(kept, world.config, dirs_exist_ok=True)
    bring_up_to_date()
    assert server.calls == calls, "all answers were kept"
    assert {name: without_lineage(cells(word)) for name, word in words.items()} == before
    assert without_the_time(layout.report.read_text()) == without_the_time(report)
    assert all(f.passed for f in integrity.check_all(Deployment.from_env()))


def test_everything_leaves_in_some_order():
    assert sorted(name for order in ORDERS for name in order) == sorted(LEAVES)


def without_lineage(found: dict[str, int]) -> dict[str, int]:
    return {table: number for table, number in found.items() if table != "lineage"}


def without_the_time(page: str) -> str:
    return re.sub(r"\d{1,2} \w+ \d{4}, \d\d:\d\d UTC", "", page)
