"""What the report shows of polls: beside what, and never without the people's own second sample."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from mpta_pipeline import metrics, report
from mpta_pipeline.core.study import EstimateRules, Study, TaskConfig
from mpta_pipeline.core.tables.tasks import POLL
from tests.factories.scores import world

RULES = EstimateRules(dimensions=("region",), bootstrap=60)


@pytest.fixture(scope="module")
def html() -> str:
    scores, groups, gold = world(
        personas=200, items=6, orders=1, traits=(("region", 4),), conditions=("persona",), seed=8
    )
    items = pl.DataFrame({"item_id": [f"i{j:04d}" for j in range(6)]}).with_columns(
        pl.lit("t").alias("task"),
        pl.lit(None, pl.List(POLL)).alias("poll"),
        pl.lit(False).alias("sample_item"),
        pl.lit(None, pl.String).alias("column"),
        pl.lit(["yes", "no", "perhaps"]).alias("options"),
        pl.format("Question {}?", "item_id").alias("question"),
    )
    shares = metrics.people_shares(items, gold, groups, rules=RULES)
    estimates = metrics.compute_estimates(scores, groups, gold, rules=RULES)
    return report.render_report(
        {"subgroup_metrics": estimates, "people_shares": shares, "items": items},
        study=Study(name="starter", tasks={"t": TaskConfig(kind="value_alignment")}, figures=RULES),
        metrics=metrics.METRICS,
        title="Study",
        generated=datetime(2026, 11, 23, 17, 0, tzinfo=UTC),
    )


def test_published_measures_stand_beside_equal_shares_majority_and_people(html: str) -> None:
    section = html.split("<h3>Measured as a poll</h3>")[1].split("Population fidelity by dimension", maxsplit=1)[0]
    for name in ("Representativeness (OpinionQA)", "Similarity (GlobalOpinionQA)", "SimBench score"):
        assert name in section
    for column in ("Equal shares", "Most frequent<br>answer", "People against<br>people"):
        assert column in section


def test_fidelity_names_the_lowest_part_and_the_second_sample(html: str) -> None:
    table = html.split("Population fidelity by dimension")[1].split("</table>", maxsplit=1)[0]
    assert "region" in table
    assert any(part in table for part in ("<td>accuracy</td>", "<td>adaptability</td>", "<td>structure</td>"))
    assert table.count('<span class="sub">(') >= 4


def test_fidelity_is_no_inequality_of_groups(html: str) -> None:
    unequal = html.split("How unequally subgroups are served")[1].split("</table>", maxsplit=1)[0]
    assert "idelity" not in unequal
    assert "onsistency" not in unequal


def test_what_people_answered_has_its_interval_and_design(html: str) -> None:
    table = html.split("What people answered to 6 questions")[1].split("</table>", maxsplit=1)[0]
    assert "by weights alone, unweighted" in table
    assert "Question i0000?" in table
    assert "perhaps" in table


def test_further_estimates_have_their_baselines_beside_them(html: str) -> None:
    assert '<th scope="col">Baselines</th>' in html
    assert "Pearson correlation with the person" in html


def test_distances_say_how_they_were_made_and_from_how_many_people(html: str) -> None:
    section = html.split("Distance to what people answered")[1].split("What people answered to", maxsplit=1)[0]
    assert "linearized" in section
    assert '<td class="n">200</td>' in section
