"""Fixtures of Celery's pytest plugin: ``pytest_plugins = ("dask_facade.contrib.pytest",)``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from dask_facade.contrib.testing.app import TestApp, setup_default_app
from dask_facade.contrib.testing.worker import start_worker

NO_WORKER = os.environ.get("NO_WORKER")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", "celery(**settings): settings of the app, for this test alone"
    )


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """The settings of the apps. To be overridden."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """The arguments with which the apps are made. To be overridden."""
    return {}


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Whether the apps set up logging. To be overridden."""
    return False


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Whether who asks for the current app gets an error. To be overridden."""
    return False


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """The modules that workers import. To be overridden."""
    return ()


@pytest.fixture(scope="session")
def celery_class_tasks() -> Sequence[Any]:
    """The classes that are registered as tasks for the session's worker. To be overridden."""
    return []


@pytest.fixture(scope="session")
def celery_worker_pool() -> Any:
    """Celery's kind of pool; tasks run in processes of their own whatever it is."""
    return "solo"


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """The further arguments of `start_worker`. To be overridden."""
    return {}


@pytest.fixture(scope="session")
def celery_session_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Any]:
    """An app for the session; the current one."""
    config = _with_marker(request, celery_config)
    with _app(
        config, celery_parameters, logs=celery_enable_logging, trap=use_celery_app_trap
    ) as app:
        if not use_celery_app_trap:
            app.set_default()
            app.set_current()
        yield app


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: Any,
    celery_includes: Sequence[str],
    celery_class_tasks: Sequence[Any],
    celery_worker_pool: Any,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[Any]:
    """A worker for the session."""
    if NO_WORKER:
        yield None
        return
    for module in celery_includes:
        celery_session_app.loader.import_task_module(module)
    for each in celery_class_tasks:
        celery_session_app.register_task(each)
    with start_worker(
        celery_session_app, pool=celery_worker_pool, **celery_worker_parameters
    ) as worker:
        yield worker


@pytest.fixture
def celery_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Any]:
    """An app for a test; ``@pytest.mark.celery(...)`` changes its settings."""
    config = _with_marker(request, celery_config)
    with _app(
        config, celery_parameters, logs=celery_enable_logging, trap=use_celery_app_trap
    ) as app:
        yield app


@pytest.fixture
def celery_worker(
    celery_app: Any,
    celery_includes: Sequence[str],
    celery_worker_pool: Any,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[Any]:
    """A worker for a test."""
    if NO_WORKER:
        yield None
        return
    for module in celery_includes:
        celery_app.loader.import_task_module(module)
    with start_worker(celery_app, pool=celery_worker_pool, **celery_worker_parameters) as worker:
        yield worker


@pytest.fixture
def depends_on_current_app(celery_app: Any) -> None:
    """Make the test's app the current one."""
    celery_app.set_current()


def _with_marker(request: pytest.FixtureRequest, config: Mapping[str, Any]) -> Mapping[str, Any]:
    marker = request.node.get_closest_marker("celery")
    return {**config, **(marker.kwargs if marker else {})}


@contextmanager
def _app(
    config: Mapping[str, Any], parameters: Mapping[str, Any] | None, *, logs: bool, trap: bool
) -> Iterator[Any]:
    app = TestApp(
        set_as_current=False, enable_logging=logs, config=config, **dict(parameters or {})
    )
    with setup_default_app(app, use_trap=trap):
        yield app
