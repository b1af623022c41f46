"""The app: where a project's tasks, its settings and the ledger meet."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from functools import cached_property, partial
from typing import Any, cast

import dask_facade.builtin  # noqa: F401  # registers its tasks
from dask_facade import current, graphs, result
from dask_facade.amqp import AMQP
from dask_facade.backend import Backend
from dask_facade.bugreport import bugreport
from dask_facade.canvas import Signature, signature
from dask_facade.config import Config
from dask_facade.connection import Connection
from dask_facade.control import Control
from dask_facade.dispatcher.client import DispatcherClient
from dask_facade.ledger.store import JobStore
from dask_facade.loader import Loader
from dask_facade.logs import Logging
from dask_facade.loops import away, outside, running
from dask_facade.making import make_task, register_task
from dask_facade.options import owner_of
from dask_facade.plan import Plan
from dask_facade.registry import TaskRegistry, tasks
from dask_facade.result import GroupResult
from dask_facade.signals import Signal
from dask_facade.submitting import Submitted, Submitting
from dask_facade.task import Task
from dask_facade.times import zone_named

TaskClass = type[Task]


class Groups:
    """The results of groups, as one app reads them: ``app.GroupResult``."""

    def __init__(self, app: DaskFacade) -> None:
        self._app = app

    def __call__(
        self, id: str | None = None, results: Any = None, parent: Any = None, **_celery_options: Any
    ) -> result.GroupResult:
        """Return the result object of a group."""
        return GroupResult(id, results, parent, app=self._app)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, GroupResult)

    def restore(self, id: str, backend: Any = None) -> result.GroupResult | None:
        """Return the group of this id, saved or submitted; None where nobody knows it."""
        return GroupResult.restore(id, backend, app=self._app)


class DaskFacade:
    """An app, in Celery's shape.

    *main* stands for ``__main__`` in the names of a script's tasks. The last app that was made is
    the current one. Without *store* the ledger of the Django site is used. *broker* and *backend*
    are settings that mean nothing here; *include* are modules of tasks.
    """

    task_cls: TaskClass | str = Task
    """What its tasks are made of; a class, or the path of one."""

    def __init__(
        self,
        main: str | None = None,
        *,
        store: JobStore | None = None,
        set_as_current: bool = True,
        broker: str | None = None,
        backend: Any = None,
        include: Iterable[str] = (),
        changes: Mapping[str, Any] | None = None,
        config_source: object = None,
        namespace: str = "",
        strict_typing: bool = True,
        task_cls: TaskClass | str | None = None,
        **settings: Any,
    ) -> None:
        said = {"broker_url": broker, "result_backend": backend, "include": tuple(include or ())}
        settings = {**{name: each for name, each in said.items() if each}, **settings}
        self.conf = Config({**settings, **(changes or {})})
        self.control = Control(self)
        self.amqp = AMQP(self)
        self.backend = Backend(self)
        self.loader = Loader(self)
        self.log = Logging(self)
        self.main = main or ""
        self.namespace = namespace  # of its settings: packages for Celery ask for it
        self.strict_typing = strict_typing
        self.task_cls = task_cls or self.task_cls
        self.on_after_configure = Signal("app.on_after_configure")
        self.on_after_finalize = Signal("app.on_after_finalize")
        self.on_after_fork = Signal("app.on_after_fork")
        self._client = None if store is None else DispatcherClient(store)
        self._finalized = False
        self._store = store
        self._submitting = Submitting(self)
        self._timezone: str | tzinfo | None = None
        if include:
            tasks.add_source(self._import_included)
        if config_source is not None:
            self.config_from_object(config_source, namespace=namespace)
        if set_as_current:
            current.set_app(self)

    def __enter__(self) -> DaskFacade:
        return self

    def __exit__(self, *raised: object) -> None:
        """Close it; the site's line, which other apps use too, stays."""
        if self._client is not None:
            self._client.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'}>"

    @property
    def Task(self) -> TaskClass:
        """The class of its tasks."""
        return self.create_task_cls()

    def create_task_cls(self) -> TaskClass:
        """Return the class of its tasks; for who overrides it."""
        found = self.task_cls
        if isinstance(found, str):
            module, _, name = found.replace(":", ".").rpartition(".")
            found = getattr(importlib.import_module(module), name)
        return cast(TaskClass, found)

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

    @property
    def current_task(self) -> Any:
        """The task that runs here, or None."""
        return tasks.known(current.request().task)

    current_worker_task = current_task

    @property
    def timezone(self) -> tzinfo:
        """The time zone of schedules: that of the settings, else UTC, or without that the local."""
        zone = self._timezone or self.conf.timezone
        return zone_named(zone) if zone or not self.conf.enable_utc else UTC

    @timezone.setter
    def timezone(self, zone: str | tzinfo | None) -> None:
        self._timezone = zone

    def now(self) -> datetime:
        """Return the time, in the time zone of schedules."""
        return datetime.now(self.timezone)

    def set_current(self) -> None:
        """Make this the app of who asks for the current one."""
        current.set_app(self)

    set_default = set_current

    def close(self) -> None:
        """End this process's line to the dispatcher."""
        self.client.close()

    def connection(self, hostname: str | None = None, **_celery_options: Any) -> Connection:
        """Return what tells of the line to the dispatcher, in the shape of a broker connection."""
        return Connection(self, hostname or self.conf.broker_url)

    connection_for_write = connection
    connection_for_read = connection
    broker_connection = connection
    connection_or_acquire = connection

    def bugreport(self) -> str:
        """Return what a report of a bug should say of this installation."""
        return bugreport(self)

    # Settings and tasks

    def config_from_object(
        self, source: object, silent: bool = False, force: bool = False, namespace: str = ""
    ) -> None:
        """Read settings from an object, or "module:attribute", when the first is needed.

        With *namespace* "CELERY", ``CELERY_TASK_DEFAULT_QUEUE`` is ``conf.task_default_queue``.
        """
        self.namespace = namespace or self.namespace
        self.conf.add_object(source, namespace)
        tasks.add_source(self._import_included)

    def add_defaults(self, values: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Say what holds for settings that nobody says."""
        self.conf.add_defaults(values() if callable(values) else values)

    def finalize(self, auto: bool = False) -> None:
        """Call, once, who connected to `on_after_configure` and `on_after_finalize`."""
        if not self._finalized:
            self._finalized = True
            tasks.discover()
            self.on_after_configure.send(self, source=self.conf)
            self.on_after_finalize.send(self)

    def add_periodic_task(
        self,
        schedule: Any,
        sig: Signature,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """Add a call to ``conf.beat_schedule``; return its name there."""
        name = name or repr(sig)
        called = sig.clone(args, kwargs, **options)
        self.conf.beat_schedule[name] = {
            "schedule": schedule,
            "task": called.task,
            "args": called.args,
            "kwargs": called.kwargs,
            "options": called.options,
        }
        return name

    def task(self, *args: Any, **options: Any) -> Any:
        """Make a function a task: ``@app.task`` or ``@app.task(bind=True, name=..., ...)``."""
        if args:
            return make_task(args[0], self.main, options, self)
        return lambda function: make_task(function, self.main, options, self)

    def register_task(self, task: Any, **options: Any) -> Any:
        """Make a class, or an instance of one, a task; *options*: how it is to retry by itself."""
        return register_task(task, self.main, self, **options)

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Import *related_name* of each package when a task is looked for by name.

        Without *packages*: of each app in Django's INSTALLED_APPS. A package without such a module
        is passed over; what an existing one raises is not. With *force* they are imported now.
        """

        def discover() -> None:
            names = packages() if callable(packages) else packages
            for name in current.site().packages() if names is None else names:
                _import_related(name, related_name or "")

        tasks.add_source(discover)
        if force:
            tasks.discover()

    def _import_included(self) -> None:
        for name in (*(self.conf.imports or ()), *(self.conf.include or ())):
            importlib.import_module(name)

    # Results

    def AsyncResult(self, id: str, **celery_options: Any) -> result.AsyncResult:
        """Return the result object of any job."""
        return result.AsyncResult(id, app=self, **celery_options)

    @cached_property
    def GroupResult(self) -> Groups:
        """Makes and restores the result objects of groups."""
        return Groups(self)

    def ResultSet(self, results: Any) -> result.ResultSet:
        """Return several results as one."""
        return result.ResultSet(results, app=self)

    # Submitting

    def signature(self, task: Any, *args: Any, **kwargs: Any) -> Signature:
        """Return a call in the making; *task* may be a name."""
        return signature(task, *args, **kwargs)

    def send_task(
        self,
        name: str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit a job by its task's name, which need not be known in this process.

        It goes to a worker also with ``task_always_eager``.
        """
        made = Signature(name, args or (), kwargs, options)
        rewritten = "task_type" in options  # it is the task that asks
        return outside(lambda: self._submitting.submit(made, rewritten=rewritten), self._leave)

    def submit(self, signature: Signature, *, rewritten: bool = False) -> Submitted:
        """Write the jobs of *signature*, and hint at them once they are committed.

        Part of the caller's transaction, if one is open. In a running call they are its children,
        which the dispatcher writes. In a running event loop they are written by a thread of their
        own. *rewritten* says that the task's own ``apply_async`` has spoken. Raises what
        `plan.compile_plan` does, DuplicateTaskId, LedgerNotReady, and the database's own errors.
        """
        if not rewritten and type(signature) is Signature:
            task = tasks.known(signature["task"])
            if task is not None and task.rewrites:
                submitted: Submitted = task.apply_async(
                    signature.args, signature.kwargs, **signature.options
                )
                return submitted
        if self._submitting.is_eager(signature):
            return self.run_here(signature, rewritten=rewritten)
        submit = self._submitting.submit
        if running():
            return outside(lambda: submit(signature, rewritten=rewritten), self._leave)
        return submit(signature, rewritten=rewritten)

    def add_to_chord(self, signature: Signature, body_id: str) -> Submitted:
        """Submit what the body of a chord is to wait for beside the call that runs here."""
        add = self._submitting.add
        if running():
            return outside(lambda: add(signature, body_id), self._leave)
        return add(signature, body_id)

    def announce_to_chord(self, signature: Signature, body_id: str) -> None:
        """Let the body of a chord wait for a frozen signature that is submitted later."""
        self._submitting.announce(signature, body_id)

    async def asubmit(self, signature: Signature) -> Submitted:
        """Do what `submit` does from a coroutine, which goes on meanwhile."""
        if self._submitting.is_eager(signature):
            return self.run_here(signature)
        return await away(lambda: self.submit(signature), self._leave)

    def compute(
        self,
        value: Any,
        *,
        name: str = "",
        user: Any = None,
        task_id: str | None = None,
        scheduler: str = "",
    ) -> result.AsyncResult:
        """Make a Dask graph a job: a Delayed, a collection, a future, or a list or dict of such.

        Part of the caller's transaction. *user* is the one whose it is, or a primary key.
        *scheduler* is the address of another scheduler than the dispatcher's, to compute it there.
        Raises ClusterUnavailable or ResultLost before anything is written.
        """
        submit = partial(
            graphs.submit,
            self,
            value,
            name=name,
            owner=owner_of(user),
            task_id=task_id,
            scheduler=scheduler,
        )
        return result.AsyncResult(outside(submit, self._leave), app=self)

    def run_here(
        self, signature: Signature, *, throw: bool | None = None, rewritten: bool = True
    ) -> Submitted:
        """Run *signature* in this thread; return its EagerResult, or a GroupResult of such.

        With *throw* (unsaid: ``task_eager_propagates``) the first exception of a task is raised.
        """
        raises = self.conf.task_eager_propagates if throw is None else throw
        return self._submitting.run_here(signature, throw=raises, rewritten=rewritten)

    def compile(self, signature: Signature) -> Plan:
        """Return the jobs and edges that *signature* makes of the job that runs here."""
        return self._submitting.compile(signature, self._submitting.refer, rewritten=True)

    def has_store(self) -> bool:
        """Tell whether there is a ledger in this process; on a worker there may be none."""
        return self._store is not None or current.has_site()

    def _leave(self) -> None:
        """Close the connection of a thread that ends, or that was lent."""
        if self.has_store():
            self.store.disconnect()


Celery = DaskFacade


def _import_related(package: str, related_name: str) -> None:
    """Import ``package.related_name`` if there is one."""
    name = f"{package}.{related_name}" if related_name else package
    found = importlib.import_module(package)
    if hasattr(found, "__path__") and importlib.util.find_spec(name) is not None:
        importlib.import_module(name)
