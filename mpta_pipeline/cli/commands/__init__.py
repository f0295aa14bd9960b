'''The commands of `mpta`. Every module in this folder is imported when `mpta` starts, and registers its commands.

To add a command, add one file here (its name does not matter) and its test in `tests/cli/`:

    """`mpta waves`: the survey waves in use."""

    from __future__ import annotations

    from mpta_pipeline.cli.command import Group, command
    from mpta_pipeline.cli.result import Result


    @command(Group.INPUTS, examples=["mpta waves", "mpta waves --json"])
    def waves() -> Result:
        """List the survey waves in use."""
        import polars as pl

        from mpta_pipeline.pipeline.deployment import Deployment

        result = Result()
        result.table("waves", pl.DataFrame({"wave": list(Deployment.from_env().catalogue().waves)}))
        return result

The first line of the function's docstring is the help text, its parameters are Typer's arguments and options, and
`--json` and `--quiet` come with the result. Import polars and the domain packages inside the function: `mpta --help`
loads every module of this folder.
'''
