"""Tell the arms of an experiment apart in prompts and scores."""

from __future__ import annotations

import polars as pl


def of_control(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of prompts or scores outside treatments: without an experiment, or in its control.

    A treatment changes the question. All estimates but those of the experiment are about the question as it is.
    """
    return frame.filter(~pl.col("treated").fill_null(False)) if "treated" in frame.columns else frame
