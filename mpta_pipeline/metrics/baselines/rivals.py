"""Set all that foretells a group's answers side by side: the ladder of rivals, by subgroup and question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from mpta_pipeline.core.described_groups import covers
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import RIVALS
from mpta_pipeline.metrics.baselines.rival import Compared, Rival, Told, load
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.answer_distributions import Cells, make_cells
from mpta_pipeline.metrics.samples.answers import Answers, gather
from mpta_pipeline.metrics.samples.human_answers import People
from mpta_pipeline.metrics.samples.published_polls import polls_of
from mpta_pipeline.metrics.samples.survey_answers import Block, View, blocks, cut_rows
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints, ratio, sums

PANEL = "persona"
ALL_QUESTIONS = "all"
LADDER = load()


def rivals(
    scores: pl.DataFrame | Iterable[pl.DataFrame],
    groups: pl.DataFrame,
    gold: pl.DataFrame | Iterable[pl.DataFrame],
    *,
    rules: EstimateRules,
    items: pl.DataFrame,
    ceiling: pl.DataFrame | None = None,
    retest: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Compute the ladder of rivals, for tasks whose questions the survey's own people, or those of a poll, answered.

    It covers the questions that a group was asked about and its personas answered. Of polls, only distances are known,
    for the groups that a poll has. The arguments are those of
    `estimates.compute_estimates`; `estimates.estimates_and_rivals` makes both in one pass.

    Returns:
        RIVALS; empty if the model was asked about no group.
    """
    made = gather(scores, items=items, ceiling=ceiling, retest=retest)
    if made is None:
        return RIVALS.empty()
    ladder = Ladder(made, rules)
    if ladder.wanted:
        for _ in ladder.seen(blocks(made.units, groups, gold, rules=rules, polls=polls_of(items))):
            pass
    return ladder.table()


class Ladder:
    """The ladder of the blocks that pass.

    Args:
        answers: The answers that the blocks are made of.
        rules: Dimensions, levels and margins of the estimates.
    """

    def __init__(self, answers: Answers, rules: EstimateRules) -> None:
        self._model, self._task, self._direct, self._rules = answers.model, answers.task, answers.direct, rules
        self._parts: list[pl.DataFrame] = []
        self._keyed = answers.keyed
        self.wanted = answers.direct is not None

    def seen(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Pass the blocks on."""
        for block in blocks:
            known = self._keyed or block.polls is not None
            if self.wanted and known and PANEL in block.conditions():
                own = replace(block, direct=self._direct)
                for dimension in dict.fromkeys((g.ALL, *self._rules.dimensions)):
                    if g.of_people(dimension):
                        self._parts += list(_of_dimension(own, dimension))
            yield block

    def table(self) -> pl.DataFrame:
        """RIVALS of all blocks that passed."""
        if not self._parts:
            return RIVALS.empty()
        made = pl.concat(self._parts).with_columns(
            pl.lit(self._model).alias("model"),
            pl.lit(self._task).alias("task"),
            (pl.col("n_personas") < self._rules.min_personas).alias("small"),
            pl.col(pl.Float64).fill_nan(None),
        )
        return RIVALS.conform(made.select(list(RIVALS.schema)))


def _of_dimension(block: Block, dimension: str) -> Iterator[pl.DataFrame]:
    """The ladder of the groups of one dimension: by question, and over all questions."""
    panel = block.of(PANEL)
    cut = cut_rows(panel.frame, dimension)
    polled = block.polls is not None
    if not cut.labels or block.direct is None or (not covers(dimension) if polled else panel.people.empty):
        return
    view = View(panel, cut, PANEL)
    used = panel.compared & (cut.codes >= 0)
    item = np.where(used, panel.matched_item, 0)
    cells = make_cells(view, item, np.where(used, panel.weight, 0.0))
    if not len(cells.owner):
        return
    n_items, width = len(panel.matched), cells.human.shape[1]
    stated = block.direct.shares(block.survey, dimension, subgroups=cut.labels, items=panel.matched, width=width)[
        cells.owner, cells.item
    ]
    told = np.asarray(np.isfinite(stated).all(axis=1), dtype=bool)
    n_asked = np.full(len(told), np.nan)
    if not polled:
        n_asked = _people_asked(panel.people, dimension, cut.labels)[cells.owner, cells.item]
        # Shares of few people could reveal single answers.
        told &= n_asked >= block.rules.min_personas
    keep = np.flatnonzero(told)
    if not len(keep):
        return
    stated, n_asked = stated[keep], n_asked[keep]
    cells = _kept(cells, keep)
    place = np.full(len(cut.labels) * n_items, -1)
    place[cells.owner * n_items + cells.item] = np.arange(len(keep))
    # Replies that cannot be read are no answers to compare, but they are wrong answers.
    replied = (panel.matched_item >= 0) & (panel.weight > 0) & (cut.codes >= 0)
    replied &= (panel.frame.get_column("n_orders") > panel.frame.get_column("n_error")).to_numpy()
    item = np.where(replied, panel.matched_item, 0)
    cell = np.where(replied, place[np.maximum(cut.codes, 0) * n_items + item], -1)
    rows = np.flatnonzero(cell >= 0)
    compared = Compared(block, view, cells, stated, cell[rows], rows)
    for rung, rival in enumerate(LADDER.values()):
        if rival.of_polls or not polled:
            yield _rows(compared, rival, rival.compare(compared), rung=rung, asked=n_asked)


def _rows(compared: Compared, rival: Rival, told: Told, *, rung: int, asked: Floats) -> pl.DataFrame:
    """The rows of one rival: each question of each group, and all questions of each group."""
    view, cells, cell, rows = compared.view, compared.cells, compared.cell, compared.rows
    block, n = view.block, len(cells.owner)
    w, persona, item = block.weight[rows], block.persona[rows], block.item[rows]
    nothing = np.full(n, np.nan)
    far = nothing if told.distance is None else told.distance
    # Only shares are known of a poll's people.
    right = np.full(len(rows), np.nan) if told.accuracy is None or block.polls is not None else told.accuracy
    used = np.isfinite(right) & (w > 0)
    of_cell = ratio(sums(cell[used], (w * right)[used], n), sums(cell[used], w[used], n))
    owner = cells.owner[cell]
    of_group = ratio(sums(owner[used], (w * right)[used], view.n), sums(owner[used], w[used], view.n))
    known = np.isfinite(far)
    mean = ratio(sums(cells.owner[known], far[known], view.n), sums(cells.owner[known], known[known], view.n))
    slots = np.unique(cells.owner)
    most = np.full(view.n, np.nan)
    np.fmax.at(most, cells.owner, asked)
    n_far = sums(cells.owner, known, view.n)
    n_right = _distinct(owner[used], item[used], view.n)
    single = {
        "subgroup": [view.cut.labels[i] for i in cells.owner],
        "item_id": [block.matched[i] for i in cells.item],
        "distance": far,
        "accuracy": of_cell,
        "n_personas": _distinct(cell, persona, n),
        "n_items": np.ones(n, dtype=np.int64),
        "n_people": asked,
    }
    whole = {
        "subgroup": [view.cut.labels[s] for s in slots],
        "item_id": [ALL_QUESTIONS] * len(slots),
        "distance": mean[slots],
        "accuracy": of_group[slots],
        "n_personas": _distinct(owner, persona, view.n)[slots],
        "n_items": np.maximum(n_far, n_right)[slots].astype(np.int64),
        "n_people": most[slots],
    }
    made = pl.concat([pl.DataFrame(part, schema=_SCHEMA) for part in (single, whole)])
    made = made.with_columns(pl.col("n_people").fill_nan(None).cast(pl.Int64))
    made = made.filter(pl.col("distance").is_not_nan() | pl.col("accuracy").is_not_nan())
    return made.with_columns(
        pl.lit(block.survey).alias("survey"),
        pl.lit(view.cut.dimension).alias("dimensions"),
        pl.lit(block.weighted).alias("weighted"),
        pl.lit(rival.name).alias("rival"),
        pl.lit(rival.title).alias("title"),
        pl.lit(rung, pl.Int64).alias("rung"),
        pl.lit(told.note, pl.String).alias("note"),
    )


_SCHEMA = {
    "subgroup": pl.String, "item_id": pl.String, "distance": pl.Float64, "accuracy": pl.Float64,
    "n_personas": pl.Int64, "n_items": pl.Int64, "n_people": pl.Float64,
}  # fmt: skip


def _distinct(groups: Ints, codes: Ints, n: int) -> Ints:
    """Count the distinct codes of each group."""
    width = int(codes.max(initial=0)) + 1
    return np.bincount(np.unique(groups * width + codes) // width, minlength=n).astype(np.int64)


def _kept(cells: Cells, keep: Ints) -> Cells:
    return Cells(**{name: getattr(cells, name)[keep] for name in Cells.__dataclass_fields__})


def _people_asked(people: People, dimension: str, labels: list[str]) -> Floats:
    """(slices × items) number of people with an answer, whatever their weight."""
    rows = people.rows()
    code = g.cut(people.persons, dimension, labels).codes[rows.person]
    n, n_items = len(labels), len(people.items)
    place = np.where(code >= 0, code, n) * n_items + rows.item
    return sums(place, np.ones(len(place)), (n + 1) * n_items)[: n * n_items].reshape(n, n_items)
