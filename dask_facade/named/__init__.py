"""Named jobs: what people call a Dask graph or future that is a job, and how they steer it."""
