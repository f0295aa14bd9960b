"""Errors, intervals and tests; nothing here knows surveys or models."""
