"""Stands in for the conftest of Celery's unit tests, which is bound to Celery's own insides.

It gives the tests an app, and each test's object what they take from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import MagicMock, Mock, patch

import pytest
from celery import _state, result
from celery.contrib.pytest import (  # noqa: F401
    celery_app,
    celery_enable_logging,
    celery_parameters,
    depends_on_current_app,
)
from celery.contrib.testing.app import TestApp, renew_ledger
from celery.contrib.testing.mocks import TaskMessage, TaskMessage1, task_message_from_sig
from kombu import Queue

_UNSAID = object()


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    return {
        "accept_content": ("json", "pickle"),
        "broker_transport_options": {"polling_interval": 0.1},
        "broker_url": "memory://",
        "result_backend": "cache+memory://",
        "task_default_exchange": "testcelery",
        "task_default_queue": "testcelery",
        "task_default_routing_key": "testcelery",
        "task_queues": (Queue("testcelery", routing_key="testcelery"),),
        "task_serializer": "json",  # as if unsaid in Celery; here it is what makes JSON strict
    }


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    return False


@pytest.fixture
def app(celery_app: Any) -> Any:  # noqa: F811
    renew_ledger()  # they use the same ids
    return celery_app


@pytest.fixture(autouse=True)
def shortcuts(
    request: pytest.FixtureRequest, app: Any, patching: Any, celery_config: Mapping[str, Any]
) -> Iterator[None]:
    """Give a test's object the app, a task and some helpers."""
    app.set_current()
    test = request.instance
    if test is None:
        yield
        return

    @app.task
    def add(x: Any, y: Any) -> Any:
        return x + y

    test.add = add
    test.app = app
    test.assert_signal_called = _assert_signal_called
    test.patching = patching
    test.task_message_from_sig = task_message_from_sig
    test.Celery = TestApp
    test.CELERY_TEST_CONFIG = celery_config
    test.TaskMessage = TaskMessage
    test.TaskMessage1 = TaskMessage1
    yield
    test.app = None


@pytest.fixture(autouse=True)
def waiting_is_allowed() -> Iterator[None]:
    """Let `get` be called anywhere, as outside of a worker."""
    _state.orig_task_join_will_block = _state.task_join_will_block
    with (
        patch.object(result, "task_join_will_block", lambda: False),
        patch.object(_state, "task_join_will_block", lambda: False),
    ):
        yield


class Patching:
    """pytest's monkeypatch, with a mock for each value that is not said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
        self._monkeypatch = monkeypatch
        self._request = request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._monkeypatch, name)

    def __call__(
        self,
        path: str,
        value: Any = _UNSAID,
        name: str = "",
        new: Any = MagicMock,
        **attributes: Any,
    ) -> Any:
        made = new(name=name or path.rpartition(".")[2]) if value is _UNSAID else value
        for attribute, each in attributes.items():
            setattr(made, attribute, each)
        self._monkeypatch.setattr(path, made)
        return made

    def object(self, target: Any, attribute: str, *args: Any, **kwargs: Any) -> Any:
        patcher = patch.object(target, attribute, *args, **kwargs)
        self._request.addfinalizer(patcher.stop)
        return patcher.start()

    def setattr(self, target: Any, name: Any = _UNSAID, value: Any = _UNSAID) -> Any:
        if value is _UNSAID:
            return self(target, name)
        return self(target, value, name=name)

    def setitem(self, mapping: Any, name: str, value: Any = _UNSAID, new: Any = MagicMock) -> Any:
        made = new(name=name) if value is _UNSAID else value
        self._monkeypatch.setitem(mapping, name, made)
        return made


@pytest.fixture
def patching(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Patching:
    return Patching(monkeypatch, request)


class _Called:
    """Asserts that a signal is sent once while the block runs."""

    def __init__(self, signal: Any, **expected: Any) -> None:
        self._expected = expected
        self._signal = signal

    def __enter__(self) -> Mock:
        self._heard = Mock()
        self._receiver = lambda **named: self._heard(**named)
        self._signal.connect(self._receiver)
        return self._heard

    def __exit__(self, *raised: object) -> None:
        self._signal.disconnect(self._receiver)
        self._heard.assert_called_with(signal=self._signal, **self._expected)


def _assert_signal_called(signal: Any, **expected: Any) -> _Called:
    return _Called(signal, **expected)
