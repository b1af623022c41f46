"""Celery's signals: functions that are called when something happens."""

from __future__ import annotations

import inspect
import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

logger = logging.getLogger(__name__)

Receiver = Callable[..., Any]

_PAUSES = (2, *range(4, 31, 2))
"""Seconds between two calls of a receiver that is called until it raises nothing."""


class Signal:
    """Something that happens, for those who connected to it."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.receivers: list[tuple[tuple[Hashable, Hashable], Any, Any, bool]] = []
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Signal: {self.name}>"

    def connect(
        self,
        receiver: Receiver | None = None,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
        retry: bool = False,
    ) -> Any:
        """Call *receiver* with keyword arguments whenever this happens, to *sender* if one is said.

        Also a decorator: ``@signal.connect`` or ``@signal.connect(sender=...)``. A *weak* receiver
        is forgotten when nothing else holds it. Of those that share a *dispatch_uid* the first
        stays. What a receiver raises is logged; with *retry* it is called again, after pauses of 2
        to 30 seconds, until it raises nothing: meanwhile nothing else happens in that thread.
        """
        if receiver is None:
            return lambda function: self.connect(function, sender, weak, dispatch_uid, retry)
        if not _takes_keywords(receiver):
            raise ValueError(f"{receiver!r} must accept keyword arguments: add **kwargs to it")
        key = _key(receiver, sender, dispatch_uid)
        with self._lock:
            self._drop_dead()
            if all(known != key for known, *_ in self.receivers):
                self.receivers.append((key, sender, _held(receiver, weak=weak), retry))
        return receiver

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: Any = None,
        weak: bool | None = None,
        dispatch_uid: Hashable | None = None,
    ) -> bool:
        """Call it no more; tell whether it was connected so."""
        key = _key(receiver, sender, dispatch_uid)
        with self._lock:
            self._drop_dead()
            left = [each for each in self.receivers if each[0] != key]
            gone = len(left) < len(self.receivers)
            self.receivers[:] = left
        return gone

    def has_listeners(self, sender: Any = None) -> bool:
        """Tell whether anybody would be called."""
        return bool(self._live(sender))

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call the receivers; return each with what it returned, or the exception it raised."""
        if not self.receivers:
            return []
        responses: list[tuple[Receiver, Any]] = []
        for receiver, retry in self._live(sender):
            said = partial(receiver, signal=self, sender=sender, **named)
            responses.append((receiver, self._response(said, _PAUSES if retry else ())))
        return responses

    send_robust = send

    def _response(self, call: partial[Any], pauses: Sequence[float]) -> Any:
        """Return what a receiver returns, or raises after the last of *pauses*, which goes on."""
        for count in itertools.count():
            try:
                return call()
            except Exception as error:  # the receiver is the user's code
                logger.exception("a receiver of %s raised: %r", self.name, call.func)
                if not pauses:
                    return error
                time.sleep(pauses[min(count, len(pauses) - 1)])

    def _live(self, sender: Any) -> list[tuple[Receiver, bool]]:
        live: list[tuple[Receiver, bool]] = []
        for _, to, held, retry in list(self.receivers):
            if to is None or _same(to, sender):
                receiver = held() if isinstance(held, weakref.ReferenceType) else held
                if receiver is not None:
                    live.append((receiver, retry))
        return live

    def _drop_dead(self) -> None:
        """Forget receivers that are gone; the lock is held."""
        self.receivers[:] = [
            each
            for each in self.receivers
            if not (isinstance(each[2], weakref.ReferenceType) and each[2]() is None)
        ]


def _same(one: Any, other: Any) -> bool:
    """Tell whether two are one sender; those of publishing are names of tasks."""
    return one is other or (isinstance(one, str) and one == other)


def _key(
    receiver: Receiver | None, sender: Any, dispatch_uid: Hashable | None
) -> tuple[Hashable, Hashable]:
    to: Hashable = sender if sender is None or isinstance(sender, str) else id(sender)
    if dispatch_uid is not None:
        return dispatch_uid, to
    if inspect.ismethod(receiver):
        return (id(receiver.__self__), id(receiver.__func__)), to
    return id(receiver), to


def _held(receiver: Receiver, *, weak: bool) -> Any:
    if not weak:
        return receiver
    return weakref.WeakMethod(receiver) if inspect.ismethod(receiver) else weakref.ref(receiver)


def _takes_keywords(receiver: Receiver) -> bool:
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):  # a builtin: nothing is known of it
        return True
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)


before_task_publish = Signal("before_task_publish")
after_task_publish = Signal("after_task_publish")
task_sent = Signal("task_sent")
task_received = Signal("task_received")
task_prerun = Signal("task_prerun")
task_postrun = Signal("task_postrun")
task_success = Signal("task_success")
task_retry = Signal("task_retry")
task_failure = Signal("task_failure")
task_internal_error = Signal("task_internal_error")
task_revoked = Signal("task_revoked")
task_rejected = Signal("task_rejected")
task_unknown = Signal("task_unknown")
import_modules = Signal("import_modules")
celeryd_init = Signal("celeryd_init")
celeryd_after_setup = Signal("celeryd_after_setup")
worker_init = Signal("worker_init")
worker_ready = Signal("worker_ready")
worker_process_init = Signal("worker_process_init")
worker_process_shutdown = Signal("worker_process_shutdown")
worker_shutting_down = Signal("worker_shutting_down")
worker_shutdown = Signal("worker_shutdown")
heartbeat_sent = Signal("heartbeat_sent")
setup_logging = Signal("setup_logging")
after_setup_logger = Signal("after_setup_logger")
after_setup_task_logger = Signal("after_setup_task_logger")
beat_init = Signal("beat_init")
beat_embedded_init = Signal("beat_embedded_init")
user_preload_options = Signal("user_preload_options")
