"""Turn prompts into requests: the hash of everything that can change a response, computed by table operations."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
import polars as pl

from mpta_pipeline.core.errors import ModelError, PolicyError
from mpta_pipeline.core.hashing import digest, hash_rows, hash_uniform
from mpta_pipeline.core.vocabulary import GROUP_CONDITION, LETTERS
from mpta_pipeline.inference.known_truth import COLUMN

if TYPE_CHECKING:
    from mpta_pipeline.inference.models import ModelSpec

HASH_LENGTH = 32  # 128 bits: no collision among 10 million requests
SLICE = 100_000  # prompts hashed at a time: about .2 GB of text beside the frame
HISTORY, HISTORY_TYPE = "history", pl.List(pl.Struct({"user": pl.String, "said": pl.String}))
"""What precedes a turn of a conversation: questions, each with what the model said. Null for other prompts."""
HISTORY_HASH = "history_hash"
"""Hash of the history, part of the request's; null for first turns, which are the request that they would be alone."""
TOLD = "told"
"""Bytes of the history."""
TURN = "turn-"
"""Beginning of the hash of a turn that cannot be sent yet, because its history is not known. It is no request's."""
BEHIND = f"{TURN}behind-"
"""Beginning of the hash of such a turn if a turn before it failed for good."""
_COLUMNS = ("system", "user", "options", "elicitation", "group", "data_use")


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request as a provider gets it: what to answer, and nothing about the model.

    `known` is what a simulated respondent knows beside the texts (`known_truth.KnownTruth` as JSON); None for models.
    `history` is what was asked and said before in the conversation, and `told` its length in bytes.
    """

    request_hash: str
    system: str | None
    user: str
    options: tuple[str, ...]
    elicitation: str
    group: str
    known: str | None = None
    history: tuple[tuple[str, str], ...] = ()
    told: int = 0

    @property
    def characters(self) -> int:
        """Characters that are sent."""
        return len(self.user) + len(self.system or "") + sum(len(asked) + len(said) for asked, said in self.history)


def calls_needed(elicitation: str, options: int) -> int:
    """Return the HTTP calls that a request takes: whole options are scored one by one, after what precedes them."""
    return options + 1 if elicitation == "option_logprob" else 1


def _options(prompts: pl.DataFrame) -> pl.Expr:
    """What the reply chooses from. Questions that share a request differ in options: it is answered with letters."""
    if "asked_together" not in prompts.columns:
        return pl.col("options")
    letters = pl.lit(pl.Series([list(LETTERS)])).first()
    return pl.when(pl.col("asked_together").is_null()).then("options").otherwise(letters).alias("options")


def request_hashes(spec: ModelSpec, prompts: pl.DataFrame) -> pl.Series:
    """Return the ledger's key of each prompt, in order: model, parameters, messages, elicitation, options and repeat.

    The text itself is hashed, not the prompts' own content hash: the way that one is computed may change, and
    responses that were paid for stay valid. The hashes that `with_request_hashes` added are used as they are.
    """
    if "request_hash" in prompts.columns:
        return prompts["request_hash"]
    key = digest(orjson.dumps(spec.identity(), option=orjson.OPT_SORT_KEYS), length=HASH_LENGTH)
    repeat = pl.col("repeat_id") if "repeat_id" in prompts.columns else pl.lit(0)
    options = _options(prompts)
    columns: list[str | pl.Expr] = [
        "system",
        "user",
        pl.concat_str(options.list.len(), options.list.join("\x1e"), separator="\x1e"),
        "elicitation",
        repeat.alias("repeat"),
    ]
    if spec.provider_class.wanted_truth(spec) is not None:
        if COLUMN not in prompts.columns:
            raise ValueError(f"{spec.name} is a simulated respondent: its prompts need the column `{COLUMN}`")
        columns.append(COLUMN)
    if HISTORY_HASH in prompts.columns:
        later = hash_rows(prompts, [*columns, HISTORY_HASH], key=key, length=HASH_LENGTH)
        first = hash_rows(prompts, columns, key=key, length=HASH_LENGTH)
        return later.zip_with(prompts[HISTORY_HASH].is_not_null(), first).rename("request_hash")
    parts = [hash_rows(part, columns, key=key, length=HASH_LENGTH) for part in prompts.iter_slices(SLICE)]
    if not parts:
        return pl.Series("request_hash", [], dtype=pl.String)
    return pl.concat(parts).rename("request_hash")


def with_request_hashes(spec: ModelSpec, prompts: pl.DataFrame) -> pl.DataFrame:
    """Return the prompts with this model's request hashes, so that several functions need not hash them again."""
    return prompts.with_columns(request_hashes(spec, prompts))


PANEL_SHARE = "panel_share"
"""Key of the hash by which the persons of a share of the panel are chosen."""


def of_panel_share(spec: ModelSpec, prompts: pl.DataFrame) -> pl.DataFrame:
    """Return the prompts about the persons that the model is asked about, by `panel_share` of its entry.

    A person is chosen by hash, each with the same chance, so that survey weights keep their proportions and a larger
    share includes a smaller one. Prompts about described groups are all kept.
    """
    if spec.panel_share >= 1 or prompts.is_empty():
        return prompts
    chosen = hash_uniform(prompts, ["respondent_id"], key=PANEL_SHARE) < spec.panel_share
    # Described groups are no persons of the panel.
    groups = prompts["condition"] == GROUP_CONDITION if "condition" in prompts.columns else pl.lit(False)
    return prompts.filter(chosen | groups)


def states_shares(spec: ModelSpec) -> bool:
    """Whether the model can be asked for the shares of all options, which the condition `group` needs."""
    return "verbalized" in spec.elicitations and "verbalized" in spec.provider_class.elicitations


def prompts_of(spec: ModelSpec, prompts: pl.DataFrame) -> pl.DataFrame:
    """Return the prompts that the model is asked: about the persons of its share, and about described groups.

    A model that cannot state shares is asked about no group (`groups_left_out`), and about everything else.
    """
    asked = of_panel_share(spec, prompts)
    if states_shares(spec) or "condition" not in asked.columns:
        return asked
    return asked.filter(pl.col("condition") != GROUP_CONDITION)


def groups_left_out(spec: ModelSpec, requests: int) -> str | None:
    """Say that a model is not asked about groups, why, and what to do; None if it is asked, or nothing is left out.

    Args:
        spec: The model.
        requests: Requests about groups.
    """
    if states_shares(spec) or not requests:
        return None
    said = f"{requests:,} questions about groups (condition `group`) are not asked of model {spec.name}; all others are"
    if "verbalized" not in spec.provider_class.elicitations:
        return (
            f"{said}. They need elicitation `verbalized`, which provider {spec.provider} does not support: leave "
            "the model out of this comparison, or remove `group` from the study's conditions"
        )
    return (
        f"{said}. They need elicitation `verbalized`, which its entry in models.yaml does not list: add it to "
        "`elicitations` if the endpoint can answer with text, or remove `group` from the study's conditions"
    )


def unique_requests(spec: ModelSpec, prompts: pl.DataFrame) -> pl.DataFrame:
    """Return one row per request, in the order of the prompts. Equal texts are one request.

    If equal texts come from sources with different data use, the stricter use counts.

    Raises:
        ModelError: A prompt has an elicitation that the model's entry does not list, or its provider does not support.
    """
    for elicitation in prompts["elicitation"].unique(maintain_order=True):
        _check_elicitation(spec, elicitation, _conditions(prompts, elicitation))
    source = pl.col("survey") if "survey" in prompts.columns else pl.lit("this source")
    known = [COLUMN] if spec.provider_class.wanted_truth(spec) is not None else []
    if HISTORY in prompts.columns:
        _check_turns(spec)
        known += [HISTORY, TOLD]
    frame = prompts.select(*_COLUMNS, *known, source.alias("survey")).with_columns(
        request_hashes(spec, prompts), prompts.select(_options(prompts)).to_series()
    )
    return frame.group_by("request_hash", maintain_order=True).agg(
        pl.col("system", "user", "options", "elicitation", "group", *known).first(),
        pl.col("data_use").max(),  # "any" < "local_only"
        pl.col("survey").filter(pl.col("data_use") != "any").first(),
    )


def _conditions(prompts: pl.DataFrame, elicitation: str) -> set[str]:
    """The conditions of the prompts with an elicitation, if they are known."""
    if "condition" not in prompts.columns:
        return set()
    return set(prompts.filter(pl.col("elicitation") == elicitation).get_column("condition").unique())


def _check_elicitation(spec: ModelSpec, elicitation: str, conditions: Collection[str]) -> None:
    if elicitation not in spec.provider_class.elicitations:
        problem = f"Provider {spec.provider} of model {spec.name} does not support elicitation {elicitation}"
        remedy = "use another elicitation for the task in study.yaml, or leave this model out"
    elif elicitation not in spec.elicitations:
        problem = f"Model {spec.name} is not used with elicitation {elicitation}"
        remedy = "list it in the model's entry if the endpoint supports it, or use elicitation letter in study.yaml"
        if elicitation == "free_text":
            remedy += " without `batch_items` and `asked: battery`"
    else:
        return
    if set(conditions) == {GROUP_CONDITION}:
        problem += ", which the condition `group` needs: it asks for the shares of all options"
        listing = "" if elicitation not in spec.provider_class.elicitations else "list it in the model's entry, "
        remedy = f"{listing}remove `group` from the study's conditions, or leave this model out"
    raise ModelError(problem, file=spec.source, variable="elicitations", value=elicitation, remedy=remedy)


def _check_turns(spec: ModelSpec) -> None:
    """Refuse models that take one text only.

    Raises:
        ModelError: The model completes texts.
    """
    if spec.api == "completions":
        raise ModelError(
            f"Model {spec.name} completes texts, and a conversation consists of messages",
            file=spec.source,
            variable="api",
            value=spec.api,
            remedy="use api: chat if the endpoint has it, use asked: question in study.yaml, or leave this model out",
        )


def can_be_sent() -> pl.Expr:
    """Whether a request's text is known: that of a turn is once the turn before it has a response."""
    return ~pl.col("request_hash").str.starts_with(TURN)


def split_by_policy(spec: ModelSpec, requests: pl.DataFrame) -> tuple[pl.DataFrame, PolicyError | None]:
    """Return the requests that the model may receive, and the policy error about the others."""
    allowed = [use for use in requests["data_use"].unique() if spec.may_receive(use)]
    withheld = requests.filter(~pl.col("data_use").is_in(allowed))
    if not withheld.height:
        return requests, None
    sources = sorted(set(withheld["survey"].drop_nulls()))
    return requests.filter(pl.col("data_use").is_in(allowed)), PolicyError(
        f"{withheld.height} prompt(s) made from {', '.join(sources)} may be used on this machine only, "
        f"and were not sent to model {spec.name} at {spec.url}",
        variable="data_use",
        value="local_only",
        remedy=(
            "use an embedded model or a server on this machine, allow the source elsewhere in surveys.yaml "
            f"if its terms permit it, or set `trusted: true` for {spec.name} in models.yaml if they cover its endpoint"
        ),
    )


def by_shared_prefix(requests: pl.DataFrame) -> pl.DataFrame:
    """Order requests so that those with a shared prefix are adjacent: by group, within it by system message."""
    row = pl.col("_row")
    return (
        requests.with_row_index("_row")
        .with_columns(row.min().over("group").alias("_group"), row.min().over("group", "system").alias("_system"))
        .sort("_group", "_system", "_row")
        .drop("_row", "_group", "_system")
    )


def iterate_requests(requests: pl.DataFrame) -> Iterator[ModelRequest]:
    """Yield requests one by one, made from the frame a thousand at a time so that a long queue takes no memory."""
    for part in requests.iter_slices(1000):
        known = pl.col(COLUMN) if COLUMN in part.columns else pl.lit(None).alias(COLUMN)
        columns = part.select("request_hash", "system", "user", "options", "elicitation", "group", known)
        histories: Iterator[tuple[tuple[tuple[str, str], ...], int]] = itertools.repeat(((), 0))
        if HISTORY in part.columns:
            turns = part.select(HISTORY, TOLD).iter_rows()
            histories = ((tuple((h["user"], h["said"]) for h in turn or ()), told or 0) for turn, told in turns)
        for (hash_, system, user, options, elicitation, group, truth), (history, told) in zip(
            columns.iter_rows(), histories, strict=False
        ):
            yield ModelRequest(hash_, system, user, tuple(options), elicitation, group, truth, history, told)
