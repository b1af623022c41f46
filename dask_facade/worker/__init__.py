"""What runs on a Dask worker. Nothing here imports Django at module level."""
