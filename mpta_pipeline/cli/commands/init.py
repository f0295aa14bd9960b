"""`mpta init`: write the configuration files that do not exist yet."""

from __future__ import annotations

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result


@command(Group.START, examples=["mpta init", "MPTA_CONFIG_DIR=my-study mpta init  # in a folder of your choice"])
def init() -> Result:
    """Write configuration files for you to edit: study, models, surveys, Dagster's settings. Existing ones stay."""
    import shutil

    from mpta_pipeline.core.configuration import config_dir, templates

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
    result.facts["files"] = files
    result.info(
        "Next: `mpta doctor` checks the deployment, `mpta demo` shows the pipeline at work, `mpta run` runs your study."
    )
    return result
