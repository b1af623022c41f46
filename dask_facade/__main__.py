"""``python -m dask_facade``: the command line."""

from __future__ import annotations

from dask_facade.commands.root import root


def main() -> None:
    """Run the command that the process's arguments name, and exit with its status."""
    root()


if __name__ == "__main__":
    main()
