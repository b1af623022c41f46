"""The ledger: the table of jobs that is the truth."""
