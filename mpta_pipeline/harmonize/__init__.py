"""Raw waves to one schema: concept files, the crosswalk compiled from them, recodes that assert labels, checks."""

from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule, load_crosswalk

__all__ = ["Crosswalk", "Rule", "load_crosswalk"]
