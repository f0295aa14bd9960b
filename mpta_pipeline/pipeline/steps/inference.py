"""Step that sends a task's prompts to a model; one partition per model and task."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl

from mpta_pipeline import inference, tasks
from mpta_pipeline.core.chunks import Chunk
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.storage import scratch
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.inputs import Inputs
from mpta_pipeline.pipeline.step import Output, step
from mpta_pipeline.pipeline.stored import read, stacked


@step("responses")
def responses(inputs: Inputs) -> Output:
    """Send the prompts that the model's ledger holds no answer to, and store the answers of all."""
    look_again = _LookAgain(inputs)
    spec, ledger = inputs.model, inputs.ledger
    options, permission = inputs.request_options, inputs.spending_permission
    with ExitStack() as stack:
        prompts = _prompts_for(spec, inputs)
        folder = stack.enter_context(scratch()) if isinstance(prompts, inference.PromptParts) else None
        outcome = inference.send_requests(
            spec,
            prompts,
            ledger,
            progress=_naming_task(options.progress, inputs.partition),
            budget=options.budget,
            retry_errors=options.retry_errors,
            cache_dir=inputs.model_files,
            stop=options.stop,
            read_status=_statuses_of,
            look_again=look_again,
            not_approved=None if options.approved or permission.granted else permission.because,
            keys=folder,
        )
        notes = outcome.as_notes()
        if isinstance(prompts, pl.DataFrame):
            return Output(inference.responses(spec, prompts, ledger), notes)
        assert folder is not None
        answers = inference.PartResponses(prompts, ledger, folder)
        # All are written again, and those with equal rows keep their version: what the ledger holds is no input that
        # could be compared.
        chunks = [
            Chunk(chunk.name, "", partial(_answers_of, answers, number))
            for number, chunk in enumerate(inputs.chunks("prompts"))
        ]
        return Output(chunks=chunks, summary=lambda _: (notes, ()), needs=stack.pop_all())


def _answers_of(answers: inference.PartResponses, number: int) -> tuple[pl.DataFrame, dict[str, Any]]:
    return answers.read(number), {}


def _prompts_for(spec: inference.ModelSpec, inputs: Inputs) -> pl.DataFrame | inference.PromptParts:
    """The prompts that the model is asked, with today's `data_use`; a simulated respondent's with what it knows."""
    chunks = inputs.chunks("prompts")
    personas, permitted_use = inputs.table("personas"), inputs.permitted_use("codebook")
    personas = personas.select("respondent_id", "codebook")
    wanted, is_asked = spec.provider_class.wanted_truth(spec), inputs.asked
    truth = {} if wanted is None else {"gold": inputs.table("gold"), "groups": inputs.table("groups")}

    def asked(read: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        prompts = as_permitted(read(), personas, permitted_use)
        prompts = inference.of_panel_share(spec, prompts if is_asked else prompts.clear())
        if wanted is not None:
            prompts = tasks.with_known_truth(prompts, wanted, **truth)
        return inference.with_request_hashes(spec, prompts)

    if len(chunks) == 1:
        return asked(partial(inputs.table, "prompts"))
    return inference.PromptParts(spec, [partial(asked, chunk.read) for chunk in chunks])


def prompts_for(spec: inference.ModelSpec, prompts: pl.DataFrame, deployment: Deployment) -> pl.DataFrame:
    """Those of the stored prompts that the model is asked; a simulated respondent's with what it knows."""
    known = prompts["task"].unique().to_list()
    if left := [task for task in known if not deployment.asks(spec.name, task)]:
        prompts = prompts.filter(~pl.col("task").is_in(left))
    prompts = inference.of_panel_share(spec, prompts)
    wanted = spec.provider_class.wanted_truth(spec)
    if wanted is None:
        return prompts
    return tasks.with_known_truth(prompts, wanted, gold=stacked(deployment, "gold"), groups=read(deployment, "groups"))


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
        return inference.wanted_requests(now.model, _prompts_for(now.model, now))

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
    )
    given = responses.select(
        pl.lit("").alias("model"),
        pl.col("request_hash").alias("prompt_id"),
        "request_hash",
        pl.lit(None, pl.String).alias("error"),
        pl.all().exclude("request_hash", "options", "elicitation"),
    )
    parsed = tasks.parse_replies(prompts, given).select("prompt_id", "status")
    return prompts.join(parsed, on="prompt_id", how="left", maintain_order="left")["status"]
