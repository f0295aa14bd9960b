"""Declare every stored table once: its schema, partitions, inputs, settings, code and checks.

Everything that has to agree on the graph is derived from these declarations: Dagster's assets, dependencies,
partition mappings, code versions and automation; what is out of date, for `mpta run` and for the daemon; the order of
work; column lineage; the integrity check; the published tables; the picture in docs/graph.md. A step receives the
inputs and settings that its table declares and cannot read others (`inputs.py`).

To add a table, add a `StoredTable` to _DECLARED, after the tables that it reads, and write its step in `steps/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal

from mpta_pipeline.core import tables
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node

if TYPE_CHECKING:
    from mpta_pipeline.pipeline.deployment import Deployment

Dimension = Literal["wave", "model", "task"]
Holds = Literal["microdata", "aggregates", "questions", "configuration"]
"""What a table's rows are: rows of single respondents or texts made from them; estimates; questions; settings."""
Files = Literal["snapshots", "ledger", "item_files", "model_files", "replaced_estimates", "published"]
"""What a step may use below the data folder beside the stored tables."""


class Partitioning(Enum):
    """How a table is cut into partitions: the dimensions of its partition key, in the key's order."""

    NONE = ()
    WAVE = ("wave",)
    MODEL = ("model",)
    TASK = ("task",)
    MODEL_TASK = ("model", "task")

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions of the partition key."""
        found: tuple[Dimension, ...] = self.value
        return found

    def values(self, key: str) -> dict[Dimension, str]:
        """Dimension → its value in a partition key."""
        parts = ModelTask.parse(key) if self is Partitioning.MODEL_TASK else (key,)
        return dict(zip(self.dimensions, parts, strict=False))

    def key(self, values: Mapping[Dimension, str]) -> str | None:
        """The partition key that has these values; None if one of its dimensions is not among them."""
        if any(dimension not in values for dimension in self.dimensions):
            return None
        own = [values[dimension] for dimension in self.dimensions]
        return str(ModelTask(*own)) if self is Partitioning.MODEL_TASK else "".join(own)


@dataclass(frozen=True)
class SourceAsset:
    """A file or a part of the configuration, whose versions are reported to Dagster."""

    name: str
    description: str
    partitioning: Partitioning = Partitioning.NONE
    holds: Holds = "configuration"
    kind: str = "yaml"


@dataclass(frozen=True)
class Setting:
    """A part of the configuration that steps read, with its version.

    Attributes:
        name: Its name in declarations and records.
        reported_by: The source, or the table, whose version in Dagster changes with this setting.
        version: Deployment and partition key → version; "" for a partition that it does not concern, whose tables then
            do not depend on it. None: the setting decides what is reported about a table and not what is stored in it,
            so that a change leaves the table up to date.
        keys: Keys of study.yaml that a step which declares the setting may read; a dot leads to a nested key.
        gives: Other parts of the configuration that the step may read, by their names in `Inputs`.
        partitioning: Partitions of the setting.
    """

    name: str
    reported_by: str
    version: Callable[[Deployment, str], str] | None
    keys: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    partitioning: Partitioning = Partitioning.NONE


@dataclass(frozen=True)
class Check:
    """What an asset check verifies. An advisory check reports and never blocks."""

    meaning: str
    advisory: bool = False


@dataclass(frozen=True)
class StoredTable:
    """One stored table.

    Attributes:
        name: Name of the table, of its asset in Dagster and of its step.
        group: Group in Dagster's UI.
        partitioning: How it is cut into partitions.
        schema: Its declared columns; None for a document.
        holds: What its rows are, and so how they must be handled.
        upstream: Tables that the step reads. A dimension that both tables have maps to the same key; a dimension that
            only the upstream table has maps to all its keys.
        settings: Settings that the step reads.
        covered: Upstream table or setting → the declared upstream table whose version already changes with all that the
            step reads of it. Such an input is no parent of its own.
        code: Modules whose code decides what the table holds, and data files of packages (`package/file`).
        sql: Folders of `sql/` whose queries do.
        checks: Asset checks, by name.
        companion_of: The table whose step stores this one. A companion is no asset: its version counts in the owner's.
        published: The warehouse publishes it, if it has a schema.
        on_demand: A companion that has a step of its own, which runs when the owner needs the table.
        files: What the step uses beside the stored tables.
        sends_requests: The step sends requests to models.
        keep_if_current: In a run over several partitions, those that are up to date are left alone.
        kinds: Labels of the storage and tools in Dagster's UI.
        description: For the UI; by default that of the schema.
        carried: Upstream table → columns taken over unchanged, separated by spaces.
        derived: Column → upstream columns (`table.column`) that it is computed from, separated by spaces.
    """

    name: str
    group: str
    partitioning: Partitioning
    schema: tables.Table | None
    holds: Holds
    upstream: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    covered: Mapping[str, str] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    sql: tuple[str, ...] = ()
    checks: Mapping[str, Check] = field(default_factory=dict)
    companion_of: str | None = None
    on_demand: bool = False
    published: bool = True
    files: tuple[Files, ...] = ()
    sends_requests: bool = False
    keep_if_current: bool = False
    kinds: tuple[str, ...] = ("parquet", "polars")
    description: str = ""
    carried: Mapping[str, str] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_asset(self) -> bool:
        """Whether Dagster shows and runs it."""
        return self.companion_of is None

    @property
    def is_document(self) -> bool:
        """Whether it is a file that is no table: its step writes it, and its version is made of its parents'."""
        return self.is_asset and self.schema is None

    @property
    def is_published(self) -> bool:
        """Whether the warehouse has it."""
        return self.published and self.schema is not None

    @property
    def has_step(self) -> bool:
        """Whether a step of its own makes it."""
        return self.is_asset or self.on_demand

    @property
    def meaning(self) -> str:
        """What the UI and the docs say about it."""
        return self.description or (self.schema.description if self.schema else "")

    def partition_label(self, key: str) -> str:
        """The table and partition as messages name them."""
        return f"{self.name} [{key}]" if key else self.name


# --- what comes from outside ----------------------------------------------------------------------------------------

SOURCES: dict[str, SourceAsset] = {
    source.name: source
    for source in (
        SourceAsset(
            "survey_file",
            "Survey file in the survey folder, recognized by its content; one partition per wave.",
            Partitioning.WAVE,
            holds="microdata",
            kind="file",
        ),
        SourceAsset(
            "crosswalk_card",
            "The crosswalk's rows for a wave's codebooks: how its variables become concepts.",
            Partitioning.WAVE,
        ),
        SourceAsset("study_card", "study.yaml: traits, panel, conditions and seed; which waves left the study."),
        SourceAsset("figures_card", "study.yaml: how estimates are computed, with the test-retest table."),
        SourceAsset("report_card", "study.yaml and published.yaml: what the report shows beyond the estimates."),
        SourceAsset(
            "departure_card",
            "Models and tasks that left the study; comparison, warehouse and report are rebuilt without them.",
        ),
        SourceAsset(
            "task_card",
            "A task of study.yaml with the content hash of its item file; one partition per task.",
            Partitioning.TASK,
        ),
        SourceAsset(
            "model_card",
            "An entry of models.yaml: provider, model, revision, parameters, and whether its price was approved; one "
            "partition per model.",
            Partitioning.MODEL,
        ),
        SourceAsset("models_card", "models.yaml: all models of the study, and which of them are controls."),
    )
}
# A partition that leaves the study updates no table; these sources report that it left, to the tables that read all
# partitions of the dimension.
DEPARTURES: dict[Dimension, str] = {"wave": "study_card", "model": "departure_card", "task": "departure_card"}

SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "survey_file",
            "survey_file",
            lambda deployment, wave: deployment.wave_version(wave),
            gives=("wave_file", "sources"),
            partitioning=Partitioning.WAVE,
        ),
        Setting(
            "harmonization_rules",
            "crosswalk_card",
            lambda deployment, wave: deployment.harmonizing_version(deployment.wave_file(wave)),
            gives=("wave_file", "crosswalk", "acceptance"),
            partitioning=Partitioning.WAVE,
        ),
        # Wording is no part of a harmonized wave but of what is made from it. The wave's version in Dagster includes
        # it, so that an edit reaches personas and items after the wave, and not before.
        Setting(
            "crosswalk",
            "harmonized_wave",
            lambda deployment, _: deployment.crosswalk_version(),
            gives=("crosswalk",),
        ),
        Setting("data_use", "study_card", lambda deployment, _: deployment.policy_version(), gives=("permitted_use",)),
        Setting(
            "persona_design",
            "study_card",
            lambda deployment, _: deployment.study_version(*SETTINGS["persona_design"].keys),
            keys=("surveys", "seed", "traits", "panel.strata", "figures.dimensions", "figures.country_groups"),
        ),
        Setting(
            "panel_design",
            "study_card",
            lambda deployment, _: deployment.study_version(*SETTINGS["panel_design"].keys),
            keys=("panel", "seed"),
        ),
        # Empty, and so no input of the panel, for studies without experiments.
        Setting(
            "experiments",
            "study_card",
            lambda deployment, _: deployment.experiments_version(),
            keys=("tasks",),
        ),
        Setting(
            "item_selection",
            "study_card",
            lambda deployment, _: deployment.study_version(*SETTINGS["item_selection"].keys),
            keys=("seed",),
        ),
        Setting(
            "prompt_design",
            "study_card",
            lambda deployment, _: deployment.study_version(*SETTINGS["prompt_design"].keys),
            keys=("styles", "framings", "paraphrases", "seed"),
        ),
        Setting(
            "study_design",
            "study_card",
            lambda deployment, _: deployment.study_version(*SETTINGS["study_design"].keys),
            keys=("panel", "seed", "traits", "styles", "framings", "paraphrases", "conditions"),
        ),
        Setting(
            "task",
            "task_card",
            lambda deployment, task: deployment.task_version(task),
            keys=("tasks", "conditions"),
            gives=("task", "config_folder"),
            partitioning=Partitioning.TASK,
        ),
        # Which models are asked a task of the multiverse; empty, and so no input, for the study's own tasks.
        Setting(
            "asked",
            "task_card",
            lambda deployment, task: deployment.asked_version(task),
            gives=("asked",),
            partitioning=Partitioning.TASK,
        ),
        Setting(
            "multiverse",
            "figures_card",
            lambda deployment, _: deployment.multiverse_version(),
            keys=("multiverse",),
            gives=("configurations",),
        ),
        Setting(
            "model",
            "model_card",
            lambda deployment, model: deployment.model_version(model),
            gives=("model",),
            partitioning=Partitioning.MODEL,
        ),
        # Whether requests that cost money may be sent without a person at the keyboard; empty without a price.
        Setting(
            "approval",
            "model_card",
            lambda deployment, model: deployment.spending_permission(model).version,
            gives=("spending_permission",),
            partitioning=Partitioning.MODEL,
        ),
        Setting("models", "models_card", lambda deployment, _: deployment.models_version(), gives=("models",)),
        Setting(
            "figure_rules",
            "figures_card",
            lambda deployment, _: deployment.figures_version(),
            keys=("figures", "name", "seed"),
            gives=("retest_file",),
        ),
        Setting(
            "report_design",
            "report_card",
            lambda deployment, _: deployment.report_version(),
            keys=("tasks", "least_readable", "name"),
            gives=("sources", "config_folder"),
        ),
        Setting(
            "published_figures",
            "report_card",
            lambda deployment, _: deployment.published_version(),
            gives=("published",),
        ),
        Setting("held_releases", "report_card", lambda deployment, _: deployment.held_version(), gives=("held",)),
        Setting("readability_warning", "report_card", None, keys=("least_readable",)),
    )
}


# --- what is stored -------------------------------------------------------------------------------------------------

_REPLY = "responses.text responses.option_logprobs"
_SENT = "prompts.system prompts.user"
_ANSWERS = "scores.score scores.p_vec scores.weight"
_COUNTS = {
    "n_answers": "scores.prompt_id",
    "n_personas": "scores.respondent_id",
    "n_items": "scores.item_id",
}


def _columns(names: str, origin: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), origin)


_DECLARED = (
    StoredTable(
        "raw_wave",
        "surveys",
        Partitioning.WAVE,
        tables.WAVES,
        "microdata",
        settings=("survey_file",),
        code=("mpta_pipeline.surveys",),
        files=("snapshots",),
        published=False,  # as `waves`: a release that was read may be held
        description="A release of a wave as read: every column, value label and declared missing code; never changed.",
    ),
    StoredTable(
        "harmonized_wave",
        "surveys",
        Partitioning.WAVE,
        tables.RESPONDENTS,
        "microdata",
        upstream=("raw_wave",),
        settings=("survey_file", "harmonization_rules"),
        covered={"survey_file": "raw_wave"},
        code=(
            "mpta_pipeline.harmonize.recode",
            "mpta_pipeline.harmonize.value_labels",
            "mpta_pipeline.harmonize.polarity",
            "mpta_pipeline.harmonize/wordings.yaml",
            # By which checks a release is in use or held, and what the record says of it.
            "mpta_pipeline.harmonize.quality",
            "mpta_pipeline.harmonize.marginals",
            "mpta_pipeline.harmonize/marginals.csv",
            "mpta_pipeline.harmonize/gaps.csv",
        ),
        files=("snapshots",),
        kinds=("parquet", "polars", "pandera"),
        description="One row per respondent and one column per concept: missing answers by kind, weights; "
        "checked before it replaces the stored table.",
        checks={
            "schema": Check("Columns, types and value domains are those of the crosswalk"),
            "unique_keys": Check("No two respondents of the wave share a key, except for declared exemptions"),
            "weights": Check("Weights are present, not negative and not extreme"),
            "weight_sums": Check("Weights sum to what the producer states for each country"),
            "coverage": Check("No concept lost answers in a country compared with the previous release"),
            "release_changes": Check("A new release keeps nearly all respondents and nearly all of their answers"),
            "declared_gaps": Check("No answers where the producer says that the question was not asked", advisory=True),
            "label_drift": Check("Value labels read as they did in the previous release", advisory=True),
            "columns_set_aside": Check(
                "The crosswalk understands every answer in the variables that it knows of this file", advisory=True
            ),
            "impossible_combinations": Check("Ages, birth years and rights are consistent", advisory=True),
            "straight_lining": Check("Few respondents give the same answer to a whole battery", advisory=True),
            "break_off": Check("Few respondents leave more than half of the questions open", advisory=True),
            "battery_signs": Check("Items of a battery correlate with the expected sign"),
            "polarity": Check("Each scale runs in the direction that its known partners indicate", advisory=True),
            "published_marginals": Check("Weighted shares equal the producers' published figures"),
            "release_in_use": Check("The release in the survey folder is the one in use; none is held", advisory=True),
        },
    ),
    StoredTable("waves", "surveys", Partitioning.WAVE, tables.WAVES, "aggregates", companion_of="harmonized_wave"),
    StoredTable(
        "survey_changelog",
        "surveys",
        Partitioning.WAVE,
        tables.CHANGELOG,
        "microdata",
        upstream=("raw_wave",),
        settings=("survey_file",),
        covered={"survey_file": "raw_wave"},
        code=("mpta_pipeline.surveys.releases",),
        files=("snapshots",),
        description="What the release in use changed compared with the previous one: respondents, answers, labels.",
    ),
    StoredTable(
        "personas",
        "personas",
        Partitioning.NONE,
        tables.PERSONAS,
        "microdata",
        upstream=("harmonized_wave", "waves"),
        settings=("persona_design", "crosswalk", "data_use"),
        code=("mpta_pipeline.personas",),
        description="Real respondents with the traits that they stated; no missing answer is shown as a trait.",
        checks={
            "respondents_known": Check("Every persona is a respondent"),
            "no_missing_told": Check("No missing answer is presented as a fact"),
            "statements_say_answers": Check("Each statement contains its answer"),
            "labels_unique": Check("No persona has two traits under one label"),
            "styles_separable": Check("No label or answer contains a separator of a style"),
            "uniqueness": Check("Number of personas that are unique by their demographic traits", advisory=True),
        },
        carried={"harmonized_wave": "revision survey codebook wave release_id country year weight"},
        derived={"respondent_id": "harmonized_wave.respondent_id"},
    ),
    StoredTable("groups", "personas", Partitioning.NONE, tables.GROUPS, "microdata", companion_of="personas"),
    StoredTable(
        "releases",
        "personas",
        Partitioning.NONE,
        None,
        "aggregates",
        companion_of="personas",
        description="Releases of the harmonized waves with the name of their survey weight; estimates quote them.",
    ),
    StoredTable(
        "panel",
        "personas",
        Partitioning.NONE,
        tables.PANEL,
        "microdata",
        upstream=("personas", "groups"),
        settings=("panel_design", "experiments"),
        code=("mpta_pipeline.personas.panel", "mpta_pipeline.tasks.arms"),
        description="The personas that models are asked about: a stratified sample by lowest keyed hash, with "
        "inclusion probabilities.",
        carried={"personas": "respondent_id survey wave"},
        derived={
            "stratum": "personas.traits",
            **_columns("stratum_size stratum_selected inclusion_probability rank", "personas.respondent_id"),
            **_columns("survey_weight weight", "personas.weight"),
        },
    ),
    StoredTable(
        "arm_draws",
        "personas",
        Partitioning.NONE,
        tables.ARM_DRAWS,
        "microdata",
        companion_of="panel",
    ),
    StoredTable(
        "items",
        "tasks",
        Partitioning.TASK,
        tables.ITEMS,
        "questions",
        upstream=("harmonized_wave",),
        settings=("task", "item_selection", "crosswalk"),
        code=("mpta_pipeline.tasks",),
        files=("item_files",),
        description="Questions with their options in canonical order and, for survey questions, every respondent's "
        "answer.",
    ),
    StoredTable("gold", "tasks", Partitioning.TASK, tables.GOLD, "microdata", companion_of="items"),
    StoredTable("arm_answers", "tasks", Partitioning.TASK, tables.ARM_ANSWERS, "microdata", companion_of="items"),
    StoredTable(
        "prompts",
        "tasks",
        Partitioning.TASK,
        tables.PROMPTS,
        "microdata",
        # The groups and their wording are read for the condition `group`.
        upstream=("items", "gold", "personas", "panel", "arm_draws", "groups"),
        settings=("task", "prompt_design", "persona_design", "crosswalk"),
        code=("mpta_pipeline.tasks", "mpta_pipeline.personas"),
        description="Item × persona × condition × option order as texts; independent of the model, and equal texts are "
        "sent once.",
        checks={
            "gold_position_uniform": Check("The answer key is equally often at every position (χ² test)"),
            "twins_without_persona": Check("Every persona prompt has a counterpart without persona"),
            "options_differ": Check("No prompt shows the same option twice"),
        },
        carried={
            "items": "task item_id cluster_id options asked_after",
            "personas": "survey wave data_use",
            "panel": "respondent_id weight",
        },
        derived={
            "content_hash": "personas.traits items.question items.options",
            "shown_respondent_id": "personas.respondent_id",
            "system": "personas.traits",
            "user": "items.context items.question items.options",
            "gold_idx": "items.gold_idx items.column",
            "masked": "items.column items.reveals",
            **_columns("turn shuffled_with", "items.sequence"),
        },
    ),
    StoredTable(
        "power",
        "metrics",
        Partitioning.NONE,
        tables.POWER,
        "aggregates",
        upstream=("prompts", "groups"),
        settings=("figure_rules",),
        code=("mpta_pipeline.metrics.detectable",),
        carried={"prompts": "task survey"},
        derived={
            "n_answers": "prompts.prompt_id",
            "n_personas": "prompts.respondent_id",
            "n_clusters": "prompts.cluster_id",
            "detectable": "prompts.respondent_id prompts.cluster_id prompts.gold_idx",
            "subgroup": "prompts.respondent_id",
        },
    ),
    StoredTable(
        "responses",
        "inference",
        Partitioning.MODEL_TASK,
        tables.RESPONSES,
        "microdata",
        upstream=("prompts", "personas", "gold", "groups"),
        settings=("model", "approval", "data_use", "asked"),
        # Read again when requests are sent: the codebook of the persona that a prompt shows, and today's policy for it.
        # The prompts' own column data_use changes with both. Answers and groups are read for simulated respondents
        # alone, whose version (`model`) includes theirs.
        covered={"personas": "prompts", "data_use": "prompts", "gold": "prompts", "groups": "prompts"},
        # How responses become a table. What is sent is identified by the request's hash, never by a version of code.
        code=("mpta_pipeline.inference.responses",),
        files=("ledger", "model_files"),
        sends_requests=True,
        keep_if_current=True,
        kinds=("parquet",),
        description="A model's responses. Only prompts without a response in the model's ledger are sent; every "
        "response is kept.",
        carried={"prompts": "task prompt_id"},
        derived={
            "request_hash": f"prompts.content_hash prompts.conversation prompts.turn {_SENT}",
            "text": _SENT,
            "thought": _SENT,
            **_columns("option_logprobs letter_share", f"{_SENT} prompts.options"),
        },
    ),
    StoredTable(
        "scores",
        "metrics",
        Partitioning.MODEL_TASK,
        tables.SCORES,
        "microdata",
        upstream=("responses", "prompts", "items"),
        settings=("readability_warning",),
        code=("mpta_pipeline.tasks", "mpta_pipeline.core.reasoning_text"),
        checks={
            "replies_readable": Check("At least the share of replies that the study states is readable", advisory=True)
        },
        carried={
            "responses": "model task prompt_id request_hash",
            "prompts": "condition survey wave respondent_id item_id cluster_id style framing paraphrase_id repeat_id "
            "elicitation order_id gold_idx gold_pos weight arm treated conversation turn shuffled_with",
            "items": "kind category ordinal scoring answer_set",
        },
        derived={
            "k_options": "items.options",
            "pred_idx": f"{_REPLY} prompts.option_order",
            "pred_pos": _REPLY,
            "p_vec": "responses.option_logprobs prompts.option_order",
            "letter_share": "responses.letter_share responses.option_logprobs",
            "status": f"{_REPLY} responses.error",
            "unparsed_reason": f"{_REPLY} responses.finish_reason responses.thought",
            "score": f"{_REPLY} prompts.gold_pos items.scoring items.option_credit",
            "bias": f"{_REPLY} items.option_bias",
            "text_scores": "responses.text items.reference",
            "condescending": "responses.text",
            "scale_reversed": "prompts.option_order items.option_scores",
            "scale_place": f"{_REPLY} items.option_scores",
        },
    ),
    StoredTable(
        "people_shares",
        "metrics",
        Partitioning.TASK,
        tables.PEOPLE_SHARES,
        "aggregates",
        upstream=("items", "gold", "groups"),
        settings=("figure_rules",),
        code=(
            "mpta_pipeline.metrics.baselines.people_shares",
            "mpta_pipeline.metrics.statistics.linearization",
        ),
        companion_of="subgroup_metrics",
        on_demand=True,
    ),
    StoredTable(
        "people_effects",
        "metrics",
        Partitioning.TASK,
        tables.PEOPLE_EFFECTS,
        "aggregates",
        upstream=("arm_answers", "items", "groups"),
        settings=("figure_rules",),
        code=(
            "mpta_pipeline.metrics.estimators.people_effects",
            "mpta_pipeline.metrics.statistics.linearization",
        ),
        companion_of="subgroup_metrics",
        on_demand=True,
    ),
    StoredTable(
        "ceiling",
        "metrics",
        Partitioning.TASK,
        None,
        "microdata",
        upstream=("gold", "prompts", "personas"),
        settings=("figure_rules",),
        code=("mpta_pipeline.metrics.baselines.ceiling",),
        companion_of="subgroup_metrics",
        on_demand=True,
        description="How well the visible traits predict the panel's answers; cross-fitted once per task.",
    ),
    StoredTable(
        "subgroup_metrics",
        "metrics",
        Partitioning.MODEL_TASK,
        tables.SUBGROUP_METRICS,
        "aggregates",
        upstream=("scores", "gold", "items", "groups", "releases", "people_shares", "people_effects", "ceiling"),
        settings=("figure_rules",),
        code=("mpta_pipeline.metrics", "mpta_pipeline.core.estimate_ids"),
        files=("replaced_estimates",),
        keep_if_current=True,
        description="Estimates per subgroup: two-way clustered interval, n, baseline, persona effect, verdict.",
        checks={
            "counts_add_up": Check("The subgroups of a dimension have no more answers in all than everyone"),
            "intervals_contain_estimates": Check("Every interval contains its estimate"),
            "no_estimate_without_n": Check("Every estimate states the answers, personas and items it rests on"),
            "estimates_in_range": Check("Every estimate is finite and within the range of its metric"),
        },
        carried={"scores": "model task survey condition"},
        derived={
            **_COUNTS,
            **_columns("estimate ci_low ci_high se n_eff shrunken_estimate gap verdict", _ANSWERS),
            "subgroup": "personas.traits scores.category",
            "baseline_estimate": "scores.gold_idx scores.k_options items.column",
            "effect": f"{_ANSWERS} scores.condition",
            "release_ids": "personas.release_id",
        },
    ),
    StoredTable(
        "rivals",
        "metrics",
        Partitioning.MODEL_TASK,
        tables.RIVALS,
        "aggregates",
        companion_of="subgroup_metrics",
        description="The ladder of rivals of the persona panel, by subgroup and question; empty unless the study asks "
        "about groups.",
    ),
    StoredTable(
        "experiments",
        "metrics",
        Partitioning.MODEL_TASK,
        tables.EXPERIMENTS,
        "aggregates",
        companion_of="subgroup_metrics",
        description="Effects of an experiment's arms and of conjoint attributes, for everyone and by subgroup; empty "
        "for tasks without an experiment.",
    ),
    StoredTable(
        "answer_shares",
        "metrics",
        Partitioning.MODEL_TASK,
        tables.ANSWER_SHARES,
        "aggregates",
        companion_of="subgroup_metrics",
        description="Shares of the model's answers to questions without a key, by subgroup; empty for other tasks.",
    ),
    StoredTable(
        "pockets",
        "metrics",
        Partitioning.MODEL_TASK,
        tables.POCKETS,
        "aggregates",
        upstream=("scores", "gold", "groups"),
        settings=("figure_rules",),
        code=("mpta_pipeline.metrics", "mpta_pipeline.core.estimate_ids"),
        keep_if_current=True,
        description="Subgroups in which the model does worse: found on one half of the data, confirmed on the other.",
        checks={
            "counts_add_up": Check("A pocket's difference is its estimate minus that of everyone else"),
            "intervals_contain_estimates": Check("Every interval contains its difference"),
            "no_estimate_without_n": Check("Every pocket states the answers, personas and items it rests on"),
            "confirmed_by_test": Check("Every confirmed pocket has a q-value"),
        },
        carried={"scores": "model task survey condition"},
        derived={
            **_COUNTS,
            **_columns("estimate rest_estimate difference ci_low ci_high p_value q_value confirmed", _ANSWERS),
            "subgroup": "personas.traits",
            "examples": "scores.prompt_id",
        },
    ),
    StoredTable(
        "model_comparison",
        "metrics",
        Partitioning.NONE,
        tables.MODEL_COMPARISON,
        "aggregates",
        upstream=("scores", "groups"),
        settings=("figure_rules", "models"),
        code=("mpta_pipeline.metrics",),
        description="Paired differences between models on the same prompts, with groups of models that are tied. "
        "Controls are left out.",
        checks={
            "counts_add_up": Check("The difference of two models is the opposite in the other direction"),
            "intervals_contain_estimates": Check("Every interval contains its difference"),
            "no_estimate_without_n": Check("Every estimate states the answers, personas and items it rests on"),
        },
        carried={"scores": "task survey condition model"},
        derived={
            **_COUNTS,
            **_columns("estimate difference se p_value ci_low ci_high tie_group", "scores.score"),
            "other_model": "scores.model",
        },
    ),
    StoredTable(
        "models", "metrics", Partitioning.NONE, tables.MODELS, "configuration", companion_of="model_comparison"
    ),
    StoredTable(
        "configuration_estimates",
        "multiverse",
        Partitioning.MODEL_TASK,
        tables.CONFIGURATION_ESTIMATES,
        "aggregates",
        upstream=("scores", "gold", "items", "groups"),
        settings=("figure_rules", "multiverse"),
        code=("mpta_pipeline.metrics",),
        keep_if_current=True,
        checks={
            "intervals_contain_estimates": Check("Every interval contains its estimate"),
        },
        carried={"scores": "model task survey"},
        derived={
            **_COUNTS,
            **_columns("estimate se ci_low ci_high p_value", _ANSWERS),
        },
    ),
    StoredTable(
        "configuration_people",
        "multiverse",
        Partitioning.MODEL_TASK,
        tables.CONFIGURATION_PEOPLE,
        "microdata",
        companion_of="configuration_estimates",
        published=False,
    ),
    StoredTable(
        "configurations",
        "multiverse",
        Partitioning.NONE,
        tables.CONFIGURATIONS,
        "aggregates",
        upstream=("configuration_estimates", "configuration_people", "scores", "groups"),
        settings=("multiverse", "figure_rules", "panel_design"),
        code=("mpta_pipeline.metrics.multiverse",),
        checks={"figures_computed": Check("Every figure was computed in some configuration", advisory=True)},
        derived={
            "requests": "scores.request_hash",
            "new_requests": "scores.request_hash",
        },
    ),
    StoredTable(
        "specification_curve",
        "multiverse",
        Partitioning.NONE,
        tables.SPECIFICATION_CURVE,
        "aggregates",
        companion_of="configurations",
    ),
    StoredTable(
        "multiverse_findings",
        "multiverse",
        Partitioning.NONE,
        tables.MULTIVERSE_FINDINGS,
        "aggregates",
        companion_of="configurations",
    ),
    StoredTable(
        "factor_moves",
        "multiverse",
        Partitioning.NONE,
        tables.FACTOR_MOVES,
        "aggregates",
        companion_of="configurations",
    ),
    StoredTable(
        "variance_budget",
        "multiverse",
        Partitioning.NONE,
        tables.VARIANCE_BUDGET,
        "aggregates",
        companion_of="configurations",
    ),
    StoredTable("concepts", "publication", Partitioning.NONE, tables.CONCEPTS, "questions", companion_of="warehouse"),
    StoredTable("options", "publication", Partitioning.NONE, tables.OPTIONS, "questions", companion_of="warehouse"),
    StoredTable("lineage", "publication", Partitioning.NONE, tables.LINEAGE, "aggregates", companion_of="warehouse"),
)


# What the report shows; the warehouse publishes all of it.
_SHOWN = (
    "subgroup_metrics",
    "rivals",
    "experiments",
    "answer_shares",
    "pockets",
    "items",
    "scores",
    "people_shares",
    "people_effects",
    "model_comparison",
    "models",
    "configurations",
    "specification_curve",
    "multiverse_findings",
    "factor_moves",
    "variance_budget",
    "power",
    "panel",
    "groups",
    "personas",
    "prompts",
    "responses",
    "waves",
    "harmonized_wave",
)
_RULES = ("figure_rules", "report_design", "crosswalk")


def _publication(declared: tuple[StoredTable, ...]) -> tuple[StoredTable, ...]:
    """The warehouse, which reads every published table, and the report."""
    return (
        StoredTable(
            "warehouse",
            "publication",
            Partitioning.NONE,
            None,
            "microdata",
            upstream=tuple(t.name for t in declared if t.is_published and t.companion_of != "warehouse"),
            # The rules are part of what is published, so that warehouse and report change together.
            settings=_RULES,
            code=("mpta_pipeline.publication.warehouse", "mpta_pipeline.core.tables"),
            sql=("views",),
            files=("published",),
            kinds=("duckdb",),
            description="All published tables in one DuckDB file, built beside the old one and swapped in, so that an "
            "open notebook does not block it.",
        ),
        StoredTable(
            "report",
            "publication",
            Partitioning.NONE,
            None,
            # Beside the aggregates, the prompts and replies of a few personas whose data-use policy allows it.
            "microdata",
            upstream=("warehouse", *_SHOWN),
            settings=(
                *_RULES,
                "data_use",
                "held_releases",
                "published_figures",
                "models",
                "study_design",
                "multiverse",
            ),
            # The page describes the design; whatever changes it changes personas, panel or prompts as well.
            covered=dict.fromkeys((*_SHOWN, "data_use", "models", "study_design", "multiverse"), "warehouse"),
            code=("mpta_pipeline.report", "mpta_pipeline.pipeline.labels", "mpta_pipeline.core.labels"),
            files=("published",),
            kinds=("html",),
            description="The findings and estimates as a self-contained page: what was found and how sure it is, "
            "subgroups with intervals and baselines, replies, and how to trace each estimate.",
        ),
    )


TABLES: dict[str, StoredTable] = {}


def declare(*declared: StoredTable) -> None:
    """Add tables to the graph, each after those that it reads.

    Raises:
        ValueError: A declaration contradicts itself or the tables before it.
    """
    for table in declared:
        _check_declaration(table)
        TABLES[table.name] = table
        if table.is_published and table.schema is not None:
            tables.publish(table.schema)


def _check_declaration(table: StoredTable) -> None:
    if table.name in TABLES or table.name in SOURCES:
        raise ValueError(f"{table.name} is declared twice in the graph")
    if unknown := [name for name in table.upstream if name not in TABLES]:
        raise ValueError(f"{table.name} reads {unknown[0]}, which is not declared before it")
    if unknown := [name for name in table.settings if name not in SETTINGS]:
        raise ValueError(f"{table.name} reads the setting {unknown[0]}, which is not declared")
    for name, by in table.covered.items():
        if name not in (*table.upstream, *table.settings) or by not in table.upstream or by in table.covered:
            raise ValueError(f"{table.name}: {name} cannot be covered by {by}; both must be declared as inputs")


# --- what follows from the declarations -----------------------------------------------------------------------------


def assets() -> list[str]:
    """The tables that are assets, in the order of work."""
    return [table.name for table in TABLES.values() if table.is_asset]


def owner(name: str) -> str:
    """The asset whose version changes with a table: the table itself, or the one that it is a companion of."""
    return TABLES[name].companion_of or name


def companions(name: str) -> list[str]:
    """The tables that are stored with a table and count in its version."""
    return [table.name for table in TABLES.values() if table.companion_of == name]


def parents_of(name: str) -> list[str]:
    """The stored tables that a table is made from. Those of a table that is made on demand stand for it."""
    found: dict[str, None] = {}
    table = TABLES[name]
    for parent in table.upstream:
        if parent not in table.covered:
            found |= dict.fromkeys(parents_of(parent) if _made_within(parent, name) else [parent])
    return list(found)


def settings_of(name: str) -> list[str]:
    """The settings with a version that a table is made from, those of its tables made on demand included."""
    table = TABLES[name]
    found = dict.fromkeys(s for s in table.settings if s not in table.covered and SETTINGS[s].version is not None)
    for parent in table.upstream:
        if _made_within(parent, name):
            found |= dict.fromkeys(settings_of(parent))
    return list(found)


def _made_within(parent: str, name: str) -> bool:
    return TABLES[parent].on_demand and TABLES[parent].companion_of == name


def asset_dependencies(name: str) -> list[str]:
    """What Dagster has as dependencies of an asset: the assets and sources whose versions change with its parents.

    The version of a document is made of its parents' versions, so what reads the document need not depend on them, too.
    """
    parents = parents_of(name)
    documents = [parent for parent in parents if TABLES[parent].is_document]
    implied = {setting for document in documents for setting in settings_of(document)}
    found = dict.fromkeys(owner(parent) for parent in parents)
    found |= dict.fromkeys(SETTINGS[s].reported_by for s in settings_of(name) if s not in implied)
    found |= dict.fromkeys(DEPARTURES[dimension] for dimension in gathered(name))
    return [parent for parent in found if parent != name]


def gathered(name: str) -> list[Dimension]:
    """The dimensions of which a table reads all partitions."""
    own = TABLES[name].partitioning.dimensions
    wanted = (d for parent in parents_of(name) for d in TABLES[parent].partitioning.dimensions if d not in own)
    return list(dict.fromkeys(wanted))


def partitioning_of(name: str) -> Partitioning:
    """How a table, or a source, is cut into partitions."""
    return TABLES[name].partitioning if name in TABLES else SOURCES[name].partitioning


def reported_with(name: str) -> list[Setting]:
    """The settings that a source's, or a table's, version in Dagster includes."""
    return [s for s in SETTINGS.values() if s.reported_by == name and s.version is not None]


def batches() -> list[tuple[str, ...]]:
    """The assets as `mpta run` makes them: neighbours over the same partitions run together, requests by themselves."""
    found: list[list[str]] = []
    for name in assets():
        last = TABLES[found[-1][-1]] if found else None
        apart = last is None or last.sends_requests or TABLES[name].sends_requests
        if not apart and last is not None and last.partitioning is TABLES[name].partitioning:
            found[-1].append(name)
        else:
            found.append([name])
    return [tuple(batch) for batch in found]


def partition_keys(deployment: Deployment, partitioning: Partitioning) -> list[str]:
    """The partitions of the study: catalogued waves, models, tasks, pairs of them; one empty key without partitions."""
    match partitioning:
        case Partitioning.WAVE:
            return list(deployment.catalogue().waves)
        case Partitioning.MODEL:
            return list(deployment.models)
        case Partitioning.TASK:
            return list(deployment.study.tasks)
        case Partitioning.MODEL_TASK:
            return [str(pair) for pair in model_tasks(deployment)]
        case Partitioning.NONE:
            return [""]


def model_tasks(deployment: Deployment) -> list[ModelTask]:
    """All pairs of a model and a task of the study."""
    return [ModelTask(model, task) for model in deployment.models for task in deployment.study.tasks]


def nodes(deployment: Deployment) -> Iterator[Node]:
    """Every asset partition of the study, in the order of work."""
    for name in assets():
        yield from (Node(name, key) for key in partition_keys(deployment, TABLES[name].partitioning))


def matching(node: Node, parent: Partitioning, keys: Iterable[str]) -> list[str]:
    """The partitions of a parent that a node reads: those that agree with it in the dimensions that both have.

    Args:
        node: The node.
        parent: How the parent is cut into partitions.
        keys: The parent's partitions; looked at only if the parent has a dimension that the node lacks.
    """
    own = TABLES[node.asset].partitioning.values(node.partition)
    if (key := parent.key(own)) is not None:
        return [key]
    return [key for key in keys if all(own.get(d, v) == v for d, v in parent.values(key).items())]


def published() -> list[StoredTable]:
    """The tables that the warehouse publishes."""
    return [table for table in TABLES.values() if table.is_published]


def origins(name: str) -> dict[str, list[tuple[str, str]]]:
    """Column → (table, column) that it is made from, as declared. A column of the warehouse reads `table.column`."""
    if name == "warehouse":
        return {
            f"{table.schema.name}.{column}": [(owner(table.name), column)]
            for table in published()
            if table.schema is not None and owner(table.name) == table.name
            for column in table.schema.schema.names()
        }
    found: dict[str, list[tuple[str, str]]] = {}
    for parent, columns in TABLES[name].carried.items():
        for column in columns.split():
            found.setdefault(column, []).append((parent, column))
    for column, sources in TABLES[name].derived.items():
        for source in sources.split():
            parent, _, parent_column = source.partition(".")
            found.setdefault(column, []).append((parent, parent_column))
    return found


def version_of_source(deployment: Deployment, source: str, partition: str) -> str:
    """The version of a source: that of all settings that it reports."""
    given = [s.version(deployment, partition) for s in reported_with(source) if s.version is not None]
    versions = [version for version in given if version]
    return versions[0] if len(versions) == 1 else digest(*versions)


# --- the picture ----------------------------------------------------------------------------------------------------

_LABELS = {
    Partitioning.NONE: "",
    Partitioning.WAVE: "per wave",
    Partitioning.MODEL: "per model",
    Partitioning.TASK: "per task",
    Partitioning.MODEL_TASK: "per model and task",
}


def mermaid() -> str:
    """The graph as a Mermaid flow chart: sources, assets by group, and the dependencies that Dagster has.

    An arrow that another way through the graph implies is left out.
    """
    lines = ["flowchart LR", "  subgraph sources"]
    lines += [f'    {s.name}(["{_title(s.name, s.partitioning)}"])' for s in SOURCES.values()]
    lines.append("  end")
    for group in dict.fromkeys(TABLES[name].group for name in assets()):
        lines.append(f"  subgraph {group}")
        lines += [
            f'    {name}["{_title(name, TABLES[name].partitioning)}"]'
            for name in assets()
            if TABLES[name].group == group
        ]
        lines.append("  end")
    for name in assets():
        direct = asset_dependencies(name)
        implied = {far for near in direct for far in _ancestors(near)}
        lines += [f"  {parent} --> {name}" for parent in direct if parent not in implied]
    return "\n".join(lines) + "\n"


def _title(name: str, partitioning: Partitioning) -> str:
    label = _LABELS[partitioning]
    return f"{name}<br/><i>{label}</i>" if label else name


def _ancestors(name: str) -> set[str]:
    if name not in TABLES:
        return set()
    direct = set(asset_dependencies(name))
    return direct | {far for near in direct for far in _ancestors(near)}


def document() -> str:
    """docs/graph.md: the picture, and a table of all stored tables."""
    rows = [
        f"| `{t.name}` | {_LABELS[t.partitioning] or 'one table'} | {', '.join(f'`{p}`' for p in t.upstream) or '–'} "
        f"| {', '.join(f'`{s}`' for s in t.settings) or '–'} | {t.holds} | {t.meaning} |"
        for t in TABLES.values()
    ]
    return "\n".join(
        [
            "# The graph of stored tables",
            "",
            "Generated by `python -m mpta_pipeline.pipeline.graph > docs/graph.md`; do not edit.",
            "",
            "Boxes are assets, rounded boxes are sources outside the store. An arrow leads from an input to what is",
            "made from it; arrows that a longer way implies are left out.",
            "",
            "```mermaid",
            mermaid().rstrip(),
            "```",
            "",
            "## Stored tables",
            "",
            "| table | partitions | reads | settings | holds | meaning |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def build(*further: StoredTable) -> None:
    """Declare all tables; further ones stand before the warehouse, which publishes them, too."""
    declared = (*_DECLARED, *further)
    declare(*declared, *_publication(declared))


build()

if __name__ == "__main__":
    print(document(), end="")
