"""Hidden pockets: trait combinations for which a model does worse, found on one half of the data, tested on another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from scipy import stats

from mpta_pipeline.hashing import hash_uniform
from mpta_pipeline.metrics import groups as g
from mpta_pipeline.metrics import multiplicity, shrinkage
from mpta_pipeline.metrics.answers import Units, balance
from mpta_pipeline.metrics.arrays import Floats
from mpta_pipeline.metrics.block import REFERENCE, Block
from mpta_pipeline.metrics.clustered import Slices, t_quantile
from mpta_pipeline.metrics.facts import with_facts
from mpta_pipeline.metrics.figures import blocks
from mpta_pipeline.metrics.means import reference_values
from mpta_pipeline.study import FigureRules
from mpta_pipeline.tables import POCKETS

DEPTH = 3
CANDIDATES = 20
# A slice goes to confirmation when it is this many errors below everyone else, and below the rest of its parent.
ENTRY = 1.645
# With fewer item clusters than this, halving them leaves too few for an error; then only personas are split.
MIN_CLUSTERS_TO_SPLIT = 8
EXAMPLES = 3


@dataclass(frozen=True)
class Slice:
    """A slice found on the discovery half."""

    traits: tuple[str, ...]
    values: tuple[str, ...]
    gap: float
    t: float
    parent: str


def find_pockets(
    scores: pl.DataFrame, groups: pl.DataFrame, gold: pl.DataFrame, *, rules: FigureRules, seed: int
) -> pl.DataFrame:
    """Search all combinations of up to three traits for slices where the model does worse, and test what is found.

    Personas are halved by hash, and item clusters too where there are enough; slices are searched on one half
    (personas' means, at least half of `rules.min_personas` each) and the best candidates, each worse than its
    parents, are tested on the other with two-way clustered errors against everyone else. Three outcomes are searched:
    the score, the score net of the most frequent answer of others, and the paired effect of the persona.

    Args:
        scores: SCORES of one model and one task.
        groups: persona_id, survey and one column per trait to search over.
        gold: GOLD of the task; empty for items whose key does not depend on the person.
        rules: `min_personas`, `level`.
        seed: Seed of the halves.

    Returns:
        POCKETS, one row a slice that was tested; `confirmed` where its q-value is at most `rules.level`.
    """
    if scores.is_empty():
        return POCKETS.empty()
    balanced = balance(scores)
    units = Units(with_facts(balanced.frame, None), balanced.answer, balanced.mass, balanced.positions)
    traits = sorted(c for c in groups.columns if c not in ("persona_id", "survey"))
    found: list[pl.DataFrame] = []
    last = {block.survey: block for block in blocks(units, groups, gold, rules=rules)}  # weighted ones come last
    for survey, block in last.items():
        frame = _prepared(block)
        frame = frame.with_columns(_halves(frame, seed))
        for condition in sorted(frame.get_column("condition").unique().to_list()):
            if condition == REFERENCE:
                continue
            rows = frame.filter(pl.col("condition") == condition)
            for outcome in ("score", "score_net_of_item_mode", "persona_effect"):
                part = _search(rows.filter(pl.col(outcome).is_not_nan()), outcome, traits, rules)
                if part is not None:
                    found.append(
                        part.with_columns(
                            pl.lit(survey).alias("survey"),
                            pl.lit(condition).alias("condition"),
                            pl.lit(outcome).alias("outcome"),
                        )
                    )
    if not found:
        return POCKETS.empty()
    table = _judged(pl.concat(found).sort("survey", "condition", "outcome", "dimensions", "subgroup"), rules)
    table = table.with_columns(
        pl.lit(scores.item(0, "model")).alias("model"),
        pl.lit(scores.item(0, "task")).alias("task"),
        _examples(table, scores, groups),
    )
    return POCKETS.conform(table.select(list(POCKETS.schema)))


def _prepared(block: Block) -> pl.DataFrame:
    """One survey's answers with weight and the three outcomes (nan where undefined)."""
    frame = block.frame
    credit = np.where(
        (frame.get_column("n_orders") > frame.get_column("n_error")).to_numpy(),
        frame.get_column("credit").to_numpy(),
        np.nan,
    )
    reference = reference_values(credit, np.ones(len(credit)), block.condition(REFERENCE), block.pair)
    return frame.with_columns(
        pl.Series("score", credit),
        pl.Series("score_net_of_item_mode", credit - frame.get_column("item_mode").fill_null(np.nan).to_numpy()),
        pl.Series("persona_effect", credit - reference),
        pl.Series("w", block.weight),
    ).filter(pl.col("w") > 0)


def _halves(frame: pl.DataFrame, seed: int) -> list[pl.Series]:
    """Which half each row's persona and item cluster fall in: the lower half of their hashes is for discovery."""
    out = []
    for column, name in (("persona_id", "half_persona"), ("cluster_id", "half_item")):
        values = frame.select(pl.col(column).unique().sort())
        if column == "cluster_id" and values.height < MIN_CLUSTERS_TO_SPLIT:
            out.append(pl.Series(name, [None] * frame.height, dtype=pl.Boolean))
            continue
        ranked = values.with_columns(
            hash_uniform(values, [column], key=f"half|{seed}|{column}").rank("ordinal").alias("rank")
        )
        ranked = ranked.with_columns((pl.col("rank") <= (pl.len() + 1) // 2).alias(name))
        out.append(frame.join(ranked, on=column, how="left", maintain_order="left").get_column(name))
    return out


def _search(rows: pl.DataFrame, outcome: str, traits: list[str], rules: FigureRules) -> pl.DataFrame | None:
    """Candidates of one survey, condition and outcome with their figures on the confirmation half."""
    item_half = pl.col("half_item")
    discovery = rows.filter(pl.col("half_persona") & item_half.fill_null(True))
    confirmation = rows.filter(~pl.col("half_persona") & ~item_half.fill_null(False))
    if discovery.is_empty() or confirmation.is_empty():
        return None
    candidates = discover(discovery, outcome, traits, max(rules.min_personas // 2, 2))
    lines = [line for c in candidates if (line := _confirm(confirmation, outcome, c, rules)) is not None]
    return pl.DataFrame(lines, infer_schema_length=None) if lines else None


def discover(rows: pl.DataFrame, outcome: str, traits: list[str], support: int) -> list[Slice]:
    """The worst slices of the discovery half, from persona-level means, each worse than the rest of every parent."""
    people = (
        rows.group_by("persona_id", maintain_order=True)
        .agg(
            (pl.col("w") * pl.col(outcome)).sum().alias("a"),
            pl.col("w").sum().alias("b"),
            *(pl.col(t).first() for t in traits),
        )
        .sort("persona_id")
    )
    a, b = people.get_column("a").to_numpy(), people.get_column("b").to_numpy()
    cuts = {t: g.cut(people, t) for t in traits}
    usable = [t for t in traits if len(cuts[t].labels) > 1]
    found: dict[frozenset[tuple[str, str]], tuple[Floats, Slice]] = {}
    for depth in range(1, DEPTH + 1):
        for combination in combinations(usable, depth):
            for slice_, member in _slices(combination, cuts, (a, b), support, found):
                found[frozenset(zip(slice_.traits, slice_.values, strict=True))] = (member, slice_)
    worse = [s for _, s in found.values() if s.t <= -ENTRY and s.parent != _EXPLAINED]
    return sorted(worse, key=lambda s: (s.t, s.traits, s.values))[:CANDIDATES]


_EXPLAINED = "\x00"  # a slice that is no worse than the rest of one of its parents


def _slices(
    combination: tuple[str, ...],
    cuts: dict[str, g.Cut],
    sums_of: tuple[Floats, Floats],
    support: int,
    found: dict[frozenset[tuple[str, str]], tuple[Floats, Slice]],
) -> Iterator[tuple[Slice, Floats]]:
    """Slices of one combination of traits with enough personas whose parents all had enough."""
    a, b = sums_of
    code = np.zeros(len(a), dtype=np.int64)
    known = np.ones(len(a), dtype=bool)
    for trait in combination:
        code = code * len(cuts[trait].labels) + np.maximum(cuts[trait].codes, 0)
        known &= cuts[trait].codes >= 0
    counts = np.bincount(code[known], minlength=1)
    rest = int(known.sum())
    for value in np.flatnonzero((counts >= support) & (rest - counts >= support)):
        names, remainder = [], int(value)
        for trait in reversed(combination):
            remainder, place = divmod(remainder, len(cuts[trait].labels))
            names.append(cuts[trait].labels[place])
        values = tuple(reversed(names))
        member = (known & (code == value)).astype(float)
        parents = [
            frozenset((t, v) for j, (t, v) in enumerate(zip(combination, values, strict=True)) if j != i)
            for i in range(len(combination))
        ]
        if len(combination) > 1 and not all(p in found for p in parents):
            continue
        gap, t = _gap(member, known.astype(float), a, b)
        parent = ""
        if len(combination) > 1:
            # The parent that explains most is the one within which the slice stands out least.
            inside = [(_gap(member, found[p][0], a, b)[1], p) for p in parents]
            weakest = max(inside, key=lambda x: (x[0], sorted(x[1])))
            parent = _EXPLAINED if weakest[0] > -ENTRY else _name(weakest[1])
        yield Slice(combination, values, gap, t, parent), member


def _gap(member: Floats, within: Floats, a: Floats, b: Floats) -> tuple[float, float]:
    """Mean of the slice less mean of the rest of `within`, and its t from persona-level residuals (Welch)."""
    outside = within * (1 - member)
    wm, wo = (member * b).sum(), (outside * b).sum()
    if wm <= 0 or wo <= 0 or outside.sum() < 2 or member.sum() < 2:
        return 0.0, 0.0
    m, o = (member * a).sum() / wm, (outside * a).sum() / wo
    variance = sum(
        n / (n - 1) * ((side * (a - mean * b)) ** 2).sum() / total**2
        for side, mean, total, n in ((member, m, wm, member.sum()), (outside, o, wo, outside.sum()))
    )
    gap = float(m - o)
    return gap, gap / float(np.sqrt(variance)) if variance > 0 else 0.0


def _name(slice_: frozenset[tuple[str, str]]) -> str:
    pairs = sorted(slice_)
    return f"{g.CROSS.join(t for t, _ in pairs)}={g.CROSS.join(v for _, v in pairs)}"


def _confirm(rows: pl.DataFrame, outcome: str, candidate: Slice, rules: FigureRules) -> dict[str, object] | None:
    """Figures of a candidate on the confirmation half; None where it has too few personas there."""
    known = pl.all_horizontal(pl.col(t).is_not_null() for t in candidate.traits)
    inside = pl.all_horizontal(pl.col(t) == v for t, v in zip(candidate.traits, candidate.values, strict=True))
    rows = rows.filter(known).with_columns(inside.alias("inside"))
    member = rows.get_column("inside").to_numpy()
    n_personas = rows.filter("inside").get_column("persona_id").n_unique()
    if n_personas < max(rules.min_personas // 2, 2) or member.all():
        return None
    slices = Slices(
        np.where(member, 0, 1), 2, g.dense(rows.get_column("persona_id")), g.dense(rows.get_column("cluster_id"))
    )
    x, w = rows.get_column(outcome).to_numpy(), rows.get_column("w").to_numpy()
    means, gaps = slices.means(x, w), slices.gaps(x, w)
    gap, se, df = float(gaps.difference[0]), float(gaps.se[0]), float(gaps.df[0])
    reach = float(t_quantile(gaps.df, rules.level)[0]) * se
    p = float(stats.t.cdf(gap / se, df)) if np.isfinite(se) and se > 0 else float("nan")
    # The discovery half says how large the effect may be; any such guess gives a valid e-value on the other half.
    reach_expected = float(np.clip(-candidate.t - 1.0, 0.5, 5.0))
    z = float(stats.norm.isf(min(max(p, 1e-300), 1 - 1e-16))) if np.isfinite(p) else float("nan")
    return {
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
        "ci_low": gap - reach,
        "ci_high": gap + reach,
        "p_value": p,
        "e_value": float(np.exp(reach_expected * z - reach_expected**2 / 2)) if np.isfinite(z) else float("nan"),
        "parent": candidate.parent,
    }


def _judged(table: pl.DataFrame, rules: FigureRules) -> pl.DataFrame:
    """Add q-values and e-BH over all slices tested, and shrunken differences."""
    p, e = (table.get_column(c).fill_null(np.nan).to_numpy() for c in ("p_value", "e_value"))
    q = multiplicity.benjamini_hochberg(p)
    shrunken = shrinkage.normal_normal(
        table.get_column("difference").to_numpy(), table.get_column("difference_se").to_numpy() ** 2
    )
    return table.with_columns(
        pl.Series("q_value", q),
        pl.Series("confirmed", np.nan_to_num(q, nan=1.0) <= rules.level),
        pl.Series("e_confirmed", multiplicity.e_benjamini_hochberg(np.nan_to_num(e, nan=0.0), rules.level)),
        pl.Series("shrunken_difference", shrunken.estimate),
    ).with_columns(pl.col(pl.Float64).fill_nan(None))


def _examples(table: pl.DataFrame, scores: pl.DataFrame, groups: pl.DataFrame) -> pl.Series:
    """Some prompts of each pocket that were answered wrong."""
    wrong = scores.filter((pl.col("score") == 0) & (pl.col("status") == "ok")).select(
        "survey", "condition", "persona_id", "prompt_id"
    )
    wrong = wrong.with_columns(hash_uniform(wrong, ["prompt_id"], key="example").alias("rank"))
    wrong = wrong.join(groups.drop("survey"), on="persona_id", how="left").sort("rank", "prompt_id")
    chosen = []
    for row in table.select("survey", "condition", "dimensions", "subgroup").iter_rows(named=True):
        inside = pl.all_horizontal(
            pl.col(t) == v
            for t, v in zip(row["dimensions"].split(g.CROSS), row["subgroup"].split(g.CROSS), strict=True)
        )
        here = (pl.col("survey") == row["survey"]) & (pl.col("condition") == row["condition"]) & inside
        chosen.append(wrong.filter(here).head(EXAMPLES).get_column("prompt_id").to_list())
    return pl.Series("examples", chosen, dtype=pl.List(pl.String))
