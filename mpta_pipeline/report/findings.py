"""Select what the report says first: confirmed pockets, gaps between groups, harm by the persona, models that differ.

The rule, in four steps. Each reads the published tables alone.

1. **Candidates.** Every test of the study that asks one of these questions, with its q-value from the tables: rows of
   the pocket search; gaps between a group and everyone else; effects of the persona; differences between models.
   Groups that are marked small are left out. Rates of failed requests have no q-value in the tables. Their groups are
   compared here, by the distance between the two intervals, and corrected in the same way (`_failures`).
2. **Multiplicity over the page.** The q-values are Benjamini–Hochberg's within families (one model, one task, one kind
   of metric). A page with many families would find something by chance in some of them. Families are therefore
   selected first, and the tests in them judged at the level that is left (Benjamini and Bogomolov 2014): the smallest
   q-value of a family is Simes' p-value for it, and with R families of F selected, a test counts at q ≤ level · R / F.
   `page_q` is the smallest level at which a test would count.
3. **One card per finding.** A group that is treated badly pulls down every group that overlaps with it. Candidates are
   taken from the strongest to the weakest; each must still differ once the people of the earlier findings are left
   out (tested on persons' means, Bonferroni-corrected). Otherwise it is folded into the earlier card. A gap in accuracy
   must also remain among the replies that can be read if the model refuses, or fails, some group more often; that such
   a group looks better served otherwise is folded, because the missing replies may be the wrong ones. Among the
   tests of a family, those that are folded do not count as discoveries: a q-value is multiplied by its rank and divided
   by the number of cards.
4. **Order.** Hidden pockets, other gaps between groups, harm by the persona, models; within each, by the end of the
   interval that is nearer to 0, largest first; controls after models.

Beside these, each panel of personas that was asked beside its groups (condition `group`) has one card with a verdict
per group. It is shown whatever the verdict is, and takes no part in the corrections above.

Simulated respondents (controls) are judged apart from the models, so that neither changes what is said of the other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist, median
from typing import Any, Literal

import numpy as np
import polars as pl

from mpta_pipeline.core.labels import ALL, CROSS
from mpta_pipeline.core.verdicts import rival_verdict
from mpta_pipeline.core.vocabulary import REFERENCE_CONDITION
from mpta_pipeline.report.scores import Scores

Kind = Literal["pocket", "gap", "effect", "models"]
KINDS: tuple[Kind, ...] = ("pocket", "gap", "effect", "models")
"""Kinds of findings in the order of the page."""

WORSE: Mapping[str, int] = {
    "refusal_rate": 1,
    "parse_rate": -1,
    "condescension_rate": 1,
    "error_rate": 1,
    "accuracy": -1,
    "rouge_l": -1,
    "mae_n": 1,
}
"""Metrics whose gaps are findings, in the order in which they are judged → the sign of a gap that is worse."""
OF_REPLIES = ("refusal_rate", "parse_rate", "condescension_rate", "error_rate")
CONTROL_CONDITIONS = ("placebo", "shuffled_any", "shuffled_country")
"""Conditions whose traits are not the person's: a gap under them says nothing about how the model treats the group."""
POWER = 0.8
_NORMAL = NormalDist()
_CELL = ("model", "task", "survey")


@dataclass(frozen=True)
class Finding:
    """One test that counts, or one that is folded into it.

    Attributes:
        kind: What sort of finding it is.
        outcome: Metric; for a pocket, the outcome that is worse there.
        here: Estimate in the group; with the persona; of the better model.
        rest: Estimate of everyone else; without the persona; of the other model.
        difference: here − rest, with its interval `low`, `high`.
        q: q-value within its family.
        page_q: q-value over all families of the page.
        key: Id of the estimate or pocket; empty if the table has none.
        worse: The group is served worse than everyone else, not better.
        folded: Tests that show the same people or the same harm again.
        examples: Prompt ids of wrong answers, if the table has some.
        models: For a comparison: model → (estimate, tie group), best first.
    """

    kind: Kind
    outcome: str
    model: str
    task: str
    survey: str
    condition: str
    dimensions: str
    subgroup: str
    here: float | None
    here_low: float | None
    here_high: float | None
    rest: float | None
    difference: float
    low: float | None
    high: float | None
    q: float
    n_personas: int
    n_items: int
    key: str
    family: tuple[str, ...]
    strength: float
    page_q: float = 1.0
    e_value: float | None = None
    mde: float | None = None
    worse: bool = True
    control: bool = False
    confirmed: bool = True
    other_model: str = ""
    folded: tuple[Finding, ...] = ()
    examples: tuple[str, ...] = ()
    models: tuple[tuple[str, float | None, int | None], ...] = ()

    @property
    def cell(self) -> tuple[str, str, str]:
        """Model, task and survey."""
        return self.model, self.task, self.survey

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Dimensions with their values; empty for everyone."""
        if self.subgroup == ALL:
            return frozenset()
        return frozenset(zip(self.dimensions.split(CROSS), self.subgroup.split(CROSS), strict=False))

    @property
    def anchor(self) -> str:
        """The card's permanent anchor: the id of its estimate or pocket, or its key if it has none."""
        name = self.key or "-".join((*self.cell, self.condition, self.outcome, self.dimensions, self.subgroup))
        return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in name)

    @property
    def certain(self) -> float:
        """The end of the interval that is nearer to 0, without its sign; 0 if the interval holds 0."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return 0.0
        return min(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Looked:
    """What was looked for, and what would have been found.

    Attributes:
        what: `pockets`, `effect`, or the metric whose gaps were tested.
        tests: Number of tests.
        models: Models for which something was looked for and nothing found.
        found: Number of cards.
        detectable: Difference that would be found with 80 % power after the correction, in a group of median size;
            None if it is not known.
    """

    what: str
    tests: int
    models: tuple[str, ...]
    found: int
    detectable: float | None


@dataclass(frozen=True)
class GroupVerdict:
    """How the panel compares with asking once, for one group.

    Attributes:
        verdict: better, no better, worse, or that there are too few people or questions.
        panel: Total variation between the personas' and people's answers, mean over questions.
        direct: The same for the shares that the model states for the group.
        gain: direct − panel, with its interval `low`, `high`.
        q: q-value within its family.
        key: Id of the estimate.
    """

    dimensions: str
    subgroup: str
    verdict: str
    panel: float
    direct: float
    gain: float
    low: float | None
    high: float | None
    q: float | None
    n_personas: int
    n_items: int
    key: str


@dataclass(frozen=True)
class Rivalry:
    """The verdicts on one panel of personas beside asking the model once about each group.

    It is shown whatever it says: that a panel is no better is a result, not a search without one.

    Attributes:
        everyone: The verdict over all people; None if it was not estimated.
        groups: The verdicts by group, worst first, small groups left out.
    """

    model: str
    task: str
    survey: str
    everyone: GroupVerdict | None
    groups: tuple[GroupVerdict, ...]

    @property
    def anchor(self) -> str:
        """The card's permanent anchor."""
        name = "-".join(("rival", self.model, self.task, self.survey))
        return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in name)

    def count(self, verdict: str) -> int:
        """The number of groups with a verdict."""
        return sum(g.verdict == verdict for g in self.groups)


@dataclass(frozen=True)
class Findings:
    """What the first screen shows.

    Attributes:
        cards: Findings in the order of the page.
        ties: Comparisons of models that found no difference.
        uncertain: Tests that count within their family, but not over all families of the page, or that are smaller than
            the study's margin.
        looked: What was looked for.
        families: Number of families of tests, and how many of them hold a finding.
        rivalries: Panels of personas beside asking once about the group.
    """

    cards: tuple[Finding, ...] = ()
    ties: tuple[Finding, ...] = ()
    uncertain: tuple[Finding, ...] = ()
    looked: tuple[Looked, ...] = ()
    families: tuple[int, int] = (0, 0)
    rivalries: tuple[Rivalry, ...] = ()


def find(
    frames: Mapping[str, pl.DataFrame],
    *,
    scores: Scores | None = None,
    level: float,
    margin: float = 0.0,
    families: Mapping[str, str] | None = None,
    controls: Collection[str] = (),
) -> Findings:
    """Select the findings of a study.

    Args:
        frames: Published tables by name: subgroup_metrics, pockets, model_comparison; scores and groups, if given,
            decide which findings concern the same people. Without them, nested groups count as the same.
        scores: The scores, to be read in parts; None if they are among the frames.
        level: Level of the tests.
        margin: Largest gap in what is answered that counts as none, `figures.equivalence_margin` of the study.
        families: Metric → family within which its tests were corrected; a metric that is missing is its own family.
        controls: Names of models that are controls.
    """
    found = [
        *_gaps(frames["subgroup_metrics"], families or {}, level),
        *_failures(frames["subgroup_metrics"], level),
        *_pockets(frames["pockets"]),
        *_effects(frames["subgroup_metrics"], level),
        *_comparisons(frames["model_comparison"]),
    ]
    found = [replace(f, control=True) if f.model in controls else f for f in found]
    people = _People(scores or Scores.of(frames["scores"]), frames["groups"])
    cards: list[Finding] = []
    ties: list[Finding] = []
    uncertain: list[Finding] = []
    looked: list[Looked] = []
    counts = [0, 0]
    for control in (False, True):
        pool = [f for f in found if f.control == control]
        share, n, selected = _share(pool, level)
        judged = _with_page_q(pool, level)
        kept, unsure = _distinct(judged, people, level, level * share, margin)
        cards += kept
        uncertain += unsure
        if not control:
            counts = [n, selected]
            ties = [f for f in judged if f.kind == "models" and f not in kept]
            looked = _looked(judged, kept, level)
    rank = {kind: i for i, kind in enumerate(KINDS)}

    def place(f: Finding) -> tuple[Any, ...]:
        return rank[f.kind], f.control, not f.worse, -f.certain, f.cell, f.outcome, f.subgroup

    return Findings(
        tuple(sorted(cards, key=place)),
        tuple(sorted(ties, key=place)),
        tuple(sorted(uncertain, key=place)),
        tuple(looked),
        (counts[0], counts[1]),
        tuple(_rivalries(frames["subgroup_metrics"], level)),
    )


# --- candidates -------------------------------------------------------------------------------------------------------


def _own(estimates: pl.DataFrame) -> pl.DataFrame:
    """The rows of estimates themselves, weighted where there are weights; no baselines."""
    key = (*_CELL, "metric", "condition", "dimensions", "subgroup")
    own = estimates.filter(pl.col("baseline") == "")
    return own.filter(pl.col("weighted") == pl.col("weighted").any().over(key)).sort(key)


def _told(estimates: pl.DataFrame) -> pl.DataFrame:
    """The rows of conditions that tell the model who the person is."""
    return estimates.filter(~pl.col("condition").is_in([REFERENCE_CONDITION, *CONTROL_CONDITIONS]))


def _gaps(estimates: pl.DataFrame, families: Mapping[str, str], level: float) -> Iterable[Finding]:
    """Gaps between a group and everyone else that have a q-value.

    If some groups of a dimension stand out, the others are compared without them, as the verdict does.
    """
    apart = pl.col("gap_apart").is_not_null() & pl.col("gap_apart_q").is_not_null()
    rows = _told(_own(estimates)).filter(
        pl.col("metric").is_in([m for m in WORSE if m != "error_rate"]),
        pl.col("dimensions") != ALL,
        pl.col("subgroup") != ALL,
        ~pl.col("small"),
        pl.col("gap_q").is_not_null(),
        pl.col("estimate").is_not_null(),
    )
    rows = rows.with_columns(
        pl.when(apart).then("gap_apart").otherwise("gap").alias("d"),
        pl.when(apart).then("gap_apart_q").otherwise("gap_q").alias("q"),
    )
    reach = _NORMAL.inv_cdf(1 - level / 2)
    for row in rows.iter_rows(named=True):
        # An equivalence test that shows two groups to be alike outweighs a difference that is real and negligible.
        q = 1.0 if row["verdict"] == "no_gap" else row["q"]
        se = row["gap_se"]
        yield Finding(
            kind="gap", outcome=row["metric"], **_place(row),
            here=row["estimate"], here_low=row["ci_low"], here_high=row["ci_high"], rest=row["estimate"] - row["d"],
            difference=row["d"], low=None if se is None else row["d"] - reach * se,
            high=None if se is None else row["d"] + reach * se,
            q=q, key=row["estimate_id"] or "",
            family=("gap", row["model"], row["task"], families.get(row["metric"], row["metric"])),
            strength=abs(row["d"]) / se if se else 0.0, mde=se, worse=row["d"] * WORSE[row["metric"]] > 0,
        )  # fmt: skip


def _failures(estimates: pl.DataFrame, level: float) -> Iterable[Finding]:
    """Compare the rate of failed requests of each group with that of the other groups of its dimension.

    The rates have intervals but no tested gap. The distance of each estimate from its own end towards the other one
    stands for its error (Newcombe's method of variance estimates recovered), which holds near 0, too.
    """
    rows = _told(_own(estimates)).filter(
        pl.col("metric") == "error_rate", pl.col("dimensions") != ALL, pl.col("subgroup") != ALL, ~pl.col("small")
    )
    rows = rows.drop_nulls(["estimate", "ci_low", "ci_high"])
    z0 = _NORMAL.inv_cdf(1 - level / 2)
    tests: dict[tuple[str, ...], list[Finding]] = {}
    for _, part in rows.group_by(*_CELL, "condition", "dimensions", maintain_order=True):
        if part.height < 2:
            continue
        n, rate, low, high = (part[c].to_numpy().astype(float) for c in ("n_answers", "estimate", "ci_low", "ci_high"))
        others = n.sum() - n
        rests = ((n * rate).sum() - n * rate) / others
        below, above = rate - low, high - rate
        # The squared error of the others' mean on each side: that of all groups without this one.
        down_of_others, up_of_others = (
            np.maximum((n * side) @ (n * side) - (n * side) ** 2, 0.0) / others**2 for side in (below, above)
        )
        downs, ups = np.sqrt(below**2 + up_of_others), np.sqrt(above**2 + down_of_others)
        for row, rest, down, up in zip(
            part.iter_rows(named=True), rests.tolist(), downs.tolist(), ups.tolist(), strict=True
        ):
            d = row["estimate"] - rest
            se = (down if d > 0 else up) / z0
            z = abs(d) / se if se > 0 else 0.0
            family = ("error_rate", row["model"], row["task"])
            tests.setdefault(family, []).append(
                Finding(
                    kind="gap",
                    outcome="error_rate",
                    **_place(row),
                    here=row["estimate"],
                    here_low=row["ci_low"],
                    here_high=row["ci_high"],
                    rest=rest,
                    difference=d,
                    low=d - down,
                    high=d + up,
                    q=2 * (1 - _NORMAL.cdf(z)),
                    key=row["estimate_id"] or "",
                    family=family,
                    strength=z,
                    mde=se or None,
                    worse=d > 0,
                )
            )
    for found in tests.values():
        yield from (replace(f, q=q) for f, q in zip(found, _adjusted([f.q for f in found]), strict=True))


def _pockets(pockets: pl.DataFrame) -> Iterable[Finding]:
    """The rows of the pocket search, those that name a pocket first."""
    rows = pockets.drop_nulls(["q_value", "difference"]).sort(
        pl.col("leads").fill_null(True), pl.col("e_value").fill_null(0.0), *_CELL, "outcome", "dimensions", "subgroup",
        descending=[True, True, *[False] * 6],
    )  # fmt: skip
    for row in rows.iter_rows(named=True):
        yield Finding(
            kind="pocket", outcome=row["outcome"], **_place(row), here=row["estimate"], here_low=None, here_high=None,
            rest=row["rest_estimate"], difference=row["difference"], low=row["ci_low"], high=row["ci_high"],
            q=row["q_value"], key=row["pocket_id"] or "", family=("pocket", row["model"], row["task"]),
            strength=row["e_value"] or 0.0, e_value=row["e_value"], mde=row["mde"], confirmed=row["confirmed"],
            examples=tuple(row["examples"] or ()),
        )  # fmt: skip


def _effects(estimates: pl.DataFrame, level: float) -> Iterable[Finding]:
    """Effects of the persona on accuracy, for everyone and by group."""
    rows = _told(_own(estimates)).filter(
        pl.col("metric") == "accuracy",
        (pl.col("subgroup") != ALL) | (pl.col("dimensions") == ALL),
        ~pl.col("small"),
        pl.col("q_value").is_not_null(),
        pl.col("effect").is_not_null(),
        pl.col("estimate").is_not_null(),
    )
    for row in rows.iter_rows(named=True):
        everyone = row["dimensions"] == ALL
        yield Finding(
            kind="effect", outcome="persona_effect", **_place(row), here=row["estimate"], here_low=row["ci_low"],
            here_high=row["ci_high"], rest=row["estimate"] - row["effect"], difference=row["effect"],
            low=row["effect_low"], high=row["effect_high"], q=row["q_value"], key=row["estimate_id"] or "",
            family=("effect", row["model"], row["task"], "everyone" if everyone else "groups"),
            strength=abs(row["effect"]) / row["effect_se"] if row["effect_se"] else 0.0,
            mde=row["effect_se"], worse=row["effect"] < 0,
        )  # fmt: skip


def _comparisons(comparison: pl.DataFrame) -> Iterable[Finding]:
    """Accuracy of the models of each task and survey: the clearest difference between the best model and another."""
    rows = comparison.filter(pl.col("metric") == "accuracy").filter(
        ~pl.col("condition").is_in([REFERENCE_CONDITION, *CONTROL_CONDITIONS])
    )
    # The condition with the persona where there is one.
    first = (pl.col("condition") == "persona") | ~(pl.col("condition") == "persona").any().over("task", "survey")
    for (task, survey), of_cell in rows.filter(first).group_by("task", "survey", maintain_order=True):
        condition = sorted(of_cell["condition"].unique())[0]
        part = of_cell.filter(condition=condition)
        own = part.filter(pl.col("model") == pl.col("other_model")).drop_nulls("estimate")
        own = own.sort("tie_group", "estimate", "model", descending=[False, True, False])
        if own.height < 2:
            continue
        best = own.item(0, "model")
        pairs = part.filter(pl.col("model") == best, pl.col("other_model") != best)
        pairs = pairs.drop_nulls(["q_value", "difference"]).sort("q_value", -pl.col("difference"), "other_model")
        if pairs.is_empty():
            continue
        row = pairs.row(0, named=True)
        other = own.filter(model=row["other_model"])
        yield Finding(
            kind="models", outcome="accuracy", model=best, task=str(task), survey=str(survey), condition=condition,
            dimensions=ALL, subgroup=ALL, here=row["estimate"], here_low=None, here_high=None,
            rest=other.item(0, "estimate") if other.height else None, difference=row["difference"],
            low=row["ci_low"], high=row["ci_high"], q=row["q_value"], n_personas=row["n_personas"],
            n_items=row["n_items"], key=f"models-{task}-{survey}", family=("models", str(task)),
            strength=1 - row["q_value"], mde=row["mde"], other_model=row["other_model"],
            models=tuple(own.select("model", "estimate", "tie_group").iter_rows()),
        )  # fmt: skip


def _rivalries(estimates: pl.DataFrame, level: float) -> Iterable[Rivalry]:
    """The verdicts on each panel, from the estimates of `panel_gain` under the condition `persona`."""
    gains = estimates.filter(
        pl.col("metric") == "panel_gain",
        pl.col("condition") == "persona",
        (pl.col("subgroup") != ALL) | (pl.col("dimensions") == ALL),
        pl.col("estimate").is_not_null(),
    )
    key = [*_CELL, "dimensions", "subgroup", "weighted"]
    most = gains.filter(pl.col("baseline") == "people").select(*key, pl.col("baseline_estimate").alias("direct"))
    rows = _own(gains).join(most, on=key, how="inner")
    for cell, part in rows.sort("estimate", "dimensions", "subgroup").group_by(_CELL, maintain_order=True):
        found = [
            GroupVerdict(
                row["dimensions"], row["subgroup"],
                rival_verdict(row["ci_low"], row["ci_high"], q_value=row["q_value"], level=level),
                row["direct"] - row["estimate"], row["direct"], row["estimate"], row["ci_low"], row["ci_high"],
                row["q_value"], row["n_personas"], row["n_items"], row["estimate_id"] or "",
            )
            for row in part.iter_rows(named=True)
            if row["dimensions"] == ALL or not row["small"]
        ]  # fmt: skip
        everyone = next((g for g in found if g.dimensions == ALL), None)
        model, task, survey = map(str, cell)
        yield Rivalry(model, task, survey, everyone, tuple(g for g in found if g.dimensions != ALL))


def _place(row: Mapping[str, Any]) -> dict[str, Any]:
    names = (*_CELL, "condition", "dimensions", "subgroup", "n_personas", "n_items")
    return {name: row[name] for name in names}


# --- multiplicity -----------------------------------------------------------------------------------------------------


def _adjusted(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    out, least = [1.0] * len(p), 1.0
    for rank in range(len(p), 0, -1):
        least = min(least, p[order[rank - 1]] * len(p) / rank)
        out[order[rank - 1]] = least
    return out


def _simes(pool: Sequence[Finding]) -> dict[tuple[str, ...], float]:
    """Family → Simes' p-value, which is the smallest of its q-values."""
    least: dict[tuple[str, ...], float] = {}
    for f in pool:
        least[f.family] = min(least.get(f.family, 1.0), f.q)
    return least


def _share(pool: Sequence[Finding], level: float) -> tuple[float, int, int]:
    """The share of families that are selected, the number of families, and the number selected."""
    least = sorted(_simes(pool).values())
    passed = [k for k, p in enumerate(least, 1) if p <= level * k / len(least)]
    selected = passed[-1] if passed else 0
    # With none selected, the best family would have to pass alone.
    return (max(selected, 1) / len(least) if least else 1.0), len(least), selected


def _with_page_q(pool: Sequence[Finding], level: float) -> list[Finding]:
    """Add the smallest level at which each test would count, to those that count within their family."""
    simes = _simes(pool)
    n = len(simes)
    adjusted = np.array(sorted(_adjusted(list(simes.values()))))
    share = n / np.arange(1, n + 1)
    return [replace(f, page_q=float(np.maximum(adjusted, f.q * share).min())) if f.q <= level else f for f in pool]


# --- one card per finding ---------------------------------------------------------------------------------------------


def _distinct(
    pool: Sequence[Finding], people: _People, level: float, threshold: float, margin: float
) -> tuple[list[Finding], list[Finding]]:
    """Fold the tests that show the same again; return the findings, and those that only count within their family.

    Args:
        pool: All tests, with `page_q`.
        people: The answers by person.
        level: Level of the tests.
        threshold: The same, less what the number of families takes.
        margin: Largest gap in what is answered that counts as none.
    """
    ranks: dict[int, int] = {}
    seen: dict[tuple[str, ...], int] = {}
    for f in sorted(pool, key=lambda f: f.q):
        seen[f.family] = ranks[id(f)] = seen.get(f.family, 0) + 1
    kept: list[Finding] = []
    unsure: list[Finding] = []
    cells: dict[tuple[str, str, str], list[Finding]] = {}
    for f in pool:
        if f.q <= level and f.confirmed and not (f.kind == "effect" and not f.worse):
            cells.setdefault(f.cell, []).append(f)
    for candidates in cells.values():
        found: list[Finding] = []
        folded: dict[int, list[Finding]] = {}
        cards: dict[tuple[str, ...], int] = {}
        for f in sorted(candidates, key=_turn):
            if f.kind == "models":
                (found if f.page_q <= level else unsure).append(f)
                continue
            into = _same(f, found, people, threshold / max(len(candidates), 1))
            if into is not None:
                folded.setdefault(id(into), []).append(f)
                continue
            credit = cards.get(f.family, 0) + 1
            if f.q * ranks[id(f)] / credit > threshold or _negligible(f, margin):
                unsure.append(f)
                continue
            cards[f.family] = credit
            found.append(f)
        kept += [replace(f, folded=tuple(folded.get(id(f), ()))) for f in found]
    # What is only certain within its family may still be the same as a card.
    return kept, [f for f in unsure if not any(_related(f, k) for k in kept if k.cell == f.cell)]


def _negligible(f: Finding, margin: float) -> bool:
    """Whether a gap in what is answered is no larger than counts as none. Refusals and errors always count."""
    return f.kind in ("pocket", "gap") and f.outcome not in OF_REPLIES and abs(f.difference) <= margin


def _turn(f: Finding) -> tuple[Any, ...]:
    """Order of judging: replies before accuracy, pockets before gaps, groups before everyone, the strongest first."""
    metrics = list(WORSE)
    stage = metrics.index(f.outcome) if f.kind == "gap" else metrics.index("accuracy") - 0.5
    if f.kind == "effect":
        stage = len(metrics) + (f.dimensions != ALL)
    return stage, not f.worse, -f.strength, f.q, f.condition != "persona", f.dimensions, f.subgroup


def _same(f: Finding, found: Sequence[Finding], people: _People, level: float) -> Finding | None:
    """The earlier finding that shows the same as `f`; None if `f` stands by itself."""
    if not found:
        return None
    replies = [k for k in found if k.outcome in OF_REPLIES]
    if f.outcome in OF_REPLIES:
        before = [k for k in found if k.outcome == f.outcome]
        around = [k for k in replies if k.outcome not in (f.outcome, "condescension_rate")]
    else:
        before = [k for k in found if k.outcome not in OF_REPLIES and (f.kind != "effect" or k.kind != "models")]
        around = [k for k in replies if k.outcome != "condescension_rate"]
    if f.outcome == "condescension_rate":
        around = []
    if not before and not around:
        return None
    # Who is refused more often may look better served: the missing replies may be the wrong ones.
    missing = next((k for k in around if f.pairs and (f.pairs <= k.pairs or k.pairs <= f.pairs)), None)
    if missing is not None and not f.worse:
        return missing
    differs = people.differs(f, without=before, readable=bool(around), level=level)
    if differs:
        return None
    candidates = before or around
    if differs is None:  # the answers are not given: nested groups count as the same
        return next((k for k in [*before, *around] if f.pairs and _related(f, k)), None)
    if before and around:
        # Named after the finding whose people explain it.
        alone = people.differs(f, without=before, readable=False, level=level)
        candidates = around if alone else before
    return next((k for k in candidates if _related(f, k)), candidates[0])


def _related(a: Finding, b: Finding) -> bool:
    """Whether one group holds the other, or they are different values of one dimension."""
    if a.pairs <= b.pairs or b.pairs <= a.pairs:
        return True
    other = dict(b.pairs)
    return any(other.get(name, value) != value for name, value in a.pairs)


@dataclass
class _People:
    """Answers by person: what decides whether two findings concern the same people."""

    scores: Scores
    groups: pl.DataFrame
    _cells: dict[tuple[str, ...], pl.DataFrame] = field(default_factory=dict)

    def differs(self, f: Finding, *, without: Sequence[Finding], readable: bool, level: float) -> bool | None:
        """Whether the group still differs, in the same direction, once the people of other findings are left out.

        Args:
            f: The finding.
            without: Findings whose people are left out.
            readable: Count readable replies only, because the model refuses or fails some group more often.
            level: Level of the test.

        Returns:
            None if the answers or groups are not given.
        """
        frame = self._of(f)
        if frame is None:
            return None
        inside = self._inside(frame, f)
        others = [self._inside(frame, k) for k in without if k.subgroup != ALL]
        if inside is None or any(o is None for o in others):
            return None
        if any(k.subgroup == ALL for k in without) and f.kind == "effect":
            return False  # harm to everyone is harm to every group
        left = np.ones(frame.height, dtype=bool)
        for other in others:
            if other is not None:
                left &= ~other
        names = _columns(f, readable)
        if f.kind == "effect":
            return self._harmed(frame, names, inside & left, level)
        value, base = (frame.get_column(f"{f.condition}__{n}").to_numpy() for n in names)
        if f.outcome == "persona_effect":
            value, base = self._effect(frame, f.condition, names)
        weight = frame.get_column("weight").to_numpy()
        mean, error = zip(*(_mean(value[s], base[s], weight[s]) for s in (inside & left, ~inside & left)), strict=True)
        difference, se = mean[0] - mean[1], math.hypot(*error)
        return _beyond(difference, se, f.difference, level)

    def _harmed(self, frame: pl.DataFrame, names: tuple[str, str], rows: np.ndarray, level: float) -> bool:
        conditions = [c.removesuffix(f"__{names[0]}") for c in frame.columns if c.endswith(f"__{names[0]}")]
        told = [c for c in ("persona", *conditions) if c in conditions and c != REFERENCE_CONDITION]
        if not told or REFERENCE_CONDITION not in conditions:
            return True
        value, base = self._effect(frame, told[0], names)
        weight = frame.get_column("weight").to_numpy()
        mean, error = _mean(value[rows], base[rows], weight[rows])
        return _beyond(mean, error, -1.0, level)

    @staticmethod
    def _effect(frame: pl.DataFrame, condition: str, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
        """Each person's mean with the persona minus that without it."""
        with np.errstate(divide="ignore", invalid="ignore"):
            means = [
                frame.get_column(f"{c}__{names[0]}").to_numpy() / frame.get_column(f"{c}__{names[1]}").to_numpy()
                for c in (condition, REFERENCE_CONDITION)
            ]
        difference = means[0] - means[1]
        known = np.isfinite(difference)
        return np.where(known, difference, 0.0), known.astype(float)

    def _inside(self, frame: pl.DataFrame, f: Finding) -> np.ndarray | None:
        if f.subgroup == ALL:
            return np.ones(frame.height, dtype=bool)
        names = dict(f.pairs)
        if not names.keys() <= set(frame.columns) or CROSS.join(names.values()).count(CROSS) != f.subgroup.count(CROSS):
            return None
        inside = pl.all_horizontal(pl.col(name).cast(pl.String) == value for name, value in f.pairs)
        return frame.select(inside.fill_null(False)).to_series().to_numpy()

    def _of(self, f: Finding) -> pl.DataFrame | None:
        """One row per person: sums of each outcome by condition, weight, and the person's groups."""
        if self.groups.is_empty():
            return None
        if f.cell not in self._cells:
            parts = [
                part.filter(pl.col("survey") == f.survey)
                .drop_nulls("respondent_id")
                .group_by("respondent_id", "condition")
                .agg(*_sums(), pl.col("weight").mean())
                for part in self.scores.rows(_SUMMED, model=f.model, task=f.task)
            ]
            if not parts:
                return None
            made = pl.concat(parts).sort("respondent_id", "condition")
            wide = made.pivot(on="condition", index="respondent_id", values=_SUMS, separator="__")
            # The pivot names columns outcome__condition; the condition comes first here.
            names = {c: "__".join(reversed(c.split("__", 1))) for c in wide.columns if "__" in c}
            wide = wide.rename(names).with_columns(pl.col(pl.Float64).fill_null(0.0))
            weight = made.group_by("respondent_id").agg(pl.col("weight").mean())
            weighted = weight.height > 0 and weight["weight"].null_count() == 0
            weight = weight if weighted else weight.with_columns(weight=pl.lit(1.0))
            frame = wide.join(weight, on="respondent_id").join(
                self.groups.drop("survey", strict=False).unique("respondent_id"), on="respondent_id", how="left"
            )
            self._cells[f.cell] = frame.sort("respondent_id")
            while len(self._cells) > 1 and sum(one.height for one in self._cells.values()) > _MOST_PEOPLE:
                del self._cells[next(iter(self._cells))]
        frame = self._cells[f.cell]
        needed = f"{f.condition}__reply"
        return frame if needed in frame.columns and frame.height else None


_MOST_PEOPLE = 1_000_000
"""People whose sums are held, over models, tasks and surveys; with their groups, they take about half a gigabyte."""
_SUMMED = (
    "survey", "respondent_id", "condition", "status", "score", "gold_idx", "pred_idx", "k_options", "ordinal",
    "condescending", "weight",
)  # fmt: skip
_SUMS = [
    "reply", "asked", "refused", "read", "read_base", "spoken", "failed", "right", "keyed", "right_read", "keyed_read",
    "steps", "steps_base",
]  # fmt: skip


def _sums() -> list[pl.Expr]:
    status = pl.col("status")
    reply, ok = status != "error", status == "ok"
    score = pl.col("score").fill_null(0.0)
    keyed = reply & (pl.col("gold_idx").is_not_null() | pl.col("score").is_not_null())
    ordinal = ok & pl.col("ordinal") & pl.col("gold_idx").is_not_null() & (pl.col("k_options") > 1)
    steps = (pl.col("pred_idx") - pl.col("gold_idx")).abs() / (pl.col("k_options") - 1)
    columns = {
        "reply": reply,
        "asked": pl.lit(True),
        "refused": status == "refused",
        "read": ok,
        "read_base": reply & (status != "refused"),
        "spoken": pl.col("condescending").fill_null(False),
        "failed": ~reply,
        "right": pl.when(keyed).then(score).otherwise(0.0),
        "keyed": keyed,
        "right_read": pl.when(ok & keyed).then(score).otherwise(0.0),
        "keyed_read": ok & keyed,
        "steps": pl.when(ordinal).then(steps).otherwise(0.0),
        "steps_base": ordinal,
    }
    assert list(columns) == _SUMS
    return [e.cast(pl.Float64).sum().alias(name) for name, e in columns.items()]


def _columns(f: Finding, readable: bool) -> tuple[str, str]:
    """Numerator and denominator of a finding's outcome."""
    match f.outcome:
        case "refusal_rate":
            return "refused", "reply"
        case "parse_rate":
            return "read", "read_base" if readable else "reply"
        case "condescension_rate":
            return "spoken", "reply"
        case "error_rate":
            return "failed", "asked"
        case "mae_n":
            return "steps", "steps_base"
        case _:
            return ("right_read", "keyed_read") if readable else ("right", "keyed")


def _mean(value: np.ndarray, base: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Ratio of sums over persons, with its linearized error; (nan, nan) for fewer than two persons."""
    n = int((base > 0).sum())
    total = float((weight * base).sum())
    if n < 2 or total <= 0:
        return math.nan, math.nan
    mean = float((weight * value).sum()) / total
    residual = weight * (value - mean * base) / total
    return mean, math.sqrt(n / (n - 1) * float((residual**2).sum()))


def _beyond(difference: float, se: float, wanted: float, level: float) -> bool:
    """Whether a difference has the wanted sign and is beyond chance."""
    if not (math.isfinite(difference) and math.isfinite(se)) or difference * wanted <= 0:
        return False
    return se == 0 or 2 * (1 - _NORMAL.cdf(abs(difference) / se)) <= level


# --- what was looked for ----------------------------------------------------------------------------------------------


def _looked(pool: Sequence[Finding], kept: Sequence[Finding], level: float) -> list[Looked]:
    """Per question, the number of tests, the models without a finding, and what would have been found."""
    out = []
    for what in ("pockets", *WORSE, "effect"):
        tests = [f for f in pool if f.kind != "models" and _question(f) == what]
        if not tests:
            continue
        cards = [f for f in kept if f.kind != "models" and _question(f) == what]
        sizes: dict[tuple[str, ...], int] = {}
        for f in tests:
            sizes[f.family] = sizes.get(f.family, 0) + 1
        if what == "pockets":  # the table has the detectable difference of search and test together
            reach = [f.mde for f in tests if f.mde]
        else:
            reach = [
                (_NORMAL.inv_cdf(1 - level / 2 / sizes[f.family]) + _NORMAL.inv_cdf(POWER)) * f.mde
                for f in tests
                if f.mde
            ]
        # A test that is folded into a card found the same.
        with_one = {f.model for f in cards} | {k.model for f in kept for k in f.folded if _question(k) == what}
        without = sorted({f.model for f in tests} - with_one)
        out.append(Looked(what, len(tests), tuple(without), len(cards), median(reach) if reach else None))
    return out


def _question(f: Finding) -> str:
    return {"pocket": "pockets", "effect": "effect"}.get(f.kind, f.outcome)
