"""How well the visible traits could foretell a person's answer: a cross-fitted model of the survey's own people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier

from mpta_pipeline.hashing import hash_uniform

FOLDS = 5
# Fewer answers than this teach a model nothing that the most frequent answer does not say.
LEAST_ANSWERS = 50


def cross_fitted(
    gold: pl.DataFrame, traits: pl.DataFrame, *, hidden: Mapping[str, Sequence[str]], seed: int
) -> pl.DataFrame:
    """Foretell each respondent's answers from their traits by models fitted on other respondents alone.

    Gradient-boosted trees, one model an item and survey, five folds by hash of the persona, weighted where there are
    weights.

    Args:
        gold: GOLD of a task, all respondents.
        traits: persona_id and one text column per trait that a persona shows (null: unknown).
        hidden: Item → traits that give its answer away and are masked in its prompts.
        seed: Seed of folds and models.

    Returns:
        survey, item_id, persona_id and `ceiling`: 1 where the foretold answer is the respondent's own, else 0.
    """
    names = [c for c in traits.columns if c not in ("persona_id", "survey")]
    coded = traits.sort("persona_id").select(
        "persona_id", *(pl.col(c).cast(pl.Categorical).to_physical().cast(pl.Float64).alias(c) for c in names)
    )
    rows = gold.sort("survey", "item_id", "persona_id").join(coded, on="persona_id", how="inner", maintain_order="left")
    rows = rows.with_columns((hash_uniform(rows, ["persona_id"], key=f"fold|{seed}") * FOLDS).floor().alias("fold"))
    parts = []
    for (_, item), part in rows.group_by(["survey", "item_id"], maintain_order=True):
        shown = [c for c in names if c not in hidden.get(str(item), ())]
        if part.height < LEAST_ANSWERS or not shown:
            continue
        x = part.select(shown).fill_null(np.nan).to_numpy()
        y, fold = part.get_column("gold_idx").to_numpy(), part.get_column("fold").to_numpy()
        weight = part.get_column("weight").fill_null(1.0).to_numpy()
        right = np.full(part.height, np.nan)
        for held_out in range(FOLDS):
            test, train = fold == held_out, fold != held_out
            if not test.any() or not train.any():
                continue
            if len(np.unique(y[train])) < 2:
                right[test] = (y[test] == y[train][0]).astype(float)
                continue
            model = HistGradientBoostingClassifier(
                max_iter=40, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=20, random_state=seed
            )
            right[test] = model.fit(x[train], y[train], sample_weight=weight[train]).predict(x[test]) == y[test]
        parts.append(part.select("survey", "item_id", "persona_id").with_columns(pl.Series("ceiling", right)))
    schema = {"survey": pl.String, "item_id": pl.String, "persona_id": pl.String, "ceiling": pl.Float64}
    return pl.concat(parts).with_columns(pl.col("ceiling").fill_nan(None)) if parts else pl.DataFrame(schema=schema)
