"""Worlds with a known truth: whether intervals cover it, and pockets are found where they are and only there."""
