"""From prompts to requests: the hash of everything that can change an answer, by table operation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import polars as pl

from mpta_pipeline.core.errors import ModelError, PolicyError
from mpta_pipeline.core.hashing import digest, hash_rows
from mpta_pipeline.inference.models import ModelSpec

HASH_LENGTH = 32  # 128 bits: no two of 10 million requests meet
SLICE = 100_000  # prompts hashed at a time: about .2 GB of text beside the frame
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_COLUMNS = ("system", "user", "options", "elicitation", "group", "data_use")


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request as a provider gets it: what is to be answered, and nothing of who answers."""

    request_hash: str
    system: str | None
    user: str
    options: tuple[str, ...]
    elicitation: str
    group: str


def calls_needed(elicitation: str, options: int) -> int:
    """Exchanges that a request takes: whole options are asked one by one, after what comes before them."""
    return options + 1 if elicitation == "option_logprob" else 1


def request_hashes(spec: ModelSpec, prompts: pl.DataFrame) -> pl.Series:
    """The ledger's key of each prompt, in order: model, parameters, messages, elicitation, options and repeat.

    The text itself is hashed, not the prompts' own content hash: how that one is made may change, and answers that
    were paid for stay valid.
    """
    key = digest(orjson.dumps(spec.identity(), option=orjson.OPT_SORT_KEYS), length=HASH_LENGTH)
    repeat = pl.col("repeat_id") if "repeat_id" in prompts.columns else pl.lit(0)
    columns: list[str | pl.Expr] = [
        "system",
        "user",
        pl.concat_str(pl.col("options").list.len(), pl.col("options").list.join("\x1e"), separator="\x1e"),
        "elicitation",
        repeat.alias("repeat"),
    ]
    parts = [hash_rows(part, columns, key=key, length=HASH_LENGTH) for part in prompts.iter_slices(SLICE)]
    if not parts:
        return pl.Series("request_hash", [], dtype=pl.String)
    return pl.concat(parts).rename("request_hash")


def unique_requests(spec: ModelSpec, prompts: pl.DataFrame) -> pl.DataFrame:
    """One row a request, in the order of the prompts: request_hash and what is sent. Equal texts are one request.

    Where equal texts come from sources of different data use, the stricter use counts.

    Raises:
        ModelError: A prompt asks in a way that the model's entry does not list.
    """
    unknown = prompts.filter(~pl.col("elicitation").is_in(list(spec.elicitations)))
    if unknown.height:
        raise ModelError(
            f"Model {spec.name} is not used with elicitation {unknown['elicitation'][0]}",
            file=spec.source,
            variable="elicitations",
            value=unknown["elicitation"][0],
            remedy="list it in the model's entry if the endpoint can do it, or ask the task by letter in study.yaml",
        )
    source = pl.col("survey") if "survey" in prompts.columns else pl.lit("this source")
    frame = prompts.select(*_COLUMNS, source.alias("survey")).with_columns(request_hashes(spec, prompts))
    return frame.group_by("request_hash", maintain_order=True).agg(
        pl.col("system", "user", "options", "elicitation", "group").first(),
        pl.col("data_use").max(),  # "any" < "local_only"
        pl.col("survey").filter(pl.col("data_use") != "any").first(),
    )


def split_by_policy(spec: ModelSpec, requests: pl.DataFrame) -> tuple[pl.DataFrame, PolicyError | None]:
    """The requests that the model may receive, and the refusal of the others: source, model and remedy."""
    allowed = [use for use in requests["data_use"].unique() if spec.may_receive(use)]
    withheld = requests.filter(~pl.col("data_use").is_in(allowed))
    if not withheld.height:
        return requests, None
    sources = sorted(set(withheld["survey"].drop_nulls()))
    return requests.filter(pl.col("data_use").is_in(allowed)), PolicyError(
        f"{withheld.height} prompt(s) made from {', '.join(sources)} may be used on this machine only "
        f"and were not sent to model {spec.name} at {spec.url}",
        variable="data_use",
        value="local_only",
        remedy=(
            "ask them of an embedded model or a server on this machine, allow the source elsewhere in surveys.yaml "
            f"if its terms do, or set `trusted: true` for {spec.name} in models.yaml if its endpoint is covered by them"
        ),
    )


def in_turn(requests: pl.DataFrame) -> pl.DataFrame:
    """Order requests so that those with a shared prefix follow one another: by group, in it by system message."""
    row = pl.col("_row")
    return (
        requests.with_row_index("_row")
        .with_columns(row.min().over("group").alias("_group"), row.min().over("group", "system").alias("_system"))
        .sort("_group", "_system", "_row")
        .drop("_row", "_group", "_system")
    )


def iterate(requests: pl.DataFrame) -> Iterator[ModelRequest]:
    """Requests one by one, made from the frame a thousand at a time so that a long queue takes no memory."""
    for part in requests.iter_slices(1000):
        columns = part.select("request_hash", "system", "user", "options", "elicitation", "group")
        for hash_, system, user, options, elicitation, group in columns.iter_rows():
            yield ModelRequest(hash_, system, user, tuple(options), elicitation, group)
