"""The study (`study.yaml`): surveys, panel, conditions, tasks, and rules for the estimates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mpta_pipeline.core.configuration import StrictModel, config_dir, read_yaml, validated
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.multiverse import Level, Multiverse, prompt_levels, task_variant_name
from mpta_pipeline.core.unknown_names import unknown_name
from mpta_pipeline.core.vocabulary import CONDITIONS, DOMAINS, Condition, Domain, Elicitation, Framing, Style


class PanelDesign(StrictModel):
    """Who is asked: a stratified sample of the personas.

    Attributes:
        size: Personas, shared equally among the surveys.
        strata: Traits or derived dimensions whose combinations are the strata.
        allocation: Personas per stratum within a survey: in proportion to its size, or equally many.
    """

    size: int = Field(default=96, ge=1)
    strata: tuple[str, ...] = ("country", "sex", "age_band")
    allocation: Literal["equal", "proportional"] = "proportional"


class TraitSelection(StrictModel):
    """Which traits a persona shows.

    Attributes:
        min: A respondent with fewer traits does not become a persona.
        max: Maximum number of traits, taken from the domains in turn.
        domains: Domains that traits are taken from.
        columns: Harmonized columns that traits are taken from; null for all.
        k_anonymity: Personas are left out if fewer respondents than this share the demographic traits shown.
    """

    min: int = Field(default=4, ge=1)
    max: int = Field(default=20, ge=1)
    domains: tuple[Domain, ...] = DOMAINS
    columns: tuple[str, ...] | None = None
    k_anonymity: int = Field(default=1, ge=1)


class PeopleOfArm(StrictModel):
    """The survey's people who were in an arm themselves, and their answers in it.

    Attributes:
        where: Concept, column or variable → the values or codes of the people in the arm, for surveys with a column
            that says who was assigned to what.
        answers: Question → concept, column or variable with people's answers in this arm, for surveys with one column
            per wording. A question that is not named has the answers of its own column.
    """

    where: dict[str, tuple[str | int, ...]] = Field(default_factory=dict)
    answers: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_something(self) -> PeopleOfArm:
        if not self.where and not self.answers:
            raise ValueError("people needs where (who was in the arm) or answers (the columns of their answers)")
        if empty := [name for name, values in self.where.items() if not values]:
            raise ValueError(f"people.where.{empty[0]} has no value")
        return self


class Arm(StrictModel):
    """An arm of an experiment: what differs from the control.

    Attributes:
        text: Text before each question; null for none.
        fields: Piped field of the questions' texts (`{{name}}`) → its text.
        people: Which of the survey's people were in this arm, so that their own effect is computed beside the model's;
            null if the surveys have no such experiment.
        id: What the arm is drawn by; null for its name. Set it to the earlier name when you rename an arm: everybody
            stays in the arm that they were in.
    """

    text: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    people: PeopleOfArm | None = None
    id: str | None = None


class TaskConfig(StrictModel):
    """One task of the study. `kind` names the code; further keys are that kind's own options.

    Attributes:
        kind: Name of a task kind.
        path: Item file or folder, relative to this file; $NAME is replaced by an environment variable. null for a kind
            that makes its items from the survey or ships sample items.
        items: Maximum number of items, chosen by lowest keyed hash; null for all.
        items_per_persona: Items that each persona is asked, balanced over the items; null for all.
        orders: Option orders: all cyclic shifts; `scale`: ordinal questions forward and reversed and all others in
            cyclic shifts, with "other", "none" and "don't know" last; only the given order; or all permutations.
        elicitation: How the answer is requested.
        batch_items: Different questions that share one request for a persona, at most; null for one question per
            request. Only with the elicitation `letter`, and not with arms.
        conditions: Conditions; null to use those of the study.
        arms: Arms of an experiment: name → what differs.
        control: The arm that the others are compared with; null for the only arm with neither text nor fields.
        arm_design: Whether each persona is asked in one arm, set by hash and balanced within the panel's strata, or in
            every arm.
        options: Options of the kind.
    """

    kind: str
    path: Path | None = None
    items: int | None = Field(default=None, ge=1)
    items_per_persona: int | None = Field(default=None, ge=1)
    orders: Literal["cyclic", "scale", "given", "full"] = "cyclic"
    elicitation: Elicitation = "letter"
    batch_items: int | None = Field(default=None, ge=2, le=20)
    conditions: tuple[Condition, ...] | None = None
    arms: dict[str, Arm] = Field(default_factory=dict)
    control: str | None = None
    arm_design: Literal["one", "every"] = "one"
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _can_share_requests(self) -> TaskConfig:
        if self.batch_items is None:
            return self
        if self.elicitation != "letter":
            raise ValueError(
                f"batch_items needs the elicitation letter: with {self.elicitation}, each question is a request of its "
                "own; leave batch_items out"
            )
        if self.arms:
            raise ValueError(
                "batch_items does not go with arms: the text of an arm precedes one question; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _arms_differ(self) -> TaskConfig:
        if not self.arms and self.arm_design != "one":
            raise ValueError("arm_design is for a task with arms: give it arms, or leave arm_design out")
        if len(self.arms) == 1:
            raise ValueError("an experiment has at least two arms, the control among them")
        if blank := [name for name, arm in self.arms.items() if arm.text is not None and not arm.text.strip()]:
            raise ValueError(f"the text of arm {blank[0]} is empty: leave the key out for an arm without a text")
        names = [set(arm.fields) for arm in self.arms.values()]
        if any(one != names[0] for one in names):
            raise ValueError("all arms give a text to the same fields")
        told = [(arm.text, tuple(sorted(arm.fields.items()))) for arm in self.arms.values()]
        if len(set(told)) < len(told):
            raise ValueError("two arms are the same")
        ids = [arm.id or name for name, arm in self.arms.items()]
        if repeated := {name for name in ids if ids.count(name) > 1}:
            raise ValueError(
                f"two arms have the id {min(repeated)}; the id of an arm is its name unless it has another"
            )
        if self.control is not None and self.control not in self.arms:
            raise ValueError(f"control names {self.control}, which is no arm of the task")
        if self.arms and self.control_arm is None:
            raise ValueError("name the arm that the others are compared with in control")
        return self

    @model_validator(mode="after")
    def _people_differ(self) -> TaskConfig:
        people = {name: arm.people for name, arm in self.arms.items() if arm.people is not None}
        if not people:
            return self
        if self.control_arm not in people:
            raise ValueError(
                f"the people of {', '.join(people)} are compared with those of the control; add people to "
                f"arms.{self.control_arm}"
            )
        if len(people) == 1:
            raise ValueError("people's effect needs the people of another arm beside those of the control")
        told = [one.model_dump_json() for one in people.values()]
        if len(set(told)) < len(told):
            raise ValueError("the people of two arms are the same")
        return self

    @property
    def control_arm(self) -> str | None:
        """The arm that the others are compared with; None without arms."""
        empty = [name for name, arm in self.arms.items() if arm.text is None and not arm.fields]
        return self.control or (empty[0] if len(empty) == 1 else None)


class TaskVariant(TaskConfig):
    """A task under some levels of the study's `multiverse`, which makes it; study.yaml cannot contain one.

    Attributes:
        orders: Also one order alone: ordinal options forward or reversed.
        base: The task that it varies.
        levels: Factor → level, for the factors that decide what a prompt says.
        styles: Forms of the persona text.
        framings: Framings of the persona text.
        wordings: Numbers of the framing's wordings.
        traits: Traits shown: all, a domain, or at most so many.
    """

    orders: Literal["cyclic", "scale", "given", "full", "forward", "reversed"] = "cyclic"  # type: ignore[assignment]
    base: str
    levels: dict[str, Level]
    styles: tuple[Style, ...]
    framings: tuple[Framing, ...]
    wordings: tuple[int, ...]
    traits: str | int = "all"


class EstimateRules(StrictModel):
    """Subgroups, smallest cell, and level of the tests.

    Attributes:
        dimensions: Traits, derived dimensions and intersections (`sex×age_band`) by which estimates are made.
        min_personas: Cells with fewer personas are marked as small.
        min_items: Cells with fewer items are marked as small.
        equivalence_margin: Largest gap that counts as no gap in the equivalence test.
        level: Level of all tests; intervals have the confidence 1 − level.
        bootstrap: Replicates of bootstrap errors.
        country_groups: Groups of the dimension `country_group`: name → countries, by whole name or ISO 3166-1 code.
        retest: CSV with the columns `column` and `retest`, relative to this file: how often people repeat
            their own answer. null if unknown.
    """

    dimensions: tuple[str, ...] = ("sex", "age_band", "education_3", "sex×age_band")
    min_personas: int = Field(default=30, ge=1)
    min_items: int = Field(default=1, ge=1)
    equivalence_margin: float = Field(default=0.05, gt=0, lt=1)
    level: float = Field(default=0.05, gt=0, lt=1)
    bootstrap: int = Field(default=400, ge=50)
    country_groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    retest: Path | None = None

    @property
    def confidence(self) -> str:
        """The confidence of all intervals as text, derived from the level of the tests: 95 % at .05."""
        return f"{100 * (1 - self.level):.3g} %"


class Schedules(StrictModel):
    """Cron expressions of the jobs. With null, a job runs only when you start it.

    Attributes:
        watch: Check the sources' addresses for new releases.
        check: Verify everything that is stored.
        refresh: Bring everything up to date, as `mpta run` does, if the daemon's automation is switched off.
        timezone: IANA name, e.g. Europe/Berlin.
        waves_stale_after: Days without a successful check for new releases after which survey files show as stale.
        figures_stale_after: Days after which published estimates that no run made or confirmed show as stale.
    """

    watch: str | None = "0 6 * * 1"
    check: str | None = "0 3 * * *"
    refresh: str | None = None
    timezone: str = "UTC"
    waves_stale_after: int = Field(default=21, ge=1)
    figures_stale_after: int = Field(default=100, ge=1)


class Study(StrictModel):
    """The whole study.

    Attributes:
        name: Name of the study, in the report and in alerts.
        seed: Seed of all random draws.
        surveys: Survey sources whose waves take part; null for all that the data-use policy allows.
        models: Models that take part; null for all of `models.yaml`.
        budget: US dollars that the models of one run may spend together; null sets no limit.
        panel: Who is asked.
        traits: Which traits a persona shows.
        styles: Forms of the persona text.
        framings: Who the persona text says the model or the user is: `you_are` and `user_is`; `third_person` describes
            somebody else, and `forecast` asks how that person would answer.
        conditions: What the model is told about the persona.
        paraphrases: Wordings of the framing under which each persona is shown.
        least_readable: Share of responses that must name an option. Below it, terminal, UI and report show a warning.
        tasks: Name → task.
        figures: Subgroups, smallest cell, and level of the tests.
        multiverse: Choices that are varied, and figures that are looked at under all of them; null for none.
        schedules: When the jobs run.
    """

    name: str
    seed: int = 2025
    surveys: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    budget: float | None = Field(default=None, ge=0)
    panel: PanelDesign = PanelDesign()
    traits: TraitSelection = TraitSelection()
    styles: tuple[Style, ...] = ("prose",)
    framings: tuple[Framing, ...] = ("you_are",)
    conditions: tuple[Condition, ...] = CONDITIONS
    paraphrases: int = Field(default=1, ge=1, le=5)
    least_readable: float = Field(default=0.8, ge=0, le=1)
    tasks: Annotated[dict[str, TaskConfig], Field(min_length=1)]
    figures: EstimateRules = EstimateRules()
    multiverse: Multiverse | None = None
    schedules: Schedules = Schedules()

    @model_validator(mode="after")
    def _names_are_partition_keys(self) -> Study:
        for name in self.tasks:
            if not name.replace("_", "").isalnum():
                raise ValueError(f"task name {name!r} may contain only letters, digits and _")
        return self

    @property
    def own_tasks(self) -> dict[str, TaskConfig]:
        """The tasks of study.yaml, without those made for configurations of the multiverse."""
        return {name: config for name, config in self.tasks.items() if not isinstance(config, TaskVariant)}

    def with_variants(self) -> Study:
        """The study with a further task for each combination of levels that the multiverse asks of its prompts.

        Raises:
            ConfigError: The multiverse names a task that the study does not have.
        """
        if self.multiverse is None:
            return self
        variants: dict[str, TaskConfig] = {}
        for task in self.multiverse.tasks or self.own_tasks:
            if task not in self.tasks:
                raise unknown_name(
                    "task", task, self.tasks, variable="multiverse.tasks", hint="or add it to study.yaml"
                )
            if self.tasks[task].batch_items is not None:
                raise ConfigError(
                    f"The multiverse varies how one question is asked, and task {task} asks several in a request",
                    variable=f"tasks.{task}.batch_items",
                    value=self.tasks[task].batch_items,
                    remedy="name the other tasks in multiverse.tasks, or leave batch_items out",
                )
            for levels in self.multiverse.configurations:
                variant = self._variant(task, self.multiverse, prompt_levels(levels))
                variants[task_variant_name(task, variant.levels)] = variant
        return self.model_copy(update={"tasks": self.tasks | variants})

    def _variant(self, task: str, multiverse: Multiverse, levels: dict[str, Level]) -> TaskVariant:
        config = self.tasks[task]
        fields: dict[str, Any] = {name: getattr(config, name) for name in TaskConfig.model_fields}
        fields |= {
            "base": task,
            "levels": levels,
            "conditions": multiverse.conditions,
            "styles": (levels["style"],) if "style" in levels else self.styles,
            "framings": (levels["framing"],) if "framing" in levels else self.framings,
            "wordings": (levels["paraphrase"],) if "paraphrase" in levels else tuple(range(self.paraphrases)),
            "traits": levels.get("traits", "all"),
            "elicitation": levels.get("elicitation", config.elicitation),
            "orders": levels.get("scale_direction", levels.get("orders", config.orders)),
        }
        return TaskVariant.model_validate(fields)

    def task_conditions(self, task: str) -> tuple[Condition, ...]:
        """The conditions under which a task is asked."""
        return self.tasks[task].conditions or self.conditions


def load_study(path: Path | None = None) -> Study:
    """Read and validate `study.yaml`.

    Raises:
        ConfigError: The study is not valid. The message names the key, the value and what is expected.
    """
    path = path or config_dir() / "study.yaml"
    return validated(Study, read_yaml(path), "The study is not valid", file=path).with_variants()
