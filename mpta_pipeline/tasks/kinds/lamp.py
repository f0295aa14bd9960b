"""Make items from LaMP: tasks of users whose earlier texts or ratings are the profile (Salemi et al. 2024).

LaMP-1 to 3 are answered by an option, LaMP-4 to 7 by open text. The file of answers names its task.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.tasks.item_files import ItemFile, version
from mpta_pipeline.tasks.task_kind import Example, ItemRequest, TaskKind
from mpta_pipeline.tasks.text_scores import require

FILE = ItemFile(
    name="{train,dev}_questions.json and {train,dev}_outputs.json",
    address="https://lamp-benchmark.github.io/download",
    licence="CC BY-NC-SA 4.0 (LaMP-Benchmark/LaMP)",
    pattern="*.json",
)
# Answers of the tasks with options, in the order of the published evaluation. LaMP-2 now has movie tags; its first
# version had news categories. The answers of a file show which version it is.
_TAGS = (
    "sci-fi", "based on a book", "comedy", "action", "twist ending", "dystopia", "dark comedy", "classic",
    "psychology", "fantasy", "romance", "thought-provoking", "social commentary", "violence", "true story",
)  # fmt: skip
_NEWS = (
    "food & drink", "sports", "education", "parents", "religion", "travel", "business", "crime",
    "science & technology", "culture & arts", "entertainment", "politics", "women", "style & beauty", "healthy living",
)  # fmt: skip
LABELS: dict[str, tuple[tuple[str, ...], ...]] = {
    "LaMP_1": (("[1]", "[2]"),),
    "LaMP_2": (_TAGS, _NEWS),
    "LaMP_3": (("1", "2", "3", "4", "5"),),
}
TITLES = {
    "LaMP_1": "citation", "LaMP_2": "tag", "LaMP_3": "rating", "LaMP_4": "headline", "LaMP_5": "scholarly title",
    "LaMP_6": "email subject", "LaMP_7": "tweet",
}  # fmt: skip
_PROFILE = 4
_LONGEST = 400
_TEXT_ONLY = "Answer with the text alone, without an explanation."


def _json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        raise TaskError("The item file is not JSON", file=path, remedy=f"get it again from {FILE.address}") from None


def read_files(files: tuple[Path, ...]) -> tuple[str, list[dict[str, Any]], dict[str, str]]:
    """Read questions and answers.

    Returns:
        Task as the answers name it (LaMP_4), questions (id, input, profile), answers by id.

    Raises:
        TaskError: A file is absent or has another structure, or a question has no answer.
    """
    found = {part: [p for p in files if p.stem.endswith(part)] for part in ("questions", "outputs")}
    for part, paths in found.items():
        if len(paths) != 1:
            raise TaskError(
                f"LaMP needs one file of questions and one of answers; there are {len(paths)} *_{part}.json",
                file=files[0].parent,
                variable=part,
                remedy=f"set the path to a folder with one split of one task, e.g. dev_{part}.json from {FILE.address}",
            )
    (asked,), (answered,) = found["questions"], found["outputs"]
    questions, outputs = _json(asked), _json(answered)
    try:
        task = str(outputs["task"]).replace("-", "_")
        golds = {str(row["id"]): str(row["output"]).strip() for row in outputs["golds"]}
        rows: list[dict[str, Any]] = [
            {"id": str(q["id"]), "input": str(q["input"]), "profile": list(q["profile"])} for q in questions
        ]
    except (KeyError, TypeError):
        raise TaskError(
            "The item file does not have the structure of LaMP", file=asked, remedy=f"get it from {FILE.address}"
        ) from None
    if task not in TITLES:
        raise TaskError(
            "The answers do not belong to a task of LaMP",
            file=answered,
            variable="task",
            value=task,
            remedy=f"use the answers of one of {', '.join(TITLES)}",
        )
    if unanswered := [row["id"] for row in rows if not golds.get(row["id"])]:
        raise TaskError(
            f"{len(unanswered)} question(s) of LaMP have no answer",
            file=answered,
            variable="id",
            value=unanswered[0],
            remedy="use questions and outputs of the same split; outputs of the test split are not published",
        )
    return task, rows, golds


def _said(entry: dict[str, Any], task: str) -> tuple[str, str]:
    """A profile entry: the text to compare with the question, and its wording, after the published prompts."""
    text = str(entry.get("text") or entry.get("abstract") or entry.get("description") or "")
    title = str(entry.get("title") or "")
    short = text if len(text) <= _LONGEST else text[:_LONGEST].rsplit(" ", 1)[0] + " …"
    forms = {
        "LaMP_1": f"The user wrote “{title}”.",
        "LaMP_2": f"The user chose “{entry.get('tag') or entry.get('category')}” for: {short}",
        "LaMP_3": f"The user gave {entry.get('score')} for: {short}",
        "LaMP_7": f"The user wrote: {short}",
    }
    told = forms.get(task, f"The user gave the title “{title}” to: {short}")
    return f"{title} {text}".strip(), " ".join(told.split())


def nearest(query: str, texts: list[str], n: int) -> list[int]:
    """Positions of the `n` texts nearest to a query by the cosine of TF-IDF; ties keep their order."""
    if len(texts) <= n:
        return list(range(len(texts)))
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        weights = TfidfVectorizer(token_pattern=r"\S+").fit_transform([*texts, query])
    except ValueError:  # the texts are blank
        return list(range(n))
    near = (weights[:-1] @ weights[-1].T).toarray().ravel()
    return [int(i) for i in (-near).argsort(kind="stable")[:n]]


def _options(task: str, golds: dict[str, str], path: Path) -> tuple[str, ...]:
    for labels in LABELS[task]:
        if set(golds.values()) <= set(labels):
            return labels
    strange = sorted(set(golds.values()) - {label for labels in LABELS[task] for label in labels})
    raise TaskError(
        f"An answer of {task} is not one of its labels",
        file=path,
        variable="output",
        value=strange[0] if strange else "labels of two versions",
        remedy=f"get the file again from {FILE.address}",
    )


def lamp_items(request: ItemRequest) -> pl.DataFrame:
    """One item per question, after the entries of the user's profile that are nearest to it."""
    task, questions, golds = read_files(request.files)
    model = request.option("bertscore", None)
    is_open = task not in LABELS
    if is_open:
        require(task, bertscore=model)
    labels = [] if is_open else list(_options(task, golds, request.files[0]))
    most = int(request.option("profile", _PROFILE))
    rows = []
    for row in questions:
        entries = [_said(entry, task) for entry in row["profile"]] if most else []
        shown = [entries[i][1] for i in nearest(row["input"], [e[0] for e in entries], most)]
        answer = golds[row["id"]]
        rows.append(
            {
                "item_id": f"lamp_{task.removeprefix('LaMP_')}_{row['id']}",
                "category": TITLES[task],
                "context": "\n".join(["Earlier:", *shown]) if shown else None,
                "question": f"{row['input']}\n{_TEXT_ONLY}" if is_open else row["input"],
                "options": labels,
                "gold_idx": None if is_open else labels.index(answer),
                # In the user-based version, one user asks several questions of a split: they share a profile.
                "cluster_id": f"lamp|{digest(orjson.dumps(row['profile']), length=12)}",
                "item_file": version(request.files, FILE),
                "reference": answer if is_open else None,
                "bertscore_model": model if is_open else None,
            }
        )
    schema = pl.Schema(
        {
            "gold_idx": pl.Int64(),
            "context": pl.String(),
            "options": pl.List(pl.String),
            "reference": pl.String(),
            "bertscore_model": pl.String(),
        }
    )
    return pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None).with_columns(
        pl.col("options").alias("option_values"),
        pl.lit(task == "LaMP_3").alias("ordinal"),
        pl.lit(FILE.licence).alias("licence"),
    )


KINDS = (
    TaskKind(
        "lamp",
        "LaMP: a user's citation, tag, rating, headline, title, subject or tweet, given their earlier ones",
        lamp_items,
        file=FILE,
        options={
            "profile": f"Number of profile entries shown, those nearest to the question (default {_PROFILE})",
            "bertscore": "Model that BERTScore uses, as bert-score names it; null: BERTScore is not computed",
        },
        example=Example(
            {
                "dev_questions.json": '[{"id": "1", "input": "Generate a headline for the following article: The ferry '
                'will stop in March.", "profile": [{"id": "2", "title": "The last bus", '
                '"text": "The night bus has gone."}]}]',
                "dev_outputs.json": '{"task": "LaMP_4", "golds": [{"id": "1", "output": "The last ferry"}]}',
            }
        ),
    ),
)
