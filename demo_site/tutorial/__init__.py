"""Dask graphs and futures as named jobs, with a table of them."""
