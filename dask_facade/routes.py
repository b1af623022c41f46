"""``task_routes``: which queue a task goes to where nobody says."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

Router = Callable[..., Any]
"""Called with (name, args, kwargs, options, task=None); returns options, a queue's name or None."""


def router_of(routes: Any) -> Router | None:
    """Return what ``task_routes`` says as one router; None where it says nothing.

    It is a dict of names, globs or patterns to queues or options, a function, the dotted name of
    one, or a list of such, of which the first that answers counts.
    """
    if not routes:
        return None
    several = isinstance(routes, list | tuple) and not _is_pairs(routes)
    routers = [_router(each) for each in (routes if several else [routes])]

    def route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        for each in routers:
            answer = each(name, args, kwargs, options, task=task)
            if answer:
                return {"queue": answer} if isinstance(answer, str) else answer
        return None

    return route


def _is_pairs(routes: Any) -> bool:
    return all(isinstance(each, list | tuple) and len(each) == 2 for each in routes)


def _router(route: Any) -> Router:
    if isinstance(route, str):
        module, _, name = route.replace(":", ".").rpartition(".")
        route = getattr(importlib.import_module(module), name)
    if isinstance(route, type):
        route = route()
    if hasattr(route, "route_for_task"):  # Celery's older form
        older = route.route_for_task
        return lambda name, args, kwargs, options, task=None: older(name, args, kwargs)
    return route if callable(route) else _map_router(route)


def _map_router(routes: Any) -> Router:
    pairs = list(routes.items() if isinstance(routes, Mapping) else routes)
    exact = {key: value for key, value in pairs if isinstance(key, str) and "*" not in key}
    others = [(key, value) for key, value in pairs if key not in exact]

    def route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        if name in exact:
            return exact[name]
        return next((value for key, value in others if _matches(key, name)), None)

    return route


def _matches(key: str | re.Pattern[str], name: str) -> bool:
    return fnmatchcase(name, key) if isinstance(key, str) else bool(key.match(name))
