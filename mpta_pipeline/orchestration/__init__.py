"""Dagster's side of the house: wiring, never domain logic."""
