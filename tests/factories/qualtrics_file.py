"""A survey in the shape that Qualtrics exports: PHP's lists for mappings, HTML in texts, logic as trees."""

import json


def _element(kind, primary, payload, secondary=None):
    return {
        "SurveyID": "SV_invented0000001",
        "Element": kind,
        "PrimaryAttribute": primary,
        "SecondaryAttribute": secondary,
        "TertiaryAttribute": None,
        "Payload": payload,
    }


def question(qid, tag, text, kind, selector, **more):
    """An element SQ with the keys that every question has."""
    payload = {
        "QuestionText": text,
        "DefaultChoices": False,
        "DataExportTag": tag,
        "QuestionType": kind,
        "Selector": selector,
        "Configuration": {"QuestionDescriptionOption": "UseText"},
        "QuestionDescription": text[:95],
        "Validation": {"Settings": {"ForceResponse": "OFF", "ForceResponseType": "ON", "Type": "None"}},
        "GradingData": [],
        "Language": [],
        "QuestionID": qid,
    }
    return _element("SQ", qid, payload | more, text[:99])


def choices(*texts, first=1):
    return {str(i): {"Display": text} for i, text in enumerate(texts, start=first)}


def selected(qid, choice, conjunction=None):
    """An expression of display logic: a choice is selected."""
    made = {
        "LogicType": "Question",
        "QuestionID": qid,
        "QuestionIsInLoop": "no",
        "ChoiceLocator": f"q://{qid}/SelectableChoice/{choice}",
        "Operator": "Selected",
        "QuestionIDFromLocator": qid,
        "LeftOperand": f"q://{qid}/SelectableChoice/{choice}",
        "Type": "Expression",
        "Description": '<span class="ConjDesc">If</span> <span class="QuestionDesc">…</span>',
    }
    return made | ({"Conjuction": conjunction} if conjunction else {})


def logic(*groups):
    """Display logic of groups: (type, expressions)."""
    made = {
        str(i): {**{str(j): one for j, one in enumerate(expressions)}, "Type": kind}
        for i, (kind, expressions) in enumerate(groups)
    }
    return made | {"Type": "BooleanExpression", "inPage": False}


def survey(questions, blocks, flow=None, further=()):
    """The whole file as text."""
    made = [
        {"Type": "Default" if i == 0 else "Standard", "SubType": "", "ID": ident, **block}
        for i, (ident, block) in enumerate(blocks.items())
    ]
    trash = {"Type": "Trash", "Description": "Trash / Unused Questions", "ID": "BL_trash"}
    flow = flow or [{"ID": ident, "Type": "Block", "FlowID": f"FL_{i}"} for i, ident in enumerate(blocks, start=2)]
    return json.dumps(
        {
            "SurveyEntry": {
                "SurveyID": "SV_invented0000001",
                "SurveyName": "Trust &amp; trains",
                "SurveyLanguage": "EN",
                "SurveyStatus": "Inactive",
            },
            "SurveyElements": [
                _element("BL", "Survey Blocks", [*made, trash]),
                _element(
                    "FL", "Survey Flow", {"Flow": flow, "Properties": {"Count": 9}, "FlowID": "FL_1", "Type": "Root"}
                ),
                _element("SO", "Survey Options", {"BackButton": "false", "Skin": "tufts1"}),
                _element("SCO", "Scoring", {"ScoringCategories": []}),
                _element("PROJ", "CORE", {"ProjectCategory": "CORE"}),
                _element("STAT", "Survey Statistics", {"MobileCompatible": True}),
                _element("QC", "Survey Question Count", None, str(len(questions))),
                _element("RS", "RS_1", None, "Default Response Set"),
                *further,
                *questions,
            ],
        },
        ensure_ascii=True,
    )


def asked(*qids):
    """Elements of a block; None is a page break."""
    return [{"Type": "Question", "QuestionID": qid} if qid else {"Type": "Page Break"} for qid in qids]


def whole():
    """A survey with most of what real ones have."""
    agreement = {"Answers": choices("Disagree", "Neither", "Agree"), "AnswerOrder": ["1", "2", "3"]}
    questions = [
        question("QID1", "intro", "<p>Welcome!</p>", "DB", "TB"),
        question("QID2", "vignette", "Imagine a train.<br>It is late.", "DB", "TB"),
        question(
            "QID3", "god", "Do you <b>believe</b> in God?", "MC", "SAVR",
            SubSelector="TX",
            Choices=choices("No", "Yes") | {"3": {"Display": "<i>Other</i>:", "TextEntry": "true"}},
            ChoiceOrder=[2, 1, 3],
            RecodeValues={"1": "2", "2": "1"},
            QuestionJS="Qualtrics.SurveyEngine.addOnload(function(){});",
        ),
        question(
            "QID4", "trains", "Do you agree with these statements about&nbsp;trains?", "Matrix", "Likert",
            SubSelector="SingleAnswer",
            Choices=choices("They are fast.", "They are cheap."),
            ChoiceOrder=["2", "1"],
            ChoiceDataExportTags={"1": "fast", "2": False},
            Randomization={"Type": "All", "TotalRandSubset": ""},
            **agreement,
        ),
        question(
            "QID5", "nps", "How likely is it?", "MC", "NPS",
            Choices=[{"Display": str(i)} for i in range(11)],
            ChoiceOrder=[str(i) for i in range(11)],
            ColumnLabels=[{"Display": "Not at all"}, {"Display": "Extremely"}],
        ),
        question(
            "QID6", "party", "How close are you to ${e://Field/party}?", "MC", "SAHR",
            Choices=choices("Close", "Not close"), ChoiceOrder=["1", "2"],
            DisplayLogic=logic(("If", [selected("QID3", 1), selected("QID3", 3, "Or")])),
        ),
        question(
            "QID7", "why", "Why ${q://QID3/ChoiceGroup/SelectedChoices}?", "MC", "DL",
            Choices=choices("a", "b"), ChoiceOrder=["1", "2"],
        ),
        question("QID8", "open", "Anything else?", "TE", "ML"),
        question("QID9", "pick", "Pick some", "MC", "MAVR", Choices=choices("a", "b"), ChoiceOrder=["1", "2"]),
        question("QID10", "many", "Rate", "Slider", "HBAR", Choices=choices("x"), ChoiceOrder=["1"]),
        question(
            "QID11", "routed", "Really?", "MC", "SAVR", Choices=choices("a", "b"),
            ChoiceOrder=["1", "2"],
            DisplayLogic=logic(
                ("If", [selected("QID3", 1)]),
                ("OrIf", [{"LogicType": "DeviceType", "Operator": "Is", "Type": "Expression"}]),
            ),
        ),
        question("QID12", "old", "Old?", "MC", "SAVR", Choices=choices("a", "b"), ChoiceOrder=["1", "2"]),
        question(
            "QID13", "carried", "Which of these?", "MC", "SAVR", Choices=[], ChoiceOrder=[],
            DynamicChoices={"Locator": "q://QID9/ChoiceGroup/SelectedChoices", "DynamicType": "ChoiceGroup"},
        ),
        question(
            "QID14", "grid", "Tick", "Matrix", "Likert", SubSelector="MultipleAnswer", Choices=choices("x"),
            ChoiceOrder=["1"], **agreement,
        ),
        question("QID15", "timer", "Timing", "Timing", "PageTimer", Choices=choices("First Click")),
    ]  # fmt: skip
    blocks = {
        "BL_1": {
            "Description": "Main",
            "Options": {"BlockLocking": "false", "RandomizeQuestions": "false", "BlockVisibility": "Expanded"},
            "BlockElements": [
                *asked("QID1", None, "QID2"),
                {
                    "Type": "Question",
                    "QuestionID": "QID3",
                    "SkipLogic": [
                        {
                            "SkipLogicID": 1,
                            "Condition": "Selected",
                            "SkipToDestination": "ENDOFSURVEY",
                            "QuestionID": "QID3",
                        }
                    ],
                },
                *asked("QID4", None, "QID5", "QID15"),
            ],
        },
        "BL_2": {
            "Description": "More",
            "Options": {"RandomizeQuestions": "Advanced", "Looping": "None"},
            "BlockElements": asked("QID6", "QID7", "QID8", "QID9", "QID10", "QID11", "QID13", "QID14"),
        },
        "BL_3": {"Description": "Unused", "BlockElements": asked("QID12")},
    }
    flow = [
        {"Type": "EmbeddedData", "FlowID": "FL_9", "EmbeddedData": [{"Field": "party", "Type": "Recipient"}]},
        {
            "Type": "BlockRandomizer",
            "FlowID": "FL_3",
            "SubSet": 1,
            "EvenPresentation": True,
            "Flow": [
                {"Type": "Standard", "ID": "BL_2", "FlowID": "FL_4", "Autofill": []},
                {"Type": "Block", "ID": "BL_1", "FlowID": "FL_5"},
            ],
        },
        {"Type": "EndSurvey", "FlowID": "FL_6"},
    ]
    return survey(questions, blocks, flow, further=[_element("QO", "QO_1", {"Name": "Women"}, "Women")])
