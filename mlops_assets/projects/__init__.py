"""The shipped projects: each is a `defs.yaml`, a `source.py` and its data."""
