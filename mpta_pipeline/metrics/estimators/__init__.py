"""Rows of estimates, one file per kind of statistic."""
