"""Every figure of one model on one task: metrics by subgroup, with interval, baselines, persona effect and gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mpta_pipeline.errors import ValidationError
from mpta_pipeline.hashing import digest
from mpta_pipeline.metrics import distances, equivalence, multiplicity, shrinkage
from mpta_pipeline.metrics import groups as g
from mpta_pipeline.metrics import human as h
from mpta_pipeline.metrics.answers import Units, balance
from mpta_pipeline.metrics.clustered import Slices, p_value, t_quantile
from mpta_pipeline.metrics.proportions import wilson
from mpta_pipeline.metrics.registry import METRICS, Metric
from mpta_pipeline.study import FigureRules
from mpta_pipeline.tables import SUBGROUP_METRICS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REFERENCE = "no_persona"
NO_WEIGHTS = "no survey weights"
# Below this many effective answers on the rarer side, the t interval of a proportion is not to be trusted.
WILSON_BELOW = 10.0


def compute_figures(
    scores: pl.DataFrame,
    groups: pl.DataFrame,
    gold: pl.DataFrame,
    *,
    rules: FigureRules,
    releases: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Compute all figures of one model on one task.

    Each figure has a row with `baseline` empty and one row more for each baseline that applies: the same figure, with the
    baseline's figure on the same answers and the gap net of the baseline.

    Args:
        scores: SCORES of one model and one task.
        groups: persona_id, survey and one text column per base dimension, for all respondents (null: unknown).
        gold: GOLD of the task for all respondents; empty where the answer key does not depend on the person.
        rules: How figures are cut and judged.
        releases: wave and release_id of the waves in use (WAVES will do); None leaves `release_ids` empty.

    Returns:
        SUBGROUP_METRICS. Surveys are never pooled. The result does not depend on the order of any frame's rows.

    Raises:
        ConfigError: A dimension is not known.
        ValidationError: The scores are of several models or tasks.
    """
    if scores.is_empty():
        return SUBGROUP_METRICS.empty()
    for column in ("model", "task"):
        if scores.get_column(column).n_unique() > 1:
            raise ValidationError(
                "Figures are made for one model and one task at a time",
                variable=column,
                value=", ".join(sorted(scores.get_column(column).unique().to_list())),
                remedy="pass the scores of one partition",
            )
    dimensions = tuple(dict.fromkeys((g.ALL, *rules.dimensions)))
    g.check_dimensions(dimensions, groups)
    units = balance(scores)
    surveys = units.frame.get_column("survey")
    parts = []
    for survey in sorted(surveys.unique().to_list()):
        of_survey = units.take((surveys == survey).to_numpy())
        has_weights = bool(of_survey.frame.get_column("weight").is_not_null().all())
        for weighted in (False, True) if has_weights else (False,):
            parts.extend(_survey_figures(of_survey, groups, gold, survey, dimensions, rules, weighted, has_weights))
    figures = pl.concat(parts, how="diagonal").with_columns(
        pl.lit(scores.item(0, "model")).alias("model"),
        pl.lit(scores.item(0, "task")).alias("task"),
    )
    figures = _corrected(figures, rules).join(_releases(units.frame, releases), on="survey", how="left")
    return SUBGROUP_METRICS.conform(figures.select(list(SUBGROUP_METRICS.schema)))


@dataclass(frozen=True)
class _Rows:
    """Balanced answers of one survey and condition, with what every figure needs."""

    units: Units
    weight: Floats
    persona: Ints
    cluster: Ints
    item: Ints


def _survey_figures(
    units: Units,
    groups: pl.DataFrame,
    gold: pl.DataFrame,
    survey: str,
    dimensions: tuple[str, ...],
    rules: FigureRules,
    weighted: bool,
    has_weights: bool,
) -> list[pl.DataFrame]:
    """Figures of one survey, weighted or not."""
    people = h.people(gold, groups, survey, units.frame.get_column("item_id"), weighted=weighted)
    frame = units.frame.join(groups.drop("survey"), on="persona_id", how="left", maintain_order="left")
    frame = with_own(frame, people)
    frame = frame.with_columns(guess_columns(frame, people, None, "item"))
    weight = frame.get_column("weight").to_numpy() if weighted else np.ones(frame.height)
    persona, cluster, item = (g.dense(frame.get_column(c)) for c in ("persona_id", "cluster_id", "item_id"))
    pair = persona * (int(item.max()) + 1) + item
    condition = frame.get_column("condition")
    note = "weighted" if weighted else ("unweighted" if has_weights else NO_WEIGHTS)
    parts: list[pl.DataFrame] = []
    for dimension in dimensions:
        cut = g.cut(frame, dimension)
        if not cut.labels:
            continue
        with_group = frame.with_columns(
            *guess_columns(frame, people, dimension, "group"), pl.lit(None, pl.Float64).alias("ceiling")
        )
        values = {name: _evaluate(with_group, metric) for name, metric in METRICS.items() if metric.value is not None}
        for name in sorted(condition.unique().to_list()):
            here = (condition == name).to_numpy()
            slices = Slices(np.where(here, cut.codes, -1), len(cut.labels), persona, cluster)
            items = _distinct(np.where(here, cut.codes, -1), item, len(cut.labels))
            for metric_name, (x, count, baselines) in values.items():
                reference = None
                if METRICS[metric_name].paired and name != REFERENCE:
                    reference = reference_values(x, count, (condition == REFERENCE).to_numpy(), pair)
                part = _mean_figures(
                    METRICS[metric_name], slices, items, x, weight * count, frame, baselines, reference, rules, note
                )
                if part is not None:
                    parts.append(_labelled(part, cut, survey, metric_name, name, weighted))
            rows = _Rows(units, np.where(here, weight, 0.0), persona, cluster, item)
            parts.extend(
                _labelled(part, cut, survey, metric_name, name, weighted)
                for metric_name, part in _other_figures(rows, cut, people, frame, slices, items, rules, note).items()
            )
    return parts


def with_own(frame: pl.DataFrame, people: h.People) -> pl.DataFrame:
    """Add the person's own answer and weight as they stand among the people's answers."""
    own = people.frame.select(
        "persona_id", "item_id", pl.col("gold_idx").alias("own_idx"), pl.col("weight").alias("own_weight")
    )
    return frame.join(own, on=["persona_id", "item_id"], how="left", maintain_order="left")


def guess_columns(frame: pl.DataFrame, people: h.People, dimension: str | None, prefix: str) -> list[pl.Series]:
    """Baselines made from everybody else's answers, all respondents or those of the row's group."""
    n = frame.height
    nothing = h.Guess(*(np.full(n, np.nan) for _ in range(3)))
    found = nothing
    if not people.empty and (dimension is None or (g.bases(dimension) and g.of_people(dimension))):
        if dimension is None:
            counts, code = people.counts(), np.zeros(n, dtype=np.int64)
        else:
            cut = g.cut(people.frame, dimension)
            counts = people.counts(cut.codes, max(len(cut.labels), 1))
            code = g.cut(frame, dimension, cut.labels).codes
        item = people.item_codes(frame.get_column("item_id"))
        rows = np.flatnonzero((item >= 0) & (code >= 0))
        key = frame.get_column("gold_idx").to_numpy()
        own = frame.get_column("own_idx").fill_null(-1).to_numpy()
        own_weight = frame.get_column("own_weight").fill_null(0.0).to_numpy()
        k = frame.get_column("k_options").to_numpy()
        part = h.guess(counts[code[rows], item[rows]], own[rows], own_weight[rows], key[rows], k[rows])
        for target, source in zip(
            (found.credit, found.steps, found.proportional), (part.credit, part.steps, part.proportional), strict=True
        ):
            target[rows] = source
        if dimension is not None:
            # Nobody else of the group answered: the guess falls back to everybody else's most frequent answer.
            known = code >= 0
            fallback = h.Guess(
                *(
                    np.where(known, frame.get_column(c).fill_null(np.nan).to_numpy(), np.nan)
                    for c in ("item_mode", "item_mode_steps", "proportional")
                )
            )
            found = found.otherwise(fallback)
    columns = [pl.Series(f"{prefix}_mode", found.credit), pl.Series(f"{prefix}_mode_steps", found.steps)]
    if prefix == "item":
        columns.append(pl.Series("proportional", found.proportional))
    return [c.fill_nan(None) for c in columns]


def _evaluate(frame: pl.DataFrame, metric: Metric) -> tuple[Floats, Floats, dict[str, Floats]]:
    """Value per row (nan where it does not apply), denominator, and value of each baseline."""
    assert metric.value is not None
    made = frame.select(
        pl.when(metric.where).then(metric.value.cast(pl.Float64) / metric.count.cast(pl.Float64)).alias("value"),
        metric.count.cast(pl.Float64).alias("count"),
        metric.where.alias("where"),
        *(expr.cast(pl.Float64).alias(f"baseline_{name}") for name, expr in metric.baselines.items()),
    )
    x = made.get_column("value").fill_null(np.nan).to_numpy()
    count = np.where(np.isfinite(x), made.get_column("count").fill_null(0.0).to_numpy(), 0.0)
    baselines = {name: made.get_column(f"baseline_{name}").fill_null(np.nan).to_numpy() for name in metric.baselines}
    return x, count, baselines


def reference_values(x: Floats, count: Floats, reference: NDArray[np.bool_], pair: Ints) -> Floats:
    """The no-persona value of each row's person and item; nan where there is none."""
    used = reference & np.isfinite(x) & (count > 0)
    n = int(pair.max()) + 1
    _, dense = np.unique(pair, return_inverse=True)
    n = int(dense.max()) + 1
    total = np.bincount(dense[used], (x * count)[used], minlength=n)
    weight = np.bincount(dense[used], count[used], minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((total / weight)[dense])


def _distinct(slices: Ints, codes: Ints, n: int) -> tuple[Ints, Ints]:
    """Slice × code pairs of the rows in slices: (pair of each row, slice of each pair)."""
    width = int(codes.max(initial=0)) + 1
    key = np.where(slices >= 0, slices * width + codes, -1)
    unique, inverse = np.unique(key, return_inverse=True)
    return inverse, np.where(unique >= 0, unique // width, n)


def _count_distinct(pairs: tuple[Ints, Ints], used: NDArray[np.bool_], n: int) -> Ints:
    inverse, owner = pairs
    present = np.bincount(inverse, used, minlength=len(owner)) > 0
    return np.bincount(owner, present, minlength=n + 1)[:n].astype(np.int64)


def _mean_figures(
    metric: Metric,
    slices: Slices,
    items: tuple[Ints, Ints],
    x: Floats,
    w: Floats,
    frame: pl.DataFrame,
    baselines: dict[str, Floats],
    reference: Floats | None,
    rules: FigureRules,
    note: str,
) -> pl.DataFrame | None:
    """All rows of one mean metric over the slices of one dimension; None where the metric applies to no row."""
    used = np.isfinite(x) & (w > 0)
    if not (used & slices.inside).any():
        return None
    w = np.where(used, w, 0.0)
    means = slices.means(x, w)
    low, high, how = _interval(metric, means.estimate, means.se, means.df, means.n_eff, rules)
    orders = frame.get_column("n_orders").to_numpy()
    base = {
        "estimate": means.estimate,
        "se": means.se,
        "ci_low": low,
        "ci_high": high,
        "n_answers": np.rint(slices.sum(np.where(used, orders, 0.0))).astype(np.int64),
        "n_personas": means.n_persona,
        "n_items": _count_distinct(items, used, slices.n),
        "n_eff": means.n_eff,
    }
    columns = {name: pl.Series(name, values) for name, values in base.items()}
    columns["method"] = pl.Series("method", [f"{h}; {note}" for h in how])
    if reference is not None and np.isfinite(np.where(used, reference, np.nan)).any():
        effect = slices.means(x - reference, w)
        columns["effect"] = pl.Series("effect", effect.estimate)
        columns["effect_se"] = pl.Series("effect_se", effect.se)
        columns["p_value"] = pl.Series("p_value", p_value(effect.estimate, effect.se, effect.df))
        columns["mde"] = pl.Series("mde", equivalence.minimal_detectable(effect.se, level=rules.level))
    spread = (high - low) / 2 / t_quantile(means.df, rules.level)
    columns["shrunken_estimate"] = pl.Series(
        "shrunken_estimate", shrinkage.normal_normal(means.estimate, spread**2).estimate
    )
    frames = [
        pl.DataFrame(
            [*columns.values(), *_gap_columns(metric, slices, x, w), pl.Series("slice", np.arange(slices.n))]
        ).with_columns(pl.lit("").alias("baseline"))
    ]
    for name, values in baselines.items():
        covered = used & np.isfinite(values) & slices.inside
        if not covered.any():
            continue
        part = slices.means(np.where(used, values, np.nan), w)
        frames.append(
            pl.DataFrame(
                [
                    *columns.values(),
                    *_gap_columns(metric, slices, x - values, w),
                    pl.Series("slice", np.arange(slices.n)),
                    pl.Series("baseline_estimate", part.estimate),
                ]
            ).with_columns(pl.lit(name).alias("baseline"))
        )
    return pl.concat(frames, how="diagonal").filter(pl.col("n_answers") > 0)


def _gap_columns(metric: Metric, slices: Slices, x: Floats, w: Floats) -> list[pl.Series]:
    if not metric.gap or slices.n < 2:
        return []
    gaps = slices.gaps(x, w)
    return [
        pl.Series("gap", gaps.difference),
        pl.Series("gap_se", gaps.se),
        pl.Series("gap_df", gaps.df),
        pl.Series("gap_p", p_value(gaps.difference, gaps.se, gaps.df)),
    ]


def _interval(
    metric: Metric, estimate: Floats, se: Floats, df: Floats, n_eff: Floats, rules: FigureRules
) -> tuple[Floats, Floats, list[str]]:
    """t interval, or Wilson's on the effective n where a proportion rests on few answers of its rarer side."""
    t = t_quantile(df, rules.level)
    low, high = estimate - t * se, estimate + t * se
    few = np.zeros(len(estimate), dtype=bool)
    if metric.proportion:
        with np.errstate(invalid="ignore"):
            few = np.isfinite(n_eff) & (n_eff * np.minimum(estimate, 1 - estimate) < WILSON_BELOW)
        wilson_low, wilson_high = wilson(np.clip(estimate, 0, 1), np.where(few, n_eff, 1.0), t)
        low, high = np.where(few, wilson_low, low), np.where(few, wilson_high, high)
    low = low if metric.low is None else np.maximum(low, np.where(np.isfinite(low), metric.low, np.nan))
    high = high if metric.high is None else np.minimum(high, np.where(np.isfinite(high), metric.high, np.nan))
    words = np.where(
        np.isfinite(se),
        np.where(few, "two-way clustered (persona × item), Wilson on n_eff", "two-way clustered (persona × item), t"),
        "no error: fewer than 2 personas or item clusters",
    )
    return low, high, [str(word) for word in words]


def _other_figures(
    rows: _Rows,
    cut: g.Cut,
    people: h.People,
    frame: pl.DataFrame,
    slices: Slices,
    items: tuple[Ints, Ints],
    rules: FigureRules,
    note: str,
) -> dict[str, pl.DataFrame]:
    """Metrics that are no means."""
    out = {}
    position = _position_figures(rows, cut, slices, items, frame, note)
    if position is not None:
        out["position_tv"] = position
    if not people.empty and g.of_people(cut.dimension):
        out.update(_distance_figures(rows, cut, people, frame, rules, note))
    return out


def _position_figures(
    rows: _Rows, cut: g.Cut, slices: Slices, items: tuple[Ints, Ints], frame: pl.DataFrame, note: str
) -> pl.DataFrame | None:
    """Total variation of the positions picked from equal use of those shown."""
    picks = rows.units.positions
    n_ok = picks.sum(axis=1)
    used = (n_ok > 0) & (rows.weight > 0) & (cut.codes >= 0)
    if not used.any():
        return None
    k = frame.get_column("k_options").to_numpy()
    even = (np.arange(picks.shape[1]) < k[:, None]) * (n_ok / k)[:, None]
    difference = np.stack(
        [slices.sum(np.where(used, rows.weight * (picks[:, j] - even[:, j]), 0.0)) for j in range(picks.shape[1])],
        axis=1,
    )
    total = slices.sum(np.where(used, rows.weight * n_ok, 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = 0.5 * np.abs(difference).sum(axis=1) / total
    means = slices.means(np.where(used, 1.0, np.nan), np.where(used, rows.weight, 0.0))
    return (
        pl.DataFrame(
            {
                "slice": np.arange(slices.n),
                "estimate": estimate,
                "n_answers": np.rint(slices.sum(np.where(used, n_ok, 0.0))).astype(np.int64),
                "n_personas": means.n_persona,
                "n_items": _count_distinct(items, used, slices.n),
            }
        )
        .with_columns(pl.lit("").alias("baseline"), pl.lit(f"point estimate; {note}").alias("method"))
        .filter(pl.col("n_answers") > 0)
    )


def _distance_figures(
    rows: _Rows, cut: g.Cut, people: h.People, frame: pl.DataFrame, rules: FigureRules, note: str
) -> dict[str, pl.DataFrame]:
    """tv, w1n and js to the survey's own distribution of each group, their sampling floor and their excess."""
    n, n_items = len(cut.labels), len(people.items)
    width = max(people.width, rows.units.answer.shape[1])
    item = people.item_codes(frame.get_column("item_id"))
    used = (cut.codes >= 0) & (item >= 0) & (rows.weight > 0) & (rows.units.answer.sum(axis=1) > 0)
    if not used.any():
        return {}
    cell = np.where(used, cut.codes * n_items + item, 0)
    w = np.where(used, rows.weight, 0.0)
    size = n * n_items

    def total(values: Floats) -> Floats:
        return np.bincount(cell, values, minlength=size)

    model = np.zeros((size, width))
    for j in range(rows.units.answer.shape[1]):
        model[:, j] = total(w * rows.units.answer[:, j])
    model_w, model_w2 = total(w), total(w**2)
    people_codes = g.cut(people.frame, cut.dimension, cut.labels).codes
    human = np.zeros((size, width))
    human[:, : people.width] = people.counts(people_codes, n).reshape(size, people.width)
    human_w = human.sum(axis=1)
    human_w2 = people.counts(people_codes, n, squared=True).sum(axis=2).reshape(size)
    facts = (
        frame.lazy()
        .filter(pl.Series(item >= 0))
        .group_by("item_id")
        .agg(pl.col("k_options").max(), pl.col("ordinal").all(), pl.col("cluster_id").min())
        .collect()
        .sort("item_id")
    )
    facts = pl.DataFrame({"item_id": people.items}).join(facts, on="item_id", how="left", maintain_order="left")
    k = np.tile(facts.get_column("k_options").fill_null(2).to_numpy(), n)
    ordinal = np.tile(facts.get_column("ordinal").fill_null(False).to_numpy(), n)
    cluster = np.tile(g.dense(facts.get_column("cluster_id").fill_null("")), n)
    keep = np.flatnonzero((model_w > 0) & (human_w > 0))
    if not len(keep):
        return {}
    m, p = model[keep] / model_w[keep, None], human[keep] / human_w[keep, None]
    even = (np.arange(width) < k[keep, None]) / k[keep, None]
    places = np.where(ordinal[keep, None] & (np.arange(width) < k[keep, None]), np.arange(width), np.nan)
    measures: dict[str, distances.Distance] = {
        "tv": distances.total_variation,
        "w1n": lambda a, b: distances.wasserstein(a, b, places),
        "js": distances.jensen_shannon,
    }
    n_model, n_human = model_w[keep] ** 2 / model_w2[keep], human_w[keep] ** 2 / human_w2[keep]
    pooled = (n_model[:, None] * m + n_human[:, None] * p) / (n_model + n_human)[:, None]
    seed = int(digest("floor", cut.dimension, note, length=12), 16)
    floors = distances.sampling_floor(
        pooled, n_human, n_model, measures, seed=seed, draws=100 if len(keep) < 5000 else 20
    )
    owner = keep // n_items
    out = {}
    orders = frame.get_column("n_orders").to_numpy()
    cells_answers = total(np.where(used, orders, 0.0))[keep]
    keep_of_cell = np.full(size, -1)
    keep_of_cell[keep] = np.arange(len(keep))
    personas = _distinct(np.where(used, cut.codes, -1), rows.persona, n)
    for name, measure in measures.items():
        d = measure(m, p)
        in_use = np.isfinite(d)
        if not in_use.any():
            continue
        by_item = Slices(np.where(in_use, owner, -1), n, cluster[keep], cluster[keep])
        row_cell = keep_of_cell[cell]
        row_used = used & (row_cell >= 0) & in_use[np.maximum(row_cell, 0)]
        ones = np.ones(len(keep))
        counts = {
            "n_answers": np.rint(by_item.sum(np.where(in_use, cells_answers, 0.0))).astype(np.int64),
            "n_personas": _count_distinct(personas, row_used, n),
            "n_items": by_item.sum(ones).astype(np.int64),
        }
        baselines = {"chance": measure(even, p), "sampling_floor": floors[name]}
        out[name] = _distance_rows(METRICS[name], by_item, d, ones, counts, baselines, rules, note)
        del baselines["sampling_floor"]
        out[f"{name}_excess"] = _distance_rows(
            METRICS[f"{name}_excess"],
            by_item,
            d - floors[name],
            ones,
            counts,
            {"chance": baselines["chance"] - floors[name]},
            rules,
            note,
        )
    return out


def _distance_rows(
    metric: Metric,
    by_item: Slices,
    d: Floats,
    ones: Floats,
    counts: dict[str, Ints],
    baselines: dict[str, Floats],
    rules: FigureRules,
    note: str,
) -> pl.DataFrame:
    means = by_item.means(d, ones)
    low, high, _ = _interval(metric, means.estimate, means.se, means.df, means.n_eff, rules)
    frame = pl.DataFrame(
        {
            "slice": np.arange(by_item.n),
            "estimate": means.estimate,
            "se": means.se,
            "ci_low": low,
            "ci_high": high,
            **counts,
        }
    ).with_columns(
        pl.when(pl.col("se").is_nan())
        .then(pl.lit(f"no error: fewer than 2 item clusters; {note}"))
        .otherwise(pl.lit(f"clustered by item, t; {note}"))
        .alias("method")
    )
    frames = [frame.with_columns(pl.lit("").alias("baseline"))]
    for name, values in baselines.items():
        part = by_item.means(values, ones)
        frames.append(frame.with_columns(pl.lit(name).alias("baseline"), pl.Series("baseline_estimate", part.estimate)))
    return pl.concat(frames, how="diagonal").filter(pl.col("n_items") > 0)


def _labelled(part: pl.DataFrame, cut: g.Cut, survey: str, metric: str, condition: str, weighted: bool) -> pl.DataFrame:
    """Add the key columns."""
    return part.with_columns(
        pl.lit(survey).alias("survey"),
        pl.lit(metric).alias("metric"),
        pl.lit(condition).alias("condition"),
        pl.lit(cut.dimension).alias("dimensions"),
        pl.Series("subgroup", [cut.labels[i] for i in part.get_column("slice").to_list()], dtype=pl.String),
        pl.lit(weighted).alias("weighted"),
    ).drop("slice")


def _corrected(figures: pl.DataFrame, rules: FigureRules) -> pl.DataFrame:
    """Correct tests within families, judge gaps, mark small cells and turn undefined figures into nulls.

    A family is all tests of a metric family of this model and task, over surveys, conditions and subgroups, apart for
    weighted and unweighted figures, which test the same hypotheses.
    """
    for name, dtype in (
        ("effect", pl.Float64),
        ("effect_se", pl.Float64),
        ("p_value", pl.Float64),
        ("mde", pl.Float64),
        ("shrunken_estimate", pl.Float64),
        ("gap", pl.Float64),
        ("gap_se", pl.Float64),
        ("gap_df", pl.Float64),
        ("gap_p", pl.Float64),
        ("n_eff", pl.Float64),
        ("se", pl.Float64),
        ("ci_low", pl.Float64),
        ("ci_high", pl.Float64),
        ("baseline_estimate", pl.Float64),
    ):
        if name not in figures.columns:
            figures = figures.with_columns(pl.lit(None, dtype).alias(name))
    figures = figures.with_columns(pl.col(pl.Float64).fill_nan(None))
    families = {name: metric.family for name, metric in METRICS.items()}
    figures = figures.with_columns(pl.col("metric").replace_strict(families).alias("family")).sort(
        "family", "weighted", "baseline", "survey", "metric", "condition", "dimensions", "subgroup"
    )

    def q_values(column: str, over: list[str]) -> pl.Expr:
        return (
            pl.col(column)
            .map_batches(
                lambda s: pl.Series(multiplicity.benjamini_hochberg(s.fill_null(np.nan).to_numpy())),
                return_dtype=pl.Float64,
            )
            .over(over)
            .fill_nan(None)
        )

    figures = figures.with_columns(
        q_values("p_value", ["family", "weighted", "baseline"]).alias("q_value"),
        q_values("gap_p", ["family", "weighted", "baseline"]).alias("gap_q"),
    )
    words = equivalence.verdicts(
        *(figures.get_column(c).fill_null(np.nan).to_numpy() for c in ("gap", "gap_se", "gap_df", "gap_q")),
        margin=rules.equivalence_margin,
        level=rules.level,
    )
    return figures.with_columns(
        pl.Series("verdict", words, dtype=pl.String),
        ((pl.col("n_personas") < rules.min_personas) | (pl.col("n_items") < rules.min_items)).alias("small"),
    )


def _releases(units: pl.DataFrame, releases: pl.DataFrame | None) -> pl.DataFrame:
    """Releases of the waves behind each survey's figures."""
    used = units.select("survey", "wave").unique()
    if releases is None:
        return used.group_by("survey").agg(pl.lit([], dtype=pl.List(pl.String)).first().alias("release_ids"))
    return (
        used.join(releases.select("wave", "release_id"), on="wave", how="left")
        .group_by("survey")
        .agg(pl.col("release_id").drop_nulls().unique().sort().alias("release_ids"))
    )
