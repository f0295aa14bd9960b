"""Average single answers over option orders: one row per person, item, condition and paraphrase."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.metrics.samples.answer_changes import FLIPS, flips
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.samples.conversation_order import order_effects
from mpta_pipeline.metrics.samples.picked_options import TIE, one_hot, read_picks, with_vector
from mpta_pipeline.metrics.samples.row_keys import Keys
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints, dense

UNIT_KEY = (
    "survey",
    "condition",
    "respondent_id",
    "item_id",
    "style",
    "framing",
    "paraphrase_id",
    "repeat_id",
    "elicitation",
)
_SCALE = {"scale_reversed": pl.Boolean(), "scale_place": pl.Float64()}
# Columns of the scores that are kept. Gathering all columns would take longer than everything else here.
_USED = (
    *UNIT_KEY, "wave", "cluster_id", "category", "scoring", "answer_set", "k_options", "ordinal", "gold_idx",
    "gold_pos", "pred_idx", "pred_pos", "p_vec", "status", "score", "bias", "weight", "text_scores", "condescending",
    *_SCALE,
)  # fmt: skip
# Scores that are balanced at a time: their arrays take about 500 MB.
CHUNK_ROWS = 400_000
ONE_KEY = pl.col("scoring") != "probability_mass"
"""Rows of units with one right option. MC2 has several: its score is a probability mass, not a share of right picks."""
N_REPLIES = pl.col("n_orders") - pl.col("n_error")
"""Replies behind a row of units: its option orders without those whose request failed."""


@dataclass(frozen=True)
class Units:
    """Order-balanced answers.

    Attributes:
        frame: One row per unit, sorted by `UNIT_KEY`, with `wave`, `cluster_id`, `category`, `kind`, `k_options`,
            `ordinal`, `gold_idx`, `weight`; counts `n_orders`, `n_ok`, `n_refused`, `n_unparsed`, `n_error`, `n_right`;
            `credit` (0–1, the balanced answer is right, times the share of orders with a readable answer),
            `credit_half` (the same for the half of the scale), `first_option` (share of option 0), `n_scored`, `steps`
            (|answer − key| / (k − 1), ordinal items), `chance` (1/k), `chance_steps`, `gold_first` and `gold_last`
            (share of orders that show the key first or last), `order_pairs`, `order_flips` (share of the pairs of
            readable orders that disagree), `scale_shift` (mean place on the scale where it is shown reversed less that
            where it is shown forward; null without both), `pull`, `turn_product` and `turn_square`
            (`conversation_order`) and `n_biased`, `n_counter`, `n_unknown` (answers with, against and without
            the stereotype, BBQ). Every count splits an answer with tied probabilities among the tied options. For open
            text (`k_options` 0): `n_text` (replies compared with a reference) and the sums of their measures,
            `text_rouge_l` and so on, null if not computed; `credit` is ROUGE-L over the replies. Without an answer
            key, `gold_idx` is 0 and columns that need a key are meaningless: `metric.applicable` omits their metrics.
        answer: (units × K) the balanced answer: 1 on the option with most mass, split among ties; a row of zeros if no
            order has a readable answer.
        mass: (units × K) option probabilities averaged over readable orders.
        votes: (units × K) picks of each option, summed over the orders; a tied answer is split.
        positions: (units × K) how often each shown position was picked.
    """

    frame: pl.DataFrame | CompactFrame
    answer: Floats
    mass: Floats
    positions: Floats
    votes: Floats

    def take(self, keep: NDArray[np.bool_]) -> Units:
        """Keep the units of a mask. Adjacent units are not copied."""
        place = np.flatnonzero(keep)
        if len(place) == len(keep):
            return self
        rows: slice | Ints = place
        if len(place) and int(place[-1]) - int(place[0]) + 1 == len(place):
            rows = slice(int(place[0]), int(place[-1]) + 1)
        return Units(
            self.frame.rows(rows) if isinstance(self.frame, CompactFrame) else self.frame.filter(pl.Series(keep)),
            self.answer[rows],
            self.mass[rows],
            self.positions[rows],
            self.votes[rows],
        )

    def on(self, frame: pl.DataFrame | CompactFrame) -> Units:
        """Replace the frame by one with more columns for the same units."""
        return replace(self, frame=frame)


@dataclass(frozen=True)
class Balanced:
    """Order-balanced answers of one model and task, and facts about its scores.

    Attributes:
        units: The answers.
        model: The model.
        task: The task.
        keyed: Every score has an answer key.
    """

    units: Units
    model: str
    task: str
    keyed: bool


def balance_chunks(
    chunks: Iterable[pl.DataFrame],
    *,
    columns: Collection[str] | None = None,
    finished: Callable[[Units], Units] = lambda units: units,
) -> Balanced | None:
    """Balance scores chunk by chunk, so that single scores of one chunk only are in memory; None without scores.

    Args:
        chunks: SCORES of one model and task. All answers for a respondent are in the same chunk.
        columns: The columns to keep of the units' frame; all arrays then have no options. None keeps everything.
        finished: What is done with the units of each chunk before they are joined.

    Raises:
        ValidationError: The scores belong to several models or tasks, or a respondent is in several chunks.
    """
    parts: list[Units] = []
    names: dict[str, set[str]] = {"model": set(), "task": set()}
    keyed = True
    for chunk in chunks:
        if chunk.is_empty():
            continue
        for column, found in names.items():
            found.update(chunk.get_column(column).unique().to_list())
            if len(found) > 1:
                raise ValidationError(
                    "Estimates are made for one model and one task at a time",
                    variable=column,
                    value=", ".join(sorted(found)),
                    remedy="pass the scores of one partition",
                )
        keyed = keyed and chunk.get_column("gold_idx").null_count() == 0
        units = balance(chunk)
        parts.append(finished(units if columns is None else _only(units, columns)))
    if not parts:
        return None
    return Balanced(_joined(parts), names["model"].pop(), names["task"].pop(), keyed)


def _only(units: Units, columns: Collection[str]) -> Units:
    nothing = np.zeros((units.frame.height, 0))
    kept = [name for name in units.frame.columns if name in {*UNIT_KEY, *columns}]
    return Units(units.frame.select(kept), nothing, nothing, nothing, nothing)


def by_persona(scores: pl.DataFrame, *, rows: int = CHUNK_ROWS) -> Iterator[pl.DataFrame]:
    """Cut scores into chunks of whole respondents, of about so many rows each."""
    n = -(-scores.height // rows)
    if n < 2:
        yield scores
        return
    person = dense(scores.get_column("respondent_id"))
    chunk = pl.Series(person * n // (int(person.max()) + 1))
    for i in range(n):
        yield scores.filter(chunk == i)


def _joined(parts: list[Units]) -> Units:
    """Combine the units of chunks, sorted by `UNIT_KEY`."""
    if len(parts) == 1:
        return parts[0]
    frames = [part.frame for part in parts]
    arrays = {name: [getattr(part, name) for part in parts] for name in ("answer", "mass", "positions", "votes")}
    # What has been joined is released at once: the parts and the whole would take twice the memory.
    parts.clear()
    twice = pl.concat([frame.select(pl.col("respondent_id").unique()) for frame in frames])
    repeated = twice.filter(pl.col("respondent_id").is_duplicated()).get_column("respondent_id").n_unique()
    if repeated:
        raise ValidationError(
            "Scores of one respondent are in several chunks",
            variable="respondent_id",
            value=f"{repeated} respondents",
            remedy="put all scores of a respondent into one chunk",
        )
    compact = [frame for frame in frames if isinstance(frame, CompactFrame)]
    whole: pl.DataFrame | CompactFrame
    if compact:
        whole = CompactFrame.joined(compact)
    else:
        whole = pl.concat([frame for frame in frames if isinstance(frame, pl.DataFrame)], rechunk=False)
    frames.clear()
    order = Keys(whole).order(UNIT_KEY, "respondent_id")
    whole = whole.in_order(order) if isinstance(whole, CompactFrame) else whole[order]
    width = max(array.shape[1] for array in arrays["answer"])

    def stacked(name: str) -> Floats:
        padded = np.concatenate(
            [np.pad(a, ((0, 0), (0, width - a.shape[1]))) if a.shape[1] < width else a for a in arrays.pop(name)]
        )
        return np.asarray(padded[order])

    return Units(whole, stacked("answer"), stacked("mass"), stacked("positions"), stacked("votes"))


def balance(scores: pl.DataFrame) -> Units:
    """Average each prompt's answers over its option orders.

    An order with `p_vec` counts with these probabilities, any other with all mass on the option picked. Refused,
    unreadable and failed orders carry no mass. They lower `credit` by their share, except for failed requests.

    Args:
        scores: SCORES of one model and task, in any row order.
    """
    scores = scores.with_columns(
        pl.lit(None, dtype).alias(name) for name, dtype in _SCALE.items() if name not in scores.columns
    )
    keys = Keys(scores)
    order = keys.order([*UNIT_KEY, "order_id"], "prompt_id")
    width = int(scores.get_column("k_options").max() or 2) if scores.height else 2  # type: ignore[arg-type]
    given = read_picks(scores, width)
    rows, in_turn = flips(scores, given, keys).select(*_USED, *FLIPS)[order], order_effects(scores)[order]
    n = rows.height
    starts = _starts(keys.of(UNIT_KEY)[order])
    k = np.maximum(rows.get_column("k_options").to_numpy(), 2)  # open text has no options
    picked, mass, several = given.share[order], given.mass[order], given.tied[order]
    place = one_hot(rows.get_column("pred_pos"), width)
    # The position of a tied answer is unknown.
    place[several] = 0.0
    status = rows.get_column("status").cast(pl.String)

    def total(values: Floats) -> Floats:
        return np.add.reduceat(values, starts, axis=0) if n else values

    n_orders = total(np.ones(n))
    counts = {f"n_{s}": total((status == s).to_numpy().astype(float)) for s in ("ok", "refused", "unparsed", "error")}
    with_mass = total((mass.sum(axis=1) > 0).astype(float))
    votes = total(picked)
    unit_mass = np.divide(
        total(mass), with_mass[:, None], out=np.zeros((len(starts), width)), where=with_mass[:, None] > 0
    )
    rows = rows.with_columns(pl.col("gold_idx", "gold_pos").fill_null(0))
    gold = rows.get_column("gold_idx").to_numpy()[starts] if n else np.zeros(0, dtype=np.int64)
    unit_k = k[starts] if n else k
    top = unit_mass.max(axis=1, initial=0.0)
    tied = (unit_mass >= (top - TIE)[:, None]) & (np.arange(width) < unit_k[:, None]) & (with_mass > 0)[:, None]
    answer = tied / np.maximum(tied.sum(axis=1), 1)[:, None]
    replies = n_orders - counts["n_error"]
    at_gold = answer[np.arange(len(starts)), np.minimum(gold, width - 1)]
    answered_share = np.divide(with_mass, replies, out=np.zeros_like(replies), where=replies > 0)
    texts = rows.get_column("text_scores").struct.unnest()
    n_text = total(texts.get_column("rouge_l").is_not_null().to_numpy().astype(float))
    of_text = {name: total(texts.get_column(name).fill_null(0.0).to_numpy()) for name in texts.columns}
    made = {name: total(texts.get_column(name).is_not_null().to_numpy().astype(float)) for name in texts.columns}
    is_open = rows.get_column("k_options").to_numpy()[starts] == 0 if n else np.zeros(0, dtype=bool)
    by_text = np.divide(of_text["rouge_l"], replies, out=np.zeros_like(replies), where=replies > 0)
    credit = np.where(is_open, by_text, at_gold * answered_share)
    middle = (unit_k - 1) // 2
    low_half = (answer * (np.arange(width) <= middle[:, None])).sum(axis=1)
    same_half = np.where(gold <= middle, low_half, (with_mass > 0) - low_half)
    distance = np.abs(np.arange(width) - gold[:, None])
    steps = (answer * distance).sum(axis=1) / (unit_k - 1)
    inside = np.arange(width) < unit_k[:, None]
    pairs = counts["n_ok"] * (counts["n_ok"] - 1) / 2
    agreeing = _agreeing(votes, picked, several, starts, n_orders)
    gold_pos = rows.get_column("gold_pos").to_numpy()
    score = _score(rows, picked, several)
    bias = rows.get_column("bias")
    ordinal = rows.get_column("ordinal").to_numpy()[starts] if n else np.zeros(0, dtype=bool)

    frame = (
        rows.select(
            *(*UNIT_KEY, "wave", "cluster_id", "category", "scoring", "answer_set"),
            *("k_options", "ordinal", "gold_idx", "weight"),
        )
        .select(pl.all().gather(pl.Series(starts, dtype=pl.UInt32)))
        .with_columns(
            pl.Series("n_orders", n_orders),
            pl.Series("n_text", n_text),
            *(
                pl.Series(f"text_{name}", np.where(made[name] > 0, values, np.nan)).fill_nan(None)
                for name, values in of_text.items()
            ),
            pl.Series(
                "n_condescending",
                total(rows.get_column("condescending").fill_null(False).to_numpy().astype(float)),
            ),
            *(pl.Series(name, values) for name, values in counts.items()),
            pl.Series("n_right", total(score)),
            pl.Series("credit", credit),
            pl.Series("first_option", answer[:, 0]),
            pl.Series("n_scored", total(rows.get_column("score").is_not_null().to_numpy().astype(float))),
            pl.Series("credit_half", same_half * answered_share),
            pl.Series("steps", np.where(ordinal & (with_mass > 0), steps, np.nan)).fill_nan(None),
            pl.Series("chance", 1.0 / unit_k),
            pl.Series("chance_steps", (distance * inside).sum(axis=1) / unit_k / (unit_k - 1)),
            pl.Series("gold_first", total((gold_pos == 0).astype(float)) / n_orders),
            pl.Series("gold_last", total((gold_pos == k - 1).astype(float)) / n_orders),
            pl.Series("order_pairs", pairs),
            pl.Series("order_flips", np.divide(pairs - agreeing, pairs, out=np.zeros_like(pairs), where=pairs > 0)),
            *(
                pl.Series(name, total((bias == sign).fill_null(False).to_numpy().astype(float)))
                for name, sign in (("n_biased", 1.0), ("n_counter", -1.0), ("n_unknown", 0.0))
            ),
            *(pl.Series(name, total(rows.get_column(name).to_numpy())) for name in FLIPS),
            pl.Series("scale_shift", _scale_shift(rows, total)).fill_nan(None),
            *(_mean(values, total) for values in in_turn.iter_columns()),
            *_proper(unit_mass, gold, unit_k, total(with_vector(rows).astype(float)) > 0, ordinal),
        )
    )
    return Units(frame, answer, unit_mass, total(place), votes)


def _scale_shift(rows: pl.DataFrame, total: Callable[[Floats], Floats]) -> Floats:
    """How far each unit's answer moves up the scale if the scale is shown reversed; nan without both directions."""
    place = rows.get_column("scale_place")
    at = place.fill_null(0.0).to_numpy()
    mean = []
    for backward in (True, False):
        counts = ((rows.get_column("scale_reversed") == backward) & place.is_not_null()).fill_null(False).to_numpy()
        n = total(counts.astype(float))
        mean.append(np.divide(total(at * counts), n, out=np.full(n.shape, np.nan), where=n > 0))
    shift: Floats = mean[0] - mean[1]
    return shift


def _mean(values: pl.Series, total: Callable[[Floats], Floats]) -> pl.Series | pl.Expr:
    """The mean of a column over each unit's rows that have it; null if none has."""
    if values.null_count() == len(values):
        return pl.lit(None, pl.Float64).alias(values.name)
    n = total(values.is_not_null().to_numpy().astype(float))
    mean = np.divide(total(values.fill_null(0.0).to_numpy()), n, out=np.full(n.shape, np.nan), where=n > 0)
    return pl.Series(values.name, mean).fill_nan(None)


def _score(rows: pl.DataFrame, picked: Floats, tied: NDArray[np.bool_]) -> Floats:
    """Score each row; 0 if it has no score. A tied answer gets its share of the key."""
    score = rows.get_column("score").fill_null(0.0).to_numpy()
    # If several options are right, the score is their mass, regardless of ties.
    shared = tied & (rows.get_column("scoring") != "probability_mass").to_numpy()
    key = np.minimum(rows.get_column("gold_idx").to_numpy(), picked.shape[1] - 1)
    return np.where(shared, picked[np.arange(len(score)), key], score)


def _agreeing(votes: Floats, picked: Floats, tied: NDArray[np.bool_], starts: Ints, n_orders: Floats) -> Floats:
    """Count the pairs of a unit's readable orders that agree. Two tied answers count by their common share."""
    agreeing = np.asarray((votes * (votes - 1) / 2).sum(axis=1))
    with_ties = np.unique(np.searchsorted(starts, np.flatnonzero(tied), side="right") - 1)
    for unit in with_ties[n_orders[with_ties] > 1] if len(with_ties) else ():
        of_unit = picked[starts[unit] : starts[unit] + int(n_orders[unit])]
        of_unit = of_unit[of_unit.any(axis=1)]
        first, second = np.triu_indices(len(of_unit), 1)
        agreeing[unit] = np.minimum(of_unit[first], of_unit[second]).sum()
    return agreeing


def _starts(units: Ints) -> Ints:
    """First row of each unit in rows sorted by unit."""
    return np.flatnonzero(np.diff(units, prepend=-1)) if len(units) else np.zeros(0, dtype=np.int64)


# A probability of 0 would make the log score infinite, and providers that report few tokens give 0 for all others.
LEAST_PROBABILITY = 1e-4


def _proper(mass: Floats, gold: Ints, k: Ints, told: NDArray[np.bool_], ordinal: NDArray[np.bool_]) -> list[pl.Series]:
    """Proper scores of probabilities against the key: Brier, −ln p (p at least 1e-4), and the ranked one over steps."""
    rows, width = np.arange(len(gold)), mass.shape[1]
    at_key = (np.arange(width) == gold[:, None]).astype(float)
    brier = ((mass - at_key) ** 2).sum(axis=1)
    log_score = -np.log(np.maximum(mass[rows, np.minimum(gold, width - 1)], LEAST_PROBABILITY))
    steps = (np.cumsum(mass, axis=1) - np.cumsum(at_key, axis=1)) ** 2
    crps = (steps * (np.arange(width) < k[:, None] - 1)).sum(axis=1) / (k - 1)
    return [
        pl.Series(name, np.where(where, values, np.nan)).fill_nan(None)
        for name, values, where in (
            ("brier", brier, told), ("log_score", log_score, told), ("crps", crps, told & ordinal),
        )
    ]  # fmt: skip
