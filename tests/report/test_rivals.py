"""Protects the card that compares a panel of personas with asking once about the group: words, verdicts, order."""

import polars as pl
import pytest

from mpta_pipeline.core.tables import PUBLISHED, RIVALS
from mpta_pipeline.core.verdicts import rival_verdict
from mpta_pipeline.report.findings import find
from tests.factories import stored_study as fab
from tests.report.test_report import estimates, frames, render

GROUPS = {"female": (-0.08, -0.11, -0.05, 0.001), "male": (-0.01, -0.05, 0.03, 0.6), "other": (0.06, 0.02, 0.1, 0.01)}


def gains(**groups):
    """Estimates of `panel_gain` with its baseline `people`, for everyone and by sex."""
    rows = []
    for subgroup, (gain, low, high, q) in ({"all": (-0.062, -0.08, -0.04, 0.0005)} | groups).items():
        facts = {
            "metric": "panel_gain", "dimensions": "all" if subgroup == "all" else "sex", "subgroup": subgroup,
            "estimate": gain, "ci_low": low, "ci_high": high, "q_value": q, "n_items": 18,
        }  # fmt: skip
        people = {"baseline": "people", "baseline_estimate": 0.062}
        rows += [fab.estimate(**facts), fab.estimate(**facts, **people)]
    return fab.estimates(*rows)


def test_the_card_says_the_verdict_for_each_group():
    page = render(subgroup_metrics=pl.concat([estimates(), gains(**GROUPS)]))
    assert (
        "The persona panel of org/always-a is better than asking once about the group for 1, no better for 1 and worse "
        "for 1 of 3 groups" in page
    )
    card = page[page.index('<li class="card rival"') :]
    card = card[: card.index("</li>")]
    # Everyone: asked once 6.2 points off, the panel 6.2 + 6.2.
    assert "12.4 %" in card and "6.2 %" in card and "−6.2 points [−8.0, −4.0]" in card
    assert card.index("Female") < card.index("Male") < card.index("Other"), "worst first"
    assert "<td>worse</td>" in card and "<td>no better</td>" in card and "<td>better</td>" in card
    assert "mpta trace f_" in card


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"female": GROUPS["female"]}, "is worse than asking once about the group, for the one group"),
        (
            dict.fromkeys(("a", "b"), GROUPS["male"]),
            "is no better than asking once about the group, for each of 2 groups",
        ),
        ({}, "is worse than asking once about the group"),
    ],
)
def test_equal_verdicts_are_said_once(groups, said):
    assert f"The persona panel of org/always-a {said}" in render(
        subgroup_metrics=pl.concat([estimates(), gains(**groups)])
    )


def test_small_groups_and_studies_without_the_rival_have_no_verdict():
    small = gains(female=GROUPS["female"]).with_columns(small=pl.col("subgroup") == "female")
    named = {table.name: table.empty() for table in PUBLISHED} | frames() | {"subgroup_metrics": small}
    found = find(named, level=0.05)
    assert [g.subgroup for r in found.rivalries for g in r.groups] == []
    assert found.rivalries[0].everyone.verdict == "worse"
    assert "card rival" not in render()


@pytest.mark.parametrize(
    ("low", "high", "q", "verdict"),
    [
        (0.01, 0.05, 0.01, "better"),
        (-0.05, -0.01, 0.01, "worse"),
        (0.01, 0.05, 0.2, "no better"),
        (-0.01, 0.05, 0.01, "no better"),
        (None, None, None, "too few people or questions to decide"),
    ],
)
def test_a_verdict_needs_the_interval_and_the_corrected_test(low, high, q, verdict):
    assert rival_verdict(low, high, q_value=q, level=0.05) == verdict


def test_the_ladder_stands_in_the_card():
    facts = {
        "model": "org/always-a", "task": "values", "survey": "gss_extract", "dimensions": "all", "subgroup": "all",
        "item_id": "all", "weighted": False, "n_personas": 40, "n_items": 18, "n_people": 400, "small": False,
    }  # fmt: skip
    rows = [
        facts
        | {"rival": "persona", "title": "persona panel", "rung": 6, "distance": 0.124, "accuracy": 0.41, "note": None},
        facts
        | {
            "rival": "last_wave",
            "title": "the wave before",
            "rung": 3,
            "distance": 0.031,
            "accuracy": 0.55,
            "note": "gss-2016 for gss-2018",
        },
        facts
        | {
            "rival": "retest",
            "title": "people asked twice",
            "rung": 8,
            "distance": None,
            "accuracy": 0.8,
            "note": None,
        },
    ]
    page = render(
        subgroup_metrics=pl.concat([estimates(), gains(**GROUPS)]),
        rivals=RIVALS.conform(pl.DataFrame(rows, schema_overrides={"note": pl.String})),
    )
    card = page[page.index('<li class="card rival"') :]
    assert card.index("The wave before") < card.index("Persona panel</th>") < card.index("People asked twice")
    assert "gss-2016 for gss-2018" in card and "3.1 %" in card and "55.0 %" in card


def test_the_ladder_of_a_poll_says_what_it_cannot_say():
    facts = {
        "model": "org/always-a", "task": "values", "survey": "gss_extract", "dimensions": "all", "subgroup": "all",
        "item_id": "all", "weighted": False, "n_personas": 40, "n_items": 18, "n_people": None, "small": False,
        "rival": "persona", "title": "persona panel", "rung": 6, "distance": 0.124, "accuracy": None, "note": None,
    }  # fmt: skip
    text = dict.fromkeys(("note",), pl.String) | {"n_people": pl.Int64, "accuracy": pl.Float64}
    page = render(
        subgroup_metrics=pl.concat([estimates(), gains()]),
        rivals=RIVALS.conform(pl.DataFrame([facts], schema_overrides=text)),
    )
    assert "People are a published poll: its shares are known, of everyone and by country" in page


def test_replies_about_groups_are_counted_with_the_other_replies():
    """Unreadable ones are not in the comparison, and the page says how many and why, and warns."""
    rows = [
        ("org/always-a", "values", "gss_extract", f"group:gss_extract:sex={sex}", f"q{i}", status, reason)
        for sex in ("female", "male")
        for i, (status, reason) in enumerate([("ok", None), ("unparsed", "no_distribution"), ("unparsed", "cut_off")])
    ]
    names = ("model", "task", "survey", "respondent_id", "item_id", "status", "unparsed_reason")
    page = render(group_replies=pl.DataFrame(rows, schema=names, orient="row"))
    table = page[page.index('aria-label="Replies about described groups"') :]
    table = table[: table.index("</table>")]
    assert '<td class="n">2</td><td class="n">3</td><td class="n">6</td>' in table
    assert "33.3 %" in table and "no shares 2" in table and "cut off 2" in table
    assert "33.3 % about described groups" in page[page.index("Warnings of this study") :]
    assert "Replies about described groups" not in render()
