"""Build the prompts of the condition `group`: no person is shown, and the shares of a described group are asked for.

Published comparisons find that this beats panels of personas (arXiv 2609.07305), so a claim that personas help needs it
beside them. A group is a subgroup of the study's dimensions or their intersections, or everyone.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from mpta_pipeline.core.countries import spoken_name
from mpta_pipeline.core.described_groups import group_ids
from mpta_pipeline.core.hashing import hash_rows
from mpta_pipeline.core.labels import ALL, CROSS
from mpta_pipeline.core.row_dimensions import NAMES as OF_QUESTIONS
from mpta_pipeline.core.vocabulary import GROUP_CONDITION
from mpta_pipeline.personas import CrosswalkTables, column_facts, masks
from mpta_pipeline.personas.dimensions import TITLES, VALUES, concepts_of

ELICITATION = "verbalized"
ASK = "How many of the 100 would choose each option? Answer with JSON: a number for each letter, sum 100."
# More countries than this are counted, not listed.
_LISTED = 8
_NONE = "none"


def group_texts(
    pairs: pl.DataFrame,
    items: pl.DataFrame,
    *,
    groups: pl.DataFrame,
    personas: pl.DataFrame,
    dimensions: Sequence[str],
    crosswalk: CrosswalkTables,
) -> pl.DataFrame:
    """Write the text that precedes an item, for each group and item that a persona of the group is asked.

    A group is not asked what its own description gives away: no question about age goes to people of an age.

    Args:
        pairs: respondent_id, survey, codebook and item_id of the personas asked.
        items: ITEMS.
        groups: GROUPS.
        personas: PERSONAS.
        dimensions: Dimensions of the study's estimates.
        crosswalk: Concepts and options.

    Returns:
        respondent_id (the group's id), survey, wave, item_id, and the columns of a text: condition, style, framing,
        paraphrase_id, shown_respondent_id, system, text_hash, data_use; and masked.
    """
    # The people whom the answers are compared with: everybody of the survey in the group, in the panel or not.
    population = personas.select("respondent_id", "survey", "wave", pl.col("country").alias("of country")).join(
        groups.drop("survey"), on="respondent_id", how="left"
    )
    asked = pairs.select("respondent_id", "codebook", "item_id").join(population, on="respondent_id")
    given_away = _given_away(items, dimensions, crosswalk)
    parts = []
    for dimension in dict.fromkeys((ALL, *dimensions)):
        bases = [] if dimension == ALL else dimension.split(CROSS)
        if any(base in OF_QUESTIONS or base not in groups.columns for base in bases):
            continue
        label = pl.concat_str(bases, separator=CROSS) if bases else pl.lit(ALL)
        hidden = given_away.filter(pl.col("base").is_in(bases)).select("item_id", "codebook").unique()
        cells = (
            asked.with_columns(label.alias("subgroup"))
            .drop_nulls("subgroup")
            .join(hidden, on=["item_id", "codebook"], how="anti")
        )
        described = _described(population.with_columns(label.alias("subgroup")), bases, crosswalk)
        parts.append(
            cells.group_by("survey", "subgroup", "item_id")
            .agg(pl.col("wave").max())
            .join(described, on=["survey", "subgroup"])
            .with_columns(group_ids(pl.col("survey"), pl.lit(dimension), pl.col("subgroup")).alias("respondent_id"))
            .select("respondent_id", "survey", "wave", "item_id", "system")
        )
    texts = pl.concat(parts).with_columns(
        pl.lit(GROUP_CONDITION).alias("condition"),
        pl.lit(_NONE).alias("style"),
        pl.lit(_NONE).alias("framing"),
        pl.lit(0, pl.Int64).alias("paraphrase_id"),
        pl.lit(None, pl.String).alias("shown_respondent_id"),
        # Countries and subgroups of a whole survey are told, nobody's answers.
        pl.lit("any").alias("data_use"),
        pl.lit([], pl.List(pl.String)).alias("masked"),
        pl.lit(None, pl.Int64).alias("gold_idx"),
        pl.lit(None, pl.Float64).alias("weight"),
    )
    return texts.with_columns(hash_rows(texts, ["system"], key="system", length=12).alias("text_hash"))


def _given_away(items: pl.DataFrame, dimensions: Sequence[str], crosswalk: CrosswalkTables) -> pl.DataFrame:
    """Base dimensions that give the answer to an item away: item_id, codebook, base."""
    facts = column_facts(crosswalk)
    bases = dict.fromkeys(base for d in dimensions if d != ALL for base in d.split(CROSS))
    columns = [
        facts.filter(pl.col("concept").is_in(names) | pl.col("column").is_in(names)).select(
            "codebook", pl.col("column").alias("hidden"), pl.lit(base).alias("base")
        )
        for base in bases
        if (names := concepts_of(base))
    ]
    schema = {"item_id": pl.String, "codebook": pl.String, "base": pl.String}
    if not columns or facts.is_empty():
        return pl.DataFrame(schema=schema)
    shown = facts.select("codebook", "column", "label", "variables", "reveals")
    hidden = masks(items, shown).select("item_id", "codebook", "hidden").explode("hidden").drop_nulls("hidden")
    return hidden.join(pl.concat(columns), on=["codebook", "hidden"]).select(list(schema)).unique()


def _described(population: pl.DataFrame, bases: Sequence[str], crosswalk: CrosswalkTables) -> pl.DataFrame:
    """The description of each group: survey, subgroup, system."""
    rows = []
    found = (
        population.drop_nulls("subgroup")
        .group_by("survey", "subgroup")
        .agg(
            pl.col("of country").unique().sort().alias("countries"),
            *(pl.col(base).first().alias(base) for base in bases),
        )
    )
    phrases = {base: _phrases(base, crosswalk) for base in bases}
    for row in found.sort("survey", "subgroup").iter_rows(named=True):
        told = [phrases[b].get(row[b]) or f"{TITLES.get(b, b).lower()}: {row[b]}" for b in bases if b != "country"]
        who = f" who all belong to this group: {', '.join(told)}" if told else ""
        rows.append((row["survey"], row["subgroup"], f"{_people(row['countries'])}{who}. {_SETTING}"))
    return pl.DataFrame(rows, schema=dict.fromkeys(("survey", "subgroup", "system"), pl.String), orient="row")


_SETTING = "Each of them answers the following question in a survey."


def _people(countries: Sequence[str]) -> str:
    names = [spoken_name(code) for code in countries]
    if len(names) > _LISTED:
        return f"Think of 100 adults from {len(names)} countries"
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"Think of 100 adults in {listed}"


def _phrases(base: str, crosswalk: CrosswalkTables) -> dict[str, str]:
    """Value → words of a base dimension, from the crosswalk if the dimension has none of its own."""
    own = {
        value: f"aged {text}" if text[:1].isdigit() else text for (name, value), text in VALUES.items() if name == base
    }
    facts = column_facts(crosswalk).filter((pl.col("concept") == base) | (pl.col("column") == base))
    options = crosswalk.options.join(facts.select("codebook", "column", "label"), on=["codebook", "column"])
    told = options.sort("codebook", "column", "code").select("value", "label", "text")
    words = {value: f"{label}: {text}" for value, label, text in told.iter_rows()}
    return words | own
