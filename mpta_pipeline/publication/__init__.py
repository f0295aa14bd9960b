"""What leaves the pipeline: the DuckDB warehouse, traces, withdrawals."""
