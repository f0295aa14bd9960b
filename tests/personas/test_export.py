"""Protects the export: nothing leaves against its policy, the formats are what their readers expect."""

import json
import re

import polars as pl
import pytest
import yaml

from mpta_pipeline.core.errors import ConfigError, PolicyError
from mpta_pipeline.personas.export import export_personas


def test_reference_json_has_the_references_keys(frame, tmp_path):
    done = export_personas(frame, tmp_path, format="reference_json", questions={"sex": "What is your sex?"})
    records = json.loads(done.files[0].read_text())
    assert len(records) == done.personas == frame.height
    traits = dict(frame.select("respondent_id", "traits").iter_rows())
    for record in records[:20]:
        assert set(record) == {"id", "data"}
        assert all(
            set(d) == {"question_id", "question", "answer_value", "use_case", "category"} for d in record["data"]
        )
        assert [d["answer_value"] for d in record["data"]] == [t["answer"] for t in traits[record["id"]]]
        assert {d["use_case"] for d in record["data"]} <= {"demographic", "value"}
        assert all(d["question_id"] for d in record["data"])
        assert next(d["question"] for d in record["data"] if d["question_id"] == "SEX") == "What is your sex?"


def test_huggingface_layout_with_card_and_a_licence_for_each_trait(frame, tmp_path):
    export_personas(frame, tmp_path)
    table = pl.read_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    assert table.height == frame.height
    traits = table.select("traits").explode("traits").unnest("traits")
    assert set(traits["licence"]) == {"invented"}
    assert traits.height == frame["n_traits"].sum()
    assert table["text"].str.starts_with("Consider this person.").all()
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\n")
    for release in frame["release_id"].unique():
        assert release in card
    assert "k-anonymity" in card
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["license"], head["license_name"], head["license_link"]) == ("other", "terms-of-the-surveys", "LICENSE")
    (config,) = head["configs"]
    assert list(tmp_path.glob(config["data_files"])) == [tmp_path / "data" / "train-00000-of-00001.parquet"]
    assert set(re.findall(r"`(\w+)`", card)) >= set(table.columns)
    assert "invented" in (tmp_path / "LICENSE").read_text()


def test_a_source_that_may_not_leave_is_left_out_and_named(frame, tmp_path):
    closed = frame.with_columns(
        pl.when(pl.col("survey") == "beta").then(pl.lit("local_only")).otherwise("data_use").alias("data_use")
    )
    done = export_personas(closed, tmp_path)
    assert set(done.left_out) == {"beta"}
    assert "may not leave" in done.left_out["beta"]
    written = pl.read_parquet(done.files[0])
    assert set(written["survey"]) == {"alpha"}
    assert "beta" not in (tmp_path / "README.md").read_text()
    with pytest.raises(PolicyError, match="beta"):
        export_personas(closed.filter(survey="beta"), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_minimum_of_anonymity(frame, tmp_path):
    done = export_personas(frame.with_columns(pl.int_range(1, pl.len() + 1).alias("k_anonymity")), tmp_path, min_k=100)
    assert done.personas == frame.height - 99
    with pytest.raises(PolicyError):
        export_personas(frame, tmp_path, min_k=10_000)


def test_an_unknown_format_is_named(frame, tmp_path):
    with pytest.raises(ConfigError, match="xlsx"):
        export_personas(frame, tmp_path, format="xlsx")
