"""Benchmark: prompts, lookups and scores of a large task in chunks, as n → seconds and peak memory.

Run with `python -m tests.benchmarks.bench_chunks 1 3 10` (millions of prompts). Each step is a process of its own,
which reads stored tables and writes its own, as a step of a run does. Ten million prompts take 12 GB below `TMPDIR`.
Fails if a step of the largest size takes more than 3 GB, or more than 1.1 times its share of the time of the smallest.
Compared are seconds of the processor, because other programs may run meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from mpta_pipeline import inference, personas, tasks
from mpta_pipeline.core import tables
from mpta_pipeline.core.chunks import (
    Chunk,
    StoredChunk,
    chunk_names,
    chunks_by_inputs,
    distinct,
    stored_chunks,
    use_chunks,
    write_chunks,
)
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.provenance import Node, read_record
from mpta_pipeline.inference.ledger import RECORD, Ledger
from tests.factories import small_survey

TASK = "value_alignment"
PEOPLE_PER_MILLION = 13_300
ENTRY = "models: {far: {provider: openai, model: far, base_url: 'http://127.0.0.1:9/v1'}}"


def study(size: int) -> object:
    """The study of the benchmark."""
    return small_survey.study(panel={"size": size, "strata": ["sex", "age_band"]})


def set_up(folder: Path, millions: float) -> None:
    """Store what prompts are made from."""
    crosswalk = small_survey.crosswalk()
    size = int(PEOPLE_PER_MILLION * millions)
    people = small_survey.respondents(n=size // 3)
    design = study(size)
    frame = personas.build_personas(people, crosswalk, design, small_survey.waves(people))
    dimensions = personas.derived_dimensions(people, design.panel.strata, crosswalk)
    panel = personas.draw_panel(frame, dimensions, design.panel, design.seed)
    config = design.tasks[TASK]
    items = tasks.build_items(TASK, config, crosswalk=crosswalk, respondents=people, study=design)
    gold = tasks.build_gold(TASK, config, items, crosswalk=crosswalk, respondents=people)
    for name, table in {"personas": frame, "panel": panel, "items": items, "gold": gold}.items():
        table.write_parquet(folder / f"{name}.parquet")
    (folder / "models.yaml").write_text(ENTRY, encoding="utf-8")
    (folder / "size").write_text(str(size), encoding="utf-8")


def plan(folder: Path) -> tasks.PromptPlan:
    """What the step `prompts` decides for the whole task."""
    read = {name: pl.read_parquet(folder / f"{name}.parquet") for name in ("items", "gold", "panel", "personas")}
    return tasks.plan_prompts(TASK, study(int((folder / "size").read_text())), **read)


def store(folder: Path, table: tables.Table, chunks: Sequence[Chunk]) -> dict[str, object]:
    """Make a table of chunks; returns how many were made."""
    path, node = folder / f"{table.name}.parquet", Node(table.name)
    before = {chunk.path for chunk in stored_chunks(path)}
    kept = list(write_chunks(path, node, chunks))
    record = use_chunks(path, node, {}, kept, sorted_by=table.key, notes={})
    if table is tables.PROMPTS:  # as the step does for its notes
        distinct(kept, "content_hash")
    return {"rows": record.rows, "made": sum(chunk.path not in before for chunk in kept), "chunks": len(kept)}


def make_prompts(folder: Path) -> dict[str, object]:
    """The step `prompts`."""
    made = plan(folder)

    def build(part: Callable[[], tasks.PromptPlan]) -> tuple[pl.DataFrame, dict[str, object]]:
        frame = part().build()
        return frame, tasks.prompt_counts(frame)

    names = chunk_names(made.height())
    parts = made.in_chunks(names)
    return store(
        folder,
        tables.PROMPTS,
        [Chunk(n, own, partial(build, part), counted="content_hash") for n, part, own in parts],
    )


def change_one(folder: Path) -> None:
    """One respondent states another trait."""
    path = folder / "personas.parquet"
    frame = pl.read_parquet(path)
    who = pl.read_parquet(folder / "panel.parquet")["respondent_id"][7]
    told = pl.col("traits").list.eval(
        pl.element().struct.with_fields(
            pl.concat_str(pl.element().struct.field("statement"), pl.lit(" Really.")).alias("statement")
        )
    )
    frame.with_columns(
        pl.when(pl.col("respondent_id") == who).then(told).otherwise("traits").alias("traits")
    ).write_parquet(path)


def model(folder: Path) -> inference.ModelSpec:
    """The model that is asked."""
    os.environ["MPTA_CONFIG_DIR"] = str(folder)
    return inference.load_models()["far"]


def fill_ledger(folder: Path) -> None:
    """Let the ledger have an answer to every prompt, in parts of about a million."""
    asked = inference.PromptParts(model(folder), [chunk.read for chunk in stored_chunks(folder / "prompts.parquet")])
    ledger = Ledger(folder / "ledger")
    ledger.folder.mkdir(exist_ok=True)
    hashes = asked.requests().select("request_hash", pl.col("request_hash").hash().alias("n"))
    known = ledger.settled(hashes["request_hash"]).answered.to_frame()
    for some in hashes.join(known, on="request_hash", how="anti").iter_slices(1_000_000):
        letter = (pl.col("n") % 3).replace_strict({0: "A", 1: "B", 2: "C"}).alias("text")
        records = some.select("request_hash", letter).with_columns(
            finish_reason=pl.lit("stop"), prompt_tokens=300, completion_tokens=1, asked_at=1, latency=0.1, attempts=1
        )
        absent = [pl.lit(None, dtype).alias(name) for name, dtype in RECORD.items() if name not in records.columns]
        ledger._write_part(6, records.with_columns(absent).select([pl.col(n).cast(t) for n, t in RECORD.items()]))


def look_up(folder: Path) -> dict[str, object]:
    """The step `responses`, with an answer to every prompt in the ledger."""
    prompts = stored_chunks(folder / "prompts.parquet")
    stored = chunks_by_inputs(folder / "responses.parquet")
    kept = [chunk for key, chunk in stored.items() if key in {(each.name, each.version) for each in prompts}]
    others = {chunk.name: chunk for chunk in prompts if (chunk.name, chunk.version) not in stored}
    asked = inference.PromptParts(
        model(folder), [chunk.read for chunk in others.values()], distinct(kept, "request_hash")
    )
    with tempfile.TemporaryDirectory(dir=folder) as room:
        report = inference.send_requests(asked.spec, asked, folder / "ledger", keys=Path(room))
        answers = inference.PartResponses(asked, folder / "ledger", Path(room))
        number = {name: n for n, name in enumerate(others)}
        chunks = [
            Chunk(p.name, p.version, lambda name=p.name: (answers.read(number[name]), {}), counted="request_hash")
            for p in prompts
        ]
        return store(folder, tables.RESPONSES, chunks) | {"requests": report.requests, "reused": report.reused}


def make_scores(folder: Path) -> dict[str, object]:
    """The step `scores`."""
    items = pl.read_parquet(folder / "items.parquet")
    answers = stored_chunks(folder / "responses.parquet")

    def scored(asked: StoredChunk, answered: StoredChunk) -> tuple[pl.DataFrame, dict[str, object]]:
        frame = tasks.score(asked.read(), items, answered.read())
        return frame, {"replies": tasks.reply_counts(frame)}

    pairs = zip(stored_chunks(folder / "prompts.parquet"), answers, strict=True)
    chunks = [Chunk(p.name, digest(p.version, a.version), partial(scored, p, a)) for p, a in pairs]
    return store(folder, tables.SCORES, chunks)


STEPS: dict[str, Callable[[Path], object]] = {
    "prompts": make_prompts,
    "ledger": fill_ledger,
    "responses": look_up,
    "scores": make_scores,
    "change": change_one,
    "prompts again": make_prompts,
    "ledger again": fill_ledger,
    "responses again": look_up,
    "scores again": make_scores,
}
WHOLE = ("prompts", "responses", "scores")
MEASURED = (*WHOLE, *(f"{step} again" for step in WHOLE))


def run(folder: Path, step: str) -> dict[str, object]:
    """One step in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_chunks", "--step", step, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark, or one of its steps."""
    if arguments[:1] == ["--step"]:
        _, step, where = arguments
        start, began = time.perf_counter(), time.process_time()
        facts = STEPS[step](Path(where)) or {}
        # Not ru_maxrss, which begins with the memory of the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1e6
        cpu = time.process_time()  # of all threads: other programs on the machine do not lengthen it
        seconds = time.perf_counter() - start
        own = cpu - began  # without the start of the process
        times = {"seconds": round(seconds, 2), "cpu": round(cpu, 2), "own": round(own, 2)}
        print(json.dumps({**times, "peak": round(peak, 2), **facts}))
        return 0
    found: dict[float, dict[str, dict[str, object]]] = {}
    for millions in map(float, arguments or ["1", "3", "10"]):
        with tempfile.TemporaryDirectory() as folder:
            set_up(Path(folder), millions)
            found[millions] = {step: run(Path(folder), step) for step in STEPS}
            assert read_record(Path(folder, "scores.parquet")) is not None
        for step in MEASURED:
            print(millions, step, found[millions][step], flush=True)
    least, most = min(found), max(found)
    times = {step: round(found[most][step]["cpu"] / found[least][step]["cpu"], 1) for step in WHOLE}
    shares = []
    for what in ("own", "cpu"):
        all_, again = (sum(found[most][f"{step}{when}"][what] for step in WHOLE) for when in ("", " again"))
        shares.append(f"{again / all_:.1%}")
    print(f"{most / least:g} × the prompts take {times} × the time")
    print(f"one changed respondent takes {shares[0]} of making all, {shares[1]} with the starts of the processes")
    peak = max(found[most][step]["peak"] for step in MEASURED)
    return 0 if peak <= 3 and max(times.values()) <= 1.1 * most / least else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
