"""Signatures: a task with its arguments and options, not yet called.

A signature is a dict, as Celery's are: projects look into them and send them through JSON.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

from dask_facade import current
from dask_facade.forms import as_list, copied, copied_options, said_options
from dask_facade.ids import new_id
from dask_facade.stamps import NAMES, merged_stamps

Kind = TypeVar("Kind", bound="type[Signature]")
_KEPT = frozenset({"group_id", NAMES})
"""Options that, once said, are not said anew."""


def _positional(args: Iterable[Any] | None) -> tuple[Any, ...]:
    if type(args) is tuple:
        return args
    if isinstance(args, str | bytes) or not isinstance(args, Iterable | None):
        raise TypeError(f"the arguments of a task must be a list or tuple, not {args!r}")
    return tuple(args or ())


class Signature(dict[str, Any]):
    """A call in the making: ``task``, ``args``, ``kwargs``, ``options``, ``immutable``.

    Made of a task or its name, or of a dict form. What is said with more keywords are options.
    """

    TYPES: ClassVar[dict[str, Any]] = {}
    """The classes of signatures, by what their dict forms say in ``subtask_type``."""
    is_canvas: ClassVar[bool] = False  # more than one call
    shape: ClassVar[str | None] = None
    _app: Any = None
    _type: Any = None

    def __init__(
        self,
        task: Any = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Any = None,
        **more: Any,
    ) -> None:
        if app is not None:
            self._app = app
        if type is not None:
            self._type = type
        if isinstance(task, dict):
            super().__init__(task)
            self["args"] = tuple(self.get("args") or ())
            for name, default in _EMPTY:
                if self.get(name) is None:
                    self[name] = default()
            self.setdefault("subtask_type", self.shape)
            self.setdefault("immutable", False)
            return
        if not isinstance(task, str):
            named: Any = getattr(task, "name", None)
            if named is not None:
                if type is None:
                    self._type = task
                task = named
        super().__init__(
            task=task,
            args=_positional(args),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **more},
            subtask_type=subtask_type or self.shape,
            immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[Kind], Kind]:
        """Return a decorator of classes whose dict forms say *name*, or the class's, as type."""

        def register(kind: Kind) -> Kind:
            cls.TYPES[name or kind.__name__] = kind
            return kind

        return register

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        """Return the signature that *d*, a plain dict such as JSON gives, describes.

        A class of one's own may make it otherwise. Raises KeyError for a type nobody registered.
        """
        if isinstance(d, Signature):
            return d
        name = d.get("subtask_type")
        if name:
            kind = cls.TYPES.get(name)
            if kind is None:
                raise KeyError(
                    f"no class of signatures is registered as {name!r}: import the module that "
                    "has it, with @Signature.register_type()"
                )
            if kind is not cls:
                made: Signature = kind.from_dict(d, app=app)
                return made
        return Signature(d, app=app)

    # What it says

    @property
    def task(self) -> str:
        """The name of the task."""
        return self["task"]  # type: ignore[no-any-return]  # a name by construction

    @task.setter
    def task(self, name: str) -> None:
        self["task"] = name

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.task

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments, those that a previous result goes before."""
        return tuple(self["args"] or ())

    @args.setter
    def args(self, args: Iterable[Any] | None) -> None:
        self["args"] = _positional(args)

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments."""
        return self["kwargs"]  # type: ignore[no-any-return]  # a dict by construction

    @kwargs.setter
    def kwargs(self, kwargs: Any) -> None:
        self["kwargs"] = kwargs

    @property
    def options(self) -> dict[str, Any]:
        """What `apply_async` takes beside arguments."""
        return self["options"]  # type: ignore[no-any-return]  # a dict by construction

    @options.setter
    def options(self, options: dict[str, Any]) -> None:
        self["options"] = options

    @property
    def subtask_type(self) -> str | None:
        """What kind of canvas it is; None for a call."""
        return self["subtask_type"]  # type: ignore[no-any-return]  # a name by construction

    @subtask_type.setter
    def subtask_type(self, name: str | None) -> None:
        self["subtask_type"] = name

    @property
    def immutable(self) -> bool:
        """Whether it refuses a previous result as its first argument."""
        return bool(self["immutable"])

    @immutable.setter
    def immutable(self, immutable: bool) -> None:
        self["immutable"] = immutable

    @property
    def id(self) -> str | None:
        """The id that its job will have, if it is said, or was since `freeze`."""
        return self.options.get("task_id")

    @id.setter
    def id(self, id: str | None) -> None:
        self.options["task_id"] = id

    @property
    def parent_id(self) -> str | None:
        """The id of the job it comes from, if it is said."""
        return self.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        """The id of the job that all began with, if it is said."""
        return self.options.get("root_id")

    @property
    def app(self) -> Any:
        """The app it was made for, that of its task, or the current one."""
        if self._app is not None:
            return self._app
        app = getattr(self._type, "app", None)
        return current.app() if app is None else app

    @property
    def type(self) -> Any:
        """The task itself; raises NotRegistered."""
        return self._type if self._type is not None else self.app.tasks[self["task"]]

    @type.setter
    def type(self, task: Any) -> None:
        self._type = task

    @property
    def AsyncResult(self) -> Any:
        """What makes result objects of its jobs."""
        return self.app.AsyncResult

    # Copies

    def _merge(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """Return arguments and options with others added: see `clone`.

        With *force* an immutable signature takes arguments, too.
        """
        merged = self.options
        if options:
            kept = _KEPT.union(merged.get(NAMES) or ())
            merged = {
                **merged,
                **{
                    name: value
                    for name, value in options.items()
                    if name not in kept or name not in merged
                },
            }
        if self.immutable and not force:
            return self.args, self.kwargs, merged
        return (
            (*args, *self.args) if args else self.args,
            {**self.kwargs, **kwargs} if kwargs else self.kwargs,
            merged,
        )

    def clone(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Signature:
        """Return a copy with *args* before its own, and *kwargs* and *options* over its own.

        An immutable one takes options alone. The stamps and the group it has stay.
        """
        args, kwargs, options = self._merge(args, kwargs, options)
        form = {
            "task": self["task"],
            "args": args,
            "kwargs": dict(kwargs),
            "options": copied_options(options),
            "subtask_type": self["subtask_type"],
            "immutable": self["immutable"],
        }
        if self["subtask_type"] is None:
            copy = Signature(form, app=self._app)
        else:
            copy = Signature.from_dict(form, app=self._app)
        if self._type is not None:
            copy._type = self._type
        return copy

    partial = clone

    def replace(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Signature:
        """Return a copy with other arguments or options in place of its own, where given."""
        copy = self.clone()
        if args is not None:
            copy["args"] = tuple(args)
        if kwargs is not None:
            copy["kwargs"] = dict(kwargs)
        if options is not None:
            copy["options"] = dict(options)
        return copy

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Give it the id that its job will have, unless it has one; return its result object.

        From then on it is to be submitted once more only when that job has ended, which is then
        forgotten: an id belongs to one job. The other arguments are where it stands in a canvas.
        """
        options = self.options
        if options.get("task_id") is None:
            options["task_id"] = _id or new_id()
        options["frozen"] = True
        placed = {"root_id": root_id, "parent_id": parent_id, "chord": chord}
        options.update({name: value for name, value in placed.items() if value})
        if group_id:
            options.setdefault("group_id", group_id)
        if group_index is not None:
            options["group_index"] = group_index
        return self.AsyncResult(options["task_id"])

    _freeze = freeze

    # Changes

    def set(self, immutable: bool | None = None, **options: Any) -> Signature:
        """Set options in place, and return the signature."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether it refuses a previous result."""
        self["immutable"] = immutable

    def link(self, callback: Any) -> Any:
        """Let *callback* run with the result when this ends well; return *callback*."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Let *errback* run when this fails; return *errback*."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Signature:
        """Let *errback* run when this fails; return the signature."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Add *value* to an option that is a list, unless it is in it; return *value*."""
        known = as_list(self.options.get(key))
        self.options[key] = known if value in known else [*known, value]
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add a value, or those of a list, to an option that is a list."""
        self.options[key] = [*as_list(self.options.get(key)), *as_list(value)]

    def flatten_links(self) -> list[Signature]:
        """Return it and what is linked to it, and to that, and so on."""
        linked = (maybe_signature(each).flatten_links() for each in self._links("link"))
        return [self, *itertools.chain.from_iterable(linked)]

    def _links(self, option: str) -> list[Any]:
        return as_list(self.options.get(option))

    # Stamps

    def stamp(
        self, visitor: Any = None, append_stamps: bool = False, **headers: Any
    ) -> Signature | None:
        """Stamp it, and what is linked to it, with *headers* and with what *visitor* says.

        Stamps travel with the job, to its request and to those who are told of it. What is said
        already stays; with *append_stamps* it becomes a list of all that was said.
        """
        self.stamp_links(visitor, append_stamps, **headers)
        said = None if visitor is None else visitor.on_signature(self, **headers) or {}
        return self.set(**self._stamped(said, append_stamps, headers))

    def stamp_links(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> None:
        """Stamp what is linked to it: for each *visitor* is asked, as for any signature."""
        for option, ask in (("link", "on_callback"), ("link_error", "on_errback")):
            if self.options.get(option) is None:
                continue
            stamps = copied(headers)
            linked = [maybe_signature(each, app=self._app) for each in self._links(option)]
            for each in linked:
                said = None if visitor is None else getattr(visitor, ask)(each, **stamps) or {}
                stamps = merged_stamps(stamps, said, None, append=append_stamps)
                each.stamp(visitor, append_stamps, **stamps)
            self.options[option] = linked

    def _stamped(
        self, said: dict[str, Any] | None, append: bool, headers: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what it is to be stamped with, where a visitor said *said*."""
        return merged_stamps(headers, said, self.options, append=append)

    # Submitting

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Submit it with *args* and *kwargs* added; return its result object."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit it with arguments and options added; return its result object."""
        args, kwargs, options = self._merge(args, kwargs, said_options(options))
        return self._apply_async(args, kwargs, **options)

    @property
    def _apply_async(self) -> Callable[..., Any]:
        """What submits it: the task, or the app where the task is not known here."""
        try:
            submit: Callable[..., Any] = self.type.apply_async
        except KeyError:
            submit = partial(self.app.send_task, self["task"])
        return submit

    async def adelay(self, *args: Any, **kwargs: Any) -> Any:
        """Submit it from a coroutine; return its result object."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit it from a coroutine; return its result object."""
        return await self.app.asubmit(self.clone(args, kwargs, **said_options(options)))

    def apply(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run it here and now, with arguments and options added; return its EagerResult."""
        throw = options.pop("throw", None)
        return self.app.run_here(self.clone(args, kwargs, **said_options(options)), throw=throw)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task here and now."""
        args, kwargs, _ = self._merge(args, kwargs)
        return self.type(*args, **kwargs)

    def __invert__(self) -> Any:
        """Submit it and wait for its result."""
        return self.apply_async().get()

    # Joining

    def __or__(self, other: Any) -> Any:
        """Return what runs *other* behind it."""
        return self.TYPES["chain"].joined(self, other)

    def __ior__(self, other: Any) -> Any:
        return self.__or__(other)

    # Forms

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return it as people write a call, with *args* and *kwargs* added."""
        args, kwargs, _ = self._merge(args, kwargs, force=True)
        parts = [repr(arg) for arg in args]
        parts += [f"{name}={value!r}" for name, value in kwargs.items()]
        return f"{self['task']}({', '.join(parts)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __json__(self) -> dict[str, Any]:
        """Return it as a plain dict."""
        return dict(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)


_EMPTY: tuple[tuple[str, Callable[[], Any]], ...] = (("kwargs", dict), ("options", dict))


def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature:
    """Return a signature of a task or its name, of a dict form, or a copy of a signature."""
    if isinstance(varies, Signature):
        return varies.clone()
    if isinstance(varies, dict):
        return Signature.from_dict(varies, app=kwargs.get("app"))
    return Signature(varies, *args, **kwargs)


def maybe_signature(d: Any, app: Any = None, clone: bool = False) -> Any:
    """Return the signature of a dict form; anything else is returned as it is.

    With *app* it is bound to that; with *clone* a signature is copied.
    """
    if isinstance(d, Signature):
        d = d.clone() if clone else d
    elif isinstance(d, dict):
        d = Signature.from_dict(d)
    if app is not None and d is not None:
        d._app = app
    return d
