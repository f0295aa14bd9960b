"""What a simulated respondent is told about a prompt beside its text.

A model sees a rendered request. A simulated respondent must know more: whose answer it imitates, and to which
subgroups that person belongs. The column `known` of the prompts carries that as JSON. It enters the request's hash, and
exists only for providers that ask for it (`Provider.wanted_truth`), so that the requests of models keep their hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

COLUMN = "known"


@dataclass(frozen=True)
class WantedTruth:
    """What a simulated respondent wants to know.

    Attributes:
        key: It imitates the person whose answer is the key, also where another person or none is shown.
        subgroups: Dimension or intersection → subgroups that it treats differently.
        group: Dimension or intersection by which people form the groups that it knows the most frequent answers of;
            empty if it knows none.
    """

    key: bool = False
    subgroups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True)
class KnownTruth:
    """What a simulated respondent knows about one prompt. Options are counted in canonical order.

    Attributes:
        mind: Who answers: the person shown (or, with `WantedTruth.key`, the person asked about); None for nobody. For a
            described group (condition `group`), the group.
        item: The item.
        answer: That person's own answer, or the item's key; None if there is none.
        frequent: The most frequent answer of all people; None if people's answers are not known.
        group_frequent: The most frequent answer in the person's group; None if there is no group.
        order: Canonical index of the option at each shown position.
        subgroups: The person's subgroup in each dimension that was asked for; for a described group, what its
            description tells.
        shares: The shares of people's answers in a described group, weighted where people have weights; empty if they
            are not known; None if a person or nobody is described.
        line: Number of the statement or question in a request that asks several; None otherwise.
    """

    mind: str | None
    item: str
    answer: int | None
    frequent: int | None
    group_frequent: int | None
    order: tuple[int, ...]
    subgroups: Mapping[str, str | None]
    shares: tuple[float, ...] | None = None
    line: int | None = None

    @classmethod
    def parse(cls, text: str) -> KnownTruth:
        """Read the JSON of the column `known`, about one question."""
        return cls._made(orjson.loads(text))

    @classmethod
    def parse_all(cls, text: str) -> list[KnownTruth]:
        """Read the JSON of the column `known` about all questions of a request; empty if it is about one."""
        fields = orjson.loads(text)
        return [cls._made(one) for one in fields] if isinstance(fields, list) else []

    @classmethod
    def _made(cls, fields: dict[str, Any]) -> KnownTruth:
        shares = fields.get("shares")
        read = {
            "order": tuple(fields["order"]),
            "subgroups": fields["subgroups"] or {},
            "shares": None if shares is None else tuple(shares),
        }
        return cls(**fields | read)
