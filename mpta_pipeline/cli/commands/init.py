"""`mpta init`: write the configuration files that do not exist yet, or a study to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result

if TYPE_CHECKING:
    from mpta_pipeline.core.published_figures import NeededFile
    from mpta_pipeline.core.ready_studies import ReadyStudy


@command(
    Group.START,
    examples=[
        "mpta init",
        "MPTA_CONFIG_DIR=my-study mpta init  # in a folder of your choice",
        "mpta init --studies  # published designs to start from",
        "mpta init --study group-distributions my-study  # one of them, complete, into the folder my-study",
    ],
)
def init(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder to write to; default: MPTA_CONFIG_DIR, or dagster_home/.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Start from a published design, by its name in `mpta init --studies`.")
    ] = None,
    studies: Annotated[
        bool, typer.Option("--studies", help="List the published designs to start from; write nothing.")
    ] = False,
    extracts: Annotated[
        bool,
        typer.Option("--extracts", help="With --study: also write the small real survey extracts that it can run on."),
    ] = False,
) -> Result:
    """Write configuration files for you to edit: study, models, surveys, Dagster's settings. Existing ones stay.

    Beside them it writes their JSON schemas, which editors use to complete keys and to mark mistakes, anew each time.
    With --study, the files are those of a published design, with its estimates to compare yours with; a folder that has
    one of the files already is left as it is.
    """
    from mpta_pipeline.core.configuration import config_dir
    from mpta_pipeline.core.errors import ConfigError

    if studies:
        return _listed()
    target = config_dir() if folder is None else folder.resolve()
    if study is not None:
        return _ready(study, target, extracts=extracts)
    if extracts:
        raise ConfigError(
            "Survey extracts are written for a study to start from",
            variable="--extracts",
            remedy="name the study: `mpta init --study NAME --extracts FOLDER`",
        )
    return _templates(target)


def _templates(folder: Path) -> Result:
    """Write the project's own configuration files that are absent."""
    import shutil

    from mpta_pipeline.core.configuration import templates
    from mpta_pipeline.pipeline import configuration_schemas

    folder.mkdir(parents=True, exist_ok=True)
    result = Result()
    files = []
    for template in templates():
        target = folder / template.name
        existed = target.exists()
        if not existed:
            shutil.copyfile(template, target)
        files.append({"file": str(target), "written": not existed})
        result.info(f"{'kept as it is' if existed else 'written':13} {target}")
    files += [{"file": str(path), "written": True} for path in configuration_schemas.write(folder, folder)]
    result.info(f"{'written':13} {folder}/*.schema.json, by which editors complete and check the files above")
    result.facts["files"] = files
    result.info(
        "Next: `mpta doctor` checks the deployment, `mpta demo` shows the pipeline at work, `mpta run` runs your study."
    )
    return result


def _listed() -> Result:
    """The studies to start from: what each asks, needs and takes."""
    from mpta_pipeline.core.ready_studies import ready_studies

    result = Result()
    rows, shown = [], []
    for name, one in ready_studies().items():
        about = one.about
        rows.append(
            {
                "study": name,
                "question": about.sentence,
                "published": one.published.citation,
                "files": [f.model_dump() for f in one.published.files],
                "calls": about.calls,
                "minutes": about.minutes,
                "measured_with": about.measured_with,
                "extracts": list(about.extracts),
            }
        )
        files = "\n".join(f.file for f in one.published.files)
        shown.append(
            {
                "study": name,
                "question": about.sentence,
                "files": files,
                "embedded model": f"{about.calls:,} calls,\n{about.minutes:g} min",
            }
        )
    result.table("studies", rows, title="Studies to start from", shown=shown)
    result.info("`mpta init --study NAME FOLDER` writes one. Each runs on those of its files that are there.")
    return result


def _ready(name: str, folder: Path, *, extracts: bool) -> Result:
    """Write a study to start from, and say what it needs and what to do next."""
    from mpta_pipeline import surveys
    from mpta_pipeline.core.ready_studies import ready_studies, write
    from mpta_pipeline.core.storage import Layout
    from mpta_pipeline.pipeline import configuration_schemas

    result = Result()
    written = write(name, folder)
    for path in written:
        result.info(f"written {path}")
    schemas = configuration_schemas.write(folder, folder)
    study = ready_studies()[name]
    data = folder / "data"
    survey_folder = Layout(data).surveys
    made = []
    if extracts:
        made = surveys.write_demo_surveys(survey_folder, only=study.about.extracts) if study.about.extracts else []
        for path in made:
            result.info(f"written {path}, a small extract of real answers")
        if not made:
            result.note("No extract fits this study; it needs the files below.")
    result.facts |= {"files": [str(path) for path in (*written, *schemas, *made)], "study": name}
    rows = [_file_row(one, folder, survey_folder) for one in study.published.files]
    result.table("needs", rows, title="Files of the published study", shown=_shown(rows))
    _say_next(result, study, folder, data, survey_folder)
    return result


def _file_row(one: NeededFile, folder: Path, survey_folder: Path) -> dict[str, Any]:
    """A file that the study needs: where it belongs, and whether something is there."""
    from mpta_pipeline.core.study import load_study

    if one.survey is not None:
        return {
            "file": one.file, "put_into": str(survey_folder), "address": one.address, "note": one.note,
            "present": bool(_matching(survey_folder, one.file)),
        }  # fmt: skip
    path = load_study(folder / "study.yaml").tasks[str(one.task)].path
    place = folder if path is None else folder / path
    present = any(place.iterdir()) if place.is_dir() else place.is_file()
    return {"file": one.file, "put_into": str(place), "address": one.address, "note": one.note, "present": present}


def _matching(folder: Path, name: str) -> list[Path]:
    """Files of a survey folder with a file's name, whatever their case."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.name.casefold() == name.casefold()]


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "file": row["file"],
            "put into": row["put_into"],
            "get it from": "it is there" if row["present"] else row["address"],
        }
        for row in rows
    ]


def _say_next(result: Result, study: ReadyStudy, folder: Path, data: Path, survey_folder: Path) -> None:
    about = study.about
    result.info(
        f"Survey files go into {survey_folder}, or into the folder that MPTA_SURVEY_DIR names. The study runs on what "
        "is there: a task without its file, and a survey without a file, are named and left out."
    )
    if about.extracts:
        result.info(
            "Without any file: `mpta init --study NAME --extracts FOLDER` also writes small extracts of real answers "
            f"({', '.join(about.extracts)})."
        )
    result.info(f"Next: export MPTA_CONFIG_DIR={folder} MPTA_DATA_DIR={data}")
    result.info(
        "then `mpta run --until prompts` and `mpta plan` (no request is sent), then `mpta run`: the embedded model "
        f"takes about {about.minutes:g} minutes for {about.calls:,} calls, with {about.measured_with}. Its output and "
        "the report have the table “Published and ours”."
    )
