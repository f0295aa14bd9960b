"""Items tables of version 0.1, with JSON in `metadata`, are read as the tables that are declared now."""

import json

import polars as pl

from mpta_pipeline import external
from mpta_pipeline.core.tables import ITEMS

BASE = {
    "task": "t", "cluster_id": "c", "codebook": None, "category": None, "context": None, "question": "?",
    "option_values": ["a", "b"], "options": ["a", "b"], "option_scores": None, "ordinal": False, "column": None,
    "reveals": [], "licence": "l",
}  # fmt: skip
KINDS = {
    "bbq": ({"option_bias": [1, -1], "context_condition": "ambig", "sample": True, "file": "f"}, 0, "key"),
    "truthfulqa_mc2": ({"credit": [1.0, 0.0], "file": "f"}, 0, "probability_mass"),
    "normad": ({"country": "EGY", "context_level": "value"}, 1, "key"),
    "opinionqa": ({"shares": {"all": [0.2, 0.8]}, "n": {"all": 9.5}}, 1, "key"),
    "civics": ({"option_bias": [1, -1], "country": "Germany", "language": "German"}, None, "none"),
    "lamp": ({"reference": "text", "bertscore": "some-model"}, None, "reference"),
    "trait_inference": ({"edges": [30.0], "label": "age", "variable": "AGE+AGE2", "concept": "age"}, None, "key"),
}


def test_every_field_finds_its_column(tmp_path):
    rows = [
        BASE | {"item_id": kind, "kind": kind, "gold_idx": gold, "metadata": json.dumps(facts)}
        for kind, (facts, gold, _) in KINDS.items()
    ]
    path = tmp_path / "items.parquet"
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)
    items = external.items_from(path)
    assert items.schema == ITEMS.schema
    found = {row["kind"]: row for row in items.to_dicts()}
    assert {kind: row["scoring"] for kind, row in found.items()} == {k: scoring for k, (_, _, scoring) in KINDS.items()}
    bbq = found["bbq"]
    assert (bbq["context_condition"], bbq["option_bias"], bbq["sample_item"]) == ("ambig", [1, -1], True)
    assert found["truthfulqa_mc2"]["option_credit"] == [1.0, 0.0]
    assert (found["normad"]["story_country"], found["normad"]["answer_set"]) == ("EGY", "acceptability")
    assert found["opinionqa"]["poll"] == [{"sample": "all", "shares": [0.2, 0.8], "n": 9.5}]
    assert (found["civics"]["answer_set"], found["civics"]["source_country"]) == ("stance", "Germany")
    assert found["civics"]["story_country"] is None
    assert (found["lamp"]["reference"], found["lamp"]["bertscore_model"]) == ("text", "some-model")
    survey = found["trait_inference"]
    assert (survey["bin_edges"], survey["label"], survey["variables"]) == ([30.0], "age", ["AGE", "AGE2"])
