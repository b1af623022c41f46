"""What a worker of a test needs to know of the app that its process had no part in making."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cloudpickle

from dask_facade.app import Celery
from dask_facade.contrib.testing import tasks as test_tasks
from dask_facade.exceptions import EncodeError
from dask_facade.registry import tasks
from dask_facade.serialization import dumps
from dask_facade.task import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beginning:
    """Called on a worker: makes an app like the test's, and registers its tasks."""

    main: str
    settings: Mapping[str, Any]
    modules: tuple[str, ...]
    tasks: tuple[bytes, ...]  # pickles of tasks that are not found by importing

    def __call__(self) -> None:
        app = Celery(self.main, changes=self.settings)
        for module in self.modules:
            app.loader.import_task_module(module)
        for each in self.tasks:
            app.register_task(cloudpickle.loads(each))


def beginning_of(app: Any) -> Beginning:
    """Return what makes *app* anew elsewhere, with the tasks that are registered here."""
    conf = app.conf
    modules = {test_tasks.__name__, *app.loader.task_modules}
    modules.update(conf.imports or (), conf.include or ())
    return Beginning(
        main=app.main,
        settings={name: value for name, value in conf.said().items() if _can_travel(value)},
        modules=tuple(sorted(modules)),
        tasks=tuple(_local_tasks()),
    )


def _local_tasks() -> list[bytes]:
    """Return the tasks that another process would not find by importing what their names say."""
    found = []
    for task in list(tasks.values()):
        if _is_local(task):
            try:
                found.append(_by_value(task))
            except Exception as error:  # whatever its function or class holds
                logger.warning("workers will not know task %s: %s", task.name, error)
    return found


def _by_value(task: Any) -> bytes:
    """Return a pickle of *task* itself; an ordinary one is of its name."""
    written = BytesIO()
    _ByValue(written).dump(task)
    return written.getvalue()


class _ByValue(cloudpickle.CloudPickler):  # type: ignore[misc]  # it has no types
    """Pickles tasks as what they are made of."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Task):
            return object.__new__, (type(obj),), obj.__getstate__()
        return super().reducer_override(obj)


def _is_local(task: Any) -> bool:
    """Tell whether importing the module in the task's name does not define it."""
    kind = type(task)
    made = task if hasattr(task, "__qualname__") else kind
    if "<locals>" in made.__qualname__ or made.__module__ == "__main__":
        return True
    return task.name.rpartition(".")[0] != made.__module__ and not kind.__module__.startswith(
        "dask_facade."
    )


def _can_travel(value: Any) -> bool:
    try:
        dumps(value)
    except EncodeError:
        return False
    return True
