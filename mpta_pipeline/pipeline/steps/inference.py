"""Step that sends a task's prompts to a model; one partition per model and task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline import inference, tasks
from mpta_pipeline.core.chunks import Chunk, StoredChunk, distinct
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.core.storage import scratch
from mpta_pipeline.core.vocabulary import LETTERS
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.inputs import Inputs
from mpta_pipeline.pipeline.step import Output, step
from mpta_pipeline.pipeline.steps.tasks import ABOUT_GROUPS
from mpta_pipeline.pipeline.stored import chunks_of, made, read, stacked, with_current_names


@step("responses")
def responses(inputs: Inputs) -> Output:
    """Send the prompts that the model's ledger holds no answer to, and store the answers of all."""
    look_again = _LookAgain(inputs)
    prompts = inputs.chunks("prompts")
    if len(prompts) > 1:
        return _in_chunks(inputs, prompts, look_again)
    as_asked, left_out = _asked_of(inputs), _left_out(inputs, prompts)
    asked = as_asked(partial(inputs.table, "prompts"))
    if not tasks.are_turns(asked):
        notes = _send(inputs, asked, look_again).as_notes() | left_out
        return Output(inference.responses(inputs.model, asked, inputs.ledger), notes)
    # Turns of conversations are composed again as answers come in.
    again = partial(as_asked, partial(inputs.table, "prompts"))
    notes = _send(inputs, inference.PromptParts(inputs.model, [again]), look_again).as_notes() | left_out
    return Output(inference.responses(inputs.model, again(), inputs.ledger), notes)


GROUPS_LEFT_OUT = "groups_left_out"
"""Note of responses: questions about groups that the model is not asked, with the reason and the remedy."""


def _left_out(inputs: Inputs, prompts: Sequence[StoredChunk]) -> dict[str, Any]:
    requests = sum(int(chunk.notes.get(ABOUT_GROUPS, 0)) for chunk in prompts) if inputs.asked else 0
    said = inference.groups_left_out(inputs.model, requests)
    return {} if said is None else {GROUPS_LEFT_OUT: said}


def groups_left_out(deployment: Deployment) -> Iterator[tuple[ModelTask, str]]:
    """Model and task, and a message: questions about groups that the model is not asked, the reason and the remedy."""
    for task in deployment.study.tasks:
        record = made(deployment, Node("prompts", task))
        requests = int(record.notes.get(ABOUT_GROUPS, 0)) if record else 0
        for name, spec in deployment.models.items():
            if deployment.asks(name, task) and (said := inference.groups_left_out(spec, requests)):
                yield ModelTask(name, task), said


def _send(
    inputs: Inputs, prompts: pl.DataFrame | inference.PromptParts, look_again: _LookAgain, keys: Path | None = None
) -> inference.RequestReport:
    options, permission = inputs.request_options, inputs.spending_permission
    return inference.send_requests(
        inputs.model,
        prompts,
        inputs.ledger,
        progress=_naming_task(options.progress, inputs.partition),
        budget=options.budget,
        retry_errors=options.retry_errors,
        cache_dir=inputs.model_files,
        stop=options.stop,
        read_status=_statuses_of,
        look_again=look_again,
        not_approved=None if options.approved or permission.granted else permission.because,
        keys=keys,
    )


def _in_chunks(inputs: Inputs, prompts: Sequence[StoredChunk], look_again: _LookAgain) -> Output:
    """As `responses`, chunk by chunk.

    A chunk is kept if its prompts are the same and each of them had a response: a ledger only grows, so it would be
    made from the same records again. If the ledger has fewer records than then, all chunks are looked up.
    """
    spec, ledger = inputs.model, inputs.ledger
    shared, records = _shared_inputs(inputs), inference.ledger_height(ledger)
    stored = inputs.previous_chunks()
    made_from = {chunk.name: digest(shared, chunk.version) if shared else "" for chunk in prompts}
    kept = {
        name: found
        for name, inputs_of in made_from.items()
        if inputs_of and (found := stored.get((name, inputs_of))) and 0 < found.notes.get(_ANSWERED, 0) <= records
    }
    others = [chunk for chunk in prompts if chunk.name not in kept]
    as_asked = _asked_of(inputs)
    parts = inference.PromptParts(
        spec,
        [partial(as_asked, chunk.read) for chunk in others],
        distinct(kept.values(), "request_hash"),
    )
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        notes = _send(inputs, parts, look_again, folder).as_notes() | _left_out(inputs, prompts)
        answers = inference.PartResponses(parts, ledger, folder)
        numbers = {chunk.name: number for number, chunk in enumerate(others)}

        def answered(name: str) -> tuple[pl.DataFrame, dict[str, Any]]:
            frame = answers.read(numbers[name])
            whole = frame.height == answers.asked(numbers[name]) and frame["error"].null_count() == frame.height
            return frame, {_ANSWERED: answers.records} if whole else {}

        chunks = [
            Chunk(name, inputs_of, partial(answered, name), again=name in numbers, counted="request_hash")
            for name, inputs_of in made_from.items()
        ]
        return Output(chunks=chunks, summary=lambda _: (notes, ()), needs=stack.pop_all())


_ANSWERED = "all answered, of so many records"
"""Note of a chunk whose prompts all have a response: how many records the ledger had."""


def _shared_inputs(inputs: Inputs) -> str:
    """Digest of all that each chunk of responses is made from, but for its prompts; empty if that cannot be stated."""
    if inputs.model.provider_class.wanted_truth(inputs.model) is not None:
        return ""  # what a simulated respondent knows of all personas is part of its requests
    codebooks = inputs.columns("personas", "codebook").unique().sort("codebook")
    uses = codebooks.with_columns(inputs.permitted_use("codebook").alias("data_use")).rows()
    return digest(inputs.digest_without("prompts"), repr(uses))


def _asked_of(inputs: Inputs) -> Callable[[Callable[[], pl.DataFrame]], pl.DataFrame]:
    """Reads prompts as the model is asked: with today's `data_use`, and a simulated respondent's with what it knows."""
    spec, permitted_use = inputs.model, inputs.permitted_use("codebook")
    personas = inputs.columns("personas", "respondent_id", "codebook")
    wanted, is_asked = spec.provider_class.wanted_truth(spec), inputs.asked
    truth = {} if wanted is None else {"gold": inputs.table("gold"), "groups": inputs.table("groups")}
    conversations = tasks.Conversations(spec, inputs.ledger)

    def asked(read: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        prompts = as_permitted(read(), personas, permitted_use)
        prompts = inference.prompts_of(spec, prompts if is_asked else prompts.clear())
        if wanted is not None:
            prompts = tasks.with_known_truth(prompts, wanted, **truth)
        return conversations.composed(prompts)

    return asked


def _prompts_for(inputs: Inputs) -> pl.DataFrame | inference.PromptParts:
    """All prompts that the model is asked."""
    chunks, asked = inputs.chunks("prompts"), _asked_of(inputs)
    if len(chunks) == 1:
        return asked(partial(inputs.table, "prompts"))
    return inference.PromptParts(inputs.model, [partial(asked, chunk.read) for chunk in chunks])


def prompts_for(spec: inference.ModelSpec, prompts: pl.DataFrame, deployment: Deployment) -> pl.DataFrame:
    """Those of the stored prompts that the model is asked; a simulated respondent's with what it knows."""
    known = prompts["task"].unique().to_list()
    if left := [task for task in known if not deployment.asks(spec.name, task)]:
        prompts = prompts.filter(~pl.col("task").is_in(left))
    return _told_to(spec, deployment)(prompts)


def _told_to(spec: inference.ModelSpec, deployment: Deployment) -> Callable[[pl.DataFrame], pl.DataFrame]:
    wanted = spec.provider_class.wanted_truth(spec)
    if wanted is None:
        return partial(inference.prompts_of, spec)
    truth = {"gold": stacked(deployment, "gold"), "groups": read(deployment, "groups")}
    return lambda prompts: tasks.with_known_truth(inference.prompts_of(spec, prompts), wanted, **truth)


def permitted_prompts(deployment: Deployment, task: str) -> Iterator[Callable[[], pl.DataFrame]]:
    """Functions that read the stored prompts of a task chunk by chunk, with today's `data_use`."""
    personas = read(deployment, "personas").select("respondent_id", "codebook")
    permitted_use = deployment.permitted_use("codebook")

    def rows(chunk: StoredChunk) -> pl.DataFrame:
        return as_permitted(with_current_names("prompts", chunk.read()), personas, permitted_use)

    for chunk in chunks_of(deployment, "prompts", task):
        yield partial(rows, chunk)


def planned_prompts(deployment: Deployment, spec: inference.ModelSpec, names: Iterable[str]) -> inference.PromptParts:
    """The prompts of some tasks that a model would be asked now, to plan with: they are read chunk by chunk."""
    told = _told_to(spec, deployment)
    conversations = tasks.Conversations(spec, deployment.layout.ledger(spec.name))

    def asked(rows: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        return conversations.composed(told(rows()))

    parts = [
        partial(asked, rows)
        for task in names
        if deployment.asks(spec.name, task)
        for rows in permitted_prompts(deployment, task)
    ]
    return inference.PromptParts(spec, parts)


def _naming_task(
    progress: Callable[[inference.RequestProgress], None] | None, partition: str
) -> Callable[[inference.RequestProgress], None] | None:
    """The callback for progress, told which task the requests belong to."""
    if progress is None:
        return None
    task = ModelTask.parse(partition).task
    return lambda now: progress(replace(now, task=task))


class _LookAgain:
    """Says, while requests are sent, which ones today's prompts, policy and entry of the model still ask for."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._stamp = inputs.stamp()

    def __call__(self) -> pl.Series | None:
        """The hashes of the requests that are wanted now; None if nothing has changed since the last call.

        What cannot be read at this moment, e.g. a table that is being replaced or a file that is being edited, is
        looked at again at the next call.
        """
        stamp = self._inputs.stamp()
        if stamp is None or stamp == self._stamp:
            return None
        try:
            now = self._inputs.as_of_now()
            wanted = None if now is None or not self._may_be_paid(now) else self._wanted(now)
        except MptaError:
            return None
        self._stamp = stamp
        return pl.Series([], dtype=pl.String) if wanted is None else wanted

    def _wanted(self, now: Inputs) -> pl.Series:
        return inference.wanted_requests(now.model, _prompts_for(now))

    def _may_be_paid(self, now: Inputs) -> bool:
        """Whether requests may still be paid for: an approval may have been revoked, or the price have risen."""
        return self._inputs.request_options.approved or now.spending_permission.granted


def as_permitted(prompts: pl.DataFrame, personas: pl.DataFrame, permitted_use: pl.Expr) -> pl.DataFrame:
    """Prompts with today's `data_use`: that of the source of the persona that each one shows.

    The stored column was true when the prompts were made; a permission may have been withdrawn since.

    Args:
        prompts: PROMPTS rows.
        personas: PERSONAS rows.
        permitted_use: The policy of today, over the column `codebook`.
    """
    shown = personas.select(pl.col("respondent_id").alias("shown_respondent_id"), "codebook")
    return (
        prompts.join(shown, on="shown_respondent_id", how="left", maintain_order="left")
        .with_columns(
            pl.when(pl.col("shown_respondent_id").is_null())
            .then(pl.lit("any"))
            .otherwise(permitted_use)
            .alias("data_use")
        )
        .select(prompts.columns)
    )


def _statuses_of(responses: pl.DataFrame) -> pl.Series:
    """The status that scoring will give to each response; `inference.send_requests` calls this early in a run."""
    prompts = responses.select(
        pl.col("request_hash").alias("prompt_id"),
        "options",
        pl.int_ranges(pl.col("options").list.len()).alias("option_order"),
        "elicitation",
        tasks.listed(pl.col("elicitation"), pl.col("text")).alias("line"),
        # Requests with several questions have letters for options, and the first line stands for all.
        pl.when(pl.col("options").list.join("") == LETTERS).then(pl.lit(2, pl.Int64)).alias("asked_together"),
    ).with_columns(pl.when(pl.col("asked_together").is_null()).then("line").otherwise(pl.lit(1)).alias("line"))
    given = responses.select(
        pl.lit("").alias("model"),
        pl.col("request_hash").alias("prompt_id"),
        "request_hash",
        pl.lit(None, pl.String).alias("error"),
        pl.all().exclude("request_hash", "options", "elicitation"),
    )
    parsed = tasks.parse_replies(prompts, given).select("prompt_id", "status")
    return prompts.join(parsed, on="prompt_id", how="left", maintain_order="left")["status"]
