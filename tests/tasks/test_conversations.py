"""Plans conversations: the order of questions and options, what depends on earlier answers, and what is refused."""

import polars as pl
import pytest

from mpta_pipeline import tasks
from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.study import TaskConfig
from mpta_pipeline.tasks.questionnaires.conversation import check_conversation
from tests.tasks.test_questionnaire import asked, built

YAML = """\
scales:
  agreement: {options: [agree, neither, disagree], ordinal: true, beside: ["don't know"]}
blocks:
  - name: travel
    questions:
      - {id: often, question: "How often?", options: [never, sometimes, daily], ordinal: true}
      - {id: work, question: "You said {{often}}. For work?", options: [yes, no], show_if: {often: [Sometimes, daily]}}
      - battery: trains
        stem: "Trains:"
        scale: agreement
        shuffle: true
        statements:
          - {id: fast, text: "Fast."}
          - {id: safe, text: "Safe.", show_if: {sex: female}}
          - {id: dear, text: "Dear."}
  - name: views
    shuffle: true
    questions:
      - {id: v1, question: "One.", scale: agreement}
      - {id: v2, question: "Two.", scale: agreement}
      - {id: v3, question: "Which?", options: [red, blue, green]}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("talk") / "survey.yaml"
    path.write_text(YAML)
    return path


@pytest.fixture(scope="module")
def talk(file):
    return asked(file, asked="conversation")


def test_fixed_questions_come_in_the_files_order_and_shuffled_ones_in_their_own(talk):
    _, _, prompts, groups = talk
    women = set(groups.filter(sex="female")["respondent_id"])
    orders = prompts.sort("turn").group_by("conversation").agg("item_id", "turn", pl.col("respondent_id").first())
    for items, turns, person in orders.select("item_id", "turn", "respondent_id").iter_rows():
        n = 8 if person in women else 7
        assert turns == list(range(1, n + 1)) and items[:2] == ["often", "work"]
        assert set(items[2:-3]) == {"fast", "dear"} | ({"safe"} if person in women else set())
        assert set(items[-3:]) == {"v1", "v2", "v3"}
    last = orders["item_id"].list.tail(3).list.join(" ")
    assert last.n_unique() == 6, "all orders of three questions occur"
    assert prompts.group_by("respondent_id").agg(pl.struct("item_id", "turn").n_unique())["item_id"].max() == 8, (
        "a person's order is the same under all conditions"
    )


def test_only_what_is_drawn_together_is_compared(talk):
    sets = dict(talk[2].select("item_id", "shuffled_with").unique().iter_rows())
    assert sets == {
        "often": None, "work": None, "v1": "block views", "v2": "block views", "v3": "block views",
        "fast": "block travel / trains", "safe": "block travel / trains", "dear": "block travel / trains",
    }  # fmt: skip


def test_a_conversation_shows_one_option_order(talk):
    _, _, prompts, _ = talk
    scales = prompts.filter(pl.col("item_id").is_in(["often", "fast", "dear", "v1", "v2"]))
    assert scales.group_by("respondent_id").agg(pl.col("order_id").n_unique())["order_id"].max() == 1
    assert set(scales["order_id"]) == {0, 1}
    assert prompts.group_by("conversation").agg(pl.col("item_id").is_duplicated().any())["item_id"].any() is False
    assert set(prompts["repeat_id"]) == {0} and prompts["prompt_id"].is_unique().all()


def test_two_conversations_per_person_show_a_scale_in_both_directions(file):
    _, _, prompts, _ = asked(file, asked="conversation", max_orders=2)
    often = prompts.filter(item_id="often", condition="persona")
    both = often.group_by("respondent_id").agg(pl.col("order_id").sort(), pl.col("repeat_id").sort())
    assert both["order_id"].to_list() == [[0, 1]] * both.height == both["repeat_id"].to_list()
    assert prompts["prompt_id"].is_unique().all()
    with pytest.raises(TaskError, match="more conversations than there are option orders"):
        asked(file, asked="conversation", max_orders=3)


def test_all_turns_of_a_conversation_show_the_same_persona(talk):
    texts = talk[2].group_by("conversation").agg(pl.col("system").n_unique())
    assert texts["system"].max() == 1


def test_the_content_hash_stands_for_everything_before(file, talk, tmp_path):
    _, _, prompts, _ = talk
    other = tmp_path / "survey.yaml"
    other.write_text(YAML.replace("For work?", "To work?"))
    _, _, changed, _ = asked(other, asked="conversation")
    both = prompts.join(changed, on=["task", "item_id", "respondent_id", "condition", "repeat_id"])
    same = both.select("item_id", (pl.col("content_hash") == pl.col("content_hash_right")).alias("same"))
    assert set(same.filter("same")["item_id"]) == {"often"}
    assert set(same.filter(~pl.col("same"))["item_id"]) == {"work", "fast", "safe", "dear", "v1", "v2", "v3"}


def test_conditions_on_own_answers_are_numbers_of_options(talk):
    items = talk[0]
    assert items.filter(item_id="work")["asked_after"].to_list() == [
        [
            {"item_id": "often", "name": "often", "answers": [1, 2]},
            {"item_id": "often", "name": "often", "answers": None},
        ]
    ]
    assert items.filter(item_id="work")["asked_if"].to_list() == [[]], "no trait of people decides"
    assert items.filter(item_id="safe")["asked_if"].to_list() == [[{"name": "sex", "values": ["female"]}]]


def test_own_keys_make_one_conversation_per_codebook(tmp_path):
    path = tmp_path / "survey.yaml"
    path.write_text(
        "blocks: [{name: b, questions: ["
        "{id: god, question: God?, options: [no, yes], column: god}, "
        "{id: abortion, question: Abortion?, scale: {first: 1, last: 10}, column: abortion, show_if: {god: yes}}]}]"
    )
    items, gold, prompts, _ = asked(path, questions="matched", asked="conversation")
    assert gold.height and set(prompts["turn"]) <= {1, 2}
    later = items.filter(pl.col("asked_after").list.len() > 0)
    for item, earlier in later.select("item_id", "asked_after").iter_rows():
        assert earlier[0]["item_id"] == f"god@{item.split('@')[1]}" and earlier[0]["answers"] == [1]


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ("show_if: {often: [Sometimes, daily]}", "show_if: {often: [weekly]}", "does not offer"),
        ("show_if: {often: [Sometimes, daily]}", "show_if: {often: []}", "does not offer"),
        ("show_if: {often: [Sometimes, daily]}", "show_if: {work: [yes]}", "may come after it"),
        ("show_if: {often: [Sometimes, daily]}", "show_if: {v1: [agree]}", "may come after it"),
        ('"Two."', '"Two, {{v1}}."', "may come after it"),
        ('"Fast."', '"Fast, {{work}}."', None),
        ("options: [red, blue, green]", 'options: [red, "{{often}}"]', "names the answer to often"),
    ],
)
def test_what_a_question_depends_on_must_come_before_it(tmp_path, was, now, says):
    path = tmp_path / "survey.yaml"
    path.write_text(YAML.replace(was, now))
    if says is None:
        assert built(path, asked="conversation")[0].height == 8
        return
    with pytest.raises(TaskError, match=says):
        built(path, asked="conversation")


def test_what_is_random_can_be_chosen(file):
    items, _ = built(file, asked="conversation", randomize=["blocks", "statements"])
    shuffled = dict(items.select("item_id", pl.col("sequence").list.eval(pl.element().struct["shuffled"])).iter_rows())
    assert shuffled["often"] == [True, False, True] and shuffled["v1"] == [True, True, True]
    with pytest.raises(TaskError, match="did you mean"):
        built(file, asked="conversation", randomize=["question"])


def test_notes_say_what_has_no_effect_only_where_it_has_none(file):
    for how, noted in (("conversation", False), ("question", True)):
        gaps = tasks.Gaps()
        built(file, gaps, asked=how)
        assert any("random order" in note for note in gaps.not_used) is noted
        assert any(note.startswith("piped text often without a value") for note in gaps.not_used) is noted


def test_a_text_that_names_a_question_which_is_not_asked_is_left_out_by_name(file):
    gaps = tasks.Gaps()
    items, _ = built(file, gaps, asked="conversation", leave_out=["often"])
    assert "work" not in set(items["item_id"])
    assert any(note.startswith("piped text of a question that is not asked (1)") for note in gaps.not_used)


@pytest.mark.parametrize(
    "changed",
    [
        {"batch_items": 2}, {"items": 3}, {"items_per_persona": 3}, {"elicitation": "verbalized"},
        {"elicitation": "option_logprob"}, {"options": {"personas_per_item": 3}},
        {"arms": {"a": {}, "b": {"text": "Hot."}}},
    ],
)  # fmt: skip
def test_what_does_not_go_with_a_conversation_is_refused(changed):
    config = TaskConfig.model_validate({"kind": "questionnaire"} | changed)
    with pytest.raises(TaskError) as raised:
        check_conversation(config)
    assert next(iter(changed.get("options", changed))) in str(raised.value)
