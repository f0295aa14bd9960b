"""Protects the items: real files read whole, samples named as such, bad files refused with a remedy."""

import json

import polars as pl
import pytest

from mpta_pipeline import tasks
from mpta_pipeline.core.errors import ConfigError, TaskError
from mpta_pipeline.core.study import TaskConfig
from tests.factories import small_survey


def items(crosswalk, people, study=None, **config):
    config = TaskConfig.model_validate(config)
    return tasks.build_items(
        config.kind, config, crosswalk=crosswalk, respondents=people, study=study or small_survey.study()
    )


def test_truthfulqa_2025_is_read_whole(world, benchmarks):
    """790 questions in 37 categories, 425 adversarial: the counts of metrics.md, section 1.1."""
    frame = items(
        world.crosswalk, world.people, kind="truthfulqa_binary", path=str(benchmarks / "truthfulqa" / "TruthfulQA.csv")
    )
    assert frame.height == 790
    assert frame["category"].n_unique() == 37
    types = frame["subcategory"].value_counts()
    assert dict(types.rows()) == {"Adversarial": 425, "Non-Adversarial": 365}
    assert frame["item_file"].unique().to_list() == ["TruthfulQA 2025 (790 questions)"]
    # the answer key is option 0 in about half of the items, not in all
    assert 340 <= (frame["gold_idx"] == 0).sum() <= 450
    source = pl.read_csv(benchmarks / "truthfulqa" / "TruthfulQA.csv", infer_schema=False)
    best = dict(source.select("Question", "Best Answer").rows())
    assert all(best[q] == o[g] for q, o, g in frame.select("question", "options", "gold_idx").rows())


def test_bbq_files_are_read_whole(world, benchmarks):
    """Counts of the paper's Table 3; in every ambiguous item the unknown option is right."""
    frame = items(world.crosswalk, world.people, kind="bbq", path=str(benchmarks / "bbq"))
    counts = dict(frame["category"].value_counts().rows())
    assert counts == {"Age": 3680, "Disability_status": 1556, "Religion": 1200}
    biases = frame["option_bias"].to_list()
    for bias, gold, context in zip(biases, frame["gold_idx"], frame["context_condition"], strict=True):
        assert bias.count(0) == 1
        assert (gold == bias.index(0)) == (context == "ambig")
    # Every item of these categories has one biased and one counter-biased answer, except a few Religion templates.
    assert sum(None not in bias and sorted(bias) == [-1, 0, 1] for bias in biases) >= 0.97 * len(biases)


def test_biased_answer_follows_polarity():
    """Age, template 1: the grandfather is the biased answer to the negative question, the grandson to the other."""
    from mpta_pipeline.tasks.kinds.bbq import option_bias

    row = {
        "answer_info": {"ans0": ["grandfather", "old"], "ans1": ["grandson", "nonOld"], "ans2": ["Unknown", "unknown"]},
        "additional_metadata": {"stereotyped_groups": ["old"]},
    }
    frame = pl.DataFrame([row | {"question_polarity": p} for p in ("neg", "nonneg")])
    bias = frame.select(pl.concat_list(option_bias(f"ans{i}") for i in range(3))).to_series().to_list()
    assert bias == [[1, -1, 0], [-1, 1, 0]]


@pytest.mark.parametrize(
    ("answers", "stereotyped", "bias"),
    [
        ((["poor man", "lowSES"], ["rich man", "highSES"]), ["low SES"], [1, -1]),
        ((["fat", "obese"], ["slim", "nonObese"]), ["obese"], [1, -1]),
        ((["Jamal Parker", "M-Black"], ["Donna Schneider", "F-White"]), ["Black"], [1, -1]),
        ((["the woman", "woman"], ["the man", "man"]), ["F"], [1, -1]),
        ((["the girl", "girl"], ["the boy", "boy"]), ["F", "girl"], [1, -1]),
        ((["wheelchair", "disabled"], ["papers", "nonDisabled"]), ["disabled", "physically disabled"], [1, -1]),
        ((["Fatima", "lowSES-F-Arab"], ["Emily", "highSES-F-White"]), ["Arab", "Middle Eastern"], [1, -1]),
        ((["the transgender woman", "trans_F"], ["the woman", "nonTrans_F"]), ["Transgender women"], [1, -1]),
        ((["Ana", "trans_F"], ["Eva", "nonTrans_F"]), ["trans"], [1, -1]),
        ((["the pregnant one", "pregnant"], ["the other", "notPregnant"]), ["pregnant"], [1, -1]),
        ((["Yemeni", "ArabStates"], ["Irish", "Europe"]), ["Yemeni", "Iraqi"], [1, -1]),
        ((["one", "group one"], ["two", "group two"]), ["three"], [None, None]),
    ],
)
def test_groups_are_known_under_all_their_writings(answers, stereotyped, bias):
    from mpta_pipeline.tasks.kinds.bbq import option_bias

    info = {"ans0": list(answers[0]), "ans1": list(answers[1]), "ans2": ["Unknown", "unknown"]}
    row = {"answer_info": info, "additional_metadata": {"stereotyped_groups": stereotyped}, "question_polarity": "neg"}
    found = pl.DataFrame([row]).select(option_bias(f"ans{i}").alias(str(i)) for i in range(3)).row(0)
    assert list(found) == [*bias, 0]


# One item a category as the files write it: the two groups, the stereotyped ones. The labels are those of the data.
CATEGORIES = {
    "Age": (["grandfather", "old"], ["grandson", "nonOld"], ["old"]),
    "Disability_status": (["D'Shawn", "disabled"], ["Luca", "nonDisabled"], ["disabled", "mentally-ill"]),
    "Gender_identity": (["woman", "woman"], ["man", "man"], ["F"]),
    "Nationality": (["Eritrean", "Africa"], ["Irish", "Europe"], ["Eritrean", "Guinean"]),
    "Physical_appearance": (["fat", "obese"], ["slim", "nonObese"], ["obese"]),
    "Race_ethnicity": (["Jamal", "M-Black"], ["Jake", "M-white"], ["Black", "African American"]),
    "Race_x_SES": (["Shanice", "lowSES-F-Black"], ["Molly", "highSES-F-White"], ["Black"]),
    "Race_x_gender": (["Black woman", "F-Black"], ["White woman", "F-White"], ["Black", "African American"]),
    "Religion": (["Muslim", "Muslim"], ["Christian", "Christian"], ["Muslim"]),
    "SES": (["truck driver", "lowSES"], ["banker", "highSES"], ["low SES"]),
    "Sexual_orientation": (["gay", "gay"], ["straight", "straight"], ["gay"]),
}


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_of_the_eleven_categories_is_read(world, tmp_path, category):
    """Both contexts and polarities: who is biased follows the question, which answer is unknown is seen."""
    one, other, groups = CATEGORIES[category]
    rows = [
        {
            "example_id": i, "question_index": "1", "question_polarity": polarity, "context_condition": context,
            "category": category, "context": f"Context {context}.", "question": f"Who {polarity}?",
            "answer_info": {"ans0": one, "ans1": ["Not known", "unknown"], "ans2": other},
            "additional_metadata": {"subcategory": "None", "stereotyped_groups": groups, "version": "a", "source": ""},
            "ans0": f"The {one[0]}", "ans1": "Not known", "ans2": f"The {other[0]}",
            "label": 1 if context == "ambig" else 0,
        }
        for i, (polarity, context) in enumerate((p, c) for p in ("neg", "nonneg") for c in ("ambig", "disambig"))
    ]  # fmt: skip
    path = tmp_path / f"{category}.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    frame = items(world.crosswalk, world.people, kind="bbq", path=str(path)).sort("item_id")
    assert frame.height == 4
    for item, row in zip(frame.rows(named=True), rows, strict=True):
        assert item["option_bias"] == ([1, 0, -1] if row["question_polarity"] == "neg" else [-1, 0, 1])
        assert item["context_condition"] == row["context_condition"]
        assert item["gold_idx"] == row["label"]
        assert item["category"] == category


def test_the_metadata_file_agrees_with_the_items(world, benchmarks, tmp_path):
    """With BBQ's own target_loc, simulated here from the items, both ways say the same; without a target nothing is."""
    plain = items(world.crosswalk, world.people, kind="bbq", path=str(benchmarks / "bbq" / "Age.jsonl"))
    ids = [i.rsplit("_", 1)[1] for i in plain["item_id"]]
    targets = [bias.index(1) if 1 in bias else None for bias in plain["option_bias"].to_list()]
    lines = [f"Age,{i},{t}" for i, t in zip(ids, targets, strict=True)][:-1]
    path = tmp_path / "additional_metadata.csv"
    path.write_text("category,example_id,target_loc\n" + "\n".join([*lines, f"Age,{ids[-1]},NA"]) + "\n")
    told = items(
        world.crosswalk,
        world.people,
        kind="bbq",
        path=str(benchmarks / "bbq" / "Age.jsonl"),
        options={"metadata": str(path)},
    )
    pairs = list(zip(plain["option_bias"].to_list(), told["option_bias"].to_list(), strict=True))
    assert all(a == b for a, b in pairs[:-1])
    assert sorted(x is None for x in pairs[-1][1]) == [False, True, True]
    with pytest.raises(TaskError, match="target_loc"):
        path.write_text("category,example_id\nAge,1\n")
        items(world.crosswalk, world.people, kind="bbq", path=str(benchmarks / "bbq"), options={"metadata": str(path)})


def test_sample_items_have_the_published_structure_and_are_named_sample(world):
    myths, stereotypes = world.items["sample_myths"], world.items["sample_stereotypes"]
    assert myths.height == stereotypes.height == 24
    assert myths["item_id"].str.starts_with("sample_").all()
    assert stereotypes["item_id"].str.starts_with("sample_").all()
    for frame in (myths, stereotypes):
        assert frame["licence"].str.contains("sample items of this project").all()
        assert frame["sample_item"].all()
    metas = stereotypes.select("option_bias", "context_condition", "question_polarity").to_dicts()
    assert all(sorted(m["option_bias"]) == [-1, 0, 1] for m in metas)
    cells = {
        (c, m["context_condition"], m["question_polarity"])
        for c, m in zip(stereotypes["cluster_id"], metas, strict=True)
    }
    assert len(cells) == 6 * 2 * 2
    # in half of the disambiguated items the key agrees with the stereotype
    agrees = [
        m["option_bias"][g]
        for m, g in zip(metas, stereotypes["gold_idx"], strict=True)
        if m["context_condition"] == "disambig"
    ]
    assert sum(agrees) == 0


def test_a_cap_is_shared_out_among_surveys(world):
    few = items(world.crosswalk, world.people, kind="value_alignment", items=6)
    assert dict(few["codebook"].value_counts().rows()) == {"alpha": 3, "beta": 3}
    more = items(world.crosswalk, world.people, kind="value_alignment", items=8)
    assert set(few["item_id"]) <= set(more["item_id"])
    quarters = items(world.crosswalk, world.people, kind="bbq", items=8)
    assert dict(quarters["context_condition"].value_counts().rows()) == {"ambig": 4, "disambig": 4}


def test_named_columns_are_asked(world):
    some = items(world.crosswalk, world.people, kind="value_alignment", options={"columns": ["god", "trust_beta"]})
    assert sorted(some["item_id"]) == ["god_alpha@alpha", "god_beta@beta", "trust_beta@beta"]


def test_an_absent_file_names_file_address_and_place(world, tmp_path):
    with pytest.raises(TaskError) as raised:
        items(world.crosswalk, world.people, kind="truthfulqa_binary", path=str(tmp_path / "TruthfulQA.csv"))
    message = str(raised.value)
    assert str(tmp_path / "TruthfulQA.csv") in message
    assert "github.com/sylinrl/TruthfulQA" in message
    assert "the other tasks continue" in message
    assert "put it there" in message


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("truthfulqa_binary", "x.csv", "Question,Best Answer\nq,a\n"),
        ("truthfulqa_binary", "x.csv", ""),
        ("truthfulqa_binary", "x.csv", b"\xff\xfe\x00binary"),
        ("bbq", "x.jsonl", '{"question": "q"}\n'),
        ("bbq", "x.jsonl", "<html>not found</html>"),
        ("bbq", "x.jsonl", ""),
    ],
)
def test_a_file_of_another_structure_is_refused(world, tmp_path, kind, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TaskError, match="structure") as raised:
        items(world.crosswalk, world.people, kind=kind, path=str(path))
    assert str(path) in str(raised.value)


def test_unknown_kind_and_option_are_named(world):
    with pytest.raises(ConfigError, match="horoscope"):
        items(world.crosswalk, world.people, kind="horoscope")
    with pytest.raises(ConfigError, match="colums"):
        items(world.crosswalk, world.people, kind="value_alignment", options={"colums": ["god"]})


def test_the_version_of_the_item_file_is_its_content(tmp_path):
    path = tmp_path / "x.csv"
    config = TaskConfig(kind="truthfulqa_binary", path=path)
    assert tasks.item_file_version(config) == "absent"
    path.write_text("a")
    first = tasks.item_file_version(config)
    path.write_text("b")
    assert first != tasks.item_file_version(config) != "absent"
    relative = TaskConfig(kind="truthfulqa_binary", path="x.csv")
    assert tasks.item_file_version(relative, base=tmp_path) == tasks.item_file_version(config)
    assert tasks.item_file_version(TaskConfig(kind="value_alignment")) == "survey"


def test_a_file_that_an_option_names_is_found_beside_the_study_and_its_content_counts(world, tmp_path):
    """BBQ's metadata file: an edit of it makes the items again, and its path counts from the configuration folder."""
    sample = items(world.crosswalk, world.people, kind="bbq")
    config = TaskConfig(kind="bbq", options={"metadata": "told.csv"})
    assert tasks.item_file_version(config, base=tmp_path) != tasks.item_file_version(TaskConfig(kind="bbq"))
    rows = ["category,example_id,target_loc"]
    rows += [",".join(item.removeprefix("sample_").rsplit("_", 1)) + ",0" for item in sample["item_id"]]
    (tmp_path / "told.csv").write_text("\n".join(rows) + "\n")
    first = tasks.item_file_version(config, base=tmp_path)
    made = tasks.build_items(
        "bbq",
        config,
        crosswalk=world.crosswalk,
        respondents=world.people,
        study=small_survey.study(),
        base=tmp_path,
    )
    assert not made["option_bias"].equals(sample["option_bias"])
    (tmp_path / "told.csv").write_text("\n".join(rows[:-1]) + "\n")
    assert tasks.item_file_version(config, base=tmp_path) != first
