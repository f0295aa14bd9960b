"""Compute rows of estimates from samples, with one file per type of statistic."""
