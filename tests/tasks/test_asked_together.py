"""Protects several questions in one request: who shares one, one text and one hash for all, and each one's answer."""

import polars as pl
import pytest
from pydantic import ValidationError

from mpta_pipeline import inference, tasks
from mpta_pipeline.core.errors import ConfigError, TaskError
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.tasks import asked_together
from mpta_pipeline.tasks.prompts import plan_prompts
from tests.factories import small_survey
from tests.factories.task_tables import answered, made

NAME = "value_alignment"
CONDITIONS = ("persona", "shuffled_any", "no_persona")


def world_of(**config):
    study = small_survey.study(tasks={NAME: {"kind": NAME} | config}, conditions=CONDITIONS)
    return made(small_survey.respondents(), small_survey.crosswalk(), study)


@pytest.fixture(scope="module")
def one_by_one():
    return world_of()


@pytest.fixture(scope="module")
def together():
    return world_of(batch_items=3)


@pytest.fixture(scope="module")
def prompts(together):
    return together.prompts[NAME]


REQUEST = ["respondent_id", "condition", "content_hash"]


def test_each_item_is_asked_once_in_each_of_its_orders(one_by_one, prompts):
    cell = ["item_id", "respondent_id", "condition", "order_id", "option_order", "options", "gold_idx", "gold_pos"]
    assert prompts.select(cell).sort(cell[:4]).equals(one_by_one.prompts[NAME].select(cell).sort(cell[:4]))
    assert prompts["prompt_id"].is_unique().all()


def test_a_request_has_one_text_and_each_question_a_line(prompts):
    asked = prompts.drop_nulls("asked_together")
    requests = asked.group_by(REQUEST).agg(
        pl.col("line").sort(), pl.col("item_id").n_unique().alias("items"), pl.col("asked_together").unique(),
        pl.col("user", "system", "elicitation", "order_id", "data_use").n_unique(),
    )  # fmt: skip
    assert requests["items"].max() == 3 and requests["items"].min() == 2
    assert (requests["line"].list.len() == requests["items"]).all()
    assert (requests["asked_together"].list.first() == requests["items"]).all()
    assert (requests["line"].list.last() == requests["items"]).all()
    assert set(requests.select("user", "system", "elicitation", "order_id", "data_use").unique().row(0)) == {1}
    first = asked.filter(line=1).row(0, named=True)
    assert first["user"].startswith("1. ") and first["user"].endswith(f"\n\n{asked_together.ASK}")
    assert "one option only" not in first["user"], "each question's own request is gone"
    shown = "\n".join(f"{letter}) {text}" for letter, text in zip("ABCDEFGHIJ", first["options"], strict=False))
    assert shown in first["user"]
    alone = prompts.filter(pl.col("asked_together").is_null())
    assert set(alone["elicitation"]) <= {"letter"} and set(asked["elicitation"]) == {"free_text"}


def test_a_question_that_is_left_alone_is_the_request_it_would_be_without_batches(one_by_one, prompts):
    alone = prompts.filter(pl.col("asked_together").is_null())
    assert alone.height
    both = alone.join(one_by_one.prompts[NAME], on="prompt_id")
    assert both.height == alone.height and (both["content_hash"] == both["content_hash_right"]).all()


def test_who_shares_a_request_depends_on_neither_order_nor_partition(together, prompts):
    """Chunks of personas are built by themselves, perhaps from other rows."""
    facts = {"items": together.items[NAME], "gold": together.gold[NAME], "personas": together.personas}
    plan = plan_prompts(NAME, together.study, panel=together.panel.reverse(), **facts)
    parts = [part().build() for _, part, _ in plan.in_chunks(["0", "1", "2"])]
    assert pl.concat(parts).sort("prompt_id").equals(prompts.sort("prompt_id"))
    some = together.panel.head(7)
    few = tasks.build_prompts(NAME, together.study, panel=some, **facts)
    of_them = prompts.filter(
        pl.col("respondent_id").is_in(some["respondent_id"].implode()), pl.col("condition") != "shuffled_any"
    )
    few = few.filter(pl.col("condition") != "shuffled_any")
    assert (
        few.sort("prompt_id")
        .select("prompt_id", "user")
        .equals(of_them.sort("prompt_id").select(few.columns[0], "user"))
    )


def test_the_persona_hides_what_any_question_of_the_request_asks(prompts, one_by_one):
    asked = prompts.filter(condition="persona").drop_nulls("asked_together")
    own = one_by_one.prompts[NAME].filter(condition="persona").select("item_id", "respondent_id", "order_id", "masked")
    union = (
        asked.join(own, on=["item_id", "respondent_id", "order_id"], suffix="_alone")
        .group_by(REQUEST)
        .agg(pl.col("masked").first(), pl.col("masked_alone").explode().unique())
    )
    assert union.height
    assert (union["masked"].list.set_symmetric_difference(union["masked_alone"]).list.len() == 0).all()


def test_the_twin_without_persona_has_the_same_questions(prompts):
    told, untold = (
        prompts.filter(condition=c).select("item_id", "respondent_id", "order_id", "user")
        for c in ("persona", "no_persona")
    )
    both = told.join(untold, on=["item_id", "respondent_id", "order_id"], suffix="_none")
    assert both.height == told.height and (both["user"] == both["user_none"]).all()


def spec(**fields):
    entry = {"name": "m", "provider": "simulated", "model": "m"} | fields
    return ModelSpec.model_validate(entry)


def test_the_questions_of_a_request_are_sent_once(prompts):
    model = ModelSpec.model_validate(
        {"name": "m", "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    )
    asked = prompts.drop_nulls("asked_together")
    requests = inference.requests.unique_requests(model, asked)
    assert requests.height == asked["content_hash"].n_unique()
    alone = prompts.filter(pl.col("asked_together").is_null())
    before = inference.requests.request_hashes(model, alone.drop("asked_together"))
    assert inference.requests.request_hashes(model, alone).equals(before)


@pytest.mark.parametrize("accuracy", [1.0, 0.6])
def test_simulated_respondents_answer_each_question_as_they_would_alone(one_by_one, together, accuracy):
    picks = []
    for world in (one_by_one, together):
        model, prompts = spec(accuracy=accuracy, refusals=0.1), world.prompts[NAME]
        wanted = model.provider_class.wanted_truth(model)
        groups = pl.DataFrame({"respondent_id": prompts["respondent_id"].unique(), "survey": "wvs"})
        told = tasks.with_known_truth(prompts, wanted, gold=world.gold[NAME], groups=groups)
        keyed = inference.with_request_hashes(model, told)
        requests = inference.requests.unique_requests(model, keyed)
        given = {r.request_hash: respond(model, r) for r in inference.requests.iterate_requests(requests)}
        responses = answered(prompts).with_columns(text=keyed["request_hash"].replace_strict(given))
        scores = tasks.score(prompts, world.items[NAME], responses)
        picks.append(
            scores.select("item_id", "respondent_id", "condition", "order_id", "status", "pred_idx").sort(pl.all())
        )
        counted = requests.height
    assert picks[0].equals(picks[1])
    assert set(picks[1]["status"]) == {"ok", "refused"}
    assert counted < prompts.height / 2


def respond(model, request):
    from mpta_pipeline.inference.providers.simulated import options_of
    from mpta_pipeline.inference.providers.simulated import respond as say

    return say(options_of(model), model.model, request).text


ASKED = ["agree", "neither", "disagree"], ["no", "yes"], ["red", "blue"]
REPLIES = {
    "1: A\n2: B\n3: A": "ABA",
    "1. A\n2. B\n3. A": "ABA",
    "1) A) agree\n2) B) yes\n3) A) red": "ABA",
    "1: (A)\n2: (B)\n3: (A)": "ABA",
    "Q1: A\nQ2: B\nQ3: A": "ABA",
    "Question 1: A\nQuestion 2: B\nQuestion 3: A": "ABA",
    "**1:** A\n**2:** B\n**3:** A": "ABA",
    "**1. A) agree**\n**2. B) yes**\n**3. A) red**": "ABA",
    "1: **A**\n2: **B**\n3: **A**": "ABA",
    "- 1: A\n- 2: B\n- 3: A": "ABA",
    "1 - A\n2 - B\n3 - A": "ABA",
    "1 A\n2 B\n3 A": "ABA",
    "1A\n2B\n3A": "ABA",
    '{"1": "A", "2": "B", "3": "A"}': "ABA",
    '```json\n{\n  "1": "A",\n  "2": "B) yes",\n  "3": "A"\n}\n```': "ABA",
    '{"Q1": "A", "Q2": "B", "Q3": "A"}': "ABA",
    "| Question | Answer |\n|---|---|\n| 1 | A |\n| 2 | B |\n| 3 | A |": "ABA",
    "| # | Question | Answer |\n|:-:|---|---|\n| 1 | Fast? | A) agree |\n| 2 | A God? | B |\n| 3 | Line? | A |": "ABA",
    "1: A, 2: B, 3: A": "ABA",
    "1:A 2:B 3:A": "ABA",
    "Here are my answers:\n\n1: A\n\n2: B\n\n3: A\n\nI hope this helps!": "ABA",
    "<think>1: C? 2: A? Then 3: B.</think>\n1: A\n2: B\n3: A": "ABA",
    "1: agree\n2: yes\n3: red": "ABA",
    "1: a\n2: b\n3: a": "ABA",
    "1. Answer: A\n2. Answer: B\n3. Answer: A": "ABA",
    "1: A - I agree with it.\n2: B - I believe.\n3: A - red.": "ABA",
    "1. Do you agree that it is fast?\nA) agree\n2. Is there a God?\nAnswer: B\n3. Which line?\n**A**": "?BA",
    "1. Do you agree? A\n2. Is there a God? B) yes\n3. Which line? (A)": "ABA",
    "1: A\n3: A": "A?A",
    "1: A\n2: B\n2: A\n3: A": "A?A",
    "1: A\n2: B\n3: A\n\nFinal answers:\n1: A\n2: B\n3: A": "ABA",
    "1: A\n2: A or B\n3: A": "A?A",
    "1: A\n2: A, B\n3: A": "A?A",
    "1: A\n2: I'm sorry, but I can't answer that.\n3: A": "ArA",
    "1: A\n2: B) no\n3: A": "A?A",
    "1: A\n2: F\n3: A": "A?A",
    "12: B\n1: A": "A??",
    "1-3: A": "???",
    "A": "???",
    "ABA": "???",
    "": "???",
    "1. A person may agree.\n2. B\n3. A": "?BA",
    "1. Would people say yes or no to agree?\n2. Is it yes?\n3. It is red?": "???",
    "I'm sorry, but I can't answer these questions.": "rrr",
}


def read(text, **fields):
    prompts = pl.DataFrame(
        {
            "prompt_id": ["a", "b", "c"],
            "task": "t",
            "options": list(ASKED),
            "option_order": [list(range(len(o))) for o in ASKED],
            "elicitation": "free_text",
            "line": [1, 2, 3],
            "asked_together": 3,
        }
    )
    responses = answered(prompts, text).with_columns(pl.lit(v).alias(k) for k, v in fields.items())
    return tasks.parse_replies(prompts, responses).sort("prompt_id")


@pytest.mark.parametrize("text", REPLIES)
def test_replies(text):
    parsed = read(text)
    marks = [
        {"ok": "ABC"[pos or 0], "refused": "r", "unparsed": "?"}[status]
        for status, pos in parsed.select("status", "pred_pos").rows()
    ]
    assert "".join(marks) == REPLIES[text], parsed["unparsed_reason"].to_list()


def test_why_a_question_has_no_answer():
    assert read("1: A\n3: A")["unparsed_reason"].to_list() == [None, "no_option", None]
    assert read("1: A\n2: A\n2: B\n3: A")["unparsed_reason"].to_list() == [None, "several_options", None]
    cut = read("1: A\n2: A", finish_reason="length", completion_tokens=8)
    assert cut["status"].to_list() == ["ok", "unparsed", "unparsed"], "the line before the cut may have been longer"
    assert cut["unparsed_reason"].to_list() == [None, "cut_off", "cut_off"]


def test_other_combinations_are_refused(tmp_path):
    for fields, said in (
        ({"elicitation": "option_logprob"}, "elicitation letter"),
        ({"elicitation": "verbalized"}, "elicitation letter"),
        ({"arms": {"a": {}, "b": {"text": "Think."}}}, "does not go with arms"),
        ({"batch_items": 1}, "greater than or equal to 2"),
    ):
        with pytest.raises(ValidationError) as raised:
            TaskConfig.model_validate({"kind": NAME, "batch_items": 4} | fields)
        assert said in str(raised.value)
    study = small_survey.study().model_dump(exclude={"tasks"}) | {"tasks": {NAME: {"kind": NAME, "batch_items": 4}}}
    varied = Study.model_validate(study | {"multiverse": {"factors": {"style": ["prose", "bullets"]}}})
    with pytest.raises(ConfigError, match="asks several in a request"):
        varied.with_variants()


def test_items_without_letters_are_refused(together):
    config = together.study.tasks[NAME]
    items = together.items[NAME]
    for changed, said in (
        (items.with_columns(options=pl.lit([], pl.List(pl.String))), "open text"),
        (items.with_columns(scoring=pl.lit("probability_mass")), "scored by probabilities"),
        (items.with_columns(line=pl.lit(1)), "whole batteries"),
    ):
        with pytest.raises(TaskError, match=said):
            asked_together.check_items(NAME, config, changed)


def test_early_replies_are_judged_by_their_first_line():
    from mpta_pipeline.inference.early_warnings import STATUS_INPUT
    from mpta_pipeline.pipeline.steps.inference import _statuses_of

    letters = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    rows = [
        {"request_hash": str(i), "options": letters, "elicitation": "free_text", "text": text}
        for i, text in enumerate(["1: B) yes\n2: A", "| 1 | B |\n| 2 | A |", "yes and no"])
    ]
    assert _statuses_of(pl.DataFrame(rows, schema=STATUS_INPUT)).to_list() == ["ok", "ok", "unparsed"]
