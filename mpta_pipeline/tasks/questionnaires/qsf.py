"""Read a questionnaire from QSF, the file that Qualtrics exports a survey to.

QSF is JSON with one element for the blocks (BL), one for the flow (FL), one per question (SQ) and others for looks and
settings. Qualtrics does not document it and writes it with PHP: a mapping whose keys are 0, 1, 2 … becomes a list, an
empty one `[]`, and numbers may be text. Questions with one answer, and matrices and columns side by side with one
answer per statement, are asked. Everything else that a respondent would see or that decides what they see is noted, by
name.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.tasks.questionnaires.instrument import (
    ASKED_OF_ALL,
    LEFT_OUT,
    MOST_OPTIONS,
    NO_EFFECT,
    NOT_SHOWN,
    Condition,
    Instrument,
    Notes,
    Question,
    with_fields,
)
from mpta_pipeline.tasks.questionnaires.plain_text import plain, with_named_fields

# Names of question types in Qualtrics' editor, for the list of what is not supported.
_TYPES: Mapping[str, str] = {
    "TE": "text entry",
    "Slider": "slider",
    "RO": "rank order",
    "CS": "constant sum",
    "PGR": "pick, group and rank",
    "HotSpot": "hot spot",
    "HeatMap": "heat map",
    "HL": "highlight",
    "DD": "drill down",
    "TreeSelect": "drill down",
    "Timing": "timing",
    "Meta": "meta information",
    "Captcha": "captcha",
    "FileUpload": "file upload",
    "Draw": "signature",
    "SS": "screen capture",
    "GAP": "gap analysis",
}
_BIPOLAR = "Bipolar"
_ONE_ANSWER = ("SAVR", "SAHR", "SACOL", "DL", "SB", "NPS")
_SEVERAL_ANSWERS = ("MAVR", "MAHR", "MACOL", "MSB")
_ONE_PER_STATEMENT = {"Likert": ("SingleAnswer", "DL"), _BIPOLAR: ("None", "", "SingleAnswer")}
_MATRICES = {
    "TE": "text entry",
    "RO": "ranks",
    "CS": "a constant sum",
    "Profile": "options of its own for each statement",
    "MaxDiff": "the best and the worst statement",
}
# Elements without anything that a respondent sees or that decides what they see: looks, counts, responses, scores.
_SILENT = ("BL", "FL", "SQ", "SO", "SCO", "STAT", "QC", "RS", "PROJ", "PL", "NT", "BR", "SLT", "QGO", "CVO")
_ELEMENTS = {"QO": "quota", "QG": "quota group", "TR": "trigger", "TO": "translation"}
_BLOCKS = ("Block", "Standard", "BL")
_FLOW = {
    "Branch": ("branch of the flow", ASKED_OF_ALL),
    "BlockRandomizer": ("randomizer of the flow", "all its blocks are asked"),
    "EmbeddedData": ("embedded data of the flow", "give its texts in `fields`"),
    "EndSurvey": ("end of survey in the flow", ASKED_OF_ALL),
    "WebService": ("web service of the flow", "not called"),
    "Authenticator": ("authenticator of the flow", "not asked"),
    "Quota": ("quota check of the flow", ASKED_OF_ALL),
    "QuotaCheck": ("quota check of the flow", ASKED_OF_ALL),
    "ReferenceSurvey": ("reference survey of the flow", LEFT_OUT),
    "TableOfContents": ("table of contents of the flow", NO_EFFECT),
    "SupplementalData": ("supplemental data of the flow", "not read"),
}
# Files that other tools write name questions in other ways than QID1.
_SELECTED = re.compile(r"q://(?P<question>[^/]+)/SelectableChoice/(?P<choice>\w+)$")
# A point of a numbered scale without words: "2", "(2)", "2.".
_POINT = re.compile(r"\(?(-?\d+)[).]?$")
_WRONG_ID = re.compile(r"[^\w.-]+")
_LOGIC = "display logic"
_Logic = tuple[tuple[str, tuple[str, ...]], ...]
"""Questions and their choices, of which one must be selected in each."""


def read_qsf(path: Path, fields: Mapping[str, str | None]) -> Instrument:
    """Read a questionnaire from QSF.

    Args:
        path: The file.
        fields: Texts of piped fields: embedded data by name, others by their address (`q://QID1/…`).

    Raises:
        TaskError: The file is not an export of Qualtrics.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as failure:
        raise _unlike(path, f"it is not JSON: {failure}") from None
    if not isinstance(whole, dict) or not isinstance(whole.get("SurveyElements"), list):
        raise _unlike(path, "it has no SurveyElements")
    elements = [element for element in whole["SurveyElements"] if isinstance(element, dict)]
    payloads = {
        str(payload.get("QuestionID") or element.get("PrimaryAttribute")): payload
        for element in elements
        if element.get("Element") == "SQ" and isinstance(payload := element.get("Payload"), dict)
    }
    if not payloads:
        raise _unlike(path, "it has no question (SQ)")
    reader = _Reader(payloads)
    for element in elements:
        kind = str(element.get("Element"))
        if kind not in _SILENT:
            what = _ELEMENTS.get(kind, f"element {kind}")
            reader.notes.add(
                what, "not read", str(element.get("SecondaryAttribute") or element.get("PrimaryAttribute"))
            )
    blocks = {
        str(block.get("ID")): block
        for element in elements
        if element.get("Element") == "BL"
        for _, block in _pairs(element.get("Payload"))
        if isinstance(block, dict)
    }
    flows = [element["Payload"] for element in elements if element.get("Element") == "FL" and element.get("Payload")]
    places = reader.in_flow(flows[0]) if flows else [(name, ()) for name in blocks]
    shown = [name for name, _ in places]
    reader.give_names(qid for name in (*shown, *blocks) for qid in _asked_in(blocks.get(name, {})))
    for name, times in Counter(shown).items():
        if times > 1:
            said = plain(blocks.get(name, {}).get("Description"))[0] or name
            reader.notes.add("block several times in the flow", "asked once", said)
    under = {name: logic for name, logic in places if all(logic == other for one, other in places if one == name)}
    questions = [q for name in dict.fromkeys(shown) for q in reader.block(blocks.get(name, {}), under.get(name, ()))]
    reader.not_shown(blocks, shown)
    entry = whole.get("SurveyEntry")
    title = plain(entry.get("SurveyName"))[0] if isinstance(entry, dict) else ""
    filled = with_fields(questions, {**reader.constants(), **fields}, reader.notes)
    asked = {question.id for question in filled}
    for question in filled:
        if gone := [one.name for one in question.conditions if one.name not in asked]:
            reader.notes.add(f"{_LOGIC} on {', '.join(gone)}, which is left out", ASKED_OF_ALL, question.id)
    kept = (replace(q, conditions=tuple(c for c in q.conditions if c.name in asked)) for q in filled)
    return Instrument(title or path.stem, tuple(kept), reader.notes.all())


def _unlike(path: Path, why: str) -> TaskError:
    return TaskError(
        f"The file is not a survey exported from Qualtrics: {why}",
        file=path,
        remedy="export the survey again (Tools, Import/Export, Export survey)",
    )


def _pairs(value: object) -> list[tuple[str, Any]]:
    """Keys and values of a mapping, which PHP writes as a list if its keys are 0, 1, 2 and so on."""
    if isinstance(value, dict):
        return [(str(key), one) for key, one in value.items()]
    return [(str(i), one) for i, one in enumerate(value)] if isinstance(value, list) else []


def _in_order(values: object, order: object) -> list[tuple[str, Any]]:
    """The entries of a mapping in an order; entries that the order omits come last."""
    found = dict(_pairs(values))
    listed = [str(key) for _, key in _pairs(order) if not isinstance(key, dict)]
    return [(key, found[key]) for key in dict.fromkeys((*listed, *found)) if key in found]


def _asked_in(block: Mapping[str, Any]) -> list[str]:
    """The questions of a block."""
    entries = (entry for _, entry in _pairs(block.get("BlockElements")) if isinstance(entry, dict))
    return [str(entry.get("QuestionID")) for entry in entries if entry.get("Type") == "Question"]


@dataclass
class _Reader:
    """Reads questions block by block and notes what is not used."""

    payloads: Mapping[str, dict[str, Any]]
    notes: Notes = field(default_factory=Notes)
    names: dict[str, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _data: dict[str, list[str | None]] = field(default_factory=dict)

    def give_names(self, first: Iterable[str]) -> None:
        """Name all questions by their export tags; of several with the same tag, the first one has it.

        Args:
            first: Questions in the order in which they are named. Those of the flow precede those of the trash, which
                keep the tags that they had.
        """
        for qid in dict.fromkeys((*first, *self.payloads)):
            if qid in self.payloads:
                tag = str(self.payloads[qid].get("DataExportTag") or "").strip()
                self.names[qid] = self._own_name(tag or qid, qid)

    def _own_name(self, tag: str, qid: str) -> str:
        """A name that no other question or statement has. Copies of a question may keep the tags of their original."""
        name = _WRONG_ID.sub("_", tag)
        if name in self._taken:
            name = f"{name}_{qid}"
            self.notes.add("export tag that another question has", "the number of the question is added", name)
        self._taken.add(name)
        return name

    def in_flow(self, flow: object, under: _Logic = (), *, always: bool = True) -> list[tuple[str, _Logic]]:
        """Blocks in the order of the flow, each with the choices that lead to it; whatever else decides is noted.

        Args:
            flow: The flow, or an element of it.
            under: The choices that lead to it.
            always: Everyone comes to it.
        """
        found: list[tuple[str, _Logic]] = []
        entries = flow.get("Flow") if isinstance(flow, dict) else None
        for _, part in _pairs(entries):
            if not isinstance(part, dict):
                continue
            kind = str(part.get("Type"))
            if kind in _BLOCKS:
                found.append((str(part.get("ID")), under))
                continue
            logic = self._branch(part) if kind == "Branch" else ()
            inside = self.in_flow(part, (*under, *(logic or ())), always=always and kind in ("Group", "Root"))
            found += inside
            if kind == "EmbeddedData":
                self._keep_data(part, always=always)
            elif kind not in ("Group", "Root") and not (logic and inside):
                what, effect = _FLOW.get(kind, (f"{kind} of the flow", "not read"))
                self.notes.add(what, effect, self._named(part))
        return found

    def _branch(self, part: Mapping[str, Any]) -> _Logic | None:
        """The choices that lead into a branch; None if it asks for anything else."""
        logic = _conjunction(part.get("BranchLogic"))
        if logic is None or any(self._chosen(qid, choices) is None for qid, choices in logic):
            return None
        return tuple((qid, tuple(choices)) for qid, choices in logic)

    def _keep_data(self, part: Mapping[str, Any], *, always: bool) -> None:
        """Note the texts that the flow gives to embedded data."""
        for _, one in _pairs(part.get("EmbeddedData")):
            if isinstance(one, dict) and one.get("Field"):
                text = plain(one.get("Value"))[0] if one.get("Type") == "Custom" and always else ""
                self._data.setdefault(str(one["Field"]), []).append(text if text and "${" not in text else None)

    def constants(self) -> dict[str, str]:
        """Embedded data that has the same text for everyone; all other is noted."""
        fixed = {name: texts[0] for name, texts in self._data.items() if len(texts) == 1 and texts[0] is not None}
        what, effect = _FLOW["EmbeddedData"]
        if others := [name for name in self._data if name not in fixed]:
            self.notes.add(what, effect, *others)
        return {name: text for name, text in fixed.items() if text is not None}

    @staticmethod
    def _named(part: Mapping[str, Any]) -> str:
        said = plain(part.get("Description"))[0]
        return f"{said} ({part.get('FlowID')})" if said and said != "New Branch" else str(part.get("FlowID"))

    def block(self, block: Mapping[str, Any], under: _Logic = ()) -> Iterator[Question]:
        """The questions of a block that can be asked. Descriptive text precedes the questions of its page.

        Args:
            block: The block.
            under: The choices that lead to it.
        """
        name = plain(block.get("Description"))[0] or str(block.get("ID"))
        options = dict(_pairs(block.get("Options")))
        shuffled = False
        if str(options.get("RandomizeQuestions") or "false").lower() not in ("false", "none", ""):
            shuffled = options["RandomizeQuestions"] != "RandomWithOnlyX"
            subset = "with only some of them" if options["RandomizeQuestions"] == "RandomWithOnlyX" else "in a block"
            effect = "all are asked" if options["RandomizeQuestions"] == "RandomWithOnlyX" else NO_EFFECT
            self.notes.add(f"random order of questions {subset}", effect, name)
        if str(options.get("Looping") or "None") not in ("None", "false", ""):
            self.notes.add("loop and merge", "asked once", name)
        said: list[tuple[str, str]] = []
        used: set[str] = set()
        for _, entry in [*_pairs(block.get("BlockElements")), ("", {"Type": "Page Break"})]:
            if not isinstance(entry, dict):
                continue
            if entry.get("Type") != "Question":
                if alone := [one for one, _ in said if one not in used]:
                    self.notes.add("descriptive text without a question on its page", NOT_SHOWN, *alone)
                said, used = [], set()
                continue
            qid = str(entry.get("QuestionID"))
            payload = self.payloads.get(qid)
            if payload is None:
                self.notes.add("question that the file does not hold", LEFT_OUT, qid)
                continue
            if entry.get("SkipLogic"):
                self.notes.add("skip logic", ASKED_OF_ALL, self.names[qid])
            if payload.get("QuestionType") == "DB":
                text = self._text(payload.get("QuestionText"), self.names[qid])
                self._remarks(payload, self.names[qid])
                if payload.get("DisplayLogic"):
                    self.notes.add(f"{_LOGIC} of descriptive text", "shown to everyone", self.names[qid])
                if text:
                    said.append((self.names[qid], text))
                continue
            introduction = "\n".join(text for _, text in said) or None
            made = list(self.question(qid, payload, name, introduction, shuffled=shuffled, name=self.names[qid]))
            used |= {one for one, _ in said} if made else set()
            leading = tuple(c for asked, choices in under if asked != qid for c in self._condition(asked, choices))
            yield from (replace(one, conditions=(*leading, *one.conditions)) for one in made)

    def question(
        self,
        qid: str,
        payload: Mapping[str, Any],
        block: str,
        introduction: str | None,
        *,
        shuffled: bool,
        name: str,
    ) -> Iterator[Question]:
        """The questions of an element: one, or one per statement of a matrix; none if it cannot be asked."""
        selector, matrix = str(payload.get("Selector")), payload.get("QuestionType") == "Matrix"
        text = self._text(payload.get("QuestionText"), name)
        self._remarks(payload, name)
        if payload.get("QuestionType") == "SBS":
            for key, column in _pairs(payload.get("AdditionalQuestions")):
                if isinstance(column, dict):
                    own = self._own_name(str(column.get("DataExportTag") or f"{name}_{key}"), f"{qid}_{key}")
                    yield from self.question(
                        f"{qid}_{key}", _column(payload, column), block, introduction, shuffled=shuffled, name=own
                    )
            return
        if (why := _not_asked(payload)) or not text:
            self.notes.add(why or "question without text", LEFT_OUT, name)
            return
        source, order = ("Answers", "AnswerOrder") if matrix else ("Choices", "ChoiceOrder")
        entries = _in_order(payload.get(source), payload.get(order))
        options = _numbers(entries) if matrix and selector == _BIPOLAR else self._options(entries, name)
        if selector == "NPS":
            options = _with_ends(
                options, [plain(one.get("Display"))[0] for _, one in _pairs(payload.get("ColumnLabels"))]
            )
        if not 2 <= len(options) <= MOST_OPTIONS or len(set(options)) < len(options):
            why = "with equal options" if len(set(options)) < len(options) else f"with {len(options)} options"
            self.notes.add(f"question {why}", LEFT_OUT, name)
            return
        asked = Question(
            name,
            text,
            options,
            beside=self._beside(payload, source, order, name),
            block=block,
            introduction=introduction,
            ordinal=matrix or selector == "NPS" or _numbered(options),
            conditions=self._conditions(payload, name, qid),
            shuffled=(False, shuffled, matrix and _randomizes(payload)),
        )
        yield from self._statements(qid, payload, asked) if matrix else (asked,)

    def _statements(self, qid: str, payload: Mapping[str, Any], asked: Question) -> Iterator[Question]:
        """The statements of a matrix, each of them asked as a question."""
        tags = dict(_pairs(payload.get("ChoiceDataExportTags")))
        for key, row in _in_order(payload.get("Choices"), payload.get("ChoiceOrder")):
            statement = self._text(row.get("Display") if isinstance(row, dict) else row, asked.id)
            own = self._own_name(str(tags.get(key) or f"{asked.id}_{key}"), f"{qid}_{key}")
            if not statement:
                self.notes.add("statement without text", LEFT_OUT, own)
                continue
            if isinstance(row, dict):
                self._of_choice(row, own, "a statement", ASKED_OF_ALL)
            options = asked.options
            if payload.get("Selector") == _BIPOLAR:
                left, _, right = (end.strip() for end in statement.partition(":"))
                if not left or not right or ":" in right:
                    self.notes.add("statement of a bipolar matrix without two ends", LEFT_OUT, own)
                    continue
                statement, options = f"{left} – {right}", _with_ends(options, (left, right))
            yield replace(asked, id=own, text=statement, stem=asked.text, battery=asked.id, options=options)

    def _beside(self, payload: Mapping[str, Any], source: str, order: str, name: str) -> tuple[str, ...]:
        """Options that are no point of a scale: those that the survey excludes from analysis, or codes so.

        A code below 0 is one only if it breaks the order of the others: 1, 2, 3, -1, and not -2, -1, 0, 1, 2.
        """
        excluded = {key for key, value in _pairs(payload.get("AnalyzeChoices")) if str(value).lower() == "no"}
        texts = {
            key: with_named_fields(plain(one.get("Display") if isinstance(one, dict) else one)[0]).replace("\n", " ")
            for key, one in _in_order(payload.get(source), payload.get(order))
        }
        codes = {
            key: code for key, value in _pairs(payload.get("RecodeValues")) if (code := _number(value)) is not None
        }
        coded = [codes[key] for key in texts if key in codes and key not in excluded]
        if len(coded) > 2 and not _monotone(coded) and _monotone([code for code in coded if code >= 0]):
            excluded |= {key for key, code in codes.items() if code < 0}
        found = tuple(text for key, text in texts.items() if key in excluded and text)
        if len(texts) - len(found) < 2:
            return ()
        if found:
            self.notes.add("option that the survey does not analyse", "asked, but no point of a scale", name)
        return found

    def not_shown(self, blocks: Mapping[str, dict[str, Any]], shown: Sequence[str]) -> None:
        """Note the questions of blocks that the flow does not reach, and of the trash."""
        reached: set[str] = set()
        for ident, block in blocks.items():
            inside = _asked_in(block)
            reached.update(inside)
            if ident not in shown and inside:
                what = "question in the trash" if block.get("Type") == "Trash" else "question outside the flow"
                self.notes.add(what, LEFT_OUT, *(self.names.get(qid, qid) for qid in inside))
        if lost := [name for qid, name in self.names.items() if qid not in reached]:
            self.notes.add("question outside all blocks", LEFT_OUT, *lost)

    def _text(self, html: object, name: str) -> str:
        text, media = plain(html)
        for tag in dict.fromkeys(media):
            self.notes.add({"img": "image in a text"}.get(tag, f"{tag} in a text"), NOT_SHOWN, name)
        return with_named_fields(text)

    def _options(self, entries: list[tuple[str, Any]], name: str) -> tuple[str, ...]:
        found = []
        for _, choice in entries:
            text = self._text(choice.get("Display") if isinstance(choice, dict) else choice, name)
            if not text:
                self.notes.add("option without text", LEFT_OUT, name)
                continue
            if isinstance(choice, dict):
                self._of_choice(choice, name)
            found.append(text.replace("\n", " "))
        return tuple(found)

    def _of_choice(
        self, choice: Mapping[str, Any], name: str, what: str = "an option", effect: str = "always shown"
    ) -> None:
        if str(choice.get("TextEntry") or "false").lower() not in ("false", ""):
            self.notes.add(f"text field of {what}", NOT_SHOWN, name)
        if choice.get("DisplayLogic"):
            self.notes.add(f"{_LOGIC} of {what}", effect, name)

    def _remarks(self, payload: Mapping[str, Any], name: str) -> None:
        """Note what else the element has that changes what a respondent sees."""
        kind = _randomization(payload)
        if kind != "None":
            what = "reversed scale" if kind == "ScaleReversal" else "random order of options"
            if payload.get("QuestionType") == "Matrix" and kind != "ScaleReversal":
                self.notes.add("random order of statements", NO_EFFECT, name)
            else:
                self.notes.add(what, "the task's `orders` decide", name)
        if payload.get("Graphics"):
            self.notes.add("image in a text", NOT_SHOWN, name)
        if payload.get("QuestionJS"):
            self.notes.add("JavaScript", "not run", name)
        if payload.get("InPageDisplayLogic"):
            self.notes.add(f"{_LOGIC} within a page", ASKED_OF_ALL, name)
        groups = (one for _, one in _pairs(payload.get("ChoiceGroups")))
        if any(isinstance(one, dict) and one.get("ChoiceGroupOrder") for one in groups):
            self.notes.add("groups of options", "shown as one list", name)
        if languages := [key for key, _ in _pairs(payload.get("Language"))]:
            self.notes.add(f"translations ({', '.join(sorted(languages))})", "the survey's own language is asked", name)

    def _conditions(self, payload: Mapping[str, Any], name: str, qid: str) -> tuple[Condition, ...]:
        """The display logic as conditions on answers to other questions; noted if it is more than that."""
        logic = payload.get("DisplayLogic")
        if not logic:
            return ()
        found = _conjunction(logic)
        made = [one for question, choices in found or () for one in self._condition(question, choices)]
        if not found or len(made) < len(found) or qid in dict(found):
            self.notes.add(_LOGIC, ASKED_OF_ALL, name)
            return ()
        return tuple(made)

    def _condition(self, qid: str, choices: Sequence[str]) -> list[Condition]:
        """The condition that one of the choices is selected; none if the question has no such choice."""
        texts = self._chosen(qid, choices)
        return [] if texts is None else [Condition(self.names[qid], texts)]

    def _chosen(self, qid: str, choices: Sequence[str]) -> tuple[str, ...] | None:
        payload = self.payloads.get(qid, {})
        if payload.get("QuestionType") != "MC" or payload.get("Selector") not in _ONE_ANSWER:
            return None
        options = dict(_pairs(payload.get("Choices")))
        chosen = [options.get(choice) for choice in choices]
        if not all(isinstance(one, dict) for one in chosen):
            return None
        return tuple(
            with_named_fields(plain(one["Display"])[0]).replace("\n", " ") for one in chosen if one is not None
        )


def _not_asked(payload: Mapping[str, Any]) -> str | None:
    """What the element is if it cannot be asked."""
    kind, selector, sub = (str(payload.get(key)) for key in ("QuestionType", "Selector", "SubSelector"))
    if payload.get("DynamicChoices") or payload.get("DynamicAnswers"):
        return "choices carried forward from another question"
    if kind == "Matrix":
        if sub in _ONE_PER_STATEMENT.get(selector, ()):
            return None
        several = "several answers per statement" if sub == "MultipleAnswer" else _MATRICES.get(selector)
        return f"matrix with {several or f'{selector}, {sub}'}"
    if kind == "MC" and selector in _SEVERAL_ANSWERS:
        return "question with several answers"
    if kind != "MC" or selector not in _ONE_ANSWER:
        known = _TYPES.get(kind)
        return f"{known} ({kind})" if known else f"type {kind}, {selector}"
    return None


def _column(payload: Mapping[str, Any], column: Mapping[str, Any]) -> dict[str, Any]:
    """A column of a question with columns side by side, as the matrix that it is."""
    texts = [str(one.get("QuestionText") or "") for one in (payload, column)]
    of_all = {name: payload[name] for name in ("Choices", "ChoiceOrder", "DisplayLogic") if name in payload}
    return {**of_all, **column, "QuestionText": "<br>".join(texts), "Language": []}


def _numbers(entries: Sequence[tuple[str, Any]]) -> tuple[str, ...]:
    """The points of a bipolar scale: their own texts, or their numbers if they have none."""
    texts = [plain(one.get("Display") if isinstance(one, dict) else one)[0].replace("\n", " ") for _, one in entries]
    return tuple(texts) if all(texts) else tuple(str(i) for i in range(1, len(texts) + 1))


def _numbered(options: Sequence[str]) -> bool:
    """Whether the options are consecutive numbers; the first and the last may have words.

    >>> _numbered(["Not at all (1)", "(2)", "(3)", "Very (4)"])
    True
    >>> _numbered(["Group 1", "Group 2", "Group 3"])
    False
    """
    inner = [_POINT.match(option) for option in options[1:-1]]
    ends = [re.findall(r"-?\d+", option) for option in (options[0], options[-1])]
    if not inner or not all(inner) or any(len(numbers) != 1 for numbers in ends):
        return False
    points = [int(ends[0][0]), *(int(found[1]) for found in inner if found), int(ends[1][0])]
    return {b - a for a, b in pairwise(points)} in ({1}, {-1})


def _randomization(payload: Mapping[str, Any]) -> str:
    random = payload.get("Randomization")
    return str(random.get("Type") or "None") if isinstance(random, dict) else "None"


def _randomizes(payload: Mapping[str, Any]) -> bool:
    """Whether the order of a matrix' statements is random."""
    return _randomization(payload) not in ("None", "ScaleReversal")


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _monotone(codes: Sequence[float]) -> bool:
    return list(codes) in (sorted(codes), sorted(codes, reverse=True))


def _with_ends(options: tuple[str, ...], labels: Sequence[str]) -> tuple[str, ...]:
    """The numbers of a net promoter score with the words at its ends."""
    ends = [label for label in labels if label]
    if len(ends) < 2 or not options:
        return options
    return (f"{options[0]} ({ends[0]})", *options[1:-1], f"{options[-1]} ({ends[-1]})")


def _conjunction(logic: object) -> list[tuple[str, list[str]]] | None:
    """Display logic as question → choices of which one is selected, all of which must hold; None if it is not that.

    A group of expressions is joined by Or or And ("Conjuction" in the file); groups by their type: If, AndIf, OrIf.
    """
    found: list[tuple[str, list[str]]] = []
    groups = [(key, group) for key, group in _pairs(logic) if isinstance(group, dict)]
    for place, (_, group) in enumerate(groups):
        if place and group.get("Type") != "AndIf":
            return None
        parts: list[tuple[str, list[str]]] = []
        for _, one in ((key, one) for key, one in _pairs(group) if isinstance(one, dict)):
            read = _SELECTED.match(str(one.get("LeftOperand") or one.get("ChoiceLocator") or ""))
            if one.get("LogicType") != "Question" or one.get("Operator") != "Selected" or read is None:
                return None
            joined = str(one.get("Conjuction") or one.get("Conjunction") or "And").lower()
            question, choice = read["question"], read["choice"]
            if parts and joined == "or":
                if len(parts) > 1 or parts[0][0] != question:
                    return None
                parts[0][1].append(choice)
            elif parts and len(parts[-1][1]) > 1:
                return None  # a or b and c: the file does not say which binds first
            else:
                parts.append((question, [choice]))
        found += parts
    return found or None
