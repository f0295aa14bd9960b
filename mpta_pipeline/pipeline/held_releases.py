"""Say of each held release what a person needs to decide on it: why it is held, what is used instead, how to accept it.

A release that a check refuses is held: it is read and stored, and the release before stays in use. That is a result
and no failure, but it waits for a person. Terminal, checks and report say it in the words of this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpta_pipeline.harmonize import CHANGED_SHARE, REMOVED_SHARE

if TYPE_CHECKING:
    from mpta_pipeline.pipeline.deployment import Deployment

_SHOWN = 3


@dataclass(frozen=True)
class HeldRelease:
    """A release that is read but not in use.

    Attributes:
        wave: The wave.
        facts: What the step noted about it: file, releases, numbers of respondents, what the checks found, the remedy.
        problem: The message of the refusal.
    """

    wave: str
    facts: Mapping[str, Any]
    problem: str

    @property
    def subject(self) -> str:
        """The wave and the file."""
        return f"{self.wave}: {self.facts['file']} is held"

    @property
    def in_use(self) -> str:
        """What is used instead, with both numbers of respondents."""
        if self.facts["held"] in self.facts["in use"]:
            return f"its release {self.facts['held']} is read in another way than before, and the wave stays as it was"
        held = f"its release {self.facts['held']} has {_people(self.facts['respondents held'])}"
        if not self.facts["in use"]:
            return f"{held}, and no earlier release has its countries, so that they are missing from the study"
        verb = "stays" if len(self.facts["in use"]) == 1 else "stay"
        used = " and ".join(self.facts["in use"])
        return f"{held}, and {used} with {_people(self.facts['respondents in use'])} {verb} in use"

    @property
    def why(self) -> str:
        """Why it is held: what the checks found, beside what they allow."""
        found = [*_respondents_gone(self.facts), *_answers_changed(self.facts), *_answers_lost(self.facts)]
        return "; ".join(found) or self.problem.rstrip(".")

    @property
    def message(self) -> str:
        """All of it in a few sentences; `subject` stands before them."""
        remedy = str(self.facts["how to accept"])
        if remedy.startswith("say why"):
            remedy = f"if the release is right, {remedy}"
        return f"{self.in_use}. Reason: {self.why}. Remedy: {remedy}."


def of_wave(wave: str, notes: Mapping[str, Any]) -> list[HeldRelease]:
    """The held releases of a wave, from the notes of its harmonized table."""
    problems = notes.get("left_out", {})
    return [
        HeldRelease(wave, facts, str(problems.get(facts["file"], ""))) for facts in (notes.get("held") or {}).values()
    ]


def held_releases(deployment: Deployment) -> list[HeldRelease]:
    """The held releases of all waves."""
    return [one for wave, notes in deployment.harmonizing_notes().items() for one in of_wave(wave, notes)]


def _people(number: int) -> str:
    return f"{number:,} respondent{'' if number == 1 else 's'}"


def _respondents_gone(facts: Mapping[str, Any]) -> list[str]:
    gone, before = facts.get("release_changes", {}).get("removed", 0), facts["respondents in use"]
    if not before or gone <= REMOVED_SHARE * before:
        return []
    return [f"{gone:,} of {_people(before)} are gone ({gone / before:.0%}; up to {REMOVED_SHARE:.0%} may be)"]


def _answers_changed(facts: Mapping[str, Any]) -> list[str]:
    shares = facts.get("release_changes", {}).get("columns_changed", {})
    most = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))
    said = [f"{share:.0%} of the answers to {column} differ" for column, share in most[:_SHOWN]]
    return _cut(said, len(most), f"up to {CHANGED_SHARE:.0%} may")


def _answers_lost(facts: Mapping[str, Any]) -> list[str]:
    coverage = facts.get("coverage", {})
    said = [f"share answered of {change}" for change in coverage.get("lost", [])[:_SHOWN]]
    return _cut(said, coverage.get("n_lost", 0), "no column may lose that much")


def _cut(said: list[str], number: int, limit: str) -> list[str]:
    if not said:
        return []
    rest = f", and {number - len(said):,} more" if number > len(said) else ""
    return [f"{', '.join(said)}{rest} ({limit})"]
