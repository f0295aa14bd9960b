"""Publish the DuckDB warehouse, trace estimates to their sources, and process withdrawals."""
