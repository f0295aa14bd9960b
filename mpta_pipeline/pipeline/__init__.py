"""The domain composed into one graph of stored tables, without Dagster."""
