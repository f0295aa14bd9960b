"""How fast the engine asks, looks up and stays small, as ratios in one run.

Run: python -m tests.benchmarks.bench_engine [--embedded] [--queue 100000] [--peers VENV]

`--peers` measures lm-evaluation-harness and inspect_ai beside it, from the start of the process to the figures, out of
a virtual environment of their own: python -m venv VENV && VENV/bin/pip install "lm_eval[api]" inspect_ai openai

The machine's load decides much, and its speed too: what counts are the ratios to a bare loop of httpx over aiohttp,
taken in turns within one run. Where the aims were set, the bare loop made 1,108 requests a second at 64 connections and
2,344 at 256, with .36 ms of CPU each; the aims are .82 and .4 of what the latency allows, and .6 ms of CPU.

Kill test: MPTA_KILLS=50 python -m pytest tests/inference/test_engine.py -k killed
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import aiohttp
import httpx
import orjson
import polars as pl
from httpx_aiohttp import AiohttpTransport

from mpta_pipeline import inference
from mpta_pipeline.inference.ledger import RECORD, Ledger
from mpta_pipeline.inference.requests import request_hashes

REPOSITORY = Path(__file__).parents[2]
LATENCY = 0.05


def make_prompts(n: int) -> pl.DataFrame:
    """`n` prompts of about 100 tokens, sixteen a persona."""
    i = pl.int_range(n)
    person = (i // 16).cast(pl.String)
    return pl.select(
        prompt_id=pl.lit("p") + i.cast(pl.String),
        task=pl.lit("t"),
        survey=pl.lit("gss"),
        system=pl.lit("You are person ") + person + pl.lit(", " + "who lives in a town and works in a shop, " * 7),
        user=pl.lit("Question ") + i.cast(pl.String) + pl.lit(": pick one.\nA) yes\nB) no\nC) maybe\nLetter only."),
        options=pl.lit(pl.Series([["yes", "no", "maybe"]])).first().repeat_by(1).list.first(),
        elicitation=pl.lit("letter"),
        group=person,
        data_use=pl.lit("any"),
    )


def cpu(who: int = resource.RUSAGE_SELF) -> float:
    """CPU seconds of this process, or of its children that have ended."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def bare(url: str, n: int, connections: int) -> float:
    """Requests per second of a bare loop of httpx over aiohttp that keeps nothing."""

    async def run() -> None:
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": "x" * 400}],
            "logprobs": True,
            "top_logprobs": 20,
        }
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with httpx.AsyncClient(transport=AiohttpTransport(client=session)) as client:
            left = iter(range(n))

            async def work() -> None:
                for _ in left:
                    (await client.post(f"{url}/chat/completions", json=body)).json()

            await asyncio.gather(*(work() for _ in range(connections)))

    began = time.perf_counter()
    asyncio.run(run())
    return n / (time.perf_counter() - began)


def bench_asking(url: str) -> None:
    """2,000 requests at 64 and 256 connections, with all guarantees of the ledger, best of three."""
    prompts = make_prompts(2000)
    # What the latency allows, and the bare loop's rate where the aims were set.
    for connections, floor, reference in ((64, 0.82, 1108), (256, 0.4, 2344)):
        ideal = connections / LATENCY
        spec = inference.ModelSpec(name="m", provider="openai", base_url=url, model="mock", connections=connections)
        rate, used, plain, plain_used = 0.0, 9.9, 0.0, 9.9
        for _ in range(3):
            before = cpu()
            plain = max(plain, bare(url, 2000, connections))
            plain_used = min(plain_used, (cpu() - before) / 2000 * 1e3)
            with tempfile.TemporaryDirectory() as folder:
                before, began = cpu(), time.perf_counter()
                report = inference.send_requests(spec, prompts, Path(folder))
                rate = max(rate, 2000 / (time.perf_counter() - began))
                used = min(used, (cpu() - before) / 2000 * 1e3)
                assert report.answered == 2000
        print(
            f"{connections} connections: {rate:.0f}/s, {rate / ideal:.2f} of what the latency allows (aim {floor}), "
            f"{rate / plain:.2f} of a bare loop ({plain:.0f}/s; aim {floor * ideal / reference:.2f}), "
            f"{used:.2f} ms CPU a request (aim .6), "
            f"{used / plain_used:.2f} of a bare loop's ({plain_used:.2f}; aim {0.6 / 0.36:.2f})",
            flush=True,
        )


def fill(folder: Path, hashes: pl.Series, parts: int = 1) -> None:
    """A ledger that holds answers to `hashes`."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame({"request_hash": hashes}).with_columns(
        text=pl.lit("A"),
        option_logprobs=pl.lit(pl.Series([[-0.2, -2.0, -5.0]])).first(),
        asked_at=pl.lit(1),
        attempts=1,
    )
    empty = [pl.lit(None, dtype=t).alias(c) for c, t in RECORD.items() if c not in frame.columns]
    frame = frame.with_columns(empty).select(pl.col(c).cast(t) for c, t in RECORD.items()).sort("request_hash")
    size = -(-frame.height // parts)
    for i, part in enumerate(frame.iter_slices(size)):
        Ledger(folder)._store_part(part, f"part-0-{i:08d}")


def bench_reuse(n: int) -> None:
    """Prompts with nothing to ask: recognized, and read back as responses."""
    spec = inference.ModelSpec(name="m", provider="openai", base_url="http://127.0.0.1:9/v1", model="mock")
    prompts = make_prompts(n)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, request_hashes(spec, prompts))
        began = time.perf_counter()
        report = inference.send_requests(spec, prompts, folder)
        asked = time.perf_counter() - began
        assert report.reused == n
        frame = inference.responses(spec, prompts, folder)
        read = time.perf_counter() - began - asked
        assert frame.height == n
    print(
        f"{n:,} prompts with nothing to ask: recognized in {asked:.1f} s (aim 30 s), {n / asked:,.0f}/s (aim 30,000); "
        f"responses read in {read:.1f} s",
        flush=True,
    )


def bench_lookup(n: int) -> None:
    """Looking 100,000 requests up among `n` answers."""
    keys = pl.select(pl.int_range(n).hash(1).cast(pl.String).str.zfill(32).alias("k")).to_series()
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), keys, parts=7)
        began = time.perf_counter()
        settled = Ledger(Path(name)).settled(keys.sample(100_000, seed=1))
        print(f"100,000 requests among {n:,} answers: looked up in {time.perf_counter() - began:.1f} s", flush=True)
        assert settled.answered.len() == 100_000


def bench_memory(url: str, n: int) -> None:
    """Memory while `n` prompts are queued: after a tenth and at the end."""
    spec = inference.ModelSpec(name="m", provider="openai", base_url=url, model="mock", connections=256)
    sizes: list[tuple[int, float]] = []

    def look(progress: inference.RequestProgress) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append((progress.done, pages * resource.getpagesize() / 2**20))

    with tempfile.TemporaryDirectory() as folder:
        inference.send_requests(spec, make_prompts(n), Path(folder), progress=look)
    early = next(size for done, size in sizes if done >= n / 10)
    print(f"{n:,} queued prompts: {early:.0f} MiB after a tenth, {sizes[-1][1]:.0f} MiB at the end", flush=True)


def bench_embedded(personas: int) -> None:
    """Personas × 16 items of about 360 tokens: pinned prefix against none (one prompt a persona, same engine)."""
    spec = inference.load_models(REPOSITORY / "dagster_home" / "models.yaml")["smollm2"]
    text = "They say that work, family, church, school, trust and government matter more than money or fame to them. "
    rows = [
        {
            "prompt_id": f"p{i}-{j}",
            "task": "t",
            "survey": "gss",
            "system": f"You are person {i}. " + text * 12,
            "user": f"Question {j}: " + text * 2 + "\nA) yes\nB) no\nC) maybe\nAnswer with the letter only.",
            "options": ["yes", "no", "maybe"],
            "elicitation": "letter",
            "group": f"g{i}",
            "data_use": "any",
        }
        for i in range(personas)
        for j in range(16)
    ]
    prompts = pl.DataFrame(rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = folder / "models"
        inference.send_requests(spec, prompts[:1], folder / "warm", cache_dir=cache)
        # One prompt of each persona: nothing is shared, which is what asking without a cache amounts to.
        inference.send_requests(
            spec, prompts.filter(pl.col("prompt_id").str.ends_with("-3")), folder / "a", cache_dir=cache
        )
        grouped = inference.send_requests(spec, prompts, folder / "b", cache_dir=cache)
        again = inference.send_requests(
            spec, prompts.sample(min(64, prompts.height // 4), seed=1, shuffle=True), folder / "c", cache_dir=cache
        )
        # As before there was a server per thread: one server with all threads.
        options = spec.options.model_copy(update={"servers": 1})
        in_turn = spec.model_copy(update={"options": options})
        inference.send_requests(in_turn, prompts, folder / "d", cache_dir=cache)
        one, other, turns = (inference.responses(spec, prompts, folder / f) for f in "bcd")
        keys = ["prompt_id", "option_logprobs", "text"]
        same, same_in_turn = (one.join(found, on=keys, how="semi").height for found in (other, turns))
        shared, alone, in_turns = (rate(folder / f) for f in "bad")
    tokens = grouped.prompt_tokens / grouped.answered
    print(
        f"embedded, {personas} × 16 prompts of {tokens:.0f} tokens: {shared:.2f}/s grouped, "
        f"{alone:.2f}/s unshared, {shared / alone:.1f} × (aim 2.3); "
        f"{in_turns:.2f}/s by one server with all threads, {shared / in_turns:.2f} × (aim 1.5); "
        f"bit-identical: {same} of {again.answered} in another order, {same_in_turn} of {one.height} by one server",
        flush=True,
    )


def rate(ledger: Path) -> float:
    """Requests per second, from when the first was sent to the end of the last, so without the first server's start."""
    times = Ledger(ledger).times()
    end = (times["asked_at"] / 1000 + times["latency"]).max()
    begin = times["asked_at"].min()
    assert isinstance(end, float) and isinstance(begin, int)
    return times.height / (end - begin / 1000)


OURS = """
import sys
from pathlib import Path
import polars as pl
from mpta_pipeline import inference
from tests.benchmarks.bench_engine import make_prompts
url, folder = sys.argv[1], Path(sys.argv[2])
spec = inference.ModelSpec(name="m", provider="openai", base_url=url, model="mock", connections=64)
prompts = make_prompts(2000)
inference.send_requests(spec, prompts, folder / "ledger")
frame = inference.responses(spec, prompts, folder / "ledger")
frame.group_by("task").agg((pl.col("text") == "A").mean(), pl.len()).write_parquet(folder / "figures.parquet")
"""
LM_EVAL_TASK = """
task: mpta_bench
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/items.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "A"
generation_kwargs: {max_gen_toks: 8, until: []}
metric_list: [{metric: exact_match}]
"""
INSPECT_TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import json_dataset
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match
from inspect_ai.solver import generate

@task
def mpta_bench():
    samples = json_dataset("FOLDER/items.jsonl", lambda r: Sample(input=r["question"], target="A"))
    return Task(dataset=samples, solver=generate(), scorer=match())
"""


def served(url: str) -> int:
    """Requests that the server has answered so far."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/__log") as response:
        return int(orjson.loads(response.read())["served"])


def bench_peers(url: str, venv: Path) -> None:
    """2,000 questions at 64 connections with ours, lm-evaluation-harness and inspect_ai: whole processes.

    A peer that fails leaves with exit code 0 all the same, and fast: only a run that asked every question counts.
    """
    items = make_prompts(2000).select(question=pl.col("system") + "\n\n" + pl.col("user"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items.write_ndjson(folder / "items.jsonl")
        (folder / "mpta_bench.yaml").write_text(LM_EVAL_TASK.replace("FOLDER", name))
        (folder / "peer.py").write_text(INSPECT_TASK.replace("FOLDER", name))
        arguments = f"base_url={url}/chat/completions,model=mock,num_concurrent=64"
        commands = {
            "mpta": [sys.executable, "-c", OURS, url, name],
            "lm-evaluation-harness": [
                *(str(venv / "bin" / "lm_eval"), "--model", "local-chat-completions", "--model_args", arguments),
                *("--apply_chat_template", "--tasks", "mpta_bench", "--include_path", name, "--output_path", name),
            ],
            # The provider of compatible servers: `openai/` would speak the Responses API. All else as delivered.
            "inspect_ai": [
                *(str(venv / "bin" / "inspect"), "eval", "peer.py", "--model", "openai-api/mock/mock"),
                *("--model-base-url", url, "--max-connections", "64", "--display", "none", "--log-dir", f"{name}/logs"),
            ],
        }
        environment = os.environ | {
            **dict.fromkeys(("OPENAI_API_KEY", "MOCK_API_KEY"), "none"),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(REPOSITORY),
        }
        took: dict[str, tuple[float, float]] = {}
        for peer, command in commands.items():
            asked, used, began = served(url), cpu(resource.RUSAGE_CHILDREN), time.perf_counter()
            done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
            seconds, used = time.perf_counter() - began, cpu(resource.RUSAGE_CHILDREN) - used
            took[peer] = seconds, used
            asked = served(url) - asked
            if done.returncode or asked < 2000:
                print(f"{peer}: failed after {asked} requests: {done.stderr[-500:]}", flush=True)
                continue
            ours = took["mpta"]
            print(
                f"{peer}: {seconds:.1f} s, {2000 / seconds:.0f}/s, {seconds / ours[0]:.1f} × our time; "
                f"{used:.1f} s CPU, {used / ours[1]:.1f} × ours",
                flush=True,
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedded", action="store_true", help="measure the embedded model too (minutes)")
    parser.add_argument("--queue", type=int, default=100_000, help="prompts queued in the measurement of memory")
    parser.add_argument("--peers", type=Path, help="virtual environment with lm_eval[api], inspect_ai and openai")
    parser.add_argument("--personas", type=int, default=16, help="personas asked of the embedded model")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    command = [sys.executable, str(REPOSITORY / "tests" / "inference" / "server.py"), "--latency", str(LATENCY)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        bench_asking(url)
        if options.peers is not None:
            bench_peers(url, options.peers.absolute())
        bench_memory(url, options.queue)
    finally:
        server.kill()
    bench_reuse(100_000)
    bench_reuse(1_000_000)
    bench_lookup(10_000_000)
    if options.embedded and importlib.util.find_spec("xllamacpp") is not None:
        bench_embedded(options.personas)


if __name__ == "__main__":
    main()
