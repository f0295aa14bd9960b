"""Search one half of the data for trait combinations where a model does worse, and test them on the other half."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
import polars as pl
from scipy import optimize, stats

from mpta_pipeline.core.arms import of_control
from mpta_pipeline.core.described_groups import of_people
from mpta_pipeline.core.estimate_ids import pocket_ids
from mpta_pipeline.core.hashing import hash_uniform
from mpta_pipeline.core.power import MIN_CLUSTERS_TO_SPLIT
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import POCKETS
from mpta_pipeline.metrics.estimators.means import reference_values
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.balancing import UNIT_KEY, Units, balance_chunks, by_persona
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.samples.item_features import COLUMNS, with_facts
from mpta_pipeline.metrics.samples.survey_answers import REFERENCE, Block, blocks
from mpta_pipeline.metrics.statistics import multiplicity, shrinkage
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, dense, sums
from mpta_pipeline.metrics.statistics.clustered import Rows, Slices, t_quantile
from mpta_pipeline.metrics.statistics.intervals import apart

DEPTH = 3
CANDIDATES = 20
# A slice is tested if it is this many errors below everyone else, and below the rest of each parent.
ENTRY = 1.645
EXAMPLES = 3
# Outcomes searched, with their ranges.
RANGES = {"score": (0.0, 1.0), "score_net_of_item_mode": (-1.0, 1.0), "persona_effect": (-1.0, 1.0)}


@dataclass(frozen=True)
class Slice:
    """A slice found on the discovery half."""

    traits: tuple[str, ...]
    values: tuple[str, ...]
    gap: float
    t: float
    parent: str

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Pairs of a trait and its value."""
        return frozenset(zip(self.traits, self.values, strict=True))


# What the search needs of each answer, beside who was asked what.
_USED = ("cluster_id", "k_options", "gold_idx", "weight", "n_orders", "n_error", "credit")
# Columns of the codes that errors are clustered by.
_PERSONA, _CLUSTER, _UNIT = "persona_number", "cluster_number", "unit_number"


def find_pockets(
    scores: pl.DataFrame | Iterable[pl.DataFrame],
    groups: pl.DataFrame,
    gold: pl.DataFrame | Iterable[pl.DataFrame],
    *,
    rules: EstimateRules,
    seed: int,
    study: str = "",
) -> pl.DataFrame:
    """Search all combinations of up to three traits for slices where the model does worse, and test the candidates.

    Personas are halved by hash, and item clusters too if there are enough. Slices are searched on one half (personas'
    means, at least half of `rules.min_personas` each). The best candidates, each worse than its parents, are tested on
    the other half against everyone else, with two-way clustered errors. Three outcomes are searched: the score, the
    score net of other people's most frequent answer, and the paired effect of the persona.

    Args:
        scores: SCORES of one model and one task, or chunks of it as in `compute_estimates`. The ids of wrong answers
            of all chunks stay in memory, because examples are drawn from them.
        groups: respondent_id, survey and one column per trait to search over.
        gold: GOLD of the task; empty for items whose key does not depend on the person.
        rules: `min_personas`, `level`.
        seed: Seed of the halves.
        study: Name of the study, which is part of the pockets' ids.

    Returns:
        POCKETS, one row per tested slice; `confirmed` if its q-value is at most `rules.level`. Confirmed rows that
        belong to one pocket share the value of `pocket`, and the row with the largest e-value `leads`. Such rows are
        the same group by several outcomes, or a group and a part of it, unless each is worse without the other.
    """
    wrong = _Wrong()
    chunks = by_persona(scores) if isinstance(scores, pl.DataFrame) else scores

    def finished(units: Units) -> Units:
        frame = with_facts(units, None).select(*UNIT_KEY, *_USED, *COLUMNS)
        return units.on(CompactFrame.of(frame))

    made = balance_chunks(
        wrong.seen(of_people(of_control(chunk)) for chunk in chunks), columns=_USED, finished=finished
    )
    # Without an answer key, no group can be worse.
    if made is None or wrong.keyless:
        return POCKETS.empty()
    model, task = made.model, made.task
    units = made.units
    del made  # each block holds its own answers
    traits = sorted(g.traits(groups))
    found: list[pl.DataFrame] = []
    one: list[tuple[int, int]] = []
    all_blocks = blocks(units, groups, gold, rules=rules)
    del units
    last = {block.survey: block for block in all_blocks}  # weighted blocks come last
    for survey in list(last):
        frame = _prepared(last.pop(survey))
        frame = frame.with_columns(_halves(frame, seed)).with_columns(
            pl.Series(_PERSONA, dense(frame.get_column("respondent_id"))),
            pl.Series(_CLUSTER, dense(frame.get_column("cluster_id"))),
        )
        if g.UNIT in frame.columns:
            frame = frame.with_columns(pl.Series(_UNIT, dense(frame.get_column(g.UNIT))))
        for condition in sorted(frame.get_column("condition").unique().to_list()):
            if condition == REFERENCE:
                continue
            rows = frame.filter(pl.col("condition") == condition)
            for outcome in RANGES:
                part, pairs = _search(rows.filter(pl.col(outcome).is_not_nan()), outcome, traits, rules)
                if part is not None:
                    begin = sum(frame.height for frame in found)
                    one.extend((begin + a, begin + b) for a, b in pairs)
                    found.append(
                        part.with_row_index("row", offset=begin).with_columns(
                            pl.lit(survey).alias("survey"),
                            pl.lit(condition).alias("condition"),
                            pl.lit(outcome).alias("outcome"),
                        )
                    )
    if not found:
        return POCKETS.empty()
    table = _judged(pl.concat(found).sort("survey", "condition", "outcome", "dimensions", "subgroup"), rules)
    table = _as_trees(table, one)
    table = table.with_columns(
        pl.lit(model).alias("model"),
        pl.lit(task).alias("task"),
        _examples(table, wrong.answers(), groups),
    )
    table = table.with_columns(pocket_ids(table, study))
    return POCKETS.conform(table.select(list(POCKETS.schema)))


def _prepared(block: Block) -> pl.DataFrame:
    """Add weight and the three outcomes (nan where undefined) to one survey's answers."""
    frame = block.frame
    credit = np.where(
        (frame.get_column("n_orders") > frame.get_column("n_error")).to_numpy(),
        frame.get_column("credit").to_numpy(),
        np.nan,
    )
    reference = reference_values(credit, np.ones(len(credit)), block.condition(REFERENCE), block.pair)
    mode = frame.get_column("item_mode").fill_null(np.nan).to_numpy()
    # Every candidate filters the rows, so that other columns would cost time and memory.
    kept = [
        *("respondent_id", "condition", "cluster_id", "item_id", "n_orders"),
        *(c for c in frame.columns if c == g.UNIT or c.startswith(g.TRAIT)),
    ]
    return (
        frame.select(*kept)
        .with_columns(
            pl.Series("score", credit),
            pl.Series("score_net_of_item_mode", credit - mode),
            pl.Series("persona_effect", credit - reference),
            pl.Series("w", block.weight),
        )
        .select(*kept, *RANGES, "w")
        .filter(pl.col("w") > 0)
    )


def _halves(frame: pl.DataFrame, seed: int) -> list[pl.Series]:
    """Assign each row's persona and item cluster to a half. The lower half of their hashes is for discovery."""
    out = []
    # People of one sampling unit are alike. If a unit were in both halves, the test would not be independent.
    drawn = g.UNIT if g.UNIT in frame.columns else "respondent_id"
    # The hashes use the column's original name, because the halves of a study must not change.
    of_people = (drawn, "persona_id" if drawn == "respondent_id" else drawn, "half_persona")
    for column, hashed_as, name in (of_people, ("cluster_id", "cluster_id", "half_item")):
        values = frame.select(pl.col(column).unique().sort())
        if column == "cluster_id" and values.height < MIN_CLUSTERS_TO_SPLIT:
            out.append(pl.Series(name, [None] * frame.height, dtype=pl.Boolean))
            continue
        ranked = values.with_columns(
            hash_uniform(values, [column], key=f"half|{seed}|{hashed_as}").rank("ordinal").alias("rank")
        )
        ranked = ranked.with_columns((pl.col("rank") <= (pl.len() + 1) // 2).alias(name))
        out.append(frame.join(ranked, on=column, how="left", maintain_order="left").get_column(name))
    return out


def _search(
    rows: pl.DataFrame, outcome: str, traits: list[str], rules: EstimateRules
) -> tuple[pl.DataFrame | None, list[tuple[int, int]]]:
    """Find the candidates of one survey, condition and outcome, and estimate them on the confirmation half.

    Returns:
        One row per candidate, or None if there is none; and pairs of rows that belong to one pocket, as (explained row,
        row that explains it).
    """
    item_half = pl.col("half_item")
    discovery = rows.filter(pl.col("half_persona") & item_half.fill_null(True))
    confirmation = rows.filter(~pl.col("half_persona") & ~item_half.fill_null(False))
    if discovery.is_empty() or confirmation.is_empty():
        return None, []
    candidates = discover(discovery, outcome, traits, max(rules.min_personas // 2, 2))
    tested = [(c, line) for c in candidates if (line := _confirm(confirmation, outcome, c, rules)) is not None]
    if not tested:
        return None, []
    slices = [c for c, _ in tested]
    pairs = []
    for i, whole in enumerate(slices):
        for j, part in enumerate(slices):
            if whole.pairs < part.pairs and (leads := _clearer(confirmation, outcome, whole, part, rules)):
                pairs.append((i, j) if leads == "part" else (j, i))
    return pl.DataFrame([line for _, line in tested], infer_schema_length=None), pairs


def _clearer(rows: pl.DataFrame, outcome: str, whole: Slice, part: Slice, rules: EstimateRules) -> str | None:
    """Decide whether a group or a part of it is the pocket, "whole" or "part"; None if both are separate pockets.

    The part explains the group if the rest of the group is not worse than everyone else. Otherwise the group explains
    the part if the part is not worse than the rest of the group.
    """
    group, inner = (_inside(s.traits, s.values).fill_null(False) for s in (whole, part))
    rest = group & ~inner
    if not _worse(rows, outcome, rest, ~group, rules):
        return "part"
    return None if _worse(rows, outcome, inner, rest, rules) else "whole"


def _worse(rows: pl.DataFrame, outcome: str, these: pl.Expr, those: pl.Expr, rules: EstimateRules) -> bool:
    """Whether some rows are worse than others, at the study's level."""
    side = rows.select(pl.when(these).then(0).when(those).then(1).otherwise(-1).alias("side"))["side"].to_numpy()
    if not ((side == 0).any() and (side == 1).any()):
        return False
    slices = Slices(side, 2, rows.get_column(_PERSONA).to_numpy(), rows.get_column(_CLUSTER).to_numpy())
    gaps = slices.gaps(rows.get_column(outcome).to_numpy(), rows.get_column("w").to_numpy())
    _, p = apart(gaps, *RANGES[outcome], level=rules.level)
    return bool(gaps.difference[0] < 0 and p[0] / 2 <= rules.level)


def _as_trees(table: pl.DataFrame, one: list[tuple[int, int]]) -> pl.DataFrame:
    """Add `pocket` and `leads`. Confirmed rows that belong to one pocket share its name.

    The name is that of the row with the largest e-value among the rows that no other row explains.
    """
    confirmed = set(table.filter("confirmed").get_column("row"))
    groups: dict[tuple[str, ...], list[int]] = {}
    key = ("survey", "condition", "dimensions", "subgroup")
    for values in table.filter("confirmed").select("row", *key).iter_rows():
        groups.setdefault(values[1:], []).append(values[0])
    links = [(rows[0], row) for rows in groups.values() for row in rows[1:]]
    one = [pair for pair in one if set(pair) <= confirmed]
    links += one
    explained = [row for row, _ in one]
    root = {row: row for row in table.get_column("row")}

    def top(row: int) -> int:
        while root[row] != row:
            row = root[row]
        return row

    for a, b in links:
        first, second = sorted((top(a), top(b)))
        root[second] = first
    rows = table.with_columns(pl.col("row").replace_strict({row: top(row) for row in root}).alias("tree"))
    name = pl.format("{}={}", "dimensions", "subgroup")
    weight = pl.when(~pl.col("row").is_in(explained)).then(pl.col("e_value")).fill_null(-1.0)
    leads = weight.rank("ordinal", descending=True).over("tree") == 1
    return rows.with_columns(leads.alias("leads")).with_columns(
        name.filter("leads").first().over("tree").alias("pocket")
    )


def discover(rows: pl.DataFrame, outcome: str, traits: list[str], support: int) -> list[Slice]:
    """Find the worst slices of the discovery half, by persona-level means, each worse than the rest of every parent.

    Every combination of traits is one grouped sum over the personas. The rest of a slice, and the rest of each of its
    parents, are differences of such sums.

    Args:
        rows: Answers with respondent_id, weight `w`, the outcome and the renamed traits (`groups.apart`).
        outcome: Column of the outcome.
        traits: Traits to combine.
        support: Minimum number of personas in a slice and outside it.

    Returns:
        At most `CANDIDATES`, worst first.
    """
    people = (
        rows.group_by("respondent_id", maintain_order=True)
        .agg(
            (pl.col("w") * pl.col(outcome)).sum().alias("a"),
            pl.col("w").sum().alias("b"),
            *(pl.col(g.TRAIT + t).first() for t in traits),
        )
        .sort("respondent_id")
    )
    a, b = people.get_column("a").to_numpy(), people.get_column("b").to_numpy()
    a = a - a.sum() / b.sum() * b  # centred to avoid cancellation
    moments = (np.ones(len(a)), a, b, a * a, a * b, b * b)
    cuts = {t: g.cut_by_trait(people, t) for t in traits}
    usable = [t for t in traits if len(cuts[t].labels) > 1]
    totals: dict[tuple[str, ...], Floats] = {}
    kept: dict[tuple[str, ...], Flags] = {}
    found: list[Slice] = []
    for depth in range(1, DEPTH + 1):
        for combination in combinations(usable, depth):
            sizes = [len(cuts[t].labels) for t in combination]
            known = np.all([cuts[t].codes >= 0 for t in combination], axis=0)
            code = np.ravel_multi_index([np.maximum(cuts[t].codes, 0) for t in combination], sizes)[known]
            own = np.stack([sums(code, m[known], int(np.prod(sizes))) for m in moments])
            rest = own.sum(axis=1, keepdims=True) - own
            keep = (own[0] >= support) & (rest[0] >= support)
            gap, t = _contrast(own, rest)
            digits = np.unravel_index(np.arange(own.shape[1]), sizes)
            inside = np.full((depth, own.shape[1]), -np.inf)
            for out in range(depth) if depth > 1 else ():
                parent = combination[:out] + combination[out + 1 :]
                place = np.ravel_multi_index(
                    digits[:out] + digits[out + 1 :], [len(cuts[name].labels) for name in parent]
                )
                keep &= kept[parent][place]
                inside[out] = _contrast(own, totals[parent][:, place] - own)[1]
            totals[combination], kept[combination] = own, keep
            # The parent that explains most is the one in which the slice differs least from the rest.
            explains = inside.argmax(axis=0)
            for i in np.flatnonzero(keep & (t <= -ENTRY) & (inside.max(axis=0) <= -ENTRY)):
                values = tuple(cuts[name].labels[int(d[i])] for name, d in zip(combination, digits, strict=True))
                named = list(zip(combination, values, strict=True))
                parent_name = _name(named[: explains[i]] + named[explains[i] + 1 :]) if depth > 1 else ""
                found.append(Slice(combination, values, float(gap[i]), float(t[i]), parent_name))
    return sorted(found, key=lambda s: (s.t, s.traits, s.values))[:CANDIDATES]


def _contrast(own: Floats, rest: Floats) -> tuple[Floats, Floats]:
    """Mean of each slice minus that of its rest, and Welch's t from persona-level residuals; (0, 0) where undefined.

    Args:
        own: (6 × slices) number of personas, Σa, Σb, Σa², Σab, Σb².
        rest: The same of the rest.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        means, variances = [], []
        for n, a, b, aa, ab, bb in (own, rest):
            mean = a / b
            squares = np.maximum(aa - 2 * mean * ab + mean**2 * bb, 0.0)
            means.append(mean)
            variances.append(np.where(n > 1, n / (n - 1) * squares / b**2, np.nan))
        gap = means[0] - means[1]
        # Two sides that differ and have no variance get an infinite t.
        t = gap / np.sqrt(variances[0] + variances[1])
    defined = np.isfinite(gap) & ~np.isnan(t)
    return np.where(defined, gap, 0.0), np.where(defined, t, 0.0)


def power(effect: Floats | float, se: Floats, df: float, tests: int, *, level: float) -> Floats:
    """Power of the search and the test together to find a slice that is worse by `effect`.

    The slice must enter on the discovery half, where its t must be below −`ENTRY`. It must then be confirmed on the
    other half, at the Benjamini–Hochberg level of a single pocket among the slices tested. Both halves are assumed to
    have the error of the confirmation half.

    Args:
        effect: True difference, > 0.
        se: Error of the difference on the confirmation half.
        df: Its degrees of freedom.
        tests: Number of slices tested, over all outcomes.
        level: Level of the study.
    """
    z = np.asarray(effect, dtype=float) / se
    critical = stats.t.isf(level / tests, df)
    return np.asarray(stats.norm.cdf(z - ENTRY) * stats.nct.sf(critical, df, z), dtype=float)


@cache
def detectable_in_errors(df: float, tests: int, level: float, wanted: float = 0.8) -> float:
    """Smallest effect, in units of the error, that is detectable with the power wanted; nan if none of up to 200 is.

    With two item clusters (one degree of freedom) and many tests no effect is.
    """

    def short(z: float) -> float:
        return float(power(z, np.ones(1), df, tests, level=level)[0]) - wanted

    return float(optimize.brentq(short, 0.1, 200.0, xtol=1e-6)) if short(200.0) > 0 else float("nan")


def _inside(traits: Sequence[str], values: Sequence[str]) -> pl.Expr:
    """Select the rows of a slice by its renamed traits."""
    return pl.all_horizontal(pl.col(g.TRAIT + t).cast(pl.String) == v for t, v in zip(traits, values, strict=True))


def _name(pairs: list[tuple[str, str]]) -> str:
    return f"{g.CROSS.join(t for t, _ in pairs)}={g.CROSS.join(v for _, v in pairs)}"


def _confirm(rows: pl.DataFrame, outcome: str, candidate: Slice, rules: EstimateRules) -> dict[str, object] | None:
    """Estimate a candidate on the confirmation half; None if it has too few personas there."""
    known = pl.all_horizontal(pl.col(g.TRAIT + t).is_not_null() for t in candidate.traits)
    rows = rows.filter(known).with_columns(_inside(candidate.traits, candidate.values).alias("inside"))
    member = rows.get_column("inside").to_numpy()
    n_personas = rows.filter("inside").get_column(_PERSONA).n_unique()
    if n_personas < max(rules.min_personas // 2, 2) or member.all():
        return None
    unit = rows.get_column(_UNIT).to_numpy() if _UNIT in rows.columns else None
    clusters = Rows(rows.get_column(_PERSONA).to_numpy(), rows.get_column(_CLUSTER).to_numpy(), unit)
    slices = Slices(np.where(member, 0, 1), 2, rows=clusters)
    x, w = rows.get_column(outcome).to_numpy(), rows.get_column("w").to_numpy()
    means, gaps = slices.means(x, w), slices.gaps(x, w)
    gap, df = float(gaps.difference[0]), float(gaps.df[0])
    low, high = RANGES[outcome]
    error, both_sided = apart(gaps, low, high, level=rules.level)
    se, p = float(error[0]), float(both_sided[0]) / 2
    p = p if gap <= 0 else 1 - p
    reach = float(t_quantile(gaps.df, rules.level)[0]) * se
    # The discovery half gives a guess of the effect. Any such guess gives a valid e-value on the other half.
    reach_expected = float(np.clip(-candidate.t - 1.0, 0.5, 5.0))
    z = float(stats.norm.isf(min(max(p, 1e-300), 1 - 1e-16))) if np.isfinite(p) else float("nan")
    return {
        "traits": list(candidate.traits),
        "values": list(candidate.values),
        "dimensions": g.CROSS.join(candidate.traits),
        "subgroup": g.CROSS.join(candidate.values),
        "n_answers": int(rows.filter("inside").get_column("n_orders").sum()),
        "n_personas": n_personas,
        "n_items": rows.filter("inside").get_column("item_id").n_unique(),
        "n_eff": float(means.n_eff[0]),
        "estimate": float(means.estimate[0]),
        "rest_estimate": float(means.estimate[1]),
        "difference": gap,
        "difference_se": se,
        "ci_low": max(gap - reach, low - high),
        "ci_high": min(gap + reach, high - low),
        "difference_df": df,
        "p_value": p,
        "e_value": float(np.exp(reach_expected * z - reach_expected**2 / 2)) if np.isfinite(z) else float("nan"),
        "parent": candidate.parent,
    }


def _judged(table: pl.DataFrame, rules: EstimateRules) -> pl.DataFrame:
    """Add q-values and e-BH results over all slices tested, and shrunken differences."""
    p, e = (table.get_column(c).fill_null(np.nan).to_numpy() for c in ("p_value", "e_value"))
    q = multiplicity.benjamini_hochberg(p)
    shrunken = shrinkage.normal_normal(
        table.get_column("difference").to_numpy(), table.get_column("difference_se").to_numpy() ** 2
    )
    se, df = (table.get_column(c).fill_null(np.nan).to_numpy() for c in ("difference_se", "difference_df"))
    known = np.isfinite(se) & (se > 0) & (df >= 1)
    tests = int(np.isfinite(p).sum())
    mde = [
        e * detectable_in_errors(float(f), tests, rules.level) if k else None
        for e, f, k in zip(se, df, known, strict=True)
    ]
    return table.with_columns(
        pl.Series("mde", mde, dtype=pl.Float64),
        pl.Series("q_value", q),
        pl.Series("confirmed", np.nan_to_num(q, nan=1.0) <= rules.level),
        pl.Series("e_confirmed", multiplicity.e_benjamini_hochberg(np.nan_to_num(e, nan=0.0), rules.level)),
        pl.Series("shrunken_difference", shrunken.estimate),
    ).with_columns(pl.col(pl.Float64).fill_nan(None))


class _Wrong:
    """Ids of the wrong answers of the chunks that pass, and whether any answer has no key."""

    def __init__(self) -> None:
        self.keyless = False
        self._found: list[pl.DataFrame] = []

    def seen(self, chunks: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Pass the chunks on."""
        for chunk in chunks:
            self.keyless |= not chunk.filter((pl.col("k_options") > 0) & pl.col("gold_idx").is_null()).is_empty()
            self._found.append(
                chunk.filter((pl.col("score") == 0) & (pl.col("status") == "ok")).select(
                    "survey", "condition", "respondent_id", "prompt_id"
                )
            )
            yield chunk

    def answers(self) -> pl.DataFrame:
        """survey, condition, respondent_id and prompt_id of the wrong answers."""
        return pl.concat(self._found)


def _examples(table: pl.DataFrame, wrong: pl.DataFrame, groups: pl.DataFrame) -> pl.Series:
    """Select some prompts of each pocket that were answered incorrectly."""
    people = g.apart(groups).drop("survey", *g.DESIGN, strict=False)
    inside = [_inside(row["traits"], row["values"]) for row in table.select("traits", "values").iter_rows(named=True)]
    # Only answers of people in a pocket are drawn from.
    people = people.filter(pl.any_horizontal(*inside))
    wrong = wrong.join(people, on="respondent_id", how="inner")
    wrong = wrong.with_columns(hash_uniform(wrong, ["prompt_id"], key="example").alias("rank")).sort(
        "rank", "prompt_id"
    )
    chosen = []
    for (survey, condition), of_pocket in zip(table.select("survey", "condition").iter_rows(), inside, strict=True):
        here = (pl.col("survey") == survey) & (pl.col("condition") == condition) & of_pocket
        chosen.append(wrong.filter(here).head(EXAMPLES).get_column("prompt_id").to_list())
    return pl.Series("examples", chosen, dtype=pl.List(pl.String))
