"""Run simulations: ``python -m dask_facade.pools --config FILE``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from dask_facade.exceptions import DaskFacadeError
from dask_facade.pools import config
from dask_facade.pools.simulation import Simulation


def main(arguments: Sequence[str]) -> int:
    """Run the simulation that each file describes; return the exit status of the process.

    With DJANGO_SETTINGS_MODULE set its jobs are in the ledger of that site.
    """
    parser = argparse.ArgumentParser(prog="python -m dask_facade.pools", description=__doc__)
    parser.add_argument(
        "--config", "--simulation", "-c", action="append", required=True, metavar="FILE",
        help="what is to run; may be said several times",
    )  # fmt: skip
    parser.add_argument("--platform", "-p", metavar="FILE", help="what a node has")
    parser.add_argument("--log", "-l", metavar="FILE", help="also log there")
    parser.add_argument("--debug", "-d", action="store_true", help="log more")
    parser.add_argument("--verbose", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args(arguments)
    handler = logging.FileHandler(said.log) if said.log else logging.StreamHandler()
    handler.setLevel(logging.NOTSET if said.log or said.debug else logging.WARNING)
    words = "%(asctime)s %(name)s %(levelname)-8s %(message)s"
    logging.basicConfig(handlers=[handler], level=logging.WARNING, format=words)
    if said.debug:
        logging.getLogger("dask_facade").setLevel(logging.DEBUG)
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        import django

        django.setup()
    environ = {**os.environ, "PWD": os.getcwd()}
    try:
        platform = config.read(said.platform, environ) if said.platform else {}
        for path in said.config:
            Simulation(config.read(path, environ), platform).run()
    except DaskFacadeError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
