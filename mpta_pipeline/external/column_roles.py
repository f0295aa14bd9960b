"""Recognize the columns of a foreign file by the names that people use. What was assumed is noted, not guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.external.file_formats import parse_nested

# Role → names that files use for it, best first. Compared in lower case, with anything but letters and digits as "_".
ALIASES: Mapping[str, tuple[str, ...]] = {
    "item_id": ("item_id", "item", "question_id", "qid", "qkey", "question_key", "variable", "var", "doc_id"),
    "question": ("question", "question_text", "item_text", "query", "input_template"),
    "context": ("context", "passage", "story"),
    "answer": (
        "answer", "model_answer", "llm_answer", "ai_answer", "model_response", "llm_response", "response", "prediction",
        "predicted", "pred", "option", "choice", "selected", "selected_option", "model_output", "output", "completion",
        "pred_label", "pred_idx", "predicted_text", "model_resp", "llm_resp",
        "text",
    ),
    "own_answer": (
        "own_answer", "human_answer", "human_response", "human_resp", "human", "respondent_answer",
        "participant_answer", "person_answer", "true_answer", "real_answer", "actual_answer", "actual", "observed",
    ),
    "key": (
        "key", "gold", "gold_idx", "gold_answer", "label", "target", "correct_answer", "correct_option", "correct_idx",
        "answer_key", "ground_truth", "truth", "y_true", "expected",
    ),
    "options": ("options", "choices", "answer_choices", "option_texts", "shown_options", "references"),
    "probabilities": (
        "probabilities", "p_vec", "probs", "prob", "option_probs", "option_probabilities", "probability",
        "model_probabilities", "model_probs", "model_distribution", "model_dist", "model_shares", "d_m", "p_model",
        "response_distribution",
    ),
    "people_shares": (
        "people_shares", "human_distribution", "human_dist", "human_probs", "human_probabilities", "human_shares",
        "d_h", "p_human", "selections",
    ),
    "places": ("places", "ordinal", "option_ordinal", "option_ordinals", "option_scores"),
    "logprobs": ("logprobs", "option_logprobs", "log_probs", "log_probabilities", "loglikelihoods"),
    "respondent_id": (
        "respondent_id", "persona_id", "persona", "respondent", "person_id", "person", "participant_id", "participant",
        "user_id", "user", "subject_id", "twin_id", "pid", "yearid", "caseid", "agent_id",
    ),
    "model": ("model", "model_name", "model_id", "llm"),
    "condition": ("condition",),
    "survey": ("survey",),
    "wave": ("wave",),
    "weight": ("weight", "survey_weight", "wt", "weights", "wtssps", "wtssall", "pspwght", "w_weight"),
    "order_id": ("order_id", "option_order_id"),
    "repeat_id": ("repeat_id", "repeat", "replicate", "trial", "epoch", "run_id"),
    "status": ("status",),
    "cluster": ("cluster", "cluster_id", "battery", "template", "question_family"),
    "category": ("category", "topic", "domain"),
    "stratum": ("stratum", "strata", "vstrat"),
    "psu": ("psu", "vpsu"),
    "example_id": ("example_id",),
}  # fmt: skip
# A name that may also mean the key, if the file has a model's answer under another name.
_EITHER_WAY = "answer"
MEANING: Mapping[str, str] = {
    "item_id": "which question was answered",
    "question": "the question's text",
    "context": "text before the question",
    "answer": "the model's answer",
    "own_answer": "what the person answered",
    "key": "the right answer",
    "options": "the options, in the order shown",
    "probabilities": "a probability per option",
    "logprobs": "a log-probability per option",
    "people_shares": "people's share per option",
    "places": "place of each option on its scale",
    "respondent_id": "whose answer it is",
    "model": "which model answered",
    "condition": "what the model was told of the person",
    "survey": "survey of the person",
    "wave": "wave of the survey",
    "weight": "survey weight",
    "order_id": "order of the options",
    "repeat_id": "repeat of the same prompt",
    "status": "what became of the request",
    "cluster": "questions that belong together",
    "category": "category of the question",
    "stratum": "sampling stratum",
    "psu": "primary sampling unit",
    "example_id": "number of BBQ's example within its category",
}
# Families of columns with one option, or one probability, each.
_LISTS = ("probabilities", "logprobs", "people_shares", "places")
_SEVERAL = re.compile(r"^(?:[\[{(]|defaultdict|-?[\d.]+[|;\s]+-?[\d.])")
_OPTION_FAMILY = re.compile(r"^(option|choice|opt|ans)_?([a-z]|\d{1,2})$")
_SHARE_FAMILY = re.compile(r"^(p|prob|probability|logprob|lp)_?([a-z]|\d{1,2})$")


def plain(name: str) -> str:
    """Return a column's name as it is compared: lower case, "_" for anything but letters and digits."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


@dataclass(frozen=True)
class ColumnRoles:
    """How a file's columns were understood.

    Attributes:
        frame: The rows, columns named by their roles; further columns under their own names.
        roles: Role → column (or columns) of the file.
        unused: Columns that have no role and define no groups.
        notes: What was assumed.
    """

    frame: pl.DataFrame
    roles: Mapping[str, str]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def understand(
    frame: pl.DataFrame,
    file: Path,
    *,
    named: Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
    roles: Sequence[str] = tuple(ALIASES),
) -> ColumnRoles:
    """Name the columns of a table by their roles.

    Args:
        frame: Rows as read.
        file: For messages.
        named: Role → column, as the user says; takes precedence over names.
        keep: Columns that keep their own name as well (groups).
        roles: Roles to look for.

    Raises:
        ValidationError: A column that the user names is missing, a role is unknown, or two columns may be answers.
    """
    given = dict(named or {})
    if wrong := [r for r in given if r not in ALIASES]:
        raise ValidationError(
            "There is no such role of a column", variable="--columns", value=wrong[0],
            remedy=f"use ROLE=COLUMN with one of the roles {', '.join(ALIASES)}",
        )  # fmt: skip
    if absent := [c for c in given.values() if c not in frame.columns]:
        raise ValidationError(
            "The file has no such column", file=file, variable=absent[0],
            remedy=f"choose one of {', '.join(frame.columns)}",
        )  # fmt: skip
    names: dict[str, list[str]] = {}
    for column in frame.columns:
        names.setdefault(plain(column), []).append(column)
    notes: list[str] = []
    for role in roles:
        if role in given:
            continue
        found = [c for alias in ALIASES[role] for c in names.get(alias, ()) if c not in given.values()]
        found = [c for c in found if frame[c].null_count() < frame.height or role in ("answer", "respondent_id")]
        if (
            role == "own_answer"
            and "people_shares" in roles
            and (shares := [c for c in found if _holds_mapping(frame[c])])
        ):
            given.setdefault("people_shares", shares[0])  # a mapping holds the answers of many
        found = [c for c in found if _may_be(role, frame[c])]
        if not found:
            continue
        # In different files the same name means the model's answer or the right one.
        if role == "answer" and len(found) > 1 and plain(found[0]) == _EITHER_WAY and "key" not in given:
            others = [c for c in found[1:] if plain(c) not in ("option", "choice", "text")]
            if others and not any(names.get(alias) for alias in (*ALIASES["key"], *ALIASES["own_answer"])):
                raise ValidationError(
                    f"{found[0]} and {others[0]} may both be the model's answer, or one of them the key",
                    file=file,
                    variable=found[0],
                    remedy=f"specify both: --columns answer={others[0]},key={found[0]} (or own_answer={found[0]})",
                )
        given[role] = found[0]
        if len(found) > 1 and role in ("answer", "own_answer", "key", "respondent_id", "weight"):
            notes.append(
                f"{found[0]} is taken as {MEANING[role]}, {', '.join(found[1:])} is not used; "
                f"--columns {role}=… chooses another"
            )
    if "respondent_id" in given:  # tables with gaps write whole numbers as 12.0
        who = pl.col(given["respondent_id"]).cast(pl.String).str.strip_chars().str.replace(r"^(\d+)\.0$", "$1")
        frame = frame.with_columns(who.alias(given["respondent_id"]))
    taken = set(given.values())
    frame, families = _families(frame, given)
    renamed = [pl.col(c).alias(role) for role, c in given.items()]
    kept = [c for c in frame.columns if (c not in taken or c in keep) and c not in given and c not in families.values()]
    clash = [pl.col(c).alias(c) for c in keep if c in given and given[c] != c]
    shown = {role: given[role] for role in ALIASES if role in given} | {
        role: columns for role, columns in families.items() if role not in given
    }
    members = {*families, *(c for columns in families.values() for c in columns.split(", "))}
    made = frame.select(
        *renamed, *(pl.col(r) for r in families if r not in given), *(c for c in kept if c not in families)
    )
    return ColumnRoles(
        made.with_columns(clash) if clash else made,
        shown,
        tuple(c for c in kept if c not in keep and c not in members and not c.startswith("_")),
        tuple(notes),
    )


def without_missing(frame: pl.DataFrame, column: str = "own_answer") -> pl.DataFrame:
    """Return the rows with the missing-value marks of Stata, R and pandas (`.`, `.a`, `NA`, `NaN`) emptied."""
    if column not in frame.columns:
        return frame
    # A question may have an option "NA"; then its options are shown.
    marks = r"^(?:\.[a-z]?)$" if "options" in frame.columns else r"^(?i:\.[a-z]?|#?n/?a|<na>|nan|null)$"
    text = pl.col(column).cast(pl.String)
    return frame.with_columns(pl.when(~text.str.strip_chars().str.contains(marks)).then(text).alias(column))


def _may_be(role: str, values: pl.Series) -> bool:
    """Return whether a column contains what its role needs."""
    if role == "key":  # whether an answer was right is not a key
        return values.dtype != pl.Boolean and not _true_or_false(values)
    if role == "own_answer":
        return not _holds_mapping(values)
    # One number, such as a confidence, is not a list.
    return role not in _LISTS or _holds_lists(values)


def _holds_lists(values: pl.Series) -> bool:
    if isinstance(values.dtype, pl.List | pl.Array | pl.Struct):
        return True
    first = values.drop_nulls().head(1)
    return values.dtype == pl.String and bool(len(first)) and bool(_SEVERAL.match(first[0].strip()))


def _holds_mapping(values: pl.Series) -> bool:
    if isinstance(values.dtype, pl.Struct):
        return True
    first = values.drop_nulls().head(1)
    return values.dtype == pl.String and bool(len(first)) and first[0].lstrip().startswith("{")


def _true_or_false(values: pl.Series) -> bool:
    if values.dtype != pl.String:
        return False
    seen = set(values.drop_nulls().str.to_lowercase().unique())
    return bool(seen) and seen <= {"true", "false"}


def _families(frame: pl.DataFrame, given: Mapping[str, str]) -> tuple[pl.DataFrame, dict[str, str]]:
    """Combine options and probabilities that have a column each into one column of lists."""
    found: dict[str, str] = {}
    for role, pattern in (("options", _OPTION_FAMILY), ("probabilities", _SHARE_FAMILY)):
        if role in given or (role == "probabilities" and "logprobs" in given):
            continue
        families: dict[str, list[tuple[str, str]]] = {}
        for column in frame.columns:
            if (match := pattern.match(plain(column))) and column not in given.values():
                families.setdefault(match[1], []).append((match[2], column))
        whole = [(stem, sorted(of, key=_place)) for stem, of in families.items() if len(of) > 1 and _in_row(of)]
        if not whole:
            continue
        stem, members = whole[0]
        columns = [c for _, c in members]
        name = "logprobs" if stem in ("logprob", "lp") else role
        if role == "options":
            listed = pl.concat_list(pl.col(c).cast(pl.String) for c in columns).list.drop_nulls()
        else:
            listed = pl.concat_list(pl.col(c).cast(pl.Float64, strict=False) for c in columns)
        frame = frame.with_columns(pl.when(listed.list.len() > 0).then(listed).alias(name))
        found[name] = ", ".join(columns)
    return frame, found


def _place(member: tuple[str, str]) -> int:
    mark = member[0]
    return int(mark) if mark.isdigit() else ord(mark)


def _in_row(members: list[tuple[str, str]]) -> bool:
    """Return whether the marks are a, b, c … or consecutive numbers from 0 or 1."""
    places = sorted(_place(m) for m in members)
    start = {0, 1, ord("a")}
    return places[0] in start and places == list(range(places[0], places[0] + len(places)))


def listed(values: pl.Series) -> pl.Series:
    """Return a column of lists of texts, from lists, JSON, Python, or texts separated by `|`, `;` or line breaks."""
    if isinstance(values.dtype, pl.List | pl.Array):
        return values.cast(pl.List(pl.String))
    unique = values.cast(pl.String).drop_nulls().unique().to_list()
    made = {text: _list_of(text) for text in unique}
    return pl.Series(values.name, [made.get(v) for v in values.cast(pl.String).to_list()], dtype=pl.List(pl.String))


def _list_of(text: str) -> list[str] | None:
    value = parse_nested(text)
    if isinstance(value, dict):
        # Options by letter, or datasets' own {"text": [...], "label": [...]}.
        value = value.get("text") if isinstance(value.get("text"), list) else list(value.values())
    if isinstance(value, list | tuple):
        return [str(v) for v in value if v is not None] or None
    inner = text.strip()
    # An array as numpy prints it: quoted texts one after the other.
    if inner.startswith("[") and (quoted := re.findall(r"'([^']*)'|\"([^\"]*)\"", inner)):
        return [a or b for a, b in quoted]
    for mark in ("|", "\n", ";"):
        if mark in inner:
            return [part.strip() for part in inner.split(mark) if part.strip()]
    return None


def numbers(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return lists of numbers, and their names if they are mappings (else null).

    Lists, JSON, Python and printed numpy arrays are read; NaN stays NaN.
    """
    if isinstance(values.dtype, pl.List | pl.Array):
        return values.cast(pl.List(pl.Float64), strict=False), pl.Series([None] * len(values), dtype=pl.List(pl.String))
    texts = values.cast(pl.String).to_list()
    known: dict[str, tuple[list[float | None] | None, list[str] | None]] = {}
    for text in dict.fromkeys(t for t in texts if t is not None):
        known[text] = _numbers_of(text)
    pairs = [known.get(t, (None, None)) if t is not None else (None, None) for t in texts]
    return (
        pl.Series([p[0] for p in pairs], dtype=pl.List(pl.Float64), strict=False),
        pl.Series([p[1] for p in pairs], dtype=pl.List(pl.String)),
    )


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _numbers_of(text: str) -> tuple[list[float | None] | None, list[str] | None]:
    inner = text.strip()
    try:
        value: Any = json.loads(inner)
    except ValueError:
        value = parse_nested(inner)
    if isinstance(value, dict):
        return [_number(v) for v in value.values()], [str(k) for k in value]
    if isinstance(value, list | tuple):
        return [_number(v) for v in value], None
    if inner.startswith("[") and inner.endswith("]"):
        return [_number(v) for v in inner[1:-1].replace(",", " ").split()], None
    parts = [p for p in re.split(r"[|;\s]+", inner) if p]
    return ([_number(p) for p in parts], None) if len(parts) > 1 else ([float("nan")], None)
