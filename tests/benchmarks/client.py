"""A peer's client: a process of its own that runs workloads as it is told.

Lines of JSON: in comes ``{"workload": name, "size": number}``, out goes ``{"figures": {...}}``,
``{"lacks": reason}`` or ``{"error": reason}``. It ends when its input does.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from typing import Any

from tests.benchmarks.workloads import WrongResult


def main(site: str) -> None:
    """Answer requests on the peer whose module is *site*."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed must not get between
    client = importlib.import_module(site).open_client()
    for line in sys.stdin:
        answers.write(json.dumps(_answer(client, json.loads(line))) + "\n")
        answers.flush()


def _answer(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    workload = getattr(client, request["workload"], None)
    if workload is None:
        return {"lacks": client.lacks[request["workload"]]}
    try:
        before = client.succeeded()
        measured = workload(request["size"])
        if before is not None:
            _compare(client.succeeded() - before, measured.jobs)
    except Exception as error:  # whatever a peer raises is its answer
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    return {"figures": measured.figures}


def _compare(succeeded: int, submitted: int) -> None:
    if succeeded != submitted:
        raise WrongResult(f"{succeeded:,} of {submitted:,} jobs are known to have succeeded")


if __name__ == "__main__":
    main(sys.argv[1])
