"""`mpta init`: write the configuration files that do not exist yet."""

from __future__ import annotations

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result


@command(Group.START, examples=["mpta init", "MPTA_CONFIG_DIR=my-study mpta init  # in a folder of your choice"])
def init() -> Result:
    """Write configuration files for you to edit: study, models, surveys, Dagster's settings. Existing ones stay.

    Beside them it writes their JSON schemas, which editors use to complete keys and to mark mistakes, anew each time.
    """
    import shutil

    from mpta_pipeline.core.configuration import config_dir, templates
    from mpta_pipeline.pipeline import configuration_schemas

    folder = config_dir()
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
