"""Groups: signatures that run beside each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import length_hint
from typing import Any

from dask_facade.forms import copied_options, said_options
from dask_facade.ids import new_id
from dask_facade.lazy import LazyList
from dask_facade.signatures import Signature, maybe_signature


class Listed(Signature):
    """A canvas whose parts stand in one list."""

    is_canvas = True

    @property
    def tasks(self) -> list[Any]:
        """The parts."""
        return self.kwargs["tasks"]  # type: ignore[no-any-return]  # a list by construction

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self.kwargs["tasks"] = tasks

    @property
    def app(self) -> Any:
        """The app it was made for, that of its first part, or the current one."""
        if self._app is None and self.tasks:
            return self.tasks[0].app
        return super().app


@Signature.register_type()
class group(Listed):
    """Signatures that run beside each other: ``group(a, b)`` or ``group(iterable)``.

    Those of a generator are taken from it one after the other when the group is submitted.
    """

    shape = "group"

    def __init__(self, *tasks: Any, **options: Any) -> None:
        members: Iterable[Any] = tasks
        if len(tasks) == 1:
            (members,) = tasks
            if isinstance(members, group):
                members = members.tasks
            elif isinstance(members, Signature):
                members = [members.clone()]
            elif isinstance(members, dict) or not isinstance(members, Iterable):
                members = tasks
        if not isinstance(members, LazyList) and isinstance(members, Iterator):
            members = LazyList(map(maybe_signature, members))
        elif not isinstance(members, list) or any(type(each) is dict for each in members):
            members = [maybe_signature(each) for each in members]
        elif tasks[0] is members and not isinstance(members, LazyList):
            members = list(members)
        super().__init__("celery.group", (), {"tasks": members}, **options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        """Return the group that a dict form describes."""
        members = [maybe_signature(each, app=app) for each in d["kwargs"]["tasks"]]
        return restored(cls(members, app=app), d)

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return True

    def clone(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Signature:
        """Return a copy; *args* and *kwargs* go to every member."""
        given = given_to(self, args)
        members = [maybe_signature(each).clone(given, kwargs) for each in self.tasks]
        return copied(self, {"tasks": members}, options)

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the members refuse a previous result."""
        for each in self.tasks:
            each.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Let *callback* run, without the result, when the first member ends well."""
        return self.tasks[0].link(maybe_signature(callback).clone().set(immutable=True))

    def link_error(self, errback: Any) -> Any:
        """Let *errback* run for each member that fails."""
        errback = maybe_signature(errback)
        return tuple(each.link_error(errback.clone()) for each in self.tasks)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Give each member a countdown that is *step* longer than the one before."""
        countdown = start
        for each in self.tasks:
            each.set(countdown=countdown)
            if stop is None or countdown + step <= stop:
                countdown += step
        return self

    def stamp(
        self, visitor: Any = None, append_stamps: bool = False, **headers: Any
    ) -> Signature | None:
        """Stamp its members, those of a generator when they come."""
        said = None if visitor is None else visitor.on_group_start(self, **headers) or {}
        headers = self._stamped(said, append_stamps, headers)
        self.stamp_links(visitor, append_stamps, **headers)
        stamp_each(self.tasks, visitor, append_stamps, headers)
        if visitor is not None:
            visitor.on_group_end(self, **headers)
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
        """Give it and its members ids; return its GroupResult. Nested groups become one."""
        results = self._frozen_members(group_id, chord, root_id, parent_id)
        options = self.options
        if options.get("task_id") is None:
            options["task_id"] = new_id()
        placed = {"group_id": group_id, "chord": chord, "group_index": group_index}
        options.update({name: value for name, value in placed.items() if value is not None})
        options.setdefault("root_id", root_id)
        options.setdefault("parent_id", parent_id)
        return self.app.GroupResult(options["task_id"], results)

    _freeze = freeze

    def _frozen_members(
        self, group_id: str | None, chord: Any, root_id: str | None, parent_id: str | None
    ) -> list[Any]:
        members = [each.clone() for each in flat_members(self.tasks)]
        if isinstance(self.tasks, LazyList):
            self.tasks = members
        else:
            self.tasks[:] = members
        return [
            each.freeze(
                group_id=group_id,
                chord=chord,
                root_id=root_id,
                parent_id=parent_id,
                group_index=index,
            )
            for index, each in enumerate(members)
        ]

    # Submitting

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit it with arguments and options added; return its GroupResult."""
        for option in ("link", "link_error"):
            if options.get(option) is not None:
                raise TypeError(f"cannot add {option} to a group: use a chord, or its members'")
        return submitted(self, args, kwargs, options)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Submit it, as Celery does."""
        return self.apply_async(args, **options)

    def __or__(self, other: Any) -> Any:
        """Return the chord of it and *other*."""
        if not isinstance(other, Signature):
            return NotImplemented
        if isinstance(other, group) and not isinstance(other.tasks, LazyList) and not other.tasks:
            return self
        return self.TYPES["chord"](self, body=other, app=self._app)

    def __repr__(self) -> str:
        if not self.tasks:
            return "group(<empty>)"
        return shortened(self.tasks, f"group({self.tasks!r})")


def is_empty_group(value: Any) -> bool:
    """Tell whether it is a group without members."""
    return isinstance(value, group) and isinstance(value.tasks, list | tuple) and not value.tasks


def maybe_unroll_group(group: Any) -> Any:
    """Return the only member of a group of one; other groups as they are."""
    try:
        size = length_hint(group.tasks)
    except (AttributeError, TypeError):  # it says nothing of its length
        return group
    if size != 1:
        return group
    member = group.tasks[0]
    options = {name: value for name, value in group.options.items() if name != "task_id"}
    return member.clone(**{**options, **member.options}) if options else member


def is_empty_chain(value: Any) -> bool:
    """Tell whether it is a chain without steps, which is nothing to be run."""
    return (
        isinstance(value, Signature)
        and value["task"] == "celery.chain"
        and not value["kwargs"]["tasks"]
    )


def flat_members(tasks: Iterable[Any]) -> Iterator[Any]:
    """Yield the members of a group; those of groups among them are members, too."""
    for each in tasks:
        member = maybe_signature(each)
        if isinstance(member, group):
            yield from flat_members(member.tasks)
        elif not is_empty_chain(member):
            yield member


def copied(
    canvas: Signature, parts: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> Signature:
    """Return a canvas of the same class with other *parts*, and *options* over its own.

    It has no arguments of its own: they are those of its parts.
    """
    _, _, said = canvas._merge(options=options)
    made: Signature = Signature.__new__(type(canvas))
    form = {
        **canvas,
        "args": (),
        "kwargs": {**canvas.kwargs, **parts},
        "options": copied_options(said),
    }
    Signature.__init__(made, form, app=canvas._app)
    return made


def given_to(canvas: Signature, args: Iterable[Any] | None) -> tuple[Any, ...]:
    """Return what the parts of a canvas get before their own arguments."""
    return () if canvas.immutable else (*(args or ()), *canvas.args)


def restored(made: Signature, form: Mapping[str, Any]) -> Signature:
    """Return a canvas with all that its dict form says beside its parts."""
    made["args"] = tuple(form.get("args") or ())
    made["options"] = dict(form.get("options") or {})
    made["immutable"] = form.get("immutable", False)
    made["subtask_type"] = form.get("subtask_type") or made.shape
    return made


def submitted(
    canvas: Signature,
    args: Iterable[Any] | None,
    kwargs: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Any:
    """Submit a canvas with arguments and options added; return its result object."""
    said = said_options(options)
    changed = canvas.clone(args, kwargs, **said) if args or kwargs or said else canvas
    return canvas.app.submit(changed)


def stamp_each(tasks: Any, visitor: Any, append_stamps: bool, headers: Mapping[str, Any]) -> None:
    """Stamp every one of *tasks*; those still to come from a generator when they come."""

    def stamp(task: Any) -> None:
        task.stamp(visitor, append_stamps, **headers)

    if isinstance(tasks, LazyList):
        tasks.map(stamp)
    else:
        for task in tasks:
            stamp(task)


def shortened(tasks: Sequence[Any], text: str) -> str:
    """Return *text* where the names of *tasks* go without the module of the first one's."""
    first = tasks[0] if tasks else None
    name = first["task"] if isinstance(first, Signature) else ""
    module = name.rpartition(".")[0] if isinstance(name, str) else ""
    if not module:
        return text
    end = text.find(name) + len(name)
    return text[:end] + re.sub(rf"(?<![\w.-]){re.escape(module)}\.", "", text[end:])
