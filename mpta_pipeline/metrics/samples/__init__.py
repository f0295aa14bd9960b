"""Turn scores into the samples that estimators read: balanced answers, groups, item features."""
