"""The names of Celery's result backends, for those who ask what theirs is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dask_facade import states
from dask_facade.backend import Backend

BaseBackend = Backend


class KeyValueStoreBackend(Backend):
    """A store that knows keys and values alone; no app here has one."""


BaseKeyValueStoreBackend = KeyValueStoreBackend


class SyncBackendMixin:
    """Waits for one result after the other; the base of result backends that cannot listen."""

    is_async = False

    def iter_native(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
    ) -> Iterator[tuple[str, Any]]:
        """Yield the id and what is known of each job of *result*, as they end."""
        for each in result.results:
            each.get(timeout=timeout, interval=interval, propagate=False)
            yield each.id, self.get_task_meta(each.id)  # type: ignore[attr-defined]  # the backend's

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
        callback: Any = None,
        propagate: bool = True,
    ) -> Any:
        """Wait for a job, and return what its task returned; raise what that raised."""
        meta = self.wait_for(  # type: ignore[attr-defined]  # the backend's
            result.id, timeout=timeout, interval=interval, no_ack=no_ack, on_interval=on_interval
        )
        if meta:
            result._maybe_set_cache(meta)
            return result.maybe_throw(propagate=propagate, callback=callback)
        return None

    def add_pending_result(self, result: Any, weak: bool = False) -> Any:
        """Do nothing: it does not listen."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Do nothing."""
        return result


__all__ = [
    "Backend",
    "BaseBackend",
    "BaseKeyValueStoreBackend",
    "KeyValueStoreBackend",
    "SyncBackendMixin",
    "states",
]
