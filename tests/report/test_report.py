"""The report: self-contained, escaped, honest about small cells, weights and baselines, legible to machines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser

import polars as pl
import pytest

from mpta_pipeline import report
from mpta_pipeline.core import tables
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.core.study import EstimateRules, Study, TaskConfig
from tests.factories import stored_study as fab

NASTY = "<script>alert('x')</script>\"; drop table scores; --"
NOW = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Record:
    name: str
    title: str = ""
    definition: str = "What it measures <i>indeed</i>"
    unit: str = "share"
    low: float | None = 0.0
    high: float | None = 1.0
    direction: str = "higher"
    source: str = "a paper & a book"
    chance: str = "1/k"


METRICS = {name: Record(name, name.replace("_", " ")) for name in ("accuracy", "parse_rate", "accuracy_range")} | {
    "tv": Record("tv", "total variation", unit="distance", direction="lower")
}


def study(**rules: object) -> Study:
    return Study(
        name="starter",
        tasks={"values": TaskConfig(kind="value_alignment"), "myths": TaskConfig(kind="truthfulqa_binary")},
        figures=EstimateRules(dimensions=("sex", "age_band"), **rules),  # type: ignore[arg-type]
    )


def estimates() -> pl.DataFrame:
    """Everyone under three conditions with baselines, two sexes (one small), a distance, a rate, a range."""
    chance = {"baseline": "chance", "baseline_estimate": 1 / 3}
    mode = {"baseline": "item_mode", "baseline_estimate": 0.55}
    effect = {
        "effect": 0.012,
        "effect_se": 0.02,
        "effect_low": -0.03,
        "effect_high": 0.05,
        "p_value": 0.55,
        "q_value": 0.7,
        "mde": 0.056,
    }
    female = {"dimensions": "sex", "subgroup": "female", "estimate": 0.31, "verdict": "inconclusive", "gap": -0.05}
    male = {"dimensions": "sex", "subgroup": NASTY, "estimate": 0.36, "n_personas": 12, "small": True}
    group = {"baseline": "group_mode", "baseline_estimate": 0.61}
    tv = {"metric": "tv", "estimate": 0.28, "ci_low": 0.22, "ci_high": 0.34}
    return fab.estimates(
        *(fab.estimate(**effect, **b) for b in ({}, chance, mode)),
        *(
            fab.estimate(condition=c, estimate=0.33, **b)
            for c in ("no_persona", "demographics_only")
            for b in ({}, chance)
        ),
        *(fab.estimate(**female, **b) for b in ({}, chance, mode, group)),
        *(fab.estimate(**male, **b) for b in ({}, chance, mode, group | {"baseline_estimate": 0.41})),
        *(fab.estimate(**tv, **b) for b in ({}, {"baseline": "sampling_floor", "baseline_estimate": 0.08})),
        fab.estimate(metric="parse_rate", estimate=0.985),
        fab.estimate(metric="accuracy_range", dimensions="sex", estimate=0.05, ci_low=None, ci_high=None),
        fab.estimate(
            metric="accuracy_range",
            dimensions="sex",
            estimate=0.05,
            ci_low=None,
            ci_high=None,
            baseline="permutation_null",
            baseline_estimate=0.04,
        ),
        fab.estimate(task="myths", model=NASTY, estimate=0.81, ci_low=0.75, ci_high=0.87),
        fab.estimate(
            task="myths",
            model=NASTY,
            estimate=0.81,
            ci_low=0.75,
            ci_high=0.87,
            baseline="chance",
            baseline_estimate=0.5,
        ),
    )


def frames() -> dict[str, pl.DataFrame]:
    items = fab.items()
    return {
        "subgroup_metrics": estimates(),
        "waves": pl.concat([fab.waves(w) for w in fab.WAVES]),
        "items": pl.concat([items["values"], items["myths"].with_columns(pl.lit(True).alias("sample_item"))]),
    }


def render(**changes: pl.DataFrame) -> str:
    return report.render_report(
        frames() | changes, study=study(), metrics=METRICS, title=f"Study {NASTY}", generated=NOW
    )


@pytest.fixture(scope="module")
def html() -> str:
    return render()


class Page(HTMLParser):
    """Tags with their attributes, whether they balance, and the text of table rows."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.rows: list[str] = []
        self.row_classes: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append("")
            self.row_classes.append(dict(attrs).get("class") or "")
        elif self.rows:
            self.rows[-1] += " "

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "tr" in self.open and "title" not in self.open:
            self.rows[-1] += data

    def row(self, *parts: str) -> tuple[str, str]:
        found = [(r, c) for r, c in zip(self.rows, self.row_classes, strict=True) if all(p in r for p in parts)]
        assert found, parts
        return found[0]


def test_tags_balance_and_nothing_is_loaded_from_elsewhere(html: str) -> None:
    page = Page(html)
    assert {"link", "img", "iframe", "object"}.isdisjoint(tag for tag, _ in page.tags)
    assert all(attributes.keys() <= {"type", "id"} for tag, attributes in page.tags if tag == "script")
    assert not re.search(r"(?:src|href|action)=\"(?!#)|url\(|@import|https?://", without_scripts(html))
    assert not re.search(r"https?://|\bimport\b|fetch\(|XMLHttpRequest", OWN.search(html)[0])  # type: ignore[index]


OWN = re.compile(r'<script type="module">.*?</script>\n', re.DOTALL)
"""The page's own script, which has no data in it."""


def without_scripts(html: str) -> str:
    """The page without its own script and its packed data."""
    return re.sub(r'<script type="text/plain" id="\w+">[A-Za-z0-9+/=]*</script>', "", OWN.sub("", html, count=1))


def test_labels_cannot_become_markup(html: str) -> None:
    html = without_scripts(html)
    """Model names, subgroups, titles and file names come from outside."""
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "WVS7 &lt;b&gt;.sav" in html


def test_equal_input_gives_equal_text_whatever_the_row_order(html: str) -> None:
    assert render(subgroup_metrics=estimates().reverse()) == html


def test_headline_shows_conditions_intervals_baselines_and_a_plain_verdict(html: str) -> None:
    page = Page(html)
    row, _ = page.row("values", "34.0 %", "[28.0, 40.0]")
    assert "33.3 %" in row
    assert "55.0 %" in row
    assert row.count("33.0 %") == 2
    assert "not better than chance and worse than always giving the most frequent answer" in html
    assert "no effect of showing the persona was found (a change of 5.6 points or more" in html
    assert '<span class="verdict">better than chance</span>' in html


def test_a_task_of_open_text_is_sent_to_its_section() -> None:
    """It has no share of right answers; a study of nothing else does not claim that there are no estimates."""
    mixed = estimates().with_columns(metric=pl.when(task="values").then(pl.lit("rouge_l")).otherwise("metric"))
    page = render(subgroup_metrics=mixed)
    assert "Values: the reply is text" in page
    alone = render(subgroup_metrics=estimates().with_columns(metric=pl.lit("rouge_l")))
    assert "There are no estimates yet" not in alone
    assert "No task of this study has answer options" in alone


def test_group_baseline_of_everyone_weighs_groups_by_their_answers(html: str) -> None:
    """Both sexes have 100 answers: (61 % + 41 %) / 2."""
    assert "51.0 %" in Page(html).row("values", "34.0 %", "[28.0, 40.0]")[0]


def test_a_dimension_that_the_task_asks_about_is_no_baseline() -> None:
    """The most frequent answer of all women to `what is your sex` is female: that beats nobody."""
    items = frames()["items"].with_columns(pl.lit("sex").alias("column"))
    assert "51.0 %" not in render(items=items)


def test_no_effect_is_beyond_what_a_share_can_change() -> None:
    ends = {"effect_low": 0.44 - 12.7062 * 0.11, "effect_high": 0.44 + 12.7062 * 0.11}  # t of 1 degree of freedom
    row = fab.estimate(effect=0.44, effect_se=0.11, p_value=0.1559583, q_value=0.3, **ends)
    assert "[−95.8, +100.0]" in render(subgroup_metrics=fab.estimates(row))


def test_small_cells_are_grey_with_their_n(html: str) -> None:
    page = Page(html)
    row, kind = page.row("drop table", "36.0 %")
    assert "small-cell" in kind
    assert "12" in row
    assert "small-cell" not in page.row("female", "31.0 %")[1]


def test_the_study_sets_what_is_small() -> None:
    html = report.render_report(frames(), study=study(min_personas=41), metrics=METRICS, title="t", generated=NOW)
    assert "small-cell" in Page(html).row("female", "31.0 %")[1]


def test_notes_tell_of_missing_weights_and_sample_items(html: str) -> None:
    assert "files of gss_extract carry no survey weights: every estimate of gss_extract is unweighted" in html
    assert "not results on TruthfulQA or BBQ" in " ".join(html.split())


def test_weighted_estimates_have_the_unweighted_one_beside_them() -> None:
    both = pl.concat(
        [
            fab.estimates(fab.estimate(survey="wvs", weighted=True, estimate=0.5)),
            fab.estimates(fab.estimate(survey="wvs", weighted=False, estimate=0.444)),
        ]
    )
    html = render(subgroup_metrics=both)
    assert "unweighted 44.4 %" in html
    assert "weighted with the survey&#39;s own weights (W_WEIGHT)" in html


def test_each_estimate_has_the_id_that_trace_takes(html: str) -> None:
    keyed = estimates()
    shown = set(re.findall(r"f_[0-9a-f]{10}", html))
    assert shown <= set(keyed["estimate_id"])
    assert set(keyed.filter(metric="accuracy", condition="persona")["estimate_id"]) <= shown


def test_ids_of_report_and_warehouse_agree(tmp_path: object, html: str) -> None:
    from pathlib import Path

    from mpta_pipeline.core.storage import write_parquet
    from mpta_pipeline.publication import warehouse

    layout = Layout(Path(str(tmp_path)))
    write_parquet(estimates(), layout.table("subgroup_metrics", "m", "t"))
    with warehouse.connect(layout) as con:
        stored = con.sql("select distinct estimate_id from estimates order by all").pl()["estimate_id"].to_list()
    assert stored == sorted(set(estimates()["estimate_id"]))


def test_charts_say_in_words_what_they_draw(html: str) -> None:
    charts = re.findall(r'<svg class="strip[^>]*role="img"><title>([^<]+)</title>', html)
    assert len(charts) == html.count('<svg class="strip')
    assert "34.0 % [28.0, 40.0]; chance 33.3 %; most frequent answer 55.0 %" in charts


def test_tables_have_captions_and_scoped_heads(html: str) -> None:
    tags = [tag for tag, _ in Page(html).tags]
    assert tags.count("table") == tags.count("caption") > 3
    assert all("scope" in attrs for tag, attrs in Page(html).tags if tag == "th")


def test_inequality_stands_beside_what_chance_gives(html: str) -> None:
    assert Page(html).row("(4.0)")[0].split()[:4] == ["sex", "5.0", "%", "(4.0)"]


def test_definitions_come_from_the_registry(html: str) -> None:
    assert "What it measures &lt;i&gt;indeed&lt;/i&gt;" in html
    assert "a paper &amp; a book" in html


def test_without_any_table_the_page_says_what_to_do() -> None:
    html = report.render_report({}, study=study(), title="t", generated=NOW)
    Page(html)
    assert "There are no estimates yet" in html


def test_undefined_estimates_are_dashes_not_zeros() -> None:
    html = render(subgroup_metrics=fab.estimates(fab.estimate(estimate=None, se=None, ci_low=None, ci_high=None)))
    row, _ = Page(html).row("values", "40 × 1")
    assert "–" in row
    assert "too few people or questions to decide" in html


def pockets(*confirmed: bool) -> pl.DataFrame:
    row = dict.fromkeys(tables.POCKETS.schema) | {
        "model": "m", "task": "values", "survey": "wvs", "condition": "persona", "outcome": "score",
        "dimensions": "sex",
        "n_answers": 90, "n_personas": 33, "n_items": 4, "difference": -0.12, "ci_low": -0.2, "ci_high": -0.04,
        "q_value": 0.01, "parent": "", "e_confirmed": False, "examples": [],
    }  # fmt: skip
    rows = [row | {"subgroup": f"group {i}", "confirmed": c} for i, c in enumerate(confirmed)]
    return tables.POCKETS.conform(pl.DataFrame(rows, schema=tables.POCKETS.schema))


def test_sentences_stand_where_the_estimate_stands() -> None:
    note = "traits foretell no better than the most frequent answer (.01 ± .03)"
    skill = fab.estimate(metric="skill", estimate=None, ci_low=None, ci_high=None, note=note)
    ratio = fab.estimate(metric="eta2", dimensions="sex", estimate=0.31, note=None)
    html = render(
        subgroup_metrics=pl.concat(
            [estimates(), fab.estimates(skill, ratio, ratio | {"baseline": "human", "baseline_estimate": 0.02})]
        )
    )
    row, _ = Page(html).row("skill", "always-a")
    assert note in row
    assert "(people&#39;s own answers 2.0)" in html or "(people&#39;s own answers 0.020)" in html


def test_a_group_that_stands_out_is_named_beside_the_others() -> None:
    female = fab.estimate(
        dimensions="sex", subgroup="female", estimate=0.41, verdict="inconclusive", gap=0.05, gap_apart=0.004,
        note="differs from everyone else only because male is among them",
    )  # fmt: skip
    html = render(subgroup_metrics=fab.estimates(fab.estimate(), female))
    assert "only because male is among them" in html
    assert "+0.4 without the groups that stand out, +5.0 with" in html


def test_rows_of_one_pocket_are_one_line_ranked_by_e_value() -> None:
    table = pockets(True, True, True, False).with_columns(
        e_value=pl.Series([40.0, 900.0, 25.0, 0.4]), leads=pl.Series([False, True, True, True]),
        pocket=pl.Series(["sex=group 1", "sex=group 1", "sex=group 2", "sex=group 3"]),
        e_confirmed=pl.Series([True, True, False, False]),
    )  # fmt: skip
    html = render(pockets=table)
    assert "3 of 4 candidates are confirmed, which are 2 pockets" in html
    rows = [r for r in Page(html).rows if "group " in r and "confirmed" in r]
    assert [re.search(r"group (\d)", r)[1] for r in rows] == ["1", "2", "3"]  # type: ignore[index]
    assert "group 0" in rows[0] and "900" in rows[0] and "e-BH" in rows[0]


def test_pockets_show_confirmed_ones_first_and_others_as_no_finding() -> None:
    html = render(pockets=pockets(False, True))
    assert "1 of 2 candidates is confirmed" in html
    page = Page(html)
    rows = [r for r in page.rows if "group " in r and "confirmed" in r]
    assert "group 1" in rows[0]
    assert "−12.0" in rows[0]
    assert "small-cell" in page.row("group 0", "not confirmed")[1]
    assert "not findings" in render(pockets=pockets(False))


def test_the_first_section_names_a_confirmed_pocket_or_tells_that_none_was_found() -> None:
    def first(html: str) -> str:
        text = re.sub(r"<[^>]+>", "", html.split('<h2 id="found">')[1].split("<h2", maxsplit=1)[0])
        return re.sub(r"\s+", " ", text)

    found = first(render(pockets=pockets(False, True)))
    assert "Hidden pocket · m · values, wvs" in found
    assert "Sex: group 1: 12.0 points less right than everyone else" in found
    assert "group 0" not in found.lower(), "what is not confirmed is no card"
    assert "2 combinations of traits were tested; for m, none is confirmed" in first(
        render(pockets=pockets(False, False))
    )
    assert "no combination of traits was worse enough" in first(render())


def test_models_that_cannot_be_told_apart_share_a_letter() -> None:
    row = dict.fromkeys(tables.MODEL_COMPARISON.schema) | {
        "task": "values", "survey": "wvs", "metric": "accuracy", "condition": "persona", "n_answers": 9,
        "n_personas": 3, "n_items": 2,
    }  # fmt: skip
    rows = [
        row | {"model": m, "other_model": o, "estimate": 0.5, "difference": 0.01, "tie_group": 1}
        for m in ("m1", "m2")
        for o in ("m1", "m2")
    ]
    frame = tables.MODEL_COMPARISON.conform(pl.DataFrame(rows, schema=tables.MODEL_COMPARISON.schema))
    html = render(model_comparison=frame)
    page = Page(html)
    assert page.row("m1", "50.0 %")[0].split()[:2] == ["m1", "a"]
    assert page.row("m2", "50.0 %")[0].split()[:2] == ["m2", "a"]
    assert "+1.0" in page.row("m1", "50.0 %")[0]
    assert "+1.0" not in page.row("m2", "50.0 %")[0]


def test_subgroups_stand_in_the_order_of_their_scale() -> None:
    levels = ["low", "middle", "high"]
    rows = [fab.estimate(dimensions="education_3", subgroup=v, estimate=0.1 * i) for i, v in enumerate(levels)]
    options = tables.OPTIONS.conform(
        pl.DataFrame(
            [
                {
                    "column": "education_3",
                    "codebook": "gss",
                    "code": str(i),
                    "position": i,
                    "value": v,
                    "text": v,
                    "score": i / 2,
                }
                for i, v in enumerate(levels)
            ],
            schema=tables.OPTIONS.schema,
        )
    )
    html = render(subgroup_metrics=fab.estimates(*rows), options=options)
    places = [html.index(f'<th scope="row">{v}</th>') for v in levels]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("low", "high", "chance", "mode", "words"),
    [
        (0.6, 0.7, 0.3, 0.5, "better than always giving the most frequent answer"),
        (0.4, 0.45, 0.3, 0.5, "better than chance, but worse than always giving the most frequent answer"),
        (0.4, 0.55, 0.3, 0.5, "better than chance, but not better than always giving the most frequent answer"),
        (0.25, 0.35, 0.3, 0.5, "not better than chance and worse than always"),
        (0.25, 0.55, 0.3, 0.5, "not better than chance and not better than always"),
        (0.1, 0.2, 0.3, 0.5, "worse than chance and worse than always giving the most frequent answer"),
        (0.4, 0.45, 0.3, None, "better than chance"),
        (0.4, 0.45, None, None, "no baseline to compare with"),
    ],
)
def test_verdicts(low: float, high: float, chance: float | None, mode: float | None, words: str) -> None:
    from mpta_pipeline.report import rows as f

    rows = [fab.estimate(ci_low=low, ci_high=high, estimate=(low + high) / 2)]
    rows += [
        fab.estimate(**{**rows[0], "baseline": n, "baseline_estimate": v})
        for n, v in (("chance", chance), ("item_mode", mode))
        if v
    ]
    (estimate,) = f.read(fab.estimates(*rows), 30)
    assert f.verdict(estimate).startswith(words)


def test_an_effect_interval_is_cut_to_what_the_metric_can_be() -> None:
    from mpta_pipeline.report import rows as f

    ends = {"effect_low": -1.4, "effect_high": 0.09}
    row = fab.estimate(effect=0.05, effect_se=0.02, p_value=0.029518, q_value=0.1, **ends)
    (estimate,) = f.read(fab.estimates(row), 30, {"accuracy": 1.0})
    assert (estimate.effect_low, estimate.effect_high) == (-1.0, 0.09)
    assert "may help by 5.0 points" in f.effect_verdict(estimate, 0.05)


def test_replies_that_cannot_be_read_are_counted_by_reason() -> None:
    scores = pl.DataFrame(
        {
            "model": ["m"] * 5 + ["n"],
            "status": ["ok", "unparsed", "unparsed", "unparsed", "error", "ok"],
            "unparsed_reason": [None, "cut_off", "cut_off", "conflict", None, None],
        }
    )
    html = " ".join(render(scores=scores).split())
    table = html[html.index("Replies that cannot be read, by model and reason") :]
    assert re.findall(r'<td class="n">(\d+)</td>', table.partition("</table>")[0]) == [
        "4",
        "3",
        "0",
        "2",
        "0",
        "0",
        "0",
        "1",
        "0",
        "0",
    ]
    assert "Replies that cannot be read, by model and reason" not in render(
        scores=scores.filter(pl.col("status") == "ok")
    )


def test_a_detectable_change_beyond_the_scale_is_not_quoted() -> None:
    from mpta_pipeline.report import rows as f

    row = fab.estimate(effect=0.05, effect_se=0.2, p_value=0.8, q_value=0.9, mde=1.44)
    (estimate,) = f.read(fab.estimates(row), 30)
    assert "hardly any effect could be found" in f.effect_verdict(estimate, 0.05)
    assert "144" not in f.effect_verdict(estimate, 0.05)


def test_without_open_text_nothing_is_said_of_it(html: str) -> None:
    assert "compared with a reference" not in html


def test_what_was_set_aside_is_told_by_wave_and_counted() -> None:
    lines = ["education_3 in NZL (20 answers): Q275R 4 = None is not mapped", "age (1 answer): Q262 200 = None"]
    html = report.render_report(
        frames(), study=study(), metrics=METRICS, title="t", generated=NOW, set_aside={"wvs-7": lines, "gss-2018": []}
    )
    assert "Set aside in wvs-7: 2 columns, whole or in part" in html
    assert all(line in html for line in lines)
    assert "Set aside in gss-2018" not in html


def test_replies_that_cannot_be_read_are_a_warning_before_any_estimate() -> None:
    low = fab.estimates(fab.estimate(metric="parse_rate", estimate=0.31))
    rest = estimates().filter(pl.col("metric") != "parse_rate")
    html = " ".join(render(subgroup_metrics=pl.concat([rest, low])).split())
    assert "name one of the options: 31.0 % with persona" in html
    assert html.index("Warning: too few replies") < html.index('<h2 id="read">')
    assert "Warning: too few" not in render()


def test_every_interval_is_named_by_the_level_of_the_study() -> None:
    rest = frames()
    html = report.render_report(rest, study=study(level=0.1), metrics=METRICS, title="t", generated=NOW)
    assert "90 %" in html and "95 %" not in html
    assert "95 %" in render() and "90 %" not in render()


def test_the_effect_of_the_scales_direction_stands_beside_the_position_bias():
    turned = fab.estimate(metric="scale_direction", estimate=0.123, ci_low=0.1, ci_high=0.15)
    page = render(subgroup_metrics=pl.concat([estimates(), fab.estimates(turned)]))
    assert "Scale direction</th>" in page and "0.123" in page and "[0.100, 0.150]" in page
    assert "Scale direction" not in render()
