"""Protects questionnaires: formats, batteries, conditions, people's own answers, and items without a key."""

import polars as pl
import pytest

from mpta_pipeline import metrics, personas, tasks
from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.study import EstimateRules, Study, TaskConfig
from mpta_pipeline.tasks.questionnaires import read_instrument
from tests.factories import small_survey
from tests.factories.task_tables import answered

YAML = """\
title: Trust and trains
scales:
  agreement: {options: [agree, neither, disagree], ordinal: true, beside: ["don't know"]}
  ten: {first: 1, last: 10, low: never, high: always}
fields: {vehicle: train}
blocks:
  - name: belief
    introduction: Think of your own views.
    shuffle: true
    questions:
      - {id: god, question: "Is there a God?", options: [no, yes], column: god}
      - {id: abortion, question: "Can abortion be justified?", scale: ten, column: abortion}
  - name: travel
    questions:
      - battery: trains
        stem: "Do you agree about the {{vehicle}}?"
        scale: agreement
        statements:
          - {id: fast, text: "It is fast."}
          - {id: cheap, text: "It is cheap.", show_if: {sex: female}}
      - {id: believer, question: "And on Sundays?", options: [often, rarely], show_if: {god: "yes"}}
      - {id: rider, question: "Which line?", options: [red, blue], show_if: {fast: [agree, neither]}}
      - {id: lost, question: "Why {{answer}}?", options: [a, b]}
"""
CSV = """\
id,question,options,battery,stem,ordinal,show_if
fast,It is fast.,agree|disagree,trains,Do you agree?,true,
cheap,It is cheap.,"[""agree"", ""disagree""]",trains,Do you agree?,true,sex=female|other; country=USA
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "survey.yaml"
    path.write_text(YAML)
    return path


def built(path, gaps=None, **options):
    """ITEMS and GOLD of a task on the small survey."""
    people, crosswalk = small_survey.respondents(), small_survey.crosswalk()
    config = TaskConfig(kind="questionnaire", path=path, options=options)
    study = small_survey.study()
    items = tasks.build_items("own", config, crosswalk=crosswalk, respondents=people, study=study, gaps=gaps)
    return items, tasks.build_gold("own", config, items, crosswalk=crosswalk, respondents=people)


def asked(path, **options):
    """ITEMS, PROMPTS and groups of a study whose one task is the questionnaire."""
    people, crosswalk = small_survey.respondents(), small_survey.crosswalk()
    study = small_survey.study()
    task = {"kind": "questionnaire", "path": str(path), "options": options, "orders": "scale"}
    study = Study.model_validate(study.model_dump(exclude={"tasks"}) | {"tasks": {"own": task}})
    frame = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    groups = personas.derived_dimensions(people, ("sex", "country", "age_band", "god"), crosswalk)
    panel = personas.draw_panel(frame, groups, study.panel, study.seed)
    items = tasks.build_items("own", study.tasks["own"], crosswalk=crosswalk, respondents=people, study=study)
    gold = tasks.build_gold("own", study.tasks["own"], items, crosswalk=crosswalk, respondents=people)
    prompts = tasks.build_prompts("own", study, items=items, gold=gold, panel=panel, personas=frame, groups=groups)
    return items, gold, prompts, groups


def test_yaml_has_batteries_scales_and_fields(file):
    made = read_instrument(file, {})
    assert [one.id for one in made.questions] == ["god", "abortion", "fast", "cheap", "believer", "rider"]
    by_id = {one.id: one for one in made.questions}
    assert by_id["fast"].wording == "Do you agree about the train?\nIt is fast."
    assert by_id["fast"].options == ("agree", "neither", "disagree", "don't know")
    assert by_id["abortion"].options[:2] == ("1 (never)", "2") and by_id["abortion"].ordinal
    assert by_id["god"].introduction == "Think of your own views."
    notes = {note.what: note.names for note in made.notes}
    assert notes["piped text answer without a value in `fields`"] == ("lost",)
    assert notes["random order of questions in a block"] == ("belief",)
    filled = read_instrument(file, {"answer": "so", "vehicle": "bus"})
    assert filled.questions[-1].text == "Why so?" and "bus" in filled.questions[2].wording


def test_csv(tmp_path):
    path = tmp_path / "survey.csv"
    path.write_text("\ufeff" + CSV, encoding="utf-8")
    fast, cheap = read_instrument(path, {}).questions
    assert fast.options == cheap.options == ("agree", "disagree")
    assert fast.battery == "trains" and fast.ordinal and fast.wording == "Do you agree?\nIt is fast."
    assert [(c.name, c.values) for c in cheap.conditions] == [("sex", ("female", "other")), ("country", ("USA",))]


def test_csv_as_spreadsheets_write_it(tmp_path):
    """Semicolons where the comma is a decimal sign, an empty column to the right, empty rows below."""
    path = tmp_path / "survey.csv"
    path.write_text('\ufeffid;question;options;\r\nq;"Q, ü?";a|b;\r\n;;;\r\n', encoding="utf-8")
    (question,) = read_instrument(path, {}).questions
    assert (question.text, question.options) == ("Q, ü?", ("a", "b"))
    path.write_text("id,question,options,ordinal\nq,Q?,a|b,ja\n")
    with pytest.raises(TaskError, match="neither true nor false"):
        read_instrument(path, {})


def test_a_question_may_have_own_values_for_a_shared_scale_and_numbers_are_options(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "scales: {s: {options: [1, 2, 3], beside: [never tried it]}}\n"
        "blocks: [{name: b, questions: [{id: a, question: Q?, scale: s, ordinal: true, values: [w, x, y, z]}, "
        "{id: b, question: R?, scale: s}]}]"
    )
    one, other = read_instrument(path, {}).questions
    assert one.ordinal and one.values == ("w", "x", "y", "z") and one.beside == ("never tried it",)
    assert not other.ordinal and other.values is None and other.options == ("1", "2", "3", "never tried it")


def test_an_option_beside_a_scale_is_no_point_of_it_whatever_its_text(tmp_path):
    path = tmp_path / "x.yaml"
    scale = "{options: [bad, ok, good], ordinal: true, beside: [never tried it]}"
    path.write_text(f"blocks: [{{name: b, questions: [{{id: a, question: Q?, scale: {scale}}}]}}]")
    items, _, prompts, _ = asked(path)
    assert items["option_scores"].to_list() == [[0.0, 0.5, 1.0, None]]
    assert sorted(map(tuple, prompts["option_order"].unique().to_list())) == [(0, 1, 2, 3), (2, 1, 0, 3)]


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ("scale: agreement", "scale: agrement", 'did you mean "agreement"'),
        ("options: [red, blue]", "options: [red]", "2 to 26 options"),
        ("options: [red, blue]", "optoins: [red, blue]", 'did you mean "options"'),
        ("id: cheap", "id: fast", "same id"),
        ("low: never", "low: [", "line 4"),
        ("battery: trains", "id: trains", "a battery has battery, stem and statements"),
        ("battery: trains", "battery: god", "has the id of a battery"),
        ("options: [red, blue]", "options: red or blue", "a list is needed here"),
        ("first: 1, last: 10", "first: 1, last: 1000000000", "2 to 26 options"),
        ("scale: ten", "scale: {first: 3, last: 3}", "blocks.0.questions.1.scale"),
    ],
)
def test_a_broken_file_is_refused_with_a_remedy(file, before, after, names):
    file.write_text(YAML.replace(before, after))
    with pytest.raises(TaskError) as raised:
        read_instrument(file, {})
    assert names in str(raised.value)


def test_questions_with_a_column_have_peoples_own_answers(file):
    items, gold = built(file, questions="matched")
    assert set(items["scoring"]) == {"key"} and set(items["item_id"]) == {
        "god@alpha", "god@beta", "abortion@alpha", "abortion@beta",
    }  # fmt: skip
    god = items.row(by_predicate=pl.col("item_id") == "god@alpha", named=True)
    assert (god["options"], god["option_values"]) == (["no", "yes"], ["no", "yes"])
    assert god["reveals"] == ["religion"], "what the person's text would give away stays hidden"
    # The keys are what people said, in the order of the questionnaire, which is not that of the survey.
    people = small_survey.respondents().filter(codebook="alpha")
    said = people.filter(pl.col("god_alpha").is_not_null() & pl.col("god_alpha__missing").is_null())
    said = said.select("respondent_id", pl.col("god_alpha").alias("god"))
    keys = gold.filter(item_id="god@alpha").join(said, on="respondent_id")
    assert keys.height == said.height > 10
    assert (keys["gold_idx"] == (keys["god"] == "yes").cast(pl.Int64)).all()
    values = dict(items.filter(item_id="abortion@beta").select("item_id", "option_values").iter_rows())
    assert values["abortion@beta"] == [str(i) for i in range(1, 11)], "numbered ends are recognized: 1 (never)"


def test_questions_without_a_column_have_no_key(file):
    items, gold = built(file, questions="unmatched")
    assert set(items["scoring"]) == {"none"} and gold.is_empty()
    battery = items.filter(cluster_id="trains")
    assert battery["option_scores"].to_list() == [[0.0, 0.5, 1.0, None]] * 2, "don't know is beside the scale"
    assert items["sample_item"].any() is False


def test_a_mixed_questionnaire_is_two_tasks(file):
    with pytest.raises(TaskError, match="2 questions have people's own answers"):
        built(file)


def test_conditions_decide_who_is_asked(file):
    _, _, prompts, groups = asked(file, questions="unmatched")
    who = (
        prompts.filter(condition="persona").select("item_id", "respondent_id").unique().join(groups, on="respondent_id")
    )
    everyone = set(who.filter(item_id="fast")["respondent_id"])
    assert set(who.filter(item_id="cheap")["sex"]) == {"female"}
    assert set(who.filter(item_id="cheap")["respondent_id"]) == set(
        who.filter(item_id="fast", sex="female")["respondent_id"]
    )
    assert set(who.filter(item_id="believer")["god"]) == {"yes"}, "a condition on a question with a column"
    assert set(who.filter(item_id="rider")["respondent_id"]) == everyone, "nobody's answer to it is known before"


def test_what_is_not_used_is_told(file):
    gaps = tasks.Gaps()
    built(file, gaps, questions="unmatched")
    told = gaps.notes()["not_used"]
    assert "condition on the answer to fast, which has no column (1): asked of everyone: rider" in told
    assert any(note.startswith("random order of questions in a block (1)") for note in told)


def test_an_unknown_dimension_of_a_condition_is_refused(file):
    file.write_text(YAML.replace("show_if: {sex: female}", "show_if: {seks: female}"))
    with pytest.raises(TaskError, match=r"figures\.dimensions"):
        asked(file, questions="unmatched")


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ("show_if: {sex: female}", "show_if: {sex: females}", 'did you mean "female"'),
        ("show_if: {fast: [agree, neither]}", "show_if: {fast: [agre]}", 'did you mean "agree"'),
        ('show_if: {god: "yes"}', 'show_if: {god: "yess"}', 'did you mean "yes"'),
        ('show_if: {god: "yes"}', 'show_if: {believer: "often"}', "name an earlier question"),
        ("show_if: {sex: female}", "show_if: {sex: []}", "its values are female, male"),
    ],
)
def test_a_condition_that_can_never_hold_is_refused(file, before, after, names):
    """A mistyped value asked nobody, without a word."""
    file.write_text(YAML.replace(before, after))
    with pytest.raises(TaskError, match="can never hold") as raised:
        built(file, questions="unmatched")
    assert names in str(raised.value)


def test_statements_with_different_options_do_not_share_a_list(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,question,options,battery,stem\na,A?,x|y,bat,S\nb,B?,x|z,bat,S\n")
    items, _ = built(path, asked="battery")
    assert items["line"].null_count() == 2 and items["question"].to_list() == ["S\nA?", "S\nB?"]


def test_columns_options_and_values_are_checked(file):
    for options, names in (
        ({"columns": {"fsat": "god"}}, 'did you mean "fast"'),
        ({"columns": {"fast": "god"}, "questions": "matched"}, "is not an answer to god"),
        ({"columns": {"fast": "godd"}, "questions": "matched"}, 'did you mean "god"'),
        ({"questions": "some"}, "use matched"),
        ({"ordinal": ["x"]}, "options.ordinal"),
        ({"ordinal": {"a": 1}}, "is not a list of names"),
        ({"columns": ["fast", "god"]}, "options.columns"),
        ({"fields": "so"}, "is not a mapping"),
        ({"hides": {"fsat": ["god"]}, "questions": "unmatched"}, 'did you mean "fast"'),
        ({"hides": {"fast": ["godd"]}, "questions": "unmatched"}, 'did you mean "god"'),
        ({"hides": {"fast": None}, "questions": "unmatched"}, "options.hides.fast"),
    ):
        with pytest.raises(TaskError) as raised:
            built(file, **options)
        assert names in str(raised.value)


def test_answers_without_a_key_have_estimates(file):
    items, gold, prompts, groups = asked(file, questions="unmatched")
    assert prompts.filter(item_id="fast")["user"][0].startswith("Do you agree about the train?\nIt is fast.\nA) agree")
    scores = tasks.score(prompts, items, answered(prompts, "A"))
    assert scores["score"].is_null().all() and set(scores["status"]) == {"ok"}
    rules = EstimateRules(dimensions=("sex",), bootstrap=50)
    estimates = metrics.compute_estimates(scores, groups, gold, rules=rules, items=items)
    assert {"parse_rate", "scale_direction"} <= set(estimates["metric"]) and "accuracy" not in set(estimates["metric"])


def test_a_changed_questionnaire_makes_its_items_anew(file):
    config = TaskConfig(kind="questionnaire", path=file)
    before = tasks.item_file_version(config)
    file.write_text(YAML.replace("It is fast", "It is very fast"))
    assert tasks.item_file_version(config) != before


def hidden_of(prompts, item):
    return set(prompts.filter(condition="persona", item_id=item)["masked"].explode().drop_nulls())


def test_a_question_without_a_column_hides_the_traits_that_it_names(file):
    """Nothing was hidden: a study's own question about churches was asked of a persona that told its belief in God."""
    file.write_text(YAML.replace('question: "Which line?"', 'question: "Which line?", hides: [birth_year]'))
    _, _, prompts, _ = asked(file, questions="unmatched", hides={"trains": "god"})
    assert hidden_of(prompts, "believer") == set()
    assert {"god_alpha", "afterlife_alpha"} <= hidden_of(prompts, "fast") == hidden_of(prompts, "cheap"), (
        "and its group"
    )
    assert "age" in hidden_of(prompts, "rider"), "age and year of birth give each other away"
    told = prompts.filter(condition="persona", item_id="fast")["system"]
    shown = prompts.filter(condition="persona", item_id="believer")["system"]
    assert not told.str.contains("God").any() and shown.str.contains("God").any()


def test_what_a_persona_shows_with_questions_of_no_column_is_told(file):
    gaps = tasks.Gaps()
    file.write_text(YAML.replace("And on Sundays?", "Is there a life after death?"))
    built(file, gaps, questions="unmatched", hides={"fast": ["sex"]})
    (told,) = [note for note in gaps.not_used if "`hides`" in note]
    assert told.startswith("questions without `column` or `hides` (3)") and "cheap, believer, rider" in told
    assert told.endswith("Asked as a trait is: believer (afterlife)")
    gaps = tasks.Gaps()
    built(file, gaps, questions="matched")
    assert not any("`hides`" in note for note in gaps.not_used)
