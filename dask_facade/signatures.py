"""Signatures: a task with its arguments and options, not yet called.

A signature is a dict, as Celery's are: projects look into them and send them through JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dask_facade import current

SHAPES: dict[str, Any] = {}
"""The classes of a canvas, by what their dict forms say in ``subtask_type``."""


def _positional(args: Iterable[Any] | None) -> tuple[Any, ...]:
    if isinstance(args, str | bytes) or not isinstance(args, Iterable | None):
        raise TypeError(f"the arguments of a task must be a list or tuple, not {args!r}")
    return tuple(args or ())


class Signature(dict[str, Any]):
    """A call in the making: ``task``, ``args``, ``kwargs``, ``options``, ``immutable``."""

    shape: str | None = None

    def __init__(
        self,
        task: Any,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **more_options: Any,
    ) -> None:
        super().__init__(
            task=task if isinstance(task, str) else task.name,
            args=_positional(args),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **more_options},
            subtask_type=self.shape,
            immutable=immutable,
        )

    @staticmethod
    def from_dict(form: Mapping[str, Any]) -> Signature:
        """Return the signature that *form*, a plain dict such as JSON gives, describes."""
        if isinstance(form, Signature):
            return form
        kind = SHAPES.get(form.get("subtask_type") or "", Signature)
        restored: Signature = kind._from_dict(form)
        return restored

    @classmethod
    def _from_dict(cls, form: Mapping[str, Any]) -> Signature:
        return cls(
            form["task"],
            form.get("args", ()),
            form.get("kwargs"),
            form.get("options"),
            immutable=form.get("immutable", False),
        )

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self["task"])

    name = task

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments, those that a previous result goes before."""
        return tuple(self["args"])

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments."""
        return self["kwargs"]  # type: ignore[no-any-return]  # a dict by construction

    @property
    def options(self) -> dict[str, Any]:
        """What `apply_async` takes beside arguments."""
        return self["options"]  # type: ignore[no-any-return]  # a dict by construction

    @property
    def immutable(self) -> bool:
        """Whether it refuses a previous result as its first argument."""
        return bool(self["immutable"])

    @property
    def type(self) -> Any:
        """The task itself; raises NotRegistered."""
        return current.app().tasks[self.task]

    def clone(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        """Return a copy with *args* before its own, and *kwargs* and *options* over its own."""
        if self.immutable:
            args, kwargs = (), None
        return Signature(
            self.task,
            (*args, *self.args),
            {**self.kwargs, **(kwargs or {})},
            {**self.options, **options},
            immutable=self.immutable,
        )

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
        return self._append("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Let *errback* run when this fails; return *errback*."""
        return self._append("link_error", errback)

    def on_error(self, errback: Any) -> Signature:
        """Let *errback* run when this fails; return the signature."""
        self.link_error(errback)
        return self

    def _append(self, option: str, signature: Any) -> Any:
        known = as_list(self.options.get(option))
        if signature not in known:
            self.options[option] = [*known, signature]
        return signature

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Submit it with *args* and *kwargs* added; return its result object."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Submit it with arguments and options added; return its result object."""
        changed = self.clone(args or (), kwargs, **options) if args or kwargs or options else self
        return current.app().submit(changed)

    async def adelay(self, *args: Any, **kwargs: Any) -> Any:
        """Submit it from a coroutine; return its result object."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Submit it from a coroutine; return its result object."""
        return await current.app().asubmit(self.clone(args or (), kwargs, **options))

    def apply(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run it here and now, with arguments and options added; return its EagerResult."""
        throw = options.pop("throw", None)
        return current.app().run_here(self.clone(args or (), kwargs, **options), throw=throw)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task here and now."""
        call = self.clone(args, kwargs)
        return self.type(*call.args, **call.kwargs)

    def __or__(self, other: Any) -> Signature:  # type: ignore[override]  # as Celery's, not a dict's
        if not isinstance(other, Signature):
            return NotImplemented
        joined: Signature = SHAPES["chain"].join([self, other])
        return joined

    def __ior__(self, other: Any) -> Signature:  # type: ignore[override]  # not a dict's merge
        return self.__or__(other)

    def __repr__(self) -> str:
        parts = [repr(arg) for arg in self.args]
        parts += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task}({', '.join(parts)})"


def as_list(value: Any) -> list[Any]:
    """Return what an option says that takes one signature or a list of them."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def plain(value: Any) -> Any:
    """Return a signature as JSON would give it back: plain dicts and lists, all the way down."""
    if isinstance(value, Signature):
        return {name: plain(each) for name, each in value.items()}
    if type(value) is dict:
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list) or type(value) is tuple:
        return [plain(each) for each in value]
    return value
