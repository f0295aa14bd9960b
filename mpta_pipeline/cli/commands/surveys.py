"""`mpta surveys` and `mpta describe`: what survey files are, and a file described without its respondents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.labels import some
from mpta_pipeline.cli.result import Result
from mpta_pipeline.core.errors import ConfigError, MptaError

if TYPE_CHECKING:
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.surveys import FileState


@command(
    Group.INPUTS,
    examples=[
        "mpta surveys",
        "mpta surveys ~/Downloads/gss7224_r1.sav  # one file, before you drop it into the survey folder",
        "mpta surveys file.sav --explain  # why a file is not recognized",
    ],
)
def surveys(
    file: Annotated[Path | None, typer.Argument(help="One file, anywhere; default: all of the survey folder.")] = None,
    *,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show per source which conditions the file does not meet.")
    ] = False,
) -> Result:
    """Show what survey files are: source, release, rows, licence, and whether they are used."""
    from mpta_pipeline import surveys
    from mpta_pipeline.cli import study_state
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    if explain:
        if file is None:
            raise ConfigError("--explain needs a file", variable="FILE", remedy="name it: mpta surveys FILE --explain")
        return _explanation(file, deployment)
    if file is None:
        states = surveys.scan(surveys.folders(deployment.layout, deployment.sources), deployment.sources)
    else:
        states = [surveys.look_at(file, deployment.sources)]
    result = Result()
    study_state.add_own_records(result, deployment)
    if not states:
        result.table("files", [], shown=())
        result.info(f"There is no survey file in {deployment.layout.surveys}. Drop one there, or run `mpta demo`.")
        return result
    _add_files(result, states, deployment)
    if file is None:
        study_state.add_reading_notes(result, deployment)
        study_state.add_held(result, deployment)
        study_state.add_set_aside(result, deployment)
    return result


def _add_files(result: Result, states: list[FileState], deployment: Deployment) -> None:
    """Add what the files are, which wave each provides, and what is wrong with them."""
    from mpta_pipeline import surveys
    from mpta_pipeline.core.untrusted_text import one_line
    from mpta_pipeline.pipeline.held_releases import held_releases

    roles = {(found.wave, found.state.path): found for found in surveys.assign(states)}
    held = {one.facts["held"] for one in held_releases(deployment)}
    rows: list[dict[str, Any]] = [
        {
            "file": state.path.name,
            "recognized as": state.recognition.codebook,
            # Without a version stamp, the first digits of its SHA-256 tell a file from others.
            "release": state.recognition.version or (state.sha256 or "")[:7],
            "wave": wave,
            "rows": part.rows,
            "countries": list(part.countries),
            "years": list(part.years),
            "weight": part.weight or "none",
            "state": "held"
            if surveys.release_id(wave, state.sha256 or "") in held
            else (roles[wave, state.path].role if (wave, state.path) in roles else state.status).replace("_", " "),
        }
        for state in states
        if state.recognition is not None
        for wave, part in state.recognition.parts.items()
    ]
    shown = [row | {"countries": some(row["countries"]), "years": some(map(str, row["years"]))} for row in rows]
    result.table("files", rows, shown=shown)
    for source in {s.recognition.codebook: s.recognition.source for s in states if s.recognition}.values():
        reach = "any model" if deployment.sources.data_use(source) == "any" else "models on this machine only"
        result.note(f"{source.licence} Personas may be sent to: {reach}.", subject=source.codebook)
        if not source.crosswalk and source.note:
            result.note(" ".join(source.note.split()), subject=f"{source.codebook} is not harmonized")
    waves = [found.wave for found in roles.values()]
    for found in roles.values():
        if waves.count(found.wave) > 1:
            result.note(f"{found.wave} {found.role}: {found.reason}", subject=one_line(found.state.path.name))
    for state in states:
        if state.recognition is not None and state.recognition.notes:
            result.info(f"{'; '.join(state.recognition.notes)}.", subject=one_line(state.path.name))
        if state.problem:
            result.warning(state.problem, subject=one_line(state.path.name))
    result.facts["problems"] = {one_line(state.path.name): state.problem for state in states if state.problem}


def _explanation(file: Path, deployment: Deployment) -> Result:
    """How near a file is to each source."""
    from mpta_pipeline import surveys

    verdicts = surveys.explain(file, deployment.sources)
    result = Result()
    try:
        found = surveys.recognize(file, deployment.sources)
        result.info(f"The file is recognized as {found.codebook}: {', '.join(found.waves)}.")
    except MptaError as failure:
        result.warning(f"The file is not recognized. {failure}")
    fitting = [v for v in verdicts if not v.reasons]
    if refusal := next((deployment.sources.closed(deployment.sources[v.codebook]) for v in fitting), None):
        result.warning(str(refusal))
    rows = [
        {
            "source": v.codebook,
            "conditions met": v.conditions - len(v.reasons),
            "conditions": v.conditions,
            "what is missing": list(v.reasons),
        }
        for v in verdicts
    ]
    shown = [
        {
            "source": v.codebook,
            "conditions met": f"{v.conditions - len(v.reasons)} of {v.conditions}",
            "what is missing": "; ".join(v.reasons[:6]) + (f"; {len(v.reasons) - 6} more" if len(v.reasons) > 6 else "")
            or "nothing",
        }
        for v in verdicts
    ]
    result.table("sources", rows, title="How near the file is to each source", shown=shown)
    return result


@command(
    Group.INPUTS,
    examples=[
        "mpta describe file.sav  # writes file.sav.json.gz into this folder",
        "mpta describe file.sav description.json.gz",
    ],
)
def describe(
    file: Annotated[Path, typer.Argument(help="A survey file.")],
    target: Annotated[
        Path | None, typer.Argument(help="Where to write; default: the file's name with .json.gz, in this folder.")
    ] = None,
) -> Result:
    """Describe a survey file without its respondents, to attach to a bug report or to make a test from.

    The description holds variables, labels, storage types and how often each code occurs (counts below five as 1-4),
    with what the crosswalk makes of each variable.
    """
    from mpta_pipeline import harmonize, surveys
    from mpta_pipeline.core.storage import Layout, scratch
    from mpta_pipeline.pipeline.deployment import Deployment

    result = Result()
    described = surveys.describe_file(file)
    deployment: Deployment | None
    try:
        deployment = Deployment.from_env()
        registry = deployment.sources
    except MptaError:  # a description needs no configuration
        deployment, registry = None, surveys.load_sources()
    by_name = {entry["name"].lower(): entry for entry in described["variables"]}
    try:
        found = surveys.recognize(file, registry)
        described["recognized"] = {"source": found.codebook, "waves": list(found.waves), "version": found.version}
        crosswalk = harmonize.load_crosswalk() if deployment is None else deployment.crosswalk
        with scratch() as folder:
            for wave in found.waves:
                raw = surveys.ingest(file, wave, Layout(folder), registry)
                for name, state in harmonize.variable_states(raw, crosswalk).items():
                    by_name[name.lower()].setdefault("crosswalk", {})[wave] = state
    except MptaError as failure:
        described["not_read"] = failure.problem
        result.warning(f"The file cannot be read as a survey wave: {failure.problem}")
        described["sources"] = [
            {"source": v.codebook, "met": v.conditions - len(v.reasons), "of": v.conditions, "missing": list(v.reasons)}
            for v in surveys.explain(file, registry)
        ]
    path = surveys.write_description(described, target or Path(f"{file.name}.json.gz"))
    counts = _states(described)
    told = ", ".join(f"{n:,} {state}" for state, n in sorted(counts.items()))
    result.info(f"{described['rows']:,} rows, {described['columns']:,} variables" + (f": {told}" if told else ""))
    for entry in described["variables"]:
        by_wave = entry.get("crosswalk", {}).values()
        why = dict.fromkeys(w for found in by_wave if found["state"] == "set aside" for w in found["why"])
        if why:
            result.info("; ".join(why), subject=f"  set aside {entry['name']}")
    result.info(f"{path} holds no respondent, and counts below five are masked. You can attach it to a bug report.")
    result.facts |= {
        "path": str(path), "rows": described["rows"], "columns": described["columns"], "variables": counts
    }  # fmt: skip
    return result


def _states(described: dict[str, Any]) -> dict[str, int]:
    """How many variables the crosswalk sets aside, matches, takes as ids, or does not know."""
    counts: dict[str, int] = {}
    for entry in described["variables"]:
        states = {found["state"] for found in entry.get("crosswalk", {}).values()}
        best = next((s for s in ("set aside", "matched", "identity", "unknown") if s in states), None)
        if best is not None:
            counts[best] = counts.get(best, 0) + 1
    return counts
