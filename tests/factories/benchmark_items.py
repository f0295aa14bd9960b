"""Items of benchmarks: from rows that a test writes, and from BBQ's own rows."""

import json

import polars as pl

from mpta_pipeline.core.tables import ITEMS


def make_items(rows):
    """ITEMS from rows that name what differs from an unordered BBQ item."""
    blank = {
        "codebook": None, "context": None, "option_scores": None, "column": None, "reveals": [], "licence": "test",
        "scoring": "key", "sample_item": False,
    }  # fmt: skip
    return ITEMS.conform(
        pl.DataFrame(
            [
                {"task": "bbq", "kind": "bbq", "ordinal": False, "option_values": r["options"], **blank, **r}
                for r in rows
            ],
            infer_schema_length=None,
        )
    )


def bbq_items(files):
    """BBQ's rows, with the bias of each option by the rule of metrics.md 2.1."""
    out = []
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            stereotyped = {s.lower() for s in row["additional_metadata"]["stereotyped_groups"]}
            bias = []
            for i in range(3):
                group = {t.lower() for t in row["answer_info"][f"ans{i}"]}
                hit = bool(group & stereotyped) != (row["question_polarity"] == "nonneg")
                bias.append(0 if "unknown" in group else (1 if hit else -1))
            out.append(
                {
                    "item_id": f"{row['category']}_{row['example_id']}",
                    "cluster_id": f"{row['category']}|{row['question_index']}",
                    "category": row["category"],
                    "question": row["question"],
                    "options": [row[f"ans{i}"] for i in range(3)],
                    "gold_idx": row["label"],
                    "context_condition": row["context_condition"],
                    "option_bias": bias,
                }
            )
    return make_items(out)
