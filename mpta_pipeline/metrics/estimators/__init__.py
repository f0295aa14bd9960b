"""Turn samples into rows of estimates: one file per kind of statistic."""
