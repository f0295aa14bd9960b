"""The tables that the project stores and publishes: one record each, from which checks, docs and UI text are made.

What belongs here: names, types, meaning and simple bounds of columns. What does not: how a table is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from mpta_pipeline.core.errors import ValidationError

if TYPE_CHECKING:
    import pandera.polars as pa

STATUSES = ("ok", "refused", "unparsed", "error")
UNPARSED_REASONS = ("empty", "cut_off", "no_option", "several_options", "conflict", "thought_only", "foreign")
"""Why a reply is unparsed: nothing said; ended by the token limit; names no option; names several; contradicts itself;
nothing but a thought; written in another script than the options."""
MISSING_KINDS = (
    "dont_know",
    "refused_or_no_answer",
    "not_applicable",
    "not_asked",
    "not_available_release",
    "invalid",
    "skipped_web",
    "below_threshold",
)
CONDITIONS = ("persona", "no_persona", "demographics_only")
VERDICTS = ("gap", "no_gap", "inconclusive")
ELICITATIONS = ("letter", "option_logprob", "verbalized", "free_text")
DATA_USES = ("any", "local_only")


@dataclass(frozen=True)
class Column:
    """A column: its polars type, meaning, and the bounds that its values must keep.

    An `optional` column was added after the table was first published, or few sources have it: a frame without it
    conforms, and gets nulls. `earlier` is the name under which versions before 0.2 stored the column.
    """

    name: str
    dtype: pl.DataType | type[pl.DataType]
    description: str
    nullable: bool = False
    isin: tuple[str, ...] | None = None
    ge: float | None = None
    le: float | None = None
    optional: bool = False
    earlier: str | None = None


@dataclass(frozen=True)
class Table:
    """A table: its meaning, key and columns. An `open` table may carry further columns after the declared ones."""

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    open: bool = False

    @cached_property
    def schema(self) -> pl.Schema:
        """Names and types of the declared columns, in order."""
        return pl.Schema({c.name: c.dtype for c in self.columns})

    @property
    def earlier_names(self) -> dict[str, str]:
        """Names under which versions before 0.2 stored columns, each with today's name."""
        return {c.earlier: c.name for c in self.columns if c.earlier is not None}

    def with_current_names(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rename the columns of a frame that a version before 0.2 stored."""
        return frame.rename({old: new for old, new in self.earlier_names.items() if new not in frame}, strict=False)

    def empty(self) -> pl.DataFrame:
        """The table with no rows."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Cast to the declared types, put columns in order (further ones behind), sort by key and validate.

        Optional columns that are absent become null.

        Raises:
            ValidationError: A column is missing or undeclared, a value breaks its bound, or the key repeats.
        """
        frame = frame.with_columns(
            pl.lit(None, c.dtype).alias(c.name) for c in self.columns if c.optional and c.name not in frame.columns
        )
        missing = [name for name in self.schema if name not in frame.columns]
        extra = [name for name in frame.columns if name not in self.schema]
        if missing or (extra and not self.open):
            raise ValidationError(
                f"Table {self.name} has the wrong columns: missing {missing}, undeclared {[] if self.open else extra}",
                variable=(missing + extra)[0],
                remedy="make the frame as mpta_pipeline/tables.py declares it",
            )
        frame = frame.select(
            *(pl.col(name).cast(dtype, strict=True) for name, dtype in self.schema.items()), *extra
        ).sort(self.key, maintain_order=True)
        return self.validate(frame)

    def validate(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Check an eager frame against bounds and key.

        pandera looks only at the schema of a LazyFrame, so this takes none.

        Raises:
            ValidationError: With table, column, the first offending value and how many there are.
        """
        # Takes a second to load, which commands that only look need not wait for.
        from pandera.errors import SchemaErrors

        try:
            self._pandera.validate(frame, lazy=True)
        except SchemaErrors as failure:
            first = failure.failure_cases.row(0, named=True)
            raise ValidationError(
                f"Table {self.name} breaks rule {first['check']} in {failure.failure_cases.height} place(s)",
                variable=str(first["column"]),
                value=first["failure_case"],
                remedy="mend the input that this row came from; what was stored before is unchanged",
            ) from None
        if self.key and (repeated := frame.height - frame.select(self.key).n_unique()):
            example = frame.filter(pl.struct(self.key).is_duplicated()).select(self.key).row(0)
            raise ValidationError(
                f"Table {self.name} repeats its key in {repeated} row(s)",
                variable="+".join(self.key),
                value=str(example),
                remedy="each row must be unique by its key",
            )
        return frame

    @cached_property
    def _pandera(self) -> pa.DataFrameSchema:
        import pandera.polars as pa

        return pa.DataFrameSchema({c.name: _pandera_column(c) for c in self.columns}, strict=False)


def _pandera_column(column: Column) -> pa.Column:
    import pandera.polars as pa

    checks = []
    if column.isin is not None:
        checks.append(pa.Check.isin(list(column.isin)))
    if column.ge is not None:
        checks.append(pa.Check.ge(column.ge))
    if column.le is not None:
        checks.append(pa.Check.le(column.le))
    return pa.Column(column.dtype, checks=checks, nullable=column.nullable)


def _ids(*names: str) -> tuple[Column, ...]:
    """Columns that mean the same in every table that has them."""
    shared = {
        "wave": Column("wave", pl.String, "Wave: survey and its wave or year, e.g. gss-2018"),
        "survey": Column("survey", pl.String, "Survey source, e.g. gss; estimates are never pooled over surveys"),
        "codebook": Column(
            "codebook", pl.String, "Codebook that the file follows, e.g. wvs7, joint, gss", earlier="dialect"
        ),
        "release_id": Column("release_id", pl.String, "Release: wave and the first 12 digits of the file's SHA-256"),
        "respondent_id": Column(
            "respondent_id", pl.String, "Respondent: stable hash of survey lineage and native key, without the version"
        ),
        "task": Column("task", pl.String, "Task, as named in study.yaml"),
        "item_id": Column("item_id", pl.String, "Item within the task"),
        "model": Column("model", pl.String, "Model, as named in models.yaml"),
        "condition": Column("condition", pl.String, "What the model is told about the persona"),
        "prompt_id": Column("prompt_id", pl.String, "Prompt: hash of its design cell and text"),
    }
    return tuple(shared[name] for name in names)


# Tables about personas had their respondent's id under another name before version 0.2; `respondents` did not.
_PERSONA = replace(_ids("respondent_id")[0], earlier="persona_id")


WAVES = Table(
    "waves",
    "One row a release in use: its wave, where it came from and what may be done with it. A wave that several files "
    "make up, each with countries of its own, has a row for each.",
    ("wave", "release_id"),
    (
        *_ids("wave", "survey", "codebook", "release_id"),
        Column("title", pl.String, "Name of the survey wave as its producer writes it"),
        Column("version", pl.String, "Version stamp found in the file", nullable=True),
        Column("doi", pl.String, "DOI of the release", nullable=True),
        Column("file_name", pl.String, "Name of the file as dropped"),
        Column("sha256", pl.String, "SHA-256 of the file"),
        Column("n_respondents", pl.Int64, "Respondents that the release gives", ge=1),
        Column("countries", pl.List(pl.String), "Countries, ISO 3166-1 alpha-3"),
        Column("years", pl.List(pl.Int64), "Years of the fieldwork"),
        Column(
            "weight_name", pl.String, "Native variable of the survey weight; null: the file carries none", nullable=True
        ),
        Column("licence", pl.String, "Terms under which the file was obtained"),
        Column("data_use", pl.String, "Where personas of this wave may be sent", isin=DATA_USES),
    ),
)

VARIABLES = Table(
    "variables",
    "One row a native variable of a release in use: label, type, value labels, declared missing codes.",
    ("wave", "release_id", "variable"),
    (
        *_ids("wave", "release_id"),
        Column("variable", pl.String, "Native name, as in the file"),
        Column("position", pl.Int64, "Place in the file, from 0", ge=0),
        Column("label", pl.String, "Variable label", nullable=True),
        Column("storage", pl.String, "Storage type in Parquet"),
        Column(
            "value_labels",
            pl.List(pl.Struct({"code": pl.String, "label": pl.String})),
            "Value labels; a code is written as text: 1, -9, .d",
        ),
        Column("missing_codes", pl.List(pl.String), "Codes and ranges declared as missing: -9, .d, -5..-1"),
    ),
)

CONCEPTS = Table(
    "concepts",
    "One row a concept and codebook: how a native variable becomes a harmonized column. Absent rows are decisions.",
    ("concept", "codebook", "variable"),
    (
        Column("concept", pl.String, "Concept"),
        *_ids("codebook"),
        Column("variable", pl.String, "Native variable; empty where the source has none"),
        Column(
            "column",
            pl.String,
            "Harmonized column; sources share one only where they may be pooled; null for absent rows",
            nullable=True,
        ),
        Column("domain", pl.String, "Trait domain", isin=("demographic", "belief", "value", "attitude", "design")),
        Column("scale", pl.String, "Scale type", isin=("nominal", "ordinal", "numeric")),
        Column("label", pl.String, "What the concept is, a short noun phrase"),
        Column("question", pl.String, "The question as put to a person, in our words", nullable=True),
        Column("statement", pl.String, "Trait sentence with {answer} in it, second person", nullable=True),
        Column("equivalence", pl.String, "How the source relates to the canonical scale"),
        Column("pool", pl.Boolean, "May be averaged with other sources"),
        Column("reveals", pl.List(pl.String), "Groups of concepts that give each other away"),
        Column("evidence", pl.String, "Where the row's facts come from", nullable=True),
        Column("status", pl.String, "verified (seen in a file), documented (in a codebook), assumed or impossible"),
    ),
)

OPTIONS = Table(
    "options",
    "One row an answer option of a concept in the scale of its codebook.",
    ("column", "codebook", "code"),
    (
        Column("column", pl.String, "Harmonized column"),
        *_ids("codebook"),
        Column("code", pl.String, "Native code as text"),
        Column("position", pl.Int64, "Place in the scale as offered, from 0", ge=0),
        Column("value", pl.String, "Canonical value"),
        Column("text", pl.String, "The answer as a person would say it"),
        Column("score", pl.Float64, "Place on the canonical scale for ordinal concepts", nullable=True),
    ),
)

RESPONDENTS = Table(
    "respondents",
    "One row a respondent: ids, wave, country, year, weight, then per harmonized column its canonical value, "
    "its missing kind (`<column>__missing`) and the native code (`<column>__code`).",
    ("respondent_id",),
    (
        *_ids("respondent_id"),
        Column("revision", pl.String, "Hash of the respondent's harmonized content"),
        *_ids("survey", "codebook", "wave", "release_id"),
        Column("native_key", pl.String, "The file's own key of the respondent"),
        Column("row_index", pl.Int64, "Row in the raw wave, from 0", ge=0),
        Column("country", pl.String, "ISO 3166-1 alpha-3"),
        Column("year", pl.Int64, "Year of the interview", ge=1972, le=2100),
        Column("weight", pl.Float64, "Survey weight; null: the source carries none", nullable=True, ge=0),
        Column("stratum", pl.String, "Sampling stratum for variance estimation", nullable=True),
        Column("psu", pl.String, "Primary sampling unit", nullable=True),
    ),
    open=True,
)

CHANGELOG = Table(
    "survey_changelog",
    "What a new release changed against the one that it supersedes.",
    ("wave", "release_id", "previous_release_id", "change", "variable", "native_key"),
    (
        *_ids("wave", "release_id"),
        Column("previous_release_id", pl.String, "The release that was superseded; null: first release", nullable=True),
        Column("change", pl.String, "added, removed, changed, blanked, filled, recoded, renamed, label, coverage"),
        Column("variable", pl.String, "Native variable; empty for whole respondents"),
        Column("native_key", pl.String, "The respondent's own key; empty for label and coverage changes"),
        Column("old", pl.String, "Old code or label", nullable=True),
        Column("new", pl.String, "New code or label", nullable=True),
    ),
)

TRAIT = pl.Struct(
    {
        "column": pl.String,
        "domain": pl.String,
        "label": pl.String,
        "statement": pl.String,
        "answer": pl.String,
        "value": pl.String,
        "code": pl.String,
        "variable": pl.String,
        "reveals": pl.List(pl.String),
    }
)

PERSONAS = Table(
    "personas",
    "One row a persona: a real respondent with the traits that they stated, never a missing answer.",
    ("respondent_id",),
    (
        _PERSONA,
        Column("revision", pl.String, "Hash of the persona's traits"),
        *_ids("survey", "codebook", "wave", "release_id"),
        Column("country", pl.String, "ISO 3166-1 alpha-3"),
        Column("year", pl.Int64, "Year of the interview"),
        Column("weight", pl.Float64, "Survey weight; null: the source carries none", nullable=True, ge=0),
        Column("data_use", pl.String, "Where the persona may be sent", isin=DATA_USES),
        Column("licence", pl.String, "Terms of the source"),
        Column("n_traits", pl.Int64, "Traits carried", ge=0),
        Column("k_anonymity", pl.Int64, "Respondents of the wave who share the demographic traits shown", ge=1),
        Column("traits", pl.List(TRAIT), "Traits in the crosswalk's order"),
    ),
)

PANEL = Table(
    "panel",
    "Who is asked: a stratified sample of the personas by lowest keyed hash within stratum.",
    ("respondent_id",),
    (
        _PERSONA,
        *_ids("survey", "wave"),
        Column("stratum", pl.String, "Stratum of the panel's design; too small ones are joined: a + b"),
        Column("stratum_size", pl.Int64, "Personas in the stratum", ge=1),
        Column("stratum_selected", pl.Int64, "Personas drawn from it", ge=1),
        Column("inclusion_probability", pl.Float64, "stratum_selected / stratum_size", ge=0, le=1),
        Column("rank", pl.Float64, "Keyed hash in [0, 1) by which the persona was chosen", ge=0, le=1),
        Column("survey_weight", pl.Float64, "Weight of the survey; null: the source carries none", nullable=True),
        Column(
            "weight", pl.Float64, "survey_weight / inclusion_probability; null without survey_weight", nullable=True
        ),
    ),
)

ITEMS = Table(
    "items",
    "One row an item of a task: a question with its options in canonical order.",
    ("task", "item_id"),
    (
        *_ids("task", "item_id"),
        Column("kind", pl.String, "Kind of task that made the item"),
        Column("cluster_id", pl.String, "Template, story or question family: items of one cluster are not independent"),
        Column(
            "codebook",
            pl.String,
            "Codebook whose personas it can be asked of; null: all",
            nullable=True,
            earlier="dialect",
        ),
        Column("category", pl.String, "Category within the task", nullable=True),
        Column("context", pl.String, "Text before the question", nullable=True),
        Column("question", pl.String, "The question"),
        Column("options", pl.List(pl.String), "Option texts in canonical order"),
        Column("option_values", pl.List(pl.String), "Canonical values of the options"),
        Column(
            "option_scores", pl.List(pl.Float64), "Ordinal places of the options; null for nominal ones", nullable=True
        ),
        Column("ordinal", pl.Boolean, "The options are ordered"),
        Column(
            "gold_idx", pl.Int64, "Canonical index of the answer key; null where it is the persona's own", nullable=True
        ),
        Column("column", pl.String, "Harmonized column asked about; null for benchmark items", nullable=True),
        Column("reveals", pl.List(pl.String), "Groups of concepts that must stay hidden from the prompt"),
        Column("metadata", pl.String, "Further fields of the item file as JSON"),
        Column("licence", pl.String, "Licence of the item's text"),
    ),
)

GOLD = Table(
    "gold",
    "What every respondent of the study's waves answered, for the items whose answer key is the persona's own.",
    ("task", "item_id", "respondent_id"),
    (
        *_ids("task", "item_id"),
        _PERSONA,
        *_ids("survey"),
        Column("gold_idx", pl.Int64, "Canonical index of the respondent's own answer", ge=0),
        Column("weight", pl.Float64, "Survey weight; null: the source carries none", nullable=True),
    ),
)

PEOPLE_SHARES = Table(
    "people_shares",
    "What people answered: the share of each option of an item by group, with its error by the survey's design. Groups "
    "of few people are left out.",
    ("task", "survey", "item_id", "dimensions", "subgroup", "weighted", "option"),
    (
        *_ids("task", "survey", "item_id"),
        Column("dimensions", pl.String, "Trait or intersection; `all` for everyone"),
        Column("subgroup", pl.String, "Values of the dimensions"),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column("option", pl.Int64, "Canonical index of the option", ge=0),
        Column("answer", pl.String, "The option's text"),
        Column("share", pl.Float64, "Share of the people who gave it", ge=0, le=1),
        Column("se", pl.Float64, "Standard error, linearized over strata and sampling units", nullable=True, ge=0),
        Column("ci_low", pl.Float64, "Lower end of the 95 % interval", nullable=True),
        Column("ci_high", pl.Float64, "Upper end", nullable=True),
        Column("n_people", pl.Int64, "People with an answer to the item", ge=1),
        Column("deff", pl.Float64, "Variance over that of as many people drawn at random", nullable=True),
        Column("method", pl.String, "How the error was made: by design, lonely units told, or by weights alone"),
    ),
)

GROUPS = Table(
    "groups",
    "Which subgroup each persona belongs to: one column per base dimension of the study's estimates; null: unknown.",
    ("respondent_id",),
    (
        _PERSONA,
        *_ids("survey"),
        Column(
            "sample",
            pl.String,
            "Country in which the person was drawn, ISO 3166-1 alpha-3: what polls are matched by; no dimension",
            nullable=True,
            optional=True,
        ),
        Column(
            "stratum",
            pl.String,
            "Sampling stratum, unique within the survey: wave, country and the file's own stratum; no dimension",
            nullable=True,
            optional=True,
        ),
        Column(
            "psu",
            pl.String,
            "Primary sampling unit, unique within the survey: stratum and the file's own unit; null: the person; no "
            "dimension",
            nullable=True,
            optional=True,
        ),
    ),
    open=True,
)

PROMPTS = Table(
    "prompts",
    "One row a prompt: item × persona × condition × option order × style × framing × elicitation. It knows no model.",
    ("prompt_id",),
    (
        *_ids("prompt_id"),
        Column("content_hash", pl.String, "Hash of all that is sent; prompts with equal text are asked once"),
        *_ids("task", "item_id"),
        Column("cluster_id", pl.String, "Cluster of the item"),
        _PERSONA,
        Column(
            "shown_respondent_id",
            pl.String,
            "Persona whose traits are shown; null: none",
            nullable=True,
            earlier="shown_persona_id",
        ),
        *_ids("survey", "wave", "condition"),
        Column("style", pl.String, "Style of the persona text"),
        Column("framing", pl.String, "Who the persona text says the model or user is"),
        Column("paraphrase_id", pl.Int64, "Paraphrase of the framing, from 0", ge=0),
        Column("repeat_id", pl.Int64, "Repeat of the same prompt, from 0", ge=0),
        Column("elicitation", pl.String, "How the answer is asked for", isin=ELICITATIONS),
        Column("order_id", pl.Int64, "Option order, from 0", ge=0),
        Column("option_order", pl.List(pl.Int64), "Canonical index of the option at each shown position"),
        Column(
            "gold_idx",
            pl.Int64,
            "Canonical index of the answer key for this persona; null: there is none (open text, opinions)",
            nullable=True,
            ge=0,
        ),
        Column("gold_pos", pl.Int64, "Shown position of the answer key", nullable=True, ge=0),
        Column("system", pl.String, "System message; null: none is sent", nullable=True),
        Column("user", pl.String, "User message"),
        Column("options", pl.List(pl.String), "Option texts as shown, in shown order"),
        Column("group", pl.String, "Prompts of one group share their prefix and are asked together, in order"),
        Column("masked", pl.List(pl.String), "Columns kept out of the persona text for this item"),
        Column("data_use", pl.String, "Where the prompt may be sent", isin=DATA_USES),
        Column("weight", pl.Float64, "Panel weight of the persona; null: no survey weight", nullable=True),
    ),
)

RESPONSES = Table(
    "responses",
    "One row a prompt and model: what the model answered. Times and attempts stay in the ledger.",
    ("model", "prompt_id"),
    (
        *_ids("model", "task", "prompt_id"),
        Column("request_hash", pl.String, "Hash of all that can change the answer; the key of the ledger"),
        Column("text", pl.String, "The reply; null on error", nullable=True),
        Column(
            "option_logprobs",
            pl.List(pl.Float64),
            "Natural log-probability of each shown option's letter or text, in shown order; null where not offered",
            nullable=True,
        ),
        Column(
            "letter_share",
            pl.Float64,
            "Share of probability on the options' letters at the answer's first token; null where not known",
            nullable=True,
            ge=0,
            le=1,
        ),
        Column(
            "thought",
            pl.Boolean,
            "A thought came with the reply, in its text or apart from it; null: asked before this was kept",
            nullable=True,
        ),
        Column("finish_reason", pl.String, "Why the reply ended, as the provider says", nullable=True),
        Column("error", pl.String, "Why the request failed for good; null: answered", nullable=True),
        Column("prompt_tokens", pl.Int64, "Tokens of the prompt as counted by the provider", nullable=True),
        Column("completion_tokens", pl.Int64, "Tokens of the reply as counted by the provider", nullable=True),
        Column("provider_model", pl.String, "Model name and fingerprint as the provider reports them", nullable=True),
    ),
)

# chrF and BLEU by sacrebleu, ROUGE (F1) by rouge-score; bertscore (F1) is null where it was not asked for.
TEXT_SCORES = pl.Struct(dict.fromkeys(("chrf", "bleu", "rouge_1", "rouge_l", "bertscore"), pl.Float64))

SCORES = Table(
    "scores",
    "One row an answer: what was picked against what counts, with its status; nothing is dropped.",
    ("model", "prompt_id"),
    (
        *_ids("model", "task", "prompt_id"),
        Column("request_hash", pl.String, "Key of the answer in the ledger"),
        *_ids("condition", "survey", "wave"),
        _PERSONA,
        *_ids("item_id"),
        Column("kind", pl.String, "Kind of task"),
        Column("cluster_id", pl.String, "Cluster of the item"),
        Column("category", pl.String, "Category within the task", nullable=True),
        Column("style", pl.String, "Style of the persona text"),
        Column("framing", pl.String, "Framing of the persona text"),
        Column("paraphrase_id", pl.Int64, "Paraphrase of the framing"),
        Column("repeat_id", pl.Int64, "Repeat of the same prompt"),
        Column("elicitation", pl.String, "How the answer was asked for"),
        Column("order_id", pl.Int64, "Option order"),
        Column("k_options", pl.Int64, "Number of options; 0: open text", ge=0),
        Column("ordinal", pl.Boolean, "The options are ordered"),
        Column("gold_idx", pl.Int64, "Canonical index of the answer key; null: there is none", nullable=True, ge=0),
        Column("gold_pos", pl.Int64, "Its shown position", nullable=True, ge=0),
        Column("pred_idx", pl.Int64, "Canonical index of the option picked; null unless ok", nullable=True),
        Column("pred_pos", pl.Int64, "Its shown position", nullable=True),
        Column("p_vec", pl.List(pl.Float64), "Option probabilities in canonical order, summing to 1", nullable=True),
        Column(
            "letter_share",
            pl.Float64,
            "Share of probability on the options' letters at the answer's first token; an answer below the least share "
            "that counts has no p_vec; null where not known",
            nullable=True,
            ge=0,
            le=1,
        ),
        Column("status", pl.String, "What became of the request", isin=STATUSES),
        Column(
            "unparsed_reason",
            pl.String,
            "Why the reply is unparsed; null: it is not, or it was read elsewhere",
            nullable=True,
            isin=UNPARSED_REASONS,
        ),
        Column(
            "score",
            pl.Float64,
            "1 if the option picked is the answer key, else 0; open text: ROUGE-L; null unless ok and there is a key",
            nullable=True,
        ),
        Column(
            "bias",
            pl.Float64,
            "BBQ: +1 biased, -1 counter-biased, 0 unknown; CIVICS: +1 agrees, -1 disagrees, 0 neither; null elsewhere",
            nullable=True,
        ),
        Column("text_scores", TEXT_SCORES, "Open text against its reference, each 0 to 1; else null", nullable=True),
        Column("condescending", pl.Boolean, "The reply speaks down to the person; null: there is none", nullable=True),
        Column("weight", pl.Float64, "Panel weight; null: no survey weight", nullable=True),
    ),
)

SUBGROUP_METRICS = Table(
    "subgroup_metrics",
    "One row an estimate: a metric of a model on a task for one subgroup, with interval, baseline and effect.",
    ("model", "task", "survey", "metric", "condition", "dimensions", "subgroup", "weighted", "baseline"),
    (
        *_ids("model", "task", "survey"),
        Column("metric", pl.String, "Metric, as in the metric registry"),
        *_ids("condition"),
        Column("dimensions", pl.String, "Trait or intersection, e.g. sex or country×sex; `all` for everyone"),
        Column("subgroup", pl.String, "Values of the dimensions, e.g. USA×female; `all` for everyone"),
        Column("estimate", pl.Float64, "The estimate; null where undefined", nullable=True),
        Column("se", pl.Float64, "Standard error, clustered by persona and item", nullable=True),
        Column("ci_low", pl.Float64, "Lower end of the 95 % interval", nullable=True),
        Column("ci_high", pl.Float64, "Upper end of the 95 % interval", nullable=True),
        Column("method", pl.String, "How interval and error were made"),
        Column(
            "note",
            pl.String,
            "What must be read with the estimate: why it is undefined, or whom and what it holds for; null: nothing",
            nullable=True,
        ),
        Column("n_answers", pl.Int64, "Answers behind the estimate", ge=0),
        Column("n_personas", pl.Int64, "Personas behind the estimate", ge=0),
        Column("n_items", pl.Int64, "Items behind the estimate", ge=0),
        Column("n_eff", pl.Float64, "Effective number of answers (Kish, and clustering)", nullable=True),
        Column(
            "n_people",
            pl.Int64,
            "People whose own answers the model's are compared with as a distribution; null where none are",
            nullable=True,
            ge=0,
            optional=True,
        ),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column(
            "weights",
            pl.String,
            "Which weights the model's and the people's answers carry, by the file's own name of the survey weight",
            nullable=True,
            optional=True,
        ),
        Column("baseline", pl.String, "Baseline compared with: chance, item_mode, group_mode …; empty: none"),
        Column("baseline_estimate", pl.Float64, "The baseline's estimate on the same rows", nullable=True),
        Column("effect", pl.Float64, "Paired difference to the no-persona answers", nullable=True),
        Column("effect_se", pl.Float64, "Its standard error", nullable=True),
        Column("effect_low", pl.Float64, "Lower end of its 95 % interval", nullable=True),
        Column("effect_high", pl.Float64, "Upper end", nullable=True),
        Column("p_value", pl.Float64, "Two-sided p-value of the effect", nullable=True, ge=0, le=1),
        Column("q_value", pl.Float64, "Benjamini–Hochberg within its family", nullable=True, ge=0, le=1),
        Column("shrunken_estimate", pl.Float64, "Empirical-Bayes estimate", nullable=True),
        Column(
            "gap",
            pl.Float64,
            "Estimate minus that of everyone else in the dimension; on a baseline's row both net of the baseline",
            nullable=True,
        ),
        Column("gap_se", pl.Float64, "Its standard error", nullable=True),
        Column("gap_q", pl.Float64, "Benjamini–Hochberg q-value of the gap", nullable=True, ge=0, le=1),
        Column(
            "gap_apart",
            pl.Float64,
            "As `gap`, to everyone else but the groups that stand out; null where no group of the dimension does",
            nullable=True,
        ),
        Column("gap_apart_q", pl.Float64, "Its q-value; it decides the verdict", nullable=True, ge=0, le=1),
        Column(
            "mde", pl.Float64, "Smallest effect that would be found with 80 % power, given effect_se", nullable=True
        ),
        Column("verdict", pl.String, "Gap to everyone else, by equivalence test", nullable=True, isin=VERDICTS),
        Column("small", pl.Boolean, "Below the study's minimum cell: shown with its n, not to be read alone"),
        Column("release_ids", pl.List(pl.String), "Releases of the waves used"),
        Column(
            "estimate_id",
            pl.String,
            "Id that binds study, key, weighting, releases and the estimate itself; `mpta trace` takes it",
            nullable=True,
            earlier="figure_id",
        ),
    ),
)

REPLACED_ESTIMATES = Table(
    "replaced_estimates",
    "Estimates that others have replaced since, so that an id that was quoted still leads somewhere.",
    ("estimate_id",),
    (
        Column("estimate_id", pl.String, "Id of the estimate that was", earlier="figure_id"),
        Column(
            "estimate_key",
            pl.String,
            "model/task/survey/metric/condition/dimensions/subgroup",
            earlier="figure_key",
        ),
        Column("metric", pl.String, "Metric"),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column("estimate", pl.Float64, "The estimate that was", nullable=True),
        Column("n_answers", pl.Int64, "Answers behind it", ge=0),
        Column("release_ids", pl.List(pl.String), "Releases of the waves used then"),
        Column("until", pl.String, "When it was replaced, UTC"),
    ),
)

POCKETS = Table(
    "pockets",
    "Subgroups found on one half of the data and confirmed on the other where a model does worse.",
    ("model", "task", "survey", "condition", "outcome", "dimensions", "subgroup"),
    (
        *_ids("model", "task", "survey", "condition"),
        Column("outcome", pl.String, "What is worse there: score, score net of a baseline, or the persona's effect"),
        Column("dimensions", pl.String, "Traits that define the pocket"),
        Column("subgroup", pl.String, "Their values"),
        Column("n_answers", pl.Int64, "Answers in the confirmation half", ge=0),
        Column("n_personas", pl.Int64, "Personas in the confirmation half", ge=0),
        Column("n_items", pl.Int64, "Items in the confirmation half", ge=0),
        Column("n_eff", pl.Float64, "Effective number of answers in the confirmation half", nullable=True),
        Column("estimate", pl.Float64, "Baseline-adjusted score in the pocket, confirmation half", nullable=True),
        Column("rest_estimate", pl.Float64, "The same outside the pocket", nullable=True),
        Column("difference", pl.Float64, "estimate − rest_estimate", nullable=True),
        Column("ci_low", pl.Float64, "Lower end of the 95 % interval of the difference", nullable=True),
        Column("ci_high", pl.Float64, "Upper end", nullable=True),
        Column("p_value", pl.Float64, "One-sided p-value on the confirmation half", nullable=True, ge=0, le=1),
        Column("q_value", pl.Float64, "Benjamini–Hochberg over the pockets tested", nullable=True, ge=0, le=1),
        Column("parent", pl.String, "The broader pocket it refines; empty: none"),
        Column(
            "mde",
            pl.Float64,
            "Smallest difference of a slice of this size that search and test together find with 80 % power",
            nullable=True,
        ),
        Column("shrunken_difference", pl.Float64, "Empirical-Bayes difference", nullable=True),
        Column("confirmed", pl.Boolean, "q below the study's level on the confirmation half"),
        Column("e_value", pl.Float64, "Evidence against the null on the confirmation half", nullable=True, ge=0),
        Column("e_confirmed", pl.Boolean, "Found by e-BH too, valid under any dependence"),
        Column("pocket", pl.String, "The pocket that the row is part of, named after its clearest row", nullable=True),
        Column("leads", pl.Boolean, "The clearest row of its pocket, by e-value", nullable=True),
        Column("pocket_id", pl.String, "Id that binds study, key and the pocket's estimates", nullable=True),
        Column("examples", pl.List(pl.String), "Prompt ids of some of the worst answers in the pocket"),
    ),
)

MODEL_COMPARISON = Table(
    "model_comparison",
    "Paired differences between models on the same prompts, with tie groups.",
    ("task", "survey", "metric", "condition", "model", "other_model"),
    (
        *_ids("task", "survey"),
        Column("metric", pl.String, "Metric"),
        *_ids("condition", "model"),
        Column("other_model", pl.String, "Model compared with; equals `model` on the row of its own estimate"),
        Column("estimate", pl.Float64, "The model's own estimate", nullable=True),
        Column("difference", pl.Float64, "model − other_model on the prompts that both answered", nullable=True),
        Column("se", pl.Float64, "Two-way clustered error of the difference", nullable=True),
        Column("p_value", pl.Float64, "Two-sided", nullable=True, ge=0, le=1),
        Column("q_value", pl.Float64, "Benjamini–Hochberg within task and metric", nullable=True, ge=0, le=1),
        Column("ci_low", pl.Float64, "Lower end of the 95 % interval of the difference", nullable=True),
        Column("ci_high", pl.Float64, "Upper end", nullable=True),
        Column("mde", pl.Float64, "Smallest difference that would be found with 80 % power", nullable=True),
        Column("n_answers", pl.Int64, "Answers of the model behind the row", ge=0),
        Column("n_personas", pl.Int64, "Personas behind the row", ge=0),
        Column("n_items", pl.Int64, "Items behind the row", ge=0),
        Column("tie_group", pl.Int64, "Models that share a tie group cannot be told apart", nullable=True),
    ),
)

LINEAGE = Table(
    "lineage",
    "What each table partition was made from.",
    ("child", "parent"),
    (
        Column("child", pl.String, "Asset and partition, e.g. personas or prompts|value_alignment"),
        Column("parent", pl.String, "Asset and partition that it was made from"),
        Column("child_version", pl.String, "Data version of the child", nullable=True),
        Column("parent_version", pl.String, "Data version of the parent", nullable=True),
    ),
)

PUBLISHED: Sequence[Table] = (
    WAVES,
    VARIABLES,
    CONCEPTS,
    OPTIONS,
    RESPONDENTS,
    CHANGELOG,
    PERSONAS,
    PANEL,
    ITEMS,
    GOLD,
    PEOPLE_SHARES,
    GROUPS,
    PROMPTS,
    RESPONSES,
    SCORES,
    SUBGROUP_METRICS,
    POCKETS,
    MODEL_COMPARISON,
    LINEAGE,
)
