"""The results of several jobs: sets that somebody puts together, and groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, closing, suppress
from typing import Any

from dask_facade import current, job_futures, loops
from dask_facade.jobs import Job
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
        return f"<{type(self).__name__}: [{_shown(self.results)}]>"

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
    ) -> list[Any]:
        """Wait for all members and return what their tasks returned, in their order.

        With *propagate*, the first failure that is heard of is raised at once; without, exceptions
        stand among the results. *timeout* is in seconds, for all of them together. With *callback*
        that is called with the id and the value of each member as it ends, and the list is empty.
        The other options are those of `AsyncResult.get`.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        store = self.app.store
        patience = self._patience(timeout, interval, on_interval, on_message)
        for member in self._arrivals(patience, propagate):
            if callback is not None:
                callback(member.id, look(store, member._gathered))
        return [] if callback is not None else look(store, self._gathered)

    join = join_native = get

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
        open_members = _OpenMembers(self.results)
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
        open_members = _OpenMembers(self.results)
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
            yield from member._leaves()

    def _gathered(self) -> list[Any]:
        return [member._gathered() for member in self.results]


class GroupResult(ResultSet):
    """The results of a group, in the order of its members."""

    def __init__(
        self,
        id: str | None = None,
        results: Iterable[ResultBase] | None = None,
        parent: ResultBase | None = None,
        *,
        app: Any = None,
    ) -> None:
        super().__init__(results, app, parent=parent)
        self.id = id

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return (other.id, other.results) == (self.id, self.results)
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{_shown(self.results)}]>"

    def __str__(self) -> str:
        return str(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self.results, self.parent)

    def save(self, backend: Any = None) -> None:
        """Keep the group's shape in the ledger, for `restore`."""
        store, tree = self.app.store, [_tree(member) for member in self.results]
        look(store, lambda: store.save_group(self.id, tree))

    def delete(self, backend: Any = None) -> None:
        """Forget what `save` kept; the jobs stay."""
        store = self.app.store
        look(store, lambda: store.drop_group(self.id))

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: Any = None) -> GroupResult | None:
        """Return the group of this id, saved or submitted; None where nobody knows it."""
        app = app or current.app()
        store = app.store
        tree = look(store, lambda: store.saved_group(id))
        if tree is None:
            tree = look(store, lambda: store.group(id)) or None
        return None if tree is None else cls(id, [_from_tree(each, app) for each in tree], app=app)

    def as_completed(self) -> Iterator[Any]:
        """Yield Dask futures of the group's jobs as these end, from ``Queue("group:<id>")``."""
        ids = [leaf.id for leaf in self._leaves()]
        return job_futures.as_completed(self.app.store, self.id or "", ids)

    def as_tuple(self) -> tuple[Any, Any]:
        """Return what `result_from_tuple` takes."""
        parent = None if self.parent is None else self.parent.as_tuple()
        return (self.id, parent), [member.as_tuple() for member in self.results]

    def _counted(self) -> Counter[str]:
        if self._changed or self.id is None:
            return Counter()
        store = self.app.store
        return Counter(look(store, lambda: store.count_states(self.id)))


class _OpenMembers:
    """Which members of a set have jobs that are not known to have ended."""

    def __init__(self, members: Sequence[Any]) -> None:
        self._members = members
        self._open = [0] * len(members)
        self._places: dict[str, list[tuple[Leaf, int]]] = {}
        for place, member in enumerate(members):
            for leaf in member._leaves():
                if not (leaf.ignored or leaf._known_state() in READY_STATES):
                    self._open[place] += 1
                    self._places.setdefault(leaf.id, []).append((leaf, place))
        self.ids = list(self._places)

    def complete(self) -> list[Any]:
        """Return the members that have none."""
        return [
            member for member, count in zip(self._members, self._open, strict=True) if not count
        ]

    def take(self, job: Job) -> list[Any]:
        """Take in the end of a job; return the members that are complete with it."""
        complete = []
        for leaf, place in self._places[job.id]:
            leaf._accept(job)
            self._open[place] -= 1
            if not self._open[place]:
                complete.append(self._members[place])
        return complete

    def failure(self, job: Job, propagate: bool) -> BaseException | None:
        """Return what is to be raised because of the end of a job."""
        return self._places[job.id][0][0]._failure() if propagate else None


def _shown(results: Iterable[Any]) -> str:
    return ", ".join(str(each) for each in results)


def _tree(result: Any) -> object:
    """Return an id, or a list of a group's id and its members."""
    if isinstance(result, ResultSet):
        return [getattr(result, "id", None), *map(_tree, result.results)]
    return result.id


def _from_tree(tree: Any, app: Any) -> ResultBase:
    if isinstance(tree, str):
        result: ResultBase = app.AsyncResult(tree)
        return result
    return GroupResult(tree[0], [_from_tree(each, app) for each in tree[1:]], app=app)
