"""How signatures compose: chain, group, chord, chunks, map, and what ``|`` makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dask_facade import current
from dask_facade.signatures import SHAPES, Signature

__all__ = [
    "Signature",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]


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

    @staticmethod
    def join(signatures: Iterable[Signature]) -> Signature:
        """Return what ``a | b`` is: a chain, or the chord alone where only one is left."""
        steps = _steps(signatures)
        if len(steps) == 1:
            return steps[0]
        whole: chain = chain()
        whole.kwargs["tasks"] = steps
        return whole

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

    def apply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Submit it with arguments and options added; return its GroupResult."""
        for option in ("link", "link_error"):
            if options.get(option) is not None:
                raise TypeError(f"cannot add {option} to a group: use a chord, or its members'")
        return super().apply_async(args, kwargs, **options)

    def link(self, callback: Any) -> Any:
        """Let *callback* run, without the result, when the first member ends well."""
        return self.tasks[0].link(Signature.from_dict(callback).clone().set(immutable=True))

    def link_error(self, errback: Any) -> Any:
        """Let *errback* run for each member that fails."""
        return tuple(each.link_error(Signature.from_dict(errback).clone()) for each in self.tasks)

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the members refuse a previous result."""
        for each in self.tasks:
            each.set_immutable(immutable)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Give each member a countdown that is *step* longer than the one before."""
        countdown = start
        for each in self.tasks:
            each.set(countdown=countdown)
            countdown = start if stop is not None and countdown + step >= stop else countdown + step
        return self

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

    def link(self, callback: Any) -> Any:
        """Let *callback* run with the result of the body."""
        return self._ending().link(callback)

    def link_error(self, errback: Any) -> Any:
        """Let *errback* run when the chord fails.

        When a member of the header fails, so does the body: *errback* is the body's. With
        ``task_allow_error_cb_on_chord_header`` it runs for the member, too.
        """
        if current.app().conf.task_allow_error_cb_on_chord_header:
            for each in self.header.tasks:
                each.link_error(Signature.from_dict(errback).clone().set(immutable=True))
        for each in self.header.tasks:
            if isinstance(each, chord):
                each.link_error(errback)
        self._ending().link_error(errback)
        return errback

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the members of the header refuse a previous result."""
        self.header.set_immutable(immutable)

    def _ending(self) -> Signature:
        return self.header if self.body is None else self.body

    def __call__(self, body: Signature | None = None, **options: Any) -> Any:
        """Submit it, with *body* if it has none yet."""
        whole = self if body is None else chord(self.header, body, **self.options)
        return whole.apply_async((), None, **options)

    def __repr__(self) -> str:
        return f"chord({self.header.tasks!r}, {self.body!r})"


class chunks(Signature):
    """Calls of one task, several of them in each job: ``chunks(task, arguments, 10)``."""

    shape = "chunks"

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        parts = {"task": Signature.from_dict(task), "it": list(it), "n": n}
        super().__init__("celery.chunks", (), parts, options, immutable=True)

    @classmethod
    def _from_dict(cls, form: Mapping[str, Any]) -> Signature:
        return cls(**form["kwargs"], **(form.get("options") or {}))

    def clone(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        """Return a copy; it takes no arguments."""
        return chunks(**self.kwargs, **{**self.options, **options})

    def group(self) -> group:
        """Return the group that it is."""
        it, size = self.kwargs["it"], self.kwargs["n"]
        parts = (it[start : start + size] for start in range(0, len(it), size))
        return group(xstarmap(self.kwargs["task"], part) for part in parts)

    def apply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Submit it; return its GroupResult."""
        return self.group().apply_async(**{**self.options, **options})

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Submit it, as Celery does."""
        return self.apply_async(**options)


def xmap(task: Any, it: Iterable[Any], **options: Any) -> Signature:
    """Return one job that calls a task with each of *it*, and returns a list."""
    parts = {"task": Signature.from_dict(task), "it": list(it)}
    return Signature("celery.map", (), parts, options, immutable=True)


def xstarmap(task: Any, it: Iterable[Any], **options: Any) -> Signature:
    """Return one job that calls a task with the arguments in each of *it*, and returns a list."""
    parts = {"task": Signature.from_dict(task), "it": list(it)}
    return Signature("celery.starmap", (), parts, options, immutable=True)


SHAPES.update({kind.shape: kind for kind in (chain, group, chord, chunks) if kind.shape})


def signature(task: Any, *args: Any, **kwargs: Any) -> Signature:
    """Return a signature of a task, of a task's name, or of the dict form of a signature."""
    if isinstance(task, Mapping):
        return Signature.from_dict(task)
    return Signature(task, *args, **kwargs)


def maybe_signature(form: Any, app: Any = None, clone: bool = False) -> Any:
    """Return the signature of a dict form; anything else is returned as it is."""
    if not isinstance(form, Mapping):
        return form
    made = Signature.from_dict(form)
    return made.clone() if clone else made


subtask = signature


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


def _restored(made: Signature, form: Mapping[str, Any]) -> Signature:
    made["args"] = tuple(form.get("args", ()))
    made["options"] = dict(form.get("options") or {})
    made["immutable"] = form.get("immutable", False)
    return made
