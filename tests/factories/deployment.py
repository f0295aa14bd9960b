"""A small deployment for tests: survey files that the project makes itself, a loopback model, a configuration.

The survey files follow the codebook of the demo's GSS extract with invented respondents; no real row is in here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import polars as pl
import pyreadstat
import yaml

LABELS = {
    "sex": {1: "male", 2: "female"},
    "race": {1: "white", 2: "black", 3: "other"},
    "age": {89: "89 or older"},
    "hispaniccat": {1: "not hispanic", 2: "mexican, mexican american, chicano/a"},
    "relactiv": {1: "never", 2: "less than once a year", 3: "about once or twice a year", 4: "several times a year"},
    "partyid": dict(
        enumerate(
            [
                "strong democrat",
                "not str democrat",
                "ind,near dem",
                "independent",
                "ind,near rep",
                "not str republican",
                "strong republican",
                "other party",
            ]
        )
    ),
} | {v: {0: "no", 1: "yes"} for v in ("abany", "abdefect", "abnomore", "abhlth", "abpoor", "abrape", "absingle")}
NAMES = {
    "id": "respondent id number",
    "year": "gss year for this respondent",
    "age": "age of respondent",
    "sex": "respondents sex",
    "race": "race of respondent",
    "educ": "highest year of school completed",
    "partyid": "political party affiliation",
    "hispaniccat": "hispanic specified",
    "relactiv": "how often does r take part in relig activities",
    "abany": "abortion if woman wants for any reason",
    "abdefect": "strong chance of serious defect",
    "abnomore": "married--wants no more children",
    "abhlth": "womans health seriously endangered",
    "abpoor": "low income--cant afford more children",
    "abrape": "pregnant as result of rape",
    "absingle": "not married",
}


def respondents(year: int, n: int = 60, *, seed: int = 1, first_id: int = 1) -> pl.DataFrame:
    """Invented respondents in the codebook of the GSS extract."""
    rng = np.random.default_rng([seed, year])
    columns: dict[str, object] = {
        "id": np.arange(first_id, first_id + n),
        "year": np.full(n, year),
        "age": rng.integers(18, 90, n),
        "sex": rng.integers(1, 3, n),
        "race": rng.integers(1, 4, n),
        "educ": rng.integers(0, 21, n),
        "partyid": rng.integers(0, 8, n),
        "hispaniccat": rng.integers(1, 3, n),
        "relactiv": rng.integers(1, 5, n),
    }
    columns |= {v: rng.integers(0, 2, n) for v in LABELS if v.startswith("ab")}
    return pl.DataFrame(columns).with_columns(pl.all().cast(pl.Float64))


def write_wave(folder: Path, frame: pl.DataFrame, name: str | None = None) -> Path:
    """Write respondents as a labelled .sav file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or f"wave_{int(frame['year'][0])}.sav")
    pyreadstat.write_sav(
        frame,
        str(path),
        column_labels=[NAMES[c] for c in frame.columns],
        variable_value_labels={c: LABELS[c] for c in frame.columns if c in LABELS},
        file_label="GSS extract",
    )
    return path


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible chat endpoint that answers from a hash of the request and counts what it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.by_model: Counter[str] = Counter()
        self.delay = 0.0
        # Name of a model of whose replies each second names no option.
        self.mumbling: str | None = None
        # Name of a model whose key is refused.
        self.refuse: str | None = None
        # Called once, while the next request waits for its answer.
        self.meanwhile: Callable[[], None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def calls(self) -> int:
        return sum(self.asked.values())


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "loopback", "object": "model"}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(body)
        if request.get("model") == self.server.refuse:
            self._send({"error": {"message": "this key may not"}}, status=401)
            return
        meanwhile, self.server.meanwhile = self.server.meanwhile, None
        if meanwhile:
            meanwhile()
        asked = request["prompt"] if "prompt" in request else request["messages"]
        text = json.dumps(asked, sort_keys=True) + request.get("model", "")
        self.server.asked[text] += 1
        self.server.by_model[request.get("model", "")] += 1
        if self.server.delay:
            threading.Event().wait(self.server.delay)
        h = hashlib.sha256(text.encode()).digest()
        weights = np.log(np.array([1 + b for b in h[:8]]) / sum(1 + b for b in h[:8]))
        letters = "ABCDEFGH"
        order = np.argsort(-weights)
        top = [{"token": letters[i], "logprob": float(weights[i]), "bytes": [ord(letters[i])]} for i in order]
        # The picked letter is always A or B, so that it is an option of every item.
        picked = "AB"[h[9] % 2]
        if request.get("model") == self.server.mumbling and h[10] % 2:
            picked = "Hmm."
        if self.path.endswith("/messages"):  # Anthropic
            said = [{"type": "text", "text": picked}]
            used = {"input_tokens": len(text) // 4, "output_tokens": 1}
            self._send({"model": request["model"], "content": said, "stop_reason": "end_turn", "usage": used})
            return
        if "prompt" in request:  # a base model
            top_here = {one["token"]: one["logprob"] for one in top}
            likely = {"tokens": [picked], "token_logprobs": [top[0]["logprob"]], "top_logprobs": [top_here]}
            said = [{"index": 0, "text": picked, "finish_reason": "stop", "logprobs": likely}]
            used = {"prompt_tokens": len(text) // 4, "completion_tokens": 1}
            self._send({"model": request["model"], "choices": said, "usage": used})
            return
        self._send(
            {
                "id": "x",
                "object": "chat.completion",
                "model": request.get("model"),
                "system_fingerprint": "fp_1",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": picked},
                        "logprobs": {"content": [{**top[0], "token": picked, "top_logprobs": top}]},
                    }
                ],
                "usage": {"prompt_tokens": len(text) // 4, "completion_tokens": 1, "total_tokens": len(text) // 4 + 1},
            }
        )

    def _send(self, document: object, status: int = 200) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving() -> Iterator[Server]:
    """A running server on a free loopback port."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


STUDY = {
    "name": "test",
    "panel": {"size": 12, "strata": ["sex"]},
    "conditions": ["persona", "no_persona"],
    "tasks": {
        "value_alignment": {"kind": "value_alignment", "items": 3, "items_per_persona": 2},
        "sample_myths": {"kind": "truthfulqa_binary", "items": 4, "items_per_persona": 2},
    },
    "figures": {"dimensions": ["sex"], "min_personas": 5, "bootstrap": 50},
}


def model(url: str) -> dict[str, object]:
    """An entry of models.yaml for the loopback server."""
    return {"provider": "openai", "base_url": url, "model": "loopback"}


class World:
    """Folders and configuration of one deployment; the environment must point to it (`World.environment`)."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self.config, self.data, self.surveys = root / "config", root / "data", root / "surveys"
        for folder in (self.config, self.data, self.surveys):
            folder.mkdir(parents=True)
        self.study(STUDY)
        self.models({"loopback": model(url)})
        (self.config / "surveys.yaml").write_text("{}\n")
        # The deployment's own settings: what they do to a run is tested with it.
        shutil.copy(Path(__file__).parents[2] / "dagster_home" / "dagster.yaml", self.config)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "MPTA_CONFIG_DIR": str(self.config),
            "MPTA_DATA_DIR": str(self.data),
            "MPTA_SURVEY_DIR": str(self.surveys),
            "DAGSTER_HOME": str(self.config),
        }

    def study(self, document: dict[str, object]) -> None:
        (self.config / "study.yaml").write_text(yaml.safe_dump(document))

    def models(self, entries: dict[str, dict[str, object]]) -> None:
        (self.config / "models.yaml").write_text(yaml.safe_dump({"models": entries}))
