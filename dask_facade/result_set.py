"""The results of several jobs, as a set that somebody puts together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing, closing, suppress
from typing import Any

from dask_facade import current, loops
from dask_facade.open_members import OpenMembers
from dask_facade.result_base import Leaf, ResultBase, fetch_all
from dask_facade.states import FAILURE, READY_STATES, SUCCESS
from dask_facade.waiting import Patience, aended, assert_will_not_block, ended, look


class ResultSet(ResultBase):
    """Several results that are looked at, and waited for, together."""

    def __init__(
        self,
        results: Iterable[Any] | None = None,
        app: Any = None,
        *,
        parent: ResultBase | None = None,
    ) -> None:
        super().__init__(parent, app)
        self._watched: set[int] = set()
        self.results: list[Any] = list(results or ())
        self._changed = False  # since it was made

    def __eq__(self, other: object) -> bool:
        return other.results == self.results if isinstance(other, ResultSet) else NotImplemented

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: int) -> Any:
        return self.results[index]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{shown(self.results)}]>"

    @property
    def app(self) -> Any:
        """The app it reads through; that of its first member, where none was said."""
        if self._app is None and self.results:
            return self.results[0].app
        return self._app or current.app()

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def supports_native_join(self) -> bool | None:
        """Whether its members are waited for together; None where it has none."""
        return self.results[0].supports_native_join if self.results else None

    # Its members

    @property
    def children(self) -> list[ResultBase]:
        """The members."""
        return self.results

    def add(self, result: ResultBase) -> None:
        """Add a member, unless it is one."""
        self.update([result])

    def update(self, results: Iterable[ResultBase]) -> None:
        """Add members, but for those that are."""
        for result in results:
            if result not in self.results:
                self.results.append(result)
                self._changed = True
        if self._thens:
            self._watch()

    def remove(self, result: ResultBase | str) -> None:
        """Remove a member, or the one that has this id; raise KeyError where there is none."""
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None
        self._changed = True

    def discard(self, result: ResultBase | str) -> None:
        """Remove a member if it is one."""
        with suppress(KeyError):
            self.remove(result)

    def clear(self) -> None:
        """Remove all members."""
        self.results.clear()
        self._changed = True

    # What their rows say, in one query

    def ready(self) -> bool:
        """Tell whether all members have ended."""
        return self._census().keys() <= READY_STATES

    def successful(self) -> bool:
        """Tell whether all members ended well."""
        return self._census().keys() <= {SUCCESS}

    def failed(self) -> bool:
        """Tell whether a member failed."""
        return FAILURE in self._census()

    def waiting(self) -> bool:
        """Tell whether a member has not ended."""
        return not self.ready()

    def completed_count(self) -> int:
        """Return how many members ended well."""
        if not any(isinstance(member, ResultSet) for member in self.results):
            return self._census()[SUCCESS]
        fetch_all(self.app, self._leaves())
        return sum(
            all(leaf._known_state() == SUCCESS for leaf in member._leaves())
            for member in self.results
        )

    def _census(self) -> Counter[str]:
        """Return how many of the single jobs are in each state; unknown ones are PENDING."""
        leaves = list(self._leaves())
        if not all(leaf._known_state() in READY_STATES for leaf in leaves):
            counted = self._counted()
            if counted.total() == len(leaves):
                return counted
            fetch_all(self.app, leaves)
        return Counter(leaf._known_state() for leaf in leaves)

    def _counted(self) -> Counter[str]:
        """Return what the ledger counts without looking at each, if it can."""
        return Counter()

    # Waiting

    def then(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> None:
        """Call *callback* with this once it is known here that all members have ended.

        Members that are added before then count. See `AsyncResult.then`.
        """
        super().then(callback, on_error, weak)
        if self._thens:
            self._watch()

    def _watch(self) -> None:
        """Let members that have not ended tell when they have."""
        for leaf in self._leaves():
            if id(leaf) not in self._watched and leaf._known_state() not in READY_STATES:
                self._watched.add(id(leaf))
                leaf.then(lambda _: self._call_back())

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        interval: float | None = None,
        callback: Callable[[str, Any], object] | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> Any:
        """Wait for all members and return what their tasks returned, in their order.

        With *propagate*, the first failure that is heard of is raised at once; without, exceptions
        stand among the results. *timeout* is in seconds, for all of them together. With *callback*
        that is called with the id and the value of each member as it ends, and None is returned.
        The other options are those of `AsyncResult.get`.
        """
        together = self.supports_native_join and not any(map(_waits_by_itself, self.results))
        wait = self.join_native if together else self.join
        return wait(
            timeout,
            propagate,
            interval=interval,
            callback=callback,
            no_ack=no_ack,
            on_message=on_message,
            disable_sync_subtasks=disable_sync_subtasks,
            on_interval=on_interval,
        )

    def join_native(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        interval: float | None = None,
        callback: Callable[[str, Any], object] | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> Any:
        """Wait for all members together; see `get`."""
        if disable_sync_subtasks:
            assert_will_not_block()
        store = self.app.store
        patience = self._patience(timeout, interval, on_interval, on_message)
        for member in self._arrivals(patience, propagate):
            if callback is not None:
                callback(member.id, look(store, member._gathered))
        return None if callback is not None else look(store, self._gathered)

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        interval: float | None = None,
        callback: Callable[[str, Any], object] | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> list[Any]:
        """Wait for all members and return what their tasks returned; nothing with *callback*.

        Members whose class has a `get` of its own are asked one after another, in their order.
        """
        if not any(map(_waits_by_itself, self.results)):
            values = self.join_native(
                timeout,
                propagate,
                interval=interval,
                callback=callback,
                on_message=on_message,
                disable_sync_subtasks=disable_sync_subtasks,
                on_interval=on_interval,
            )
            return values or []
        if disable_sync_subtasks:
            assert_will_not_block()
        end = None if timeout is None else time.monotonic() + timeout
        values = []
        for member in self.results:
            value = member.get(
                timeout=None if end is None else max(0.0, end - time.monotonic()),
                propagate=propagate,
                interval=interval,
                disable_sync_subtasks=disable_sync_subtasks,
                on_interval=on_interval,
            )
            if callback is not None:
                callback(member.id, value)
            else:
                values.append(value)
        return values

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        interval: float | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[Any]:
        """Wait as `get` does, while the event loop goes on."""
        if disable_sync_subtasks:
            assert_will_not_block()
        store = self.app.store
        open_members = OpenMembers(self.results)
        error = self._failure(propagate)
        if error is None:
            patience = self._patience(timeout, interval)
            async with aclosing(aended(self.app, open_members.ids, patience)) as ends:
                async for job in ends:
                    open_members.take(job)
                    error = open_members.failure(job, propagate)
                    if error is not None:
                        break
        if error is not None:
            raise await loops.away(self._first_error, store.disconnect) or error
        return await loops.away(self._gathered, store.disconnect)

    def iterate(
        self, timeout: float | None = None, propagate: bool = True, interval: float | None = None
    ) -> Iterator[Any]:
        """Yield the values of members as they end."""
        store = self.app.store
        for member in self._arrivals(self._patience(timeout, interval), propagate):
            yield look(store, member._gathered)

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """Yield (id, what Celery's backends tell of it, as a dict) of single jobs as they end."""
        flat = ResultSet(self._leaves(), self._app)
        patience = self._patience(timeout, interval, on_interval, on_message)
        for leaf in flat._arrivals(patience, False):
            yield leaf.id, leaf._message()

    def _patience(
        self,
        timeout: float | None,
        interval: float | None,
        on_interval: Callable[[], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
    ) -> Patience:
        past = {leaf.id: leaf._past for leaf in self._leaves() if leaf._past}
        return Patience(timeout, interval, on_interval, on_message, past)

    def _arrivals(self, patience: Patience, propagate: bool) -> Iterator[Any]:
        """Yield members as they are complete; raise the first failure that is heard of."""
        open_members = OpenMembers(self.results)
        error = self._failure(propagate)
        if error is None:
            yield from open_members.complete()
            with closing(ended(self.app, open_members.ids, patience)) as ends:
                for job in ends:
                    complete = open_members.take(job)
                    error = open_members.failure(job, propagate)
                    if error is not None:
                        break
                    yield from complete
        if error is not None:
            raise look(self.app.store, self._first_error) or error

    def _failure(self, propagate: bool) -> BaseException | None:
        """Return what a member raises that is known to have failed already."""
        if not propagate:
            return None
        return next((error for leaf in self._leaves() if (error := leaf._failure())), None)

    def maybe_throw(
        self, callback: Callable[[str, Any], object] | None = None, propagate: bool = True
    ) -> None:
        """Raise what made a member fail, if one has. Never waits."""
        fetch_all(self.app, self._leaves())
        for member in self.results:
            member.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    def _leaves(self) -> Iterator[Leaf]:
        for member in self.results:
            if isinstance(member, ResultBase):
                yield from member._leaves()

    def _gathered(self) -> list[Any]:
        return [member._gathered() for member in self.results]


def shown(results: Iterable[Any]) -> str:
    """Return results as a repr has them."""
    return ", ".join(str(each) for each in results)


def _waits_by_itself(member: Any) -> bool:
    """Tell whether what *member* waits for is its own affair."""
    if isinstance(member, ResultSet):
        return any(map(_waits_by_itself, member.results))
    return "get" in member._own or "get" in vars(member)
