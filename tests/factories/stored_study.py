"""A small invented study, stored as the pipeline stores it: two waves, one survey task, one benchmark task, two models.

Respondent i of a wave holds values that follow from i alone, so that tests can say what a trace must end at.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mpta_pipeline.core import tables
from mpta_pipeline.core.estimate_ids import estimate_ids
from mpta_pipeline.core.storage import Layout, write_json, write_parquet

WAVES = {"gss_extract-2018": ("gss_extract", "GSS2018.sav", "a" * 64), "wvs-7": ("wvs", "WVS7 <b>.sav", "b" * 64)}
PEOPLE = 12
SEX = {"1": "male", "2": "female"}
TRUST = {"1": "can be trusted", "2": "cannot be too careful; drop table scores", "3": "depends"}


def respondent(wave: str, i: int) -> str:
    return f"r_{wave[:3]}{i:02d}"


def sex(i: int) -> str:
    return "1" if i % 2 else "2"


def trust(i: int) -> str | None:
    return None if i == 5 else str(i % 3 + 1)


def age(i: int) -> float:
    return 20.0 + 5 * i


def release(wave: str) -> str:
    return f"{wave}@{WAVES[wave][2][:12]}"


def respondents(wave: str) -> pl.DataFrame:
    survey = WAVES[wave][0]
    rows = [
        {
            "respondent_id": respondent(wave, i),
            "revision": "v1",
            "survey": survey,
            "codebook": survey,
            "wave": wave,
            "release_id": release(wave),
            "native_key": f"{wave}:{1000 + i}",
            "row_index": i,
            "country": "USA",
            "year": 2018,
            "weight": None if survey == "gss_extract" else 1.0 + i / 10,
            "stratum": None,
            "psu": None,
            "age": age(i),
            "age__missing": None,
            "age__code": str(int(age(i))),
            "sex": SEX[sex(i)],
            "sex__missing": None,
            "sex__code": sex(i),
            f"trust_{survey}": TRUST[trust(i)] if trust(i) else None,
            f"trust_{survey}__missing": None if trust(i) else "dont_know",
            f"trust_{survey}__code": trust(i) or "-1",
        }
        for i in range(PEOPLE)
    ]
    nullable = {"weight": pl.Float64, "stratum": pl.String, "psu": pl.String}
    nullable |= {c: pl.String for c in rows[0] if c.endswith("__missing")}
    return tables.RESPONDENTS.conform(pl.DataFrame(rows, schema_overrides=nullable))


def variables(wave: str) -> pl.DataFrame:
    def labels(values: dict[str, str]) -> list[dict[str, str]]:
        return [{"code": c, "label": f"label of {v}"} for c, v in values.items()]

    named = [
        ("AGE", "age of respondent", {}),
        ("SEX", "sex", SEX),
        ("Q57", "most people", TRUST | {"-1": "don't know"}),
    ]
    return tables.VARIABLES.conform(
        pl.DataFrame(
            [
                {
                    "wave": wave,
                    "release_id": release(wave),
                    "variable": name,
                    "position": i,
                    "label": label,
                    "storage": "Float64",
                    "value_labels": labels(values),
                    "missing_codes": ["-1"] if name == "Q57" else [],
                }
                for i, (name, label, values) in enumerate(named)
            ],
            schema=tables.VARIABLES.schema,
        )
    )


def _concept(concept: str, survey: str, variable: str, column: str, scale: str) -> dict[str, object]:
    return {
        "concept": concept,
        "codebook": survey,
        "variable": variable,
        "column": column,
        "domain": "demographic" if concept != "trust" else "belief",
        "scale": scale,
        "label": f"{concept} of the person",
        "question": f"What is your {concept}?",
        "statement": None,
        "equivalence": "exact",
        "pool": concept != "trust",
        "reveals": [],
        "evidence": None,
        "status": "verified",
    }


def crosswalk() -> tuple[pl.DataFrame, pl.DataFrame]:
    surveys = [survey for survey, *_ in WAVES.values()]
    concepts = [
        row
        for s in surveys
        for row in (
            _concept("age", s, "AGE", "age", "numeric"),
            _concept("sex", s, "SEX", "sex", "nominal"),
            _concept("trust", s, "Q57", f"trust_{s}", "nominal"),
        )
    ]
    options = [
        {
            "column": column,
            "codebook": s,
            "code": code,
            "position": i,
            "value": value,
            "text": f"says {value}",
            "score": None,
        }
        for s in surveys
        for column, values in (("sex", SEX), (f"trust_{s}", TRUST))
        for i, (code, value) in enumerate(values.items())
    ]
    return (
        tables.CONCEPTS.conform(pl.DataFrame(concepts, schema=tables.CONCEPTS.schema)),
        tables.OPTIONS.conform(pl.DataFrame(options, schema=tables.OPTIONS.schema)),
    )


def waves(wave: str) -> pl.DataFrame:
    survey, file_name, sha256 = WAVES[wave]
    return tables.WAVES.conform(
        pl.DataFrame(
            [
                {
                    "wave": wave,
                    "survey": survey,
                    "codebook": survey,
                    "release_id": release(wave),
                    "title": f"Wave {wave} <script>alert(1)</script>",
                    "version": None,
                    "doi": "10.1/x",
                    "file_name": file_name,
                    "sha256": sha256,
                    "n_respondents": PEOPLE,
                    "countries": ["USA"],
                    "years": [2018],
                    "weight_name": None if survey == "gss_extract" else "W_WEIGHT",
                    "licence": "free for research",
                    "data_use": "any",
                }
            ],
            schema=tables.WAVES.schema,
        )
    )


def personas() -> pl.DataFrame:
    rows = []
    for wave, (survey, *_) in WAVES.items():
        for i in range(PEOPLE):
            trait = {"reveals": [], "statement": None, "domain": "demographic"}
            traits = [
                trait
                | {
                    "column": "age",
                    "label": "age",
                    "answer": str(int(age(i))),
                    "value": str(int(age(i))),
                    "code": str(int(age(i))),
                    "variable": "AGE",
                },
                trait
                | {
                    "column": "sex",
                    "label": "sex",
                    "answer": SEX[sex(i)],
                    "value": SEX[sex(i)],
                    "code": sex(i),
                    "variable": "SEX",
                },
            ]
            rows.append(
                {
                    "respondent_id": respondent(wave, i),
                    "revision": "v1",
                    "survey": survey,
                    "codebook": survey,
                    "wave": wave,
                    "release_id": release(wave),
                    "country": "USA",
                    "year": 2018,
                    "weight": None,
                    "data_use": "any",
                    "licence": "free",
                    "n_traits": 2,
                    "k_anonymity": 1,
                    "traits": traits,
                }
            )
    return tables.PERSONAS.conform(pl.DataFrame(rows, schema=tables.PERSONAS.schema))


def items() -> dict[str, pl.DataFrame]:
    base = {
        "context": None,
        "ordinal": False,
        "reveals": [],
        "scoring": "key",
        "sample_item": False,
        "licence": "ours",
        "option_scores": None,
    }
    values = [
        base
        | {
            "task": "values",
            "item_id": f"trust_{s}",
            "kind": "value_alignment",
            "cluster_id": f"trust_{s}",
            "codebook": s,
            "category": "belief",
            "question": "What is your trust?",
            "options": [f"says {v}" for v in TRUST.values()],
            "option_values": list(TRUST.values()),
            "gold_idx": None,
            "column": f"trust_{s}",
        }
        for s, *_ in WAVES.values()
    ]
    myths = [
        base
        | {
            "task": "myths",
            "item_id": f"m{k}",
            "kind": "truthfulqa_binary",
            "cluster_id": f"m{k}",
            "codebook": None,
            "category": ("Health", "Law")[k],
            "question": f"Is myth {k} true?",
            "options": ["yes", "no"],
            "option_values": ["yes", "no"],
            "gold_idx": k,
            "column": None,
        }
        for k in range(2)
    ]
    return {
        task: tables.ITEMS.conform(pl.DataFrame(rows, infer_schema_length=None))
        for task, rows in (("values", values), ("myths", myths))
    }


def prompts(task: str, asked: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for item in asked.iter_rows(named=True):
        k = len(item["options"])
        for wave, (survey, *_) in WAVES.items():
            if item["codebook"] not in (None, survey):
                continue
            for i in range(PEOPLE):
                gold = item["gold_idx"] if item["gold_idx"] is not None else int(trust(i) or 0) - 1
                if gold < 0:
                    continue
                for condition in tables.CONDITIONS:
                    for order in range(k):
                        shown = [(order + j) % k for j in range(k)]
                        person = respondent(wave, i)
                        told = "" if condition == "no_persona" else person
                        rows.append(
                            {
                                "prompt_id": f"p_{task}_{item['item_id']}_{person}_{condition}_{order}",
                                "content_hash": f"{item['item_id']}{condition}{order}" + told,
                                "task": task,
                                "item_id": item["item_id"],
                                "cluster_id": item["cluster_id"],
                                "respondent_id": person,
                                "shown_respondent_id": None if condition == "no_persona" else person,
                                "survey": survey,
                                "wave": wave,
                                "condition": condition,
                                "style": "prose",
                                "framing": "you_are",
                                "paraphrase_id": 0,
                                "repeat_id": 0,
                                "elicitation": "letter",
                                "order_id": order,
                                "option_order": shown,
                                "gold_idx": gold,
                                "gold_pos": shown.index(gold),
                                "system": None if condition == "no_persona" else f"You are {age(i):.0f} years old.",
                                "user": item["question"],
                                "options": [item["options"][j] for j in shown],
                                "group": person,
                                "masked": [item["column"]] if item["column"] else [],
                                "data_use": "any",
                                "weight": None,
                            }
                        )
    return tables.PROMPTS.conform(pl.DataFrame(rows, schema=tables.PROMPTS.schema))


def answers(model: str, asked: pl.DataFrame, categories: dict[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Model `always A` picks the first option shown; the other one the answer key, but refuses order 1."""
    first = model == "org/always-a"
    refused = pl.lit(not first) & (pl.col("order_id") == 1)
    picked = (pl.col("option_order").list.first() if first else pl.col("gold_idx")).cast(pl.Int64)
    base = asked.with_columns(
        pl.lit(model).alias("model"), pl.concat_str(pl.lit("q_" + model), "content_hash").alias("request_hash")
    )
    responses = base.with_columns(
        pl.when(refused).then(pl.lit("I would rather not <b>say</b>")).otherwise(pl.lit("A")).alias("text"),
        pl.lit(None, pl.List(pl.Float64)).alias("option_logprobs"),
        pl.lit(None, pl.Float64).alias("letter_share"),
        pl.lit(False).alias("thought"),
        pl.lit("stop").alias("finish_reason"),
        pl.lit(None, pl.String).alias("error"),
        pl.lit(100).alias("prompt_tokens"),
        pl.lit(1).alias("completion_tokens"),
        pl.lit(None, pl.String).alias("provider_model"),
    )
    scores = base.with_columns(
        pl.lit("k").alias("kind"),
        pl.lit("key").alias("scoring"),
        pl.lit(None, pl.String).alias("answer_set"),
        pl.col("item_id").replace_strict(categories).alias("category"),
        pl.col("options").list.len().cast(pl.Int64).alias("k_options"),
        pl.lit(False).alias("ordinal"),
        pl.when(~refused).then(picked).alias("pred_idx"),
        pl.lit(None, pl.Int64).alias("pred_pos"),
        pl.lit(None, pl.List(pl.Float64)).alias("p_vec"),
        pl.lit(None, pl.Float64).alias("letter_share"),
        pl.lit(None, pl.String).alias("unparsed_reason"),
        pl.when(refused).then(pl.lit("refused")).otherwise(pl.lit("ok")).alias("status"),
        pl.when(~refused).then((picked == pl.col("gold_idx")).cast(pl.Float64)).alias("score"),
        pl.lit(None, pl.Float64).alias("bias"),
        pl.lit(None, tables.TEXT_SCORES).alias("text_scores"),
        pl.lit(False).alias("condescending"),
    )
    return (
        tables.RESPONSES.conform(responses.select(tables.RESPONSES.schema.names())),
        tables.SCORES.conform(scores.select(name for name in tables.SCORES.schema if name in scores.columns)),
    )


def groups() -> pl.DataFrame:
    rows = [
        {
            "respondent_id": respondent(w, i),
            "survey": s,
            "sex": SEX[sex(i)],
            "age_band": "18-49" if age(i) < 50 else "50+",
        }
        for w, (s, *_) in WAVES.items()
        for i in range(PEOPLE)
    ]
    return tables.GROUPS.conform(pl.DataFrame(rows))


def estimate(**fields: object) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(tables.SUBGROUP_METRICS.schema)
    return (
        row
        | {
            "model": "org/always-a",
            "task": "values",
            "survey": "gss_extract",
            "metric": "accuracy",
            "condition": "persona",
            "dimensions": "all",
            "subgroup": "all",
            "estimate": 0.34,
            "se": 0.03,
            "ci_low": 0.28,
            "ci_high": 0.4,
            "method": "two-way",
            "n_answers": 100,
            "n_personas": 40,
            "n_items": 1,
            "n_eff": 80.0,
            "weighted": False,
            "baseline": "",
            "small": False,
            "release_ids": [release("gss_extract-2018")],
        }
        | fields
    )


def estimates(*rows: dict[str, object], study: str = "invented") -> pl.DataFrame:
    frame = pl.DataFrame(list(rows), schema=tables.SUBGROUP_METRICS.schema, infer_schema_length=None)
    return tables.SUBGROUP_METRICS.conform(frame.with_columns(estimate_ids(frame, study)))


MODELS = ("org/always-a", "other")


def store(root: Path) -> Layout:
    """Write the invented study below `root`."""
    layout = Layout(root)
    for wave in WAVES:
        write_parquet(respondents(wave), layout.harmonized(wave))
        write_parquet(waves(wave), layout.table("waves", wave))
        sha = WAVES[wave][2][:12]
        write_parquet(variables(wave), layout.raw / wave / sha / "variables.parquet")
        write_json({"release": sha}, layout.raw / wave / "current.json")
    concepts, options = crosswalk()
    for name, frame in (("concepts", concepts), ("options", options), ("personas", personas()), ("groups", groups())):
        write_parquet(frame, layout.table(name))
    for task, asked in items().items():
        write_parquet(asked, layout.table("items", task))
        to_ask = prompts(task, asked)
        write_parquet(to_ask, layout.table("prompts", task))
        categories = dict(asked.select("item_id", "category").iter_rows())
        for model in MODELS:
            responses, scores = answers(model, to_ask, categories)
            write_parquet(responses, layout.table("responses", model, task))
            write_parquet(scores, layout.table("scores", model, task))
    write_parquet(
        estimates(
            estimate(),
            estimate(baseline="chance", baseline_estimate=1 / 3),
            estimate(dimensions="sex×age_band", subgroup="female×18-49"),
            estimate(task="myths", dimensions="category×sex", subgroup="Law×male"),
        ),
        layout.table("subgroup_metrics", MODELS[0], "values"),
    )
    return layout
