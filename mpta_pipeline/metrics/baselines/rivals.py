"""Set all that foretells a group's answers side by side: the ladder of rivals, by subgroup and question."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from mpta_pipeline.core.described_groups import covers, of_people
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import RIVALS
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.answer_distributions import Cells, make_cells
from mpta_pipeline.metrics.samples.balancing import balance
from mpta_pipeline.metrics.samples.direct_estimates import DirectEstimates
from mpta_pipeline.metrics.samples.human_answers import People
from mpta_pipeline.metrics.samples.item_features import with_facts
from mpta_pipeline.metrics.samples.published_polls import polls_of
from mpta_pipeline.metrics.samples.survey_answers import Block, View, cut_rows, group_guesses, make_blocks
from mpta_pipeline.metrics.statistics import distances
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints, ratio, sums

PANEL = "persona"
OTHER_PANEL = "demographics_only"
ALL_QUESTIONS = "all"
DRAWS = 40


def rivals(
    scores: pl.DataFrame,
    groups: pl.DataFrame,
    gold: pl.DataFrame,
    *,
    rules: EstimateRules,
    items: pl.DataFrame,
    ceiling: pl.DataFrame | None = None,
    retest: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Compute the ladder of rivals, for tasks whose questions the survey's own people, or those of a poll, answered.

    It covers the questions that a group was asked about and its personas answered. Of polls, only distances are known,
    for the groups that a poll has. The arguments are those of
    `estimates.compute_estimates`.

    Returns:
        RIVALS; empty if the model was asked about no group.
    """
    direct, scores = DirectEstimates.read(scores), of_people(scores)
    polls = polls_of(items)
    keyed = not gold.is_empty() and not scores.get_column("gold_idx").null_count()
    if direct is None or scores.is_empty() or (polls is None and not keyed):
        return RIVALS.empty()
    balanced = balance(scores)
    frame = with_facts(balanced, items, retest)
    known = (
        frame.with_columns(pl.lit(None, pl.Float64).alias("ceiling"))
        if ceiling is None
        else frame.join(ceiling, on=["survey", "item_id", "respondent_id"], how="left", maintain_order="left")
    )
    units = balanced.on(known)
    surveys = units.frame.get_column("survey")
    parts = []
    for survey in sorted(surveys.unique().to_list()):
        of_survey = units.take((surveys == survey).to_numpy())
        for block in make_blocks(of_survey, g.apart(groups), gold, survey, rules=rules, polls=polls):
            for dimension in dict.fromkeys((g.ALL, *rules.dimensions)):
                if g.of_people(dimension) and PANEL in block.conditions():
                    parts += list(_of_dimension(replace(block, direct=direct), dimension))
    if not parts:
        return RIVALS.empty()
    made = pl.concat(parts).with_columns(
        pl.lit(scores.item(0, "model")).alias("model"),
        pl.lit(scores.item(0, "task")).alias("task"),
        (pl.col("n_personas") < rules.min_personas).alias("small"),
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
    cell = cell[rows]

    tv = distances.total_variation
    human = cells.human.T
    everyone = _everyone(panel)[cells.item]
    seed = int(digest("rivals", block.survey, dimension, length=12), 16)
    floor = distances.sampling_floor(cells.human, cells.n_human, cells.n_model, {"tv": tv}, seed=seed, draws=DRAWS)[
        "tv"
    ]
    waves = _Waves(panel.people, dimension, cut.labels, width)
    of_distance = {
        "chance": tv(cells.even.T, human),
        "item_mode": tv(_modes(everyone, width).T, human),
        "group_mode": tv(cells.majority.T, human),
        "last_wave": None if polled else waves.distance(block.rules.min_personas)[cells.owner, cells.item],
        "direct_estimate": tv(stated.T, human),
        OTHER_PANEL: _of_other_panel(block, dimension, cut.labels, cells, n_items),
        PANEL: tv(cells.model.T, human),
        "second_sample": floor,
    }
    if polled:  # only shares are known of a poll's people
        for rival in LADDER:
            distance = of_distance.get(rival)
            yield _rows(
                view, cells, rival, cell=cell, rows=rows, asked=n_asked, distance=distance, value=None, waves=waves
            )
        return
    frame = panel.frame[rows]
    gold = frame.get_column("gold_idx").to_numpy()
    column = {name: frame.get_column(name).cast(pl.Float64).fill_null(np.nan).to_numpy() for name in _OF_ROWS.values()}
    of_accuracy = {name: column[source] for name, source in _OF_ROWS.items()} | {
        "group_mode": group_guesses(panel, dimension).get_column("group_mode").fill_null(np.nan).to_numpy()[rows],
        "direct_estimate": _modes(stated, width)[cell, gold],
        "last_wave": waves.credit(frame, cells, cell, gold, least=block.rules.min_personas),
        OTHER_PANEL: _credit_of(block, OTHER_PANEL, frame),
    }
    # On a group of everyone, the group's most frequent answer is everyone's.
    if dimension == g.ALL:
        of_accuracy["group_mode"] = of_accuracy["item_mode"]
    for rival in LADDER:
        yield _rows(
            view, cells, rival, cell=cell, rows=rows, asked=n_asked,
            distance=of_distance.get(rival), value=of_accuracy.get(rival), waves=waves,
        )  # fmt: skip


_OF_ROWS = {"chance": "chance", "item_mode": "item_mode", PANEL: "credit", "ceiling": "ceiling", "retest": "retest"}
LADDER = (
    "chance", "item_mode", "group_mode", "last_wave", "direct_estimate", OTHER_PANEL, PANEL, "ceiling", "retest",
    "second_sample",
)  # fmt: skip


def _rows(
    view: View,
    cells: Cells,
    rival: str,
    *,
    cell: Ints,
    rows: Ints,
    asked: Floats,
    distance: Floats | None,
    value: Floats | None,
    waves: _Waves,
) -> pl.DataFrame:
    """The rows of one rival: each question of each group, and all questions of each group."""
    block, n = view.block, len(cells.owner)
    w, persona, item = block.weight[rows], block.persona[rows], block.item[rows]
    nothing = np.full(n, np.nan)
    far = nothing if distance is None else distance
    right = np.full(len(rows), np.nan) if value is None else value
    told = np.isfinite(right) & (w > 0)
    of_cell = ratio(sums(cell[told], (w * right)[told], n), sums(cell[told], w[told], n))
    owner = cells.owner[cell]
    of_group = ratio(sums(owner[told], (w * right)[told], view.n), sums(owner[told], w[told], view.n))
    known = np.isfinite(far)
    mean = ratio(sums(cells.owner[known], far[known], view.n), sums(cells.owner[known], known[known], view.n))
    note = waves.note if rival == "last_wave" else None
    slots = np.unique(cells.owner)
    most = np.full(view.n, np.nan)
    np.fmax.at(most, cells.owner, asked)
    n_far = sums(cells.owner, known, view.n)
    n_right = _distinct(owner[told], item[told], view.n)
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
        pl.lit(rival).alias("rival"),
        pl.lit(LADDER.index(rival)).cast(pl.Int64).alias("rung"),
        pl.lit(note, pl.String).alias("note"),
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


def _modes(shares: Floats, width: int) -> Floats:
    """(rows × width) all mass on the largest share, split among ties."""
    shares = shares[:, :width] if shares.shape[1] >= width else np.pad(shares, ((0, 0), (0, width - shares.shape[1])))
    top = shares >= shares.max(axis=1, keepdims=True) - 1e-12
    return np.asarray(top / top.sum(axis=1, keepdims=True))


def _everyone(panel: Block) -> Floats:
    """(items × options) how often everyone gave each answer, in any unit."""
    if panel.polls is None:
        counts: Floats = panel.people.counts(g.ALL)[0]
        return counts
    cut, used = cut_rows(panel.frame, g.ALL), panel.compared
    cells = make_cells(
        View(panel, cut, PANEL), np.where(used, panel.matched_item, 0), np.where(used, panel.weight, 0.0)
    )
    shares = np.zeros((len(panel.matched), cells.human.shape[1]))
    shares[cells.item] = cells.human
    return shares


def _people_asked(people: People, dimension: str, labels: list[str]) -> Floats:
    """(slices × items) number of people with an answer, whatever their weight."""
    code = g.cut(people.persons, dimension, labels).codes[people.person]
    n, n_items = len(labels), len(people.items)
    place = np.where(code >= 0, code, n) * n_items + people.item
    return sums(place, np.ones(len(place)), (n + 1) * n_items)[: n * n_items].reshape(n, n_items)


def _of_other_panel(block: Block, dimension: str, labels: list[str], cells: Cells, n_items: int) -> Floats:
    """Distance of the panel that shows demographic traits alone, in the same cells; nan where it was not asked."""
    far = np.full(len(cells.owner), np.nan)
    if OTHER_PANEL not in block.conditions():
        return far
    other = block.of(OTHER_PANEL)
    cut = cut_rows(other.frame, dimension, labels)
    used = other.compared & (cut.codes >= 0)
    made = make_cells(
        View(other, cut, OTHER_PANEL), np.where(used, other.matched_item, 0), np.where(used, other.weight, 0.0)
    )
    found = dict(
        zip(
            (made.owner * n_items + made.item).tolist(),
            distances.total_variation(made.model.T, made.human.T).tolist(),
            strict=True,
        )
    )
    return np.array([found.get(i, np.nan) for i in (cells.owner * n_items + cells.item).tolist()])


def _credit_of(block: Block, condition: str, frame: pl.DataFrame) -> Floats:
    """Credit under another condition for the same persons and questions; nan where it was not asked."""
    other = block.frame.filter(pl.col("condition") == condition, pl.col("n_orders") > pl.col("n_error"))
    mean = other.group_by("respondent_id", "item_id").agg(pl.col("credit").mean().alias("other"))
    joined = frame.select("respondent_id", "item_id").join(
        mean, on=["respondent_id", "item_id"], how="left", maintain_order="left"
    )
    return joined.get_column("other").fill_null(np.nan).to_numpy()


class _Waves:
    """People's answers by wave: how well the wave before the last one foretells the last one."""

    def __init__(self, people: People, dimension: str, labels: list[str], width: int) -> None:
        persons = people.persons
        wave = (
            persons.get_column("sample_wave")
            if "sample_wave" in persons.columns
            else pl.Series([None] * persons.height, dtype=pl.String)
        )
        self.names = sorted(wave.drop_nulls().unique().to_list(), key=_in_order)
        self.note: str | None = None
        self.shape = (len(self.names), len(labels), len(people.items), width)
        n_waves, n, n_items, _ = self.shape
        self.counts = self.heads = np.zeros(self.shape)
        if n_waves < 2:
            return
        number: Mapping[str, int] = {name: i for i, name in enumerate(self.names)}
        codes = wave.replace_strict(number, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()[people.person]
        slices = g.cut(persons, dimension, labels).codes[people.person]
        inside = np.flatnonzero((codes >= 0) & (slices >= 0))
        answer = people.frame.get_column("gold_idx").to_numpy()
        place = (((codes * n + slices) * n_items + people.item) * width + answer)[inside]
        weight = people.frame.get_column("weight").to_numpy()[inside]
        size = int(np.prod(self.shape))
        self.counts = sums(place, weight, size).reshape(self.shape)
        self.heads = sums(place, np.ones(len(place)), size).reshape(self.shape)
        asked = self.heads.sum(axis=(1, 3)) > 0
        self.last = n_waves - 1 - asked[::-1].argmax(axis=0)
        earlier = asked & (np.arange(n_waves)[:, None] < self.last)
        self.before = np.where(earlier.any(axis=0), n_waves - 1 - earlier[::-1].argmax(axis=0), -1)
        pairs = sorted({(self.before[i], self.last[i]) for i in np.flatnonzero(self.before >= 0)})
        if pairs:
            told = [f"{self.names[before]} for {self.names[last]}" for before, last in pairs[:3]]
            more = ["other waves for other questions"] if len(pairs) > 3 else []
            self.note = f"compared with the people of the last wave alone: {', '.join([*told, *more])}"
            if "sample" in persons.columns and _different(persons.get_column("sample"), wave, self.names, pairs):
                self.note += "; the waves have different countries"

    def _pairs(self, least: int) -> tuple[Floats, Floats] | None:
        """(slices × items × options) shares of the wave before the last one, and of the last one; nan where unknown."""
        if self.note is None:
            return None
        at = np.arange(self.shape[2])
        found = []
        for wave in (np.maximum(self.before, 0), self.last):
            counts, heads = self.counts[wave, :, at], self.heads[wave, :, at]
            enough = (heads.sum(axis=2) >= least) & (self.before >= 0)[:, None]
            shares = ratio(counts, np.broadcast_to(counts.sum(axis=2, keepdims=True), counts.shape))
            found.append(np.where(enough[..., None], shares, np.nan).transpose(1, 0, 2))
        return found[0], found[1]

    def distance(self, least: int) -> Floats:
        """(slices × items) total variation between the two waves; nan without an earlier one."""
        pairs = self._pairs(least)
        if pairs is None:
            return np.full(self.shape[1:3], np.nan)
        before, last = (np.moveaxis(p, -1, 0) for p in pairs)
        return distances.total_variation(before, last)

    def credit(self, frame: pl.DataFrame, cells: Cells, cell: Ints, gold: Ints, *, least: int) -> Floats:
        """Whether the most frequent answer of the earlier wave is that of each row's person, if of the last wave."""
        pairs = self._pairs(least)
        if pairs is None:
            return np.full(len(cell), np.nan)
        before = pairs[0][cells.owner, cells.item]
        known = np.asarray(np.isfinite(before).all(axis=1), dtype=bool)
        modes = _modes(np.where(known[:, None], before, 1.0), before.shape[1])
        last = np.array(self.names, dtype=object)[self.last[cells.item]]
        of_last = frame.get_column("wave").to_numpy() == last[cell]
        return np.where(known[cell] & of_last, modes[cell, gold], np.nan)


def _different(sample: pl.Series, wave: pl.Series, names: list[str], pairs: list[tuple[int, int]]) -> bool:
    """Whether two waves that are compared were held in different countries."""
    of = {name: set(sample.filter(wave == name).unique().to_list()) for name in names}
    return any(of[names[before]] != of[names[last]] for before, last in pairs)


def _in_order(wave: str) -> list[tuple[int, int, str]]:
    """Waves in the order of their numbers: wvs-6 before wvs-7, gss-2016 before gss-2018."""
    return [(int(part.isdigit()), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", wave)]
