"""The benchmark: dask_facade beside its rivals, in one run on one machine. ``make bench``.

What makes it fair:

- Each peer computes the same values, and they are compared; for dask_facade the rows in its table
  are counted as well. A figure whose values are wrong is a failure, not a figure.
- Each peer has two worker processes of one thread each, its servers in processes of their own, and
  a client in a fresh process of its own, so that no library pays for another's imports or threads.
- Only one peer's processes exist at a time. On two cores an idle cluster is not free (Dask's
  workers sample their stacks and beat, dispatchers look at their table), and whoever has more
  processes would burden the others with them. So each round of a peer starts its servers and its
  client, warms them up with every workload in a smaller size, measures, and stops them. The
  databases, PostgreSQL and Redis, stay: idle, they do nothing.
- Rounds are interleaved: one of each peer, then the next, in an order that turns by one each time.
  So other load on the machine, which comes and goes, falls on all of them. Compare figures of one
  run only.
- A figure is the median of its rounds. The rounds themselves stand beside it.
"""
