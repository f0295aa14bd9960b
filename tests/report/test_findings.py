"""The first screen: what was planted stands on it as cards, and nothing else does."""

from __future__ import annotations

import html as markup
import re
from datetime import UTC, datetime

import polars as pl
import pytest

from mpta_pipeline import metrics, report
from mpta_pipeline.core import tables
from mpta_pipeline.core.labels import Labels
from mpta_pipeline.report import findings
from mpta_pipeline.report.findings import Finding, Findings, find
from tests.factories import planted_study as planted
from tests.factories import stored_study as fab

NOW = datetime(2026, 11, 30, tzinfo=UTC)
FAMILIES = {name: metric.family for name, metric in metrics.METRICS.items()}
WOMEN_65 = {("sex", "female"), ("age_band", "65+")}
SEEDS = (1, 2, 3, 4, 5, 6)


def found(frames: dict[str, pl.DataFrame], **options: object) -> Findings:
    return find(frames, level=0.05, margin=0.05, families=FAMILIES, **options)  # type: ignore[arg-type]


def page(frames: dict[str, pl.DataFrame], labels: Labels = planted.LABELS) -> str:
    return report.render_report(
        frames, study=planted.study(), metrics=metrics.METRICS, title="t", generated=NOW, labels=labels
    )


def key(f: Finding) -> tuple[str, str, frozenset[tuple[str, str]]]:
    return f.kind, f.model, f.pairs


PLANTED = {
    ("pocket", planted.ALPHA, frozenset(WOMEN_65)),
    ("pocket", planted.BETA, frozenset(WOMEN_65)),
    ("gap", planted.BETA, frozenset({("race", "black")})),
    ("effect", planted.ALPHA, frozenset()),
}


@pytest.mark.parametrize("seed", SEEDS)
def test_all_that_was_planted_is_a_card_and_nothing_else(seed: int) -> None:
    """Women of 65 and over, the refusals and the harm stand alone; all groups that overlap with them are folded in."""
    cards = found(planted.frames(seed)).cards
    assert {key(f) for f in cards if f.kind != "models"} == PLANTED
    assert len([f for f in cards if f.kind != "models"]) == len(PLANTED)
    # Less accurate by what was planted, so that this is true, too.
    assert [(f.model, f.other_model) for f in cards if f.kind == "models"] == [(planted.ALPHA, planted.BETA)]


@pytest.mark.parametrize("seed", SEEDS)
def test_where_nothing_was_planted_there_is_no_card(seed: int) -> None:
    result = found(planted.frames(seed, planted.NOTHING))
    assert result.cards == ()
    assert [(f.kind, f.outcome) for f in result.ties] == [("models", "accuracy")]


def test_few_refusals_that_are_eight_times_as_many_are_a_card() -> None:
    few = planted.Planted(in_pocket=0.8, refusals=0.08, harm=0.0)
    cards = found(planted.frames(1, few)).cards
    assert {key(f) for f in cards if f.kind != "models"} == {("gap", planted.BETA, frozenset({("race", "black")}))}


def test_ancestors_parts_and_outcomes_of_a_pocket_are_folded_into_its_card() -> None:
    pocket = next(f for f in found(planted.frames(1)).cards if f.kind == "pocket" and f.model == planted.ALPHA)
    folded = {(f.kind, f.subgroup) for f in pocket.folded}
    assert {("pocket", "65+"), ("pocket", "female"), ("gap", "female"), ("gap", "male"), ("gap", "65+")} <= folded


def test_a_lower_accuracy_that_is_due_to_refusals_is_folded_into_the_refusals() -> None:
    refusals = next(f for f in found(planted.frames(1)).cards if f.outcome == "refusal_rate")
    assert ("gap", "accuracy", "black") in {(f.kind, f.outcome, f.subgroup) for f in refusals.folded}
    assert ("gap", "parse_rate", "black") in {(f.kind, f.outcome, f.subgroup) for f in refusals.folded}


def test_without_the_answers_nested_groups_count_as_the_same() -> None:
    """Answers made elsewhere may come as estimates alone."""
    frames = planted.frames(1) | {"scores": tables.SCORES.empty(), "groups": pl.DataFrame()}
    cards = {key(f) for f in found(frames).cards}
    assert cards >= PLANTED
    assert not any(model == planted.ALPHA and pairs == {("sex", "female")} for _, model, pairs in cards)


def test_controls_are_judged_apart_and_stand_after_models() -> None:
    frames = planted.frames(1) | {"model_comparison": tables.MODEL_COMPARISON.empty()}  # it has no controls
    cards = found(frames, controls={planted.BETA}).cards
    pockets = [f for f in cards if f.kind == "pocket"]
    assert [(f.model, f.control) for f in pockets] == [(planted.ALPHA, False), (planted.BETA, True)]
    alone = frames | {
        name: frames[name].filter(pl.col("model") == planted.ALPHA) for name in ("subgroup_metrics", "pockets")
    }
    apart = {key(f): f.page_q for f in found(alone).cards}
    assert {key(f): f.page_q for f in cards if not f.control} == apart, "a control changes nothing about a model"


def test_cards_of_one_kind_stand_by_the_end_of_the_interval_nearer_to_no_difference() -> None:
    cards = [f for f in found(planted.frames(1)).cards if f.kind == "pocket"]
    assert [f.certain for f in cards] == sorted((f.certain for f in cards), reverse=True)
    assert min(f.certain for f in cards) > 0


def test_a_finding_must_count_over_all_families_of_the_page() -> None:
    """q = .04 in one family of ten: in one of ten families, something of the kind is found by chance."""

    def gaps(n: int) -> pl.DataFrame:
        rows = [
            fab.estimate(
                task=f"t{i}", dimensions="sex", subgroup="female", estimate=0.5, gap=-0.2, gap_se=0.05,
                gap_q=0.04 if i == 0 else 0.9, verdict="gap" if i == 0 else "inconclusive",
            )
            for i in range(n)
        ]  # fmt: skip
        return fab.estimates(*rows)

    def of(n: int) -> Findings:
        empty = {table.name: table.empty() for table in tables.PUBLISHED}
        return found(empty | {"subgroup_metrics": gaps(n)})

    assert [f.task for f in of(1).cards] == ["t0"]
    assert of(10).cards == ()
    assert [f.task for f in of(10).uncertain] == ["t0"]
    assert of(10).uncertain[0].page_q == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"small": True}, "too few people"),
        ({"condition": "no_persona"}, "the model was not told who the person is"),
        ({"condition": "shuffled_any"}, "the traits are another person's"),
        ({"gap": -0.04}, "smaller than the study's margin"),
        ({"verdict": "no_gap"}, "shown to be alike"),
        ({"baseline": "chance"}, "the row of a baseline"),
    ],
)
def test_what_is_no_card(change: dict[str, object], why: str) -> None:
    row = {
        "dimensions": "sex", "subgroup": "female", "gap": -0.2, "gap_se": 0.02, "gap_q": 1e-6, "verdict": "gap",
    }  # fmt: skip
    empty = {table.name: table.empty() for table in tables.PUBLISHED}
    assert len(found(empty | {"subgroup_metrics": fab.estimates(fab.estimate(**row))}).cards) == 1
    assert found(empty | {"subgroup_metrics": fab.estimates(fab.estimate(**row | change))}).cards == (), why


def test_failed_requests_are_compared_by_their_intervals() -> None:
    """They have no q-value in the tables."""

    def rates(worst: float) -> pl.DataFrame:
        return fab.estimates(
            *(
                fab.estimate(
                    metric="error_rate", dimensions="race", subgroup=name, estimate=rate, ci_low=max(rate - 0.03, 0),
                    ci_high=rate + 0.03, n_answers=400,
                )
                for name, rate in (("a", 0.01), ("b", 0.02), ("c", 0.01), ("d", worst))
            )
        )  # fmt: skip

    empty = {table.name: table.empty() for table in tables.PUBLISHED}
    assert found(empty | {"subgroup_metrics": rates(0.02)}).cards == ()
    (card,) = found(empty | {"subgroup_metrics": rates(0.40)}).cards
    assert (card.subgroup, card.outcome, card.worse) == ("d", "error_rate", True)
    assert card.q < 0.001


def test_the_correction_over_the_page_is_that_of_benjamini_and_bogomolov() -> None:
    """Families with least q .001, .02, .9: two of three are selected at .05, so a test counts at q ≤ .05 · 2 / 3."""
    empty = {table.name: table.empty() for table in tables.PUBLISHED}
    rows = [
        fab.estimate(task=task, dimensions="sex", subgroup=s, gap=-0.2, gap_se=0.05, gap_q=q, verdict="gap")
        for task, values in {"a": (0.001, 0.04), "b": (0.02, 0.5), "c": (0.9, 0.95)}.items()
        for s, q in zip(("female", "male"), values, strict=True)
    ]
    pool = list(findings._gaps(fab.estimates(*rows), {}, 0.05))
    assert findings._share(pool, 0.05) == (pytest.approx(2 / 3), 3, 2)
    judged = {(f.task, f.q): f.page_q for f in findings._with_page_q(pool, 0.05)}
    assert judged["a", 0.001] == pytest.approx(0.003)
    assert judged["b", 0.02] == pytest.approx(0.03)
    assert judged["a", 0.04] == pytest.approx(0.06), "one at .04 > .05 · 2 / 3 does not count"
    assert empty.keys()


def test_rows_in_any_order_give_the_same_findings() -> None:
    frames = planted.frames(1)
    turned = {name: frame.reverse() for name, frame in frames.items()}
    assert [(key(f), f.page_q, len(f.folded)) for f in found(turned).cards] == [
        (key(f), f.page_q, len(f.folded)) for f in found(frames).cards
    ]


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def html() -> str:
    return page(planted.frames(1))


def cards_of(html: str) -> list[str]:
    first = html.split('<h2 id="found">')[1].split("<h2", maxsplit=1)[0]
    return re.findall(r'<li class="card.*?\n</li>', first, flags=re.S)


def text(html: str) -> str:
    return re.sub(
        r"\s+", " ", markup.unescape(re.sub(r"<(title|style|script)[^>]*>.*?</\1>|<[^>]+>", " ", html, flags=re.S))
    )


def test_the_first_section_has_the_four_planted_things_in_plain_sentences(html: str) -> None:
    assert html.index('<h2 id="found">') < html.index('<h2 id="short">')
    said = [re.search(r"<h3>(.*?)</h3>", card, flags=re.S)[1] for card in cards_of(html)]  # type: ignore[index]
    assert said[0] == "Women 65 and over: 52 % right, everyone else 82 %"
    assert said[1] == "Women 65 and over: 44 % right, everyone else 74 %"
    assert said[2] == "Black people: 32 % refused, everyone else 4 %"
    assert said[3] == "The persona makes alpha worse: 76 % right with it, 90 % without"
    assert said[4] == "alpha is 8.1 points more often right than beta: 76 % against 68 %"


def test_a_card_says_how_sure_it_is_what_to_do_and_how_to_cite_it(html: str) -> None:
    first = cards_of(html)[0]
    pocket = planted.frames(1)["pockets"].filter(pl.col("model") == "alpha", pl.col("leads"), pl.col("confirmed"))
    name = pocket.item(0, "pocket_id")
    said = text(first)
    assert f'id="{name}"' in first
    assert f'href="#{name}"' in first
    assert f"mpta trace {name}" in said
    assert "q < .001" in said and "e-value > 10" in said and "30 people of the half that tested it" in said
    assert "Next: Do not let this model stand in for these people" in said
    assert "Study planted" not in said and "study planted" in said, "the citation names the study"


def test_nothing_confirmed_is_grey(html: str) -> None:
    assert not re.search(r"small-cell|faint", "".join(cards_of(html)))
    table = html.split('<h2 id="pockets">')[1].split("<h2", maxsplit=1)[0]
    rows = re.findall(r"<tr(?: class=\"([^\"]*)\")?>(.*?)</tr>", table, flags=re.S)
    confirmed = [kind for kind, row in rows if ">confirmed" in row]
    assert confirmed and not any(confirmed)


def test_ids_are_unique_and_links_within_the_page_lead_somewhere(html: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    links = {link for link in re.findall(r'href="#([^"]+)"', html) if not link.startswith("f_")}
    assert links <= set(ids)


def test_where_nothing_was_planted_the_page_tells_what_would_have_been_found() -> None:
    said = text(page(planted.frames(1, planted.NOTHING)).split('<h2 id="found">')[1].split("<h2", maxsplit=1)[0])
    assert "No difference between groups, and no harm by the persona, is confirmed" in said
    assert re.search(
        r"Accuracy of groups, beyond the pockets: 40 comparisons .* for alpha and beta, no group differs", said
    )
    assert re.search(
        r"A difference of 4\.\d points or more, in a group of median size, would probably have been found", said
    )
    assert re.search(r"no effect of showing the persona was found \(a change of \d\.\d points or more", said)
    assert "cannot be told apart" in said


def test_a_control_is_named_as_one_on_its_cards() -> None:
    labels = Labels(**vars(planted.LABELS) | {"controls": {planted.BETA}})
    cards = cards_of(page(planted.frames(1), labels))
    of_control = [card for card in cards if "<b>beta" in card]
    assert of_control
    assert all("simulated respondent, a control" in card for card in of_control)


NASTY = "<script>alert('x')</script>"


def test_text_from_replies_items_and_surveys_is_escaped() -> None:
    frames = planted.frames(1)
    nasty = frames | {
        "responses": frames["responses"].with_columns(pl.lit(NASTY).alias("text")),
        "prompts": frames["prompts"].with_columns(pl.lit(NASTY).alias("user"), pl.lit(NASTY).alias("system")),
        "items": frames["items"].with_columns(
            pl.lit(NASTY).alias("question"), pl.lit([NASTY] * 4).alias("options")
        ),
    }  # fmt: skip
    html = page(nasty)
    assert NASTY not in html
    assert "&lt;script&gt;" in html
