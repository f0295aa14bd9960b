"""Show how a file of answers was understood, before anything is computed (`mpta score FILE --look`)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from mpta_pipeline.external.column_roles import MEANING
from mpta_pipeline.external.scoring_inputs import Answers, some

_SHOWN = 8


def look(answers: Answers, by: Sequence[str] = ()) -> list[tuple[str, list[str]]]:
    """Return headings with their lines.

    Args:
        answers: What was read.
        by: Dimensions that the user named.
    """
    frame, out = answers.frame, []
    columns = [f"{column}: {MEANING[role]} ({role})" for role, column in answers.roles.items()]
    if answers.unused:
        columns.append(f"not used: {', '.join(answers.unused)} (group personas by them with --by)")
    out.append(("Columns", columns))
    if frame.height:
        asked = frame["item_id"].n_unique()
        k = answers.items.join(frame.select("item_id").unique(), on="item_id", how="semi")["options"].list.len()
        models = frame["model"].unique(maintain_order=True).to_list()
        lines = [
            f"{frame.height:,} answers of {len(models)} model(s) ({some(models)}) "
            f"to {asked:,} items with {_range(k)} options"
        ]
        if "respondent_id" in frame.columns and (n := frame["respondent_id"].drop_nulls().n_unique()):
            lines.append(f"{n:,} personas; {frame['respondent_id'].null_count():,} answers without a persona")
        keyed = _keyed(answers)
        lines.append(f"{keyed:,} of {frame.height:,} answers have a key")
        out.append(("Answers", lines))
        out.append(("Missing", _missing(frame)))
    if answers.numeric is not None and answers.numeric.height:
        numbers = answers.numeric
        asked = numbers["item_id"].n_unique()
        out.append(("Numbers", [f"{numbers.height:,} answers to {asked} questions are compared as numbers"]))
    support = answers.support
    if support is not None:
        never = support.filter(pl.col("why").is_not_null())
        lines = [
            f"{row['item_id']} ({row['model']}): {row['why']}; answers {', '.join(map(str, row['said']))}; "
            f"options {', '.join(row['options'][:6])}"
            for row in never.head(_SHOWN).iter_rows(named=True)
        ]
        if never.height > _SHOWN:
            lines.append(f"… {never.height - _SHOWN} more")
        out.append(("Items whose answers never match their options", lines or ["none"]))
    if answers.left_out:
        out.append(("Left out", [aside.text() for aside in answers.left_out]))
    if answers.notes:
        out.append(("Assumed", list(answers.notes)))
    out.append(("Will be computed", _computed(answers, by)))
    return out


def _range(values: pl.Series) -> str:
    low, high = values.min(), values.max()
    return str(low) if low == high else f"{low!s} to {high!s}"


def _keyed(answers: Answers) -> int:
    frame = answers.frame
    rows = frame.join(answers.items.select("item_id", "gold_idx"), on="item_id", how="left", maintain_order="left")
    if answers.gold.height and "respondent_id" in rows.columns:
        own = answers.gold.select("item_id", "respondent_id", pl.col("gold_idx").alias("own"))
        rows = rows.with_columns(pl.col("respondent_id").cast(pl.String)).join(
            own, on=["item_id", "respondent_id"], how="left", maintain_order="left"
        )
        return rows.filter(pl.coalesce("own", "gold_idx").is_not_null()).height
    return rows.filter(pl.col("gold_idx").is_not_null()).height


def _missing(frame: pl.DataFrame) -> list[str]:
    looked = ("answer", "respondent_id", "weight", "model", "condition", "survey", "status")
    empty = {name: frame[name].null_count() for name in looked if name in frame.columns}
    lines = [f"{name}: empty in {n:,} of {frame.height:,} rows" for name, n in empty.items() if n]
    return lines or ["nothing"]


def _computed(answers: Answers, by: Sequence[str]) -> list[str]:
    frame, gold = answers.frame, answers.gold
    if not frame.height and (answers.numeric is None or not answers.numeric.height):
        return ["nothing: no answer is left that could be scored"]
    if not frame.height:
        return [
            "means, differences and errors of the numbers, for everyone" + (f" and by {', '.join(by)}" if by else "")
        ]
    lines = ["accuracy over all and over readable answers, reading and error rates, beside chance"]
    if gold.height:
        lines.append(
            "beside always giving the item's most frequent answer; distances (tv, w1n, js) and flattening against "
            "people's answers"
        )
        if bool(answers.items["ordinal"].any()):
            lines.append("of ordered items: distance in steps (mae_n), quadratic kappa (qwk)")
    if answers.items["context_condition"].null_count() < answers.items.height:
        lines.append("BBQ's bias scores, in ambiguous and disambiguated contexts")
    if "probabilities" in frame.columns:
        lines.append("Brier and log score of the probabilities")
    if frame["model"].n_unique() > 1:
        lines.append("models compared on the answers that both gave, with groups that cannot be distinguished")
    if by:
        lines.append(f"everything by {', '.join(by)}; pockets of personas where a model does worse")
    if "weight" in frame.columns:
        lines.append("unweighted and weighted estimates")
    if "respondent_id" in frame.columns and 0 < frame["respondent_id"].null_count() < frame.height:
        lines.append("the persona's effect: answers with it against answers without a persona")
    return lines
