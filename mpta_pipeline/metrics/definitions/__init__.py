"""Define the metrics, with one file per family. Each file lists its records in `METRICS`."""
