"""Build personas: choose which of a respondent's answers a persona carries, and word them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import polars as pl

from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.core.hashing import hash_rows, hash_uniform
from mpta_pipeline.core.study import Study, TraitSelection
from mpta_pipeline.core.tables import PERSONAS, TRAIT
from mpta_pipeline.core.unknown_names import unknown_name
from mpta_pipeline.harmonize import with_option
from mpta_pipeline.personas import wording

# A column answered by a smaller share of a wave's respondents (for example a split ballot) is chosen only if columns
# with more answers do not fill the study's maximum.
_COVERED = 0.5

# Demographics that come first, by concept; others follow by name.
_FIRST = (
    "country", "sex", "age", "ethnicity_race", "race", "education", "degree", "education_isced", "education_3",
    "employment_status", "marital_status", "party", "left_right", "religion_denomination", "religious_attendance",
    "income_scale", "social_class", "urban_rural", "settlement_size", "region", "n_children", "household_size",
    "born_in_country", "birth_year",
)  # fmt: skip


class CrosswalkTables(Protocol):
    """The parts of the crosswalk that personas and tasks read."""

    @property
    def concepts(self) -> pl.DataFrame:
        """CONCEPTS rows."""

    @property
    def options(self) -> pl.DataFrame:
        """OPTIONS rows."""

    @property
    def batteries(self) -> pl.DataFrame:
        """column, codebook, battery, one_choice and sign of columns that are asked together."""


def column_facts(crosswalk: CrosswalkTables) -> pl.DataFrame:
    """One row per codebook and column: concept, domain, scale, label, question, statement, reveals, variables, battery.

    If several variables feed one column, the facts are those of the first by name, and `variables` lists all.
    """
    batteries = crosswalk.batteries.select("codebook", "column", "battery").sort("battery")
    batteries = batteries.unique(["codebook", "column"], keep="first", maintain_order=True)
    return (
        crosswalk.concepts.filter(pl.col("column").is_not_null())
        .sort("concept", "variable")
        .group_by("codebook", "column", maintain_order=True)
        .agg(
            pl.col("variable").unique(maintain_order=True).alias("variables"),
            pl.col("reveals").explode().drop_nulls().unique().sort(),
            *(pl.col(name).first() for name in ("concept", "domain", "scale", "label", "question", "statement")),
        )
        .with_columns(pl.col("variables").list.join("+").alias("variable"))
        .join(batteries, on=["codebook", "column"], how="left", maintain_order="left")
    )


def answers(respondents: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The answers of one codebook's respondents in long form, without missing answers.

    Returns:
        respondent_id, wave, column, value (text; numbers as people write them), code (null if there is none).
    """
    have = set(respondents.columns)
    parts = []
    for column in columns:
        if column not in have:
            continue
        value = pl.col(column)
        text = wording.number(value) if respondents.schema[column].is_numeric() else value.cast(pl.String)
        code, kind = f"{column}__code", f"{column}__missing"
        stated = value.is_not_null() & (pl.col(kind).is_null() if kind in have else True)
        parts.append(
            respondents.lazy()
            .filter(stated)
            .select(
                "respondent_id",
                "wave",
                pl.lit(column).alias("column"),
                text.alias("value"),
                (pl.col(code) if code in have else pl.lit(None, pl.String)).cast(pl.String).alias("code"),
            )
        )
    schema = dict.fromkeys(("respondent_id", "wave", "column", "value", "code"), pl.String)
    return pl.concat(parts).collect() if parts else pl.DataFrame(schema=schema)


def select_columns(
    facts: pl.DataFrame, coverage: pl.DataFrame, selection: TraitSelection, *, seed: int
) -> pl.DataFrame:
    """Choose the columns that the personas of each wave show: the same for everyone in a wave who answered them.

    Demographics come first, in a fixed order. At least a third of the places is reserved for the other domains if they
    have columns; these alternate by domain, and within it by topic, in an order set by a keyed hash of seed and
    concept. Of several columns made from the same variable only the finest is shown, and of several numbers that
    reveal each other only the first.

    Args:
        facts: `column_facts`.
        coverage: wave, codebook, column, n_answered (> 0), n_values, n_respondents.
        selection: The study's choice. `columns` names columns or concepts, and also sets their order.
        seed: The study's seed.

    Returns:
        wave, column, place (from 0).

    Raises:
        ConfigError: `traits.columns` names a column that the crosswalk does not have.
    """
    known = coverage.join(facts, on=["codebook", "column"], how="inner").filter(
        pl.col("domain").is_in(list(selection.domains))
    )
    if selection.columns is not None:
        names = set(facts["column"]) | set(facts["concept"])
        if unknown := [name for name in selection.columns if name not in names]:
            raise unknown_name("concept or column", unknown[0], sorted(names), variable="traits.columns")
        place = {name: i for i, name in enumerate(selection.columns)}
        order = pl.min_horizontal(
            pl.col(key).replace_strict(place, default=None, return_dtype=pl.Int64) for key in ("column", "concept")
        )
        chosen = known.with_columns(order.alias("order")).filter(pl.col("order").is_not_null())
        return _places(chosen.sort("wave", "order", "column"), selection.max)

    demographic = pl.col("domain") == "demographic"
    known = (
        known.with_columns(hash_uniform(known, ["concept"], key=f"trait-order\x1f{seed}").alias("hash"))
        .sort("wave", "variable", "n_values", "column", descending=[False, False, True, False])
        .unique(["wave", "variable"], keep="first", maintain_order=True)
        .with_columns(
            (pl.col("n_answered") < _COVERED * pl.col("n_respondents")).alias("sparse"),
            pl.col("concept").replace_strict(_rank(_FIRST), default=len(_FIRST), return_dtype=pl.Int64).alias("first"),
        )
    )
    # A number that another one implies (year of birth and age) would waste a place.
    told = pl.when(pl.col("scale") == "numeric").then(pl.col("reveals").list.first())
    people = (
        known.filter(demographic)
        .sort("wave", "sparse", "first", "concept", "column")
        .with_columns(pl.coalesce(told, "column").alias("told"))
        .unique(["wave", "told"], keep="first", maintain_order=True)
        .drop("told")
    )
    views = (
        known.filter(~demographic)
        .sort("wave", "sparse", "hash", "column")
        # First one trait per topic, then a second one: ten views on one topic would say little about a person.
        .with_columns(pl.coalesce("battery", pl.col("reveals").list.first(), "column").alias("topic"))
        .with_columns(pl.int_range(pl.len()).over("wave", "sparse", "topic").alias("round"))
        .sort("wave", "sparse", "domain", "round", "hash", "column")
        .with_columns(pl.int_range(pl.len()).over("wave", "sparse", "domain").alias("turn"))
        .sort("wave", "sparse", "turn", "domain")
    )
    n_views = views.group_by("wave").agg(pl.len().alias("n_views"))
    reserved = pl.min_horizontal(pl.col("n_views").fill_null(0), pl.lit(selection.max // 3))
    people = (
        people.join(n_views, on="wave", how="left", maintain_order="left")
        .filter(pl.int_range(pl.len()).over("wave") < selection.max - reserved)
        .drop("n_views")
    )
    both = pl.concat(
        [people.with_columns(pl.lit(0).alias("part")), views.with_columns(pl.lit(1).alias("part"))], how="diagonal"
    )
    return _places(both.sort("wave", "part", maintain_order=True), selection.max)


def _rank(names: Sequence[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(names)}


def _places(ordered: pl.DataFrame, most: int) -> pl.DataFrame:
    return (
        ordered.with_columns(pl.int_range(pl.len()).over("wave").cast(pl.Int64).alias("place"))
        .filter(pl.col("place") < most)
        .select("wave", "column", "place")
    )


def word(long: pl.DataFrame, facts: pl.DataFrame, options: pl.DataFrame, *, codebook: str) -> pl.DataFrame:
    """Word the answers: `answer` in its own scale, and `statement`, the sentence that says it to "you".

    Args:
        long: `answers` of one codebook.
        facts: `column_facts`.
        options: OPTIONS rows.
        codebook: The codebook.

    Raises:
        CrosswalkError: A code has no option text and is not a number, so that the persona would show the raw code.
    """
    mine = options.filter(pl.col("codebook") == codebook)
    # Columns whose values are the file's own labels (parties, regions) have no options: the label is the answer.
    open_list = ~pl.col("column").is_in(mine["column"].unique().to_list()) & ~pl.col("value").str.contains(
        r"^-?[\d.]+$"
    )
    names = ["column", "variable", "domain", "scale", "label", "statement", "reveals"]
    long = (
        long.join(facts.filter(pl.col("codebook") == codebook).select(names), on="column", maintain_order="left")
        .with_columns(pl.lit(codebook).alias("codebook"))
        .pipe(lambda frame: with_option(frame.lazy(), mine, {"text": "said"}).collect())
        .drop("codebook")
        .with_columns(
            pl.coalesce("said", pl.when((pl.col("scale") == "numeric") | open_list).then("value")).alias("answer")
        )
    )
    unsaid = long.filter(pl.col("answer").is_null())
    if unsaid.height:
        row = unsaid.row(0, named=True)
        raise CrosswalkError(
            f"{unsaid.height} answer(s) in codebook {codebook} have a code without a text",
            variable=row["column"],
            value=row["code"] or row["value"],
            remedy="give the code an option text in the concept's file, or map it to a missing kind",
        )
    template = pl.col("statement").fill_null(pl.format("Your {}: {{answer}}.", "label"))
    # Split instead of replace: an answer may contain a "$", which replacement would read as a group.
    cut = template.str.split_exact("{answer}", 1)
    said = pl.concat_str(
        cut.struct.field("field_0"),
        pl.when(cut.struct.field("field_1").is_not_null()).then(pl.col("answer")).otherwise(pl.lit("")),
        cut.struct.field("field_1").fill_null(""),
    )
    ended = said.str.contains(r"""[.!?]["')]*$""")
    return long.with_columns(pl.when(ended).then(said).otherwise(said + ".").alias("statement"))


def build_personas(
    respondents: pl.DataFrame, crosswalk: CrosswalkTables, study: Study, waves: pl.DataFrame
) -> pl.DataFrame:
    """Turn respondents into personas: what each of them answered, in words, without missing answers or raw codes.

    Args:
        respondents: RESPONDENTS rows of all waves that take part, with their harmonized columns.
        crosswalk: Concepts and options.
        study: Its `surveys` and `traits` apply.
        waves: WAVES rows, for policy and licence.

    Returns:
        PERSONAS of respondents who reach the study's minimum of traits and of k-anonymity, which counts all respondents
        of the wave and country with the same visible demographic traits.

    Raises:
        CrosswalkError: A code without a text.
        ConfigError: `traits.columns` names an unknown column.
    """
    if study.surveys is not None:
        respondents = respondents.filter(pl.col("survey").is_in(list(study.surveys)))
    if respondents.is_empty():
        return PERSONAS.empty()
    facts = column_facts(crosswalk)
    worded = [
        _worded(part, str(codebook), facts, crosswalk.options, study)
        for (codebook,), part in respondents.sort("respondent_id").partition_by("codebook", as_dict=True).items()
    ]
    # Wordings of one question that were split over the sample share a label: respondents with two show the first.
    traits = (
        pl.concat(worded)
        .sort("respondent_id", "place")
        .unique(["respondent_id", "label"], keep="first", maintain_order=True)
    )
    demographic = pl.col("domain") == "demographic"
    said = pl.format("{}\x1f{}\x1f{}\x1f{}", "column", "value", "label", "statement")
    personas = traits.group_by("respondent_id", maintain_order=True).agg(
        pl.struct(pl.col(name).cast(dtype) for name, dtype in TRAIT.to_schema().items()).alias("traits"),
        said.str.join("\x1e").alias("content"),
        pl.format("{}\x1f{}", "column", "value").filter(demographic).str.join("\x1e").alias("shown"),
    )
    facts_of = respondents.select(
        "respondent_id",
        "survey",
        "codebook",
        "wave",
        "release_id",
        "country",
        "year",
        "weight",
    )
    personas = (
        personas.join(facts_of, on="respondent_id", how="left", maintain_order="left")
        .join(
            # Both belong to the source. If a release was held back, its rows are those of the release before it.
            waves.select("wave", "codebook", "data_use", "licence").unique(["wave", "codebook"], keep="first"),
            on=["wave", "codebook"],
            how="left",
            maintain_order="left",
        )
        .with_columns(pl.col("data_use").fill_null("local_only"), pl.col("licence").fill_null("of its source"))
        .with_columns(
            pl.len().over("wave", "country", "shown").cast(pl.Int64).alias("k_anonymity"),
            pl.col("traits").list.len().cast(pl.Int64).alias("n_traits"),
        )
    )
    personas = personas.with_columns(hash_rows(personas, ["respondent_id", "content"], key="persona").alias("revision"))
    enough = (pl.col("n_traits") >= study.traits.min) & (pl.col("k_anonymity") >= study.traits.k_anonymity)
    return PERSONAS.conform(personas.filter(enough).select(list(PERSONAS.schema)))


def _worded(
    part: pl.DataFrame, codebook: str, facts: pl.DataFrame, options: pl.DataFrame, study: Study
) -> pl.DataFrame:
    """The worded traits that the study shows of one codebook's respondents."""
    mine = facts.filter((pl.col("codebook") == codebook) & (pl.col("domain") != "design"))
    columns = [c for c in mine["column"] if c in part.columns]
    sizes = part.group_by("wave").agg(pl.len().alias("n_respondents"))
    stated = [pl.col(c).is_not_null() for c in columns]
    counts = (
        part.group_by("wave")
        .agg(e.sum().alias(c) for e, c in zip(stated, columns, strict=True))
        .unpivot(index="wave", variable_name="column", value_name="n_answered")
    )
    values = (
        part.group_by("wave")
        .agg(pl.col(c).n_unique() for c in columns)
        .unpivot(index="wave", variable_name="column", value_name="n_values")
    )
    coverage = (
        counts.join(values, on=["wave", "column"])
        .join(sizes, on="wave")
        .filter(pl.col("n_answered") > 0)
        .with_columns(pl.lit(codebook).alias("codebook"))
    )
    chosen = select_columns(facts, coverage, study.traits, seed=study.seed)
    long = answers(part, chosen["column"].unique().sort().to_list())
    long = long.join(chosen, on=["wave", "column"], how="inner", maintain_order="left")
    return word(long, facts, options, codebook=codebook)
