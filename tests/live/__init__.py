"""Proofs under a live `dagster dev`: `python -m tests.live.automation`."""
