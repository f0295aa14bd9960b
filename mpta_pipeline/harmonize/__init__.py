"""Harmonize raw waves to one schema: concept files, the crosswalk, recodes that assert labels, and quality checks."""

from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule, load_crosswalk
from mpta_pipeline.harmonize.harmonized_columns import trait_columns, with_option
from mpta_pipeline.harmonize.marginals import compare_marginals, read_marginals
from mpta_pipeline.harmonize.quality import AGAINST_LAST, CHANGED_SHARE, REMOVED_SHARE, check_wave, coverage
from mpta_pipeline.harmonize.recode import (
    Problem,
    column_sources,
    columns_set_aside,
    describe_set_aside,
    harmonize,
    label_drift,
)
from mpta_pipeline.harmonize.variable_states import variable_states

__all__ = [
    "AGAINST_LAST",
    "CHANGED_SHARE",
    "REMOVED_SHARE",
    "Crosswalk",
    "Problem",
    "Rule",
    "check_wave",
    "column_sources",
    "columns_set_aside",
    "compare_marginals",
    "coverage",
    "describe_set_aside",
    "harmonize",
    "label_drift",
    "load_crosswalk",
    "read_marginals",
    "trait_columns",
    "variable_states",
    "with_option",
]
