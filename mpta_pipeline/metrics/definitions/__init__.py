"""The metrics, one file a family; each file lists its records in `METRICS`."""
