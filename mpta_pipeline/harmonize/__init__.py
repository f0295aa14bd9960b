"""Raw waves to one schema: concept files, the crosswalk compiled from them, recodes that assert labels, checks."""

from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule, load_crosswalk
from mpta_pipeline.harmonize.recode import column_sources, harmonize, label_drift

__all__ = ["Crosswalk", "Rule", "column_sources", "harmonize", "label_drift", "load_crosswalk"]
