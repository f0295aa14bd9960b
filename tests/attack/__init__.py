"""Attacks on what is promised: each one failed before the mechanism was mended."""
