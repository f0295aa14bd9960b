"""Protects the reading of Qualtrics' exports: their structure as real files have it, and nothing dropped in silence."""

import json

import pytest

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.tasks.questionnaires import read_instrument
from mpta_pipeline.tasks.questionnaires.plain_text import plain
from tests.factories import qualtrics_file as q


@pytest.fixture(scope="module")
def instrument(tmp_path_factory):
    path = tmp_path_factory.mktemp("qsf") / "trust.qsf"
    path.write_text(q.whole(), encoding="utf-8")
    return read_instrument(path, {"party": "the Greens"})


def read(tmp_path, questions, fields=None, elements=None, **block):
    path = tmp_path / "x.qsf"
    ids = [one["PrimaryAttribute"] for one in questions]
    blocks = {"BL_1": {"Description": "Main", "BlockElements": elements or q.asked(*ids), **block}}
    path.write_text(q.survey(questions, blocks))
    return read_instrument(path, fields or {})


def choice(qid="QID1", tag="Q1", text="Which?", **more):
    made = {"Choices": q.choices("a", "b"), "ChoiceOrder": ["1", "2"], "SubSelector": "TX"}
    return q.question(qid, tag, text, "MC", "SAVR", **(made | more))


def noted(instrument):
    return {note.what: (note.effect, note.names) for note in instrument.notes}


def test_questions_come_in_the_order_of_the_flow_and_of_their_choices(instrument):
    assert instrument.title == "Trust & trains"
    assert [one.id for one in instrument.questions] == ["party", "routed", "god", "trains_2", "fast", "nps"]
    by_id = {one.id: one for one in instrument.questions}
    assert by_id["god"].text == "Do you believe in God?"
    assert by_id["god"].options == ("Yes", "No", "Other:"), "ChoiceOrder, which holds numbers, orders the choices"
    assert by_id["god"].introduction == "Imagine a train.\nIt is late.", "descriptive text of its page precedes it"
    assert by_id["nps"].introduction is None, "and not that of another page"
    assert by_id["nps"].options[0] == "0 (Not at all)" and by_id["nps"].options[-1] == "10 (Extremely)"
    assert by_id["nps"].ordinal and not by_id["god"].ordinal


def test_a_matrix_is_one_question_per_statement(instrument):
    cheap, fast = (one for one in instrument.questions if one.battery)
    assert (cheap.text, fast.text) == ("They are cheap.", "They are fast.")
    assert cheap.wording == "Do you agree with these statements about trains?\nThey are cheap."
    assert cheap.options == fast.options == ("Disagree", "Neither", "Agree")
    assert cheap.battery == fast.battery == "trains" and cheap.ordinal


def test_piped_text_is_filled_or_the_question_is_named(instrument):
    assert "How close are you to the Greens?" in [one.text for one in instrument.questions]
    what = "piped text q://QID3/ChoiceGroup/SelectedChoices without a value in `fields`"
    assert noted(instrument)[what] == ("left out", ("why",))


def test_display_logic_on_one_question_is_a_condition(instrument):
    (condition,) = next(one for one in instrument.questions if one.id == "party").conditions
    assert condition.name == "god" and condition.values == ("No", "Other:")
    assert noted(instrument)["display logic"] == ("asked of everyone", ("routed",))


def test_everything_that_is_not_used_is_named(instrument):
    names = {what: listed for what, (_, listed) in noted(instrument).items()}
    assert names["text entry (TE)"] == ("open",)
    assert names["question with several answers"] == ("pick",)
    assert names["slider (Slider)"] == ("many",)
    assert names["timing (Timing)"] == ("timer",)
    assert names["matrix with several answers per statement"] == ("grid",)
    assert names["choices carried forward from another question"] == ("carried",)
    assert names["question outside the flow"] == ("old",)
    assert names["skip logic"] == names["JavaScript"] == names["text field of an option"] == ("god",)
    assert names["random order of statements"] == ("trains",)
    assert names["random order of questions in a block"] == ("More",)
    assert names["embedded data of the flow"] == ("party",)
    assert names["randomizer of the flow"] == ("FL_3",)
    assert names["end of survey in the flow"] == ("FL_6",)
    assert names["quota"] == ("Women",)
    assert names["descriptive text without a question on its page"] == ("intro",)
    # Every question is either asked or named.
    questions = [e["Payload"] for e in json.loads(q.whole())["SurveyElements"] if e["Element"] == "SQ"]
    said = {name for listed in names.values() for name in listed}
    asked = {one.id for one in instrument.questions} | {one.battery for one in instrument.questions}
    assert {one["DataExportTag"] for one in questions} - {"vignette"} <= said | asked


@pytest.mark.parametrize(
    ("groups", "conditions"),
    [
        ([("If", [q.selected("QID1", 1)])], [("Q1", ("a",))]),
        ([("If", [q.selected("QID1", 1), q.selected("QID1", 2, "Or")])], [("Q1", ("a", "b"))]),
        ([("If", [q.selected("QID1", 1), q.selected("QID2", 2, "And")])], [("Q1", ("a",)), ("Q2", ("b",))]),
        ([("If", [q.selected("QID1", 1)]), ("AndIf", [q.selected("QID2", 1)])], [("Q1", ("a",)), ("Q2", ("a",))]),
        ([("If", [q.selected("QID1", 1)]), ("OrIf", [q.selected("QID2", 1)])], None),
        ([("If", [q.selected("QID1", 1), q.selected("QID2", 1, "Or")])], None),
        ([("If", [q.selected("QID1", 1), q.selected("QID1", 2, "Or"), q.selected("QID2", 1, "And")])], None),
        ([("If", [q.selected("QID1", 1) | {"Operator": "NotSelected"}])], None),
        ([("If", [{"LogicType": "GeoIP", "LeftOperand": "loc://PostalCode", "Type": "Expression"}])], None),
    ],
)
def test_display_logic(tmp_path, groups, conditions):
    """What cannot be said as "each of these questions has one of these answers" is asked of everyone and named."""
    made = read(tmp_path, [choice(), choice("QID2", "Q2"), choice("QID3", "Q3", DisplayLogic=q.logic(*groups))])
    found = [(one.name, one.values) for one in made.questions[2].conditions]
    assert found == (conditions or [])
    assert ("display logic" in noted(made)) == (conditions is None)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"Choices": q.choices("a", "a")}, "question with equal options"),
        ({"Choices": q.choices("a"), "ChoiceOrder": ["1"]}, "question with 1 options"),
        ({"Choices": q.choices(*map(str, range(30))), "ChoiceOrder": []}, "question with 30 options"),
        ({"QuestionText": "<img src='IM_1'>"}, "question without text"),
        ({"QuestionType": "Wizard", "Selector": "W"}, "type Wizard, W"),
    ],
)
def test_a_question_that_cannot_be_asked_is_named(tmp_path, more, what):
    made = read(tmp_path, [choice(), choice("QID2", "Q2", **more)])
    assert [one.id for one in made.questions] == ["Q1"]
    assert noted(made)[what] == ("left out", ("Q2",))


def test_lists_of_php_are_mappings(tmp_path):
    """A mapping with the keys 0, 1, 2 … is a list in the file; keys missing from the order come last."""
    listed = choice(Choices=[{"Display": "zero"}, {"Display": "one"}, {"Display": "two"}], ChoiceOrder=["1", 0])
    assert read(tmp_path, [listed]).questions[0].options == ("one", "zero", "two")


def test_repeated_export_tags_stay_apart(tmp_path):
    made = read(tmp_path, [choice(), choice("QID2", "Q1"), choice("QID3", "")])
    assert [one.id for one in made.questions] == ["Q1", "Q1_QID2", "QID3"]


def test_images_and_loops_are_named(tmp_path):
    made = read(
        tmp_path,
        [choice(text="Look <img src='IM_1'> here"), choice("QID2", "Q2", text="And ${lm://Field/1}?")],
        Options={"Looping": "Static", "RandomizeQuestions": "RandomWithOnlyX"},
    )
    assert made.questions[0].text == "Look here"
    names = noted(made)
    assert names["image in a text"] == ("not shown", ("Q1",))
    assert names["loop and merge"] == ("asked once", ("Main",))
    assert names["random order of questions with only some of them"] == ("all are asked", ("Main",))
    assert names["piped text lm://Field/1 without a value in `fields`"] == ("left out", ("Q2",))


@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "not JSON"), ("[]", "no SurveyElements"), ('{"SurveyElements": []}', "no question")],
)
def test_another_file_is_refused(tmp_path, text, why):
    path = tmp_path / "x.qsf"
    path.write_text(text)
    with pytest.raises(TaskError, match=why):
        read_instrument(path, {})


def test_html_becomes_text():
    html = "<style>p {x}</style><div>One&amp;two</div><div><br></div><ul><li>a</li><li>b <b>c</b></li></ul>&nbsp;&lt;3"
    assert plain(html) == ("One&two\na\nb c\n<3", ())


def matrix(qid, tags, **more):
    made = {
        "SubSelector": "SingleAnswer", "Choices": q.choices("Squash", "Beans"), "ChoiceOrder": [1, 2],
        "Answers": q.choices("Like", "Dislike", "No basis", "Never tried it"), "AnswerOrder": [1, 2, 3, 4],
        "ChoiceDataExportTags": tags,
    }  # fmt: skip
    return q.question(qid, qid.replace("QID", "Q"), "How about", "Matrix", "Likert", **(made | more))


def test_copies_with_the_tags_of_their_original_are_asked_under_names_of_their_own(tmp_path):
    """Copies of a matrix keep its statements' tags; a question in the trash keeps the tag that another one has now."""
    tags = {"1": "squash", "2": "beans"}
    questions = [choice("QID9", "Q1"), choice("QID1", "Q1"), matrix("QID2", tags), matrix("QID3", tags)]
    made = read(tmp_path, questions, elements=q.asked("QID1", "QID2", "QID3"))
    names = ["squash", "beans", "squash_QID3_1", "beans_QID3_2"]
    assert [one.id for one in made.questions] == ["Q1", *names]
    assert noted(made)["export tag that another question has"][1] == ("Q1_QID9", *names[2:])
    assert noted(made)["question outside all blocks"] == ("left out", ("Q1_QID9",))


@pytest.mark.parametrize(
    ("more", "beside"),
    [
        ({"AnalyzeChoices": {"4": "No"}}, ("Never tried it",)),
        ({"RecodeValues": {"1": 1, "2": 2, "3": "-1", "4": "-2"}}, ("No basis", "Never tried it")),
        ({"RecodeValues": {"1": "-2", "2": "-1", "3": "1", "4": "2"}}, ()),
        ({"RecodeValues": {"1": 4, "2": 3, "3": 2, "4": 1}, "AnalyzeChoices": []}, ()),
    ],
)
def test_answers_that_are_not_analysed_are_beside_the_scale(tmp_path, more, beside):
    made = read(tmp_path, [matrix("QID1", False, **more)])
    assert {one.beside for one in made.questions} == {beside}
    assert ("option that the survey does not analyse" in noted(made)) == bool(beside)


def test_descriptive_text_for_some_images_and_blocks_asked_twice_are_named(tmp_path):
    logic = q.logic(("If", [q.selected("QID1", 1)]))
    text = q.question("QID2", "T", "Suppose so.", "DB", "GRB", Graphics="IM_1", DisplayLogic=logic, QuestionJS="x()")
    questions = [choice("QID1", "Q1"), text, choice("QID3", "Q3")]
    path = tmp_path / "x.qsf"
    flow = [{"Type": "Block", "ID": "BL_1", "FlowID": "FL_2"}] * 2
    blocks = {"BL_1": {"Description": "Main", "BlockElements": q.asked("QID1", "QID2", "QID3")}}
    path.write_text(q.survey(questions, blocks, flow))
    names = {what: listed for what, (_, listed) in noted(read_instrument(path, {})).items()}
    assert names["display logic of descriptive text"] == names["image in a text"] == names["JavaScript"] == ("T",)
    assert names["block several times in the flow"] == ("Main",)


def columns(**second):
    """Two columns side by side, as Qualtrics stores them: each a matrix with the statements of both."""
    statements = q.choices("Pandas", "Frogs")
    shared = {"QuestionType": "Matrix", "Selector": "Likert", "RecodeValues": [], "ChoiceDataExportTags": False}
    first = {"QuestionText": "How much?", "SubSelector": "SingleAnswer", "Answers": q.choices("little", "much")}
    other = {
        "QuestionText": "Which?",
        "SubSelector": "MultipleAnswer",
        "Answers": q.choices("stripes", "dots"),
    } | second
    made = [
        shared | {"Choices": statements, "DataExportTag": f"Q1#{i}", "QuestionID": f"QID1#{i}"} | one
        for i, one in enumerate((first, other), start=1)
    ]
    return q.question(
        "QID1", "Q1", "For each animal:", "SBS", "SBSMatrix", Choices=statements, ChoiceOrder=[2, 1],
        NumberOfQuestions=2, AdditionalQuestions={"1": made[0], "2": made[1]}, ChoiceDataExportTags=False,
    )  # fmt: skip


def test_columns_side_by_side_with_one_answer_are_asked_as_matrices(tmp_path):
    """Its files were refused whole if they had nothing else."""
    made = read(tmp_path, [columns()])
    assert [(one.id, one.wording) for one in made.questions] == [
        ("Q1_1_2", "For each animal:\nHow much?\nFrogs"),
        ("Q1_1_1", "For each animal:\nHow much?\nPandas"),
    ]
    assert noted(made) == {"matrix with several answers per statement": ("left out", ("Q1_2",))}
    assert "matrix with text entry" in noted(read(tmp_path, [columns(Selector="TE", SubSelector="Short")]))


def test_statements_between_two_poles_are_scales_with_words_at_their_ends(tmp_path):
    poles = {"SubSelector": None, "Choices": q.choices("Cold:Warm", "Bad: Good", "Time 9:30:Late"), "ChoiceOrder": []}
    made = read(
        tmp_path, [q.question("QID1", "Q1", "Trains are", "Matrix", "Bipolar", Answers=q.choices("", "", ""), **poles)]
    )
    assert [(one.text, one.options) for one in made.questions] == [
        ("Cold – Warm", ("1 (Cold)", "2", "3 (Warm)")),
        ("Bad – Good", ("1 (Bad)", "2", "3 (Good)")),
    ]
    assert all(one.ordinal for one in made.questions)
    assert noted(made)["statement of a bipolar matrix without two ends"] == ("left out", ("Q1_3",))


@pytest.mark.parametrize(
    ("options", "ordinal"),
    [
        (("<div>Not at all<br />\n(1)</div>", "(2)", "(3)", "Very<br>(4)"), True),
        (("3", "2", "1"), True),
        (("Group 1", "Group 2", "Group 3"), False),
        (("1", "3", "5"), False),
        (("1", "2"), False),
        (("16 to 25", "26", "27"), False),
    ],
)
def test_consecutive_numbers_are_a_scale(tmp_path, options, ordinal):
    """Horizontal scales of real files are plain choices; `orders: scale` must ask them in two orders, not in seven."""
    made = read(tmp_path, [choice(Choices=q.choices(*options), ChoiceOrder=[])])
    assert made.questions[0].ordinal is ordinal


def test_questions_named_by_other_tools_and_empty_groups_of_options(tmp_path):
    groups = {"cg_1": {"ChoiceGroupOrder": None, "GroupLabel": "Group", "Options": []}}
    logic = q.logic(("If", [q.selected("Q_sex", 1)]))
    made = read(tmp_path, [choice("Q_sex", "sex", ChoiceGroups=groups), choice("Q2", "born", DisplayLogic=logic)])
    assert [(one.name, one.values) for one in made.questions[1].conditions] == [("sex", ("a",))]
    assert made.notes == ()


def flow_of(tmp_path, questions, flow):
    path = tmp_path / "x.qsf"
    blocks = {f"BL_{i}": {"Description": f"Block {i}", "BlockElements": q.asked(f"QID{i}")} for i in (1, 2)}
    path.write_text(q.survey(questions, blocks, flow))
    return read_instrument(path, {})


def branch(*expressions, inside):
    return {"Type": "Branch", "FlowID": "FL_9", "Description": "New Branch", "Flow": inside} | {
        "BranchLogic": q.logic(("If", expressions))
    }


def test_a_branch_on_a_choice_leads_to_its_blocks(tmp_path):
    one, two = ({"Type": "Standard", "ID": f"BL_{i}", "FlowID": f"FL_{i}"} for i in (1, 2))
    questions = [choice(), choice("QID2", "Q2")]
    chosen, end = q.selected("QID1", 2), {"Type": "EndSurvey", "FlowID": "FL_4"}

    def read_flow(*flow):
        made = flow_of(tmp_path, questions, list(flow))
        return [(c.name, c.values) for c in made.questions[1].conditions], set(noted(made))

    assert read_flow(one, branch(chosen, inside=[two])) == ([("Q1", ("b",))], set())
    ended = {"branch of the flow", "end of survey in the flow"}
    assert read_flow(one, branch(chosen, inside=[end]), two) == ([], ended)
    assert read_flow(one, branch({"LogicType": "GeoIP"}, inside=[two])) == ([], {"branch of the flow"})
    again = {"block several times in the flow"}
    assert read_flow(one, branch(chosen, inside=[two]), two) == ([], again), "everyone comes to it"


def test_embedded_data_with_the_same_text_for_everyone_is_filled_in(tmp_path):
    def data(text, field="party", **more):
        return {"Type": "EmbeddedData", "FlowID": "FL_7", "EmbeddedData": [{"Field": field, "Value": text} | more]}

    questions = [choice(text="Is ${e://Field/party} right?"), choice("QID2", "Q2", text="And ${e://Field/day}?")]
    own = data("the Greens", Type="Custom")
    drawn = {"Type": "BlockRandomizer", "FlowID": "FL_6", "SubSet": 1, "Flow": [data("a", "day", Type="Custom")]}
    block = [{"Type": "Block", "ID": f"BL_{i}", "FlowID": f"FL_{i}"} for i in (1, 2)]
    made = flow_of(tmp_path, questions, [own, drawn, *block])
    assert [one.text for one in made.questions] == ["Is the Greens right?"]
    assert noted(made)["embedded data of the flow"] == ("give its texts in `fields`", ("day",))
    made = flow_of(tmp_path, [questions[0], choice("QID2", "Q2")], [own, own, *block])
    assert [one.id for one in made.questions] == ["Q2"], "of two texts, nobody knows which one is shown"
    assert noted(made)["embedded data of the flow"][1] == ("party",)


def test_logic_of_a_statement_is_named_as_such(tmp_path):
    statements = q.choices("Squash", "Beans")
    statements["2"]["DisplayLogic"] = q.logic(("If", [{"LogicType": "PanelData", "LeftOperand": "m://FirstName"}]))
    made = read(tmp_path, [matrix("QID1", False, Choices=statements)])
    assert noted(made) == {"display logic of a statement": ("asked of everyone", ("Q1_2",))}
