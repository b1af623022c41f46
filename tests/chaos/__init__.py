"""Jobs run while one thing after another is killed, stopped or cut off; then they are counted.

``make chaos`` starts a site of its own for each round: PostgreSQL, a Dask scheduler, workers and
dispatchers, each a process that is started anew when it ends, as a service of the system would be.
"""
