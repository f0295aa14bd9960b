"""Turn raw waves into harmonized ones: decode codes by their labels, and set doubtful ones aside."""

from mpta_pipeline.harmonize.recode.codes import CODE_SUFFIX, MISSING_SUFFIX, TOLERANCE
from mpta_pipeline.harmonize.recode.problems import Problem, describe_set_aside
from mpta_pipeline.harmonize.recode.wave import (
    MAX_SET_ASIDE,
    column_sources,
    columns_set_aside,
    harmonize,
    label_drift,
)

__all__ = [
    "CODE_SUFFIX",
    "MAX_SET_ASIDE",
    "MISSING_SUFFIX",
    "TOLERANCE",
    "Problem",
    "column_sources",
    "columns_set_aside",
    "describe_set_aside",
    "harmonize",
    "label_drift",
]
