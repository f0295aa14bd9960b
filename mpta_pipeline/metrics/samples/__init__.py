"""From scores to the samples that estimators read: balanced answers, groups, item features."""
