"""Compute the baselines of estimates: ceilings, retest accuracies and the people's own shares."""
