"""Tasks for the tests of the API."""

from __future__ import annotations

from typing import Any

from dask_facade import shared_task


@shared_task(expose=True)
def add(x: float, y: float = 0) -> float:
    return x + y


@shared_task(expose=True)
def take(*args: Any, **kwargs: Any) -> None: ...


@shared_task(expose=True, bind=True)
def bound(self: Any, x: int) -> None: ...


@shared_task
def hidden(x: int) -> None: ...


@shared_task(expose="no")
def misled() -> None: ...


urlpatterns: list[Any] = []  # as a site without the API
