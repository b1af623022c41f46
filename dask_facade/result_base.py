"""What the result of one job and the results of many have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from dask_facade import current, exceptions
from dask_facade.control import ask
from dask_facade.jobs import FORGET, REVOKE, Job
from dask_facade.waiting import Patience, ended, look

REVOKE_WAIT = 1.0  # seconds for which revoke(wait=True) waits where nothing else is said


class Leaf(Protocol):
    """The result of a single job, to those who read many at once."""

    id: str
    ignored: bool
    _past: int  # the attempt that ended before it was asked to be tried again

    def _accept(self, job: Job | None) -> Job:
        """Return what *job* says to this result, and keep it if it is final."""

    def _failure(self) -> BaseException | None:
        """Return what it raises, where it is known to have failed."""

    def _is_settled(self) -> bool:
        """Tell whether looking at the ledger would not change what it shows."""

    def _known_state(self) -> str:
        """Return the state, as far as it is known without looking: that of the end, or PENDING."""

    def _leaves(self) -> Iterator[Leaf]:
        """Yield it."""

    def _let_go(self) -> None:
        """Forget the end, if it is known."""

    def _message(self) -> dict[str, Any]:
        """Return what Celery's backends tell of it."""

    def _parents(self) -> Iterator[ResultBase]:
        """Yield what goes before it, the nearest first."""


class ResultBase:
    """What the result of one job and the results of many have in common."""

    TimeoutError = exceptions.TimeoutError

    def __init__(self, parent: ResultBase | None, app: Any) -> None:
        self.parent = parent
        self._app = app

    def __await__(self) -> Generator[Any, None, Any]:
        return self.aget().__await__()

    @property
    def app(self) -> Any:
        """The app it reads through."""
        return self._app or current.app()

    def get(self, timeout: float | None = None, propagate: bool = True) -> Any:
        """Wait, and return what came of it."""
        raise NotImplementedError

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> Any:
        """Wait as `get` does, while the event loop goes on."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Tell whether it has ended."""
        raise NotImplementedError

    @property
    def children(self) -> list[Any]:
        """The results that follow from it."""
        raise NotImplementedError

    def as_tuple(self) -> tuple[Any, Any]:
        """Return what `result_from_tuple` takes."""
        raise NotImplementedError

    def _leaves(self) -> Iterator[Leaf]:
        """Yield the results of single jobs that make it up."""
        raise NotImplementedError

    def _gathered(self) -> Any:
        """Return the value or exception of a job that has ended, or a list of such."""
        raise NotImplementedError

    def _parents(self) -> Iterator[ResultBase]:
        """Yield what goes before it, the nearest first."""
        parent = self.parent
        while parent is not None:
            yield parent
            parent = parent.parent

    def _first_error(self) -> BaseException | None:
        """Return the exception of the job furthest back that failed, if one did."""
        leaves = [leaf for each in reversed(list(self._parents())) for leaf in each._leaves()]
        fetch_all(self.app, leaves)
        return next((error for leaf in leaves if (error := leaf._failure())), None)

    def forget(self) -> None:
        """Let the ledger forget what has ended of it and of its parents.

        From then on these results show what they show of ids that nobody knows.
        """
        leaves: dict[str, Leaf] = {}
        for each in [self, *self._parents()]:
            for leaf in each._leaves():
                leaves[leaf.id] = leaf
                for parent in leaf._parents():
                    leaves.update((found.id, found) for found in parent._leaves())
        fetch_all(self.app, leaves.values())
        for leaf in leaves.values():
            leaf._let_go()
        ask(self.app, FORGET, leaves)

    def revoke(
        self,
        *,
        terminate: bool = False,
        signal: Any = None,
        wait: bool = False,
        timeout: float | None = None,
        connection: Any = None,
    ) -> None:
        """Ask that it never runs; with *terminate* also that a call is ended which runs already.

        With *wait*, returns when it has ended, after *timeout* seconds (1) at the latest. Which
        signal ends a process is not up to the caller, and no connection is needed.
        """
        leaves = list(self._leaves())
        ask(self.app, REVOKE, [leaf.id for leaf in leaves], terminate=terminate)
        if wait:
            left = [leaf.id for leaf in leaves if not leaf._is_settled()]
            patience = Patience(timeout=REVOKE_WAIT if timeout is None else timeout)
            with suppress(TimeoutError):
                deque(ended(self.app, left, patience), maxlen=0)


def fetch_all(app: Any, leaves: Iterable[Leaf]) -> None:
    """Look up, in one query, how those of *leaves* ended of which that is not known yet."""
    unknown = [leaf for leaf in leaves if not leaf._is_settled()]
    if unknown:
        store, ids = app.store, list({leaf.id for leaf in unknown})
        jobs = look(store, lambda: store.fetch(ids))
        for leaf in unknown:
            leaf._accept(jobs.get(leaf.id))
