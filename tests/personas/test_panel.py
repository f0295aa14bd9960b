"""Protects the panel: sizes, probabilities, and that a new wave takes only the places that its share requires."""

import polars as pl
import pytest

from mpta_pipeline import personas
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.study import PanelDesign
from mpta_pipeline.personas.panel import _allocated, _equal, _proportional
from tests.factories import small_survey


def draw(people, frame, crosswalk, **design):
    design = PanelDesign(**({"size": 40, "strata": ("sex", "age_band")} | design))
    dimensions = personas.derived_dimensions(people, design.strata, crosswalk)
    return personas.draw_panel(frame, dimensions, design, 7)


def test_size_strata_and_probabilities(people, frame, crosswalk):
    panel = draw(people, frame, crosswalk)
    assert panel.height == 40
    assert panel.group_by("survey").len().sort("survey").rows() == [("alpha", 20), ("beta", 20)]
    counted = panel.group_by("survey", "stratum").agg(
        pl.len().alias("n"),
        pl.col("stratum_selected").first(),
        pl.col("stratum_size").first(),
        pl.col("inclusion_probability").first(),
    )
    assert (counted["n"] == counted["stratum_selected"]).all()
    assert (counted["n"] / counted["stratum_size"] - counted["inclusion_probability"]).abs().max() < 1e-12
    weighted = panel.filter(survey="alpha")
    assert (weighted["weight"] - weighted["survey_weight"] / weighted["inclusion_probability"]).abs().max() < 1e-9
    assert panel.filter(survey="beta")["weight"].null_count() == 20


@pytest.mark.parametrize("allocation", ["equal", "proportional"])
@pytest.mark.parametrize("size", [6, 40])
def test_everybody_has_a_chance_and_the_probabilities_estimate_the_population(crosswalk, study, allocation, size):
    """Horvitz and Thompson by hand, with strata too small for a place and more strata than places."""
    people = small_survey.respondents(n=300, waves=("alpha-1", "beta-1"))
    odd = pl.col("native_key").cast(pl.Int64) % 75 == 0  # four of each wave do not say their age
    people = people.with_columns(pl.when(odd).then(None).otherwise("age").alias("age"))
    frame = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    panel = draw(people, frame, crosswalk, size=size, allocation=allocation, strata=("country", "sex", "age_band"))
    assert panel.height == size
    for survey in ("alpha", "beta"):
        mine, all_ = panel.filter(survey=survey), frame.filter(survey=survey)
        by_hand = sum(1 / (row["stratum_selected"] / row["stratum_size"]) for row in mine.to_dicts())
        assert by_hand == pytest.approx(all_.height) == pytest.approx((1 / mine["inclusion_probability"]).sum())
    # over many draws the weighted total is that of everybody
    alpha = frame.filter(survey="alpha")
    dimensions = personas.derived_dimensions(people, ("country", "sex", "age_band"), crosswalk)
    design = PanelDesign(size=size, strata=("country", "sex", "age_band"), allocation=allocation)
    totals = [personas.draw_panel(alpha, dimensions, design, seed)["weight"].sum() for seed in range(25)]
    mean, se = sum(totals) / 25, pl.Series(totals).std() / 5
    assert abs(mean - alpha["weight"].sum()) < 4 * se + 1e-9


def test_a_stratum_without_a_place_joins_its_nearest(people, frame, crosswalk):
    names = ["A×f×1", "A×f×2", "A×m×1", "B×f×1", "B×f×9", "C×m×1"]
    strata = pl.DataFrame(
        {"survey": ["s"] * 6, "stratum": names, "stratum_size": [40, 1, 40, 2, 60, 1], "tie": [0.1] * 6}
    )
    drawn = _allocated(strata, 7, _proportional)
    assert dict(drawn.select("stratum", "joined").rows()) == {
        "A×f×1": "A×f×1 + A×f×2", "A×f×2": "A×f×1 + A×f×2", "A×m×1": "A×m×1", "B×f×1": "B×f×1 + B×f×9 + C×m×1",
        "B×f×9": "B×f×1 + B×f×9 + C×m×1", "C×m×1": "B×f×1 + B×f×9 + C×m×1",
    }  # fmt: skip
    assert drawn.unique("joined")["stratum_selected"].sum() == 7


def test_lowest_hash_within_stratum(people, frame, crosswalk):
    """Everybody drawn has a lower rank than everybody in the stratum who was not."""
    few, all_ = draw(people, frame, crosswalk), draw(people, frame, crosswalk, size=10_000)
    assert all_.height == frame.height
    assert (all_["inclusion_probability"] == 1).all()
    rest = (
        all_.join(few, on="respondent_id", how="anti")
        .group_by("survey", "stratum")
        .agg(pl.col("rank").min().alias("left"))
    )
    drawn = few.group_by("survey", "stratum").agg(pl.col("rank").max().alias("in"))
    assert (drawn.join(rest, on=["survey", "stratum"]).select(pl.col("in") < pl.col("left")).to_series()).all()


def test_row_order_does_not_matter(people, frame, crosswalk):
    assert draw(people, frame, crosswalk).equals(
        draw(people, frame.sample(fraction=1, shuffle=True, seed=3), crosswalk)
    )


def test_a_new_wave_takes_only_its_share(crosswalk, study):
    """300 people of one wave, then 300 of a second: half of the old panel stays, none of it is exchanged for others."""
    both = small_survey.respondents(n=300, waves=("alpha-1", "alpha-2"))
    one = both.filter(wave="alpha-1")
    before = draw(one, personas.build_personas(one, crosswalk, study, small_survey.waves(one)), crosswalk, size=100)
    after = draw(both, personas.build_personas(both, crosswalk, study, small_survey.waves(both)), crosswalk, size=100)
    old_in_after = set(after.filter(wave="alpha-1")["respondent_id"])
    kept = len(old_in_after & set(before["respondent_id"]))
    assert kept >= 0.9 * len(old_in_after)  # those of the old wave who are asked were nearly all asked before
    assert 35 <= kept <= 65


def test_a_new_survey_takes_its_share_and_exchanges_nobody(people, frame, crosswalk):
    alone = frame.filter(survey="alpha")
    before = set(draw(people, alone, crosswalk)["respondent_id"])
    after = set(draw(people, frame, crosswalk).filter(survey="alpha")["respondent_id"])
    assert len(before) == 40
    assert len(after) == 20
    # largest remainders may move a place or two between strata
    assert len(after - before) <= 2


def test_a_new_country_takes_only_its_share(crosswalk, study):
    """300 people of one country, then 150 of another: two thirds of the old panel stay, nobody is exchanged.

    With the design's default strata; that a stratum's place may move by rounding is all that changes.
    """
    both = small_survey.respondents(n=450, waves=("alpha-1",)).with_columns(
        country=pl.when(pl.col("row_index") < 300).then(pl.lit("USA")).otherwise(pl.lit("CAN"))
    )
    panels = []
    for people in (both.filter(country="USA"), both):
        built = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
        panels.append(draw(people, built, crosswalk, size=90, strata=("country", "sex", "age_band")))
    before, after = panels
    old = set(after.filter(pl.col("stratum").str.starts_with("USA"))["respondent_id"])
    assert after.height == 90
    assert 57 <= len(old) <= 63
    assert len(old - set(before["respondent_id"])) <= 2


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [([50, 30, 20], 10, [5, 3, 2]), ([1, 1, 1], 2, 2), ([5, 5], 20, [5, 5]), ([97, 2, 1], 10, [10, 0, 0])],
)
def test_proportional_by_largest_remainder(sizes, total, expected):
    counts = _proportional(sizes, [0.1 * i for i in range(len(sizes))], total)
    assert sum(counts) == expected if isinstance(expected, int) else counts == expected


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [([50, 50], 10, [5, 5]), ([2, 50, 50], 12, [2, 5, 5]), ([1, 1], 9, [1, 1]), ([9, 9, 9], 4, 4)],
)
def test_equal_shares_pass_on_what_a_small_stratum_cannot_fill(sizes, total, expected):
    counts = _equal(sizes, [0.1 * i for i in range(len(sizes))], total)
    assert sum(counts) == expected if isinstance(expected, int) else counts == expected


def test_dimensions(people, crosswalk):
    found = personas.derived_dimensions(people, ("sex×age_band", "party", "country", "year"), crosswalk)
    assert found.columns == ["respondent_id", "survey", "sex", "age_band", "party", "country", "year"]
    assert found.height == people.height
    joined = found.join(people, on="respondent_id")
    young = joined.filter(pl.col("age_band") == "18–29")
    assert young["age"].max() < 30
    party = pl.when(pl.col("codebook") == "alpha").then("party_alpha").otherwise("party_beta")
    assert joined.select((pl.col("party") == party).fill_null(party.is_null() & pl.col("party").is_null()).all()).item()
    years = personas.derived_dimensions(people, ("birth_year", "age_decade"), crosswalk)
    assert years["birth_year"].drop_nulls().str.contains(r"^\d{4}$").all()
    assert set(years["age_decade"].drop_nulls()) <= {f"{d}0s" for d in range(1, 10)}
    with pytest.raises(ConfigError, match="shoe_size"):
        personas.derived_dimensions(people, ("shoe_size",), crosswalk)


def test_stand_ins_are_others_of_the_group_and_nobody_twice(frame):
    for within in (["wave", "country"], ["wave"]):
        pairs = personas.stand_ins(frame, within, seed=1)
        assert pairs.height == frame.height
        assert (pairs["respondent_id"] != pairs["shown_respondent_id"]).all()
        assert pairs["shown_respondent_id"].is_unique().all()
        facts = frame.select("respondent_id", "wave")
        both = pairs.join(facts, on="respondent_id").join(
            facts, left_on="shown_respondent_id", right_on="respondent_id", suffix="_shown"
        )
        assert (both["wave"] == both["wave_shown"]).all()
    alone = personas.stand_ins(frame.head(1), ["wave"], seed=1)
    assert alone.is_empty()


class TestCountryGroups:
    def people(self):
        codes = ["USA", "CAN", "BRA", "NER", "NGA", None]
        return pl.DataFrame({"respondent_id": [f"r{i}" for i in range(6)], "survey": "s", "country": codes})

    def test_by_name_or_code_and_never_by_a_part_of_a_name(self, crosswalk):
        groups = {"north": ("United States", "can"), "south": ("Brazil", "NER")}
        found = personas.derived_dimensions(
            self.people(), ("country_group", "cultural_zone"), crosswalk, country_groups=groups
        )
        # Niger is no part of Nigeria.
        assert found["country_group"].to_list() == ["north", "north", "south", "south", None, None]
        assert found["cultural_zone"].to_list() == ["English Speaking"] * 2 + ["Latin America"] + [None] * 3

    @pytest.mark.parametrize(
        ("groups", "says"),
        [
            ({"a": ("Unted States",)}, "Unted States.*whole name or its ISO"),
            ({"a": ("Germany",), "b": ("DE",)}, "two groups.*DE: a, b"),
            ({}, "without groups"),
        ],
    )
    def test_what_cannot_be_is_named(self, crosswalk, groups, says):
        with pytest.raises(ConfigError, match=says) as failure:
            personas.derived_dimensions(self.people(), ("sex×country_group",), crosswalk, country_groups=groups)
        assert failure.value.variable == "figures.country_groups"
