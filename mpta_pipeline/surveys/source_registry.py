"""What is known about each survey source: one YAML record a source, and the user's policy for it (`surveys.yaml`).

What belongs here: the records' schema, loading, and who may use what. What does not: facts about a source, which stand
in `sources/<codebook>.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, Field, model_validator

from mpta_pipeline.core.configuration import StrictModel, config_dir, read_yaml, validated
from mpta_pipeline.core.errors import ConfigError, PolicyError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.vocabulary import DataUse, MissingKind

_INVALID = "A survey configuration is not valid"


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as failure:
        raise ValueError(f"not a regular expression: {failure}") from None
    return text


Pattern = Annotated[str, AfterValidator(_is_pattern)]


class Refusal(StrictModel):
    """A variant of a source that must not be read as it: recognized by variable names, refused with a remedy.

    Attributes:
        variables: Pattern of the names.
        instead_of: A name counts only if its first group, the regular name, is not in the file too.
        at_least: As many names as must match.
    """

    variables: Pattern
    instead_of: bool = False
    at_least: int = Field(default=1, ge=1)
    problem: str
    remedy: str


class Marks(StrictModel):
    """Names that are a source's own: a part of a file, or one with columns left out, still has enough of them."""

    names: Pattern
    at_least: int = Field(ge=1)


class Never(StrictModel):
    """Rows that another source's file would have: those with one code of a variable and none of some of another.

    Attributes:
        without: Variables of which the file must have none for the rule to count; a file that lacks `unless`, too, then
            has nothing that speaks for such rows.
    """

    variable: str
    code: str
    unless: str
    without: tuple[str, ...] = ()
    has: tuple[str, ...]
    what: str


class Signature(StrictModel):
    """What a file must hold to be of a source. Names are compared without regard to case.

    What stands here holds for the whole of a producer's file and for each of its parts (a country's file, a file with
    columns left out). What only the whole has, such as the variable of the wave, is no condition.

    Attributes:
        requires: Variables that must all be there.
        some_of: Groups of variables of each of which at least one must be there.
        marks: Names of which some must be there.
        years: First and last year of the fieldwork, looked at where no variable of `codes` or of the wave is there:
            another year makes it another source's file.
        never: Rows that make it another source's file.
        forbids: Variables that must not be there.
        labels: Variable → pattern that its label must contain, where the file has labels.
        value_labels: Variable → code → pattern that the code's label must contain, where the file has value labels.
        codes: Variable → codes that must be its only ones, where the file has the variable.
        refuse: Variants to refuse.
    """

    requires: tuple[str, ...] = ()
    some_of: tuple[tuple[str, ...], ...] = ()
    marks: tuple[Marks, ...] = ()
    years: tuple[int, int] | None = None
    never: tuple[Never, ...] = ()
    forbids: tuple[str, ...] = ()
    labels: dict[str, Pattern] = Field(default_factory=dict)
    value_labels: dict[str, dict[str, Pattern]] = Field(default_factory=dict)
    codes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    refuse: tuple[Refusal, ...] = ()

    @model_validator(mode="after")
    def _some_names(self) -> Signature:
        if not (self.requires or self.some_of or self.marks):
            raise ValueError("give requires, some_of or marks: without one every file is of the source")
        return self


class WaveRule(StrictModel):
    """How a file is split into waves: one constant wave, or by the codes of a variable.

    Attributes:
        constant: The wave's name after the survey's, where a file is one wave.
        variable: Variables whose codes tell the waves apart; the first one that the file has is used.
        names: Code → name; a code that is not listed names itself, unless `only_named`.
        only_named: A code that is not in `names` is an error.
        last_digit: Variables whose code ends in the wave's, such as country and wave 8407, where the file has none of
            `variable`.
        fieldwork: Wave → first and last year of its fieldwork, where the file has neither. A year of two waves, or of
            none, is an error. Where the file has one and most years of a wave are others, it is another source's file.
    """

    constant: str | None = None
    variable: tuple[str, ...] = ()
    last_digit: tuple[str, ...] = ()
    fieldwork: dict[str, tuple[int, int]] = Field(default_factory=dict)
    names: dict[str, str] = Field(default_factory=dict)
    only_named: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> WaveRule:
        if (self.constant is None) == (not self.variable):
            raise ValueError("give either constant or variable")
        return self


class CountryRule(StrictModel):
    """Where the country comes from: a constant alpha-3 code, or a variable.

    Attributes:
        variable: The variables tried in order; the first one that names a country in every row is used.
            Its codes are ISO 3166-1 numeric (with or without leading zeros), alpha-2 or alpha-3.
        cow: Variables with codes of the Correlates of War project, numbers or letters, tried after these: their AUS is
            Austria.
        other: Codes that are not ISO's, or not the country meant → alpha-3.
    """

    constant: str | None = None
    variable: tuple[str, ...] = ()
    cow: tuple[str, ...] = ()
    other: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_both(self) -> CountryRule:
        if (self.constant is None) == (not self.variable):
            raise ValueError("give either constant or variable")
        return self


class KeyRule(StrictModel):
    """The native key of a respondent.

    Attributes:
        variables: Candidates in order; the first is used whose variables are all in the file, without empty cells and
            missing codes, and tell the respondents apart. An empty candidate means that the file has no key: the row's
            content and its occurrence serve, flagged unstable.
        duplicates: Keys that the producer is known to repeat, with the reason.
        repeats: Waves (names) in which keys are known to repeat, with the reason: that is told and stops nothing.
    """

    variables: tuple[tuple[str, ...], ...]
    duplicates: dict[str, str] = Field(default_factory=dict)
    repeats: dict[str, str] = Field(default_factory=dict)


class Weight(StrictModel):
    """A survey weight: its variable, what it is for, and the waves (names) where it is the right one; empty: all."""

    variable: str
    purpose: Literal["respondent", "nonresponse", "equal_size", "population"] = "respondent"
    waves: tuple[str, ...] = ()
    note: str | None = None


class Convention(StrictModel):
    """How a codebook writes missing answers.

    Attributes:
        codes: Code → kind. Tagged missing codes are written .d.
        declared_only: In a file that declares missing codes, a number without labels is missing only where declared;
            else its codes of `codes` are missing in every variable.
        labels: Pattern → kind, in order: tells the kind of a code that is missing. Before `codes` for tagged codes,
            whose letters changed their meaning between releases.
        doubtful: Tags that some release used for categories: with a label that says nothing of missing they are none
            of the kinds that `codes` gives them.
        value_labels: Pattern → kind for codes that nothing declares but whose whole label says that they are missing.
        exempt: Variables in which `codes` are values.
        values: Variable → codes of `codes` that are values in it, whatever the file declares.
        system: Kind of an empty cell.
        by_design: Variables of the split design (ballot, form). Where every respondent of a cell of the design has the
            not-applicable code, the question was not asked there.
        by_code: Variable → its code → code → kind: where the same code differs by part of the file.
    """

    codes: dict[str, MissingKind] = Field(default_factory=dict)
    declared_only: bool = True
    labels: dict[Pattern, MissingKind] = Field(default_factory=dict)
    doubtful: tuple[str, ...] = ()
    value_labels: dict[Pattern, MissingKind] = Field(default_factory=dict)
    exempt: tuple[str, ...] = ()
    values: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    system: MissingKind = "not_available_release"
    by_design: tuple[str, ...] = ()
    by_code: dict[str, dict[str, dict[str, MissingKind]]] = Field(default_factory=dict)


def _is_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an address that starts with http:// or https://")
    if parts.username or parts.password:
        raise ValueError("an address with a user name or password; a source that needs one is downloaded by hand")
    return text


WebAddress = Annotated[str, AfterValidator(_is_address)]


class Address(StrictModel):
    """An address that tells whether a source has a new release: that of a file, or of a page that names releases.

    Attributes:
        file: Address of the file itself; a change shows by its ETag, its time of change or its length.
        page: Address of a page that lists releases.
        release: Pattern that finds the releases on the page; its group `version` is the release's name.
        save_as: Name of the file in the survey folder; null: the last part of its address.
        sha256: The file's SHA-256, where it is known beforehand: any other content is refused.
        get_from: Where a person gets the file, for the message; null: this address.
    """

    file: WebAddress | None = None
    page: WebAddress | None = None
    release: Pattern | None = None
    save_as: Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    get_from: str | None = None

    @model_validator(mode="after")
    def _file_or_page(self) -> Address:
        if (self.file is None) == (self.page is None):
            raise ValueError("give either file or page")
        if (self.page is None) != (self.release is None):
            raise ValueError("a page needs the pattern `release`, and only a page")
        if self.release is not None and "version" not in re.compile(self.release).groupindex:
            raise ValueError("the pattern `release` needs a group (?P<version>…)")
        return self

    @property
    def url(self) -> str:
        """The address that is asked."""
        return str(self.file or self.page)


class Source(StrictModel):
    """One survey source.

    Attributes:
        codebook: Codebook that its files follow; the record's name.
        family: Survey name in wave keys.
        lineage: Whose ids these are: part of every respondent's hash.
        precedence: Where several sources hold a wave, the lowest number gives its respondents, the others are checks.
        acknowledge: Why the source is closed until its user states a permission; null: it is open.
        crosswalk: Whether its variables are harmonized; else the reason why not stands in `note`.
        watch: Addresses that tell of new releases.
        download: The producer lets programs download it: a new release is fetched, not only told of.
    """

    codebook: str
    family: str
    lineage: str
    title: str
    producer: str
    licence: str
    data_use: DataUse
    precedence: int = 1
    acknowledge: str | None = None
    crosswalk: bool = True
    note: str | None = None
    recognize: Signature
    waves: WaveRule
    key: KeyRule
    country: CountryRule
    # The first of these that is a year in every row is used; a number that ends in the year is one.
    year: tuple[str, ...] = Field(min_length=1)
    dates: tuple[str, ...] = ()  # numbers that begin with the year (20181203, 201812), tried after these
    version: tuple[str, ...] = ()
    doi: tuple[str, ...] = ()
    weights: tuple[Weight, ...] = ()
    not_weights: tuple[str, ...] = ()
    stratum: tuple[str, ...] = ()
    psu: tuple[str, ...] = ()
    missing: str
    watch: tuple[Address, ...] = ()
    download: bool = False

    @property
    def id(self) -> str:
        """The survey, as in wave keys and in the column `survey` of every table."""
        return self.family

    def wave_title(self, name: str) -> str:
        """The title of one wave."""
        return self.title.replace("{wave}", name)


class Policy(StrictModel):
    """What the user says about a source: use it or not, under which permission, and where its personas may go.

    Attributes:
        watch: Addresses to ask for new releases, instead of the source's own; empty: none.
        download: Whether a new release may be downloaded; null: as the source's record says.
        accept: Releases that may change more than a check of releases lets pass: release id → why.
    """

    use: bool = True
    acknowledged: str | None = None
    data_use: DataUse | None = None
    watch: tuple[Address, ...] | None = None
    download: bool | None = None
    accept: dict[str, str] = Field(default_factory=dict)


class SurveyConfig(StrictModel):
    """`surveys.yaml`: further folders to look in, and the policy per source."""

    directories: tuple[Path, ...] = ()
    sources: dict[str, Policy] = Field(default_factory=dict)


@dataclass(frozen=True)
class SourceRegistry:
    """All sources with the missing conventions that they name and the user's policy."""

    sources: Mapping[str, Source]
    conventions: Mapping[str, Convention]
    config: SurveyConfig = field(default_factory=SurveyConfig)
    config_file: Path | None = None

    def __iter__(self) -> Iterator[Source]:
        return iter(self.sources.values())

    def __getitem__(self, codebook: str) -> Source:
        return self.sources[codebook]

    def convention(self, source: Source) -> Convention:
        """The missing convention of a source."""
        return self.conventions[source.missing]

    def data_use(self, source: Source) -> DataUse:
        """Where personas of the source may be sent: the user's word, else the source's default."""
        policy = self.config.sources.get(source.codebook, Policy())
        return policy.data_use or source.data_use

    @property
    def permitted(self) -> dict[str, DataUse]:
        """Source → where its personas may be sent today; those of a source that is closed or off stay here."""
        return {s.codebook: "local_only" if self.closed(s) else self.data_use(s) for s in self}

    def addresses(self, source: Source) -> tuple[Address, ...]:
        """The addresses that tell of new releases of a source: the user's, else those of its record."""
        own = self.config.sources.get(source.codebook, Policy()).watch
        return source.watch if own is None else own

    def may_download(self, source: Source) -> bool:
        """Whether a new release is fetched: as the user says, else the source's record; never of a closed source."""
        own = self.config.sources.get(source.codebook, Policy()).download
        return self.closed(source) is None and (source.download if own is None else own)

    def accepted(self, codebook: str, release_id: str) -> str | None:
        """Why a release may change much against the one before it, as the user stated it; None: it may not."""
        return self.config.sources.get(codebook, Policy()).accept.get(release_id)

    def closed(self, source: Source) -> PolicyError | None:
        """Why the source may not be used, with the remedy; None: it may."""
        policy = self.config.sources.get(source.codebook, Policy())
        where = self.config_file or Path("surveys.yaml")
        if not policy.use:
            return PolicyError(
                f"The source {source.codebook} is switched off",
                file=where,
                variable=f"sources.{source.codebook}.use",
                remedy="set it to true to use the source",
            )
        if source.acknowledge and not (policy.acknowledged or "").strip():
            return PolicyError(
                f"The source {source.codebook} is closed: {' '.join(source.acknowledge.split()).rstrip('.')}",
                file=where,
                variable=f"sources.{source.codebook}.acknowledged",
                remedy="if you hold that permission, state there who gave it, for what and when, and scan again",
            )
        return None

    @cached_property
    def digest(self) -> str:
        """Version of everything that recognition depends on (not the user's policy)."""
        return digest(
            *(s.model_dump_json(exclude={"watch", "download"}) for s in self.sources.values()),
            *(f"{name}{c.model_dump_json()}" for name, c in self.conventions.items()),
        )


def load_sources(config: Path | None = None, *, folder: Path | None = None) -> SourceRegistry:
    """Read the packaged source records, and the user's `surveys.yaml`.

    Args:
        config: The user's file; null for `surveys.yaml` in the configuration folder, which may be absent.
        folder: A folder of further records and conventions (`*.yaml`, `missing.yaml`), for sources of one's own.

    Raises:
        ConfigError: A record is not valid, names an unknown convention or the configuration names an unknown source.
    """
    packaged = resources.files("mpta_pipeline.surveys") / "sources"
    texts = {entry.name: entry.read_text(encoding="utf-8") for entry in packaged.iterdir()}
    if folder is not None:
        texts |= {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.yaml")}
    conventions: dict[str, Convention] = {}
    sources: dict[str, Source] = {}
    for name in sorted(texts):
        if name.startswith("missing") and name.endswith(".yaml"):
            for key, value in yaml.safe_load(texts[name]).items():
                conventions[key] = validated(Convention, value, _INVALID, file=name)
        elif name.endswith(".yaml"):
            source = validated(Source, yaml.safe_load(texts[name]), _INVALID, file=name)
            sources[source.codebook] = source
    for source in sources.values():
        if source.missing not in conventions:
            raise ConfigError(
                "A source names a missing convention that does not exist",
                file=f"{source.codebook}.yaml",
                variable="missing",
                value=source.missing,
                remedy=f"use one of {', '.join(sorted(conventions))} or add it to missing.yaml",
            )
    path = config or config_dir() / "surveys.yaml"
    if config is None and not path.exists():
        return SourceRegistry(sources, conventions)
    settings = validated(SurveyConfig, read_yaml(path) or {}, _INVALID, file=path)
    if unknown := sorted(set(settings.sources) - set(sources)):
        raise ConfigError(
            "The configuration names a source that does not exist",
            file=path,
            variable=f"sources.{unknown[0]}",
            remedy=f"use one of {', '.join(sources)}",
        )
    settings = settings.model_copy(
        update={"directories": tuple((path.parent / d).resolve() for d in settings.directories)}
    )
    return SourceRegistry(sources, conventions, settings, path)
