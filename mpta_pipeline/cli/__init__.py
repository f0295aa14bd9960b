"""The command line `mpta`: one file per command or pair of commands in `commands/`, one renderer for what they return.

Commands sit on the same assets and domain code as Dagster and hold no rule of their own.
"""

from mpta_pipeline.cli.entry_point import app, main

__all__ = ["app", "main"]
