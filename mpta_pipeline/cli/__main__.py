"""`python -m mpta_pipeline.cli` is `mpta`."""

from mpta_pipeline.cli import main

main()
