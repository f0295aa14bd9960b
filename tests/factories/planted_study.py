"""A study with planted truth: two models of which one serves women of 65 and over badly, and more, and nothing else.

The estimates are computed by the pipeline's own functions from invented answers, so that a report of this study must
show all that was planted and nothing that was not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from mpta_pipeline import metrics
from mpta_pipeline.core.labels import Labels
from mpta_pipeline.core.study import EstimateRules, Study, TaskConfig
from mpta_pipeline.core.tables import GOLD, ITEMS, PERSONAS, PROMPTS, RESPONSES, SCORES, TEXT_SCORES

ALPHA, BETA = "alpha", "beta"
TASK, SURVEY = "values", "gss"
OPTIONS = 4
TRAITS = {
    "sex": (("female", 0.5), ("male", 0.5)),
    "age_band": (("18–29", 0.25), ("30–44", 0.25), ("45–64", 0.25), ("65+", 0.25)),
    "education_3": (("low", 0.35), ("middle", 0.35), ("high", 0.3)),
    "race": (("white", 0.6), ("black", 0.25), ("other", 0.15)),
}
LABELS = Labels(
    surveys={SURVEY: "General Social Survey"},
    tasks={TASK: "Values"},
    dimensions={"sex": "Sex", "age_band": "Age", "education_3": "Education", "race": "Race"},
    values={
        ("sex", "female"): "women", ("sex", "male"): "men", ("age_band", "65+"): "65 and over",
        ("race", "black"): "Black people",
    },
)  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """What is true of the invented models.

    Attributes:
        pocket: Both models are right at `in_pocket` instead of `right` for women of 65 and over.
        refusals: BETA refuses Black people at this rate, and all others at an eighth of it.
        harm: ALPHA is right this much more often without the persona.
    """

    right: float = 0.80
    in_pocket: float = 0.50
    refusals: float = 0.32
    harm: float = 0.10
    pocket: bool = True


NOTHING = Planted(in_pocket=0.80, refusals=0.0, harm=0.0, pocket=False)


def study(**rules: object) -> Study:
    dimensions = ("sex", "age_band", "education_3", "race", "sex×age_band")
    return Study(
        name="planted",
        tasks={TASK: TaskConfig(kind="value_alignment")},
        figures=EstimateRules(dimensions=dimensions, bootstrap=50, **rules),  # type: ignore[arg-type]
    )


@cache
def frames(
    seed: int, planted: Planted = Planted(), *, personas: int = 400, items: int = 20, orders: int = 2
) -> dict[str, pl.DataFrame]:
    """The tables that the report reads, by name."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"r_{i:05d}" for i in range(personas)])
    traits = {
        name: rng.choice([v for v, _ in values], personas, p=[p for _, p in values]) for name, values in TRAITS.items()
    }
    groups = pl.DataFrame({"respondent_id": ids, "survey": SURVEY, **traits})
    popularity = rng.dirichlet(np.ones(OPTIONS) * 3, items)
    own = np.stack([rng.choice(OPTIONS, personas, p=popularity[j]) for j in range(items)], axis=1)
    p, j = (x.ravel() for x in np.meshgrid(np.arange(personas), np.arange(items), indexing="ij"))
    gold = GOLD.conform(
        pl.DataFrame(
            {
                "task": TASK, "item_id": [f"i{b:02d}" for b in j], "respondent_id": ids[p], "survey": SURVEY,
                "gold_idx": own[p, j], "weight": None,
            },
            schema_overrides={"weight": pl.Float64},
        )
    )  # fmt: skip
    bad = (traits["sex"] == "female") & (traits["age_band"] == "65+")
    black = traits["race"] == "black"
    hard, dull = rng.normal(0, 0.05, items), rng.normal(0, 0.03, personas)
    scores = {}
    for model in (ALPHA, BETA):
        parts = []
        for condition in ("persona", "no_persona"):
            right = np.full(len(p), planted.right)
            refuse = np.zeros(len(p))
            if condition == "persona":
                right = np.where(bad[p], planted.in_pocket, right)
                if model == BETA:
                    refuse = np.where(black[p], planted.refusals, planted.refusals / 8)
            elif model == ALPHA:
                right = right + planted.harm
            knows = rng.random(len(p)) < np.clip(right + hard[j] + dull[p], 0, 1)
            pick = np.where(knows, own[p, j], (own[p, j] + rng.integers(1, OPTIONS, len(p))) % OPTIONS)
            parts += [
                _scores(model, condition, order, ids[p], j, own[p, j], pick, rng.random(len(p)) < refuse)
                for order in range(orders)
            ]
        scores[model] = SCORES.conform(pl.concat(parts))
    rules = study().figures
    together = pl.concat(scores.values())
    asked = together.unique("prompt_id", maintain_order=True)
    questions = _items(items)
    return {
        "scores": together,
        "groups": groups,
        "panel": groups.select("respondent_id"),
        "items": questions,
        "people_shares": metrics.people_shares(questions, gold, groups, rules=rules),
        "prompts": _prompts(asked),
        "responses": _responses(together),
        "personas": _personas(groups),
        "subgroup_metrics": pl.concat(
            metrics.compute_estimates(s, groups, gold, rules=rules, study="planted") for s in scores.values()
        ),
        "pockets": pl.concat(
            metrics.find_pockets(s, groups, gold, rules=rules, seed=2025, study="planted") for s in scores.values()
        ),
        "model_comparison": metrics.compare_models(together, rules=rules, groups=groups),
    }


def _scores(
    model: str, condition: str, order: int, people: np.ndarray, item: np.ndarray, gold: np.ndarray, pick: np.ndarray,
    refused: np.ndarray,
) -> pl.DataFrame:  # fmt: skip
    ok = ~refused
    k = OPTIONS
    return pl.DataFrame(
        {
            "model": model, "task": TASK,
            "prompt_id": [f"{condition}-{a}-{b:02d}-{order}" for a, b in zip(people, item, strict=True)],
            "request_hash": "h", "condition": condition, "survey": SURVEY, "wave": f"{SURVEY}-1",
            "respondent_id": people, "item_id": [f"i{b:02d}" for b in item], "kind": "value_alignment",
            "scoring": "key", "answer_set": None, "cluster_id": [f"i{b:02d}" for b in item], "category": "all",
            "style": "prose", "framing": "you_are", "paraphrase_id": 0, "repeat_id": 0, "elicitation": "letter",
            "order_id": order, "k_options": k, "ordinal": False, "gold_idx": gold, "gold_pos": (gold + order) % k,
            "pred_idx": pl.Series(pick).set(pl.Series(refused), None),
            "pred_pos": pl.Series((pick + order) % k).set(pl.Series(refused), None),
            "status": np.where(ok, "ok", "refused"),
            "score": pl.Series((pick == gold).astype(float)).set(pl.Series(refused), None),
        }
    ).with_columns(
        bias=pl.lit(None, pl.Float64),
        weight=pl.lit(None, pl.Float64),
        text_scores=pl.lit(None, TEXT_SCORES),
        condescending=pl.lit(False),
        letter_share=pl.lit(None, pl.Float64),
        unparsed_reason=pl.lit(None, pl.String),
        p_vec=pl.lit(None, pl.List(pl.Float64)),
    )  # fmt: skip


def _items(n: int) -> pl.DataFrame:
    row = {
        "task": TASK, "kind": "value_alignment", "codebook": SURVEY, "category": "all", "context": None,
        "options": ["yes", "rather yes", "rather no", "no"], "option_values": ["y", "ry", "rn", "n"],
        "option_scores": None, "ordinal": False, "scoring": "key", "gold_idx": None, "reveals": [],
        "sample_item": False, "licence": "invented",
    }  # fmt: skip
    rows = [
        row | {"item_id": f"i{b:02d}", "cluster_id": f"i{b:02d}", "question": f"Question {b}?", "column": f"q{b}"}
        for b in range(n)
    ]
    return ITEMS.conform(pl.DataFrame(rows, infer_schema_length=None))


def _prompts(scores: pl.DataFrame) -> pl.DataFrame:
    shown = pl.when(pl.col("condition") == "persona").then("respondent_id")
    return PROMPTS.conform(
        scores.select(
            "prompt_id", "task", "item_id", "cluster_id", "respondent_id", "survey", "wave", "condition", "style",
            "framing", "paraphrase_id", "repeat_id", "elicitation", "order_id", "gold_idx", "gold_pos", "weight",
            content_hash="prompt_id", group="respondent_id", shown_respondent_id=shown,
            option_order=pl.lit([0, 1, 2, 3]), masked=pl.lit([], pl.List(pl.String)), data_use=pl.lit("any"),
            system=pl.when(pl.col("condition") == "persona").then(pl.format("You are {}.", "respondent_id")),
            user=pl.format("Question {}?\nA) yes\nB) rather yes\nC) rather no\nD) no", "item_id"),
            options=pl.lit(["yes", "rather yes", "rather no", "no"]),
        )
    )  # fmt: skip


def _responses(scores: pl.DataFrame) -> pl.DataFrame:
    letters = pl.col("pred_idx").replace_strict(dict(enumerate("ABCD")), return_dtype=pl.String)
    return RESPONSES.conform(
        scores.select(
            "model", "task", "prompt_id", "request_hash", "letter_share",
            text=pl.when(pl.col("status") == "refused").then(pl.lit("I cannot answer <b>that</b>.")).otherwise(letters),
            option_logprobs=pl.lit(None, pl.List(pl.Float64)), thought=pl.lit(False), finish_reason=pl.lit("stop"),
            error=pl.lit(None, pl.String), prompt_tokens=pl.lit(100), completion_tokens=pl.lit(1),
            provider_model=pl.lit("invented 1"),
        )
    )  # fmt: skip


def _personas(groups: pl.DataFrame) -> pl.DataFrame:
    return PERSONAS.conform(
        groups.select(
            "respondent_id", "survey", revision=pl.lit("v1"), codebook=pl.lit(SURVEY), wave=pl.lit(f"{SURVEY}-1"),
            release_id=pl.lit(f"{SURVEY}-1@aaaaaaaaaaaa"), country=pl.lit("USA"), year=pl.lit(2018),
            weight=pl.lit(None, pl.Float64), data_use=pl.lit("any"), licence=pl.lit("invented"), n_traits=pl.lit(0),
            k_anonymity=pl.lit(12), traits=pl.lit([], PERSONAS.schema["traits"]),
        )
    )  # fmt: skip
