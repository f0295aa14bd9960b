"""Protects what must stay hidden: no target can be read from its prompt, whatever the source and the concept.

Three ways to look: facts that say the same, told here apart from the concept files; every item of every codebook
against the text of its prompt; and real answers, where one trait nearly decides another.
"""

import itertools

import numpy as np
import polars as pl
import pytest

from mpta_pipeline import harmonize, personas, surveys, tasks
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.core.study import PanelDesign, Study
from mpta_pipeline.tasks.example_prompts import invented_respondents
from tests.shared_data import gss_file, present

# Concepts that are the same fact, or one of which gives the other away; each pair of a set must hide each other.
SAME = (
    {"party", "party_3", "left_right"},
    {"age", "birth_year"},
    {"age", "employment_status"},  # the retired and the students
    {"country", "region", "census_division", "birth_country", "language_home"},
    {"region", "census_division", "settlement_size", "urban_rural"},
    {"birth_country", "born_in_country", "citizenship", "language_home", "ethnicity_race", "hispanic_origin"},
    {"born_in_country", "mother_born_in_country", "father_born_in_country"},
    {"citizenship", "vote_national"},  # "not eligible to vote"
    {"religion_denomination", "religious_attendance", "prayer", "importance_of_god", "importance_religion",
     "religious_person", "religious_strength", "religious_activity", "believe_god", "believe_heaven", "believe_hell",
     "believe_life_after_death", "bible_view", "confidence_church", "only_my_religion"},
    {"education_isced", "education_3", "education_years"},
    {"income_scale", "income_own", "financial_satisfaction", "social_class"},
    {"employment_status", "occupation", "job_satisfaction", "income_own", "social_class"},
    {"marital_status", "n_children", "household_size"},
    {"aims_country_first", "aims_respondent_first", "aims_respondent_second", "postmaterialism_4"},
    {"abortion_defect", "abortion_health", "abortion_no_more_children", "abortion_poor", "abortion_rape",
     "abortion_single", "justifiable_abortion"},
    {"happiness", "life_satisfaction", "life_exciting"},
    {"trust_general", "fairness_of_people", "helpfulness_of_people", "trust_first_met"},
    {"justifiable_homosexuality", "homosexual_parents", "neighbour_homosexuals", "justifiable_casual_sex",
     "justifiable_premarital_sex", "justifiable_prostitution"},
    {"gender_men_better_executives", "gender_men_better_leaders", "gender_men_right_to_job", "gender_university_boy",
     "gender_housewife_fulfilling", "gender_child_suffers_working_mother", "woman_earns_more_problem"},
    {"immigration_policy", "immigrants_impact", "immigration_increases_crime", "neighbour_immigrants",
     "jobs_nationals_first"},
    {"environment_vs_growth", "spending_environment", "spending_energy", "spending_parks"},
    {"spending_welfare", "spending_social_security", "spending_childcare", "econ_government_responsibility"},
    {"spending_crime", "spending_drugs"},
    {"spending_drugs", "marijuana_legal"},
    {"spending_defense", "confidence_armed_forces", "fight_for_country"},
    {"spending_space", "spending_science", "confidence_science"},
    {"spending_roads", "spending_transport", "spending_cities"},
    {"spending_education", "confidence_universities"},
    {"confidence_government", "confidence_parliament", "confidence_parties", "political_system_satisfaction"},
    {"econ_income_equality", "demo_essential_incomes_equal", "demo_essential_tax_rich"},
    {"work_duty", "work_first", "work_lazy", "importance_work", "less_importance_work"},
    {"interest_politics", "importance_politics"},
    {"freedom_vs_equality", "freedom_vs_security"},
    {"index_emancipative_values", "gender_men_better_leaders"},
    {"index_emancipative_values", "justifiable_abortion"},
    {"index_emancipative_values", "child_obedience"},
    {"index_secular_values", "religious_attendance"},
    {"index_evi_voice", "postmaterialism_4"},
)  # fmt: skip
# Nothing else that is asked says the same as these.
ALONE = {"control_over_life", "importance_friends", "importance_leisure", "respect_authority_good"}
CODEBOOKS = ("gss", "gss_extract", "wvs7", "wvs_ts", "joint", "evs2017")


@pytest.fixture(scope="module")
def crosswalk():
    return harmonize.load_crosswalk()


@pytest.fixture(scope="module")
def facts(crosswalk):
    return personas.column_facts(crosswalk)


def hides(one, other):
    """Whether two columns keep each other out of a prompt, as `personas.masks` decides."""
    return bool(
        set(one["reveals"]) & set(other["reveals"])
        or set(one["variables"]) & set(other["variables"])
        or one["label"] == other["label"]
    )


def test_what_says_the_same_is_hidden_together_in_every_source(facts):
    rows = facts.to_dicts()
    known = {row["concept"] for row in rows}
    assert set().union(*SAME) <= known, set().union(*SAME) - known
    open_ = set()
    for codebook in {row["codebook"] for row in rows}:
        mine = [row for row in rows if row["codebook"] == codebook]
        for group in SAME:
            for one, other in itertools.combinations([r for r in mine if r["concept"] in group], 2):
                if not hides(one, other):
                    open_.add((codebook, one["column"], other["column"]))
    assert not open_


def test_several_columns_of_one_concept_hide_each_other(facts):
    """Alternative wordings (natspac and natspacy), finer and coarser codings of one question."""
    several = 0
    for part in facts.partition_by("codebook", "concept"):
        for one, other in itertools.combinations(part.to_dicts(), 2):
            several += 1
            assert hides(one, other), (one["column"], other["column"])
    assert several > 30


def test_every_concept_was_thought_of(facts):
    """A concept without a group must be on the list of those that stand alone: a new one cannot be forgotten."""
    asked = facts.filter(pl.col("domain") != "design")
    bare = set(asked.filter(pl.col("reveals").list.len() == 0)["concept"])
    assert bare == ALONE


@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_no_target_can_be_recovered_from_its_prompt_by_labels(crosswalk, facts, codebook):
    """Every item of the codebook, asked of personas with all traits: no line of the persona is of a hidden column."""
    people, waves = invented_respondents(crosswalk, codebook, n=3)
    task = {"options": {"max_options": 26}, "orders": "given"}
    study = Study.model_validate(
        {
            "name": "all",
            "styles": ["bullets"],
            "conditions": ["persona"],
            "traits": {"min": 1, "max": 400},
            "tasks": {k: {"kind": k} | task for k in ("value_alignment", "trait_inference")},
        }
    )
    built = personas.build_personas(people, crosswalk, study, waves)
    everybody = built.select("respondent_id", "survey")
    panel = personas.draw_panel(built, everybody, PanelDesign(size=built.height, strata=()), 1)
    mine = {row["column"]: row for row in facts.filter(pl.col("codebook") == codebook).to_dicts()}
    by_label = {}
    for column, row in mine.items():
        by_label.setdefault(row["label"][0].upper() + row["label"][1:], []).append(column)
    tried = 0
    for name, config in study.tasks.items():
        items = tasks.build_items(name, config, crosswalk=crosswalk, respondents=people, study=study)
        gold = tasks.build_gold(name, config, items, crosswalk=crosswalk, respondents=people)
        prompts = tasks.build_prompts(name, study, items=items, gold=gold, panel=panel, personas=built)
        for item, system, masked in prompts.select("item_id", "system", "masked").rows():
            column = item.split("@")[0]
            target = mine[column]
            assert column in masked
            shown = [line[2:].split(": ", 1)[0] for line in (system or "").split("\n") if line.startswith("- ")]
            tried += len(shown)
            for label in shown:
                for other in by_label[label]:
                    assert other != column and not hides(target, mine[other]), (item, other)
    assert tried > (300 if codebook == "gss_extract" else 2000)


def association(target: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Uncertainty coefficient U(target | other), corrected for chance, and Goodman and Kruskal's λ."""
    table = np.zeros((target.max() + 1, other.max() + 1))
    np.add.at(table, (target, other), 1)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    n = table.sum()
    share, rows, columns = table / n, table.sum(1) / n, table.sum(0) / n
    entropy = -(rows * np.log(rows)).sum()
    if entropy < 1e-9:
        return 0.0, 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        mutual = np.nansum(share * np.log(share / np.outer(rows, columns)))
    mutual -= (table.shape[0] - 1) * (table.shape[1] - 1) / (2 * n)
    wrong = n - table.sum(1).max()
    return float(mutual / entropy), float((table.max(0).sum() - table.sum(1).max()) / wrong) if wrong else 0.0


@pytest.mark.parametrize("year", [2016, 2018, 2021, 2024])
def test_no_visible_trait_nearly_decides_a_target_in_real_answers(crosswalk, facts, tmp_path, year):
    """The GSS, every pair of its columns that do not hide each other: none takes a third of the other's uncertainty.

    Before the audit the citizens were: who says that they were not eligible to vote is none (U = .42, λ = .55).
    """
    path = present(gss_file(year))
    registry = surveys.load_sources(None)
    (wave,) = surveys.recognize(path, registry).waves
    raw = surveys.ingest(path, getattr(wave, "wave", wave), Layout(tmp_path), registry)
    frame = harmonize.harmonize(raw, crosswalk)
    mine = {
        row["column"]: row
        for row in facts.filter(
            (pl.col("codebook") == frame["codebook"][0]) & (pl.col("domain") != "design")
        ).to_dicts()
        if row["column"] in frame.columns
    }
    codes = {}
    for column in mine:
        values = frame[column]
        if values.dtype.is_numeric() and values.n_unique() > 8:
            values = values.bin_quantiles(6, labels=False, right_closed=True).cast(pl.String)
        codes[column] = values.cast(pl.String).rank("dense").cast(pl.Int64).fill_null(0).to_numpy()
    tried, open_ = 0, []
    for column, other in itertools.permutations(codes, 2):
        both = (codes[column] > 0) & (codes[other] > 0)
        if both.sum() < 250 or len(set(codes[other])) > 60 or hides(mine[column], mine[other]):
            continue
        tried += 1
        u, lam = association(codes[column][both], codes[other][both])
        if u > 1 / 3 or lam > 0.5:
            open_.append((column, other, round(u, 2), round(lam, 2)))
    assert tried > 5000
    assert not open_
