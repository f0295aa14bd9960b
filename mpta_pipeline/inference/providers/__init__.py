"""The providers, one file each: a file's name is the provider's name in `models.yaml`. See `base.py`."""
