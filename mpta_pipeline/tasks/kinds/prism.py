"""Make items from PRISM: the opening prompt of a participant, to be answered as they prefer (Kirk et al. 2024).

The reference is the reply that the participant preferred among those of several models. What they said about
themselves in the survey can precede the prompt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.tasks.item_files import ItemFile, version
from mpta_pipeline.tasks.task_kind import Example, ItemRequest, TaskKind
from mpta_pipeline.tasks.text_scores import require

FILE = ItemFile(
    name="conversations.jsonl (or utterances.jsonl) and survey.jsonl",
    address="https://huggingface.co/datasets/HannahRoseKirk/prism-alignment",
    licence="CC BY 4.0 prompts, CC BY-NC 4.0 replies (HannahRoseKirk/prism-alignment)",
    pattern="*.jsonl",
)
_CONVERSATION = ("conversation_id", "user_id", "conversation_type", "conversation_history")
_UTTERANCE = ("conversation_id", "user_id", "conversation_type", "turn", "user_prompt", "model_response", "if_chosen")
_NOTHING = ("", "prefer not to say", "none", "n/a")
# Fields of the survey and their wording; nested fields by their simplified category.
_FACTS = (
    ("age", "Age: {}"),
    ("gender", "Gender: {}"),
    ("education", "Education: {}"),
    ("employment_status", "Employment: {}"),
    ("marital_status", "Marital status: {}"),
    ("location.reside_country", "Lives in: {}"),
    ("religion.simplified", "Religion: {}"),
    ("ethnicity.simplified", "Ethnicity: {}"),
    ("self_description", "Says about themselves: {}"),
    ("system_string", "Wishes of an AI: {}"),
)


def _lines(path: Path, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    """Read the rows of a JSON Lines file.

    Raises:
        TaskError: A line is not a JSON object, or lacks a field.
    """
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        absent = [name for name in needed if not isinstance(row, dict) or name not in row]
        if absent:
            raise TaskError(
                f"Line {number} of the item file does not have the structure of PRISM",
                file=path,
                variable=absent[0],
                remedy=f"get the file from {FILE.address}",
            )
        rows.append(row)
    return rows


def opening_turns(files: tuple[Path, ...]) -> pl.DataFrame:
    """Read the opening prompt and the preferred reply of each conversation.

    Reads `conversations.jsonl`, or `utterances.jsonl` if that is absent; both have the same content.

    Returns:
        conversation_id, user_id, conversation_type, prompt, reference.

    Raises:
        TaskError: Both files are absent, or one has another structure.
    """
    named = {path.name: path for path in files}
    rows: list[tuple[str, ...]] = []
    if path := named.get("conversations.jsonl"):
        for row in _lines(path, _CONVERSATION):
            turns = [t for t in row["conversation_history"] if t.get("turn") == 0]
            prompt = next((t["content"] for t in turns if t.get("role") == "user"), None)
            chosen = next((t["content"] for t in turns if t.get("role") == "model" and t.get("if_chosen")), None)
            if prompt and chosen:
                rows.append((row["conversation_id"], row["user_id"], row["conversation_type"], prompt, chosen))
    elif path := named.get("utterances.jsonl"):
        rows = [
            (
                row["conversation_id"],
                row["user_id"],
                row["conversation_type"],
                row["user_prompt"],
                row["model_response"],
            )
            for row in _lines(path, _UTTERANCE)
            if row["turn"] == 0 and row["if_chosen"] and row["user_prompt"] and row["model_response"]
        ]
    else:
        raise TaskError(
            "PRISM's conversations are absent",
            file=files[0].parent,
            variable="conversations.jsonl",
            remedy=f"get it from {FILE.address} and set the path to its folder",
        )
    names = ("conversation_id", "user_id", "conversation_type", "prompt", "reference")
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return frame.unique("conversation_id", keep="first", maintain_order=True)


def _field(row: dict[str, Any], name: str) -> str:
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    text = " ".join(str(value).split()) if value is not None else ""
    return "" if text.lower() in _NOTHING else text


def profiles(files: tuple[Path, ...]) -> dict[str, str]:
    """user_id → what the participant said about themselves; empty if they preferred not to.

    Raises:
        TaskError: survey.jsonl is absent or has another structure.
    """
    path = next((p for p in files if p.name == "survey.jsonl"), None)
    if path is None:
        raise TaskError(
            "PRISM's survey is absent",
            file=files[0].parent,
            variable="survey.jsonl",
            remedy=f"get it from {FILE.address}, or set the option profile: false to ask without it",
        )
    told = {}
    for row in _lines(path, ("user_id",)):
        facts = [form.format(text) for name, form in _FACTS if (text := _field(row, name))]
        told[str(row["user_id"])] = "\n".join(facts)
    return told


def prism_items(request: ItemRequest) -> pl.DataFrame:
    """One item per conversation: its opening prompt, after what its author said about themselves."""
    model = request.option("bertscore", None)
    require("prism", bertscore=model)
    frame = opening_turns(request.files)
    told = profiles(request.files) if request.option("profile", False) else {}
    about = [
        f"About the user who asks:\n{told[user]}" if told.get(user) else None for user in frame["user_id"].to_list()
    ]
    nothing = pl.lit([], pl.List(pl.String))
    return frame.with_columns(
        pl.format("prism_{}", "conversation_id").alias("item_id"),
        # One participant has several conversations.
        pl.format("prism|{}", "user_id").alias("cluster_id"),
        pl.col("conversation_type").alias("category"),
        pl.Series("context", about, dtype=pl.String),
        pl.col("prompt").alias("question"),
        nothing.alias("options"),
        nothing.alias("option_values"),
        pl.lit(False).alias("ordinal"),
        pl.lit(version(request.files, FILE)).alias("item_file"),
        pl.lit(model, pl.String).alias("bertscore_model"),
        pl.lit(FILE.licence).alias("licence"),
        pl.col("conversation_type").alias("spread"),
    )


KINDS = (
    TaskKind(
        "prism",
        "PRISM: the reply that a participant preferred to their opening prompt",
        prism_items,
        file=FILE,
        options={
            "profile": "Begin with what the author said about themselves in PRISM's survey (default false)",
            "bertscore": "Model that BERTScore uses, as bert-score names it; null: BERTScore is not computed",
        },
        example=Example(
            {
                "conversations.jsonl": '{"conversation_id": "c0", "user_id": "u0", '
                '"conversation_type": "values guided", '
                '"conversation_history": [{"turn": 0, "role": "user", '
                '"content": "Should I tell my friend the truth about her singing?"}, '
                '{"turn": 0, "role": "model", "content": "Kindly, yes.", "if_chosen": true}]}\n'
            }
        ),
    ),
)
