"""The tasks that are always there: what Celery has of its own, and what stands for a canvas."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from dask_facade.canvas import Signature
from dask_facade.errbacks import ERRBACK
from dask_facade.making import make_task

PROCESS_RESULTS = "dask_facade.process_results"


def accumulate(*args: Any, index: int | None = None) -> Any:
    """Return the arguments, or the one at *index*: what `Task.replace` makes of a group."""
    return args if index is None else args[index]


def apply_to_each(task: Any, it: Iterable[Any]) -> list[Any]:
    """Return what a task returns for each of *it*."""
    called = Signature.from_dict(task)
    return [called.type(*called.args, each, **called.kwargs) for each in it]


def apply_to_all(task: Any, it: Iterable[Iterable[Any]]) -> list[Any]:
    """Return what a task returns for the arguments in each of *it*."""
    called = Signature.from_dict(task)
    return [called.type(*called.args, *each, **called.kwargs) for each in it]


def submit_errback(request: Any, exc: Any, traceback: Any, signature: Any) -> None:
    """Submit an error callback that is a canvas, with the id of the job that failed."""
    Signature.from_dict(signature).apply_async((request.id,))


def process_results(path: str, result: Any) -> Any:
    """Return what a results function, given by its dotted path, makes of a named job's result."""
    return function_at(path)(result)


def function_at(path: str) -> Any:
    """Return what stands at a dotted path; raise ImportError where nothing does.

    What comes after the module may be nested, as in "module.Class.method".
    """
    module, names = path, list[str]()
    while "." in module:
        module, _, name = module.rpartition(".")
        names.insert(0, name)
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise  # it is there, and imports what is not
            continue
        for name in names:
            if not hasattr(found, name):
                raise ImportError(f"nothing stands at {path!r}: {found!r} has no {name!r}")
            found = getattr(found, name)
        return found
    raise ImportError(f"nothing stands at {path!r}")


def backend_cleanup() -> None:
    """Do nothing: the dispatcher prunes what has expired."""


make_task(accumulate, "", {"name": "celery.accumulate"})
make_task(apply_to_each, "", {"name": "celery.map"})
make_task(apply_to_all, "", {"name": "celery.starmap"})
make_task(process_results, "", {"name": PROCESS_RESULTS, "acks_late": False})
make_task(backend_cleanup, "", {"name": "celery.backend_cleanup", "ignore_result": True})
make_task(submit_errback, "", {"name": ERRBACK, "ignore_result": True})
