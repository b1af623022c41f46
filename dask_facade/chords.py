"""Chords: a header that runs as a group, and a body that gets the list of its results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dask_facade.forms import said_options
from dask_facade.groups import (
    copied,
    flat_members,
    given_to,
    group,
    maybe_unroll_group,
    restored,
    shortened,
    stamp_each,
    submitted,
)
from dask_facade.ids import new_id
from dask_facade.lazy import LazyList
from dask_facade.signatures import Signature, maybe_signature, signature


@Signature.register_type("chord")
class _chord(Signature):
    """A header that runs as a group, and a body that gets the list of its results.

    ``chord(header, body)``, or ``chord(header)(body)``, which submits it. The header is one
    signature, several, or a generator of them; of a group it is the members, as of a chain.
    """

    is_canvas = True
    shape = "chord"

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        app: Any = None,
        **options: Any,
    ) -> None:
        parts = {
            **(kwargs or {"kwargs": {}}),
            "header": _maybe_group(header, app),
            "body": maybe_signature(body, app=app),
        }
        super().__init__(task, args, parts, app=app, **options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        """Return the chord that a dict form describes."""
        others = {name: each for name, each in d["kwargs"].items() if name not in _PARTS}
        header, body = (d["kwargs"].get(name) for name in _PARTS)
        return restored(cls(header or (), body, kwargs=others or None, app=app), d)

    @property
    def tasks(self) -> Any:
        """What runs first: a list of signatures, or a group where that has options of its own."""
        return self.kwargs["header"]

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self.kwargs["header"] = tasks

    @property
    def body(self) -> Any:
        """What gets the results; None as long as there is none."""
        return self.kwargs.get("body")

    @body.setter
    def body(self, body: Any) -> None:
        self.kwargs["body"] = body

    @property
    def members(self) -> list[Any]:
        """The members of the header."""
        header: list[Any] = getattr(self.tasks, "tasks", self.tasks)
        return header

    @property
    def app(self) -> Any:
        """The app it was made for, that of its first member or its body, or the current one."""
        if self._app is not None:
            return self._app
        first = next(iter(self.members), None)
        for part in (first, self.body):
            app = _own_app(part)
            if app is not None:
                return app
        return super().app

    def clone(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Signature:
        """Return a copy; *args* and *kwargs* go to every member of the header."""
        given = given_to(self, args)
        header = self.tasks
        if isinstance(header, group):
            header = header.clone(given, kwargs)
        elif isinstance(header, LazyList) and not header.is_complete:
            header = LazyList(each.clone(given, kwargs) for each in header)
        else:
            header = [maybe_signature(each).clone(given, kwargs) for each in header]
        body = maybe_signature(self.body, clone=True)
        return copied(self, {"header": header, "body": body}, options)

    # Its parts

    def link(self, callback: Any) -> Any:
        """Let *callback* run with the result of the body."""
        self._end.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Let *errback* run when the chord fails.

        When a member of the header fails, so does the body: *errback* is the body's. With
        ``task_allow_error_cb_on_chord_header`` it runs for the member, too.
        """
        errback = maybe_signature(errback)
        if self.app.conf.task_allow_error_cb_on_chord_header:
            for each in self.members:
                each.link_error(errback.clone(immutable=True))
        for each in self.members:
            if isinstance(each, chord):
                each.link_error(errback)
        self._end.link_error(errback)
        return errback

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the members of the header refuse a previous result."""
        for each in self.members:
            each.set_immutable(immutable)

    @property
    def _end(self) -> Any:
        """What ends it: of a chord without a body, the header."""
        if self.body is not None:
            return self.body
        return self.tasks if isinstance(self.tasks, group) else group(self.tasks)

    def stamp(
        self, visitor: Any = None, append_stamps: bool = False, **headers: Any
    ) -> Signature | None:
        """Stamp the header, then the body."""
        members = self.members
        said = None if visitor is None else visitor.on_chord_header_start(self, **headers) or {}
        headers = self._stamped(said, append_stamps, headers)
        self.stamp_links(visitor, append_stamps, **headers)
        stamp_each(members, visitor, append_stamps, headers)
        if visitor is not None:
            visitor.on_chord_header_end(self, **headers)
            if self.body is not None:
                said = visitor.on_chord_body(self, **headers) or {}
                headers = self._stamped(said, append_stamps, headers)
                self.body.stamp(visitor, append_stamps, **headers)
        return None

    # Ids

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Give its jobs ids; return the result object of its body, behind that of its header.

        The id of the chord itself is then that of the header's group.
        """
        if not isinstance(self.tasks, group):
            self.tasks = group(self.tasks, app=self._app)
        header = self.tasks.freeze(parent_id=parent_id, root_id=root_id, chord=self.body)
        self.id = self.tasks.id
        if self.body is None:
            return None
        result = self.body.freeze(
            _id, root_id=root_id, chord=chord, group_id=group_id, group_index=group_index
        )
        _first_of(result).parent = header
        return result

    _freeze = freeze

    # Submitting

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit it with arguments and options added; return the result object of its body.

        *kwargs* may have the body.
        """
        kwargs = dict(kwargs or {})
        body = kwargs.pop("body", None)
        whole = self
        if body is not None:
            whole = type(self).__new__(type(self))
            Signature.__init__(whole, {**self, "kwargs": {**self.kwargs, "body": body}})
            whole._app = self._app
        return submitted(whole, args, {**(self.kwargs.get("kwargs") or {}), **kwargs}, options)

    def run(
        self,
        header: Any,
        body: Any,
        partial_args: Iterable[Any] | None,
        app: Any = None,
        task_id: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit a chord of *header* and *body*, with the options of this one.

        The body is given an id: *task_id*, where that is said.
        """
        body.options.update(said_options({**options, "parent_id": None}))
        body.freeze(task_id or new_id(), root_id=body.options.get("root_id"))
        whole = type(self)(header, body, app=app or self._app)
        return whole.apply_async(partial_args, kwargs, **options)

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Submit it, with *body* if it has none yet."""
        return self.apply_async((), {"body": maybe_signature(body)} if body else {}, **options)

    def __or__(self, other: Any) -> Any:
        """Return the chord whose body *other* follows; the chain of it and a group or chain."""
        if isinstance(other, group) and len(other.tasks) == 1:
            other = maybe_unroll_group(other)
        elif isinstance(other, group | self.TYPES["chain"]) or not isinstance(other, Signature):
            return super().__or__(other)
        copy: Any = self.clone()
        copy.follow_with(other)
        return copy

    def follow_with(self, other: Signature) -> None:
        """Put *other* behind the body."""
        self.body = other if self.body is None else self.body | other

    def __length_hint__(self) -> int:
        """Return for how many jobs the body waits."""
        return sum(_descend(each) for each in self.members)

    def __repr__(self) -> str:
        if self.body is None:
            return f"<chord without body: {self.members!r}>"
        return shortened(self.members, f"chord({self.members!r}, {self.body!r})")


chord = _chord
_PARTS = ("header", "body")


def _maybe_group(tasks: Any, app: Any = None) -> Any:
    """Return what is said as a header as a list of signatures, or a group that has options.

    Those of a generator are taken from it when they are asked for.
    """
    if type(tasks) is dict:
        tasks = Signature.from_dict(tasks, app=app)
    if isinstance(tasks, group):
        return tasks if tasks.options else tasks.tasks
    if isinstance(tasks, Signature.TYPES["chain"]):
        return tasks.tasks
    if isinstance(tasks, Signature) or not isinstance(tasks, Iterable):
        return [maybe_signature(tasks, app=app) if isinstance(tasks, dict) else signature(tasks)]
    if isinstance(tasks, LazyList | Iterator):
        return LazyList(signature(each, app=app) for each in tasks)
    return [signature(each, app=app) for each in tasks]


def _own_app(part: Any) -> Any:
    """Return the app that a part of a canvas was made for; None where it is any."""
    if part is None:
        return None
    app = getattr(part, "_app", None)
    if app is None and isinstance(part, Signature):
        if part.is_canvas:
            inner = [part.body] if isinstance(part, _chord) else []
            inner += [*getattr(part, "members", getattr(part, "tasks", ()))][:1]
            return next((app for each in inner if (app := _own_app(each)) is not None), None)
        app = getattr(part._type, "app", None)
    return app


def _first_of(result: Any) -> Any:
    """Return the first of results that follow one another; raise where they run in a circle."""
    seen = set()
    while result.parent is not None:
        if result.id in seen:
            raise RuntimeError(f"the result {result.id!r} is among its own parents")
        seen.add(result.id)
        result = result.parent
    return result


def _descend(part: Any) -> int:
    """Return how many jobs end a part of a header."""
    if not isinstance(part, Signature) and isinstance(part, dict):
        part = Signature.from_dict(part)
    if isinstance(part, group):
        return sum(map(_descend, getattr(part.tasks, "tasks", part.tasks)))
    if isinstance(part, Signature.TYPES["chain"]):
        ends = (_descend(step) for step in reversed(part.tasks))
        return next((size for size in ends if size), 0)
    if isinstance(part, _chord):
        return _descend(part.body)
    return 1 if isinstance(part, Signature) else len(part)


def _clear_chord_option(part: Any) -> None:
    """Take from what ends *part* the body that `freeze` wrote into it."""
    part.options.pop("chord", None)
    if isinstance(part, group):
        for each in part.tasks:
            _clear_chord_option(each)
    elif isinstance(part, _chord):
        if part.body is not None:
            _clear_chord_option(part.body)
    elif part.is_canvas and part.tasks:
        _clear_chord_option(part.tasks[-1])


def _strip_chord_header_links(part: Any) -> None:
    """Take from a frozen canvas the bodies that stand in its headers, beside being bodies."""
    if isinstance(part, _chord):
        for each in flat_members(part.members):
            _clear_chord_option(each)
            _strip_chord_header_links(each)
        if part.body is not None:
            _strip_chord_header_links(part.body)
    elif part.is_canvas:
        for each in part.tasks:
            _strip_chord_header_links(each)
