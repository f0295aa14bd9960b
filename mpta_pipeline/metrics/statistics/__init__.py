"""Compute errors, intervals and tests. These modules do not depend on surveys or models."""
