"""Tell the arms of an experiment apart in prompts and scores, and word its items as the control does."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.study import Study


def of_control(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of prompts or scores outside treatments: without an experiment, or in its control.

    A treatment changes the question. All estimates but those of the experiment are about the question as it is.
    """
    return frame.filter(~pl.col("treated").fill_null(False)) if "treated" in frame.columns else frame


def as_the_control(items: pl.DataFrame, study: Study) -> pl.DataFrame:
    """The items with the control's texts in place of the fields that the arms fill."""
    for task, config in study.tasks.items():
        control = config.arms.get(config.control_arm or "")
        for name, text in () if control is None else control.fields.items():
            mark, mine = "{{" + name + "}}", pl.col("task") == task
            worded = {
                column: pl.col(column).str.replace_all(mark, text, literal=True)
                for column in ("context", "question", "statement", "stem", "label")
                if items.schema.get(column) == pl.String
            }
            if "options" in items.columns:
                of_options = pl.element().str.replace_all(mark, text, literal=True)
                worded["options"] = pl.col("options").list.eval(of_options)
            items = items.with_columns(
                pl.when(mine).then(new).otherwise(pl.col(column)).alias(column) for column, new in worded.items()
            )
    return items
