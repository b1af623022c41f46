"""The app: where a project's tasks, its settings and the ledger meet."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Set
from datetime import UTC, datetime, timedelta
from typing import Any

from dask_facade import current, result
from dask_facade.canvas import Signature
from dask_facade.config import Config
from dask_facade.dispatcher.client import DispatcherClient
from dask_facade.ids import new_id
from dask_facade.ledger.store import JobStore, calls_of
from dask_facade.plan import Context, Ending, Many, One, compile_plan
from dask_facade.registry import TaskRegistry, tasks
from dask_facade.result import GroupResult
from dask_facade.task import Task, make_task

PAYLOAD_LIMIT = 16 * 2**20  # bytes of arguments
HINT_AHEAD = timedelta(seconds=2)  # of an eta: later ones are found in the ledger when it nears


class DaskFacade:
    """An app, in Celery's shape.

    *main* stands for ``__main__`` in the names of a script's tasks. The last app that was made is
    the current one. Without *store* the ledger of the Django site is used.
    """

    Task = Task

    def __init__(
        self,
        main: str = "",
        *,
        store: JobStore | None = None,
        set_as_current: bool = True,
        **settings: Any,
    ) -> None:
        self.conf = Config(settings)
        self.main = main
        self._client = None if store is None else DispatcherClient(store)
        self._store = store
        if set_as_current:
            current.set_app(self)

    @property
    def tasks(self) -> TaskRegistry:
        """The registered tasks, by name."""
        return tasks

    @property
    def store(self) -> JobStore:
        """The ledger; raises ImproperlyConfigured where there is none."""
        store: JobStore = self._store or current.site().store
        return store

    @property
    def client(self) -> DispatcherClient:
        """This process's line to the dispatcher."""
        client: DispatcherClient = self._client or current.site().client
        return client

    def task(self, *args: Any, **options: Any) -> Any:
        """Make a function a task: ``@app.task`` or ``@app.task(bind=True, name=..., ...)``."""
        if args:
            return make_task(args[0], self.main, options)
        return lambda function: make_task(function, self.main, options)

    def config_from_object(self, source: object, namespace: str = "") -> None:
        """Read settings from an object, or "module:attribute", when the first is needed.

        With *namespace* "CELERY", ``CELERY_TASK_DEFAULT_QUEUE`` is ``conf.task_default_queue``.
        """
        self.conf.add_object(source, namespace)

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str = "tasks",
    ) -> None:
        """Import *related_name* of each package when a task is looked for by name.

        Without *packages*: of each app in Django's INSTALLED_APPS. A package without such a module
        is passed over; what an existing one raises is not.
        """

        def discover() -> None:
            names = packages() if callable(packages) else packages
            for name in current.site().packages() if names is None else names:
                _import_related(name, related_name)

        tasks.add_source(discover)

    def signature(self, task: Any, *args: Any, **kwargs: Any) -> Signature:
        """Return a call in the making; *task* may be a name."""
        return Signature(task, *args, **kwargs)

    def send_task(
        self,
        name: str,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit a job by its task's name, which need not be known in this process."""
        return self.submit(Signature(name, args, kwargs, options))

    def AsyncResult(self, id: str) -> result.AsyncResult:
        """Return the result object of any job."""
        return result.AsyncResult(id, app=self)

    def submit(self, signature: Signature) -> result.AsyncResult | GroupResult:
        """Write the jobs of *signature*, and hint at them once they are committed.

        Part of the caller's transaction, if one is open. Raises what `plan.compile_plan` does,
        DuplicateTaskId, LedgerNotReady, and the database's own errors.
        """
        now = datetime.now(UTC)
        request = current.request()
        plan = compile_plan(
            signature,
            Context(
                task=tasks.known,
                defaults={
                    "queue": self.conf.task_default_queue,
                    "priority": self.conf.task_default_priority,
                    "acks_late": self.conf.task_acks_late,
                    "ignore_result": self.conf.task_ignore_result,
                },
                new_id=new_id,
                now=now,
                payload_limit=PAYLOAD_LIMIT,
                parent_id=request.id,
                root_id=request.root_id,
            ),
        )
        later = now + HINT_AHEAD
        waiting = {edge.child_id for edge in plan.edges}
        waiting.update(job.id for job in plan.jobs if job.eta is not None and job.eta > later)
        if plan.jobs:
            client = self.client
            self.store.submit(
                plan.jobs,
                plan.edges,
                lambda created: client.offer(calls_of(plan.jobs, created, waiting)),
            )
        ignored = frozenset(job.id for job in plan.jobs if job.ignore_result)
        return self._result(plan.ending, ignored, {})

    def _result(
        self, ending: Ending, ignored: Set[str], made: dict[int, result.AsyncResult | GroupResult]
    ) -> result.AsyncResult | GroupResult:
        """Return the result of *ending*, with those before it as its parents, each made once."""
        steps: list[Ending] = []
        step: Ending | None = ending
        while step is not None and id(step) not in made:
            steps.append(step)
            step = step.parent
        for step in reversed(steps):
            parent = None if step.parent is None else made[id(step.parent)]
            match step:
                case One(job_id):
                    made[id(step)] = result.AsyncResult(
                        job_id, parent, app=self, ignored=job_id in ignored
                    )
                case Many(group_id, members):
                    results = [self._result(member, ignored, made) for member in members]
                    made[id(step)] = GroupResult(group_id, results, parent, app=self)
        return made[id(ending)]


Celery = DaskFacade


def _import_related(package: str, related_name: str) -> None:
    """Import ``package.related_name`` if there is one."""
    name = f"{package}.{related_name}" if related_name else package
    found = importlib.import_module(package)
    if hasattr(found, "__path__") and importlib.util.find_spec(name) is not None:
        importlib.import_module(name)
