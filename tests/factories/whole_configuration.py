"""A deployment with every file that a configuration folder can hold, and two surveys: the GSS extract and a club's.

The club's file, its source, a concept, a kind of task and a provider are invented and belong to the deployment itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyreadstat
import pytest
import yaml

from tests.factories.deployment import Server, World, model, respondents, serving, write_wave
from tests.plain_run import bring_up_to_date

TASK = {"kind": "value_alignment", "items": 4, "items_per_persona": 2}
STUDY: dict[str, Any] = {
    "name": "test",
    "panel": {"size": 12, "strata": ["sex"]},
    "traits": {"min": 2},
    "conditions": ["persona", "no_persona"],
    "tasks": {"value_alignment": TASK},
    "figures": {"dimensions": ["sex"], "min_personas": 5, "bootstrap": 50, "retest": "retest.csv"},
}
POLICY = {"sources": {"club": {"acknowledged": "by the Club, for this study, in 2026"}}}
CLUB = """\
codebook: club
family: club
lineage: club
title: Club survey {wave}
producer: The Club
licence: free to use
data_use: any
acknowledge: The Club gives its file to members
recognize:
  requires: [member, gender, trusts]
waves: {constant: "1"}
key: {variables: [[member]]}
country: {constant: SWE}
year: [when]
weights: [{variable: w}]
missing: own
concepts:
  sex:
    variable: gender
    equivalence: identical
    pool: true
    options:
      - {code: 1, label: man, value: male, text: male}
      - {code: 2, label: woman, value: female, text: female}
  trust_general:
    variable: trusts
    equivalence: identical
    pool: true
    options:
      - {code: 1, label: can be trusted, value: trust, text: most people can be trusted}
      - {code: 2, label: be careful, value: careful, text: one needs to be very careful in dealing with people}
"""
CONVENTIONS = """\
own:
  codes: {"9": refused_or_no_answer}
  declared_only: false
"""
OWNS_PET = """\
concept: owns_pet
domain: value
scale: nominal
label: pet ownership
question: Do you have a pet?
statement: 'Your answer, when asked whether you have a pet, is {answer}.'
categories: [owner, none]
sources:
  - codebook: club
    variable: pet
    equivalence: source_specific
    pool: true
    options:
      - {code: 1, label: "yes", value: owner, text: "yes"}
      - {code: 2, label: "no", value: none, text: "no"}
    status: assumed
absent: {gss_extract: no such question, evs2017: no such question}
"""
RIVERS = """\
title: "Rivers: which of two rivers is longer?"
file:
  name: rivers.csv
  address: the publisher's page
  licence: CC0
  pattern: rivers*.csv
structure:
  question: "Which river is longer, the {first} or the {second}?"
  options: [the first, the second]
  gold: longer
  gold_values: {"1": 0, "2": 1}
"""
PARROT = '''\
"""The deployment's own provider: it speaks as OpenAI does."""

from mpta_pipeline.inference.providers.openai import OpenAI


class Parrot(OpenAI):
    """No change."""
'''
FILES = {
    "sources/club.yaml": CLUB,
    "sources/missing.yaml": CONVENTIONS,
    "concepts/owns_pet.yaml": OWNS_PET,
    "task_kinds/rivers.yaml": RIVERS,
    "providers/parrot.py": PARROT,
    "rivers.csv": "first,second,longer\nRhine,Danube,2\nNile,Thames,1\nElbe,Oder,1\n",
    "published.yaml": "title: A study\ncitation: Doe 2026\naddress: a paper\nfigures:\n  - {name: Right, of: a model, "
    "value: 0.5, source: Table 1, ours: {task: value_alignment, metric: accuracy, condition: persona}}\n",
    "retest.csv": "column,retest\nabortion_rape_gss,0.9\nowns_pet,0.8\n",
    "own.yaml": "blocks: [{name: b, questions: [{id: q, question: 'A {{vehicle}}?', options: [a, b]}]}]\n",
    "myths.csv": "Type,Category,Question,Best Answer,Best Incorrect Answer\n"
    + "".join(f"Adversarial,Myths,Is it so with {n}?,No,Yes\n" for n in range(4)),
}


def write_club(folder: Path, n: int = 40) -> None:
    rows = pl.DataFrame(
        {
            "member": range(1, n + 1),
            "when": [2025] * n,
            "gender": [1 + k % 2 for k in range(n)],
            "trusts": [9 if k % 10 == 0 else 1 + k // 2 % 2 for k in range(n)],
            "pet": [1 + k // 3 % 2 for k in range(n)],
            "w": [0.5 + k % 3 / 2 for k in range(n)],
        }
    )
    labels = {
        "gender": {1: "man", 2: "woman"},
        "trusts": {1: "can be trusted", 2: "be careful", 9: "no answer"},
        "pet": {1: "yes", 2: "no"},
    }
    pyreadstat.write_sav(rows, folder / "club.sav", variable_value_labels=labels)


@contextmanager
def deployed(root: Path, study: dict[str, Any]) -> Iterator[tuple[World, Server]]:
    """A deployment that has run, with its server; the environment points to it."""
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        world = World(root, server.url)
        for name, value in (world.environment | {"MPTA_TEST_KEY": "not-a-secret-key"}).items():
            patch.setenv(name, value)
        server.mumbling = "guest"
        world.study(study)
        world.models(
            {"loopback": model(server.url), "guest": model(server.url) | {"model": "guest", "provider": "parrot"}}
        )
        (world.config / "surveys.yaml").write_text(yaml.safe_dump(POLICY))
        for name, text in FILES.items():
            (world.config / name).parent.mkdir(exist_ok=True)
            (world.config / name).write_text(text)
        write_wave(world.surveys, respondents(2016))
        write_club(world.surveys)
        (world.config / "more").mkdir()
        write_wave(world.config / "more", respondents(2014))
        bring_up_to_date()
        yield world, server
