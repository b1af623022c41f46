"""The scheduler of periodic tasks: Celery's ``beat``.

The leading dispatcher runs one. `Service` runs one elsewhere.
"""

from __future__ import annotations

import importlib
import json
import logging
import socket
import threading
import time
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from dask_facade import signals
from dask_facade.dispatcher.listener import Listener
from dask_facade.entries import BeatLazyFunc, ScheduleEntry
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.messages import Ask
from dask_facade.persistence import PersistentScheduler
from dask_facade.scheduler import DEFAULT_MAX_INTERVAL, Scheduler, SchedulingError, event_t

__all__ = [
    "DEFAULT_MAX_INTERVAL",
    "BeatLazyFunc",
    "EmbeddedService",
    "PersistentScheduler",
    "ScheduleEntry",
    "Scheduler",
    "SchedulingError",
    "Service",
    "beat_nodename",
    "event_t",
    "scheduler_named",
]

logger = logging.getLogger(__name__)

EXTENSIONS = "celery.beat_schedulers"
NODENAME_DEFAULT = "celerybeat"
TICK_AGE = 60.0  # seconds for which a scheduler may be busy, at least


class Service:
    """Runs a scheduler in the thread that calls `start`.

    With *remote_control* (unsaid: ``beat_enable_remote_control``) it answers to ``ping`` as
    ``celerybeat@host``, or as *hostname*, as long as its scheduler is called: that is allowed to
    take ``beat_remote_control_max_tick_age`` seconds.
    """

    scheduler_cls: Any = PersistentScheduler

    def __init__(
        self,
        app: Any,
        max_interval: float | None = None,
        schedule_filename: str | None = None,
        scheduler_cls: Any = None,
        remote_control: bool | None = None,
        hostname: str | None = None,
    ) -> None:
        self.app = app
        self.max_interval = max_interval or app.conf.beat_max_loop_interval
        self.scheduler_cls = scheduler_cls or self.scheduler_cls
        self.schedule_filename = schedule_filename or app.conf.beat_schedule_filename
        self.hostname = hostname
        self.remote_control = (
            app.conf.beat_enable_remote_control if remote_control is None else remote_control
        )
        self.effective_max_interval: float | None = None  # that of the scheduler, once it runs
        self._last_tick: float | None = None  # on the monotonic clock
        self._is_shutdown = threading.Event()
        self._is_stopped = threading.Event()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self.app,
            self.max_interval,
            self.schedule_filename,
            self.scheduler_cls,
            self.remote_control,
            self.hostname,
        )

    def start(self, embedded_process: bool = False) -> None:
        """Submit what is due until `stop`."""
        signals.beat_init.send(sender=self)
        if embedded_process:
            signals.beat_embedded_init.send(sender=self)
        scheduler = self.scheduler
        logger.info("beat starts, with %d entries", len(scheduler.schedule))
        self.effective_max_interval = scheduler.max_interval
        self._last_tick = time.monotonic()
        listener: Listener | None = None
        if self.remote_control:
            listener = Listener(self.app.store, beat_nodename(self.hostname), self._answer)
            listener.start()
        try:
            while not self._is_shutdown.is_set():
                seconds = scheduler.tick()
                self._last_tick = time.monotonic()
                if seconds and seconds > 0:
                    self._is_shutdown.wait(seconds)
                    if scheduler.should_sync():
                        scheduler._do_sync()
        except (KeyboardInterrupt, SystemExit):
            self._is_shutdown.set()
        finally:
            self.sync()
            if listener is not None:
                listener.close()

    def _answer(self, ask: Ask) -> bytes | None:
        """Answer to a ping, but not for a scheduler that hangs."""
        limit = self.app.conf.beat_remote_control_max_tick_age
        if limit is None:
            limit = max(2 * (self.effective_max_interval or 0.0), TICK_AGE)
        age = time.monotonic() - (self._last_tick or 0.0)
        if limit and age > limit:
            logger.warning("the scheduler was last called %.1f s ago: nobody answers", age)
            return None
        return json.dumps({"ok": "pong"}).encode() if ask.command == "ping" else None

    def sync(self) -> None:
        """Close the scheduler."""
        self.scheduler.close()
        self._is_stopped.set()

    def stop(self, wait: bool = False) -> None:
        """End it, and with *wait* return when it has."""
        logger.info("beat ends")
        self._is_shutdown.set()
        if wait:
            self._is_stopped.wait()

    def get_scheduler(self, lazy: bool = False, extension_namespace: str = EXTENSIONS) -> Any:
        """Return a new scheduler."""
        return scheduler_named(self.scheduler_cls, extension_namespace)(
            app=self.app,
            schedule_filename=self.schedule_filename,
            max_interval=self.max_interval,
            lazy=lazy,
        )

    @cached_property
    def scheduler(self) -> Any:
        """The scheduler."""
        return self.get_scheduler()


class EmbeddedService(threading.Thread):
    """Runs a scheduler in a thread of its own. *thread* says nothing: it always is one."""

    def __init__(
        self, app: Any, max_interval: float | None = None, thread: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(name="Beat", daemon=True)
        self.app = app
        self.service = Service(app, max_interval=max_interval, **kwargs)

    def run(self) -> None:
        """Submit what is due until `stop`."""
        self.app.set_current()
        self.service.start()

    def stop(self) -> None:
        """End it; return when it has."""
        self.service.stop(wait=True)


def beat_nodename(hostname: str | None = None) -> str:
    """Return the name to which a service answers, of one that may lack the name, or the host.

    In it ``%h`` is the name of this machine, ``%n`` its first part and ``%d`` the rest.
    """
    here = socket.gethostname()
    first, _, rest = here.partition(".")
    name, _, host = (hostname or "").rpartition("@")
    whole = f"{name or NODENAME_DEFAULT}@{host or here}"
    for mark, value in (("%h", here), ("%n", first), ("%d", rest), ("%%", "%")):
        whole = whole.replace(mark, value)
    return whole


def scheduler_named(name: Any, extensions: str = EXTENSIONS) -> Any:
    """Return the class that a setting means: a class, "module:name", or a name of an extension.

    Raises ImproperlyConfigured.
    """
    if not isinstance(name, str):
        return name
    for extension in entry_points(group=extensions):
        if extension.name == name:
            name = extension.value
    module, _, attribute = name.replace("celery.beat", __name__).partition(":")
    if not attribute:
        module, _, attribute = module.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(f"no scheduler is to be had as {name!r}: {error}") from error
