"""Check prompts before requests are sent, and the share of replies that can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from scipy import stats

from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.vocabulary import REFERENCE_CONDITION
from mpta_pipeline.tasks.option_orders import SCALE

# A balanced design passes by construction; a fair random design is rejected once in a hundred thousand.
_LEVEL = 1e-5


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
    keyed = prompts.filter(pl.col("gold_pos").is_not_null())
    seen = keyed.unique(["item_id", "respondent_id", "order_id"]) if keyed.height else keyed
    counts = (
        seen.select(pl.col("options").list.len().alias("k"), "gold_pos")
        .group_by("k", "gold_pos")
        .len()
        .sort("k", "gold_pos")
    )
    expected = _expected_positions(seen, prompts) if orders == SCALE else {}
    rows = []
    for (k,), part in counts.partition_by("k", as_dict=True, maintain_order=True).items():
        by_position = dict(part.select("gold_pos", "len").rows())
        observed = [by_position.get(i, 0) for i in range(int(str(k)))]
        due = [expected.get((k, i), 0.0) for i in range(len(observed))] if expected else None
        result = _chisquare(observed, due)
        rows.append((k, sum(observed), float(result.statistic), float(result.pvalue), observed))
    schema = pl.Schema(
        {"k": pl.Int64(), "n": pl.Int64(), "chi2": pl.Float64(), "p_value": pl.Float64(), "counts": pl.List(pl.Int64)}
    )
    return pl.DataFrame(rows, schema=schema, orient="row")


def _expected_positions(seen: pl.DataFrame, prompts: pl.DataFrame) -> dict[tuple[object, int], float]:
    """How often each position should show the key: every order of an item equally often; by (k, position)."""
    designs = prompts.unique(["item_id", "order_id"]).select("item_id", "option_order")
    keys = seen.group_by("item_id", "gold_idx").agg(pl.len().alias("n"))
    places = keys.join(designs, on="item_id").with_columns(
        pl.col("option_order").list.len().alias("k"),
        pl.col("option_order")
        .list.eval(pl.element().arg_sort())
        .list.get(pl.col("gold_idx"))
        .cast(pl.Int64)
        .alias("position"),
        (pl.col("n") / pl.len().over("item_id", "gold_idx")).alias("due"),
    )
    due = places.group_by("k", "position").agg(pl.col("due").sum())
    return {(k, position): n for k, position, n in due.iter_rows()}


def _chisquare(observed: list[int], due: list[float] | None) -> Any:
    """Pearson's test against `due`, or a uniform distribution; positions that no order uses do not count."""
    if due is None:
        return stats.chisquare(observed)
    used = [i for i, n in enumerate(due) if n > 0 or observed[i]]
    return stats.chisquare([observed[i] for i in used], [due[i] for i in used])


def readable_rates(scores: pl.DataFrame) -> list[dict[str, Any]]:
    """Shares of a model's replies that can be read and that refuse, per elicitation and condition.

    Args:
        scores: SCORES of one model and task; failed requests do not count.
    """
    replies = scores.filter(pl.col("status") != "error")
    return (
        replies.group_by("elicitation", "condition")
        .agg(
            (pl.col("status") == "ok").mean().alias("readable"),
            (pl.col("status") == "refused").mean().alias("refused"),
            pl.len().alias("replies"),
            pl.col("unparsed_reason").drop_nulls().mode().sort().first().alias("mostly"),
        )
        .sort("elicitation", "condition")
        .to_dicts()
    )


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


def check_prompts(prompts: pl.DataFrame, orders: str = "cyclic") -> list[CheckResult]:
    """Check a task's prompts: position of the answer key, twins without persona, distinct options.

    Args:
        prompts: PROMPTS of one task.
        orders: `orders` of the task.
    """
    test = gold_position_test(prompts, orders)
    worst = test["p_value"].min()
    twin = ["item_id", "respondent_id", "order_id", "style", "framing", "repeat_id"]
    bare = prompts.filter(pl.col("condition") == REFERENCE_CONDITION)
    alone = (
        prompts.filter(pl.col("condition") == "persona").join(bare, on=twin, how="anti").height if bare.height else 0
    )
    repeated = prompts.filter(pl.col("options").list.n_unique() < pl.col("options").list.len()).height
    return [
        CheckResult(
            "gold_position_uniform",
            worst is None or float(str(worst)) > _LEVEL,
            "error",
            "The answer key is equally frequent at every position (χ² test)"
            if orders != SCALE
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
            "options_differ", repeated == 0, "error", "No prompt shows the same option twice", {"prompts": repeated}
        ),
    ]
