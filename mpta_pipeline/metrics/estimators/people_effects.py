"""Compute the effects of an experiment's arms on the survey's people, and compare the model's effects with them.

The estimand is that of the model's effects: the mean of the people in an arm minus that of the people in the control.
Over several questions it is the mean of the questions' effects. Errors are linearized over strata and sampling units
(`statistics/linearization.py`). Without sampling units, people count as sampled individually within their arm, which
gives Welch's test for one question without weights.

People and model are two independent experiments, even if personas are people of the survey: who is asked in which arm
is drawn anew. The variance of the difference of their effects is therefore the sum of both variances. People were
asked the same questions as the model, so that the comparison is about these questions: the model's error in it is
clustered by persona alone. The error of its effect is clustered by question, too, and is about questions like these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import PEOPLE_EFFECTS
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.statistics import multiplicity
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, dense, sums
from mpta_pipeline.metrics.statistics.clustered import t_quantile
from mpta_pipeline.metrics.statistics.contrasts import Contrast
from mpta_pipeline.metrics.statistics.intervals import paired
from mpta_pipeline.metrics.statistics.linearization import Design, design_of

ALL_ITEMS = "all"
_TWO, _FOUR = np.array([1.0, -1.0]), np.array([1.0, -1.0, -1.0, 1.0])
REPRODUCES, UNDERSTATES, OVERSTATES, REVERSES, CANNOT_TELL = (
    "reproduces", "understates", "overstates", "reverses", "cannot_tell",
)  # fmt: skip


def people_effects(
    answers: pl.DataFrame, items: pl.DataFrame, groups: pl.DataFrame, *, rules: EstimateRules
) -> pl.DataFrame:
    """Compute the effects on people, for everyone and by the study's dimensions of people.

    Groups with fewer than `rules.min_personas` people in either arm are left out, because means of few people could
    reveal single answers.

    Args:
        answers: ARM_ANSWERS of the task.
        items: ITEMS of the task.
        groups: GROUPS.
        rules: Dimensions, minimum size and level.

    Returns:
        PEOPLE_EFFECTS; empty for tasks whose arms do not name their people.
    """
    rows: list[dict[str, object]] = []
    traits = g.apart(groups).drop("survey", strict=False)
    for (survey,), own in answers.sort("survey", "respondent_id", "item_id", "arm").group_by(
        ["survey"], maintain_order=True
    ):
        persons = own.select(pl.col("respondent_id").unique().sort()).join(
            traits, on="respondent_id", how="left", maintain_order="left"
        )
        has_weights = own["weight"].null_count() == 0
        for weighted in (False, True) if has_weights else (False,):
            found = _effects(own, items, persons, rules, weighted=weighted)
            rows += [row | {"survey": survey, "weighted": weighted} for row in found]
    if not rows:
        return PEOPLE_EFFECTS.empty()
    made = pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.lit(answers.item(0, "task")).alias("task"))
    return PEOPLE_EFFECTS.conform(_tested(made, rules.level).select(list(PEOPLE_EFFECTS.schema)))


@dataclass(frozen=True)
class _Answers:
    """Answers of some people to some questions.

    Attributes:
        y: Value of each answer.
        weight: Its weight.
        person: Code of the person in the design.
        item: Code of the question, from 0, every code used.
        design: The sampling design of all people.
    """

    y: Floats
    weight: Floats
    person: Ints
    item: Ints
    design: Design

    def contrast(self, side: Ints, signs: Floats) -> Contrast:
        """A sum of signed means, each the mean over the questions of the questions' weighted means.

        Args:
            side: Which mean each answer belongs to; −1 for none.
            signs: Sign of each mean.
        """
        used = (side >= 0) & (self.weight > 0)
        n_items, n = int(self.item.max(initial=-1)) + 1, len(signs)
        y, w, person = self.y[used], self.weight[used], self.person[used]
        cell = side[used] * n_items + self.item[used]
        total = sums(cell, w, n * n_items)
        if not n_items or (total <= 0).any():
            return Contrast(np.nan, np.nan, np.nan)
        mean = sums(cell, w * y, n * n_items) / total
        estimate = float(signs @ mean.reshape(n, n_items).mean(axis=1))
        z = signs[side[used]] * w * (y - mean[cell]) / total[cell] / n_items
        v, df = self._variance(z, person, side[used])
        return Contrast(estimate, float(np.sqrt(v)) if df >= 1 else np.nan, df if df >= 1 else np.nan)

    def _variance(self, z: Floats, person: Ints, side: Ints) -> tuple[float, float]:
        """Variance of a sum of influences, and its degrees of freedom."""
        design = self.design
        if design.known:
            unit = design.unit[person]
            there = np.bincount(unit, minlength=design.n_units) > 0
            v = float(design.variance(sums(unit, z, design.n_units)))
            return v, float(there.sum() - len(np.unique(design.stratum[there])))
        # People who were sampled individually: each side of the comparison is a sample of its own.
        known, code = np.unique(person, return_inverse=True)
        sides = np.zeros(len(known), dtype=np.int64)
        np.bitwise_or.at(sides, code, 1 << side)
        total = sums(code, z, len(known))
        parts, dfs = [], []
        for one in np.unique(sides):
            mine = total[sides == one]
            if len(mine) < 2:
                return np.nan, np.nan
            parts.append(len(mine) * float(mine.var(ddof=1)))
            dfs.append(len(mine) - 1.0)
        squares = sum(part**2 / df for part, df in zip(parts, dfs, strict=True))
        # Welch and Satterthwaite's degrees of freedom.
        return sum(parts), sum(parts) ** 2 / squares if squares > 0 else min(dfs)

    def only(self, keep: Flags) -> _Answers:
        """Some of the answers."""
        item = np.unique(self.item[keep], return_inverse=True)[1]
        return _Answers(self.y[keep], self.weight[keep], self.person[keep], item, self.design)


def _effects(
    own: pl.DataFrame, items: pl.DataFrame, persons: pl.DataFrame, rules: EstimateRules, *, weighted: bool
) -> Iterator[dict[str, object]]:
    """Effects in one survey: by outcome, over all questions and by question, for everyone and by subgroup."""
    controls = own.filter(~pl.col("treated"))["arm"].unique().to_list()
    if not controls:
        return
    control, design = str(controls[0]), design_of(persons)
    cuts = [(d, g.cut(persons, d)) for d in dict.fromkeys((g.ALL, *rules.dimensions)) if g.of_people(d)]
    ids = pl.Enum(persons["respondent_id"].to_list())
    for outcome, answer, rows in _outcomes(own, items):
        person = rows["respondent_id"].cast(ids).to_physical().cast(pl.Int64).to_numpy()
        weight = rows["weight"].fill_null(0.0).to_numpy() if weighted else np.ones(rows.height)
        known = _Answers(rows["value"].to_numpy(), weight, person, dense(rows["item_id"]), design)
        names = rows["item_id"].unique().sort().to_list()
        asked = rows["item_id"].to_numpy()
        wholes = [] if outcome == "share" else [(ALL_ITEMS, np.ones(rows.height, dtype=bool))]
        arm = rows["arm"].to_numpy()
        for item, keep in [*wholes, *((name, asked == name) for name in names)]:
            part, of_arm = known.only(keep), arm[keep]
            for level in sorted(set(of_arm.tolist()) - {control}):
                side = np.where(of_arm == level, 0, np.where(of_arm == control, 1, -1))
                for dimension, cut in cuts:
                    group = cut.codes[part.person]
                    for code, label in enumerate(cut.labels):
                        found = _effect(part, side, group, code, apart=dimension != g.ALL, rules=rules)
                        if found is None:
                            continue
                        yield found | {
                            "level": level, "reference": control, "outcome": outcome, "item_id": item, "answer": answer,
                            "dimensions": dimension, "subgroup": label, "method": _method(design),
                        }  # fmt: skip


def _outcomes(own: pl.DataFrame, items: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Outcome, answer and rows with `value`: places of scales together, shares of other answers one by one."""
    places = own.drop_nulls("scale_place").with_columns(pl.col("scale_place").alias("value"))
    if places.height:
        yield "place", "", places
    others = own.filter(~pl.col("item_id").is_in(places["item_id"].unique().implode()))
    for (item,), rows in others.group_by(["item_id"], maintain_order=True):
        options = items.filter(item_id=item)["options"].explode().to_list()
        for option, text in enumerate(options):
            yield (
                "share",
                str(text),
                rows.with_columns((pl.col("answer_idx") == option).cast(pl.Float64).alias("value")),
            )


def _effect(
    part: _Answers, side: Ints, group: Ints, code: int, *, apart: bool, rules: EstimateRules
) -> dict[str, object] | None:
    """The effect in a group, and the difference to that in everyone else; None if too few people are in it."""
    inside, rest = group == code, (group >= 0) & (group != code)

    def people(rows: Flags) -> list[int]:
        return [len(np.unique(part.person[rows & (side == s) & (part.weight > 0)])) for s in (0, 1)]

    counts = people(inside)
    if min(counts) < rules.min_personas:
        return None
    made = part.contrast(np.where(inside, side, -1), _TWO)
    mean = part.contrast(np.where(inside & (side == 1), 0, -1), _TWO[:1])
    found: dict[str, object] = {
        "estimate": made.estimate, "se": made.se, "df": made.df, "reference_mean": mean.estimate,
        "n_arm": counts[0], "n_control": counts[1], "n_items": int(part.item.max(initial=-1)) + 1,
    }  # fmt: skip
    other = Contrast(np.nan, np.nan, np.nan)
    if apart and min(people(rest)) >= rules.min_personas:
        other = part.contrast(np.where(inside & (side >= 0), side, np.where(rest & (side >= 0), side + 2, -1)), _FOUR)
    return found | {"difference": other.estimate, "difference_se": other.se, "difference_df": other.df}


def _method(design: Design) -> str:
    if design.known:
        return design.words().removeprefix("people's ")
    return "people as sampled individually, each arm apart"


def _tested(made: pl.DataFrame, level: float) -> pl.DataFrame:
    """Add intervals, p-values, and q-values over everyone and over subgroups."""
    estimate, se, df = (made[name].to_numpy() for name in ("estimate", "se", "df"))
    low, high, p = paired(estimate, se, df, 1.0, level=level)
    difference, error, its_df = (made[name].to_numpy() for name in ("difference", "difference_se", "difference_df"))
    _, _, apart = paired(difference, error, its_df, 2.0, level=level)
    made = made.with_columns(
        pl.Series("ci_low", low),
        pl.Series("ci_high", high),
        pl.Series("p_value", p),
        pl.Series("difference_p", apart),
        (pl.col("dimensions") == g.ALL).alias("everyone"),
    ).with_columns(pl.col(pl.Float64).fill_nan(None))
    over = ["weighted", "everyone"]
    return made.with_columns(
        multiplicity.q_values("p_value", over).alias("q_value"),
        multiplicity.q_values("difference_p", over).alias("difference_q"),
    )


_KEY = ["survey", "level", "outcome", "item_id", "answer", "dimensions", "subgroup", "weighted"]


def beside_people(made: pl.DataFrame, people: pl.DataFrame, rules: EstimateRules) -> pl.DataFrame:
    """Add to the effects on the model's answers those on people, the difference and its verdict.

    Args:
        made: Effects with estimate, p_value and `everyone`, of arms and of conjoint attributes; for arms also `own_se`
            and `own_df`, the error of the effect on these questions alone.
        people: PEOPLE_EFFECTS of the task.
        rules: Equivalence margin and level.
    """
    of_people = people.select(
        *_KEY,
        pl.lit("arm").alias("effect"),
        pl.col("estimate", "se", "df", "ci_low", "ci_high", "p_value", "n_items").name.prefix("people_"),
        (pl.col("n_arm") + pl.col("n_control")).alias("n_people"),
    )
    made = made.join(of_people, on=["effect", *_KEY], how="left", maintain_order="left")
    # Over all questions, both must be about the same questions.
    other = (pl.col("item_id") == ALL_ITEMS) & (pl.col("n_items") != pl.col("people_n_items"))
    names = [name for name in made.columns if name.startswith("people_")] + ["n_people"]
    made = made.with_columns(pl.when(~other.fill_null(False)).then(name).alias(name) for name in names)
    if "own_se" not in made.columns:  # a task without people's own effects
        made = made.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("own_se", "own_df"))
    own, theirs = _error(made, "own_", rules.level), _error(made, "people_", rules.level)
    model, person, own_df, their_df = (
        made[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for name in ("estimate", "people_estimate", "own_df", "people_df")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (own**2 + theirs**2) ** 2 / (own**4 / own_df + theirs**4 / their_df)
    difference, se = model - person, np.hypot(own, theirs)
    low, high, p = paired(difference, se, df, 2.0, level=rules.level)
    made = made.with_columns(
        pl.Series("beyond_people", difference),
        pl.Series("beyond_people_se", se),
        pl.Series("beyond_people_low", low),
        pl.Series("beyond_people_high", high),
        pl.Series("beyond_people_p", p),
    ).with_columns(pl.col("^beyond_people.*$").fill_nan(None))
    made = made.with_columns(
        multiplicity.q_values("beyond_people_p", ["effect", "weighted", "everyone"]).alias("beyond_people_q")
    )
    reach = t_quantile(df, 2 * rules.level) * se
    same = np.abs(difference) + reach <= rules.equivalence_margin
    return made.with_columns(_verdict(pl.Series(same & np.isfinite(reach)), rules.level).alias("people_verdict"))


def _error(made: pl.DataFrame, of: str, level: float) -> Floats:
    """The standard error; where nobody deviates and it is 0, that of the interval which says so (`unseen`)."""
    estimate, se, df = (
        made[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for name in ("estimate" if of == "own_" else f"{of}estimate", f"{of}se", f"{of}df")
    )
    low, high, _ = paired(estimate, se, df, 1.0, level=level)
    with np.errstate(divide="ignore", invalid="ignore"):
        side = np.maximum(high - estimate, estimate - low) / t_quantile(df, level)
    return np.where(se == 0, side, se)


def _verdict(same: pl.Series, level: float) -> pl.Expr:
    model, people = pl.col("estimate"), pl.col("people_estimate")
    moved = pl.col("people_p_value") <= level
    opposite = (model.sign() * people.sign() < 0) & moved & (pl.col("p_value") <= level)
    # Along the direction in which people moved; without one, by size.
    less = pl.when(moved).then(model * people.sign() < people.abs()).otherwise(model.abs() < people.abs())
    return (
        pl.when(pl.col("beyond_people_p").is_null())
        .then(None)
        .when(pl.lit(same))
        .then(pl.lit(REPRODUCES))
        .when(pl.col("beyond_people_q") > level)
        .then(pl.lit(CANNOT_TELL))
        .when(opposite)
        .then(pl.lit(REVERSES))
        .when(less)
        .then(pl.lit(UNDERSTATES))
        .otherwise(pl.lit(OVERSTATES))
    )
