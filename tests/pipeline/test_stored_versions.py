"""Protects tables of which only some partitions were stored by this version: `mpta run --models` makes such."""

import polars as pl
import pytest

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.tables import SCORES
from mpta_pipeline.pipeline.stored import concatenated


def test_a_column_that_an_earlier_version_did_not_store_is_null():
    now = SCORES.empty().clear(1).with_columns(pl.lit(0.5).alias("scale_place"))
    earlier = now.drop("scale_place", "scale_reversed")
    both = concatenated("scores", [earlier, now])
    assert set(both.columns) == set(now.columns)
    assert both["scale_place"].to_list() == [None, 0.5]


def test_without_a_column_that_is_needed_the_remedy_is_named():
    now = SCORES.empty().clear(1)
    with pytest.raises(ValidationError, match="without --models") as raised:
        concatenated("scores", [now.drop("scoring"), now])
    assert "scoring" in str(raised.value)
