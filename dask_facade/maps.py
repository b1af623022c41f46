"""Many calls of one task: in one job, or several of them in each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar

from dask_facade.forms import said_options
from dask_facade.groups import copied, group, restored
from dask_facade.lazy import LazyList
from dask_facade.signatures import Signature, maybe_signature, signature


def _kept(items: Iterable[Any]) -> list[Any]:
    return items if isinstance(items, list) else LazyList(items)


class _Map(Signature):
    """One job that calls a task with each of some arguments, and returns a list."""

    calls: ClassVar[str]  # the task that does it

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        parts = {"task": _called(task), "it": _kept(it)}
        super().__init__(self.calls, (), parts, immutable=True, **options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        """Return what a dict form describes."""
        return restored(cls(d["kwargs"]["task"], d["kwargs"]["it"], app=app), d)

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit it with options added; return its result object."""
        _, _, merged = self._merge(options=said_options(options))
        task = self.kwargs["task"]
        merged = {"route_name": task["task"], **merged}
        return self.type.apply_async((), {"task": task, "it": list(self.kwargs["it"])}, **merged)


@Signature.register_type()
class xmap(_Map):
    """One job that calls a task with each of *it*, and returns a list."""

    calls = "celery.map"
    shape = "xmap"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task']['task']}(x) for x in {_few(self.kwargs['it'])}]"


@Signature.register_type()
class xstarmap(_Map):
    """One job that calls a task with the arguments in each of *it*, and returns a list."""

    calls = "celery.starmap"
    shape = "xstarmap"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task']['task']}(*x) for x in {_few(self.kwargs['it'])}]"


@Signature.register_type()
class chunks(Signature):
    """Calls of one task, several of them in each job: ``chunks(task, arguments, 10)``."""

    is_canvas = True
    shape = "chunks"

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        parts = {"task": _called(task), "it": _kept(it), "n": n}
        super().__init__("celery.chunks", (), parts, immutable=True, **options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        """Return the chunks that a dict form describes."""
        parts = d["kwargs"]
        return restored(cls(parts["task"], parts["it"], parts["n"], app=app), d)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Any = None) -> Any:
        """Submit such chunks; return their GroupResult."""
        return cls(task, it, n, app=app)()

    def clone(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Signature:
        """Return a copy; it takes no arguments."""
        return copied(self, {}, options)

    def group(self) -> group:
        """Return the group that it is."""
        task, size = self.kwargs["task"], self.kwargs["n"]
        parts = (xstarmap(task, part, app=self._app) for part in _cut(self.kwargs["it"], size))
        return group(parts, app=self._app)

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit it; return its GroupResult."""
        _, _, merged = self._merge(options=said_options(options))
        merged = {"route_name": self.kwargs["task"]["task"], **merged}
        return self.group().apply_async(tuple(args or ()), dict(kwargs or {}), **merged)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Submit it, as Celery does."""
        return self.apply_async(**options)


def _called(task: Any) -> Any:
    return maybe_signature(task) if isinstance(task, dict) else signature(task)


def _cut(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield *items* in lists of *size*; the last may be shorter."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _few(items: Any) -> str:
    text = repr(items)
    return text if len(text) <= 100 else f"{text[:97]}..."
