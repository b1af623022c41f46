"""What a named job can do, and how that is kept and submitted."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dask_facade.builtin import PROCESS_RESULTS, function_at
from dask_facade.exceptions import DaskJobException, DecodeError, EncodeError
from dask_facade.graphs import Graph, is_graph, key_of, submit_all
from dask_facade.result import AsyncResult
from dask_facade.serialization import dumps, loads

STORED_LIMIT = 16 * 2**20  # bytes of a graph that is kept, to be run later or again
_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What a graph became in the ledger."""

    ledger_id: str
    results_id: str  # "" where no results function is called
    key: str
    work: bytes | None


def leaves_of(work: Any) -> list[Any] | None:
    """Return the leaves that *work* is, None where it is one graph.

    Raises DaskJobException for what no job can execute.
    """
    if isinstance(work, list | tuple):
        leaves = list(work)
        if leaves and all(map(is_graph, leaves)) and not any(map(_is_many, leaves)):
            return leaves
    elif is_graph(work):
        return None
    raise DaskJobException(
        "a job executes a Delayed, a future, a Dask collection, a dict of such, or a list of such "
        f"as its leaves; this is {_described(work)}"
    )


def _is_many(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _described(work: Any) -> str:
    kind = type(work).__name__
    if not _is_many(work):
        return f"of type {kind}"
    others = sorted({type(each).__name__ for each in work if not is_graph(each) or _is_many(each)})
    return f"a {kind} with {', '.join(others)}" if others else f"an empty {kind}"


def has_futures(work: Any) -> bool:
    """Tell whether Dask may run some of *work* already."""
    future = getattr(sys.modules.get("distributed"), "Future", ())
    members = work.values() if isinstance(work, dict) else work if _is_many(work) else [work]
    return any(isinstance(each, future) for each in members)


def stored(work: Any) -> bytes | None:
    """Return *work* as bytes; None for what is too large, or is with Dask already."""
    if has_futures(work):
        return None
    try:
        data = dumps(work)
    except EncodeError as error:
        raise DaskJobException(f"the graph cannot be sent to a worker: {error}") from error
    return data if len(data) <= STORED_LIMIT else None


def restored(data: bytes | memoryview | None) -> Any:
    """Return the graph in *data*; raise DaskJobException where it cannot be rebuilt here."""
    try:
        return loads(bytes(data or b""))
    except DecodeError as error:
        raise DaskJobException(f"its graph cannot be read: {error}") from error


def place(
    app: Any, graphs: Sequence[Graph], *, owner: str, function: str, forget: bool, scheduler: str
) -> list[Placed]:
    """Submit graphs together; part of the caller's transaction.

    *scheduler* is the address of the one that they are on; "": the dispatcher's. A results
    function, given by its path, is called with what each comes to, unless that is to be forgotten.
    Raises ClusterUnavailable, ResultLost, DaskJobException.
    """
    kept = [stored(graph.value) for graph in graphs]
    submit_all(app, graphs, owner=owner, ignore_result=forget, scheduler=scheduler)
    processes = bool(function) and not forget
    return [
        Placed(
            ledger_id=graph.id,
            results_id=process(app, function, graph.id, owner) if processes else "",
            key=str(key_of(graph)),
            work=work,
        )
        for graph, work in zip(graphs, kept, strict=True)
    ]


def process(app: Any, function: str, job_id: str, owner: str) -> str:
    """Submit the call of a results function, once that job has ended well; return its id."""
    result = AsyncResult(job_id, app=app)
    call: str = app.send_task(PROCESS_RESULTS, (function, result), user=owner or None).id
    return call


def path_of(function: Any) -> str:
    """Return the dotted path of a results function; raise ValueError where it has none."""
    if isinstance(function, str):
        if not _PATH.fullmatch(function):
            raise ValueError(f'{function!r} is no dotted path, as in "package.module.function"')
        return function
    module = getattr(function, "__module__", None)
    path = f"{module}.{getattr(function, '__qualname__', '<nameless>')}"
    try:
        is_there = module != "__main__" and "<" not in path and function_at(path) == function
    except ImportError:
        is_there = False
    if not callable(function) or not is_there:
        raise ValueError(
            f"{function!r} cannot be found by its name on a worker: a results function stands in "
            "a module, and is neither a lambda nor nested in another function"
        )
    return path
