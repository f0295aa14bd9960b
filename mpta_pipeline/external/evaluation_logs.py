"""Read logs of other evaluation programs: inspect_ai (`.eval`, `.json`) and lm-evaluation-harness (`samples_*.jsonl`).

Both contain the options shown and the option chosen for each sample, and so contain their items.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import ConfigError, ValidationError
from mpta_pipeline.external.file_formats import from_records

_LM_EVAL = {"doc_id", "doc", "target", "filtered_resps"}
_SCALAR = (str, int, float, bool)
_NAMED = re.compile(r"^samples_(.+?)_\d{4}-\d{2}-\d{2}T")


@dataclass(frozen=True)
class Log:
    """Rows in the documented layout, and what a reader should know about how they were read."""

    frame: pl.DataFrame
    notes: tuple[str, ...]


def is_lm_eval(path: Path) -> bool:
    """Return whether a JSON lines file is a log of samples of lm-evaluation-harness."""
    if path.suffix.lower() != ".jsonl" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        line = next((text for text in file if text.strip()), "")
    try:
        first = json.loads(line)
    except ValueError:
        return False
    return isinstance(first, dict) and set(first) >= _LM_EVAL


def is_inspect(path: Path) -> bool:
    """Return whether a file is a log of inspect_ai."""
    if path.suffix.lower() == ".eval":
        return True
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        start = file.read(4000)
    return '"eval"' in start and '"task"' in start and '"run_id"' in start


# --- inspect_ai -----------------------------------------------------------------------------------------------------


def read_inspect(path: Path) -> Log:
    """Read a log by inspect_ai's own reader.

    Raises:
        ConfigError: inspect_ai is not installed.
        ValidationError: The log cannot be read, or no sample has options.
    """
    if not path.is_file():
        raise ValidationError("There is no such file", file=path, remedy="give the path of a log")
    try:
        from inspect_ai.log import read_eval_log
    except ImportError:
        raise ConfigError(
            "Reading logs of inspect_ai needs the package inspect_ai, which is not installed",
            file=path,
            remedy="pip install 'inspect_ai>=0.3.100' (the extra `inspect` of this package)",
        ) from None
    try:
        log = read_eval_log(str(path))
    except Exception as failure:  # its reader raises whatever zip, JSON and pydantic raise
        raise ValidationError(
            f"The log cannot be read by inspect_ai: {(str(failure) or type(failure).__name__).splitlines()[0]}",
            file=path,
            remedy="copy the log again, or upgrade inspect_ai",
        ) from None
    return rows_of_inspect(log, path)


def rows_of_inspect(log: Any, path: Path) -> Log:
    """Return one row per sample and epoch of a log that inspect_ai has read.

    The answer is what the scorer `choice` took from the response (letters in the order of the sample's choices), else
    the whole response. Fields of a sample's metadata are columns: `respondent_id`, `weight`, groups.
    """
    records, without, several = [], 0, 0
    for sample in log.samples or []:
        choices = list(sample.choices or [])
        target = sample.target if isinstance(sample.target, str) else list(sample.target)
        if not choices:
            without += 1
            continue
        if not isinstance(target, str) and len(target) == 1:
            target = target[0]
        if not isinstance(target, str):
            several += 1
            continue
        metadata = {k: v for k, v in (sample.metadata or {}).items() if isinstance(v, _SCALAR)}
        answer, status = _inspect_answer(sample)
        records.append(
            {
                **metadata,
                "item_id": str(sample.metadata.get("item_id", sample.id)) if sample.metadata else str(sample.id),
                "question": _inspect_question(sample.input),
                "options": choices,
                "key": target,
                "answer": answer,
                "status": status,
                "model": str(log.eval.model),
                "repeat_id": int(sample.epoch or 1) - 1,
            }
        )
    notes = [f"{path.name}: log of inspect_ai, task {log.eval.task}, model {log.eval.model}, status {log.status}"]
    if log.status != "success":
        notes.append(f"{path.name}: the evaluation did not finish ({log.status}); missing samples are ignored")
    if without:
        notes.append(f"{without:,} samples have no choices and are left out: only multiple choice can be scored")
    if several:
        notes.append(f"{several:,} samples have several right answers and are left out")
    if not records:
        raise ValidationError(
            "No sample of the log has choices and one right answer",
            file=path,
            variable="choices",
            remedy="score logs of tasks with the solver multiple_choice",
        )
    return Log(from_records(records), tuple(notes))


def _inspect_question(value: Any) -> str:
    if isinstance(value, str):
        return value
    texts = [m.text if hasattr(m, "text") else str(getattr(m, "content", m)) for m in value]
    return texts[-1] if texts else ""


def _inspect_answer(sample: Any) -> tuple[str | None, str | None]:
    if sample.error is not None:
        return None, "error"
    scores = sample.scores or {}
    chosen = scores.get("choice") or next((s for s in scores.values() if s.answer), None)
    if chosen is not None and chosen.answer:
        return str(chosen.answer), None
    reply = sample.output.completion if sample.output is not None else ""
    return (reply, None) if reply else (None, "error")


# --- lm-evaluation-harness ------------------------------------------------------------------------------------------


def read_lm_eval(path: Path) -> Log:
    """Read `samples_<task>_<time>.jsonl`, as `--log_samples` writes it.

    In multiple-choice tasks the options are the continuations, their probabilities follow from the log-likelihoods, and
    the most likely one is the answer (`acc`, not `acc_norm`). The model is the folder's name, as lm-eval names it.

    Raises:
        ValidationError: No sample has options.
    """
    records, without, filters = [], 0, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as failure:
            raise ValidationError(
                f"The file cannot be read as jsonl: line {number}: {failure}", file=path, remedy="copy the log again"
            ) from None
        name = row.get("filter", "none")
        if name not in filters:
            filters.append(name)
        if name != filters[0]:
            continue
        record = _lm_eval_record(row)
        if record is None:
            without += 1
            continue
        records.append(record)
    if not records:
        raise ValidationError(
            "No sample of the log has options",
            file=path,
            variable="arguments",
            remedy="score logs of tasks whose output_type is multiple_choice",
        )
    task = match[1] if (match := _NAMED.match(path.name)) else path.stem.removeprefix("samples_")
    model = path.parent.name.replace("__", "/") if path.parent.name else "external"
    frame = from_records([{**r, "model": r.get("model", model)} for r in records])
    notes = [f"{path.name}: log of lm-evaluation-harness, task {task}, model {model} (the folder's name)"]
    if "probabilities" in frame.columns or "logprobs" in frame.columns:
        notes.append("the most likely continuation is the answer, as in lm-eval's acc (acc_norm divides by length)")
    if len(filters) > 1:
        notes.append(f"of the filters {', '.join(filters)}, the first counts")
    if without:
        notes.append(f"{without:,} samples have no options and are left out: only multiple choice can be scored")
    return Log(frame, tuple(notes))


def _arguments(row: Mapping[str, Any]) -> list[list[Any]]:
    """Return the arguments of each request: a list of lists, or since 0.4.3 a mapping of mappings."""
    given = row.get("arguments") or []
    if isinstance(given, dict):
        return [list(of.values()) if isinstance(of, dict) else list(of) for of in given.values()]
    return [list(of) for of in given]


def _log_likelihood(reply: Any) -> float | None:
    """Return the log-likelihood of a response [number, is greedy]; None for generated text."""
    while isinstance(reply, list) and len(reply) == 1:
        reply = reply[0]
    if isinstance(reply, list) and len(reply) == 2 and str(reply[1]) in ("True", "False", "true", "false"):
        try:
            return float(reply[0])
        except (TypeError, ValueError):
            return float("nan")
    return None


def _lm_eval_record(row: Mapping[str, Any]) -> dict[str, Any] | None:
    doc = row["doc"] if isinstance(row["doc"], dict) else {}
    arguments, replies = _arguments(row), row["filtered_resps"]
    likely = [_log_likelihood(reply) for reply in replies]
    shown = _choices(doc)
    record: dict[str, Any] = {
        k: v for k, v in doc.items() if isinstance(v, _SCALAR) and k not in ("answer", "options", "label", "target")
    }
    if likely and all(x is not None for x in likely) and len(arguments) == len(likely):
        # Likelihoods without a context, for mutual information, say nothing about the answer.
        used = [i for i, of in enumerate(arguments) if str(of[0]) != "" or len({str(a[0]) for a in arguments}) == 1]
        texts = [str(arguments[i][1]).strip() for i in used]
        if len(texts) < 2:
            return None
        options = shown if shown is not None and len(shown) == len(texts) and len(set(shown)) == len(shown) else texts
        record |= {"options": options, "logprobs": [likely[i] for i in used]}
        question = str(arguments[used[0]][0])
    elif shown is not None and replies:
        reply = replies[0]
        while isinstance(reply, list) and reply:
            reply = reply[0]
        record |= {"options": shown, "answer": None if reply in (None, [], "[invalid]") else str(reply)}
        options, question = shown, str(arguments[0][0]) if arguments else ""
    else:
        return None
    if len(set(options)) < len(options):
        return None
    asked = doc.get("question") or doc.get("Question") or doc.get("query") or question
    record |= {
        "item_id": str(doc.get("item_id", row["doc_id"])),
        "question": str(asked),
        "key": _key(row, doc, options),
    }
    category = doc.get("category") or doc.get("Category") or doc.get("subject")
    if category is not None:
        record["category"] = str(category)
    return record if record["key"] is not None else None


def _choices(doc: Mapping[str, Any]) -> list[str] | None:
    """Return the options as the document lists them."""
    for name in ("choices", "options", "endings"):
        given = doc.get(name)
        if isinstance(given, dict):
            given = given.get("text")
        if isinstance(given, list) and len(given) > 1 and all(isinstance(x, str) for x in given):
            return [x.strip() for x in given]
    if isinstance(targets := doc.get("mc1_targets"), dict) and isinstance(targets.get("choices"), list):
        return [str(x) for x in targets["choices"]]
    return None


def _key(row: Mapping[str, Any], doc: Mapping[str, Any], options: Sequence[str]) -> str | None:
    """Return the right option's text: the target is its index from 0, its text or its letter."""
    target = str(row["target"]).strip()
    if re.fullmatch(r"\d+", target) and target not in options:
        return options[int(target)] if int(target) < len(options) else None
    if target in options:
        return target
    letter = re.fullmatch(r"\(?([A-Z])\)?\.?", target)
    if letter and ord(letter[1]) - ord("A") < len(options):
        return options[ord(letter[1]) - ord("A")]
    return None
