"""How large the report is, and how soon it can be used, for a small study and for 20 models × 7 tasks × 100 countries.

Run: python -m tests.benchmarks.bench_report

With `--scores 70000`, it stores so many scores and responses for each of 20 models × 7 tasks instead, and prints the
seconds and the peak memory of a process that makes the report of them. Fails if it takes more than 4 GB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from mpta_pipeline import metrics, report
from mpta_pipeline.core import tables
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node, files_of, read_file, store
from mpta_pipeline.core.storage import Layout
from tests.factories import many_estimates as many
from tests.factories import stored_study as fab
from tests.factories.chromium import NOW, chromium, labels, missing, opened, page_of_many, study

SIZES = (((3, 4, 20), 3.0), ((20, 7, 100), 8.0))
"""Models, tasks and countries, and the limit in MB."""
INTERACTIVE = 1.5  # seconds


MODELS, TASKS, COUNTRIES = 20, 7, 100
ITEMS = 70
"""Questions per person and condition."""


def cells() -> list[ModelTask]:
    """All models and tasks."""
    return [ModelTask(f"model-{m:02d}", f"task_{t}") for m in range(MODELS) for t in range(TASKS)]


def scores(cell: ModelTask, n: int) -> pl.DataFrame:
    """Scores of a model and task with as many different prompts and respondents as a large study has."""
    _, some = fab.answers(fab.MODELS[0], *_questions())
    row = pl.int_range(n)
    luck = pl.col("prompt_id").hash(int(cell.model[6:]))
    frame = some.sample(n, with_replacement=True, seed=1).with_columns(
        pl.lit(cell.model).alias("model"),
        pl.lit(cell.task).alias("task"),
        pl.lit("wvs").alias("survey"),
        pl.format("{}-{}", row.hash(seed=1), row).alias("prompt_id"),
        row.hash(seed=2).cast(pl.String).alias("request_hash"),
        pl.format("r_{}", row // (2 * ITEMS)).alias("respondent_id"),
        pl.format("i{}", row % ITEMS).alias("item_id"),
        pl.when(row // ITEMS % 2 == 0).then(pl.lit("persona")).otherwise(pl.lit("no_persona")).alias("condition"),
    )
    status = pl.when(luck % 17 == 0).then(pl.lit("refused")).otherwise(pl.lit("ok"))
    right = pl.when(luck % 17 > 0).then((luck % 5 > 1).cast(pl.Float64))
    return tables.SCORES.conform(
        frame.with_columns(status.alias("status"), right.alias("score"), (luck % 3).cast(pl.Int64).alias("pred_idx"))
    )


def _questions() -> tuple[pl.DataFrame, dict[str, str]]:
    task, asked = next(iter(fab.items().items()))
    return fab.prompts(task, asked), dict(asked.select("item_id", "category").iter_rows())


def set_up(layout: Layout, n: int) -> None:
    """Store the scores and responses of all models and tasks."""
    for cell in cells():
        frame = scores(cell, n)
        store(frame, layout.table("scores", *cell), Node("scores", str(cell)), {})
        given = frame.select("model", "task", "prompt_id", "request_hash").with_columns(
            pl.lit("A").alias("text"), pl.lit(300, pl.Int64).alias("prompt_tokens")
        )
        absent = [pl.lit(None, kind).alias(c) for c, kind in tables.RESPONSES.schema.items() if c not in given.columns]
        given = given.with_columns(absent).select(list(tables.RESPONSES.schema))
        store(given, layout.table("responses", *cell), Node("responses", str(cell)), {})


def render(layout: Layout, n: int) -> dict[str, object]:
    """The part of the step `report` that grows with the scores."""
    estimates = many.estimates(models=MODELS, tasks=TASKS, n_countries=COUNTRIES)
    people = pl.DataFrame({"respondent_id": [f"r_{i}" for i in range(n // (2 * ITEMS) + 1)]})
    place = pl.col("respondent_id").hash(4)
    codes = many.countries(COUNTRIES)
    drawn = {"sex": many.SEXES, "age_band": many.AGES, "country": codes}
    groups = people.with_columns(
        ((place // 7**i) % len(values)).replace_strict(dict(enumerate(values))).alias(name)
        for i, (name, values) in enumerate(drawn.items())
    )
    frames = {
        "subgroup_metrics": estimates,
        "models": many.model_records(MODELS),
        "model_comparison": many.ties(estimates),
        "groups": groups,
        "personas": people.with_columns(pl.lit("any").alias("data_use")),
    }

    def read(table: str, cell: ModelTask, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        for file in files_of(layout.table(table, *cell)):
            yield read_file(file, columns)

    stored = report.Scores([report.Part(*cell, partial(read, "scores", cell)) for cell in cells()])
    told = {"study": study(TASKS), "metrics": metrics.METRICS, "labels": labels(COUNTRIES)}
    first = report.first_screen(frames, scores=stored, **told)
    responses = report.gather((read("responses", cell, report.READ) for cell in cells()), first.prompts)
    frames["responses"] = responses.shown
    page = report.render_report(
        frames, title="Study many", generated=NOW, scores=stored, failures=responses.failures, first=first, **told
    )
    assert stored.counts.answers == n * MODELS * TASKS
    return {"MB": round(len(page.encode()) / 1e6, 2), "prompts": len(first.prompts)}


def measure(n: int) -> int:
    """Store scores and make the report of them in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        set_up(Layout(Path(folder)), n)
        command = [sys.executable, "-m", "tests.benchmarks.bench_report", "--scores", str(n), "--render", folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    facts = json.loads(done.stdout.splitlines()[-1])
    print(f"{n * MODELS * TASKS:,} scores: {facts}")
    return 0 if facts["peak"] <= 4 else 1


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=int, help="scores of each model and task")
    parser.add_argument("--render", type=Path, help="only make the report of the scores in this folder")
    asked = parser.parse_args(arguments)
    if asked.render is not None:
        start, before = time.perf_counter(), time.process_time()
        facts = render(Layout(asked.render), asked.scores)
        cpu, seconds = time.process_time() - before, time.perf_counter() - start
        status = Path("/proc/self/status").read_text(encoding="ascii")
        peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1e6
        print(json.dumps({"seconds": round(seconds, 2), "cpu": round(cpu, 2), "peak": round(peak, 2), **facts}))
        return 0
    if asked.scores is not None:
        return measure(asked.scores)
    pages()
    return 0


def pages() -> None:
    """Print the size of pages, and how soon they can be used."""
    for (models, tasks, countries), limit in SIZES:
        start = time.perf_counter()
        page = page_of_many(models=models, tasks=tasks, n_countries=countries)
        name = f"{models} models × {tasks} tasks × {countries} countries"
        seconds = time.perf_counter() - start
        print(f"{name:40s} {len(page.encode()) / 1e6:6.2f} MB (limit {limit}), made in {seconds:.1f} s")
        if missing():
            print(f"  not opened: {missing()}")
            continue
        with tempfile.TemporaryDirectory() as folder, chromium() as browser:
            path = Path(folder) / "report.html"
            path.write_text(page, encoding="utf-8")
            opened(browser, path).close()  # warms the browser
            shown = opened(browser, path)
            loaded = shown.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
            start = time.perf_counter()
            shown.evaluate("location.hash = '#view&by=country'")
            shown.wait_for_selector("#explorer figure[data-ready]")
            drawn = time.perf_counter() - start
            start = time.perf_counter()
            shown.select_option("#pick-by", "sex")
            shown.wait_for_function("document.querySelector('#explorer figcaption').textContent.includes('by sex')")
            changed = time.perf_counter() - start
        print(f"  page usable after {loaded / 1000:.2f} s (limit {INTERACTIVE}), first chart {drawn:.2f} s later,")
        print(f"  another choice drawn in {changed:.2f} s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
