"""Finding an app by what ``-A`` says, and setting its Django site up."""

from __future__ import annotations

import importlib
import importlib.util
import os
import traceback
from types import ModuleType
from typing import Any

import click
import django
from django.apps import apps
from django.conf import settings

from dask_facade import current
from dask_facade.app import DaskFacade

SETTINGS = "DJANGO_SETTINGS_MODULE"
NAMES = ("app", "celery")
"""What an app is mostly called in its module."""


def find_app(name: str) -> DaskFacade:
    """Return the app of ``proj``, ``proj.celery``, ``proj:app`` or ``proj.celery:app``.

    Its Django site, if it has one, is set up. Without a name it is the current app of the site that
    DJANGO_SETTINGS_MODULE names. Raises click.UsageError, which says what went wrong.
    """
    try:
        _set_django_up()
        if name:
            app = _app_named(name)
            _set_django_up()  # the module may have been the one to say which
            return app
    except click.UsageError:
        raise
    except Exception as error:  # whatever the project's modules raise
        what = f"-A {name}" if name else f"{SETTINGS}={os.environ.get(SETTINGS)}"
        told = traceback.format_exc()
        raise click.UsageError(f"{what} cannot be imported:\n\n{told}") from error
    if not current.has_app():
        raise click.UsageError(
            "no app is named: say -A proj before the command, or set DJANGO_SETTINGS_MODULE to the "
            "settings of a site with 'dask_facade' in INSTALLED_APPS"
        )
    found: DaskFacade = current.app()
    return found


def _set_django_up() -> None:
    if (os.environ.get(SETTINGS) or settings.configured) and not apps.ready:
        django.setup()


def _app_named(name: str) -> DaskFacade:
    path, colon, attribute = name.partition(":")
    if colon:
        return _as_app(getattr(_import(path, name), attribute, None), name)
    try:
        module = _import(path, name)
    except click.UsageError:
        package, _, attribute = path.rpartition(".")
        found = getattr(_import(package, name), attribute, None) if package else None
        if found is None:
            raise
        return _as_app(found, name)
    return _app_within(module, name)


def _import(path: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if path != missing and not path.startswith(f"{missing}."):
            raise  # it is there, and imports one that is not
        raise click.UsageError(
            f"-A {name}: there is no module {missing!r} here, in {os.getcwd()}, or in PYTHONPATH "
            "(--workdir says another folder)"
        ) from error


def _app_within(module: ModuleType, name: str) -> DaskFacade:
    for each in NAMES:
        found = getattr(module, each, None)
        if found is not None and not isinstance(found, ModuleType):
            return _as_app(found, name)
    below = f"{module.__name__}.celery"
    if hasattr(module, "__path__") and importlib.util.find_spec(below) is not None:
        return _app_within(importlib.import_module(below), name)
    for found in vars(module).values():
        if isinstance(found, DaskFacade):
            return found
    raise click.UsageError(
        f"-A {name}: module {module.__name__!r} has no app; say where one is, as in "
        "-A proj.celery:app"
    )


def _as_app(found: Any, name: str) -> DaskFacade:
    if isinstance(found, DaskFacade):
        return found
    if found is None:
        raise click.UsageError(f"-A {name}: the module has no such name")
    kind = type(found)
    raise click.UsageError(
        f"-A {name}: that is a {kind.__module__}.{kind.__qualname__}, and no dask_facade.DaskFacade"
    )
