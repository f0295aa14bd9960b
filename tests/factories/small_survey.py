"""A small invented survey in the shapes of tables.py: two codebooks, two waves of the first, missing answers, masks."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import polars as pl

from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.study import Study
from mpta_pipeline.core.tables import CONCEPTS, OPTIONS, RESPONDENTS, WAVES

# concept: domain, scale, label, question, statement, reveals, options (code, value, text)
_YES_NO = (("1", "yes", "yes"), ("2", "no", "no"))
_SPEND = (
    ("1", "too_little", "too little"),
    ("2", "about_right", "about the right amount"),
    ("3", "too_much", "too much"),
)
_TEN = tuple((str(i), str(i), f"{i} on a scale from 1 (never) to 10 (always)") for i in range(1, 11))
CONCEPT_ROWS = {
    "country": (
        "demographic",
        "nominal",
        "country",
        None,
        "You live in {answer}.",
        ["geography"],
        (("840", "USA", "the United States"), ("124", "CAN", "Canada")),
    ),
    "sex": (
        "demographic",
        "nominal",
        "sex",
        "What is your sex?",
        "You are {answer}.",
        [],
        (("1", "male", "a man"), ("2", "female", "a woman")),
    ),
    "age": (
        "demographic",
        "numeric",
        "age in years",
        "How old are you?",
        "Your age is {answer}.",
        ["age"],
        (("89", "89", "89 or older"),),
    ),
    "birth_year": (
        "demographic",
        "numeric",
        "year of birth",
        "When were you born?",
        "You were born in {answer}.",
        ["age"],
        (),
    ),
    "education": (
        "demographic",
        "ordinal",
        "highest degree",
        "What is your highest degree?",
        "Your highest degree is {answer}.",
        ["education"],
        (("0", "none", "none"), ("1", "school", "a high school diploma"), ("2", "college", "a college degree")),
    ),
    "party": (
        "demographic",
        "nominal",
        "party",
        "Which party are you closest to?",
        "You feel closest to {answer}.",
        ["party_ideology"],
        (("1", "dem", "the Democrats"), ("2", "rep", "the Republicans"), ("3", "none", "no party")),
    ),
    "views": (
        "attitude",
        "ordinal",
        "political views",
        "Are you liberal or conservative?",
        "You call yourself {answer}.",
        ["party_ideology"],
        (("1", "liberal", "liberal"), ("2", "moderate", "moderate"), ("3", "conservative", "conservative")),
    ),
    "god": (
        "belief",
        "nominal",
        "belief in God",
        "Do you believe in God?",
        'Asked whether you believe in God, you say "{answer}".',
        ["religion"],
        _YES_NO,
    ),
    "afterlife": (
        "belief",
        "nominal",
        "belief in a life after death",
        "Is there a life after death?",
        None,
        ["religion"],
        _YES_NO,
    ),
    "trust": (
        "value",
        "nominal",
        "trust in people",
        "Can most people be trusted?",
        "You say that {answer}.",
        ["trust"],
        (
            ("1", "yes", "most people can be trusted"),
            ("2", "no", "one cannot be too careful"),
            ("3", "depends", "it depends"),
        ),
    ),
    "abortion": (
        "value",
        "ordinal",
        "how far abortion can be justified",
        "Can abortion be justified?",
        "Asked whether abortion can be justified, you place yourself at {answer}.",
        ["abortion"],
        _TEN,
    ),
    **{
        f"spend_{topic}": (
            "attitude",
            "ordinal",
            f"view of spending on {topic}",
            f"Does the government spend too much or too little on {topic}?",
            f"You think the government spends {{answer}} on {topic}.",
            ["spending"] if topic != "parks" else [],
            _SPEND,
        )
        for topic in ("health", "space", "parks")
    },
}
CODEBOOKS = {"alpha": "alpha", "beta": "beta"}
ABSENT = {"beta": {"views", "spend_space", "birth_year"}}


@dataclass
class FabricatedCrosswalk:
    concepts: pl.DataFrame
    options: pl.DataFrame
    batteries: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(
            [(f"spend_{t}", d, "spending", False, None) for t in ("health", "space", "parks") for d in CODEBOOKS],
            schema={
                "column": pl.String,
                "codebook": pl.String,
                "battery": pl.String,
                "one_choice": pl.Boolean,
                "sign": pl.Int64,
            },
            orient="row",
        )
    )


def crosswalk() -> FabricatedCrosswalk:
    concepts, options = [], []
    for codebook in CODEBOOKS:
        for name, (domain, scale, label, question, statement, reveals, opts) in CONCEPT_ROWS.items():
            if name in ABSENT.get(codebook, set()):
                continue
            column = name if name in ("country", "sex", "age") else f"{name}_{codebook}"
            concepts.append(
                (
                    name,
                    codebook,
                    name.upper(),
                    column,
                    domain,
                    scale,
                    label,
                    question,
                    statement,
                    "identical",
                    False,
                    reveals,
                    None,
                    "verified",
                )
            )
            for place, (code, value, text) in enumerate(opts):
                score = place / max(len(opts) - 1, 1) if scale == "ordinal" else None
                options.append((column, codebook, code, place, value, text, score))
    return FabricatedCrosswalk(
        CONCEPTS.conform(pl.DataFrame(concepts, schema=CONCEPTS.schema, orient="row")),
        OPTIONS.conform(pl.DataFrame(options, schema=OPTIONS.schema, orient="row")),
    )


def respondents(n: int = 60, waves: tuple[str, ...] = ("alpha-1", "alpha-2", "beta-1"), seed: int = 1) -> pl.DataFrame:
    """Invented people; a tenth of the answers is missing."""
    parts = []
    for wave in waves:
        survey = wave.split("-")[0]
        rows = []
        for i in range(n):
            rng = random.Random(f"{seed}/{wave}/{i}")
            row: dict[str, object] = {
                "respondent_id": "r_" + digest(survey, wave, i),
                "revision": "x",
                "survey": survey,
                "codebook": survey,
                "wave": wave,
                "release_id": f"{wave}@000000000000",
                "native_key": str(i),
                "row_index": i,
                "country": "USA",
                "year": 2018,
                "weight": 0.5 + rng.random() if survey == "alpha" else None,
                "stratum": None,
                "psu": None,
            }
            for name, (*_, opts) in CONCEPT_ROWS.items():
                if name in ABSENT.get(survey, set()):
                    continue
                column = name if name in ("country", "sex", "age") else f"{name}_{survey}"
                missing = name not in ("country", "sex", "age") and rng.random() < 0.1
                if name == "country":
                    code, value = "840", "USA"
                elif name == "age":
                    value = float(rng.randint(18, 89))
                    code = str(int(value))
                elif name == "birth_year":
                    value = 2018.0 - float(row["age"])
                    code = str(int(value))
                else:
                    code, value, _ = opts[rng.randrange(len(opts))]
                if name != "country":
                    row[column] = None if missing else value
                row[f"{column}__missing"] = "dont_know" if missing else None
                row[f"{column}__code"] = "-1" if missing else code
            rows.append(row)
        parts.append(pl.DataFrame(rows, infer_schema_length=None))
    frame = pl.concat(parts, how="diagonal_relaxed")
    return RESPONDENTS.conform(frame)


def waves(frame: pl.DataFrame) -> pl.DataFrame:
    return WAVES.conform(
        frame.group_by("wave", "survey", "codebook", "release_id")
        .agg(
            pl.len().cast(pl.Int64).alias("n_respondents"),
            pl.col("country").unique().alias("countries"),
            pl.col("year").unique().alias("years"),
        )
        .with_columns(
            pl.lit("An invented survey").alias("title"),
            pl.lit(None, pl.String).alias("version"),
            pl.lit(None, pl.String).alias("doi"),
            pl.lit("x.sav").alias("file_name"),
            pl.lit("0" * 64).alias("sha256"),
            pl.lit(None, pl.String).alias("weight_name"),
            pl.lit("invented").alias("licence"),
            pl.lit("any").alias("data_use"),
        )
    )


def study(**changes: object) -> Study:
    base: dict[str, object] = {
        "name": "fabricated",
        "panel": {"size": 40, "strata": ["sex", "age_band"]},
        "tasks": {
            "value_alignment": {"kind": "value_alignment"},
            "trait_inference": {"kind": "trait_inference"},
            "sample_myths": {"kind": "truthfulqa_binary"},
            "sample_stereotypes": {"kind": "bbq"},
        },
    }
    return Study.model_validate(base | changes)
