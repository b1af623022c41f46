"""Our side of Dask: the client, the embedded cluster, the placing of runners."""
