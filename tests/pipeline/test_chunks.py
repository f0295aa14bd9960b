"""Large tables in chunks: the same rows as in one file, and a change, a kill or damage concerns single chunks."""

import shutil
from collections import Counter
from dataclasses import replace
from datetime import date

import duckdb
import polars as pl
import pytest

from mpta_pipeline import inference
from mpta_pipeline.core import chunks
from mpta_pipeline.core.errors import DamagedError, ValidationError
from mpta_pipeline.core.provenance import (
    Node,
    discard,
    files_of,
    read_record,
    record_path,
    stored_tables,
    unused_chunks,
)
from mpta_pipeline.core.storage import Layout, alone, chunk_folder
from mpta_pipeline.pipeline import graph, integrity, part_jobs, status
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make, make_part
from mpta_pipeline.pipeline.stored import path_of, read, with_current_names
from mpta_pipeline.publication import warehouse, withdrawal
from mpta_pipeline.tasks import prompt_checks, prompts
from tests.factories.deployment import model, respondents, write_wave
from tests.plain_run import bring_up_to_date

CHUNKED = ("prompts", "responses", "scores")
ROWS = 12  # per chunk: several chunks for each of the small tables


def stored(deployment):
    """Node → rows of every table that is stored per task, and of all estimates."""
    names = (*CHUNKED, "subgroup_metrics", "pockets", "model_comparison")
    nodes = [node for node in graph.nodes(deployment) if node.asset in names]
    return {str(node): read(deployment, node.asset, node.partition) for node in nodes}


def files(deployment):
    """Node → names of the files that hold its rows, for the tables that may be in chunks."""
    nodes = [node for node in graph.nodes(deployment) if node.asset in CHUNKED]
    return {str(node): {file.name for file in files_of(path_of(deployment, node))} for node in nodes}


def forget_records(deployment, names=CHUNKED):
    """Make these tables out of date, as new code does, with their rows in place."""
    for node in graph.nodes(deployment):
        if node.asset in names:
            record_path(path_of(deployment, node)).unlink()


@pytest.fixture
def small(monkeypatch):
    """Chunks of a few rows."""
    monkeypatch.setattr(chunks, "CHUNK_ROWS", ROWS)


@pytest.fixture(scope="module")
def in_chunks(finished, tmp_path_factory):
    """A deployment that ran when its tables were in one file each, and again now that they are in chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_ROWS", ROWS)
        made = finished.changed(tmp_path_factory.mktemp("chunks"), lambda world: forget_records(Deployment.from_env()))
    assert made.asked == finished.asked, "nothing is asked again"
    return made


@pytest.fixture
def chunked(finished, in_chunks, world, server, small):
    """That deployment, and its tables as they were before."""
    before = stored(Deployment.from_env())
    in_chunks.copy_to(world)
    return Deployment.from_env(), before


def test_the_number_of_chunks_follows_from_the_number_of_prompts_alone():
    assert chunks.chunk_names(chunks.CHUNK_ROWS) == ["0000-of-0001"]
    assert len(chunks.chunk_names(chunks.CHUNK_ROWS + 1)) == 2
    assert len(chunks.chunk_names(10_000_000)) == 256
    people = pl.Series("respondent_id", [f"r_{i}" for i in range(1000)])
    eight, four = (chunks.chunk_numbers(people, n).sort("respondent_id")["chunk"] for n in (8, 4))
    assert (eight // 2).equals(four), "twice the chunks divide each one"
    assert eight.value_counts()["count"].min() > 80


def test_tables_in_chunks_have_the_rows_and_the_order_of_tables_in_one_file(chunked):
    deployment, before = chunked
    for name, files_now in files(deployment).items():
        assert len(files_now) > 1, name
        assert not path_of(deployment, Node.parse(name)).exists(), "the file that it was"
    after = stored(deployment)
    assert after.keys() == before.keys()
    for name, frame in before.items():
        assert frame.equals(after[name]), name
    assert [f for f in integrity.check_all(deployment) if not f.passed] == []
    with duckdb.connect(str(deployment.layout.warehouse), read_only=True) as con:
        for name in CHUNKED:
            rows = con.table(name).pl()
            stored_rows = pl.concat([frame for node, frame in after.items() if Node.parse(node).asset == name])
            assert rows.sort("prompt_id").equals(stored_rows.select(rows.columns).sort("prompt_id")), name


def test_a_first_run_asks_in_chunks_what_it_asks_of_whole_tables(finished, world, server, small, monkeypatch):
    whole = {n: read_record(path_of(Deployment.from_env(), Node.parse(n))).notes for n in files(Deployment.from_env())}
    before = stored(Deployment.from_env())
    shutil.rmtree(world.data / "ledger")
    server.asked.clear()
    forget_records(Deployment.from_env())
    deployment, _ = bring_up_to_date()
    assert server.asked == finished.asked, "equal texts of different chunks are sent once"
    for name, notes in whole.items():
        if name.startswith("responses|"):
            now = read_record(path_of(deployment, Node.parse(name))).notes
            assert [now[key] for key in ("requests", "asked", "reused", "errors")] == [
                notes[key] for key in ("requests", "asked", "reused", "errors")
            ]
    after = stored(deployment)
    assert all(frame.equals(after[name]) for name, frame in before.items())
    assert not list((world.data / "scratch").iterdir()), "temporary folders are gone"


def test_the_notes_of_a_table_in_chunks_are_those_of_the_whole(chunked, monkeypatch):
    deployment, _ = chunked
    in_chunks = {n: read_record(path_of(deployment, Node.parse(n))).notes for n in files(deployment)}
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 64_000)
    forget_records(deployment, ("prompts", "scores"))
    deployment, _ = bring_up_to_date()
    for name in files(deployment):
        path = path_of(deployment, Node.parse(name))
        assert path.exists() and not chunk_folder(path).exists(), "in one file again"
        notes = dict(read_record(path).notes)
        assert notes == in_chunks[name] or name.startswith("responses")


def test_a_changed_respondent_changes_one_chunk_of_each_task(chunked, world, server, monkeypatch):
    deployment, _ = chunked
    look_up, looked_up = inference.PartResponses.read, []
    monkeypatch.setattr(
        inference.PartResponses, "read", lambda self, number: looked_up.append(number) or look_up(self, number)
    )
    before, asked = files(deployment), server.asked.copy()
    panel = read(deployment, "panel")
    numbers = dict(read(deployment, "personas").select("respondent_id", "wave").rows())
    wave = "gss_extract-2018"
    raws = {
        int(float(key.split(":")[-1])): respondent
        for respondent, key in pl.read_parquet(deployment.layout.harmonized(wave))
        .select("respondent_id", "native_key")
        .rows()
    }
    own = next(n for n, r in sorted(raws.items()) if r in set(panel["respondent_id"]) and numbers[r] == wave)
    changed = respondents(2018).with_columns(
        educ=pl.when(pl.col("id") == own).then((pl.col("educ") + 3) % 20).otherwise("educ")
    )
    write_wave(world.surveys, changed)
    deployment, made = bring_up_to_date()
    after = files(deployment)
    assert any(name.startswith("prompts|") for name in made)
    for name, kept in before.items():
        assert len(kept - after[name]) <= 1, name
    assert sum(len(kept - after[name]) for name, kept in before.items() if name.startswith("prompts|")) >= 1
    new = [len(kept - after[name]) for name, kept in before.items() if name.startswith("prompts|")]
    assert len(looked_up) == sum(new) * len(deployment.models), "no other chunk is looked up again"
    for name in after:
        if name.startswith("responses|"):
            node = Node.parse(name)
            notes = read_record(path_of(deployment, node)).notes
            hashes = read(deployment, node.asset, node.partition)["request_hash"]
            assert notes["requests"] == hashes.n_unique() == notes["asked"] + notes["reused"]
    again = Counter(server.asked)
    again.subtract(asked)
    theirs = pl.concat([read(deployment, "prompts", task) for task in deployment.study.tasks])
    theirs = theirs.filter(pl.col("shown_respondent_id") == raws[own])
    assert 0 < again.total() <= theirs["content_hash"].n_unique(), "only about the one who changed"


@pytest.mark.parametrize("table", ["prompts", "scores"])
def test_a_run_that_is_killed_between_chunks_goes_on_where_it_stopped(chunked, monkeypatch, table):
    deployment, _ = chunked
    node = next(node for node in graph.nodes(deployment) if node.asset == table)
    path = path_of(deployment, node)
    before, record = read(deployment, table, node.partition), read_record(path)
    made_now = []
    write = chunks._write_chunk

    def counted(path, node, chunk):
        if len(made_now) == stop_after:
            raise KeyboardInterrupt
        made_now.append(chunk.name)
        return write(path, node, chunk)

    # Other inputs, as new code has, and other rows.
    monkeypatch.setattr(chunks, "_write_chunk", counted)
    monkeypatch.setattr("mpta_pipeline.pipeline.inputs.inputs_digest", lambda versions: "other")
    monkeypatch.setattr(chunks, "content_hash", lambda frame: f"{frame.hash_rows().sum():016x}"[:16])
    stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        make(deployment, table, node.partition)
    assert read_record(path) == record, "the table as it was stored before stays in use"
    assert read(deployment, table, node.partition).equals(before)
    assert len(unused_chunks(path)) == 2
    killed, stop_after = list(made_now), 10**6
    made_now.clear()
    make(deployment, table, node.partition)
    assert not set(made_now) & set(killed) and len(made_now) + 2 == len(record.chunks)
    assert unused_chunks(path) == []
    assert read(deployment, table, node.partition).equals(before)
    # Two jobs make a half each, and the table stays as it is; the run that follows makes nothing.
    monkeypatch.setattr("mpta_pipeline.pipeline.inputs.inputs_digest", lambda versions: "third")
    whole, n = read_record(path), len(record.chunks)
    assert make_part(deployment, table, node.partition, 1, 2) == ((n + 1) // 2, (n + 1) // 2)
    assert read_record(path) == whole
    assert make_part(deployment, table, node.partition, 2, 2) == (n // 2, n // 2)
    assert make_part(deployment, table, node.partition, 2, 2) == (n // 2, 0)
    made_now.clear()
    make(deployment, table, node.partition)
    assert made_now == [] and read_record(path).version == whole.version


@pytest.fixture
def made_chunks(monkeypatch):
    """Names of the chunks that were made, one for each time."""
    names, write = [], chunks._write_chunk
    monkeypatch.setattr(
        chunks, "_write_chunk", lambda path, node, chunk: names.append(chunk.name) or write(path, node, chunk)
    )
    return names


@pytest.mark.parametrize("table", ["prompts", "scores"])
def test_a_large_step_is_cut_into_jobs_and_makes_what_they_leave(chunked, monkeypatch, made_chunks, table):
    deployment, before = chunked
    node = next(node for node in graph.nodes(deployment) if node.asset == table)
    path = path_of(deployment, node)
    record, submitted, said = read_record(path), [], []
    n = len(record.chunks)
    monkeypatch.setenv("MPTA_PARTS", "3")
    monkeypatch.setattr("mpta_pipeline.pipeline.inputs.inputs_digest", lambda versions: "other")

    def submit(jobs):
        submitted.append(jobs)
        with alone(deployment.layout, lambda: pytest.fail("a withdrawal waits for the jobs")):
            assert read_record(path) == record, "the table stays as it is"
        make_part(deployment, table, node.partition, 1, jobs.n)
        make_part(deployment, table, node.partition, 3, jobs.n)  # and the second was killed

    with part_jobs.submitted_by(submit), part_jobs.heard_by(lambda *line: said.append(line)):
        now = make(deployment, table, node.partition)
    assert [(jobs.node, jobs.n, jobs.chunks) for jobs in submitted] == [(node, 3, n)]
    left = len(list(record.chunks)[1::3])
    assert [(f"left {left} of {n} chunks" in text, warning) for text, warning in said] == [(True, True)]
    assert sorted(made_chunks) == sorted(record.chunks), "each chunk is made once"
    assert now.record.version == record.version and unused_chunks(path) == []
    assert read(deployment, table, node.partition).equals(before[str(node)])
    # Nothing is left to make: no job is submitted for a table of which all chunks are there.
    record_path(path).unlink()
    with part_jobs.submitted_by(submit):
        make(deployment, table, node.partition)
    assert len(submitted) == 1 and len(made_chunks) == n


def test_jobs_make_no_table_that_is_in_one_file_and_send_no_requests(finished, world, server, monkeypatch):
    monkeypatch.setenv("MPTA_PARTS", "3")
    forget_records(Deployment.from_env())
    with part_jobs.submitted_by(lambda jobs: pytest.fail(f"{jobs.label} is cut into jobs")):
        bring_up_to_date()


def test_responses_in_chunks_are_not_cut_into_jobs(chunked, server, monkeypatch):
    monkeypatch.setenv("MPTA_PARTS", "3")
    forget_records(Deployment.from_env(), ["responses"])
    with part_jobs.submitted_by(lambda jobs: pytest.fail(f"{jobs.label} is cut into jobs")):
        bring_up_to_date()


@pytest.mark.parametrize("table", ["prompts", "scores"])
def test_halves_made_apart_have_the_bytes_of_the_whole(chunked, tmp_path, made_chunks, table):
    deployment, _ = chunked
    node = next(node for node in graph.nodes(deployment) if node.asset == table)
    whole = {file.name: file.read_bytes() for file in chunk_folder(path_of(deployment, node)).iterdir()}
    record = record_path(path_of(deployment, node)).read_bytes()
    halves = []
    for number in (1, 2):  # on two machines, each with a copy of the data folder without the table
        shutil.copytree(deployment.layout.root, tmp_path / str(number))
        halves.append(replace(deployment, layout=Layout(tmp_path / str(number))))
        discard(path_of(halves[-1], node))
        make_part(halves[-1], table, node.partition, number, 2)
    one, two = (chunk_folder(path_of(half, node)) for half in halves)
    assert len(list(one.iterdir())) + len(list(two.iterdir())) == len(whole)
    for file in two.iterdir():
        shutil.copy(file, one)
    made_chunks.clear()
    make(halves[0], table, node.partition)
    assert made_chunks == []
    assert {file.name: file.read_bytes() for file in one.iterdir()} == whole
    assert record_path(path_of(halves[0], node)).read_bytes() == record


def test_status_says_how_many_jobs_a_large_step_is_cut_into(chunked, monkeypatch):
    deployment, _ = chunked
    forget_records(deployment, ["scores"])
    monkeypatch.setenv("MPTA_CLUSTER", "slurm")
    monkeypatch.setenv("MPTA_PARTS", "2")
    said = {one.reason for one in status.outdated(deployment) if one.table == "scores"}
    assert said == {"not made yet; up to 2 jobs on Slurm will make its chunks"}


def test_chunks_that_fail_a_check_are_not_used_and_do_not_stay(chunked, monkeypatch):
    deployment, _ = chunked
    task = next(iter(deployment.study.tasks))
    path = path_of(deployment, Node("prompts", task))
    record, names = read_record(path), files_of(path)
    monkeypatch.setattr("mpta_pipeline.pipeline.inputs.inputs_digest", lambda versions: "other")
    monkeypatch.setattr(chunks, "content_hash", lambda frame: f"{frame.hash_rows().sum():016x}"[:16])
    monkeypatch.setattr(prompt_checks, "_LEVEL", 2.0)
    with pytest.raises(ValidationError, match="gold_position_uniform"):
        make(deployment, "prompts", task)
    assert read_record(path) == record and files_of(path) == names and unused_chunks(path) == []


def test_a_damaged_chunk_is_named_and_made_again_alone(chunked, server):
    deployment, before = chunked
    node = next(node for node in graph.nodes(deployment) if node.asset == "scores")
    path, asked = path_of(deployment, node), server.calls
    damaged = files_of(path)[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    found = [f for f in integrity.check_all(deployment, "records") if not f.passed]
    assert [damaged.name.removesuffix(".parquet") in f.subject for f in found] == [True]
    others = {file: file.stat().st_mtime_ns for file in files_of(path) if file != damaged}
    with pytest.raises(DamagedError, match=damaged.name):
        read(deployment, "scores", node.partition)
    assert read_record(path) is None, "it counts as not made"
    deployment, _ = bring_up_to_date()
    assert read(deployment, "scores", node.partition).equals(before[str(node)])
    assert {file: file.stat().st_mtime_ns for file in others} == others, "the others are not written again"
    assert server.calls == asked


def test_a_respondent_who_withdraws_is_in_no_chunk(chunked):
    deployment, _ = chunked
    who = read(deployment, "prompts", next(iter(deployment.study.tasks)))["respondent_id"][0]
    # A chunk that a killed run left holds them, too.
    used = files_of(deployment.layout.table("prompts", next(iter(deployment.study.tasks))))
    left = used[0].with_name("0000-of-0002-0123456789abcdef.parquet")
    pl.concat([pl.read_parquet(file) for file in used]).write_parquet(left)
    # So does the file that a table was before it had chunks, if a run was killed before it was deleted.
    pl.read_parquet(left).write_parquet(deployment.layout.table("prompts", next(iter(deployment.study.tasks))))
    found = withdrawal.find(deployment.layout, deployment.sources, who)
    outcome = withdrawal.forget(deployment.layout, deployment.sources, deployment.models, found, on=date(2026, 11, 23))
    assert set(outcome.rows) >= set(CHUNKED)
    assert withdrawal.tables_with(deployment.layout, who) == []
    for path in stored_tables(deployment.layout.store / "tables"):
        record = read_record(path)
        assert record is not None and unused_chunks(path) == []
        assert record.rows is None or record.rows == sum(pl.read_parquet(file).height for file in files_of(path))
    deployment, _ = bring_up_to_date()
    assert withdrawal.tables_with(deployment.layout, who) == []
    assert [f for f in integrity.check_all(deployment) if not f.passed] == []


def test_tables_of_models_that_left_are_kept_and_not_published(chunked, world):
    deployment, _ = chunked
    study = dict(deployment.study.tasks)
    gone = next(iter(study))
    paths = {path for path in stored_tables(deployment.layout.store / "tables") if path.stem == gone}
    assert {deployment.layout.table("prompts", gone)} <= paths
    warehouse.leave_out(deployment.layout, list(paths))
    schema = graph.TABLES["prompts"].schema
    assert not [file for file in warehouse.files(deployment.layout, schema) if gone in str(file)]
    assert all(file.exists() for path in paths for file in files_of(path))


def test_build_in_parts_gives_the_prompts_of_the_whole(finished, world):
    deployment = Deployment.from_env()
    for task in deployment.study.tasks:
        plan = prompts.plan_prompts(
            task,
            deployment.study,
            items=read(deployment, "items", task),
            gold=read(deployment, "gold", task),
            panel=read(deployment, "panel"),
            personas=read(deployment, "personas"),
            base=deployment.config,
        )
        whole = plan.build()
        assert whole.equals(with_current_names("prompts", read(deployment, "prompts", task)))
        assert plan.height() >= whole.height > plan.height() / 2
        names = [f"{i:04d}-of-0008" for i in range(8)]
        parts = [part().build() for _, part, _ in plan.in_chunks(names)]
        assert pl.concat(parts).sort("prompt_id").equals(whole)
        inputs = [digest for _, _, digest in plan.in_chunks(names)]
        assert inputs == [digest for _, _, digest in plan.in_chunks(names)] and len(set(inputs)) > 1


def test_a_control_and_a_model_of_a_part_of_the_panel_are_asked_in_chunks(finished, world, server, monkeypatch):
    """Some chunks have no prompt of the part; what a simulated respondent knows is told chunk by chunk."""
    echo = {"provider": "simulated", "accuracy": 0.8, "accuracy_by": {"sex": {"female": 0.5}}, "panel_share": 0.3}
    world.models({"part": model(server.url) | {"panel_share": 0.3}, "echo": echo})
    deployment, _ = bring_up_to_date()
    before, asked = stored(deployment), server.calls
    monkeypatch.setattr(chunks, "CHUNK_ROWS", ROWS)  # more chunks than personas
    forget_records(deployment)
    deployment, _ = bring_up_to_date()
    assert server.calls == asked
    after = stored(deployment)
    for name, frame in before.items():
        assert frame.equals(after[name]), name
    rows = [pl.read_parquet(f).height for n in files(deployment) for f in files_of(path_of(deployment, Node.parse(n)))]
    assert 0 in rows, "chunks without a prompt"
    assert [f for f in integrity.check_all(deployment) if not f.passed] == []
