"""Protects the multiverse from study.yaml to the warehouse: each prompt asked once, a new level re-makes only its own."""

import duckdb
import polars as pl
import pytest

from mpta_pipeline.core import tables
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import read, stacked
from tests.factories.deployment import STUDY, model
from tests.plain_run import bring_up_to_date

FACTORS = {"framing": ["you_are", "user_is"], "style": ["prose", "bullets"], "elicitation": ["letter", "verbalized"]}
FIGURES = [
    {"what": "gap", "dimensions": "sex", "subgroup": "female"},
    {"what": "effect", "name": "persona effect"},
    {"what": "estimate"},
]
MULTIVERSE = {"factors": FACTORS, "tasks": ["value_alignment"], "figures": FIGURES, "permutations": 99}
DOCUMENT = (
    STUDY
    | {"tasks": {"value_alignment": {"kind": "value_alignment", "items_per_persona": 3, "orders": "scale"}}}
    | {"panel": {"size": 40, "strata": ["sex"]}}
)
ECHO = {"provider": "simulated", "accuracy": 0.9, "accuracy_by": {"sex": {"female": 0.5}}}


@pytest.fixture
def study(world):
    world.models({"echo": ECHO})
    world.study(DOCUMENT | {"multiverse": MULTIVERSE})
    return world


def test_a_study_is_asked_in_all_configurations_and_its_own_figures_stay(study):
    study.study(DOCUMENT)
    bring_up_to_date()
    alone = stacked(Deployment.from_env(), "subgroup_metrics")
    study.study(DOCUMENT | {"multiverse": MULTIVERSE})
    deployment, made = bring_up_to_date()
    assert not any(node.startswith(("responses|echo|value_alignment", "prompts|value_alignment")) and "~" not in node for node in made)
    assert stacked(deployment, "subgroup_metrics").equals(alone)
    configurations = read(deployment, "configurations", "")
    assert configurations.height == 8 and configurations["requests"].min() > 0
    # The study's own cell is among them, and costs nothing more.
    own = configurations.filter(configuration="framing-you_are~style-prose~elicitation-letter")
    assert own["new_requests"].to_list() == [0]
    others = configurations.filter(pl.col("new_requests") > 0)
    assert others.height == 7
    # Without a persona, framing and style say nothing: those requests are shared.
    assert (configurations["new_requests"] <= configurations["requests"]).all()
    assert own["requests"][0] == (others["requests"] - others["new_requests"]).max() + others["new_requests"].min()
    with duckdb.connect(str(study.data / "warehouse.duckdb"), read_only=True) as warehouse:
        curve = warehouse.sql("select * from specification_curve order by figure, place").pl()
        found = warehouse.sql("select * from multiverse_findings").pl()
        moves = warehouse.sql("select * from factor_moves").pl()
    assert curve.height == 3 * 8 and found.height == 3 and moves.height == 3 * 3
    # What is planted does not depend on any choice.
    gap = found.filter(what="gap").row(0, named=True)
    assert gap["n_configurations"] == 8 and gap["median"] < -0.2 and gap["p_median"] <= 0.05
    assert bring_up_to_date()[1] == []


def test_a_configuration_has_the_figure_that_the_study_itself_would_have(study):
    deployment, _ = bring_up_to_date()
    own = stacked(deployment, "subgroup_metrics").filter(metric="accuracy", condition="persona", baseline="", weighted=False)
    curve = read(deployment, "specification_curve", "").filter(
        configuration="framing-you_are~style-prose~elicitation-letter"
    )
    gap = own.filter(dimensions="sex", subgroup="female").row(0, named=True)
    everyone = own.filter(dimensions="all").row(0, named=True)
    there = {row["figure"]: row for row in curve.iter_rows(named=True)}
    assert there["gap in accuracy, female"]["estimate"] == pytest.approx(gap["gap"])
    assert there["persona effect"]["estimate"] == pytest.approx(everyone["effect"])
    assert there["persona effect"]["ci_low"] == pytest.approx(everyone["effect_low"])
    assert there["accuracy"]["ci_high"] == pytest.approx(everyone["ci_high"])


def test_a_new_level_makes_only_its_own_configurations(study):
    bring_up_to_date()
    factors = FACTORS | {"style": ["prose", "bullets", "json"]}
    study.study(DOCUMENT | {"multiverse": MULTIVERSE | {"factors": factors}})
    _, made = bring_up_to_date()
    asked = [node for node in made if node.startswith(("prompts", "responses", "scores"))]
    assert len(asked) == 3 * 4 and all("style-json" in node for node in asked)


def test_models_at_other_temperatures_are_asked_the_multiverse_alone(world, server):
    world.models({"loopback": model(server.url)})
    factors = {"style": ["prose", "bullets"], "temperature": [0.0, 0.7]}
    world.study(DOCUMENT | {"multiverse": MULTIVERSE | {"factors": factors}})
    deployment, _ = bring_up_to_date()
    hot = "loopback~temperature-0.7"
    assert list(deployment.models) == ["loopback", hot]
    assert deployment.models[hot].parameters == {"temperature": 0.7}
    assert read(deployment, "responses", f"{hot}|value_alignment").is_empty()
    assert read(deployment, "responses", f"{hot}|value_alignment~style-bullets").height > 0
    # Each request of a model once, whichever configuration it belongs to.
    configurations = read(deployment, "configurations", "")
    own = read(deployment, "responses", "loopback|value_alignment")["request_hash"].n_unique()
    assert server.calls == own + configurations["new_requests"].sum()
    assert configurations.height == 4


def test_a_study_without_a_multiverse_has_empty_tables(world, finished):
    deployment = Deployment.from_env()
    for name in ("configurations", "specification_curve", "multiverse_findings", "factor_moves"):
        assert read(deployment, name, "").is_empty()
    assert stacked(deployment, "configuration_estimates").schema == tables.CONFIGURATION_ESTIMATES.schema
