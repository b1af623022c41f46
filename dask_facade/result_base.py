"""What the result of one job and the results of many have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from dask_facade import current, exceptions
from dask_facade.control import ask
from dask_facade.jobs import FORGET, REVOKE, Job
from dask_facade.serialization import Tupled
from dask_facade.states import READY_STATES
from dask_facade.waiting import Patience, ended, look

REVOKE_WAIT = 1.0  # seconds for which revoke(wait=True) waits where nothing else is said


class Leaf(Protocol):
    """The result of a single job, to those who read many at once."""

    id: str
    _own: frozenset[str]  # what a class of somebody else's does in its own way

    @property
    def ignored(self) -> bool:
        """Whether nobody keeps its result."""

    def forget(self) -> None:
        """Let the ledger forget it."""

    def then(self, callback: Callable[[Any], object]) -> None:
        """Call *callback* with it once it is known here that it has ended."""

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


class Then(NamedTuple):
    """Who is called when something has ended."""

    callback: Callable[[Any], object]
    on_error: Callable[[BaseException], object] | None

    def __call__(self, result: Any) -> None:
        try:
            self.callback(result)
        except Exception as error:  # the user's code
            if self.on_error is None:
                raise
            self.on_error(error)


class ResultBase(Tupled):
    """What the result of one job and the results of many have in common."""

    TimeoutError = exceptions.TimeoutError

    def __init__(self, parent: ResultBase | None, app: Any, backend: Any = None) -> None:
        self.parent = parent
        self._app = app
        self._backend = backend
        self._thens: list[Then] = []

    def __await__(self) -> Generator[Any, None, Any]:
        return self.aget().__await__()

    @property
    def app(self) -> Any:
        """The app it reads through."""
        return self._app or current.app()

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def backend(self) -> Any:
        """Where results are, under Celery's names."""
        return self._backend or self.app.backend

    @backend.setter
    def backend(self, backend: Any) -> None:
        self._backend = backend

    @property
    def supports_native_join(self) -> bool | None:
        """Whether several such results are waited for together; None: there is none."""
        return bool(self.backend.supports_native_join)

    def then(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> None:
        """Call *callback* with this once it is known here that it has ended.

        That is when this object finds it out: within `get`, `ready`, `state` and the like. What
        *callback* raises goes to *on_error*.
        """
        self._thens.append(Then(callback, on_error))
        self._call_back()

    def _call_back(self) -> None:
        """Call who waits for the end, if it is known."""
        if self._thens and self._is_over():
            thens, self._thens = self._thens, []
            for each in thens:
                each(self)

    def _is_over(self) -> bool:
        """Tell whether it is known, without looking, that it has ended."""
        return all(leaf._known_state() in READY_STATES for leaf in self._leaves())

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

    def _leaves(self) -> Iterator[Leaf]:
        """Yield the results of single jobs that make it up."""
        raise NotImplementedError

    def _gathered(self) -> Any:
        """Return the value or exception of a job that has ended, or a list of such."""
        raise NotImplementedError

    def _parents(self) -> Iterator[ResultBase]:
        """Yield what goes before it, the nearest first."""
        parent = self.parent
        while isinstance(parent, ResultBase):
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
        line = [self, *self._parents()]
        before: Any = line[-1].parent
        if before is not None:
            before.forget()  # it is none of ours
        for each in line:
            for leaf in each._leaves():
                leaves[leaf.id] = leaf
                for parent in leaf._parents():
                    leaves.update((found.id, found) for found in parent._leaves())
        own = [leaf for leaf in leaves.values() if "forget" in leaf._own and id(leaf) != id(self)]
        for leaf in own:
            leaf.forget()
            del leaves[leaf.id]
        fetch_all(self.app, leaves.values())
        for leaf in leaves.values():
            leaf._let_go()
        ask(self.app, FORGET, leaves)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        connection: Any = None,
        terminate: bool = False,
        signal: Any = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Ask that no call begins that was stamped so, of this job or of any other."""
        self.app.control.revoke_by_stamped_headers(headers, terminate=terminate)

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
