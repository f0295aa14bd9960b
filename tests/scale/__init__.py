"""Proofs that the pipeline runs out of one machine, each with the service started by the test itself."""
