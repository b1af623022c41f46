"""The dispatcher: the broker's body. Lines, group commits, the lease, the placing of runners."""
