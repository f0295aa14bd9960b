"""Read which harmonized value an option's text means."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.personas.wording import as_option


def values_by_text(options: pl.DataFrame) -> dict[str, str]:
    """Code, text, short text or value of each option (`plain`) → its harmonized value.

    Args:
        options: OPTIONS rows of one column and codebook.
    """
    short = options.with_columns(as_option(pl.col("text")).alias("short"))
    return {
        plain(str(text)): str(value)
        for source in ("code", "text", "short", "value")
        for text, value in short.select(source, pl.col("value").alias("of")).iter_rows()
        if text is not None
    }


def plain(text: str) -> str:
    """A text without differences that do not change which option is meant."""
    return " ".join(text.lower().split()).strip(" .?!")
