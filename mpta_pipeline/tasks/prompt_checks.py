"""Check prompts before requests are sent, and the share of replies that can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.described_groups import of_groups, of_people
from mpta_pipeline.core.vocabulary import REFERENCE_CONDITION
from mpta_pipeline.tasks.option_orders import DIRECTIONS, SCALE

# A balanced design passes by construction; a fair random design is rejected once in a hundred thousand.
_LEVEL = 1e-5
_POSITIONS = {"k": pl.Int64, "gold_pos": pl.Int64, "n": pl.Int64, "due": pl.Float64}


def gold_position_test(prompts: pl.DataFrame, orders: str = "cyclic") -> pl.DataFrame:
    """Test by χ² where the answer key is shown, for each number of options, over distinct prompts.

    It should be at every position equally often. If scales are shown forward and reversed only, it should be at each
    position as often as the orders of its item bring it there.

    Args:
        prompts: PROMPTS of one task.
        orders: `orders` of the task.

    Returns:
        k, n, chi2, p_value, counts (by position).
    """
    return _test_positions(_gold_positions(prompts, orders))


def _gold_positions(prompts: pl.DataFrame, orders: str) -> pl.DataFrame:
    """Where the answer key is in distinct prompts, and how often it should be there: k, gold_pos, n, due.

    Without `due`, it should be at each position of a number of options equally often.
    """
    keyed = prompts.filter(pl.col("gold_pos").is_not_null())
    if "conversation" in prompts.columns:
        # One order for all questions of a conversation: their positions are no independent draws.
        keyed = keyed.filter(pl.col("conversation").is_null())
    seen = keyed.unique(["item_id", "respondent_id", "order_id"]) if keyed.height else keyed
    found = seen.select(pl.col("options").list.len().cast(pl.Int64).alias("k"), "gold_pos").group_by("k", "gold_pos")
    counts = found.agg(pl.len().cast(pl.Int64).alias("n"))
    if orders == SCALE or orders in DIRECTIONS:
        due = _due_positions(seen, prompts)
        counts = counts.join(due, on=["k", "gold_pos"], how="full", coalesce=True)
        counts = counts.with_columns(pl.col("n").fill_null(0), pl.col("due").fill_null(0.0))
    else:
        counts = counts.with_columns(pl.lit(None, pl.Float64).alias("due"))
    return counts.select(list(_POSITIONS)).sort("k", "gold_pos")


def _test_positions(counts: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for (k,), part in counts.partition_by("k", as_dict=True, maintain_order=True).items():
        by_position = {position: (n, due) for position, n, due in part.select("gold_pos", "n", "due").rows()}
        places = [by_position.get(i, (0, None)) for i in range(int(str(k)))]
        observed = [n for n, _ in places]
        result = _chisquare(observed, [due or 0.0 for _, due in places] if part["due"].null_count() == 0 else None)
        rows.append((k, sum(observed), float(result.statistic), float(result.pvalue), observed))
    schema = pl.Schema(
        {"k": pl.Int64(), "n": pl.Int64(), "chi2": pl.Float64(), "p_value": pl.Float64(), "counts": pl.List(pl.Int64)}
    )
    return pl.DataFrame(rows, schema=schema, orient="row")


def _due_positions(seen: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """How often each position should show the key, if every order of an item is equally frequent: k, gold_pos, due."""
    designs = prompts.unique(["item_id", "order_id"]).select("item_id", "option_order")
    keys = seen.group_by("item_id", "gold_idx").agg(pl.len().alias("n"))
    places = keys.join(designs, on="item_id").select(
        pl.col("option_order").list.len().cast(pl.Int64).alias("k"),
        pl.col("option_order")
        .list.eval(pl.element().arg_sort())
        .list.get(pl.col("gold_idx"))
        .cast(pl.Int64)
        .alias("gold_pos"),
        (pl.col("n") / pl.len().over("item_id", "gold_idx")).alias("due"),
    )
    return places.group_by("k", "gold_pos").agg(pl.col("due").sum())


def _chisquare(observed: list[int], due: list[float] | None) -> Any:
    """Pearson's test against `due`, or a uniform distribution; positions that no order uses do not count."""
    from scipy import stats  # half a second to load, which commands that build no prompts save

    if due is None:
        return stats.chisquare(observed)
    used = [i for i, n in enumerate(due) if n > 0 or observed[i]]
    return stats.chisquare([observed[i] for i in used], [due[i] for i in used])


def readable_rates(scores: pl.DataFrame) -> list[dict[str, Any]]:
    """Shares of a model's replies that can be read and that refuse, per elicitation and condition.

    Args:
        scores: SCORES of one model and task; failed requests do not count.
    """
    return merged_rates([reply_counts(scores)])


def reply_counts(scores: pl.DataFrame) -> list[dict[str, Any]]:
    """Count replies per elicitation and condition; failed requests do not count. Counts of chunks add up."""
    replies = scores.filter(pl.col("status") != "error")
    counts = (
        replies.group_by("elicitation", "condition")
        .agg(
            pl.len().alias("replies"),
            (pl.col("status") == "ok").sum().alias("ok"),
            (pl.col("status") == "refused").sum().alias("refused"),
            pl.col("unparsed_reason").drop_nulls().value_counts().alias("reasons"),
        )
        .sort("elicitation", "condition")
        .to_dicts()
    )
    return [row | {"reasons": {r["unparsed_reason"]: r["count"] for r in row["reasons"]}} for row in counts]


def merged_rates(counts: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """As `readable_rates`, from the `reply_counts` of all chunks of the scores."""
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for row in (row for one in counts for row in one):
        cell = cells.setdefault(
            (row["elicitation"], row["condition"]), {"replies": 0, "ok": 0, "refused": 0, "reasons": Counter()}
        )
        for name in ("replies", "ok", "refused"):
            cell[name] += row[name]
        cell["reasons"].update(row["reasons"])
    return [
        {
            "elicitation": elicitation,
            "condition": condition,
            "readable": cell["ok"] / cell["replies"],
            "refused": cell["refused"] / cell["replies"],
            "replies": cell["replies"],
            "mostly": min(cell["reasons"], key=lambda reason: (-cell["reasons"][reason], reason), default=None),
        }
        for (elicitation, condition), cell in sorted(cells.items())
    ]


def check_readable(rates: Sequence[Mapping[str, Any]], least: float) -> CheckResult:
    """Check that at least a share of a model's replies can be read, per elicitation and condition.

    Args:
        rates: What `readable_rates` returned.
        least: Share of the replies that must name an option or be open text.
    """
    worst = "; ".join(
        f"{rate['condition']}, {rate['elicitation']}: {rate['readable']:.0%} of {rate['replies']:,} replies name an "
        f"option, {rate['refused']:.0%} refuse"
        + (f"; the most frequent reason of the others: {rate['mostly']}" if rate["mostly"] else "")
        for rate in rates
        if rate["readable"] < least
    )
    said = (
        f"At least {least:.0%} of the replies name an option"
        if not worst
        else f"Too few replies can be read (at least {least:.0%} should): {worst}"
    )
    return CheckResult("replies_readable", not worst, "warn", said, {"rates": list(rates)})


def prompt_counts(prompts: pl.DataFrame, orders: str = "cyclic") -> dict[str, Any]:
    """Count what `check_counts` checks. The counts of chunks, which divide the personas, add up to those of a task.

    Args:
        prompts: PROMPTS of one task, or of some of its personas.
        orders: `orders` of the task.
    """
    twin = ["item_id", "respondent_id", "order_id", "style", "framing", "repeat_id"]
    bare = prompts.filter(pl.col("condition") == REFERENCE_CONDITION)
    alone = prompts.filter(pl.col("condition") == "persona").join(bare, on=twin, how="anti").height
    return {
        "personas": of_people(prompts)["respondent_id"].n_unique(),
        "about_groups": of_groups(prompts).select("content_hash", "repeat_id").n_unique(),
        "without_persona": bare.height,
        "alone": alone,
        "repeated": prompts.filter(pl.col("options").list.n_unique() < pl.col("options").list.len()).height,
        "gold_positions": [list(row) for row in _gold_positions(prompts, orders).rows()],
    }


def check_prompts(prompts: pl.DataFrame, orders: str = "cyclic") -> list[CheckResult]:
    """Check a task's prompts: position of the answer key, twins without persona, distinct options.

    Args:
        prompts: PROMPTS of one task.
        orders: `orders` of the task.
    """
    return check_counts([prompt_counts(prompts, orders)])


def check_counts(counts: Sequence[Mapping[str, Any]]) -> list[CheckResult]:
    """As `check_prompts`, from the `prompt_counts` of all chunks of a task."""
    positions = pl.DataFrame(
        [row for one in counts for row in one["gold_positions"]],
        schema=_POSITIONS,
        orient="row",
    )
    by_place = positions.group_by("k", "gold_pos").agg(
        pl.col("n").sum(), pl.when(pl.col("due").null_count() == 0).then(pl.col("due").sum()).alias("due")
    )
    test = _test_positions(by_place.sort("k", "gold_pos"))
    worst = test["p_value"].min()
    total = {name: sum(one[name] for one in counts) for name in ("without_persona", "alone", "repeated")}
    alone = total["alone"] if total["without_persona"] else 0
    return [
        CheckResult(
            "gold_position_uniform",
            worst is None or float(str(worst)) > _LEVEL,
            "error",
            "The answer key is equally frequent at every position (χ² test)"
            if positions["due"].null_count()
            else "The answer key is at each position as often as the option orders bring it there (χ² test)",
            {"tests": test.to_dicts()},
        ),
        CheckResult(
            "twins_without_persona",
            alone == 0,
            "error",
            "Every persona prompt has a twin without persona: same item, order and respondent",
            {"alone": alone},
        ),
        CheckResult(
            "options_differ",
            total["repeated"] == 0,
            "error",
            "No prompt shows the same option twice",
            {"prompts": total["repeated"]},
        ),
    ]
