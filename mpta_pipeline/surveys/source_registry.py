"""Survey sources: one YAML record per source, and the user's policy for each (`surveys.yaml`).

This module holds the schema of the records, their loading, and who may use what. Facts about a source are in its
record, `sources/<codebook>.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from mpta_pipeline.core.configuration import StrictModel, config_dir, parse_record, read_yaml, validated
from mpta_pipeline.core.errors import ConfigError, MptaError, PolicyError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.own_records import OwnRecord, SetAside, read_own
from mpta_pipeline.core.vocabulary import DataUse, MissingKind

_INVALID = "A survey configuration is not valid"
_PACKAGED = Path(__file__).with_name("sources")
_MISSING_FILE = "missing.yaml"


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as failure:
        raise ValueError(f"not a regular expression: {failure}") from None
    return text


Pattern = Annotated[str, AfterValidator(_is_pattern)]


class Refusal(StrictModel):
    """A variant of a source that must not be read as the source: recognized by variable names, refused with a remedy.

    Attributes:
        variables: Pattern of the variable names.
        instead_of: A name counts only if the regular name (the pattern's first group) is not in the file as well.
        at_least: Number of names that must match.
    """

    variables: Pattern
    instead_of: bool = False
    at_least: int = Field(default=1, ge=1)
    problem: str
    remedy: str


class Marks(StrictModel):
    """Variable names that are typical of a source. Parts of a file, with fewer rows or columns, still have enough."""

    names: Pattern
    at_least: int = Field(ge=1)


class Never(StrictModel):
    """Rows that only another source's file has: with one code of a variable and none of some codes of another.

    Attributes:
        without: The rule applies only if the file has none of these variables. It then also applies if the file lacks
            `unless`.
    """

    variable: str
    code: str
    unless: str
    without: tuple[str, ...] = ()
    has: tuple[str, ...]
    what: str


class Signature(StrictModel):
    """What a file must hold to be recognized as a source. Names are compared without regard to case.

    The conditions hold for a producer's whole file and for each part of it (one country's file, a file with columns
    left out). What only the whole file has, such as the variable of the wave, is not a condition.

    Attributes:
        requires: Variables that must all be in the file.
        some_of: Groups of variables; at least one of each group must be in the file.
        marks: Typical names, of which some must be in the file.
        years: First and last year of the fieldwork. Checked if the file has no variable of `codes` or of the wave:
            another year means another source.
        never: Rows that mean another source.
        forbids: Variables that must not be in the file.
        labels: Variable → pattern that its label must match, if the file has labels.
        value_labels: Variable → code → pattern that the code's label must match, if the file has value labels.
        codes: Variable → the only codes that it may have, if the file has the variable.
        refuse: Variants that are refused.
        with_codes: Which of the producer's versions of a file has codes and not words, for the message.
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
    with_codes: str | None = None

    @model_validator(mode="after")
    def _some_names(self) -> Signature:
        if not (self.requires or self.some_of or self.marks):
            raise ValueError(
                "give requires, some_of or marks: without them every file would be recognized as the source"
            )
        return self


class WaveRule(StrictModel):
    """How a file is split into waves: it is one constant wave, or a variable's codes tell them apart.

    Attributes:
        constant: Name of the wave (the part after the survey's name), if a file is one wave.
        variable: Variables whose codes tell the waves apart. The first one in the file is used.
        names: Code → name of the wave. A code that is not listed is its own name, unless `only_named` is set.
        only_named: A code that is not in `names` is an error.
        last_digit: Variables whose code ends in the wave's code (8407: country 840, wave 7), used if the file has none
            of `variable`.
        fieldwork: Wave → first and last year of its fieldwork, used if the file has neither. A year that belongs to two
            waves, or to none, is an error. If the file has one of them but most years of a wave lie outside, the file
            is another source's.
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
    """Where the country is: a constant alpha-3 code, or a variable.

    Attributes:
        variable: Variables, tried in order; the first that names a country in every row is used. Its codes are ISO
            3166-1 numeric (with or without leading zeros), alpha-2 or alpha-3.
        cow: Variables with codes of the Correlates of War project (numbers or letters), tried after `variable`. Their
            AUS is Austria.
        other: Further code → alpha-3. Codes that many surveys share (909, 915) are in `core/countries.py`.
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
        variables: Candidate keys, tried in order. A candidate is used if all its variables are in the file, have no
            empty cells or missing codes, and tell the respondents apart. An empty candidate means that the file has no
            key: the content of the row is used instead, and the keys are flagged as unstable.
        duplicates: Key that the producer is known to repeat → reason.
        repeats: Name of a wave in which keys are known to repeat → reason. Repeated keys are then a warning.
    """

    variables: tuple[tuple[str, ...], ...]
    duplicates: dict[str, str] = Field(default_factory=dict)
    repeats: dict[str, str] = Field(default_factory=dict)


class Weight(StrictModel):
    """A survey weight: its variable, its purpose, and the names of the waves that it is for; empty means all waves."""

    variable: str
    purpose: Literal["respondent", "nonresponse", "equal_size", "population"] = "respondent"
    waves: tuple[str, ...] = ()
    note: str | None = None


class Convention(StrictModel):
    """How a codebook marks missing answers.

    Attributes:
        codes: Code → kind of missing answer. Tagged missing codes are written as .d.
        declared_only: In a file that declares missing codes, the codes of a variable without labels are missing only if
            they are declared. If false, the codes of `codes` are missing in every variable.
        labels: Pattern of a label → kind of a code that is missing; the first match counts. For tagged codes it comes
            before `codes`, because their letters changed meaning between releases.
        doubtful: Tags that some release used for categories. If their label does not say that they are missing, they
            are categories, whatever `codes` says.
        value_labels: Pattern of a whole label → kind, for codes that are not declared as missing but labelled so.
        exempt: Variables in which the codes of `codes` are values.
        values: Variable → codes of `codes` that are values in it, whatever the file declares.
        system: Kind of an empty cell.
        by_design: Variables of a split design (ballot, form). If every respondent in a cell of the design has the
            not-applicable code, the question was not asked in that cell.
        by_code: Variable → its code → missing code → kind, for codes that mean different things in parts of the file.
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
        raise ValueError("the address has a user name or password; download such a source by hand")
    return text


WebAddress = Annotated[str, AfterValidator(_is_address)]


class Address(StrictModel):
    """An address that shows whether a source has a new release: a file, or a page that lists releases.

    Attributes:
        file: Address of the file. A change shows in its ETag, its modification time or its length.
        page: Address of a page that lists releases.
        release: Pattern that finds the releases on the page; its group `version` is the name of the release.
        save_as: Name of the file in the survey folder; null means the last part of the address.
        sha256: SHA-256 of the file, if it is known beforehand. Any other content is refused.
        get_from: Where a person gets the file, for the message; null means this address.
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
            raise ValueError("`release` is needed for a page, and only for a page")
        if self.release is not None and "version" not in re.compile(self.release).groupindex:
            raise ValueError("the pattern `release` needs a group (?P<version>…)")
        return self

    @property
    def url(self) -> str:
        """The address to query."""
        return str(self.file or self.page)


class Studies(StrictModel):
    """The studies that a pooled file is made of: the variable that tells them apart, and code → name of the study."""

    variable: str
    codes: dict[str, str]


class PartOf(StrictModel):
    """The pooled file of another source that holds the same people, as one of its studies."""

    codebook: str
    study: str


class Source(StrictModel):
    """One survey source.

    Attributes:
        codebook: Codebook that the files follow, and name of the record.
        family: Name of the survey in wave keys.
        lineage: Scope of the respondents' keys: part of the hash that makes every respondent id.
        precedence: If several sources hold a wave, the one with the lowest number gives the respondents; the others
            serve as checks.
        acknowledge: Why the source is closed until the user states a permission; null means that it is open.
        crosswalk: Whether the variables are harmonized. If not, `note` gives the reason.
        missing: How missing answers are marked: the name of a convention in `missing.yaml`, or the convention itself.
        column_suffix: Suffix of harmonized columns that are not pooled; null means `family`.
        dictionary_of: Codebook that shares its dictionary with this one: pooled rows of concepts apply to both.
        reference: Every concept of the package has a row for this codebook, if only one that says why it has nothing.
        concepts: Concept → its row for this codebook, in the format of `sources` in a concept's file. Such a row
            replaces those in the concept's file.
        studies: The studies that the file pools.
        part_of: The pooled file that holds the same people.
        exact_weights: Whether weights sum to the number of respondents in each country; or the studies in which they
            do.
        watch: Addresses that show new releases.
        download: The producer allows programs to download the file: a new release is fetched, not only reported.
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
    # The first of these that is a year in every row is used. A number that ends in a year counts as a year.
    year: tuple[str, ...] = Field(min_length=1)
    dates: tuple[str, ...] = ()  # numbers that begin with the year (20181203, 201812), tried after `year`
    version: tuple[str, ...] = ()
    doi: tuple[str, ...] = ()
    weights: tuple[Weight, ...] = ()
    not_weights: tuple[str, ...] = ()
    stratum: tuple[str, ...] = ()
    psu: tuple[str, ...] = ()
    missing: str | Convention
    column_suffix: str | None = None
    dictionary_of: str | None = None
    reference: bool = False
    concepts: dict[str, dict[str, Any]] = Field(default_factory=dict)
    studies: Studies | None = None
    part_of: PartOf | None = None
    exact_weights: bool | tuple[str, ...] = False
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
    """The user's decisions about a source: whether to use it, by which permission, and where its personas may go.

    Attributes:
        use: Whether waves of the source take part.
        acknowledged: For a closed source: who permitted what, and when. It is kept with the release.
        data_use: `any`: personas may be sent to any endpoint; `local_only`: to models on this machine, and to those
            marked as trusted; null means as the source's record says.
        watch: Addresses to query for new releases, instead of the source's own; empty means none.
        download: Whether a new release may be downloaded; null means as the source's record says.
        accept: Release id → why this release may differ from the one before by more than the checks allow.
    """

    use: bool = True
    acknowledged: str | None = None
    data_use: DataUse | None = None
    watch: tuple[Address, ...] | None = None
    download: bool | None = None
    accept: dict[str, str] = Field(default_factory=dict)


class SurveyConfig(StrictModel):
    """`surveys.yaml`: further survey folders, and the policy per source.

    Attributes:
        directories: Folders with survey files besides MPTA_SURVEY_DIR; relative paths start at this file's folder.
        sources: Source → what may be done with it.
    """

    directories: tuple[Path, ...] = ()
    sources: dict[str, Policy] = Field(default_factory=dict)


# Fields that recognition does not use: editing them does not make files be recognized again.
_NO_MARK = {
    "watch",
    "download",
    "column_suffix",
    "dictionary_of",
    "reference",
    "concepts",
    "studies",
    "part_of",
    "exact_weights",
}


@dataclass(frozen=True)
class SourceRegistry:
    """All sources, the missing conventions that they name, and the user's policy.

    Attributes:
        sources: Codebook → record.
        conventions: Name → convention.
        config: The user's `surveys.yaml`.
        config_file: Where it is.
        own: Codebook → record of the deployment's own, from its configuration folder.
        replaced: Codebooks whose packaged record a record of the deployment replaces, or would if it could be used.
        set_aside: Records of the deployment that are not used as they stand.
    """

    sources: Mapping[str, Source]
    conventions: Mapping[str, Convention]
    config: SurveyConfig = field(default_factory=SurveyConfig)
    config_file: Path | None = None
    own: Mapping[str, OwnRecord[Source]] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()
    set_aside: tuple[SetAside, ...] = ()

    def __iter__(self) -> Iterator[Source]:
        return iter(self.sources.values())

    def __contains__(self, codebook: object) -> bool:
        return codebook in self.sources

    def __getitem__(self, codebook: str) -> Source:
        return self.sources[codebook]

    def convention(self, source: Source) -> Convention:
        """The missing convention of a source."""
        return source.missing if isinstance(source.missing, Convention) else self.conventions[source.missing]

    def record_version(self, codebook: str) -> str:
        """Version of what reading and harmonizing take from a source's record; empty if there is no such source."""
        if codebook not in self.sources:
            return ""
        source = self.sources[codebook]
        # The crosswalk's version covers the rows of concepts.
        record = source.model_dump_json(exclude={"watch", "download", "concepts"})
        return digest(record, self.convention(source).model_dump_json())

    def data_use(self, source: Source) -> DataUse:
        """Where personas of the source may be sent: as the user says, else the source's default."""
        policy = self.config.sources.get(source.codebook, Policy())
        return policy.data_use or source.data_use

    @property
    def permitted(self) -> dict[str, DataUse]:
        """Source → where its personas may be sent today. Those of a closed or disabled source stay on this machine."""
        return {s.codebook: "local_only" if self.closed(s) else self.data_use(s) for s in self}

    def addresses(self, source: Source) -> tuple[Address, ...]:
        """The addresses that show new releases of a source: the user's, else those of its record."""
        own = self.config.sources.get(source.codebook, Policy()).watch
        return source.watch if own is None else own

    def may_download(self, source: Source) -> bool:
        """Whether a new release is fetched: as the user says, else as the record says. Never for a closed source."""
        own = self.config.sources.get(source.codebook, Policy()).download
        return self.closed(source) is None and (source.download if own is None else own)

    def accepted(self, codebook: str, release_id: str) -> str | None:
        """The user's reason why a release may differ much from the one before; None if there is none."""
        return self.config.sources.get(codebook, Policy()).accept.get(release_id)

    def closed(self, source: Source) -> PolicyError | None:
        """Why the source may not be used, with the remedy; None if it may."""
        policy = self.config.sources.get(source.codebook, Policy())
        where = self.config_file or Path("surveys.yaml")
        if source.codebook in self.replaced and source.codebook not in self.own:
            broken = next(one for one in self.set_aside if one.file.stem == source.codebook)
            return PolicyError(
                f"The source {source.codebook} is closed: its record in the configuration folder is invalid, and "
                "could be stricter than the packaged one",
                file=broken.file,
                remedy="correct that record, or remove it to use the packaged one",
            )
        if not policy.use:
            return PolicyError(
                f"The source {source.codebook} is disabled",
                file=where,
                variable=f"sources.{source.codebook}.use",
                remedy="set it to true to use the source",
            )
        if source.acknowledge and not (policy.acknowledged or "").strip():
            return PolicyError(
                f"The source {source.codebook} is closed: {' '.join(source.acknowledge.split()).rstrip('.')}",
                file=where,
                variable=f"sources.{source.codebook}.acknowledged",
                remedy="if you hold that permission, state there who gave it, for what and when, and run again",
            )
        return None

    @cached_property
    def digest(self) -> str:
        """Version of everything that recognition depends on. The user's policy is not part of it."""
        return digest(
            *(s.model_dump_json(exclude=_NO_MARK) for s in self.sources.values()),
            *(f"{name}{c.model_dump_json()}" for name, c in self.conventions.items()),
        )


def load_sources(config: Path | None = None, *, kept: Path | None = None) -> SourceRegistry:
    """Read the packaged source records, the deployment's own, and the user's `surveys.yaml`.

    Records of the deployment are in the folder `sources/` beside `surveys.yaml`, one file `<codebook>.yaml` each;
    `missing.yaml` there holds further conventions for missing answers. A record replaces the packaged one of the same
    name. An invalid record is set aside and does not affect the others.

    Args:
        config: The user's file; null for `surveys.yaml` in the configuration folder, which may be absent.
        kept: Folder of the deployment's own records as they were last read.

    Raises:
        ConfigError: A packaged record or `surveys.yaml` is not valid, or `surveys.yaml` names an unknown source.
    """
    path = config or config_dir() / "surveys.yaml"
    packaged = packaged_sources()
    conventions, wrong = _own_conventions(path.parent / "sources", packaged.conventions)
    own, aside = read_own(
        path.parent / "sources", lambda text, file: _own_source(text, file, conventions), kept=kept, skip=_MISSING_FILE
    )
    sources = {**packaged.sources, **{name: record.record for name, record in own.items()}}
    named = {*own, *(one.file.stem for one in aside)}
    registry = SourceRegistry(
        sources,
        conventions,
        own=own,
        replaced=frozenset(named & packaged.sources.keys()),
        set_aside=(*wrong, *aside),
    )
    if config is None and not path.exists():
        return registry
    settings = validated(SurveyConfig, read_yaml(path) or {}, _INVALID, file=path)
    if unknown := sorted(set(settings.sources) - set(sources) - named):
        raise ConfigError(
            "The configuration names a source that does not exist",
            file=path,
            variable=f"sources.{unknown[0]}",
            remedy=f"use one of {', '.join(sources)}",
        )
    settings = settings.model_copy(
        update={"directories": tuple((path.parent / d).resolve() for d in settings.directories)}
    )
    return replace(registry, config=settings, config_file=path)


@cache
def packaged_sources() -> SourceRegistry:
    """The sources of the package, without any deployment's records or policy.

    Raises:
        ConfigError: A record is not valid.
    """
    files = sorted(_PACKAGED.glob("*.yaml"))
    conventions = _conventions((_PACKAGED / _MISSING_FILE).read_text(encoding="utf-8"), _PACKAGED / _MISSING_FILE)
    sources = [
        _source(path.read_text(encoding="utf-8"), path, conventions) for path in files if path.name != _MISSING_FILE
    ]
    return SourceRegistry({source.codebook: source for source in sources}, conventions)


def _own_source(text: str, file: Path, conventions: Mapping[str, Convention]) -> Source:
    source = _source(text, file, conventions)
    if source.codebook != file.stem:
        raise ConfigError(
            "A source's record must be named after its codebook",
            file=file,
            variable="codebook",
            value=source.codebook,
            remedy=f"name the file {source.codebook}.yaml",
        )
    return source


def _source(text: str, file: Path, conventions: Mapping[str, Convention]) -> Source:
    source = validated(Source, parse_record(text, file, "A source's record"), _INVALID, file=file)
    if isinstance(source.missing, str) and source.missing not in conventions:
        raise ConfigError(
            "A source names a missing convention that does not exist",
            file=file,
            variable="missing",
            value=source.missing,
            remedy=f"use one of {', '.join(sorted(conventions))}, or write the convention itself there",
        )
    return source


def _conventions(text: str, file: Path) -> dict[str, Convention]:
    raw = parse_record(text, file, "The file of missing conventions") or {}
    return {
        str(name): validated(Convention, value, _INVALID, file=file, key=str(name)) for name, value in dict(raw).items()
    }


def _own_conventions(
    folder: Path, packaged: Mapping[str, Convention]
) -> tuple[dict[str, Convention], tuple[SetAside, ...]]:
    path = folder / _MISSING_FILE
    if not path.exists():
        return dict(packaged), ()
    try:
        return {**packaged, **_conventions(path.read_text(encoding="utf-8"), path)}, ()
    except (MptaError, OSError, ValueError) as failure:
        return dict(packaged), (SetAside(path, str(failure)),)
