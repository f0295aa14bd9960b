"""Remove a respondent who withdraws, with everything that was made from their answers.

Removed immediately: their rows in every raw snapshot, in every stored table and in the published DuckDB file, and every
answer of a model to a prompt that shows or asks about them alone. Rebuilt by the next ordinary run: the harmonized
wave, personas, panel, prompts, answers for the replacement in the panel, scores, estimates and report. The run rebuilds
them because the changed list of withdrawals gives their wave's source a new version.

Left to the user: the producer's survey file (replace it with the next release; until then the list of withdrawals
excludes the respondent), copies and backups, and the logs of endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from glob import escape
from pathlib import Path

import duckdb
import polars as pl

from mpta_pipeline import inference, personas, surveys, tasks
from mpta_pipeline.core import tables
from mpta_pipeline.core.chunks import discard_unused, rewrite_chunk
from mpta_pipeline.core.errors import DamagedError, MptaError
from mpta_pipeline.core.named_sql import quoted
from mpta_pipeline.core.provenance import discard, files_of, read_record, read_table, rewrite, stored_tables
from mpta_pipeline.core.storage import UNREADABLE, Layout, holds_chunks, listed
from mpta_pipeline.core.study import Study
from mpta_pipeline.publication import warehouse

# Columns that name a respondent, in any table. The last two occur in tables that versions before 0.2 stored.
_PEOPLE = ("respondent_id", "shown_respondent_id", "persona_id", "shown_persona_id")


@dataclass(frozen=True)
class Respondent:
    """A respondent in the raw snapshots.

    Attributes:
        id: Respondent id (`r_…`).
        waves: Waves that contain the respondent, or did so before an earlier withdrawal.
        native_keys: Native keys, as the file gives them.
    """

    id: str
    waves: tuple[str, ...]
    native_keys: tuple[str, ...] = ()


@dataclass
class Forgotten:
    """The result of a withdrawal.

    Attributes:
        waves: Waves that the respondent was in.
        again: The respondent had withdrawn before.
        rows: Table → removed rows.
        answers: Model → removed answers.
        notes: What the user must do.
    """

    waves: tuple[str, ...]
    again: bool
    rows: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find(layout: Layout, registry: surveys.SourceRegistry, identifier: str) -> Respondent:
    """Find the respondent that an identifier names.

    Args:
        layout: Where the snapshots are.
        registry: Survey sources.
        identifier: Respondent id (`r_…`), or wave and own key, e.g. `gss-2018:317` or `wvs-3:152:17`, as `mpta trace`
            shows it. The last part, the respondent's own number, is enough if it is unique in the wave.

    Raises:
        MptaError: No respondent, or more than one, matches the identifier.
    """
    wave, _, key = identifier.partition(":")
    found = [
        people.select("respondent_id", "native_key").with_columns(wave=pl.lit(raw.wave))
        for raw, people in _snapshots(layout, registry, None if identifier.startswith("r_") else wave)
    ]
    everyone = pl.concat(found) if found else pl.DataFrame(schema=dict.fromkeys(("respondent_id",), pl.String))
    if identifier.startswith("r_"):
        theirs = everyone.filter(pl.col("respondent_id") == identifier)
    elif everyone.is_empty():
        theirs = everyone
    else:
        # The native key of a pooled file begins with the wave, which the identifier already names.
        code = wave.rpartition("-")[2]
        theirs = everyone.filter(pl.col("native_key").is_in([key, f"{code}:{key}"]))
        if theirs.is_empty():
            theirs = everyone.filter(pl.col("native_key").str.split(":").list.last() == key)
    ids = theirs["respondent_id"].unique()
    if ids.len() == 1:
        waves = theirs["wave"].unique().sort().to_list()
        return Respondent(ids[0], tuple(waves), tuple(theirs["native_key"].unique().sort()))
    if identifier.startswith("r_"):
        known = surveys.load_withdrawals(layout)
        name = surveys.hashed(pl.Series([identifier]))[0]
        if name in known.waves:
            return Respondent(identifier, known.waves[name])
    raise MptaError(
        "No ingested survey file contains this respondent"
        if ids.is_empty()
        else f"{ids.len()} respondents of the wave have this key",
        value=identifier,
        remedy="give the respondent's id (r_…), or wave and own key as `mpta trace` shows it, e.g. gss-2018:317",
    )


def _snapshots(
    layout: Layout, registry: surveys.SourceRegistry, wave: str | None
) -> Iterator[tuple[surveys.RawWave, pl.DataFrame]]:
    """Yield the snapshots of all releases, superseded ones included, with their respondents; of one wave or all."""
    for path in listed(layout.raw_store, f"{'*' if wave is None else escape(wave)}/*/release.json"):
        raw = surveys.load_raw(layout, path.parent.parent.name, path.parent.name, registry=registry)
        yield raw, surveys.respondents(raw)


def forget(
    layout: Layout,
    registry: surveys.SourceRegistry,
    models: Mapping[str, inference.ModelSpec],
    respondent: Respondent,
    *,
    on: date,
) -> Forgotten:
    """Remove a respondent. If it is interrupted, run it again to finish.

    Args:
        layout: The data folder.
        registry: Survey sources.
        models: The registered models, whose ledgers can be searched.
        respondent: The respondent to remove.
        on: Day of the withdrawal, for the list of withdrawals.
    """
    known = surveys.load_withdrawals(layout)
    again = bool(known.holds(pl.Series([respondent.id]))[0])
    # Update the list first, so that everything read from here on excludes the respondent.
    now = surveys.add_withdrawal(layout, respondent.id, respondent.waves, on)
    outcome = Forgotten(now.waves[surveys.hashed(pl.Series([respondent.id]))[0]], again)
    for _ in _snapshots(layout, registry, None):
        pass  # loading a snapshot removes everyone on the list from it
    theirs = _prompts_of(layout, respondent.id)
    _drop_answers(layout, models, theirs, outcome)
    _strike(layout, respondent, theirs["prompt_id"], outcome)
    if layout.warehouse.exists() or (layout.store / layout.warehouse.name).exists():
        # Not even the bytes of deleted rows may stay in the file.
        warehouse.publish(layout, anew=True)
    outcome.notes.append("The survey file was not changed, nor were copies, backups, exports or the logs of endpoints")
    return outcome


def texts_of(layout: Layout, respondent_id: str, study: Study) -> list[str]:
    """Collect the texts that identify the respondent in logs and previews: the id, the persona, and its prompts."""
    path = layout.table("personas")
    texts = [respondent_id]
    stored = tables.PERSONAS.with_current_names(read_table(path)) if path.exists() else tables.PERSONAS.empty()
    stored = stored.filter(pl.col("respondent_id") == respondent_id)
    if stored.height:
        texts += [
            personas.render(stored, style=style, framing=framing)[0]
            for style in study.styles
            for framing in study.framings
        ]
    prompts = _prompts_of(layout, respondent_id)
    if prompts.height:
        shown = prompts.filter(pl.col("shown_respondent_id") == respondent_id)
        texts += shown["system"].drop_nulls().unique().to_list()
    return texts


def _prompts_of(layout: Layout, respondent_id: str) -> pl.DataFrame:
    """Find the prompts that show the respondent or have their answer as key; `alone`: nobody else shares the text."""
    paths = [file for path in stored_tables(layout.store / "tables" / "prompts") for file in files_of(path)]
    if not paths:
        return pl.DataFrame(schema={"prompt_id": pl.String, "alone": pl.Boolean})
    concerned = (pl.col("respondent_id") == respondent_id) | (pl.col("shown_respondent_id") == respondent_id).fill_null(
        False
    )
    # File by file: all prompts of a study need not fit into memory.
    theirs = pl.concat([_prompts_in(path).filter(concerned) for path in paths], how="diagonal_relaxed")
    texts = theirs.select("content_hash").unique()
    others = (
        _prompts_in(path).filter(~concerned).select("content_hash").join(texts, on="content_hash", how="semi")
        for path in paths
    )
    shared = pl.concat(others)["content_hash"].unique()
    return theirs.with_columns(alone=~pl.col("content_hash").is_in(shared.implode()))


def _prompts_in(path: Path) -> pl.DataFrame:
    return tables.PROMPTS.with_current_names(read_table(path))


def _drop_answers(
    layout: Layout, models: Mapping[str, inference.ModelSpec], theirs: pl.DataFrame, outcome: Forgotten
) -> None:
    own = theirs.filter("alone")
    # Turns of conversations follow from the answers before them, also from those that others share.
    talk = theirs.filter(pl.col("turn").is_not_null()) if tasks.are_turns(theirs) else theirs.clear()
    own = own.filter(~pl.col("prompt_id").is_in(talk["prompt_id"].implode()))
    for name, spec in models.items():
        if spec.control and layout.ledger(name).is_dir():
            # A simulated respondent knows people's answers. It answers again at the next run, at no cost.
            outcome.answers[name] = inference.withdraw_all(layout.ledger(name))
        elif theirs["alone"].any() and layout.ledger(name).is_dir():
            ledger = layout.ledger(name)
            dropped = inference.withdraw(spec, own, ledger) if own.height else 0
            if talk.height:
                turns = tasks.Conversations(spec, ledger).composed(talk).filter("alone")
                # The last turns first: if this is interrupted, the earlier ones still lead to those that are left.
                for part in turns.sort("turn", descending=True).partition_by("turn", maintain_order=True):
                    dropped += inference.withdraw(spec, part, ledger)
            outcome.answers[name] = dropped
    registered = {layout.ledger(name) for name in models}
    for folder in sorted(layout.ledger("any").parent.glob("*")):
        if folder.is_dir() and folder not in registered:
            outcome.notes.append(
                f"The ledger {folder.name} does not belong to a registered model, so its answers cannot be searched: "
                "restore its entry in models.yaml and run this command again, or delete the folder"
            )


def _strike(layout: Layout, respondent: Respondent, prompt_ids: pl.Series, outcome: Forgotten) -> None:
    """Remove the respondent's rows from every stored partition. The next run rebuilds these."""
    tables_of_study = stored_tables(layout.store / "tables")
    for path in tables_of_study:
        discard_unused(path)  # chunks that a killed run left may contain the respondent
    stored = [file for path in tables_of_study for file in files_of(path)]
    for path in [*listed(layout.store, "harmonized/*.parquet"), *stored]:
        try:
            frame = read_table(path)
        except DamagedError:  # it may contain the respondent: discard it, and the next run rebuilds it
            discard(path)
            continue
        struck = _without(frame, respondent, prompt_ids)
        if struck.equals(frame):
            continue
        table = path.parent.name if path.parent.name == "harmonized" else path.relative_to(layout.store).parts[1]
        outcome.rows[table] = outcome.rows.get(table, 0) + frame.height - struck.height
        record = read_record(path)
        if record is None:  # unfinished: the next run rebuilds it anyway
            discard(path)
            continue
        if holds_chunks(path.parent):
            rewrite_chunk(struck, path)
        else:
            rewrite(struck, path, record)


def _without(frame: pl.DataFrame, respondent: Respondent, prompt_ids: pl.Series) -> pl.DataFrame:
    schema, ids = frame.schema, prompt_ids.implode()
    named = [(pl.col(name) == respondent.id).fill_null(False) for name in _PEOPLE if name in schema]
    if "prompt_id" in schema:
        named.append(pl.col("prompt_id").is_in(ids))
    if "native_key" in schema and "change" in schema:
        named.append(
            pl.col("native_key").is_in(list(respondent.native_keys)) & pl.col("wave").is_in(list(respondent.waves))
        )
    if "examples" in schema:
        left = pl.col("examples").list.filter(~pl.element().is_in(ids))
        frame = frame.with_columns(left)
    return frame.filter(~pl.any_horizontal(named)) if named else frame


def tables_with(layout: Layout, text: str, further: Iterable[Path] = ()) -> list[Path]:
    """List the stored files that contain a text or cannot be read. None should contain a withdrawn respondent's id.

    It searches every file below the data folder, including hidden and unfinished ones, and below further folders: all
    text columns of Parquet files, nested ones included, the published DuckDB file by column, and any other file by
    bytes. The producers' survey files do not contain our ids.

    Args:
        layout: The data folder.
        text: The text to look for.
        further: Other folders, such as Dagster's history.
    """
    folders = [layout.root, *further]
    paths = {p for folder in folders for p in folder.rglob("*") if p.is_file() and not p.is_relative_to(layout.surveys)}
    return [path for path in sorted(paths) if _file_holds(path, text)]


def _file_holds(path: Path, text: str) -> bool:
    try:
        if path.suffix == ".parquet":
            return any(_holds(part, text) for part in pl.read_parquet(path).iter_slices(100_000))
        if path.suffix == ".duckdb":
            return _database_holds(path, text)
        return _bytes_hold(path, text.encode())
    except FileNotFoundError:  # deleted since it was listed
        return False
    except (OSError, *UNREADABLE, duckdb.Error):
        return True  # an unreadable file may contain it


def _database_holds(path: Path, text: str) -> bool:
    with duckdb.connect(str(path), read_only=True) as con:
        tables = con.execute("select table_name from duckdb_tables()").fetchall()
        return any(
            con.execute(f"select exists(from {quoted(table)} as t where contains(t::varchar, ?))", [text]).fetchall()
            == [(True,)]
            for (table,) in tables
        )


def _bytes_hold(path: Path, wanted: bytes) -> bool:
    with path.open("rb") as file:
        tail = b""
        while block := file.read(1 << 22):
            if wanted in tail + block:
                return True
            tail = block[-len(wanted) :]
    return False


def _holds(frame: pl.DataFrame, text: str) -> bool:
    plain = frame.select(pl.col(pl.String).str.contains(text, literal=True).any())
    nested = frame.select(name for name, dtype in frame.schema.items() if dtype.is_nested())
    return any(plain.row(0) if plain.width else ()) or (nested.width > 0 and text in nested.write_ndjson())
