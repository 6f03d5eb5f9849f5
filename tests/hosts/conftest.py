"""Keeps pytest out of this folder: each script needs an environment of its own, made by `run.py`."""

collect_ignore_glob = ["*.py"]
