"""Score responses: one row per response, with the option picked and its score. No row is dropped."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.reasoning_text import read_thought
from mpta_pipeline.core.tables import SCORES, TEXT_SCORES
from mpta_pipeline.core.vocabulary import CUT_OFF_FINISHES, GROUP_CONDITION, REFUSED_FINISHES
from mpta_pipeline.tasks.asked_together import lines_of_replies
from mpta_pipeline.tasks.batteries import answer_lines
from mpta_pipeline.tasks.option_orders import order_text, scale_directions
from mpta_pipeline.tasks.parsing import (
    ERROR,
    OK,
    REFUSED,
    UNPARSED,
    markers,
    read_logprobs,
    read_replies,
    read_verbalized,
)
from mpta_pipeline.tasks.text_scores import text_scores

LEAST_SHARE = 0.1
"""Share of the first token's probability that the options' letters must have for their probabilities to count."""
# Open text up to this many characters is a refusal if it says that the model cannot answer.
_SHORT = 300
_READ = ("text", "option_logprobs", "error", "finish_reason", "completion_tokens", "letter_share", "thought")


def parse_replies(prompts: pl.DataFrame, responses: pl.DataFrame) -> pl.DataFrame:
    """Decide for each response which option it picked.

    A failed request is `error`, and a reply that declines is `refused`. If whole options were scored, or if the reply
    states a distribution as it was asked to, the most probable option is picked; an exact tie is `unparsed`. In all
    other cases the text of the reply decides. Log-probabilities of letters count as its probabilities if the reply
    opens with the letter that it picks and the letters have at least `LEAST_SHARE` of the first token's probability;
    for responses stored without that share, the most probable letter must also be the one in the text. Open text (no
    options) is `ok` unless it is empty, says that the model cannot or will not answer, or is reasoning that never
    ends; it picks nothing. A reply about a described group (condition `group`) is `ok` if it states a distribution,
    and only then; it picks the most probable option, or nothing on a tie.

    Args:
        prompts: PROMPTS; without `condition`, all are about persons.
        responses: RESPONSES. Columns that earlier versions did not have may be absent.

    Returns:
        model, prompt_id, request_hash, text, status, unparsed_reason, letter_share, pred_pos (shown), pred_idx
        (canonical), p_vec (canonical order; null without probabilities).
    """
    line, together = (
        (pl.col(name) if name in prompts.columns else pl.lit(None, pl.Int64)).alias(name)
        for name in ("line", "asked_together")
    )
    of_prompts = [c for c in ("prompt_id", "options", "option_order", "elicitation", "condition") if c in prompts]
    absent = {"completion_tokens": pl.Int64, "letter_share": pl.Float64, "thought": pl.Boolean}
    frame = (
        responses.with_columns(
            pl.lit(None, dtype).alias(name) for name, dtype in absent.items() if name not in responses.columns
        )
        .select("model", "prompt_id", "request_hash", *_READ)
        .join(prompts.select(*of_prompts, line, together), on="prompt_id")
    )
    frame = lines_of_replies(answer_lines(frame))
    about_group = pl.col("condition") == GROUP_CONDITION if "condition" in of_prompts else pl.lit(False)
    is_open = pl.col("options").list.len() == 0
    texts, frame = frame.filter(is_open), frame.filter(~is_open)
    if frame.is_empty():
        return _open_replies(texts)
    frame = _stated(frame)
    read = read_replies(frame.select("text", "options")).rename({"status": "text_status", "pred_pos": "text_pos"})
    frame = read_logprobs(frame.join(read, on=["text", "options"], how="left", nulls_equal=True))
    finish = pl.col("finish_reason").str.to_lowercase()
    filtered, cut = finish.is_in(REFUSED_FINISHES).fill_null(False), finish.is_in(CUT_OFF_FINISHES).fill_null(False)
    # A reply of one token: "I" begins most sentences, and only the second token shows whether it is a letter.
    begun = cut & (pl.col("completion_tokens").fill_null(1) == 1) & (pl.col("text").str.strip_chars() == "I")
    # With more than one token allowed, a reply that was cut off directly after "A" or "I" may have begun a word.
    begun = begun | (cut & (pl.col("completion_tokens") > 1) & pl.col("text").str.contains(r"(?:^|[\s>])[AI]\s*$"))
    # A cut-off "1" may have been 10, and "agree" may have been "agree strongly": another option begins with the reply.
    shown = pl.format("\n{}\n", pl.col("options").list.join("\n")).str.to_lowercase()
    started = pl.format("\n{}", pl.col("text").str.strip_chars().str.to_lowercase())
    by_text = pl.col("rule").is_in(["option text", "option within"])
    begun = (begun | (cut & by_text & (shown.str.count_matches(started, literal=True) > 1))).fill_null(False)
    unlisted = pl.col("no_line") & (pl.col("text_status") == OK)
    # Numbers for several letters pick none, whatever the first letter is.
    attempted = pl.col("attempted") & (pl.col("text_status") == OK)
    lacking = pl.col("lacks").is_not_null()
    text_status = (
        pl.when(begun | unlisted | attempted | (lacking & (pl.col("text_status") == OK)))
        .then(pl.lit(UNPARSED))
        .otherwise("text_status")
    )
    letters = pl.col("elicitation") == "letter"
    share = pl.coalesce(
        "letter_share", pl.when(letters).then(pl.col("option_logprobs").list.eval(pl.element().exp()).list.sum())
    )
    share = share.clip(0.0, 1.0)
    by_itself = pl.col("p_vec").is_not_null() & (
        (pl.col("elicitation") == "option_logprob") | pl.col("p_stated").is_not_null()
    )
    opens = (pl.col("opens_at") == pl.col("text_pos")) & (text_status == OK)
    known = (
        pl.col("letter_share").is_not_null() | (pl.col("top_pos") == pl.col("text_pos")) | pl.col("top_pos").is_null()
    )
    by_letter = pl.col("p_vec").is_not_null() & letters & opens & known & (share >= LEAST_SHARE)
    counts = (by_itself | by_letter).fill_null(False)
    tie = counts & pl.col("top_pos").is_null()
    status = (
        pl.when(pl.col("error").is_not_null())
        .then(pl.lit(ERROR))
        .when(filtered)
        .then(pl.lit(REFUSED))
        .when(about_group & pl.col("p_stated").is_not_null())
        .then(pl.lit(OK))
        .when(pl.col("text_status") == REFUSED)
        .then(pl.lit(REFUSED))
        .when(about_group)
        .then(pl.lit(UNPARSED))
        .when(by_itself.fill_null(False))
        .then(pl.when(tie).then(pl.lit(UNPARSED)).otherwise(pl.lit(OK)))
        .when(tie)
        .then(pl.lit(UNPARSED))
        .otherwise(text_status)
    )
    about_options = pl.col("unparsed_reason").is_in(["no_option", "several_options", "conflict"])
    no_list = pl.col("attempted") | (about_group & (pl.col("unparsed_reason").is_null() | about_options))
    vague = pl.col("unparsed_reason").is_null() | pl.col("unparsed_reason").is_in(["empty", "no_option", "foreign"])
    reason = (
        pl.when(tie)
        .then(pl.lit("several_options"))
        .when(begun | (cut & vague))
        .then(pl.lit("cut_off"))
        .when(unlisted)
        .then(pl.lit("no_option"))
        .when(lacking & vague)
        .then("lacks")
        .when(pl.col("thought").fill_null(False) & (pl.col("unparsed_reason") == "empty"))
        .then(pl.lit("thought_only"))
        .when(no_list)
        .then(pl.lit("no_distribution"))
        .otherwise("unparsed_reason")
    )
    frame = frame.with_columns(
        status.alias("status"),
        reason.alias("reason"),
        share.alias("letter_share"),
        pl.when(by_itself.fill_null(False)).then("top_pos").otherwise("text_pos").alias("pred_pos"),
        pl.when(counts).then("p_vec").alias("p_vec"),
    )
    ok = pl.col("status") == OK
    kept = pl.col("status").is_in([OK, UNPARSED])
    frame = frame.with_columns(
        pl.when(ok).then("pred_pos").alias("pred_pos"), pl.when(kept).then("p_vec").alias("p_vec")
    )
    picked = frame.select(
        "model",
        "prompt_id",
        "request_hash",
        "text",
        "status",
        pl.when(pl.col("status") == UNPARSED).then("reason").alias("unparsed_reason"),
        "letter_share",
        "pred_pos",
        pl.when(pl.col("pred_pos").is_not_null())
        .then(pl.col("option_order").list.get(pl.col("pred_pos").fill_null(0)))
        .alias("pred_idx"),
        "p_vec",
    )
    return pl.concat([picked, _open_replies(texts)], how="vertical_relaxed") if texts.height else picked


def _open_replies(frame: pl.DataFrame) -> pl.DataFrame:
    """Decide the status of open text. A long text may mention inability in passing; only a short one is a refusal."""
    frame = frame.with_columns(read_thought(pl.col("text").fill_null("")).alias("read"))
    text = pl.col("read").struct.field("said").str.strip_chars()
    unended, thought = pl.col("read").struct.field("unended"), pl.col("read").struct.field("thought")
    finish = pl.col("finish_reason").str.to_lowercase()
    filtered = finish.is_in(REFUSED_FINISHES).fill_null(False)
    declines = pl.col("unable").fill_null(False) & (text.str.len_chars() <= _SHORT)
    status = (
        pl.when(pl.col("error").is_not_null())
        .then(pl.lit(ERROR))
        .when(filtered | declines)
        .then(pl.lit(REFUSED))
        .when((text == "") | unended)
        .then(pl.lit(UNPARSED))
        .otherwise(pl.lit(OK))
    )
    reason = (
        pl.when(unended | finish.is_in(CUT_OFF_FINISHES).fill_null(False))
        .then(pl.lit("cut_off"))
        .when(thought | pl.col("thought").fill_null(False))
        .then(pl.lit("thought_only"))
        .otherwise(pl.lit("empty"))
    )
    return markers(frame).select(
        "model",
        "prompt_id",
        "request_hash",
        "text",
        status.alias("status"),
        pl.when(status == UNPARSED).then(reason).alias("unparsed_reason"),
        pl.lit(None, pl.Float64).alias("letter_share"),
        pl.lit(None, pl.Int64).alias("pred_pos"),
        pl.lit(None, pl.Int64).alias("pred_idx"),
        pl.lit(None, pl.List(pl.Float64)).alias("p_vec"),
    )


def _stated(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `p_stated` and `attempted`: the distribution that the reply to a verbalized prompt states, or tries to."""
    asked = frame.filter(pl.col("elicitation") == "verbalized")
    if asked.is_empty():
        return frame.with_columns(pl.lit(None, pl.List(pl.Float64)).alias("p_stated"), pl.lit(False).alias("attempted"))
    said = read_verbalized(asked).with_columns(pl.lit("verbalized").alias("elicitation"))
    joined = frame.join(said, on=["text", "options", "elicitation"], how="left", nulls_equal=True)
    return joined.with_columns(pl.col("attempted").fill_null(False))


def score(prompts: pl.DataFrame, items: pl.DataFrame, responses: pl.DataFrame) -> pl.DataFrame:
    """Score every response.

    The item's `scoring` says how. By key, `score` is 1 if the pick is the answer key, else 0. By probability mass, it
    is the sum over options of probability × `option_credit`, null without probabilities. By reference, it is ROUGE-L
    of the open text; `text_scores` has the other measures. Other items, and answers that are not ok, have no score.
    `bias` is the `option_bias` of the option picked.

    Returns:
        SCORES.
    """
    facts = items.select(
        "item_id", "kind", "category", "ordinal", "scoring", "answer_set", "option_bias", "option_credit", "reference",
        "bertscore_model",
    )  # fmt: skip
    columns = [
        "prompt_id", "task", "item_id", "cluster_id", "respondent_id", "survey", "wave", "condition", "style",
        "framing", "paraphrase_id", "repeat_id", "elicitation", "order_id", "gold_idx", "gold_pos", "weight",
        pl.col("options").list.len().cast(pl.Int64).alias("k_options"),
        *(
            (pl.col(name) if name in prompts.columns else pl.lit(None, dtype)).alias(name)
            for name, dtype in (
                ("arm", pl.String), ("treated", pl.Boolean), ("conversation", pl.String), ("turn", pl.Int64),
                ("shuffled_with", pl.String),
            )
        ),
    ]  # fmt: skip
    frame = parse_replies(prompts, responses).join(prompts.select(columns), on="prompt_id").join(facts, on="item_id")
    frame = _against_references(markers(frame))
    picked = pl.col("pred_idx").is_not_null()
    return SCORES.conform(
        _on_scales(frame, prompts, items)
        .with_columns(
            pl.when(picked & (pl.col("scoring") == "probability_mass"))
            .then((pl.col("p_vec") * pl.col("option_credit")).list.sum())
            .when(picked)
            .then((pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64))
            .otherwise(pl.col("text_scores").struct.field("rouge_l"))
            .alias("score"),
            pl.when(picked)
            .then(pl.col("option_bias").list.get(pl.col("pred_idx").fill_null(0), null_on_oob=True))
            .cast(pl.Float64)
            .alias("bias"),
            pl.when(pl.col("text").is_not_null()).then("condescending").alias("condescending"),
        )
        .select(list(SCORES.schema))
    )


def _on_scales(frame: pl.DataFrame, prompts: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Add `scale_reversed` and `scale_place`; null for rows of items that are no scale."""
    order = order_text(pl.col("option_order"))
    shown = (
        prompts.unique(["item_id", "order_id"])
        .join(scale_directions(items), on="item_id")
        .select(
            "item_id",
            "order_id",
            "places",
            pl.when(order == pl.col("backward"))
            .then(pl.lit(True))
            .when(order == pl.col("forward"))
            .then(pl.lit(False))
            .alias("scale_reversed"),
        )
    )
    known = pl.col("places").list.eval(pl.element().is_not_null().cast(pl.Float64))
    on_scale = (pl.col("p_vec") * known).list.sum()
    expected = (pl.col("p_vec") * pl.col("places")).list.sum() / on_scale
    place = (
        pl.when(pl.col("status") != OK)
        .then(None)
        .when(pl.col("p_vec").is_null())
        .then(pl.col("places").list.get(pl.col("pred_idx"), null_on_oob=True))
        .when(on_scale > 0)
        .then(expected.clip(0.0, 1.0))
    )
    return frame.join(shown, on=["item_id", "order_id"], how="left", maintain_order="left").with_columns(
        place.alias("scale_place")
    )


def _against_references(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `text_scores`: readable open text compared with the item's reference; null for other rows."""
    wanted = (pl.col("k_options") == 0) & (pl.col("status") == OK) & pl.col("reference").is_not_null()
    pairs = frame.filter(wanted)
    if pairs.is_empty():
        return frame.with_columns(pl.lit(None, TEXT_SCORES).alias("text_scores"))
    key = ["text", "reference", "bertscore_model"]
    scored = text_scores(pairs, task=str(pairs["task"][0]))
    return frame.join(scored, on=key, how="left", nulls_equal=True, maintain_order="left").with_columns(
        pl.when(wanted).then("text_scores").alias("text_scores")
    )
