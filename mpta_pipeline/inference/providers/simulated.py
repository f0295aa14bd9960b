"""Simulated respondents: controls with planted properties, which the pipeline must find, and nothing else.

A simulated respondent makes no call and needs no network. It is told the answer of the person that a prompt shows
(`known_truth.py`) and distorts it as its entry says. What it does follows from hashes of the seed, the person and the
question, so that equal entries give equal responses in any order, on any machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import orjson
from pydantic import Field, model_validator

from mpta_pipeline.core.labels import CROSS
from mpta_pipeline.core.vocabulary import LETTERS
from mpta_pipeline.inference.known_truth import KnownTruth, WantedTruth
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError
from mpta_pipeline.inference.providers.base import Call, ModelResponse, Provider, ProviderOptions
from mpta_pipeline.inference.requests import ModelRequest

if TYPE_CHECKING:
    from mpta_pipeline.inference.models import ModelSpec

Rate = Annotated[float, Field(ge=0, le=1)]
BySubgroup = dict[str, dict[str, Rate]]

REFUSAL = "I'm sorry, but I cannot answer that question."
NO_OPTIONS = "A simulated respondent has no words of its own."
CONFIDENCE = 0.97  # probability of the option that is given, where probabilities are asked for
REST_EVERY = 64  # responses between two turns of the event loop, which writes the ledger to disk meanwhile


class SimulatedOptions(ProviderOptions):
    """Fields of a simulated respondent's entry. All of them are shares from 0 to 1 unless stated otherwise.

    Attributes:
        answers_like: Whose answer it aims at: `respondent` (the person shown), `group` (the most frequent answer in the
            person's `group`) or `key` (the answer key, whatever the prompt shows). Without a person, the first two aim
            at the most frequent answer of all people.
        accuracy: How often it gives the answer that it aims at; otherwise one of the other options, by chance. It is
            settled once for each person and question, so that all option orders get the same answer.
        accuracy_by: Dimension → subgroup → accuracy: `sex×age_band: {female×65+: 0.5}`. Dimensions and subgroups are
            those of the study's estimates. If several apply to a person, the one with most dimensions counts.
        without_persona: Accuracy where no person is shown; null for `accuracy`.
        group_accuracy: How much of the shares that it states for a described group (condition `group`) is people's own
            shares; the rest is equal shares. Null: what its answers for these people would add up to.
        refusals: How often it refuses, settled once for each person and question.
        refusals_by: Dimension → subgroup → share of refusals, as `accuracy_by`.
        position_bias: How often it takes the option at `position`, whatever it says; drawn for each option order.
        position: The place that it prefers: `first` or `last`.
        direction: How often its answer is pulled one place towards the option shown first; drawn for each option order.
        carry_over: How often, in a conversation, it gives the option at the place of its answer before, whatever the
            question; drawn for each turn.
        noise: How often it answers by chance; drawn for each option order and repeat.
        flattening: How often it gives the most frequent answer of all people, whoever is shown.
        copying: How often it gives the most frequent answer in the person's `group`.
        group: Dimension or intersection by which people form groups, for `answers_like: group` and `copying`.
        seed: Whole number; another one gives another respondent with the same properties.
    """

    answers_like: Literal["respondent", "group", "key"] = "respondent"
    accuracy: Rate = 1.0
    accuracy_by: BySubgroup = Field(default_factory=dict)
    without_persona: Rate | None = None
    group_accuracy: Rate | None = None
    refusals: Rate = 0.0
    refusals_by: BySubgroup = Field(default_factory=dict)
    position_bias: Rate = 0.0
    position: Literal["first", "last"] = "first"
    direction: Rate = 0.0
    carry_over: Rate = 0.0
    noise: Rate = 0.0
    flattening: Rate = 0.0
    copying: Rate = 0.0
    group: str = ""
    seed: int = 0

    @model_validator(mode="after")
    def _fits_together(self) -> SimulatedOptions:
        if not self.group and (self.copying or self.answers_like == "group"):
            raise ValueError("copying and answers_like: group need `group`, e.g. group: sex×age_band")
        if self.flattening + self.copying > 1:
            raise ValueError("flattening and copying are shares of the same answers: their sum is at most 1")
        for name, by in (("accuracy_by", self.accuracy_by), ("refusals_by", self.refusals_by)):
            for dimension, subgroups in by.items():
                for subgroup in subgroups:
                    if dimension.count(CROSS) != subgroup.count(CROSS):
                        raise ValueError(f"{name}: {subgroup} is no subgroup of {dimension}: write a value for each")
        return self


class Simulated(Provider):
    """A respondent made by rules, which knows what the prompt's person answered."""

    elicitations = ("letter", "option_logprob", "verbalized", "free_text")
    Options = SimulatedOptions
    unused_fields: ClassVar[tuple[str, ...]] = (
        "base_url",
        "revision",
        "key_env",
        "key_header",
        "headers",
        "query",
        "parameters",
        "max_tokens",
        "reasoning",
        "structured",
        "slots",
        "requests_per_minute",
        "tokens_per_minute",
        "batch",
        "price",
        "budget",
    )
    in_process = True
    control = True
    concurrency = 1
    prefill_rate = 1e9
    seconds_per_call = 0.0005

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.option_method = "simulation"
        self._answered = 0

    @classmethod
    def identity(cls, spec: ModelSpec) -> dict[str, Any]:
        """Return the properties: a change of any of them asks anew."""
        return options_of(spec).model_dump(mode="json", exclude_defaults=True)

    @classmethod
    def about(cls, spec: ModelSpec) -> str:
        """Return what was planted, in words."""
        return described(options_of(spec))

    @classmethod
    def wanted_truth(cls, spec: ModelSpec) -> WantedTruth:
        """Return what it must know of each prompt."""
        own = options_of(spec)
        subgroups: dict[str, tuple[str, ...]] = {}
        for by in (own.accuracy_by, own.refusals_by):
            for dimension, values in by.items():
                subgroups[dimension] = tuple(dict.fromkeys((*subgroups.get(dimension, ()), *values)))
        return WantedTruth(own.answers_like == "key", subgroups, own.group)

    def headers(self, key: str | None) -> dict[str, str]:
        """Return no headers: nothing is sent."""
        return {}

    async def complete(self, request: ModelRequest, call: Call) -> ModelResponse:
        """Return the response; no call is made."""
        self._answered += 1
        if self._answered % REST_EVERY == 0:
            await asyncio.sleep(0)
        return respond(options_of(self.spec), self.spec.model, request)

    def read_response(self, request: ModelRequest, payload: Any) -> ModelResponse:
        """Refuse: a response that arrives from elsewhere is none of a simulated respondent's."""
        raise ProviderError(ErrorKind.REQUEST, "a simulated respondent receives no responses")


def options_of(spec: ModelSpec) -> SimulatedOptions:
    """Return the properties that an entry plants."""
    assert isinstance(spec.options, SimulatedOptions)
    return spec.options


def respond(own: SimulatedOptions, name: str, request: ModelRequest) -> ModelResponse:
    """Return the response of a simulated respondent to one request.

    Args:
        own: Its properties.
        name: Its name, which tells respondents with one seed apart.
        request: The request, with what the respondent knows.
    """
    k = len(request.options)
    if k == 0:
        return ModelResponse(NO_OPTIONS, finish_reason="stop", provider_model=name)
    if request.known and (several := KnownTruth.parse_all(request.known)):
        text = "\n".join(f"{one.line}: {_answer(own, name, request, one)}" for one in several)
        return ModelResponse(text, finish_reason="stop", provider_model=name)
    known = KnownTruth.parse(request.known) if request.known else None
    if not known:  # a question outside a study: the probe's
        known = KnownTruth(None, request.user, None, None, None, tuple(range(k)), {})
    said = _given(own, name, request, known, k)
    if isinstance(said, str):
        return ModelResponse(said, finish_reason="stop", provider_model=name)
    if isinstance(said, list):
        return _stating(said, name)
    return _in_words(request, said, name, line=known.line)


def _answer(own: SimulatedOptions, name: str, request: ModelRequest, known: KnownTruth) -> str:
    """Return what it says to one of several questions in a request."""
    said = _given(own, name, request, known, len(known.order), known.item)
    return LETTERS[said] if isinstance(said, int) else str(said)


def _given(
    own: SimulatedOptions, name: str, request: ModelRequest, known: KnownTruth, k: int, *of_item: str
) -> int | str | list[float]:
    """Return the shown position of the option that it gives, its refusal, or the shares that it states for a group.

    Args:
        own: Its properties.
        name: Its name.
        request: The request.
        known: What it knows about the question.
        k: Number of options.
        of_item: The question, if the request has several: each is drawn for by itself.
    """

    def settled(what: str) -> float:
        return uniform(own.seed, name, what, known.mind, known.item)

    def at_this_asking(what: str) -> float:
        return uniform(own.seed, name, what, request.request_hash, *of_item)

    shares = subgroup_rates(own, known)
    if settled("refusal") < shares.refusals:
        return REFUSAL
    if known.shares is not None:
        return _stated_shares(own, known, shares.accuracy, k)
    if at_this_asking("position") < own.position_bias:
        position = 0 if own.position == "first" else k - 1
    else:
        if at_this_asking("noise") < own.noise:
            position = int(at_this_asking("noise answer") * k)
        else:
            position = known.order.index(_settled_answer(own, known, shares.accuracy, k, settled))
        if at_this_asking("direction") < own.direction:
            position = max(position - 1, 0)
    if own.carry_over and request.history and at_this_asking("carry over") < own.carry_over:
        before = _place_said(*request.history[-1])
        position = position if before is None else min(before, k - 1)
    return position


def _place_said(asked: str, said: str) -> int | None:
    """Return the shown position of the option that an earlier reply gave; None if it gave none."""
    if len(said) == 1:
        return LETTERS.find(said) if said in LETTERS else None
    options = [line[2:] for line in asked.splitlines() if line.startswith("- ")]
    return options.index(said) if said in options else None


class Shares:
    """How often a respondent is right, and refuses, for one person."""

    __slots__ = ("accuracy", "refusals")

    def __init__(self, accuracy: float, refusals: float) -> None:
        self.accuracy = accuracy
        self.refusals = refusals


def subgroup_rates(own: SimulatedOptions, known: KnownTruth) -> Shares:
    """Return accuracy and refusals for the person that is shown."""
    if known.mind is None:
        return Shares(own.accuracy if own.without_persona is None else own.without_persona, own.refusals)
    return Shares(
        _most_specific(own.accuracy_by, known.subgroups, own.accuracy),
        _most_specific(own.refusals_by, known.subgroups, own.refusals),
    )


def _most_specific(by: Mapping[str, Mapping[str, float]], subgroups: Mapping[str, str | None], usual: float) -> float:
    """Return the rate of the subgroup with most dimensions that a person belongs to."""
    found, depth = usual, 0
    for dimension, rates in by.items():
        subgroup = subgroups.get(dimension)
        if subgroup is not None and subgroup in rates and dimension.count(CROSS) + 1 >= depth:
            found, depth = rates[subgroup], dimension.count(CROSS) + 1
    return found


def _settled_answer(own: SimulatedOptions, known: KnownTruth, accuracy: float, k: int, settled: Any) -> int:
    """Return the canonical index of the answer that the respondent has settled on."""
    frequent = known.answer if known.frequent is None else known.frequent
    of_group = frequent if known.group_frequent is None else known.group_frequent
    u = settled("copy")
    if u < own.flattening and frequent is not None:
        return frequent
    if own.flattening <= u < own.flattening + own.copying and of_group is not None:
        return of_group
    aim = of_group if own.answers_like == "group" else known.answer
    if aim is None:
        aim = frequent
    if aim is None:
        return int(settled("guess") * k)
    if k == 1 or settled("accuracy") < accuracy:
        return aim
    other = int(settled("error") * (k - 1))
    return other + (other >= aim)


def _stated_shares(own: SimulatedOptions, known: KnownTruth, accuracy: float, k: int) -> list[float]:
    """Return the shares that it states for a described group, in the shown order."""
    even = [1 / k] * k
    people = list(known.shares or even)
    most = known.group_frequent
    aim = _all_on(most, k) if own.answers_like == "group" and most is not None else people
    if own.group_accuracy is not None:
        shares = _mixed(aim, even, own.group_accuracy)
    elif k > 1:
        shares = [accuracy * p + (1 - accuracy) * (1 - p) / (k - 1) for p in aim]
    else:
        shares = even
    if most is not None:
        frequent = most if known.frequent is None else known.frequent
        rest = 1 - own.flattening - own.copying
        parts = zip(shares, _all_on(frequent, k), _all_on(most, k), strict=True)
        shares = [rest * p + own.flattening * f + own.copying * c for p, f, c in parts]
    if own.group_accuracy is None:
        shares = _mixed(even, shares, own.noise)
    shown = [shares[i] for i in known.order]
    pulled = [shown[0] + own.direction * sum(shown[1:2])]
    pulled += [(1 - own.direction) * shown[i] + own.direction * sum(shown[i + 1 : i + 2]) for i in range(1, k)]
    return _mixed(_all_on(0 if own.position == "first" else k - 1, k), pulled, own.position_bias)


def _all_on(option: int, k: int) -> list[float]:
    return [float(i == option) for i in range(k)]


def _mixed(a: Sequence[float], b: Sequence[float], share: float) -> list[float]:
    """Return `share` of a and the rest of b."""
    return [share * x + (1 - share) * y for x, y in zip(a, b, strict=True)]


def _stating(shares: Sequence[float], name: str) -> ModelResponse:
    """Return the response that states a percentage for each option shown."""
    percent = {LETTERS[i]: round(100 * share, 2) for i, share in enumerate(shares)}
    return ModelResponse(orjson.dumps(percent).decode(), finish_reason="stop", provider_model=name)


def _in_words(request: ModelRequest, position: int, name: str, *, line: int | None = None) -> ModelResponse:
    """Return the response that gives the option at a position, in the form that the prompt asks for."""
    if line is not None:
        return ModelResponse(f"{line}: {LETTERS[position]}", finish_reason="stop", provider_model=name)
    k = len(request.options)
    rest = (1 - CONFIDENCE) / (k - 1) if k > 1 else 0.0
    shares = [CONFIDENCE if i == position and k > 1 else rest if i != position else 1.0 for i in range(k)]
    logprobs = None
    match request.elicitation:
        case "letter":
            text = LETTERS[position]
        case "option_logprob":
            text = request.options[position]
            logprobs = [math.log(share) for share in shares]
        case "verbalized":
            return _stating(shares, name)
        case _:
            text = request.options[position]
    return ModelResponse(text, option_logprobs=logprobs, finish_reason="stop", provider_model=name)


def uniform(*parts: str | int | None) -> float:
    """Return a number in [0, 1) that depends on the parts alone (52 bits of BLAKE2)."""
    text = "\x1f".join("\x00" if part is None else str(part) for part in parts)
    return (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 12) / 2**52


def described(own: SimulatedOptions) -> str:
    """Return a respondent's properties in one sentence."""
    aims = {
        "respondent": "the answer of the person shown",
        "group": f"the most frequent answer in the person's group ({own.group})",
        "key": "the answer key",
    }
    said = [f"gives {aims[own.answers_like]} in {_percent(own.accuracy)} of the questions"]
    said += [f"{_percent(r)} for {group} ({d})" for d, by in own.accuracy_by.items() for group, r in by.items()]
    if own.without_persona is not None:
        said.append(f"{_percent(own.without_persona)} without a person")
    if own.group_accuracy is not None:
        said.append(f"{_percent(own.group_accuracy)} of what it states for groups is people's shares")
    if own.refusals or own.refusals_by:
        said.append(f"refuses {_percent(own.refusals)}")
        said += [
            f"refuses {_percent(r)} for {group} ({d})" for d, by in own.refusals_by.items() for group, r in by.items()
        ]
    if own.position_bias:
        said.append(f"takes the {own.position} option in {_percent(own.position_bias)}")
    if own.direction:
        said.append(f"is pulled one place towards the option shown first in {_percent(own.direction)}")
    if own.carry_over:
        said.append(f"repeats the place of its answer before in {_percent(own.carry_over)} of a conversation's turns")
    if own.noise:
        said.append(f"answers by chance in {_percent(own.noise)}")
    if own.flattening:
        said.append(f"gives the most frequent answer of all people in {_percent(own.flattening)}")
    if own.copying:
        said.append(f"copies the most frequent answer of the group ({own.group}) in {_percent(own.copying)}")
    return "; ".join(said)


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
