"""Signatures: a task with its arguments and options, not yet called, and how they compose.

A signature is a dict, as Celery's are: projects look into them and send them through JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dask_facade import current

_SHAPES: dict[str, type[Signature]] = {}


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
            args=tuple(args or ()),
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
        kind = _SHAPES.get(form.get("subtask_type") or "", Signature)
        return kind._from_dict(form)

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

    def set(self, *, immutable: bool | None = None, **options: Any) -> Signature:
        """Set options in place, and return the signature."""
        if immutable is not None:
            self["immutable"] = immutable
        self.options.update(options)
        return self

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Submit it with *args* and *kwargs* added; return its result object."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Submit it with arguments and options added; return its result object."""
        changed = self.clone(args or (), kwargs, **options) if args or kwargs or options else self
        return current.app().submit(changed)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task here and now."""
        call = self.clone(args, kwargs)
        return self.type(*call.args, **call.kwargs)

    def __or__(self, other: Any) -> Signature:  # type: ignore[override]  # as Celery's, not a dict's
        if not isinstance(other, Signature):
            return NotImplemented
        return _join([self, other])

    def __ior__(self, other: Any) -> Signature:  # type: ignore[override]  # not a dict's merge
        return self.__or__(other)

    def __repr__(self) -> str:
        parts = [repr(arg) for arg in self.args]
        parts += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task}({', '.join(parts)})"


class chain(Signature):
    """Signatures that run one after another, each with the result of the one before.

    ``chain(a, b)`` and ``chain([a, b])``. A group followed by something is a chord.
    """

    shape = "chain"

    def __init__(self, *tasks: Any, **options: Any) -> None:
        super().__init__("celery.chain", (), {"tasks": _steps(_listed(tasks))}, options)

    @classmethod
    def _from_dict(cls, form: Mapping[str, Any]) -> Signature:
        return _restored(cls(*form["kwargs"]["tasks"]), form)

    @property
    def tasks(self) -> list[Signature]:
        """The steps."""
        return self.kwargs["tasks"]  # type: ignore[no-any-return]  # a list by construction

    def clone(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        """Return a copy; *args* and *kwargs* go to the first step."""
        copy = chain(**{**self.options, **options})
        copy.tasks.extend(step.clone(args, kwargs) for step in self.tasks[:1])
        copy.tasks.extend(step.clone() for step in self.tasks[1:])
        return copy

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Submit it, as Celery does."""
        return self.apply_async(args, kwargs)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks))


class group(Signature):
    """Signatures that run beside each other: ``group(a, b)`` or ``group(iterable)``."""

    shape = "group"

    def __init__(self, *tasks: Any, **options: Any) -> None:
        super().__init__("celery.group", (), {"tasks": _listed(tasks)}, options)

    @classmethod
    def _from_dict(cls, form: Mapping[str, Any]) -> Signature:
        return _restored(cls(*form["kwargs"]["tasks"]), form)

    @property
    def tasks(self) -> list[Signature]:
        """The members."""
        return self.kwargs["tasks"]  # type: ignore[no-any-return]  # a list by construction

    def clone(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        """Return a copy; *args* and *kwargs* go to every member."""
        members = [member.clone(args, kwargs) for member in self.tasks]
        return group(members, **{**self.options, **options})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Submit it, as Celery does."""
        return self.apply_async(args, kwargs)

    def __repr__(self) -> str:
        return f"group({self.tasks!r})"


class chord(Signature):
    """A header that runs as a group, and a body that gets the list of its results.

    ``chord(header, body)``, or ``chord(header)(body)``, which submits it.
    """

    shape = "chord"

    def __init__(self, header: Any, body: Signature | None = None, **options: Any) -> None:
        whole = header if isinstance(header, group) else group(*_listed((header,)))
        parts: dict[str, Any] = {
            "header": group(*whole.tasks, **whole.options),
            "body": None if body is None else Signature.from_dict(body),
        }
        super().__init__("celery.chord", (), parts, options)

    @classmethod
    def _from_dict(cls, form: Mapping[str, Any]) -> Signature:
        header = Signature.from_dict(form["kwargs"]["header"])
        return _restored(cls(header, form["kwargs"]["body"]), form)

    @property
    def header(self) -> group:
        """What runs first."""
        return self.kwargs["header"]  # type: ignore[no-any-return]  # a group by construction

    @property
    def body(self) -> Signature | None:
        """What gets the results."""
        return self.kwargs["body"]  # type: ignore[no-any-return]  # a signature by construction

    def clone(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        """Return a copy; *args* and *kwargs* go to every member of the header."""
        body = None if self.body is None else self.body.clone()
        return chord(self.header.clone(args, kwargs), body, **{**self.options, **options})

    def __call__(self, body: Signature | None = None, **options: Any) -> Any:
        """Submit it, with *body* if it has none yet."""
        whole = self if body is None else chord(self.header, body, **self.options)
        return whole.apply_async((), None, **options)

    def __repr__(self) -> str:
        return f"chord({self.header.tasks!r}, {self.body!r})"


_SHAPES.update({kind.shape: kind for kind in (chain, group, chord) if kind.shape})


def signature(task: Any, *args: Any, **kwargs: Any) -> Signature:
    """Return a signature of a task, of a task's name, or of the dict form of a signature."""
    if isinstance(task, Mapping):
        return Signature.from_dict(task)
    return Signature(task, *args, **kwargs)


def _listed(tasks: tuple[Any, ...]) -> list[Signature]:
    """Accept ``f(a, b)``, ``f([a, b])`` and ``f(a for ...)``, and dict forms for signatures."""
    if len(tasks) == 1 and not isinstance(tasks[0], Mapping):
        tasks = tuple(tasks[0])
    return [Signature.from_dict(task) for task in tasks]


def _steps(signatures: Iterable[Signature]) -> list[Signature]:
    """Return the steps of a chain: chains in it flattened, a group with a successor as a chord.

    A chain with options stays whole, since they are those of its steps. A group of one that
    follows a task is that one.
    """
    steps: list[Signature] = []
    for each in signatures:
        for step in each.tasks if isinstance(each, chain) and not each.options else [each]:
            if steps and isinstance(steps[-1], group):
                steps[-1] = chord(steps[-1], step)
            elif steps and isinstance(step, group) and len(step.tasks) == 1:
                steps.append(_only_member(step))
            else:
                steps.append(step)
    return steps


def _only_member(whole: group) -> Signature:
    (member,) = whole.tasks
    options = {name: value for name, value in whole.options.items() if name != "task_id"}
    return member.clone(**{**options, **member.options})


def _join(signatures: Iterable[Signature]) -> Signature:
    """Return what ``a | b`` is: a chain, or the chord alone where only one is left."""
    steps = _steps(signatures)
    if len(steps) == 1:
        return steps[0]
    whole: chain = chain()
    whole.kwargs["tasks"] = steps
    return whole


def _restored(made: Signature, form: Mapping[str, Any]) -> Signature:
    made["args"] = tuple(form.get("args", ()))
    made["options"] = dict(form.get("options") or {})
    made["immutable"] = form.get("immutable", False)
    return made
