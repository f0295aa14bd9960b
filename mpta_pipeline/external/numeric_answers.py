"""Compare numeric answers (scale means, ratings, amounts) of models with people's.

Standard errors are those of means: two-way clustered by persona (by sampling unit, if the file has it) and item if each
answer has its person's, and Welch's if the model's answers and the people's belong to different persons.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy import stats

from mpta_pipeline.metrics.samples.groups import sampled
from mpta_pipeline.metrics.statistics.arrays import dense
from mpta_pipeline.metrics.statistics.clustered import Slices, t_quantile

SCHEMA = {
    "model": pl.String,
    "dimensions": pl.String,
    "subgroup": pl.String,
    "item_id": pl.String,
    "n_answers": pl.Int64,
    "n_people": pl.Int64,
    "mean_model": pl.Float64,
    "mean_people": pl.Float64,
    "difference": pl.Float64,
    "ci_low": pl.Float64,
    "ci_high": pl.Float64,
    "sd_ratio": pl.Float64,
    "mae": pl.Float64,
    "mae_n": pl.Float64,
    "pearson": pl.Float64,
    "range_low": pl.Float64,
    "range_high": pl.Float64,
    "unreadable": pl.Int64,
}
EVERY = "all"


def numeric_estimates(
    rows: pl.DataFrame, people: pl.DataFrame | None, groups: pl.DataFrame, by: tuple[str, ...], *, level: float = 0.05
) -> pl.DataFrame:
    """Compare numbers, item by item and over all items, for everyone and by group.

    Args:
        rows: item_id, model, answer, own_answer (may be null), respondent_id if present.
        people: item_id, respondent_id, own_answer of all people; None if the rows contain them.
        groups: respondent_id and one column per base dimension.
        by: Dimensions.
        level: Level of the intervals.

    Returns:
        One row per model, group and item: both means, their difference with its interval, the ratio of the standard
        deviations, the mean absolute error (`mae_n` over the range of the people's answers) and Pearson's r over
        persons. The row of item "all" holds the means over items of `mae_n` and of the standardized difference
        (`difference` over the people's standard deviation). Null where it does not apply.
    """
    number = (
        pl.col("answer")
        .cast(pl.String)
        .str.strip_chars()
        .str.replace(r"^(-?\d+),(\d+)$", "$1.$2")
        .cast(pl.Float64, strict=False)
    )
    own = pl.col("own_answer").cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    if "respondent_id" not in rows.columns:
        rows = rows.with_columns(pl.lit(None, pl.String).alias("respondent_id"))
    rows = rows.with_columns(number.alias("x"), own.alias("y"), pl.col("respondent_id").cast(pl.String))
    rows = rows.with_columns(
        pl.when(pl.col("x").is_finite()).then("x").alias("x"), pl.when(pl.col("y").is_finite()).then("y").alias("y")
    )
    theirs = (
        rows.select("item_id", "respondent_id", "y").drop_nulls("y").unique(maintain_order=True)
        if people is None
        else people.filter(pl.col("item_id").is_in(rows["item_id"].unique().implode()))
        .select("item_id", pl.col("respondent_id").cast(pl.String), own.alias("y"))
        .drop_nulls("y")
    )
    bases = [x for x in groups.columns if x not in ("respondent_id", "survey", "stratum", "psu")]
    facts = groups.select("respondent_id", *bases)
    drawn = sampled(groups, rows.get_column("respondent_id")).rename("unit")
    rows = rows.with_columns(drawn)
    rows = rows.join(facts, on="respondent_id", how="left", maintain_order="left")
    theirs = theirs.join(facts, on="respondent_id", how="left", maintain_order="left")
    spans = theirs.group_by("item_id").agg(
        pl.col("y").min().alias("low"), pl.col("y").max().alias("high"), pl.col("y").std().alias("sd")
    )
    out = []
    for (model,), part in rows.group_by(["model"], maintain_order=True):
        for dimension in (EVERY, *by):
            parts = dimension.split("×") if dimension != EVERY else []
            if any(p not in bases for p in parts):
                continue
            label = pl.concat_str([pl.col(p) for p in parts], separator="×") if parts else pl.lit(EVERY)
            ours, people_here = part.with_columns(label.alias("slice")), theirs.with_columns(label.alias("slice"))
            for (name,), mine in ours.drop_nulls("slice").sort("slice").group_by(["slice"], maintain_order=True):
                of = people_here.filter(pl.col("slice") == name)
                out += _rows(
                    {"model": str(model), "dimensions": dimension, "subgroup": str(name)}, mine, of, spans, level
                )
    return pl.DataFrame(out, schema=SCHEMA, orient="row")


def _rows(
    key: dict[str, str], mine: pl.DataFrame, people: pl.DataFrame, spans: pl.DataFrame, level: float
) -> list[dict[str, object]]:
    """Return the rows of one model and group: one per item, and one for all items."""
    out: list[dict[str, object]] = []
    for (item,), part in mine.sort("item_id").group_by(["item_id"], maintain_order=True):
        x, y = part["x"].drop_nulls().to_numpy(), people.filter(pl.col("item_id") == item)["y"].to_numpy()
        span = spans.filter(pl.col("item_id") == item)
        both = part.filter(pl.col("x").is_not_null() & pl.col("y").is_not_null())
        row: dict[str, object] = {
            **key,
            "item_id": str(item),
            "n_answers": len(x),
            "n_people": len(y),
            "mean_model": _mean(x),
            "mean_people": _mean(y),
            "unreadable": part.height - len(x),
            "range_low": span.item(0, "low") if span.height else None,
            "range_high": span.item(0, "high") if span.height else None,
        }
        if len(x) > 1 and len(y) > 1:
            spread = float(np.std(y, ddof=1))
            row["sd_ratio"] = float(np.std(x, ddof=1)) / spread if spread > 0 else None
        if both.height > 1:
            d = both["x"].to_numpy() - both["y"].to_numpy()
            row["difference"] = float(d.mean())
            row["ci_low"], row["ci_high"] = _interval(d, both.get_column("unit"), level)
            row["mae"] = float(np.abs(d).mean())
            width = float(span.item(0, "high") - span.item(0, "low")) if span.height else 0.0
            row["mae_n"] = float(np.abs(d).mean() / width) if width > 0 else None
            if both["x"].std() and both["y"].std():
                row["pearson"] = float(np.corrcoef(both["x"].to_numpy(), both["y"].to_numpy())[0, 1])
        elif len(x) > 1 and len(y) > 1:
            found = stats.ttest_ind(x, y, equal_var=False)
            ends = found.confidence_interval(1 - level)
            row["difference"], row["ci_low"], row["ci_high"] = (
                float(x.mean() - y.mean()),
                float(ends.low),
                float(ends.high),
            )
        out.append(row)
    paired = mine.filter(pl.col("x").is_not_null() & pl.col("y").is_not_null()).join(
        spans, on="item_id", how="inner", maintain_order="left"
    )
    paired = paired.filter((pl.col("high") > pl.col("low")) & (pl.col("sd") > 0))
    whole: dict[str, object] = {
        **key,
        "item_id": EVERY,
        "n_answers": int(mine["x"].is_not_null().sum()),
        "n_people": people["respondent_id"].n_unique(),
        "unreadable": int(mine["x"].is_null().sum()),
    }
    if paired.height:
        d = paired.select((pl.col("x") - pl.col("y")) / pl.col("sd")).to_series().to_numpy()
        who = paired["unit"].fill_null("nobody")
        slices = Slices(np.zeros(len(d), dtype=np.int64), 1, dense(who), dense(paired["item_id"]))
        means = slices.means(d, np.ones(len(d)))
        whole["difference"] = float(means.estimate[0])
        if np.isfinite(means.se[0]):
            reach = float(t_quantile(means.df, level)[0] * means.se[0])
            whole["ci_low"], whole["ci_high"] = float(means.estimate[0]) - reach, float(means.estimate[0]) + reach
        error = paired.select((pl.col("x") - pl.col("y")).abs() / (pl.col("high") - pl.col("low"))).to_series()
        whole["mae_n"] = float(error.to_numpy().mean())
    out.append(whole)
    return [{name: row.get(name) for name in SCHEMA} for row in out]


def _mean(values: np.ndarray) -> float | None:  # type: ignore[type-arg]
    return float(values.mean()) if len(values) else None


def _interval(d: np.ndarray, unit: pl.Series, level: float) -> tuple[float | None, float | None]:  # type: ignore[type-arg]
    """Return the interval of a mean over answers, clustered by sampling unit; answers without a persona stand alone."""
    alone = pl.format("row {}", pl.int_range(pl.len()))
    of = dense(unit.alias("unit").to_frame().select(pl.coalesce("unit", alone)).to_series())
    n = int(of.max()) + 1
    if n < 2:
        return None, None
    sums = np.bincount(of, weights=d - d.mean(), minlength=n)
    se = float(np.sqrt(n / (n - 1) * (sums**2).sum())) / len(d)
    reach = float(t_quantile(np.array([float(n - 1)]), level)[0]) * se
    return float(d.mean()) - reach, float(d.mean()) + reach
