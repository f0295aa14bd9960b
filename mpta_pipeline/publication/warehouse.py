"""Publish the DuckDB file, and run SQL over the stored Parquet partitions.

Partitions are written in parallel as Parquet, because DuckDB allows one writing process. A new file is built next to
the published one and swapped in, so that an open notebook keeps reading the old file and blocks nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl

from mpta_pipeline import surveys
from mpta_pipeline.core import tables
from mpta_pipeline.core.errors import DamagedError, ValidationError
from mpta_pipeline.core.named_sql import literal, load, quoted
from mpta_pipeline.core.provenance import files_of, read_only_copy, stored_tables, verify
from mpta_pipeline.core.storage import (
    REPLACED_ESTIMATES,
    Layout,
    fetch,
    listed,
    on_object_store,
    read_checked_json,
    read_text,
    scratch,
    shared,
    write_atomic,
    write_json,
)
from mpta_pipeline.personas.dimensions import TITLES
from mpta_pipeline.publication import warehouse_parts
from mpta_pipeline.publication.trace import Trace, follow

VIEWS = tuple(view.name for view in tables.VIEWS)
"""Published views, each after the views that it reads."""

EARLIER_SCHEMA = "before_0_2"
"""Schema of the views that keep the column names of versions before 0.2, for existing queries."""

_EARLIER_VIEWS = {
    "recodes": {"dialect": "codebook"},
    "memberships": {"persona_id": "respondent_id"},
    "estimates": {"figure_id": "estimate_id", "figure_key": "estimate_key"},
}

MEMORY = "3GB"
"""Memory for a publication. DuckDB writes what does not fit to a temporary folder."""

LEFT_OUT = "tables/left_out.json"
"""List of partitions of models and tasks removed from the study: kept, but neither published nor traced."""

sql = load


def leave_out(layout: Layout, paths: Sequence[Path]) -> None:
    """Record which stored partitions are not published. All others are."""
    write_json([str(path.relative_to(layout.store)) for path in paths], layout.store / LEFT_OUT)


def left_out(layout: Layout) -> set[Path]:
    """Stored partitions that are not published."""
    path = layout.store / LEFT_OUT
    try:
        return {layout.store / str(name) for name in json.loads(read_text(path))}
    except (FileNotFoundError, ValueError, TypeError):  # absent or damaged: the next publication writes it
        return set()


def files(layout: Layout, table: tables.Table) -> list[Path]:
    """List the stored Parquet partitions of a table that belong to the study, in name order."""
    match table.name:
        case "respondents":
            return listed(layout.store, "harmonized/*.parquet")
        case "variables":
            # Snapshots stay when a wave leaves the study; its tables do not. Earlier versions had `waves` beside them.
            folders = (layout.store / "tables" / name for name in ("raw_wave", "waves"))
            read = {path.stem for folder in folders for path in listed(folder, "*.parquet")}
            pointers = [p for p in listed(layout.raw_store, "*/current.json") if p.parent.name in read]
            return [path for pointer in pointers for path in _current_releases(pointer) if path.is_file()]
        case name:
            return [file for path in _partitions(layout, name) for file in files_of(path)]


def _partitions(layout: Layout, table: str) -> list[Path]:
    unused = left_out(layout)
    return [path for path in stored_tables(layout.store / "tables" / table) if path not in unused]


def _current_releases(pointer: Path) -> list[Path]:
    """List the variables tables of a wave's parts in use."""
    try:
        releases = surveys.releases_in_use(read_checked_json(pointer))
    except (DamagedError, KeyError, TypeError):
        raise ValidationError(
            "The pointer to a wave's current release cannot be read",
            file=pointer,
            remedy="delete that file and read the wave again",
        ) from None
    return [pointer.parent / str(release) / "variables.parquet" for release in releases]


@contextmanager
def _at_hand(layout: Layout) -> Iterator[Layout]:
    """Yield the layout with local partitions: the layout itself, or a temporary copy of a remote one.

    DuckDB asks for the size of a remote file about forty times per query. A copy takes one parallel request per
    partition, and no DuckDB extension.
    """
    if not on_object_store(layout.store):
        yield layout
        return
    with scratch(layout) as folder:
        wanted = (
            "harmonized/*.parquet",
            "tables/**/*.parquet",
            "tables/**/*.parquet.json",  # which chunks of a table are in use
            LEFT_OUT,
            "raw/*/current.json",
            "raw/*/*/variables.parquet",
            f"{REPLACED_ESTIMATES}/**/*.parquet",
        )
        fetch([path for pattern in wanted for path in listed(layout.store, pattern)], layout.store, folder)
        yield Layout(folder)


@contextmanager
def connect(layout: Layout, views: Sequence[str] = VIEWS) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB over the current Parquet partitions: one view per published table, and those of `sql/`.

    It does not use the published file, so it works during a run and while another process writes that file.

    Args:
        layout: Where the partitions are.
        views: Views of `sql/views/` to make, each after the views that it reads.

    Raises:
        DamagedError: A partition is not as it was written.
    """
    with _at_hand(layout) as here, duckdb.connect() as con:
        for table in tables.PUBLISHED:
            for path in files(layout, table):
                verify(path)
            _declare(con, table)
            _view_over_files(con, table, files(here, table))
        _declare(con, tables.REPLACED_ESTIMATES)
        replaced = listed(here.store, f"{REPLACED_ESTIMATES}/**/*.parquet")
        for path in replaced:
            read_only_copy(path)
        _fill(con, tables.REPLACED_ESTIMATES, replaced)
        _make_views(con, views)
        yield con


def publish(layout: Layout, *, anew: bool = False) -> Path:
    """Build `warehouse.duckdb` from the stored partitions and swap it in. On any failure, the old file stays.

    Rows are in the order of the partitions' names and, within each, of its key (partitions are stored sorted by it), so
    that the same partitions give the same tables. Of large tables only the partitions that changed are written
    (`warehouse_parts`), unless the file is to be built `anew`.

    Raises:
        ValidationError: A partition cannot be read or does not have the declared columns.
    """

    def build(temporary: Path) -> None:
        reused = not anew and warehouse_parts.begin(layout, temporary)
        if not reused:
            temporary.unlink()  # DuckDB does not open an empty file, and the name is reserved for us
        with _at_hand(layout) as here, duckdb.connect(str(temporary), config={"memory_limit": MEMORY}) as con:
            parts = {
                table.name: warehouse_parts.parts_of(here, table, _partitions(here, table.name))
                for table in tables.PUBLISHED
            }
            stamp = warehouse_parts.stamp(layout)
            con.begin()  # one transaction: otherwise each of hundreds of comments would be synced to disk
            kept = warehouse_parts.clear(con, parts, stamp) if reused else {}
            if any(parts.values()):
                con.execute(f"create schema if not exists {warehouse_parts.SCHEMA}")
            for table in tables.PUBLISHED:
                if found := parts[table.name]:
                    _fill_parts(con, table, found, kept)
                    continue
                for path in files(layout, table):
                    verify(path)
                _declare(con, table)
                _fill(con, table, files(here, table))
            warehouse_parts.note(con, [part for found in parts.values() for part in found or ()], stamp)
            _make_views(con, VIEWS)
            _comment(con)
            _make_earlier_views(con)
            con.commit()

    # Otherwise DuckDB would replay the old file's write-ahead log on the new file.
    layout.warehouse.with_name(layout.warehouse.name + ".wal").unlink(missing_ok=True)
    return shared(layout, write_atomic(layout.warehouse, build))


def trace(layout: Layout, identifier: str) -> Trace:
    """Follow an estimate, pocket, response, prompt or persona back to respondents, variables, native codes and files.

    A release or variable is followed forward to what was made from it.

    Args:
        layout: Where the tables are.
        identifier: An estimate's id (`f_…`, as in the report, also of a replaced estimate) or its key
            (`model/task/survey/metric/condition/dimensions/subgroup`), a pocket's (`p_…`, or
            `model/task/survey/condition/outcome/dimensions/subgroup`), a prompt id, `model:prompt id`, a request hash,
            a persona's or respondent's id (`r_…`) or wave and own key (`gss-2018:317`), a wave, release id, file
            name or SHA-256, or `wave:variable`.

    Raises:
        MptaError: Nothing has this id. The message explains the forms of ids and where to find them.
    """
    # `answers` is made for the traced people only: binding it over all partitions takes seconds.
    with connect(layout, [view for view in VIEWS if view != "answers"]) as con:
        return follow(con, identifier.strip(), _traced_people)


def _declare(con: duckdb.DuckDBPyConnection, table: tables.Table, name: str | None = None) -> None:
    """Create a table with the declared columns and no rows; `name` is SQL."""
    con.register("declared", table.empty().to_arrow())
    con.execute(f"create table {name or quoted(table.name)} as from declared")
    con.unregister("declared")


def _fill_parts(
    con: duckdb.DuckDBPyConnection,
    table: tables.Table,
    parts: Sequence[warehouse_parts.Part],
    kept: warehouse_parts.Stored,
) -> None:
    """Publish a table in parts, of which those that are `kept` are in the file."""
    for part in parts:
        if (part.table, part.name) not in kept:
            for path in part.files:
                verify(path)
            _declare(con, table, part.sql)
            relation = _scan(con, table, part.files)
            relation.project(", ".join(_wanted(relation, con.table(part.sql), table))).insert_into(part.sql)
            text = f"Rows of the published table {table.name}: one stored partition"
            con.execute(f"comment on table {part.sql} is {literal(text)}")
    warehouse_parts.view_over(con, table, parts)


def _scan(con: duckdb.DuckDBPyConnection, table: tables.Table, paths: Sequence[Path]) -> duckdb.DuckDBPyRelation:
    try:
        relation = _with_current_names(table, con.read_parquet([str(p) for p in paths], union_by_name=True))
        lacking = [c.name for c in table.columns if not c.optional and c.name not in relation.columns]
    except duckdb.Error as failure:
        raise ValidationError(
            f"Stored partitions of table {table.name} cannot be read: {str(failure).splitlines()[0]}",
            file=paths[0].parent,
            remedy="materialize the assets of that table again; the published file is unchanged",
        ) from None
    if lacking:
        raise ValidationError(
            f"Stored partitions of table {table.name} lack declared columns",
            file=paths[0].parent,
            variable=lacking[0],
            remedy="an older version made them: materialize the assets of that table again",
        )
    return relation


def _with_current_names(table: tables.Table, relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Rename columns stored by versions before 0.2. If partitions of both versions exist, coalesce the two columns."""
    earlier = {old: new for old, new in table.earlier_names.items() if old in relation.columns}
    if not earlier:
        return relation
    now = {
        new: f"coalesce({quoted(new)}, {quoted(old)})" if new in relation.columns else quoted(old)
        for old, new in earlier.items()
    }
    kept = [quoted(name) for name in relation.columns if name not in earlier and name not in now]
    return relation.project(", ".join([*(f"{value} as {quoted(name)}" for name, value in now.items()), *kept]))


def _further_columns(table: tables.Table, relation: duckdb.DuckDBPyRelation) -> dict[str, str]:
    """List the columns of an open table beyond the declared ones, with their SQL types."""
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    return {name: kind for name, kind in types.items() if name not in table.schema} if table.open else {}


def _wanted(relation: duckdb.DuckDBPyRelation, declared: duckdb.DuckDBPyRelation, table: tables.Table) -> list[str]:
    """Return the declared columns as SQL; null if a partition was stored before an optional column was added."""
    types = dict(zip(declared.columns, map(str, declared.types), strict=True))
    return [
        quoted(name) if name in relation.columns else f"cast(null as {types[name]}) as {quoted(name)}"
        for name in table.schema
    ]


def _fill(con: duckdb.DuckDBPyConnection, table: tables.Table, paths: Sequence[Path]) -> None:
    """Insert the rows of the partitions into the declared table. More columns of an open table go to the end."""
    if not paths:
        return
    relation = _scan(con, table, paths)
    own = _wanted(relation, con.table(quoted(table.name)), table)
    further = _further_columns(table, relation)
    if further:
        # Create the table again, because adding hundreds of columns one by one is slow.
        behind = ", ".join(f"cast(null as {kind}) as {quoted(name)}" for name, kind in further.items())
        con.execute(f"create or replace table {quoted(table.name)} as select *, {behind} from {quoted(table.name)}")
    wanted = ", ".join([*own, *map(quoted, further)])
    relation.project(wanted).insert_into(quoted(table.name))


def _view_over_files(con: duckdb.DuckDBPyConnection, table: tables.Table, paths: Sequence[Path]) -> None:
    """Replace the declared empty table by a view over its partitions, if there are any."""
    if not paths:
        return
    relation = _scan(con, table, paths)
    wanted = ", ".join(
        [*_wanted(relation, con.table(quoted(table.name)), table), *map(quoted, _further_columns(table, relation))]
    )
    con.execute(f"drop table {quoted(table.name)}")
    relation.project(wanted).create_view(table.name)


def _make_views(con: duckdb.DuckDBPyConnection, views: Sequence[str]) -> None:
    context = {
        "respondents": "respondents",
        "columns": _answer_columns(con),
        "dimensions": len(con.table("groups").columns) > len(tables.GROUPS.schema),
    }
    for name in views:
        con.execute(f"create view {quoted(name)} as {load(f'views/{name}', **context)}")


def _make_earlier_views(con: duckdb.DuckDBPyConnection) -> None:
    """Make a view with the earlier column names for each published table or view whose columns were renamed.

    Comments are those of the current columns, so `_comment` comes first.
    """
    con.execute(f"create schema {EARLIER_SCHEMA}")
    told = con.execute(
        "select table_name, column_name, comment from duckdb_columns() where schema_name = 'main' and not internal"
    ).fetchall()
    comments: dict[str, list[tuple[str, str]]] = {}
    for name, column, comment in told:
        comments.setdefault(name, []).append((column, comment))
    for name, earlier in ({t.name: t.earlier_names for t in tables.PUBLISHED} | _EARLIER_VIEWS).items():
        if earlier:
            names = ", ".join(f"{quoted(new)} as {quoted(old)}" for old, new in earlier.items())
            view = f"{EARLIER_SCHEMA}.{quoted(name)}"
            con.execute(f"create view {view} as select * rename ({names}) from main.{quoted(name)}")
            con.execute(f"comment on view {view} is {literal(f'{name} with the column names of versions before 0.2')}")
            old = {new: old for old, new in earlier.items()}
            for column, comment in comments[name]:
                con.execute(f"comment on column {view}.{quoted(old.get(column, column))} is {literal(comment)}")


def _answer_columns(con: duckdb.DuckDBPyConnection) -> list[dict[str, str]]:
    """Return the harmonized columns of `respondents` as SQL: name, value, missing kind and native code as text."""
    relation = con.table("respondents")
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    return [
        {
            "name": literal(name),
            "value": _as_text(quoted(name), kind),
            "missing": quoted(f"{name}__missing"),
            "code": quoted(f"{name}__code") if f"{name}__code" in types else "null",
        }
        for name, kind in types.items()
        if f"{name}__missing" in types
    ]


def _as_text(column: str, kind: str) -> str:
    if kind not in ("DOUBLE", "FLOAT"):
        return f"cast({column} as varchar)"
    whole = f"{column} = trunc({column}) and abs({column}) < 1e15"
    return f"case when {whole} then cast(cast({column} as bigint) as varchar) else cast({column} as varchar) end"


def _traced_people(con: duckdb.DuckDBPyConnection, respondent_ids: pl.Series) -> None:
    """Put the respondents concerned into a table `traced`, and limit the view `answers` to them."""
    con.register("wanted", respondent_ids.unique().to_frame("respondent_id").to_arrow())
    con.execute("create temp table traced as select r.* from respondents as r semi join wanted using (respondent_id)")
    con.unregister("wanted")
    answers = load("views/answers", respondents="traced", columns=_answer_columns(con))
    con.execute(f"create or replace temp view answers as {answers}")


def _comment(con: duckdb.DuckDBPyConnection) -> None:
    """Store the meaning of each table, view and column as a comment, which DuckDB clients show."""
    in_parts = {name for (name,) in con.execute("select view_name from duckdb_views() where not internal").fetchall()}
    published = [
        ("view" if t.name in in_parts else "table", t.name, t.description, t.columns) for t in tables.PUBLISHED
    ]
    published += [("view", v.name, v.description, v.columns) for v in tables.VIEWS]
    comments = []
    for kind, name, description, columns in published:
        comments.append(f"comment on {kind} {quoted(name)} is {literal(description)}")
        comments += [_comment_on_column(name, column.name, column.description) for column in columns]
    labels = dict(
        con.sql(
            'select "column", any_value(label order by codebook) from concepts where "column" is not null group by 1'
        ).fetchall()
    )
    present = set(con.table("respondents").columns) - tables.RESPONDENTS.schema.keys()
    for name, label in labels.items():
        parts = {
            name: label,
            f"{name}__missing": f"{label}: why there is no answer",
            f"{name}__code": f"{label}: native code",
        }
        for part in parts.keys() & present:
            comments.append(_comment_on_column("respondents", part, parts[part]))
    for dimension in set(con.table("groups").columns) - tables.GROUPS.schema.keys():
        title = labels.get(dimension) or TITLES.get(dimension, dimension)
        comments.append(
            _comment_on_column("groups", dimension, f"Dimension of the estimates: {title}; null if unknown")
        )
    con.execute("; ".join(comments))


def _comment_on_column(of: str, column: str, text: str) -> str:
    return f"comment on column {quoted(of)}.{quoted(column)} is {literal(text)}"
