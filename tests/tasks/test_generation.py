"""Protects personalised generation: published files read whole, replies stored and compared, figures at the end."""

import json
import sys
from types import SimpleNamespace

import polars as pl
import pytest

from mpta_pipeline import metrics, personas, tasks
from mpta_pipeline.core.errors import ConfigError, TaskError
from mpta_pipeline.core.study import EstimateRules, TaskConfig
from mpta_pipeline.tasks import text_scores as ts
from mpta_pipeline.tasks.kinds import lamp, prism
from tests.factories import small_survey
from tests.factories.task_tables import answered, made

# --- files in the published structures --------------------------------------------------------------------------------


def lamp_folder(folder, task, rows, split="dev"):
    """rows: (id, input, profile, output) in the structure of LaMP's <split>_questions.json and <split>_outputs.json."""
    folder.mkdir(exist_ok=True)
    questions = [{"id": i, "input": text, "profile": profile} for i, text, profile, _ in rows]
    golds = [{"id": i, "output": output} for i, _, _, output in rows]
    (folder / f"{split}_questions.json").write_text(json.dumps(questions))
    (folder / f"{split}_outputs.json").write_text(json.dumps({"task": task, "golds": golds}))
    return folder


HEADLINES = [
    (
        "310",
        "Generate a headline for the following article: Wolves came back to the valley and farmers are divided.",
        [
            {"id": "1", "title": "Why I love soup", "text": "Soup is warm and cheap."},
            {"id": "2", "title": "Wolves and us", "text": "The wolves of the valley were gone."},
        ],
        "Farmers divided over wolves",
    ),
    ("311", "Generate a headline for the following article: The bridge opens in May.", [], "Bridge opens in May"),
]


def prism_folder(folder):
    """Two conversations of one participant in the structure of conversations.jsonl and survey.jsonl."""
    folder.mkdir(exist_ok=True)

    def conversation(number, kind, prompt, replies):
        models = [
            {"turn": 0, "role": "model", "content": text, "model_name": f"m{i}", "score": score, "if_chosen": chosen,
             "within_turn_id": i}
            for i, (text, score, chosen) in enumerate(replies)
        ]  # fmt: skip
        later = [{"turn": 1, "role": "user", "content": "And then?"}]
        return {
            "conversation_id": f"c{number}", "user_id": "user0", "conversation_type": kind, "opening_prompt": prompt,
            "conversation_turns": 2,
            "conversation_history": [{"turn": 0, "role": "user", "content": prompt}, *models, *later],
        }  # fmt: skip

    rows = [
        conversation(
            0, "values guided", "Is it fine to lie?", [("Never.", 20, False), ("It depends on why.", 90, True)]
        ),
        conversation(1, "unguided", "Name a soup.", [("Minestrone is a soup.", 70, True), ("No.", 1, False)]),
    ]
    (folder / "conversations.jsonl").write_text("\n".join(json.dumps(r) for r in rows) + "\n")
    user = {
        "user_id": "user0", "age": "25-34 years old", "gender": "Female", "self_description": "I cook a lot.",
        "system_string": "Be brief.", "marital_status": "Prefer not to say",
        "religion": {"self_described": "none", "simplified": "No Affiliation"},
        "location": {"reside_country": "Kenya", "birth_country": "Kenya"},
    }  # fmt: skip
    (folder / "survey.jsonl").write_text(json.dumps(user) + "\n")
    return folder


def items(world, kind, path, **options):
    config = TaskConfig(kind=kind, path=path, options=options)
    return tasks.build_items(kind, config, crosswalk=world.crosswalk, respondents=world.people, study=world.study)


# --- LaMP -------------------------------------------------------------------------------------------------------------


def test_lamp_4_is_open_text_after_the_nearest_entries_of_the_profile(world, tmp_path):
    frame = items(world, "lamp", lamp_folder(tmp_path / "l", "LaMP_4", HEADLINES), profile=1)
    first, second = frame.sort("item_id").rows(named=True)
    assert first["item_id"] == "lamp_4_310"
    assert "Wolves and us" in first["context"]
    assert "soup" not in first["context"]
    assert first["options"] == []
    assert first["gold_idx"] is None
    assert first["reference"] == "Farmers divided over wolves"
    assert second["context"] is None


@pytest.mark.parametrize(
    ("task", "output", "options", "place"),
    [
        ("LaMP_1", "[2]", 2, 1),
        ("LaMP_2", "dystopia", 15, 5),
        ("LaMP_2", "travel", 15, 5),
        ("LaMP_3", "5", 5, 4),
    ],
)
def test_lamp_1_to_3_are_answered_by_an_option(world, tmp_path, task, output, options, place):
    profile = [
        {"id": "a", "text": "dull", "score": "2", "title": "T", "abstract": "A", "tag": "comedy", "category": "x"}
    ]
    folder = lamp_folder(tmp_path / "l", task, [("1", "Which one?", profile, output)])
    row = items(world, "lamp", folder).row(0, named=True)
    assert len(row["options"]) == options
    assert row["gold_idx"] == place
    assert row["options"][place] == output
    assert row["ordinal"] == (task == "LaMP_3")


def test_lamp_refuses_what_it_cannot_score(world, tmp_path):
    folder = lamp_folder(tmp_path / "a", "LaMP_3", [("1", "Rate this.", [], "6")])
    with pytest.raises(TaskError, match="'6'"):
        items(world, "lamp", folder)
    with pytest.raises(TaskError, match="LaMP_9"):
        items(world, "lamp", lamp_folder(tmp_path / "b", "LaMP_9", HEADLINES))
    folder = lamp_folder(tmp_path / "c", "LaMP_4", HEADLINES)
    (folder / "dev_outputs.json").write_text(json.dumps({"task": "LaMP_4", "golds": [{"id": "310", "output": "x"}]}))
    with pytest.raises(TaskError, match="'311'"):
        items(world, "lamp", folder)
    (folder / "dev_outputs.json").unlink()
    with pytest.raises(TaskError, match=r"dev_outputs\.json"):
        items(world, "lamp", folder)


def test_the_nearest_entries_are_those_that_share_rare_words():
    texts = ["the sea is blue", "a wolf at the sea", "the sea and the sea"]
    assert lamp.nearest("the wolf", texts, 1) == [1]
    assert lamp.nearest("the wolf", texts, 9) == [0, 1, 2]
    assert lamp.nearest(" ", [" ", " "], 1) == [0]


# --- PRISM ------------------------------------------------------------------------------------------------------------


def test_prism_asks_the_opening_prompt_and_compares_with_the_preferred_reply(world, tmp_path):
    folder = prism_folder(tmp_path / "p")
    frame = items(world, "prism", folder, profile=True).sort("item_id")
    assert frame["question"].to_list() == ["Is it fine to lie?", "Name a soup."]
    assert frame["reference"].to_list() == ["It depends on why.", "Minestrone is a soup."]
    assert frame["category"].to_list() == ["values guided", "unguided"]
    assert frame["cluster_id"].n_unique() == 1  # one participant
    told = frame["context"][0]
    for fact in ("25-34 years old", "Kenya", "I cook a lot.", "Be brief.", "No Affiliation"):
        assert fact in told
    assert "Prefer not" not in told
    assert items(world, "prism", folder)["context"].null_count() == 2


def test_prism_utterances_say_the_same_as_conversations(tmp_path):
    folder = prism_folder(tmp_path / "p")
    whole = prism.opening_turns((folder / "conversations.jsonl",))
    rows = []
    for line in (folder / "conversations.jsonl").read_text().splitlines():
        conversation = json.loads(line)
        turns = conversation["conversation_history"]
        rows += [
            {"utterance_id": f"u{i}", "conversation_id": conversation["conversation_id"], "user_id": "user0",
             "conversation_type": conversation["conversation_type"], "turn": t["turn"],
             "user_prompt": turns[0]["content"], "model_response": t["content"], "score": t["score"],
             "if_chosen": t["if_chosen"]}
            for i, t in enumerate(turns) if t["role"] == "model"
        ]  # fmt: skip
    (folder / "utterances.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert prism.opening_turns((folder / "utterances.jsonl",)).equals(whole)


def test_prism_names_the_file_and_field_that_are_wrong(world, tmp_path):
    folder = prism_folder(tmp_path / "p")
    (folder / "survey.jsonl").rename(tmp_path / "elsewhere.jsonl")
    assert items(world, "prism", folder).height == 2  # the survey is needed for the profile alone
    with pytest.raises(TaskError, match=r"survey\.jsonl"):
        items(world, "prism", folder, profile=True)
    (folder / "conversations.jsonl").write_text('{"conversation_id": "c0"}\n')
    with pytest.raises(TaskError, match="user_id"):
        items(world, "prism", folder)


# --- from prompt to figure --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def headlines(crosswalk, tmp_path_factory):
    folder = lamp_folder(tmp_path_factory.mktemp("lamp") / "l", "LaMP_4", HEADLINES)
    study = small_survey.study(tasks={"headlines": {"kind": "lamp", "path": str(folder)}})
    return made(small_survey.respondents(), crosswalk, study)


def test_a_prompt_of_open_text_offers_no_option_and_is_asked_once(headlines):
    prompts = headlines.prompts["headlines"]
    assert set(prompts["elicitation"]) == {"free_text"}
    assert set(prompts["order_id"]) == {0}
    assert set(prompts["options"].list.len()) == {0}
    assert prompts["gold_idx"].null_count() == prompts.height
    assert prompts.group_by("item_id", "respondent_id", "condition").len()["len"].to_list() == [1] * prompts.height
    assert prompts["user"].str.ends_with("Answer with the text alone, without an explanation.").all()
    assert all(c.passed for c in tasks.check_prompts(prompts))


def test_scores_are_those_of_sacrebleu_and_rouge_score_and_by_hand(headlines):
    """“Farmers divided over wolves” against “Farmers fight over wolves”: 3 of 4 words, in order: ROUGE .75 both."""
    prompts, frame = headlines.prompts["headlines"], headlines.items["headlines"]
    scores = tasks.score(prompts, frame, answered(prompts, " Farmers fight over wolves\n"))
    one = scores.filter(item_id="lamp_4_310").unnest("text_scores").row(0, named=True)
    assert one["status"] == "ok"
    assert one["rouge_1"] == pytest.approx(0.75)
    assert one["rouge_l"] == one["score"] == pytest.approx(0.75)
    assert 0 < one["bleu"] < one["chrf"] < 1
    assert one["k_options"] == 0
    assert one["pred_idx"] is None
    assert one["gold_idx"] is None
    assert one["bertscore"] is None


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("abc def", "abc def", {"chrf": 1.0, "rouge_1": 1.0, "rouge_l": 1.0, "bleu": 1.0}),
        # chrF by hand: precision 1 (2 orders), recall (2/3 + 1/2) / 2, F2 = 5PR / (4P + R) = .6364
        ("ab", "abc", {"chrf": 0.6364, "rouge_1": 0.0, "rouge_l": 0.0}),
        # ROUGE-L follows the order, ROUGE-1 does not: 1 of 2 words in sequence
        ("b a", "a b", {"rouge_1": 1.0, "rouge_l": 0.5}),
        ("x", "abc", {"chrf": 0.0, "rouge_1": 0.0, "rouge_l": 0.0, "bleu": 0.0}),
    ],
)
def test_text_scores_by_hand(text, reference, expected):
    pairs = pl.DataFrame(
        {"text": [text], "reference": [reference], "bertscore_model": [None]},
        schema_overrides={"bertscore_model": pl.String},
    )
    (found,) = ts.text_scores(pairs, task="t")["text_scores"].to_list()
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("reply", "error", "status"),
    [
        ("", None, "unparsed"),
        ("  \n", None, "unparsed"),
        ("I'm sorry, but I can't help with that.", None, "refused"),
        (None, "HTTP 500", "error"),
        ("Bridge opens", None, "ok"),
        ("A long piece. " * 40 + "I cannot help with everything.", None, "ok"),
    ],
)
def test_open_text_that_is_empty_refused_or_failed_has_no_score(headlines, reply, error, status):
    prompts = headlines.prompts["headlines"]
    scores = tasks.score(prompts, headlines.items["headlines"], answered(prompts, reply, error=error))
    assert set(scores["status"]) == {status}
    assert scores["score"].null_count() == (0 if status == "ok" else scores.height)


def test_open_text_ends_in_figures_with_effect_and_baseline_condition(headlines):
    """With the persona the reply is the reference, without it is not; the effect is the difference in ROUGE-L."""
    prompts, frame = headlines.prompts["headlines"], headlines.items["headlines"]
    reference = frame.select("item_id", "reference")
    replies = (
        answered(prompts, "").drop("text").join(prompts.select("prompt_id", "item_id", "condition"), on="prompt_id")
    )
    replies = replies.join(reference, on="item_id").with_columns(
        text=pl.when(pl.col("condition") == "persona").then("reference").otherwise(pl.lit("Bridge wolves"))
    )
    scores = tasks.score(prompts, frame, replies)
    groups = personas.derived_dimensions(headlines.people, ("sex",), headlines.crosswalk)
    figures = metrics.compute_estimates(
        scores, groups, headlines.gold["headlines"], rules=EstimateRules(dimensions=("sex",)), items=frame
    )
    assert {"rouge_l", "rouge_1", "chrf", "bleu", "parse_rate", "refusal_rate", "condescension_rate"} <= set(
        figures["metric"]
    )
    assert not {"accuracy", "bertscore", "accuracy_range"} & set(figures["metric"])
    row = figures.filter(
        survey="alpha", metric="rouge_l", condition="persona", dimensions="all", baseline="", weighted=False
    ).row(0, named=True)
    assert row["estimate"] == pytest.approx(1.0)
    # “Bridge wolves” shares one of two words with each reference of four: F1 = 2 · ½ · ¼ / (½ + ¼) = ⅓
    assert row["effect"] == pytest.approx(1 - 1 / 3)
    assert set(figures.filter(metric="rouge_l", dimensions="sex")["subgroup"]) >= {"male", "female"}
    assert metrics.find_pockets(scores, groups, headlines.gold["headlines"], rules=EstimateRules(), seed=1) is not None
    lead = metrics.headline(figures.with_columns(pl.lit("m").alias("model"))).filter(survey="alpha").row(0, named=True)
    assert lead["persona"] == pytest.approx(1.0)
    assert lead["verdict"].startswith("open text: ROUGE-L")
    other = scores.with_columns(pl.lit("other").alias("model"))
    compared = metrics.compare_models(pl.concat([scores, other]), rules=EstimateRules())
    assert "accuracy" not in set(compared["metric"])
    assert compared.filter(metric="rouge_l").height > 0


def test_without_the_packages_the_task_says_what_to_install(world, tmp_path, monkeypatch):
    folder = lamp_folder(tmp_path / "l", "LaMP_4", HEADLINES)
    find = ts.importlib.util.find_spec
    monkeypatch.setattr(ts.importlib.util, "find_spec", lambda n: None if n == "rouge_score" else find(n))
    with pytest.raises(TaskError, match=r"mpta-pipeline\[generation\]"):
        items(world, "lamp", folder)
    # tasks that are answered by an option need no such package
    assert items(world, "lamp", lamp_folder(tmp_path / "m", "LaMP_3", [("1", "Rate.", [], "3")])).height == 1


def test_bertscore_is_used_where_it_is_asked_for(headlines, tmp_path, world, monkeypatch):
    with pytest.raises(TaskError, match="bert-score"):
        items(world, "lamp", lamp_folder(tmp_path / "l", "LaMP_4", HEADLINES), bertscore="some-model")
    asked = []

    def score(candidates, references, model_type):
        asked.append((model_type, len(candidates)))
        return None, None, [0.5] * len(candidates)

    monkeypatch.setitem(sys.modules, "bert_score", SimpleNamespace(score=score, __spec__=object()))
    frame = items(world, "lamp", tmp_path / "l", bertscore="some-model")
    prompts = headlines.prompts["headlines"]
    scores = tasks.score(prompts, frame, answered(prompts, "Bridge opens"))
    assert set(scores.unnest("text_scores")["bertscore"]) == {0.5}
    assert asked == [("some-model", 2)]  # each pair once


# --- CIVICS -----------------------------------------------------------------------------------------------------------

STATEMENTS = [
    {"ID": 1, "Topic": "Immigration", "Language": "English", "Country": "UK", "Statement": "Borders protect people.",
     "Final Label": "anti-immigration"},
    {"ID": 2, "Topic": "Immigration", "Language": "French (France)", "Statement": "Accueillir est un devoir.",
     "Statement - translated": "To welcome is a duty.", "Consensus Annotation": ["pro-immigration"]},
    {"ID": 3, "Topic": "Surrogacy", "Language": "Italian", "Statement": "Niente.", "Consensus Annotation": ["neutral"]},
]  # fmt: skip


@pytest.mark.parametrize("form", ["list", "lines"])
def test_civics_is_asked_for_a_stance_in_the_statements_language(world, tmp_path, form):
    path = tmp_path / "civics_dataset.json"
    path.write_text(json.dumps(STATEMENTS) if form == "list" else "\n".join(map(json.dumps, STATEMENTS)))
    frame = items(world, "civics", path).sort("item_id")
    assert frame["question"].str.contains("Accueillir est un devoir.", literal=True).sum() == 1
    assert frame["gold_idx"].null_count() == 3
    translated = items(world, "civics", path, translated=True, languages=["French"])
    assert translated["question"].to_list() == ["Do you agree with this statement?\n“To welcome is a duty.”"]


def test_civics_values_are_the_annotators(world, tmp_path):
    path = tmp_path / "civics_dataset.json"
    path.write_text(json.dumps(STATEMENTS))
    frame = items(world, "civics", path, ask="value")
    assert frame.height == 2  # one topic has a single value: nothing to tell apart
    for row in frame.rows(named=True):
        assert [row["options"][row["gold_idx"]]] == row["annotated_values"]
    with pytest.raises(ConfigError, match="mood"):
        items(world, "civics", path, ask="mood")
    path.write_text(json.dumps([{"Topic": "x"}]))
    with pytest.raises(TaskError, match="Statement"):
        items(world, "civics", path)


def test_civics_ends_in_agreement_and_refusals_without_an_accuracy(world, tmp_path):
    path = tmp_path / "civics_dataset.json"
    path.write_text(json.dumps(STATEMENTS))
    few = made(
        world.people, world.crosswalk, small_survey.study(tasks={"civics": {"kind": "civics", "path": str(path)}})
    )
    prompts = few.prompts["civics"]
    assert all(c.passed for c in tasks.check_prompts(prompts))
    scores = tasks.score(prompts, few.items["civics"], answered(prompts, "I agree"))
    assert set(scores["bias"]) == {1.0}
    assert scores["score"].null_count() == scores.height
    groups = personas.derived_dimensions(few.people, ("sex",), few.crosswalk)
    figures = metrics.compute_estimates(
        scores, groups, few.gold["civics"], rules=EstimateRules(dimensions=("sex",)), items=few.items["civics"]
    )
    assert set(figures.filter(metric="civics_agreement", dimensions="all", baseline="")["estimate"]) == {1.0}
    assert {"refusal_rate", "parse_rate", "order_flip_rate"} <= set(figures["metric"])
    assert "accuracy" not in set(figures["metric"])
    assert metrics.find_pockets(scores, groups, few.gold["civics"], rules=EstimateRules(), seed=1).is_empty()
