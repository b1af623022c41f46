"""``autoretry_for``: exceptions of a task for which its calls are tried again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from inspect import iscoroutine
from typing import Any

from dask_facade.exceptions import Ignore, Retry
from dask_facade.forms import as_list
from dask_facade.retry import get_exponential_backoff_interval


def add_autoretry_behaviour(task: Any, **options: Any) -> None:
    """Let *task* retry by itself, once, as *options* say, or the task."""

    def option(name: str) -> Any:
        return options[name] if name in options else getattr(task, name)

    wanted = tuple(as_list(option("autoretry_for")))
    if not wanted or hasattr(task, "_orig_run"):
        return
    backoff, maximum = float(option("retry_backoff")), int(option("retry_backoff_max"))
    jitter = bool(option("retry_jitter"))
    never = (Ignore, Retry, *as_list(option("dont_autoretry_for")))
    retry_kwargs = option("retry_kwargs")

    def retry_of(error: BaseException, said: Mapping[str, Any]) -> Any:
        asked = dict(said)
        if backoff:
            asked["countdown"] = get_exponential_backoff_interval(
                int(max(1.0, backoff)), task.request.retries, maximum, full_jitter=jitter
            )
        limit = task.request.get("max_retries")  # of a retry that the task asked for itself
        if limit is not None:
            asked["max_retries"] = limit
        return task.retry(exc=error, **asked)

    async def awaited(coroutine: Any) -> Any:
        try:
            return await coroutine
        except never:
            raise
        except wanted as error:
            raise retry_of(error, retry_kwargs) from error

    @wraps(task.run)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            returned = task._orig_run(*args, **kwargs)
        except never:
            raise
        except wanted as error:
            raise retry_of(error, retry_kwargs) from error
        return awaited(returned) if iscoroutine(returned) else returned

    task._orig_run, task.run = task.run, run
