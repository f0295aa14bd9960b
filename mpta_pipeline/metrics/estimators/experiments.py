"""Compute the effects of an experiment's arms and of conjoint attributes, for everyone and by subgroup.

An arm's effect is the mean of its answers minus that of the control. A level's AMCE (Hainmueller, Hopkins and Yamamoto
2014) is the coefficient of its dummy variable in a regression over profiles; attributes that a restriction links are
interacted, and the AMCE averages over the linked levels that both compared levels can have. A marginal mean (Leeper,
Hobolt and Tilley 2020) is the mean over the profiles with the level.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.core.described_groups import of_people
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import EXPERIMENTS, PEOPLE_EFFECTS
from mpta_pipeline.metrics.estimators.people_effects import ALL_ITEMS, beside_people
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.statistics import multiplicity
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, dense
from mpta_pipeline.metrics.statistics.contrasts import Contrast, Regression, Sample, of_means
from mpta_pipeline.metrics.statistics.intervals import paired

_NONE = pl.DataFrame()
_ARM = "arm"
_UNIT = ("survey", "condition", "respondent_id", "item_id", "cluster_id", "weight")


# Columns of the scores that are kept: the rest need not be in memory for all chunks.
_READ = (
    "model", "task", *_UNIT, "arm", "treated", "status", "k_options", "pred_idx", "score", "scale_place",
)  # fmt: skip


def answers_needed(scores: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """The answers of an experiment and those to questions without a key, with the columns that their tables need.

    Args:
        scores: SCORES of one model and task, or a chunk of it.
        items: ITEMS of the task.
    """
    keyless = items.filter((pl.col("scoring") == "none") & (pl.col("options").list.len() > 0))["item_id"]
    wanted = pl.col("item_id").is_in(keyless.implode())
    if has_profiles(items):
        wanted = wanted | pl.col("item_id").is_in(items.filter(pl.col("profiles").is_not_null())["item_id"].implode())
    if "arm" in scores.columns:
        wanted = wanted | pl.col("arm").is_not_null()
    return scores.filter(wanted).select(name for name in _READ if name in scores.columns)


def has_profiles(items: pl.DataFrame) -> bool:
    """Whether any item has conjoint profiles."""
    return "profiles" in items.columns and items["profiles"].null_count() < items.height


def experiments(
    scores: pl.DataFrame | Iterable[pl.DataFrame],
    groups: pl.DataFrame,
    *,
    rules: EstimateRules,
    items: pl.DataFrame,
    people: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Compute the effects of a task's experiment, beside those on people where their own are known.

    The value of a person's answer to an item is the mean over the readable answers in all option orders. Effects are
    tested against 0, and those of subgroups also against the effect in everyone else; q-values are corrected within
    the effects on everyone and within those on subgroups.

    Args:
        scores: SCORES of one model and task, treatments included, or chunks of it.
        groups: GROUPS.
        rules: Dimensions, level and minimum size.
        items: ITEMS of the task.
        people: PEOPLE_EFFECTS of the task; None if its arms do not name their people.

    Returns:
        EXPERIMENTS; empty for a task without an experiment.
    """
    chunks = [scores] if isinstance(scores, pl.DataFrame) else scores
    kept = [of_people(chunk).select(name for name in _READ if name in chunk.columns) for chunk in chunks]
    read = pl.concat([part.filter((pl.col("status") == "ok") & (pl.col("k_options") > 0)) for part in kept] or [_NONE])
    has_arms = "arm" in read.columns and read["arm"].null_count() < read.height
    if read.is_empty() or not (has_arms or has_profiles(items)):
        return EXPERIMENTS.empty()
    rows = groups.pipe(g.apart).drop("survey", *g.DESIGN, strict=False)
    parts = []
    sources = [_arm_outcomes(read, items)] if has_arms else []
    profiles = _profile_outcomes(read, items) if has_profiles(items) else None
    for outcomes in sources:
        for frame in _blocks(outcomes, groups, rows):
            parts += list(_arms(frame, rules, with_people=people is not None and people.height > 0))
    if profiles is not None:
        for frame in _blocks(profiles, groups, rows):
            parts += list(_conjoint(frame, items, rules))
    if not parts:
        return EXPERIMENTS.empty()
    made = pl.DataFrame(parts, infer_schema_length=None).with_columns(pl.col(pl.Float64).fill_nan(None))
    made = _tested(made, rules.level)
    made = beside_people(made, PEOPLE_EFFECTS.empty() if people is None else people, rules)
    made = made.with_columns(pl.lit(read.item(0, "model")).alias("model"), pl.lit(read.item(0, "task")).alias("task"))
    return EXPERIMENTS.conform(made.select(list(EXPERIMENTS.schema)))


def _arm_outcomes(read: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """One row per person, item, arm and outcome: value and n, the readable answers behind it."""
    key = [*_UNIT, "arm", "treated"]
    read = read.filter(pl.col("arm").is_not_null())
    n = pl.len().alias("n")
    on_scale = read.filter(pl.col("scale_place").is_not_null())
    place = on_scale.group_by(key).agg(pl.col("scale_place").mean().alias("value"), n)
    keyed = read.filter(pl.col("score").is_not_null())
    right = keyed.group_by(key).agg(pl.col("score").mean().alias("value"), n)
    # The answers of a scale are compared by their place, those of a list one by one.
    scales = on_scale["item_id"].unique().to_list()
    options = (
        items.select("item_id", pl.col("options").alias("answer"))
        .filter(~pl.col("item_id").is_in(scales))
        .explode("answer")
        .drop_nulls("answer")
        .with_columns(pl.int_range(pl.len()).over("item_id").alias("option"))
    )
    share = (
        read.join(options, on="item_id")
        .group_by([*key, "answer"])
        .agg((pl.col("pred_idx") == pl.col("option")).mean().alias("value"), n)
    )
    parts = [
        frame.with_columns(pl.lit(name).alias("outcome"))
        for name, frame in (("place", place), ("right", right), ("share", share))
    ]
    return pl.concat(parts, how="diagonal").with_columns(pl.col("answer").fill_null(""))


def _profile_outcomes(read: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """One row per person, item and profile: whether it is chosen, or its rating, and the profile's number."""
    told = items.filter(pl.col("profiles").is_not_null())
    told = told.select(
        "item_id",
        pl.col("profiles").list.len().alias("k"),
        pl.int_ranges(pl.col("profiles").list.len()).alias("profile"),
    )
    rows = read.filter(~pl.col("treated").fill_null(False)) if "treated" in read.columns else read
    rows = rows.join(told, on="item_id").explode("profile")
    chosen = pl.when(pl.col("k") > 1).then((pl.col("pred_idx") == pl.col("profile")).cast(pl.Float64))
    value = chosen.otherwise(pl.col("scale_place"))
    outcome = pl.when(pl.col("k") > 1).then(pl.lit("chosen")).otherwise(pl.lit("place")).alias("outcome")
    made = rows.with_columns(value.alias("one"), outcome).filter(pl.col("one").is_not_null())
    return made.group_by([*_UNIT, "profile", "outcome"]).agg(pl.col("one").mean().alias("value"), pl.len().alias("n"))


@dataclass(frozen=True)
class _Block:
    """Outcomes of one survey and condition, weighted or not.

    Attributes:
        survey: Survey.
        condition: Condition.
        weighted: Survey weights are used.
        frame: Rows of one or several outcomes, with the traits of their person.
    """

    survey: str
    condition: str
    weighted: bool
    frame: pl.DataFrame

    def sample(self, rows: pl.DataFrame) -> Sample:
        """Value, weight, persona (or its sampling unit) and item cluster of some rows."""
        weight = rows["weight"].cast(pl.Float64) if self.weighted else pl.repeat(1.0, rows.height, eager=True)
        return Sample(
            rows["value"].to_numpy(), weight.to_numpy(), dense(rows["cluster of person"]), dense(rows["cluster_id"])
        )


def _blocks(outcomes: pl.DataFrame, groups: pl.DataFrame, traits: pl.DataFrame) -> Iterator[_Block]:
    order = [
        name for name in ("outcome", "answer", "respondent_id", "item_id", "arm", "profile") if name in outcomes.columns
    ]
    joined = outcomes.sort("survey", "condition", *order).join(
        traits, on="respondent_id", how="left", maintain_order="left"
    )
    for (survey, condition), part in joined.group_by(["survey", "condition"], maintain_order=True):
        own = g.sampled(groups.filter(pl.col("survey") == survey), part["respondent_id"])
        frame = part.with_columns(own.alias("cluster of person"))
        weights = frame["weight"].null_count() == 0
        for weighted in (False, True) if weights else (False,):
            yield _Block(str(survey), str(condition), weighted, frame)


def _cuts(rows: pl.DataFrame, rules: EstimateRules) -> Iterator[tuple[str, str, Flags, Flags]]:
    """Dimension, subgroup, and the rows inside it and in everyone else."""
    for dimension in dict.fromkeys((g.ALL, *rules.dimensions)):
        if not g.of_people(dimension):
            continue
        cut = g.cut(rows, dimension)
        for i, label in enumerate(cut.labels):
            inside = cut.codes == i
            yield dimension, label, inside, (cut.codes >= 0) & ~inside


def _arms(block: _Block, rules: EstimateRules, *, with_people: bool) -> Iterator[dict[str, object]]:
    """Effects of every arm: by outcome, over all items and by item, for everyone and by subgroup.

    With people's own effects, also the error for these items alone, by which the two are compared.
    """
    for (outcome, answer), of_outcome in block.frame.group_by(["outcome", "answer"], maintain_order=True):
        wholes = [] if outcome == "share" else [(ALL_ITEMS, of_outcome)]
        by_item = [(str(name[0]), part) for name, part in of_outcome.group_by(["item_id"], maintain_order=True)]
        one = len(by_item) == 1 and wholes
        for item, rows in [*wholes, *([] if one else by_item)]:
            arms = rows.select("arm", "treated").unique(maintain_order=True)
            control = arms.filter(~pl.col("treated"))["arm"].to_list()
            if not control:
                continue
            a, names = block.sample(rows), rows["arm"].to_numpy()
            for arm in sorted(arms.filter("treated")["arm"].to_list()):
                side = np.where(names == arm, 0, np.where(names == control[0], 1, -1))
                for dimension, subgroup, inside, rest in _cuts(rows, rules):
                    yield {
                        **(_on_these_items(a, side, inside) if with_people else {}),
                        **_names(block, "arm", _ARM, arm, control[0]),
                        "outcome": outcome,
                        "item_id": item,
                        "answer": answer,
                        **_effect(a, side, inside, rest if dimension != g.ALL else None),
                        **_sizes(rows, inside & (side >= 0), (side,), rules),
                        "dimensions": dimension,
                        "subgroup": subgroup,
                    }


def _effect(a: Sample, side: Ints, inside: Flags, rest: Flags | None) -> dict[str, float]:
    made = of_means(a, sides=np.where(inside, side, -1), signs=np.array([1.0, -1.0]))
    control = inside & (side == 1) & np.isfinite(a.x)
    weight = a.w[control].sum()
    found = _numbers(made) | {"reference_mean": float((a.x * a.w)[control].sum() / weight) if weight > 0 else np.nan}
    if rest is not None:
        sides = np.where(inside & (side >= 0), side, np.where(rest & (side >= 0), side + 2, -1))
        apart = of_means(a, sides=sides, signs=np.array([1.0, -1.0, -1.0, 1.0]))
        found |= _apart(apart)
    return found


def _on_these_items(a: Sample, side: Ints, inside: Flags) -> dict[str, float]:
    """Error of the effect clustered by persona alone: people were asked these very items."""
    alone = Sample(a.x, a.w, a.persona, np.zeros(len(a.x), dtype=np.int64))
    made = of_means(alone, sides=np.where(inside, side, -1), signs=np.array([1.0, -1.0]))
    return {"own_se": made.se, "own_df": made.df}


def _numbers(made: Contrast) -> dict[str, float]:
    return {"estimate": made.estimate, "se": made.se, "df": made.df}


def _apart(made: Contrast) -> dict[str, float]:
    return {"difference": made.estimate, "difference_se": made.se, "difference_df": made.df}


def _names(block: _Block, effect: str, factor: str, level: str, reference: str) -> dict[str, object]:
    return {
        "survey": block.survey,
        "condition": block.condition,
        "weighted": block.weighted,
        "effect": effect,
        "factor": factor,
        "level": level,
        "reference": reference,
    }


def _sizes(rows: pl.DataFrame, used: Flags, sides: tuple[Ints, ...], rules: EstimateRules) -> dict[str, object]:
    """Numbers of personas, items and answers, and whether either side has too few personas."""
    mine = rows.filter(pl.Series(used))
    fewest = mine["respondent_id"].n_unique()
    for side in sides:
        of_side = mine.with_columns(pl.Series("side", side[used])).group_by("side")
        counts = of_side.agg(pl.col("respondent_id").n_unique().alias("n"))["n"]
        fewest = min([fewest, *counts.to_list()]) if len(counts) > 1 else 0
    return {
        "n_personas": mine["respondent_id"].n_unique(),
        "n_items": mine["item_id"].n_unique(),
        "n_answers": int(mine["n"].sum()),
        "small": fewest < rules.min_personas,
    }


def _conjoint(block: _Block, items: pl.DataFrame, rules: EstimateRules) -> Iterator[dict[str, object]]:
    """AMCE and marginal mean of every level of every attribute."""
    for (outcome,), rows in block.frame.group_by(["outcome"], maintain_order=True):
        levels, codes, banned = _levels(rows, items)
        a = block.sample(rows)
        design = _Design(levels, codes, banned)
        for dimension, subgroup, inside, rest in _cuts(rows, rules):
            others = rest if dimension != g.ALL and rest.any() else None
            regression = _regression(design, a, inside, others)
            shared = {
                "outcome": outcome,
                "item_id": ALL_ITEMS,
                "answer": "",
                "dimensions": dimension,
                "subgroup": subgroup,
            }
            for attribute, names in levels.items():
                for place, level in enumerate(names):
                    having = inside & (codes[attribute] == place)
                    sizes = _sizes(rows, having, (), rules)
                    mean = of_means(a, sides=np.where(having, 0, -1), signs=np.array([1.0]))
                    found = _numbers(mean)
                    if others is not None:
                        sides = np.where(having, 0, np.where(others & (codes[attribute] == place), 1, -1))
                        found |= _apart(of_means(a, sides=sides, signs=np.array([1.0, -1.0])))
                    yield {**_names(block, "marginal_mean", attribute, level, ""), **shared, **found, **sizes}
                    if not place or regression is None:
                        continue
                    factors = design.factors(attribute, place)
                    if factors is None:
                        found = {"estimate": np.nan, "se": np.nan, "df": np.nan}
                    elif others is None:
                        found = _numbers(regression.combination(factors))
                    else:
                        zero = np.zeros_like(factors)
                        found = _numbers(regression.combination(np.concatenate([factors, zero])))
                        found |= _apart(regression.combination(np.concatenate([factors, -factors])))
                    yield {**_names(block, "amce", attribute, level, names[0]), **shared, **found, **sizes}


def _levels(
    rows: pl.DataFrame, items: pl.DataFrame
) -> tuple[dict[str, list[str]], dict[str, Ints], set[tuple[str, int, str, int]]]:
    """Attributes with their levels in order, the level of each row, and pairs of levels that exclude each other."""
    told = items.filter(pl.col("profiles").is_not_null()).select("item_id", "profiles")
    long = (
        told.explode("profiles")
        .with_columns(pl.int_range(pl.len()).over("item_id").alias("profile"))
        .explode("profiles")
        .unnest("profiles")
    )
    levels: dict[str, list[str]] = {}
    codes: dict[str, Ints] = {}
    for attribute in long["attribute"].unique(maintain_order=True).to_list():
        mine = long.filter(pl.col("attribute") == attribute)
        known = mine.select("level", "place").unique().sort("place")
        levels[attribute] = known["level"].to_list()
        place = {name: i for i, name in enumerate(levels[attribute])}
        coded = mine.with_columns(pl.col("level").replace_strict(place, return_dtype=pl.Int64).alias("code"))
        joined = rows.select("item_id", "profile").join(
            coded.select("item_id", "profile", "code"), on=["item_id", "profile"], how="left", maintain_order="left"
        )
        codes[attribute] = joined["code"].to_numpy()
    banned: set[tuple[str, int, str, int]] = set()
    if "restrictions" in items.columns:
        for pair in items["restrictions"].drop_nulls().head(1).explode().drop_nulls().to_list():
            (one, other) = ((part["attribute"], part["level"]) for part in pair)
            if one[1] in levels.get(one[0], ()) and other[1] in levels.get(other[0], ()):
                i, j = levels[one[0]].index(one[1]), levels[other[0]].index(other[1])
                banned |= {(one[0], i, other[0], j), (other[0], j, one[0], i)}
    return levels, codes, banned


class _Design:
    """Dummy variables of all levels but the first, and of the combinations of linked attributes.

    Args:
        levels: Attribute → its levels.
        codes: Attribute → level of each row.
        banned: Pairs of levels that no profile has together.
    """

    def __init__(
        self, levels: dict[str, list[str]], codes: dict[str, Ints], banned: set[tuple[str, int, str, int]]
    ) -> None:
        self._levels, self._banned = levels, banned
        n = len(next(iter(codes.values())))
        columns = [np.ones(n)]
        self._place: dict[tuple[str, int], int] = {}
        self._pair: dict[tuple[str, int, str, int], int] = {}
        for attribute, names in levels.items():
            for i in range(1, len(names)):
                self._place[attribute, i] = len(columns)
                columns.append((codes[attribute] == i).astype(float))
        self._linked: dict[str, set[str]] = {}
        for one, _, other, _ in banned:
            self._linked.setdefault(one, set()).add(other)
        for one, other in sorted({(a, b) for a, _, b, _ in banned if a < b}):
            for i in range(1, len(levels[one])):
                for j in range(1, len(levels[other])):
                    if (one, i, other, j) not in banned:
                        self._pair[one, i, other, j] = self._pair[other, j, one, i] = len(columns)
                        columns.append(((codes[one] == i) & (codes[other] == j)).astype(float))
        self.matrix: Floats = np.stack(columns, axis=1)

    def factors(self, attribute: str, level: int) -> Floats | None:
        """The AMCE of a level against the first, as factors of the coefficients; None if nothing can be compared."""
        factors = np.zeros(self.matrix.shape[1])
        factors[self._place[attribute, level]] = 1.0
        for other in sorted(self._linked.get(attribute, ())):
            both = [
                j
                for j in range(len(self._levels[other]))
                if (attribute, level, other, j) not in self._banned and (attribute, 0, other, j) not in self._banned
            ]
            if not both:
                return None
            for j in both:
                if j:
                    factors[self._pair[attribute, level, other, j]] += 1 / len(both)
        return factors


def _regression(design: _Design, a: Sample, inside: Flags, others: Flags | None) -> Regression | None:
    """The regression over the rows of a subgroup, and with coefficients of their own those of everyone else."""
    rows = inside if others is None else inside | others
    if not inside.any():
        return None
    columns = design.matrix * inside[:, None]
    if others is not None:
        columns = np.concatenate([columns, design.matrix * others[:, None]], axis=1)
    return Regression(columns[rows], a.take(rows))


def _tested(made: pl.DataFrame, level: float) -> pl.DataFrame:
    """Add intervals, p-values and q-values."""
    absent = [
        name for name in ("difference", "difference_se", "difference_df", "reference_mean") if name not in made.columns
    ]
    made = made.with_columns(pl.lit(None, pl.Float64).alias(name) for name in absent)

    def columns(*names: str) -> list[Floats]:
        return [made[name].fill_null(np.nan).to_numpy() for name in names]

    estimate, se, df = columns("estimate", "se", "df")
    low, high, p = paired(estimate, se, df, 1.0, level=level)
    difference, error, df = columns("difference", "difference_se", "difference_df")
    _, _, apart = paired(difference, error, df, 2.0, level=level)
    of_mean = made["effect"] == "marginal_mean"
    made = made.with_columns(
        pl.Series("ci_low", low),
        pl.Series("ci_high", high),
        pl.Series("p_value", np.where(of_mean.to_numpy(), np.nan, p)),
        pl.Series("difference_p", np.where(of_mean.to_numpy(), np.nan, apart)),
        (pl.col("dimensions") == g.ALL).alias("everyone"),
    )
    made = made.with_columns(
        pl.when(of_mean).then(pl.col("ci_low").clip(0, 1)).otherwise("ci_low").alias("ci_low"),
        pl.col("p_value", "difference_p").fill_nan(None),
    )
    over = ["effect", "weighted", "everyone"]
    return made.with_columns(
        multiplicity.q_values("p_value", over).alias("q_value"),
        multiplicity.q_values("difference_p", over).alias("difference_q"),
        pl.col("ci_low", "ci_high").fill_nan(None),
    )
