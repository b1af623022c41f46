"""The command line: ``python -m dask_facade -A proj ...``, a few commands in each module."""
