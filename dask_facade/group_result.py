"""The results of a group, and the short form in which the ledger keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from dask_facade import current, job_futures
from dask_facade.result_base import ResultBase
from dask_facade.result_set import ResultSet, shown
from dask_facade.waiting import look


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
            mine = (self.id, self.results, self.parent)
            return (other.id, other.results, other.parent) == mine
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{shown(self.results)}]>"

    def __str__(self) -> str:
        return str(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self.results, self.parent)

    def save(self, backend: Any = None) -> None:
        """Keep the group's shape in the ledger, for `restore`."""
        (backend or self.app.backend).save_group(self.id, self)

    def delete(self, backend: Any = None) -> None:
        """Forget what `save` kept; the jobs stay."""
        (backend or self.app.backend).delete_group(self.id)

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: Any = None) -> GroupResult | None:
        """Return the group of this id, saved or submitted; None where nobody knows it."""
        found = (backend or (app or current.app()).backend).restore_group(id)
        if found is None:
            return None
        return cls(id, found.results, app=app or found.app)

    def as_completed(self) -> Iterator[Any]:
        """Yield Dask futures of the group's jobs as these end, from ``Queue("group:<id>")``."""
        ids = [leaf.id for leaf in self._leaves()]
        return job_futures.as_completed(self.app.store, self.id or "", ids)

    def as_tuple(self) -> tuple[Any, Any]:
        """Return what `result_from_tuple` takes."""
        parent = None if self.parent is None else self.parent.as_tuple()
        return (self.id, parent), [member.as_tuple() for member in self.results]

    def _counted(self) -> Counter[str]:
        if self._changed or self._thens or self.id is None:
            return Counter()
        store = self.app.store
        return Counter(look(store, lambda: store.count_states(self.id)))


def tree_of(result: Any) -> object:
    """Return an id, or a list of a group's id and its members."""
    if isinstance(result, ResultSet):
        return [getattr(result, "id", None), *map(tree_of, result.results)]
    return result.id


def from_tree(tree: Any, app: Any) -> ResultBase:
    """Return the result of which `tree_of` made *tree*."""
    if isinstance(tree, str):
        result: ResultBase = app.AsyncResult(tree)
        return result
    return GroupResult(tree[0], [from_tree(each, app) for each in tree[1:]], app=app)
