"""A dispatcher and a worker for tests: ``with start_worker(app): ...``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dask_facade import signals, states
from dask_facade.celery.utils.nodenames import anon_nodename
from dask_facade.contrib.testing.beginning import beginning_of
from dask_facade.contrib.testing.tasks import ping
from dask_facade.dispatcher.service import Dispatcher, Options
from dask_facade.exceptions import DaskFacadeError
from dask_facade.messages import Call, Outcome
from dask_facade.result import allow_join_result
from dask_facade.serialization import dumps
from dask_facade.signals import Signal
from dask_facade.worker import node, preload, state

logger = logging.getLogger(__name__)

WORKER_LOGLEVEL = os.environ.get("WORKER_LOGLEVEL", "error")
START_TIMEOUT = 60.0  # seconds

test_worker_starting = Signal("test_worker_starting")
test_worker_started = Signal("test_worker_started")
test_worker_stopped = Signal("test_worker_stopped")


class Witness:
    """Lets receivers of ``task_received`` hear in this process, as a worker's own would."""

    def __init__(self, sender: TestWorkController) -> None:
        self._sender = sender

    def handed(self, calls: Sequence[Call]) -> None:
        """Send the signal for each call."""
        for call in calls:
            request = state.WorkRequest(call, self._sender.hostname)
            signals.task_received.send(self._sender, request=request)

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """Note those that ended well."""
        state.successful_requests.update(
            each.id for each in outcomes if each.state == states.SUCCESS
        )


class TestWorkController:
    """A dispatcher in a thread of this process, over its app's ledger, with an embedded cluster.

    The cluster has *concurrency* worker processes, which import what the app's loader imported
    and know its settings.
    """

    __test__ = False  # no test, whatever pytest makes of the name

    def __init__(
        self,
        app: Any,
        concurrency: int = 1,
        hostname: str | None = None,
        queues: Any = (),
        **celery_options: Any,
    ) -> None:
        self.app = app
        self.concurrency = concurrency or 1
        self.hostname = hostname or anon_nodename()
        self._began = threading.Event()
        self._dispatcher: Dispatcher | None = None
        self._failure: BaseException | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="dask-facade-")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues = tuple(queues.split(",") if isinstance(queues, str) else queues or ())

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname}>"

    @property
    def _beginning(self) -> Path:
        return Path(self._folder.name) / "beginning"

    def start(self) -> None:
        """Run until `stop`, in this thread."""
        self.reload()
        try:
            asyncio.run(self._run())
        except DaskFacadeError as error:
            self._failure = error
        finally:
            self._began.set()
            self._folder.cleanup()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        options = Options(
            workers=self.concurrency,
            queues=self._queues,
            settings_module=os.environ.get("DJANGO_SETTINGS_MODULE", "") if _is_site() else "",
            paths=tuple(path for path in sys.path if path),
            environment=self._environment,
            witness=Witness(self),
        )
        self._dispatcher = Dispatcher(self.app.store, options)
        await self._dispatcher.run(lambda scheduler: self._began.set())

    @property
    def _environment(self) -> dict[str, str]:
        told = {preload.BEGINNING: str(self._beginning)}
        if self.concurrency == 1:  # several have names of their own
            told[node.NAME] = self.hostname
        return told

    def reload(self, *args: Any, **celery_options: Any) -> None:
        """Tell the workers of the tasks that were made here since, of functions they cannot import.

        They learn of them when they next run something.
        """
        said = dumps(beginning_of(self.app))
        new = self._beginning.with_suffix(".new")
        new.write_bytes(said)
        new.replace(self._beginning)

    def ensure_started(self) -> None:
        """Wait until calls can run. Raises what kept the dispatcher from starting."""
        if not self._began.wait(START_TIMEOUT):
            raise TimeoutError(f"the embedded worker did not start within {START_TIMEOUT} seconds")
        if self._failure is not None:
            raise self._failure
        test_worker_started.send(self.app, worker=self, consumer=self)

    def stop(self) -> None:
        """Ask it to end in order; asked twice, it ends at once."""
        if self._loop is not None and self._dispatcher is not None:
            self._loop.call_soon_threadsafe(self._dispatcher.stop)

    terminate = stop


def _is_site() -> bool:
    return "django.conf" in sys.modules and bool(os.environ.get("DJANGO_SETTINGS_MODULE"))


@contextmanager
def start_worker(
    app: Any,
    concurrency: int = 1,
    pool: Any = "solo",
    *,
    perform_ping_check: bool = True,
    ping_task_timeout: float = 10.0,
    **options: Any,
) -> Iterator[Any]:
    """Run what *app* submits while the block runs: a dispatcher here, and worker processes.

    *concurrency* worker processes are started, also with the pool "solo": tasks run in a process
    of their own. Of Celery's other options *queues* and *hostname* mean something here.
    """
    started = None
    test_worker_starting.send(app)
    try:
        with _start_worker_thread(app, concurrency, pool, **options) as started:
            if perform_ping_check:
                _ping(ping_task_timeout)
            yield started
    finally:
        test_worker_stopped.send(app, worker=started)


def _ping(timeout: float) -> None:
    """Return when the worker has run a task. Raises TimeoutError."""
    with allow_join_result():
        ping.delay().get(timeout)


@contextmanager
def _start_worker_thread(
    app: Any,
    concurrency: int = 1,
    pool: Any = "solo",
    loglevel: int | str = WORKER_LOGLEVEL,
    logfile: str | None = None,
    WorkController: Any = TestWorkController,
    shutdown_timeout: float = 20.0,
    **options: Any,
) -> Iterator[Any]:
    setup_app_for_worker(app, loglevel, logfile)
    worker = WorkController(
        app=app,
        concurrency=concurrency,
        pool=pool,
        loglevel=loglevel,
        logfile=logfile,
        **options,
    )
    thread = threading.Thread(target=worker.start, name="dask-facade-worker", daemon=True)
    thread.start()
    try:
        worker.ensure_started()
        yield worker
    finally:
        worker.stop()
        thread.join(shutdown_timeout)
        if thread.is_alive():
            raise RuntimeError(
                f"the embedded worker did not end within {shutdown_timeout} seconds: give "
                "start_worker a longer shutdown_timeout if its tasks take longer"
            )


def setup_app_for_worker(app: Any, loglevel: int | str, logfile: str | None) -> None:
    """Make *app* ready: it is the current one, its receivers have been called, it logs."""
    app.finalize()
    app.set_current()
    app.set_default()
    app.log.setup(loglevel=loglevel, logfile=logfile)
