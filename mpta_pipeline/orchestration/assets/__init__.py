"""Assets, made from the declarations of the graph; what each one shows in the UI is in `previews.py`."""
