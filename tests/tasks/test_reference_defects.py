"""Each of the sixteen defects of the reference has a test, named after it, that its behaviour fails.

What stands behind them is tested in detail where it lives; here is one look at each.
"""

import re
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest

from mpta_pipeline import inference, metrics, personas, tasks
from mpta_pipeline.cli import app
from mpta_pipeline.core.countries import country_code
from mpta_pipeline.core.study import EstimateRules, TaskConfig
from mpta_pipeline.core.tables import MISSING_KINDS
from mpta_pipeline.inference import http_client
from mpta_pipeline.inference.option_logprobs import sum_of_echo, sum_of_prompt
from mpta_pipeline.inference.provider_errors import ProviderError
from mpta_pipeline.personas.controls import MEANING
from mpta_pipeline.tasks.item_files import SAMPLES
from tests.factories import small_survey
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import Answer, Server, chat
from tests.factories.scores import world as invented_scores
from tests.factories.task_tables import answered, made

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["sample_myths", "value_alignment", "trait_inference", "sample_stereotypes"])
def test_defect_01_gold_is_not_always_first_and_always_a_is_at_chance(world, name):
    prompts = world.prompts[name]
    positions = prompts["gold_pos"].value_counts(normalize=True)
    assert positions["proportion"].max() < 0.6
    scores = tasks.score(prompts, world.items[name], answered(prompts, "A"))
    assert scores["score"].mean() == pytest.approx(scores.select((1 / pl.col("k_options")).mean()).item())


@pytest.mark.parametrize("response", ["I cannot answer that.", "???", "", None])
def test_defect_01_a_refused_or_unreadable_reply_is_no_option(world, response):
    prompts = world.prompts["sample_myths"]
    scores = tasks.score(prompts, world.items["sample_myths"], answered(prompts, response))
    assert scores["pred_idx"].null_count() == scores["score"].null_count() == scores.height


def test_defect_02_options_are_never_split_at_commas(world, benchmarks, crosswalk):
    """Every option of the 790 questions is a whole answer of the file."""
    path = benchmarks / "truthfulqa" / "TruthfulQA.csv"
    config = TaskConfig(kind="truthfulqa_binary", path=path)
    items = tasks.build_items("t", config, crosswalk=crosswalk, respondents=world.people, study=world.study)
    source = pl.read_csv(path, infer_schema=False)
    whole = set(source["Best Answer"]) | set(source["Best Incorrect Answer"])
    shown = set(items["options"].explode())
    assert shown <= whole
    assert any("," in option for option in shown)


def test_defect_02_nor_in_our_own_items(world):
    source = pl.read_csv(SAMPLES / "sample_myths.csv", infer_schema=False)
    shown = set(world.items["sample_myths"]["options"].explode())
    assert shown == set(source["Best Answer"]) | set(source["Best Incorrect Answer"])
    assert any(", " in option for option in shown)


def test_defect_03_an_option_is_never_scored_on_no_token():
    """Its single-token options were scored on nothing, all alike; here that is an error, and one token is counted."""
    prompt = "Is it?\nAnswer: "
    tokens = [None, *({"7": {"logprob": -9.0}} for _ in range(4))]
    with pytest.raises(ProviderError, match="no tokens"):
        sum_of_prompt({"prompt_logprobs": tokens}, before=len(tokens), option="yes")
    one = [*tokens, {"3": {"logprob": -1.25}}]
    assert sum_of_prompt({"prompt_logprobs": one}, before=len(tokens), option="yes") == -1.25

    def echoed(pieces, values):
        offsets = [sum(map(len, pieces[:i])) for i in range(len(pieces))]
        logprobs = {"tokens": pieces, "text_offset": offsets, "token_logprobs": values}
        return {"choices": [{"text": "".join(pieces), "logprobs": logprobs}]}

    # The token " yes" begins before the option does: joining texts without care for the boundary loses it.
    joined = echoed(["Is it?\nAnswer:", " yes"], [None, -0.5])
    assert sum_of_echo(joined, prompt, "yes") == -0.5
    with pytest.raises(ProviderError):
        sum_of_echo(echoed([prompt], [None]), prompt, "yes")


def test_defect_04_every_elicitation_sees_the_options(world, crosswalk):
    for elicitation in ("letter", "option_logprob", "verbalized", "free_text"):
        study = small_survey.study(tasks={"sample_myths": {"kind": "truthfulqa_binary", "elicitation": elicitation}})
        prompts = made(world.people, crosswalk, study).prompts["sample_myths"]
        seen = prompts.select(pl.col("user").str.contains(pl.col("options").list.first(), literal=True)).to_series()
        assert seen.all()
        assert set(prompts["elicitation"]) == {elicitation}


def test_defect_05_bbq_says_which_way_an_answer_leans(world):
    prompts, items = world.prompts["sample_stereotypes"], world.items["sample_stereotypes"]
    told = items.select("context_condition", "question_polarity", "option_bias")
    assert sum(told.null_count().row(0)) == 0
    assert all(sorted(bias) == [-1, 0, 1] for bias in told["option_bias"])
    assert tasks.score(prompts, items, answered(prompts, "A"))["bias"].null_count() == 0


def test_defect_06_the_answer_key_depends_on_the_persona(world):
    for name in ("value_alignment", "trait_inference"):
        keys = world.prompts[name].group_by("item_id").agg(pl.col("gold_idx").n_unique())
        assert keys["gold_idx"].min() >= 2


def test_defect_07_there_is_a_control_for_everything_but_the_persons_own_traits():
    assert {"no_persona", "demographics_only", "shuffled_country", "shuffled_any", "placebo"} < set(MEANING)
    assert {f"without_{d}" for d in ("demographic", "belief", "value", "attitude")} < set(MEANING)
    assert personas.PARAPHRASES >= 3


def test_defect_08_points_are_told_with_their_scale(world):
    texts = personas.render(world.personas)
    told = texts.str.extract_all(r"place yourself at [^.]*")
    assert told.list.len().sum() > 50
    assert told.explode().drop_nulls().str.contains("on a scale from 1").all()


def test_defect_09_no_missing_answer_reaches_a_persona(world):
    """Not one of the missing kinds, whatever it is called, and not the code that stands for it."""
    traits = world.personas.select("traits").explode("traits").unnest("traits")
    assert not traits["value"].is_in(list(MISSING_KINDS)).any()
    assert "-1" not in set(traits["code"])
    answered_ = sum(
        world.people.filter(codebook=d)[c].is_not_null().sum()
        for d, c in traits.join(world.personas.select("codebook").unique(), how="cross")
        .select("codebook", "column")
        .unique()
        .rows()
        if c in world.people.columns
    )
    assert traits.height <= answered_


def test_defect_10_countries_are_never_matched_by_part_of_their_name():
    assert country_code("US") == "USA"
    for other in ("Australia", "Austria", "Belarus", "Cyprus", "Russia"):
        assert country_code(other) not in (None, "USA")
    assert country_code("rus sia") is None


def test_defect_11_the_answer_asked_for_is_not_in_the_prompt(world):
    for row in world.prompts["value_alignment"].filter(condition="persona").sample(200, seed=1).to_dicts():
        person = world.personas.filter(respondent_id=row["shown_respondent_id"]).row(0, named=True)
        column = row["item_id"].split("@")[0]
        hidden = [t for t in person["traits"] if t["column"] == column]
        assert all(t["statement"] not in row["system"] for t in hidden)


def test_defect_12_every_model_sees_the_same_people_and_the_baseline_the_same_options(world):
    """Prompts know no model; the twin without persona shows the same options in the same order."""
    prompts = world.prompts["sample_myths"]
    assert "model" not in prompts.columns
    shown = prompts.group_by("item_id", "respondent_id", "order_id").agg(
        pl.col("user").n_unique(), pl.col("condition").n_unique().alias("conditions")
    )
    assert set(shown["user"]) == {1}
    assert set(shown["conditions"]) == {3}


def test_defect_13_every_figure_has_weight_interval_pairing_clusters_and_size_and_no_group_is_left_out():
    scores, groups, gold = invented_scores(personas=80, items=10, weights=True, persona_sd=0.5, seed=3)
    rules = EstimateRules(dimensions=("sex", "age_band"), min_personas=30)
    figures = metrics.compute_estimates(scores, groups, gold, rules=rules)
    cut = figures.filter(metric="accuracy", condition="persona", baseline="", dimensions="age_band")
    assert set(cut["weighted"]) == {True, False}
    assert set(cut["subgroup"]) == {f"age_band{i}" for i in range(4)}  # the worst beside the best
    assert (
        cut.select("se", "ci_low", "ci_high", "n_personas", "n_eff", "effect", "effect_se")
        .null_count()
        .sum_horizontal()[0]
        == 0
    )
    assert cut["method"].str.contains("two-way clustered").all()
    assert (cut["q_value"] >= cut["p_value"]).all()
    assert cut["small"].all()  # 20 of 80 personas a cell, 30 are the study's minimum
    # every person's answers with persona are compared with the same items' answers without
    pairs = scores.group_by("respondent_id", "item_id", "order_id").agg(pl.col("condition").n_unique())
    assert set(pairs["condition"]) == {2}


def test_defect_14_the_most_frequent_answer_stands_beside_each_figure():
    """A model that always gives the most frequent answer is at the baseline, and the headline says no more of it."""
    scores, groups, gold = invented_scores(personas=60, items=8, respondents=2000, seed=5)
    mode = gold.group_by("item_id", "gold_idx").len().sort("len", descending=True).unique("item_id", keep="first")
    constant = scores.join(mode.select("item_id", pl.col("gold_idx").alias("mode")), on="item_id").with_columns(
        pl.col("mode").alias("pred_idx"), (pl.col("mode") == pl.col("gold_idx")).cast(pl.Float64).alias("score")
    )
    figures = metrics.compute_estimates(constant.drop("mode"), groups, gold, rules=EstimateRules(dimensions=("sex",)))
    row = figures.filter(metric="accuracy", condition="persona", dimensions="all", baseline="item_mode", weighted=False)
    # the baseline knows the others' answers alone, the model here its own person's too
    assert row["baseline_estimate"][0] == pytest.approx(row["estimate"][0], abs=0.03)
    verdict = metrics.headline(figures)["verdict"][0]
    assert not verdict.startswith("better than always giving the most frequent answer")


def test_defect_15_an_error_loses_nothing_and_is_tried_again(tmp_path, monkeypatch):
    """It wrote once, at the end. Here each answer is on disk before it counts; only what failed is asked again."""
    monkeypatch.setattr(http_client, "FIRST_WAIT", 0.01)
    server = Server()
    server.decide = lambda r: (
        Answer(500, {"error": "x"}) if "bad" in r.text and not server.phase.value else Answer(body=chat("A"))
    )
    prompts = make_prompts([f"question {i}" for i in range(19)] + ["a bad question"])
    with server.running():
        spec = make_spec(server.url, attempts=2)
        inference.send_requests(spec, prompts, tmp_path)
        first = inference.responses(spec, prompts, tmp_path)
        assert first.filter(pl.col("text") == "A").height == 19
        before = len(server.log)
        server.phase.value = 1
        inference.send_requests(spec, prompts, tmp_path, retry_errors=True)
        again = inference.responses(spec, prompts, tmp_path)
        assert again.filter(pl.col("text") == "A").height == 20
        assert [r.text for r in server.log[before:]] == ["a bad question"]


KEYS = re.compile(
    rb"sk-[A-Za-z0-9]{20,}|sk-(?:ant|proj)-[A-Za-z0-9_-]{20,}|AIza[0-9A-Za-z_-]{35}|hf_[A-Za-z0-9]{30,}|gh[po]_[A-Za-z0-9]{30,}"
)


def test_defect_16_no_key_is_committed_and_every_documented_command_exists():
    git = shutil.which("git")
    listed = git and subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout
    if not listed:
        pytest.skip("this is no git checkout: what is committed cannot be listed")
    files = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    assert [f.name for f in files if f.is_file() and KEYS.search(f.read_bytes())] == []
    assert len([f for f in files if f.name.startswith("test_")]) > 50
    commands = {c.name or c.callback.__name__ for c in app.registered_commands}
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        named = set(re.findall(r"(?:^|`|&& )mpta ([a-z]+)", document.read_text(encoding="utf-8"), re.MULTILINE))
        assert named <= commands, named - commands
    assert {"demo", "run", "plan", "surveys", "models", "trace", "export", "ui"} <= commands
