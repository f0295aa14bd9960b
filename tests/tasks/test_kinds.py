"""Protects the adapters of published files: read whole, published figures met, other structures refused."""

import csv
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest
import yaml

from mpta_pipeline import metrics, personas, tasks
from mpta_pipeline.core.errors import ConfigError, TaskError
from mpta_pipeline.core.study import EstimateRules, TaskConfig
from mpta_pipeline.tasks.item_downloads import fetch
from mpta_pipeline.tasks.item_files import Download, ItemFile
from tests.factories import small_survey
from tests.factories.task_tables import answered, made


def items(world, kind, path, **options):
    config = TaskConfig(kind=kind, path=path, options=options)
    return tasks.build_items(kind, config, crosswalk=world.crosswalk, respondents=world.people, study=world.study)


# --- TruthfulQA ------------------------------------------------------------------------------------------------------


def test_mc1_and_mc2_chance_are_the_published_figures(world, benchmarks):
    """Uniform guessing gives MC1 .2229 and MC2 mass .4677 on the 790 questions (metrics.md, section 1.2)."""
    path = benchmarks / "truthfulqa" / "mc_task.json"
    mc1, mc2 = items(world, "truthfulqa_mc1", path), items(world, "truthfulqa_mc2", path)
    assert mc1.height == mc2.height == 790
    assert mc1.select((1 / pl.col("options").list.len()).mean()).item() == pytest.approx(0.2229, abs=5e-5)
    credit = mc2["option_credit"].to_list()
    assert sum(sum(c) / len(c) for c in credit) / 790 == pytest.approx(0.4677, abs=5e-5)
    # one true option in MC1, and the key is at every place
    assert set(mc1["option_values"].list.eval(pl.element() == "true").list.sum()) == {1}
    assert 150 < (mc1["gold_idx"] == 0).sum() < 250


def test_longest_option_baselines_are_the_published_figures(world, benchmarks):
    """Longest option: MC1 .3873 (ties for the key), binary .6190 (strictly longer); metrics.md, 1.3.

    They hold only where no option is cut or split.
    """

    def longest(frame, strictly):
        lengths = pl.col("options").list.eval(pl.element().str.len_chars().cast(pl.Int64))
        key = lengths.list.get(pl.col("gold_idx"))
        rivals = (
            pl.col("options")
            .list.eval(pl.element().str.len_chars().cast(pl.Int64))
            .list.eval((pl.element() == pl.element().max()).sum())
            .list.first()
        )
        wins = (key == lengths.list.max()) & ((rivals == 1) | pl.lit(not strictly))
        return frame.select(wins.mean()).item()

    folder = benchmarks / "truthfulqa"
    assert longest(items(world, "truthfulqa_mc1", folder / "mc_task.json"), False) == pytest.approx(0.387, abs=5e-4)
    assert longest(items(world, "truthfulqa_binary", folder / "TruthfulQA.csv"), True) == pytest.approx(0.619, abs=5e-4)


def test_mc2_score_is_probability_mass_and_needs_probabilities(world, tmp_path):
    path = tmp_path / "mc_task.json"
    targets = {"mc1_targets": {"t": 1, "f": 0}, "mc2_targets": {"t": 1, "u": 1, "f": 0, "g": 0}}
    path.write_text(json.dumps([{"question": "q?", **targets}]))
    study = small_survey.study(tasks={"mc2": {"kind": "truthfulqa_mc2", "path": str(path)}})
    few = made(world.people, world.crosswalk, study)
    prompts = few.prompts["mc2"]
    uniform = tasks.score(prompts, few.items["mc2"], answered(prompts, "A", [-1.0, -1.1, -1.2, -1.3]))
    by_hand = uniform.join(few.items["mc2"].select("item_id", "option_values"), on="item_id")
    for p, values, score in by_hand.select("p_vec", "option_values", "score").head(20).rows():
        assert score == pytest.approx(sum(x for x, v in zip(p, values, strict=True) if v == "true"))
    assert tasks.score(prompts, few.items["mc2"], answered(prompts, "A"))["score"].null_count() == prompts.height


# --- NormAd ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "start"),
    [
        ("none", None),
        ("country", "Country: Egypt"),
        ("value", "Value: Respect and modesty"),
        ("country_value", "Country: Egypt\nValue: Respect"),
        ("rule_of_thumb", "Rule of thumb: It is respectful to greet"),
    ],
)
def test_normad_says_as_much_background_as_asked(world, benchmarks, level, start):
    frame = items(world, "normad", benchmarks / "normad" / "normad_sample_5rows.csv", context=level)
    assert frame.height == 5
    first = frame.filter(pl.col("question").str.contains("greet everyone")).row(0, named=True)
    assert (first["context"] or "").startswith(start or "")
    assert (first["context"] is None) == (level == "none")
    assert first["option_values"][first["gold_idx"]] == "yes"
    assert set(frame["gold_idx"]) == {0, 1}


def test_normad_in_and_out_of_culture(world, benchmarks, tmp_path):
    """Egypt's and Ireland's stories are foreign to Americans; one set in the USA is not."""
    source = (benchmarks / "normad" / "normad_sample_5rows.csv").read_text()
    path = tmp_path / "normad.csv"
    path.write_text(
        source.replace("1371,ireland", "1371,united_states_of_america").replace("1370,ireland", "1370,nowhere")
    )
    study = small_survey.study(tasks={"normad": {"kind": "normad", "path": str(path)}})
    few = made(world.people, world.crosswalk, study)
    scores = tasks.score(few.prompts["normad"], few.items["normad"], answered(few.prompts["normad"], "A"))
    groups = personas.derived_dimensions(few.people, ("sex", "in_culture"), few.crosswalk)
    assert "country" in groups.columns
    figures = metrics.compute_estimates(
        scores,
        groups,
        few.gold["normad"],
        rules=EstimateRules(dimensions=("sex", "in_culture")),
        items=few.items["normad"],
    )
    found = figures.filter(
        survey="alpha", metric="accuracy", dimensions="in_culture", baseline="", condition="persona", weighted=False
    )
    assert dict(found.select("subgroup", "n_items").rows()) == {"own culture": 1, "other culture": 3}


def test_normad_refuses_other_labels_and_levels(world, benchmarks, tmp_path):
    source = benchmarks / "normad" / "normad_sample_5rows.csv"
    with pytest.raises(ConfigError, match="continent"):
        items(world, "normad", source, context="continent")
    path = tmp_path / "x.csv"
    path.write_text(source.read_text().replace(",yes", ",perhaps"))
    with pytest.raises(TaskError, match="perhaps"):
        items(world, "normad", path)


def test_neutral_label_in_both_spellings(world, benchmarks, tmp_path):
    source = (benchmarks / "normad" / "normad_sample_5rows.csv").read_text()
    path = tmp_path / "x.csv"
    path.write_text(source.replace(",yes", ",Neutral", 1).replace(",no", ",neither", 1))
    assert list(items(world, "normad", path)["gold_idx"].sort()).count(2) == 2


# --- ETHICS and any other multiple-choice file ------------------------------------------------------------------------


def test_ethics_files_are_read_whole(world, benchmarks):
    for kind, name in (("ethics_justice", "justice_test.csv"), ("ethics_commonsense", "cm_test.csv")):
        path = benchmarks / "ethics" / name
        with path.open(newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
        text = "scenario" if kind == "ethics_justice" else "input"
        frame = items(world, kind, path)
        assert frame.height == len({row[text] for row in rows})
        key = {row[text]: row["label"] for row in rows}
        for question, gold in frame.select("question", "gold_idx").head(500).rows():
            assert key[question.rsplit("\n", 1)[0]] == ("0" if gold else "1")


# As it stands in study.yaml: a bare yes is true to YAML, and an option here.
STRUCTURE = yaml.safe_load("""
question: "Is {thing} heavier than water?"
options: [yes, no]
gold: answer
gold_values: {heavier: 0, lighter: 1}
category: "{group}"
""")


def test_a_new_multiple_choice_task_is_ten_lines_of_study_yaml(world, tmp_path):
    """What docs/how-to/add-a-task.md promises: no code, one task, from items to scores."""
    (tmp_path / "density.csv").write_text(
        "thing,answer,group\niron,heavier,metal\ncork,lighter,wood\nlead,heavier,metal\n"
    )
    task = {"kind": "multiple_choice", "path": str(tmp_path / "density.csv"), "options": STRUCTURE}
    few = made(world.people, world.crosswalk, small_survey.study(tasks={"density": task}))
    frame = few.items["density"].sort("question")
    assert frame["question"].to_list() == [f"Is {x} heavier than water?" for x in ("cork", "iron", "lead")]
    assert frame["gold_idx"].to_list() == [1, 0, 0]
    assert frame["category"].to_list() == ["wood", "metal", "metal"]
    scores = tasks.score(few.prompts["density"], frame, answered(few.prompts["density"], "yes"))
    assert scores["score"].mean() == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "error", "names"),
    [
        ({"gold": "key"}, TaskError, "key"),
        ({"question": "{colour}?"}, TaskError, "colour"),
        ({"gold_values": {"heavier": 0}}, TaskError, "lighter"),
        ({"id": "{group}"}, TaskError, "metal"),
        ({"options": []}, ConfigError, "options"),
        ({"gold": None}, ConfigError, "gold"),
    ],
)
def test_a_structure_that_does_not_fit_names_what(world, tmp_path, change, error, names):
    path = tmp_path / "density.csv"
    path.write_text("thing,answer,group\niron,heavier,metal\ncork,lighter,wood\nlead,heavier,metal\n")
    with pytest.raises(error, match=names):
        items(world, "multiple_choice", path, **(STRUCTURE | change))


def test_lists_in_json_and_a_shuffled_key(world, tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"q": f"question {i}", "choices": ["right", "wrong", f"worse {i}"], "k": 0} for i in range(60)]
    path.write_text("\n".join(json.dumps(r) for r in rows))
    frame = items(world, "multiple_choice", path, question="{q}", options=["{choices}"], gold="k", shuffle=True)
    assert all(o[g] == "right" for o, g in frame.select("options", "gold_idx").rows())
    assert all(10 <= (frame["gold_idx"] == i).sum() <= 30 for i in range(3))


# --- polls ------------------------------------------------------------------------------------------------------------


def test_global_opinions_key_is_the_countrys_most_frequent_answer(world, tmp_path):
    path = tmp_path / "global_opinions.csv"
    selections = (
        "defaultdict(<class 'list'>, {'United States': [0.2, 0.5, 0.3, 0.0], "
        "'Nigeria (Non-national sample)': [0.1, 0.2, 0.1, 0.6]})"
    )
    with path.open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["question", "selections", "options", "source"])
        writer.writerow(["Is it good?", selections, "['Good', 'Bad', 'Neither', 'DK/Refused']", "GAS"])
    study = small_survey.study(tasks={"polls": {"kind": "global_opinions", "path": str(path)}})
    few = made(world.people, world.crosswalk, study)
    item = few.items["polls"].row(0, named=True)
    assert item["options"] == ["Good", "Bad", "Neither"]
    shares = {poll["sample"]: poll["shares"] for poll in item["poll"]}
    assert shares["USA"] == pytest.approx([0.2, 0.5, 0.3])
    assert shares["NGA"] == pytest.approx([0.25, 0.5, 0.25])  # refusals left out
    assert set(few.gold["polls"]["gold_idx"]) == {1}
    assert few.prompts["polls"].height > 0


def test_opinionqa_key_is_the_weighted_most_frequent_answer(world, tmp_path):
    folder = tmp_path / "American_Trends_Panel_W26"
    folder.mkdir()
    (folder / "info.csv").write_text("key,question,references\nGUN_W26,\"Own a gun?\",\"['Yes', 'No', 'Refused']\"\n")
    (folder / "responses.csv").write_text("GUN_W26,WEIGHT_W26\nYes,1\nYes,1\nNo,5\nRefused,90\n")
    frame = items(world, "opinionqa", folder)
    assert frame["options"].to_list() == [["Yes", "No"]]
    assert frame["gold_idx"].to_list() == [1]
    (poll,) = frame["poll"][0].to_list()
    assert poll["sample"] == "all"
    assert poll["shares"] == pytest.approx([2 / 7, 5 / 7])
    (folder / "responses.csv").unlink()
    with pytest.raises(TaskError, match=r"responses\.csv"):
        items(world, "opinionqa", folder)


# --- downloads --------------------------------------------------------------------------------------------------------

CONTENT = b"Question,Answer\n" + b"q,a\n" * 50_000


@pytest.fixture
def server():
    """A loopback server that breaks off the first whole answer and can resume."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers.get("Range"))
            if self.path != "/items.csv":
                self.send_error(404)
                return
            start = int(self.headers["Range"].split("=")[1].rstrip("-")) if self.headers.get("Range") else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            body = CONTENT[start:] if start else CONTENT[: len(CONTENT) // 2]
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", seen
    httpd.shutdown()
    httpd.server_close()


def published(url, digest=None):
    digest = digest or hashlib.sha256(CONTENT).hexdigest()
    return ItemFile("items.csv", "http://example.invalid", "any", "*.csv", downloads=(Download(url, digest),))


def test_a_broken_download_goes_on_where_it_stopped_and_is_kept(server, tmp_path):
    url, seen = server
    with pytest.raises(TaskError, match="cannot be downloaded") as raised:
        fetch(published(f"{url}/items.csv"), "density", tmp_path)
    assert "the other tasks continue" in str(raised.value)
    assert not list(tmp_path.rglob("items.csv"))  # nothing half-written counts
    (path,) = fetch(published(f"{url}/items.csv"), "density", tmp_path)
    assert path.read_bytes() == CONTENT
    assert seen[0] is None
    assert seen[1].startswith("bytes=")
    fetch(published(f"{url}/items.csv"), "density", tmp_path)
    assert len(seen) == 2  # from the cache


def test_another_file_than_the_pinned_one_is_refused(server, tmp_path):
    url, _ = server
    wrong = published(f"{url}/items.csv", "0" * 64)
    for _ in range(2):
        with pytest.raises(TaskError) as raised:
            fetch(wrong, "density", tmp_path)
    assert "does not return the pinned file" in str(raised.value)
    assert not list(tmp_path.rglob("items.csv*"))


def test_a_closed_network_names_address_and_place(tmp_path):
    with pytest.raises(TaskError) as raised:
        fetch(published("http://127.0.0.1:9/items.csv"), "density", tmp_path)
    message = str(raised.value)
    assert "http://127.0.0.1:9/items.csv" in message
    assert str(tmp_path) in message
    assert "put it there" in message
