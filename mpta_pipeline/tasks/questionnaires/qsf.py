"""Read a questionnaire from QSF, the file that Qualtrics exports a survey to.

QSF is JSON with one element for the blocks (BL), one for the flow (FL), one per question (SQ) and others for looks and
settings. Qualtrics does not document it and writes it with PHP: a mapping whose keys are 0, 1, 2 … becomes a list, an
empty one `[]`, and numbers may be text. Questions with one answer and matrices with one answer per statement are asked.
Everything else that a respondent would see or that decides what they see is noted, by name.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    "SBS": "side by side",
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
_ONE_ANSWER = ("SAVR", "SAHR", "SACOL", "DL", "SB", "NPS")
_SEVERAL_ANSWERS = ("MAVR", "MAHR", "MACOL", "MSB")
_ONE_PER_STATEMENT = {"Likert": ("SingleAnswer", "DL")}
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
_SELECTED = re.compile(r"q://(?P<question>QID\d+)/SelectableChoice/(?P<choice>\w+)$")
_WRONG_ID = re.compile(r"[^\w.-]+")
_LOGIC = "display logic"


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
    shown = reader.in_flow(flows[0], blocks) if flows else list(blocks)
    reader.give_names(qid for name in (*shown, *blocks) for qid in _asked_in(blocks.get(name, {})))
    for name, times in Counter(shown).items():
        if times > 1:
            said = plain(blocks.get(name, {}).get("Description"))[0] or name
            reader.notes.add("block several times in the flow", "asked once", said)
    questions = [q for name in dict.fromkeys(shown) for q in reader.block(blocks.get(name, {}))]
    reader.not_shown(blocks, shown)
    entry = whole.get("SurveyEntry")
    title = plain(entry.get("SurveyName"))[0] if isinstance(entry, dict) else ""
    filled = with_fields(questions, fields, reader.notes)
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

    def in_flow(self, flow: object, blocks: Mapping[str, dict[str, Any]]) -> list[str]:
        """Blocks in the order of the flow; whatever decides who sees them is noted."""
        found: list[str] = []
        entries = flow.get("Flow") if isinstance(flow, dict) else None
        for _, part in _pairs(entries):
            if not isinstance(part, dict):
                continue
            kind = str(part.get("Type"))
            if kind in _BLOCKS:
                found.append(str(part.get("ID")))
                continue
            if kind not in ("Group", "Root"):
                what, effect = _FLOW.get(kind, (f"{kind} of the flow", "not read"))
                self.notes.add(what, effect, *self._named(part, kind))
            inside = self.in_flow(part, blocks)
            found += inside
        return found

    def _named(self, part: Mapping[str, Any], kind: str) -> list[str]:
        if kind == "EmbeddedData":
            fields = [one.get("Field") for _, one in _pairs(part.get("EmbeddedData")) if isinstance(one, dict)]
            return [str(name) for name in fields if name]
        said = plain(part.get("Description"))[0]
        return [f"{said} ({part.get('FlowID')})" if said and said != "New Branch" else str(part.get("FlowID"))]

    def block(self, block: Mapping[str, Any]) -> Iterator[Question]:
        """The questions of a block that can be asked. Descriptive text precedes the questions of its page."""
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
            made = list(self.question(qid, payload, name, "\n".join(text for _, text in said) or None, shuffled))
            used |= {one for one, _ in said} if made else set()
            yield from made

    def question(
        self, qid: str, payload: Mapping[str, Any], block: str, introduction: str | None, shuffled: bool
    ) -> Iterator[Question]:
        """The questions of an element: one, or one per statement of a matrix; none if it cannot be asked."""
        name, kind = self.names[qid], str(payload.get("QuestionType"))
        selector, sub = str(payload.get("Selector")), str(payload.get("SubSelector"))
        text = self._text(payload.get("QuestionText"), name)
        self._remarks(payload, name)
        matrix = kind == "Matrix"
        if payload.get("DynamicChoices") or payload.get("DynamicAnswers"):
            self.notes.add("choices carried forward from another question", LEFT_OUT, name)
            return
        if matrix and sub not in _ONE_PER_STATEMENT.get(selector, ()):
            several = "several answers per statement" if sub == "MultipleAnswer" else f"{selector}, {sub}"
            self.notes.add(f"matrix with {several}", LEFT_OUT, name)
            return
        if kind == "MC" and selector in _SEVERAL_ANSWERS:
            self.notes.add("question with several answers", LEFT_OUT, name)
            return
        if not matrix and (kind != "MC" or selector not in _ONE_ANSWER):
            known = _TYPES.get(kind)
            self.notes.add(f"{known} ({kind})" if known else f"type {kind}, {selector}", LEFT_OUT, name)
            return
        if not text:
            self.notes.add("question without text", LEFT_OUT, name)
            return
        source, order = ("Answers", "AnswerOrder") if matrix else ("Choices", "ChoiceOrder")
        options = self._options(_in_order(payload.get(source), payload.get(order)), name)
        if selector == "NPS":
            options = _with_ends(
                options, [plain(one.get("Display"))[0] for _, one in _pairs(payload.get("ColumnLabels"))]
            )
        if not 2 <= len(options) <= MOST_OPTIONS or len(set(options)) < len(options):
            why = "with equal options" if len(set(options)) < len(options) else f"with {len(options)} options"
            self.notes.add(f"question {why}", LEFT_OUT, name)
            return
        shared: dict[str, Any] = {
            "options": options,
            "beside": self._beside(payload, source, order, name),
            "block": block,
            "introduction": introduction,
            "conditions": self._conditions(payload, name, qid),
            "shuffled": (False, shuffled, matrix and _randomizes(payload)),
        }
        if not matrix:
            yield Question(name, text, ordinal=selector == "NPS", **shared)
            return
        tags = dict(_pairs(payload.get("ChoiceDataExportTags")))
        for key, row in _in_order(payload.get("Choices"), payload.get("ChoiceOrder")):
            statement = self._text(row.get("Display") if isinstance(row, dict) else row, name)
            own = self._own_name(str(tags.get(key) or f"{name}_{key}"), f"{qid}_{key}")
            if not statement:
                self.notes.add("statement without text", LEFT_OUT, own)
                continue
            if isinstance(row, dict):
                self._of_choice(row, own)
            yield Question(own, statement, stem=text, battery=name, ordinal=True, **shared)

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

    def _of_choice(self, choice: Mapping[str, Any], name: str) -> None:
        if str(choice.get("TextEntry") or "false").lower() not in ("false", ""):
            self.notes.add("text field of an option", NOT_SHOWN, name)
        if choice.get("DisplayLogic"):
            self.notes.add(f"{_LOGIC} of an option", "always shown", name)

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
        groups = payload.get("ChoiceGroups")
        if groups:
            self.notes.add("groups of options", "shown as one list", name)
        if languages := [key for key, _ in _pairs(payload.get("Language"))]:
            self.notes.add(f"translations ({', '.join(sorted(languages))})", "the survey's own language is asked", name)

    def _conditions(self, payload: Mapping[str, Any], name: str, qid: str) -> tuple[Condition, ...]:
        """The display logic as conditions on answers to other questions; noted if it is more than that."""
        logic = payload.get("DisplayLogic")
        if not logic:
            return ()
        found = _conjunction(logic)
        texts = [self._condition(question, choices) for question, choices in found or ()]
        if not found or None in texts or qid in dict(found):
            self.notes.add(_LOGIC, ASKED_OF_ALL, name)
            return ()
        return tuple(one for one in texts if one is not None)

    def _condition(self, qid: str, choices: Sequence[str]) -> Condition | None:
        payload = self.payloads.get(qid, {})
        if payload.get("QuestionType") != "MC" or payload.get("Selector") not in _ONE_ANSWER:
            return None
        options = dict(_pairs(payload.get("Choices")))
        chosen = [options.get(choice) for choice in choices]
        if not all(isinstance(one, dict) for one in chosen):
            return None
        texts = (plain(one["Display"])[0].replace("\n", " ") for one in chosen if one is not None)
        return Condition(self.names[qid], tuple(texts))


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
