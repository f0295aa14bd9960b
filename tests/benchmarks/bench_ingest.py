"""How long a survey file takes to become validated harmonized Parquet, against what reading alone takes.

Run `python -m tests.benchmarks.bench_ingest`. It stacks GSS files until there are 60,000 rows of 700 columns, writes
them as one .sav and measures, each in a process of its own:

    read       pyreadstat reads all columns into polars
    pipeline   file → raw waves → harmonized and checked waves → Parquet,         at most .5 × read, 2 × its memory
               the waves in two threads, the crosswalk loaded beside recognition
    in_turn    the same, one after the other, as in a run of `mpta run`
    row-wise   the same recodes by pandas `apply(axis=1)` on a sample, per row    at least 20 × the pipeline's recoding,
                                                                                 which is measured in turns with it

The files are not part of the repository: without them it says so and ends.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pyreadstat

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core.storage import Layout, write_parquet
from mpta_pipeline.surveys import readstat
from tests.shared_data import FOLDER

YEARS = (2016, 2018)  # one codebook: 2024 numbers regions, for one, otherwise, and the crosswalk would stop it
ROWS, COLUMNS = 60_000, 700
# NORC's own codes of the tags in SPSS files.
CODES = {"i": -100, "n": -99, "d": -98, "s": -97, "z": -96, "u": -95, "r": -90, "x": -80, "y": -70, "j": -60}
SAMPLE = 1_000  # rows recoded row by row
TURNS = 5


def stack(path: Path) -> None:
    """Write the stacked file: the years, repeated with other ids."""
    wanted = {v.lower() for v in harmonize.load_crosswalk().concepts.filter(codebook="gss")["variable"]}
    wanted |= {"year", "id", "ballot", "form", "wtssps", "wtssall", "vstrat", "vpsu"}
    frames, labels, values = [], {}, {}
    for year in YEARS:
        source = FOLDER / "gss" / f"GSS{year}.dta"
        data, meta = pyreadstat.read_dta(source, user_missing=True, output_format="dict")
        numeric = {n for n, kind in meta.readstat_variable_types.items() if kind != "string"}
        frames.append(
            pl.DataFrame(
                {
                    name: pl.Series(
                        [CODES.get(v, -95) if isinstance(v, str) else v for v in data[name]],
                        dtype=pl.Float64,
                        strict=False,
                    )
                    for name in numeric
                }
            )
        )
        labels |= meta.column_names_to_labels
        for name in numeric:
            found = meta.variable_value_labels.get(name, {})
            known = {CODES.get(c, -95) if isinstance(c, str) else c: text for c, text in found.items()}
            values[name] = {**values.get(name, {}), **{float(c): text for c, text in known.items()}}
    stacked = pl.concat(frames, how="diagonal")
    first = [c for c in stacked.columns if c in wanted]
    chosen = (first + [c for c in sorted(stacked.columns) if c not in wanted])[:COLUMNS]
    copies = -(-ROWS // stacked.height)
    stacked = pl.concat([stacked.select(chosen).with_columns(id=pl.col("id") + 10_000.0 * k) for k in range(copies)])
    pyreadstat.write_sav(
        stacked,
        path,
        file_label="General Social Survey, stacked",
        column_labels={c: labels.get(c) for c in chosen},
        variable_value_labels={c: values[c] for c in chosen if values.get(c)},
        missing_ranges={c: [{"lo": -100, "hi": -40}] for c in chosen if c not in ("year", "id")},
        row_compress=True,
    )


def read(path: Path, _: Path) -> dict[str, Any]:
    """Read all columns with pyreadstat alone."""
    frame, _meta = pyreadstat.read_sav(path, user_missing=True, output_format="polars")
    return {"rows": frame.height, "columns": frame.width}


def pipeline(path: Path, folder: Path, *, workers: int = 2) -> dict[str, Any]:
    """The way of the pipeline, from the file to checked harmonized Parquet."""
    layout = Layout(folder)
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        loading = pool.submit(harmonize.load_crosswalk)
        registry = surveys.load_sources()
        recognized = surveys.recognize(path, registry)
        raws = [surveys.ingest(path, wave, layout, registry) for wave in recognized.waves]
        ingested, crosswalk = time.perf_counter(), loading.result()

        def harmonized(raw: surveys.RawWave) -> tuple[int, int, float]:
            begun = time.perf_counter()
            frame = harmonize.harmonize(raw, crosswalk)
            recoding = time.perf_counter() - begun
            harmonize.check_wave(frame, raw, crosswalk)
            write_parquet(frame, layout.harmonized(raw.wave))
            return frame.height, sum(f"{c}__missing" in frame.columns for c in frame.columns), recoding

        done = list(pool.map(harmonized, raws))
    rows = sum(height for height, _, _ in done)
    return {
        "rows": rows,
        "concepts": sum(columns for _, columns, _ in done),
        "ingest_s": round(ingested - started, 2),
        "after_s": round(time.perf_counter() - ingested, 2),
        "recoding_us_per_row": sum(recoding for _, _, recoding in done) / rows * 1e6,
    }


def in_turn(path: Path, folder: Path) -> dict[str, Any]:
    """The same, one wave after the other."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as other:
        return pipeline(path, Path(other), workers=1)


def row_wise(_: Path, folder: Path) -> dict[str, Any]:
    """Recode the same concepts row by row with pandas, on a sample of the wave that the pipeline read before.

    The pipeline's recoding of the whole wave is measured beside it, in turns, and the best of each counts: both suffer
    alike from what else the machine does.
    """
    raw = surveys.load_raw(Layout(folder), "gss-2018")
    crosswalk = harmonize.load_crosswalk()
    rows = crosswalk.concepts.filter(pl.col("codebook") == "gss", pl.col("column").is_not_null())
    recodes = {}
    for column, variable in rows.select("column", "variable").iter_rows():
        options = crosswalk.options.filter(pl.col("codebook") == "gss", pl.col("column") == column)
        name = raw.resolve(variable)
        if name is not None:
            recodes[column] = (name, dict(options.select("code", "value").iter_rows()))
    data = raw.data(sorted({name for name, _ in recodes.values()})).head(SAMPLE).to_pandas()

    def recode(row: Any) -> dict[str, Any]:
        recoded = {}
        for column, (name, options) in recodes.items():
            value = row[name]
            code = str(int(value)) if value == value and float(value).is_integer() else str(value)
            recoded[column] = options.get(code)
            recoded[f"{column}__missing"] = "missing" if code.startswith("-") else None
            recoded[f"{column}__code"] = code
        return recoded

    rows_wise, whole = [], []
    for _ in range(TURNS):
        started = time.perf_counter()
        data.apply(recode, axis=1, result_type="expand")
        rows_wise.append((time.perf_counter() - started) / len(data) * 1e6)
        started = time.perf_counter()
        frame = harmonize.harmonize(raw, crosswalk)
        whole.append((time.perf_counter() - started) / frame.height * 1e6)
    return {
        "concepts": len(recodes),
        "recoding_us_per_row": min(rows_wise),
        "pipeline_us_per_row": min(whole),
    }


STEPS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "read": read,
    "pipeline": pipeline,
    "in_turn": in_turn,
    "row_wise": row_wise,
}


def measured(step: str, path: Path, folder: Path) -> dict[str, Any]:
    """Run a step in a process of its own: its result, wall seconds, and the peak memory of it and its children."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_ingest", "--step", step, str(path), str(folder)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": round(time.perf_counter() - started, 2), **result}


def main() -> int:
    """Measure and print; 1 if a bound is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("paths", nargs="*", type=Path)
    arguments = parser.parse_args()
    if arguments.step:
        started, before = time.perf_counter(), time.process_time()
        result = STEPS[arguments.step](*arguments.paths)
        inside = time.perf_counter() - started
        readstat.idle.end()
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(use.ru_utime + use.ru_stime for use in used) - before
        peak = sum(use.ru_maxrss for use in used) / 1024
        print(json.dumps({**result, "inside_s": inside, "cpu_s": cpu, "peak_mb": peak}))
        return 0
    if not (FOLDER / "gss" / "GSS2018.dta").exists():
        print("NORC's GSS files are not there: set MPTA_SHARED_DATA to the folder that holds them")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        path, folder = Path(scratch, "gss.sav"), Path(scratch, "data")
        stack(path)
        print(f"file: {path.stat().st_size / 1e6:,.0f} MB")
        results = {}
        for step in STEPS:
            results[step] = measured(step, path, folder)
            print(step, {k: round(v, 2) if isinstance(v, float) else v for k, v in results[step].items()})
    estimates = {
        "time, pipeline / read (at most .5)": results["pipeline"]["inside_s"] / results["read"]["inside_s"],
        "memory, pipeline / read (at most 2)": results["pipeline"]["peak_mb"] / results["read"]["peak_mb"],
        "recoding, row-wise / pipeline (at least 20)": results["row_wise"]["recoding_us_per_row"]
        / results["row_wise"]["pipeline_us_per_row"],
    }
    for name, value in estimates.items():
        print(f"{name}: {value:.2f}")
    print(f"time, in turn / read: {results['in_turn']['inside_s'] / results['read']['inside_s']:.2f}")
    ratios = list(estimates.values())
    return 0 if ratios[0] <= 0.5 and ratios[1] <= 2 and ratios[2] >= 20 else 1


if __name__ == "__main__":
    sys.exit(main())
