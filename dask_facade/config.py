"""Celery's settings: ``CELERY_TASK_DEFAULT_QUEUE`` and the like, read where Celery reads them."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import partial
from typing import Any, TypeVar

from dask_facade.inert import INERT

T = TypeVar("T")

DEFAULTS: Mapping[str, Any] = {
    "accept_content": ("json",),
    "beat_cron_starting_deadline": None,  # seconds
    "beat_enable_remote_control": False,
    "beat_max_loop_interval": 0,  # seconds; 0: as the scheduler has it
    "beat_remote_control_max_tick_age": None,  # seconds
    "beat_schedule": {},
    "beat_schedule_filename": "celerybeat-schedule",
    "beat_scheduler": "celery.beat:PersistentScheduler",
    "beat_sync_every": 0,  # runs
    "enable_utc": True,
    "imports": (),
    "include": (),
    "result_backend": None,
    "result_expires": None,
    "result_serializer": None,  # JSON where it says the value without loss, else a pickle
    "task_acks_late": False,
    "task_allow_error_cb_on_chord_header": False,
    "task_always_eager": False,
    "task_annotations": None,
    "task_create_missing_queues": True,
    "task_default_priority": None,
    "task_default_queue": "celery",
    "task_default_rate_limit": None,  # as "10/m"
    "task_eager_propagates": False,
    "task_ignore_result": False,
    "task_inherit_parent_priority": False,
    "task_priority_zero_first": False,  # as with Redis; else the largest goes first
    "task_publish_retry": True,
    "task_queues": None,
    "task_reject_on_worker_lost": None,  # False: not even with acks_late
    "task_routes": None,
    "task_serializer": None,  # as result_serializer
    "task_soft_time_limit": None,
    "task_store_eager_result": False,
    "task_store_errors_even_if_ignored": False,
    "task_time_limit": None,
    "task_track_started": False,
    "timezone": None,
    "worker_pool_restarts": False,
    "broker_url": None,
}
"""The settings that mean something here, or that projects read, and what they are unsaid."""

_OLD_NAMES: Mapping[str, str] = {
    "celery_accept_content": "accept_content",
    "celery_acks_late": "task_acks_late",
    "celery_always_eager": "task_always_eager",
    "celery_annotations": "task_annotations",
    "celery_backend": "result_backend",
    "celery_create_missing_queues": "task_create_missing_queues",
    "celery_default_exchange": "task_default_exchange",
    "celery_default_queue": "task_default_queue",
    "celery_default_rate_limit": "task_default_rate_limit",
    "celery_default_routing_key": "task_default_routing_key",
    "celery_eager_propagates": "task_eager_propagates",
    "celery_eager_propagates_exceptions": "task_eager_propagates",
    "celery_enable_utc": "enable_utc",
    "celery_ignore_result": "task_ignore_result",
    "celery_imports": "imports",
    "celery_include": "include",
    "celery_queues": "task_queues",
    "celery_result_backend": "result_backend",
    "celery_result_serializer": "result_serializer",
    "celery_routes": "task_routes",
    "celery_store_errors_even_if_ignored": "task_store_errors_even_if_ignored",
    "celery_task_result_expires": "result_expires",
    "celery_task_serializer": "task_serializer",
    "celery_timezone": "timezone",
    "celery_track_started": "task_track_started",
    "celerybeat_max_loop_interval": "beat_max_loop_interval",
    "celerybeat_schedule": "beat_schedule",
    "celerybeat_schedule_filename": "beat_schedule_filename",
    "celerybeat_scheduler": "beat_scheduler",
    "celerybeat_sync_every": "beat_sync_every",
    "celeryd_concurrency": "worker_concurrency",
    "celeryd_max_tasks_per_child": "worker_max_tasks_per_child",
    "celeryd_prefetch_multiplier": "worker_prefetch_multiplier",
    "celeryd_task_soft_time_limit": "task_soft_time_limit",
    "celeryd_task_time_limit": "task_time_limit",
}
"""What Celery 3 called its settings; with the namespace CELERY the prefix is off."""


class Config:
    """Settings by their lower-case names, as attributes and items. Unknown ones are kept."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._defaults = {**INERT, **DEFAULTS}
        self._derived: dict[Callable[[Config], Any], Any] = {}
        self._loaded = True
        self._loading = False
        self._lock = threading.RLock()
        self._read: set[str] = set()  # names that objects said
        self._said: list[Callable[[], Mapping[str, Any]]] = [lambda: _named_anew(values)]
        self._sources: list[Callable[[], Mapping[str, Any]]] = []  # of them, those not read yet
        self._values: dict[str, Any] = {}  # what was said, and copies of defaults in use
        self._told_defaults: set[str] = set()  # of which `add_defaults` was told
        self._unsaid: set[str] = set()  # of the values, the copies of defaults
        self._fill()
        self._tell(_named_anew(values))

    def add_object(self, source: object, namespace: str) -> None:
        """Read *source*, an object or "module:attribute", when the first setting is needed.

        With *namespace*, the upper-case names that begin with it; else all public names.
        """

        def read() -> Mapping[str, Any]:
            values = _read(source, namespace)
            self._read.update(values)
            return values

        self._add(read)

    def reread(self) -> None:
        """Read all objects once more, when the next setting is needed: they have changed."""
        with self._lock:
            for name in self._read:
                self._values.pop(name, None)
            self._read.clear()
            self._fill()
            self._sources = list(self._said)
            self._loaded = False

    def add_defaults(self, values: Mapping[str, Any]) -> None:
        """Say what holds for settings that nobody says; before what holds without this."""
        with self._lock:
            said = _named_anew(values)
            self._defaults.update(said)
            self._told_defaults.update(said)
            for name in self._unsaid.intersection(said):
                self._values.pop(name, None)
            self._fill()
            self._derived = {}

    def said(self) -> dict[str, Any]:
        """Return the settings that somebody said, defaults of the app's own among them."""
        return {
            name: self[name]
            for name in self
            if name not in self._unsaid or name in self._told_defaults
        }

    def update(self, values: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set several at once. Nothing is read for it."""
        said = _named_anew({**(values or {}), **more})
        self._add(lambda: said)

    def derived(self, make: Callable[[Config], T]) -> T:
        """Return what *make* makes of the settings; it is called again when they change."""
        if not self._loaded:
            self._load()
        try:
            return self._derived[make]  # type: ignore[no-any-return]  # what make returned
        except KeyError:
            made = self._derived[make] = make(self)
            return made

    def get(self, name: str, default: Any = None) -> Any:
        """Return a setting, or *default* where nobody says it."""
        try:
            return self[name]
        except KeyError:
            return default

    def setdefault(self, name: str, default: Any) -> Any:
        """Return a setting; it is *default* from now on where nobody said it."""
        if name not in self:
            self[name] = default
        return self[name]

    def __getitem__(self, name: str) -> Any:
        if not self._loaded:
            self._load()
        return self._values[new_name(name)]

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __contains__(self, name: str) -> bool:
        if not self._loaded:
            self._load()
        return new_name(name) in self._values

    def __iter__(self) -> Iterator[str]:
        if not self._loaded:
            self._load()
        return iter(dict(self._values))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no setting {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.update({name: value})

    def keys(self) -> Iterator[str]:
        """Return the names of all settings."""
        return iter(self)

    def values(self) -> Iterator[Any]:
        """Return the values of all settings."""
        return (self[name] for name in self)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Return the names of all settings with their values."""
        return ((name, self[name]) for name in self)

    def _fill(self) -> None:
        """Give what nobody said the value of its default."""
        for name in self._defaults.keys() - self._values.keys():
            self._values[name] = copy(self._defaults[name])
            self._unsaid.add(name)

    def _tell(self, values: Mapping[str, Any]) -> None:
        self._values.update(values)
        self._unsaid.difference_update(values)

    def _add(self, source: Callable[[], Mapping[str, Any]]) -> None:
        with self._lock:
            self._said.append(source)
            self._sources.append(source)
            self._loaded = False

    def _load(self) -> None:
        with self._lock:
            if self._loading:  # an object that is read asks
                return
            self._loading = True
            try:
                while self._sources:
                    self._tell(self._sources[0]())
                    del self._sources[0]  # only now: what could not be read is tried again
                self._loaded = True
            finally:
                self._derived = {}
                self._loading = False


def new_name(name: str) -> str:
    """Return what a setting is called today: lower case, and not as Celery 3 had it."""
    lower = name.lower()
    return _OLD_NAMES.get(lower, lower)


def _named_anew(values: Mapping[str, Any]) -> dict[str, Any]:
    return {new_name(name): value for name, value in values.items()}


def _read(source: object, namespace: str) -> dict[str, Any]:
    if isinstance(source, str):
        source = _imported(source)
    if not namespace:
        return _named_anew(source if isinstance(source, Mapping) else _public(source))
    prefix = f"{namespace.upper()}_"
    # Django's settings have names that only `dir` tells, and warn of some when they are asked for.
    names = source if isinstance(source, Mapping) else dir(source)
    value_of = source.__getitem__ if isinstance(source, Mapping) else partial(getattr, source)
    said = {
        name.removeprefix(prefix).lower(): value_of(name)
        for name in names
        if name.startswith(prefix)
    }
    return {_OLD_NAMES.get(f"celery_{name}", name): value for name, value in said.items()}


def _public(source: object) -> dict[str, Any]:
    return {name: getattr(source, name) for name in dir(source) if not name.startswith("_")}


def _imported(path: str) -> Any:
    """Return what "module", "module:attribute" or "module.attribute" names."""
    module, _, attribute = path.partition(":")
    if attribute:
        return getattr(importlib.import_module(module), attribute)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        package, _, name = path.rpartition(".")
        if error.name != path or not package:
            raise
        return getattr(importlib.import_module(package), name)
