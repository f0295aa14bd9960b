"""Compute all estimates of one model on one task: metrics by subgroup with intervals, baselines, effects and gaps."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from mpta_pipeline.core.estimate_ids import estimate_ids
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import RIVALS, SUBGROUP_METRICS
from mpta_pipeline.metrics.baselines.rivals import Ladder
from mpta_pipeline.metrics.estimators.alignment import distance_estimates
from mpta_pipeline.metrics.estimators.batteries import battery_estimates
from mpta_pipeline.metrics.estimators.disparity import disparity_estimates
from mpta_pipeline.metrics.estimators.flattening import spread_estimates, structure_estimates
from mpta_pipeline.metrics.estimators.means import (
    Prepared,
    evaluate,
    mean_estimates,
    of_group,
    values_of_pairs,
)
from mpta_pipeline.metrics.estimators.nonlinear import item_estimates, joined, nonlinear_estimates, weighted_features
from mpta_pipeline.metrics.metric import METRICS, Metric, applicable_to
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.answers import Answers, gather
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.samples.published_polls import polls_of
from mpta_pipeline.metrics.samples.survey_answers import REFERENCE, Block, View, blocks, cut_rows, group_guesses
from mpta_pipeline.metrics.statistics import equivalence, multiplicity
from mpta_pipeline.metrics.statistics.arrays import MANY_ROWS, Features, Floats, ItemFeatures
from mpta_pipeline.metrics.statistics.clustered import Together

# Each thread holds the totals of its dimension, so that more threads would cost more memory than they save time.
MOST_THREADS = 4
Watch = Callable[[str, Prepared, Floats | None], None]


def compute_estimates(
    scores: pl.DataFrame | Iterable[pl.DataFrame],
    groups: pl.DataFrame,
    gold: pl.DataFrame | Iterable[pl.DataFrame],
    *,
    rules: EstimateRules,
    releases: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    ceiling: pl.DataFrame | None = None,
    retest: pl.DataFrame | None = None,
    study: str = "",
) -> pl.DataFrame:
    """Compute all estimates of one model on one task.

    Each estimate has one row with an empty `baseline`, and one more row per baseline that applies. That row repeats the
    estimate and adds the baseline's estimate on the same answers and the gap net of the baseline.

    Args:
        scores: SCORES of one model and one task, or chunks of it that each have all answers for some respondents. The
            chunks are read one after another, and the estimates are the same as those of the whole. Answers of the
            condition `group` are compared with the others only, and treatments of an experiment are left out.
        groups: respondent_id, survey and one text column per base dimension, for all respondents (null: unknown).
        gold: GOLD of the task for all respondents; empty if the answer key does not depend on the person. Parts of it
            that can be iterated over more than once do as well.
        rules: Dimensions, levels and margins of the estimates.
        releases: wave and release_id of the waves in use, for example WAVES; None leaves `release_ids` empty. With
            `weight_name`, every estimate names the survey weights that it uses.
        items: ITEMS of the task, for estimates by context and by option position; None omits the metrics that need
            them.
        ceiling: How well the visible traits predict the answers (`ceiling.cross_fitted`), for skill; None omits skill.
        retest: column and retest, the share of people who repeat their own answer (`retest.read_retest`), for items
            with a `column`; None omits the metrics that need it.
        study: Name of the study, which is part of the estimates' ids.

    Returns:
        SUBGROUP_METRICS. Surveys are never pooled. The result does not depend on the order of any frame's rows.

    Raises:
        ConfigError: A dimension is unknown.
        ValidationError: The scores belong to several models or tasks, or a respondent is in several chunks.
    """
    return estimates_and_rivals(
        scores, groups, gold, rules=rules, releases=releases, items=items, ceiling=ceiling, retest=retest, study=study
    )[0]


def estimates_and_rivals(
    scores: pl.DataFrame | Iterable[pl.DataFrame],
    groups: pl.DataFrame,
    gold: pl.DataFrame | Iterable[pl.DataFrame],
    *,
    rules: EstimateRules,
    releases: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    ceiling: pl.DataFrame | None = None,
    retest: pl.DataFrame | None = None,
    study: str = "",
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Compute `compute_estimates` and the ladder of `rivals`, reading the scores once.

    The arguments are those of `compute_estimates`.

    Returns:
        SUBGROUP_METRICS and RIVALS.
    """
    made = gather(scores, items=items, ceiling=ceiling, retest=retest)
    if made is None:
        return SUBGROUP_METRICS.empty(), RIVALS.empty()
    ladder = Ladder(made, rules)
    known, model, task, keyed = _releases(made.units.frame, releases), made.model, made.task, made.keyed
    all_blocks = ladder.seen(_blocks_of(made, groups, gold, rules=rules, items=items))
    del made  # each block holds its own answers
    chosen = applicable_to(keyed=keyed)
    parts = list(_side_by_side(all_blocks, _dimensions(groups, rules), chosen, means_only=False, watch=None))
    estimates = _completed(parts, rules, known, model=model, task=task)
    estimates = estimates.with_columns(estimate_ids(estimates, study))
    return SUBGROUP_METRICS.conform(estimates.select(list(SUBGROUP_METRICS.schema))), ladder.table()


def estimates_with_tests(
    scores: pl.DataFrame | Iterable[pl.DataFrame],
    groups: pl.DataFrame,
    gold: pl.DataFrame | Iterable[pl.DataFrame],
    *,
    rules: EstimateRules,
    only: Collection[str],
    items: pl.DataFrame | None = None,
    watch: Watch | None = None,
) -> pl.DataFrame | None:
    """As `compute_estimates`, for some metrics, with what the tests of gaps rest on: gap_error, gap_df and gap_p.

    Args:
        scores: SCORES, as there.
        groups: GROUPS.
        gold: GOLD.
        rules: As there.
        only: The metrics, all of them means of answers.
        items: ITEMS, as there.
        watch: Called with the condition, the values of each metric, and each row's no-persona value.

    Returns:
        SUBGROUP_METRICS without ids, and further columns; None without answers.
    """
    made = gather(scores, items=items)
    if made is None:
        return None
    all_blocks = _blocks_of(made, groups, gold, rules=rules, items=items)
    chosen = {name: metric for name, metric in applicable_to(keyed=made.keyed).items() if name in only}
    parts = list(_side_by_side(all_blocks, _dimensions(groups, rules), chosen, means_only=True, watch=watch))
    if not parts:
        return None
    return _completed(parts, rules, _releases(made.units.frame, None), model=made.model, task=made.task)


def _dimensions(groups: pl.DataFrame, rules: EstimateRules) -> tuple[str, ...]:
    dimensions = tuple(dict.fromkeys((g.ALL, *rules.dimensions)))
    g.check_dimensions(dimensions, groups)
    return dimensions


def _blocks_of(
    made: Answers,
    groups: pl.DataFrame,
    gold: pl.DataFrame | Iterable[pl.DataFrame],
    *,
    rules: EstimateRules,
    items: pl.DataFrame | None,
) -> Iterator[Block]:
    all_blocks, direct = blocks(made.units, groups, gold, rules=rules, polls=polls_of(items)), made.direct
    return (replace(block, direct=direct) for block in all_blocks)


def _completed(
    parts: list[pl.DataFrame], rules: EstimateRules, known: pl.DataFrame, *, model: str, task: str
) -> pl.DataFrame:
    """All estimates with corrected tests, releases, weights, model and task."""
    estimates = _corrected(pl.concat(parts, how="diagonal"), rules).join(known, on="survey", how="left")
    estimates = estimates.with_columns(_weights().alias("weights"))
    return estimates.with_columns(pl.lit(model).alias("model"), pl.lit(task).alias("task"))


def _side_by_side(
    blocks: Iterable[Block],
    dimensions: tuple[str, ...],
    chosen: Mapping[str, Metric],
    *,
    means_only: bool,
    watch: Watch | None,
) -> Iterator[pl.DataFrame]:
    """Compute the estimates of all blocks. Metrics that are means run in threads, then dimensions do.

    The array sums release Python's lock, so that two threads take little more than half the time of one. Matrix
    products run single-threaded, because their threads would only wait for each other.
    """
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool,
    ):
        for block in blocks:
            references = _references(block, chosen)
            for condition in block.conditions():
                yield from _condition_estimates(
                    pool,
                    block,
                    condition,
                    dimensions,
                    chosen=chosen,
                    references=references,
                    means_only=means_only,
                    watch=watch,
                )


def _references(block: Block, chosen: Mapping[str, Metric]) -> CompactFrame:
    """No-persona value of each person and item (`Block.pair`), per metric that is paired with it."""
    without = block.condition(REFERENCE)
    if not without.any():
        return CompactFrame({}, 0)
    frame, pair, n = block.frame.rows(without), block.pair[without], int(block.pair.max(initial=0)) + 1
    found = CompactFrame({}, n)
    for name, metric in chosen.items():
        if metric.value is not None and metric.paired:
            values = evaluate(frame, metric, baselines=False)
            of_pairs = values_of_pairs(values.x, values.count, pair, n)
            if np.isfinite(of_pairs).any():
                found = found.with_columns(pl.Series(name, of_pairs).fill_nan(None))
    return found


def _condition_estimates(
    pool: ThreadPoolExecutor,
    block: Block,
    condition: str,
    dimensions: tuple[str, ...],
    *,
    chosen: Mapping[str, Metric],
    references: CompactFrame,
    means_only: bool,
    watch: Watch | None,
) -> Iterator[pl.DataFrame]:
    """Compute the estimates of one condition: metrics that are means, then all others."""
    pair = block.pair[block.condition(condition)]
    here = block.of(condition)
    cuts = (cut_rows(here.frame, dimension) for dimension in dimensions)
    views = [View(here, cut, condition) for cut in cuts if cut.labels]
    parts: list[dict[str, pl.DataFrame]] = [{} for _ in views]
    remarks: dict[str, str] = {}
    guesses = [_Guesses(view) for view in views]
    together = Together([view.slices for view in views])
    accuracy: Prepared | None = None

    def means_of(name: str) -> tuple[Prepared | None, list[pl.DataFrame | None]] | None:
        values = evaluate(here.frame, chosen[name])
        if not np.isfinite(values.x).any():
            return None
        reference = None
        if name in references.columns and condition != REFERENCE:
            reference = references.get_column(name).fill_null(np.nan).to_numpy()[pair]
        prepared = Prepared(here, values, reference, together)
        if watch is not None:
            watch(condition, prepared, reference)
        prepared.released()
        made = [_mean_of_view(view, prepared, guess) for view, guess in zip(views, guesses, strict=True)]
        return prepared if name == "accuracy" else None, made

    for name, metric in chosen.items():
        if metric.remark is not None and (said := metric.remark(here.frame)) is not None:
            remarks[name] = said
    means = [name for name, metric in chosen.items() if metric.value is not None]
    for name, made in zip(means, pool.map(means_of, means), strict=True):
        if made is None:
            continue
        accuracy = accuracy or made[0]
        for into, of_view in zip(parts, made[1], strict=True):
            if of_view is not None:
                into[name] = of_view
    guesses.clear()
    if means_only:
        yield from (_labelled(view, part, remarks) for view, part in zip(views, parts, strict=True) if part)
        return
    for begun in _of_features(pool, here, views, chosen):
        for into, one in zip(parts, begun, strict=True):
            into.update(one.result())
    others = [pool.submit(lambda view: dict(_other_estimates(view, accuracy)), view) for view in views]
    for view, part, other in zip(views, parts, others, strict=True):
        yield _labelled(view, part | other.result(), remarks)


def _of_features(
    pool: ThreadPoolExecutor, block: Block, views: list[View], chosen: Mapping[str, Metric]
) -> Iterator[list[Future[dict[str, pl.DataFrame]]]]:
    """Compute the estimates of metrics that are functions of totals. The features of few of them are in memory."""
    of_items: dict[str, ItemFeatures] = {}
    for name, metric in chosen.items():
        if metric.features is None or (features := weighted_features(block, metric.features)) is None:
            continue
        if isinstance(features, ItemFeatures):
            of_items[name] = features
        else:
            yield [pool.submit(_of_totals, view, name, features) for view in views]
    together = joined(of_items)
    of_items.clear()
    for names, joint in together:
        yield [pool.submit(lambda *args: dict(item_estimates(*args)), view, names, joint) for view in views]


def _of_totals(view: View, name: str, features: Features) -> dict[str, pl.DataFrame]:
    made = nonlinear_estimates(view, METRICS[name], features)
    return {} if made is None else {name: made}


class _Guesses:
    """Baselines that depend on the row's group, made when a metric first needs them and shared by all metrics."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._made: pl.DataFrame | CompactFrame | None = None
        self._lock = Lock()

    def of(self, metric: Metric) -> dict[str, Floats]:
        """Baseline → value of each row."""
        wanted = {name: e for name, e in metric.baselines.items() if of_group(e)}
        with self._lock:
            if wanted and self._made is None:
                made = group_guesses(self._view.block, self._view.cut.dimension)
                self._made = CompactFrame.of(made) if made.height > MANY_ROWS else made
        return {
            name: self._made.select(e.cast(pl.Float64)).to_series().fill_null(np.nan).to_numpy()
            for name, e in wanted.items()
            if self._made is not None
        }


def _mean_of_view(view: View, prepared: Prepared, guesses: _Guesses) -> pl.DataFrame | None:
    return mean_estimates(view, prepared, guesses.of(prepared.values.metric))


def _other_estimates(view: View, accuracy: Prepared | None) -> Iterator[tuple[str, pl.DataFrame]]:
    """Compute the estimates that compare answers with people's, for one condition and one dimension."""
    if accuracy is not None:
        yield from distance_estimates(view).items()
        yield from spread_estimates(view).items()
        yield from structure_estimates(view).items()
        yield from battery_estimates(view).items()
        yield from disparity_estimates(view, accuracy).items()


def _labelled(view: View, parts: Mapping[str, pl.DataFrame], remarks: Mapping[str, str]) -> pl.DataFrame:
    """Combine all metrics of a view that have any answers, with the key columns and the metrics' remarks."""
    # One frame for all metrics, because the calls on many small frames cost more than the work.
    whole = pl.concat(list(parts.values()), how="diagonal")
    # Slice −1 is the dimension as a whole.
    names = np.array([*view.cut.labels, g.ALL], dtype=object)
    metric = np.repeat(np.array(list(parts), dtype=object), [part.height for part in parts.values()])
    made = whole.drop("slice").with_columns(
        pl.Series("subgroup", names[whole.get_column("slice").to_numpy()], dtype=pl.String),
        pl.Series("metric", metric, dtype=pl.String),
        pl.lit(view.block.survey).alias("survey"),
        pl.lit(view.condition).alias("condition"),
        pl.lit(view.cut.dimension).alias("dimensions"),
        pl.lit(view.block.weighted).alias("weighted"),
    )
    if remarks:
        remark = pl.col("metric").replace_strict(dict(remarks), default=None, return_dtype=pl.String)
        said = pl.concat_str(
            pl.col("note") if "note" in made.columns else pl.lit(None, pl.String),
            remark,
            separator="; ",
            ignore_nulls=True,
        )
        made = made.with_columns(pl.when(said != "").then(said).alias("note"))
    return made.filter(pl.col("n_answers") > 0)


# Columns that the tests need and the table omits.
_OWN_COLUMNS = (
    "gap_error", "gap_df", "gap_p", "gap_apart_error", "gap_apart_df", "gap_apart_p", "even_personas",
)  # fmt: skip


def _corrected(estimates: pl.DataFrame, rules: EstimateRules) -> pl.DataFrame:
    """Correct tests within families, set verdicts of gaps, mark small cells and turn undefined estimates into nulls.

    A family holds all tests of a metric family of this model and task, over surveys, conditions and subgroups. The
    effects on everyone are a separate family: they do not come from a search over subgroups, and many subgroups must
    not hide them. Weighted and unweighted estimates test the same hypotheses and are separate families. So are the gaps
    net of each baseline.
    """
    wanted = {name: dtype for name, dtype in SUBGROUP_METRICS.schema.items() if dtype == pl.Float64}
    wanted |= {name: pl.Float64() for name in (*_OWN_COLUMNS, "n_people")}
    wanted |= {"note": pl.String(), "stand_out": pl.String()}
    estimates = estimates.with_columns(
        pl.lit(None, dtype).alias(name) for name, dtype in wanted.items() if name not in estimates.columns
    ).with_columns(pl.col(pl.Float64).fill_nan(None))
    family = pl.col("metric").replace_strict({name: metric.family for name, metric in METRICS.items()})
    estimates = estimates.with_columns(family.alias("family")).sort(
        "family", "weighted", "baseline", "survey", "metric", "condition", "dimensions", "subgroup"
    )
    estimates = estimates.with_columns((pl.col("dimensions") == g.ALL).alias("everyone"))
    over = ["family", "weighted", "baseline", "everyone"]
    estimates = estimates.with_columns(
        multiplicity.q_values("p_value", over).alias("q_value"),
        multiplicity.q_values("gap_p", over).alias("gap_q"),
        multiplicity.q_values("gap_apart_p", over).alias("gap_apart_q"),
    )
    # Verdicts leave an outlier group out of everyone else, because it would make all other groups differ.
    plain, apart = (
        equivalence.verdicts(
            *(estimates.get_column(f"{gap}{c}").fill_null(np.nan).to_numpy() for c in ("", "_error", "_df", "_q")),
            margin=rules.equivalence_margin,
            level=rules.level,
        )
        for gap in ("gap", "gap_apart")
    )
    judged = estimates.get_column("gap_apart").is_not_null()
    words = [b if known else a for a, b, known in zip(plain, apart, judged, strict=True)]
    because = [
        f"differs from everyone else only because {names} is among them"
        if known and a == "gap" and b != "gap" and names
        else None
        for a, b, known, names in zip(plain, apart, judged, estimates.get_column("stand_out"), strict=True)
    ]
    said = pl.concat_str("note", pl.Series("because", because, dtype=pl.String), separator="; ", ignore_nulls=True)
    return estimates.with_columns(
        pl.Series("verdict", words, dtype=pl.String),
        pl.when(said != "").then(said).alias("note"),
        # A person who carries most of the weight counts as one person.
        (
            (pl.min_horizontal("n_personas", "even_personas") < rules.min_personas)
            | (pl.col("n_items") < rules.min_items)
            | (pl.col("n_people") < rules.min_personas).fill_null(False)
        ).alias("small"),
    )


def _releases(units: pl.DataFrame | CompactFrame, releases: pl.DataFrame | None) -> pl.DataFrame:
    """Collect the releases of the waves behind each survey's estimates."""
    used = units.select("survey", "wave").unique()
    known = pl.DataFrame(schema={"wave": pl.String, "release_id": pl.String}) if releases is None else releases
    if "weight_name" not in known.columns:
        known = known.with_columns(pl.lit(None, pl.String).alias("weight_name"))
    return (
        used.join(known.select("wave", "release_id", "weight_name"), on="wave", how="left")
        .group_by("survey")
        .agg(
            pl.col("release_id").drop_nulls().unique().sort().alias("release_ids"),
            pl.col("weight_name").drop_nulls().unique().sort().str.join(", ").alias("weight_names"),
        )
    )


def _weights() -> pl.Expr:
    """Describe the weights of the model's and the people's answers."""
    name = pl.when(pl.col("weight_names") == "").then(pl.lit("survey weight")).otherwise(pl.col("weight_names"))
    both = pl.format("model: {} over the chance of being in the panel; people: {}", name, name)
    alone = pl.format("model: {} over the chance of being in the panel", name)
    weighted = pl.when(pl.col("n_people").is_null()).then(alone).otherwise(both)
    return pl.when(pl.col("weighted")).then(weighted).otherwise(pl.lit("none"))
