"""Chains: signatures that run one after another, and what ``|`` makes of signatures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Any

from dask_facade.chords import _strip_chord_header_links, chord
from dask_facade.forms import as_list
from dask_facade.groups import (
    Listed,
    copied,
    given_to,
    group,
    is_empty_group,
    maybe_unroll_group,
    restored,
    shortened,
    submitted,
)
from dask_facade.signatures import Signature, maybe_signature
from dask_facade.steps import cut_off, first_behind, flat_steps, is_nothing

OF_THE_BEGIN = ("countdown", "eta")
"""Options of a canvas that are those of what comes first in it."""
_OF_THE_END = ("task_id", "link", "group_id", "group_index", "chord")
"""Those of what comes last."""


@Signature.register_type("chain")
class _chain(Listed):
    """Signatures that run one after another, each with the result of the one before, as given."""

    shape = "chain"
    _frozen: Any = None

    def __init__(self, *tasks: Any, **options: Any) -> None:
        options.pop("use_link", None)
        steps: Iterable[Any] = tasks
        if len(tasks) == 1 and not isinstance(tasks[0], dict) and isinstance(tasks[0], Iterable):
            (steps,) = tasks
        steps = [maybe_signature(each) for each in steps]
        super().__init__("celery.chain", (), {"tasks": steps}, **options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        """Return the chain that a dict form describes."""
        steps = [maybe_signature(each, app=app) for each in d["kwargs"]["tasks"] or ()]
        return restored(cls(steps, app=app, **(d.get("options") or {})), d)

    def clone(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Signature:
        """Return a copy; *args* and *kwargs* go to the first step."""
        given = given_to(self, args)
        steps = [maybe_signature(each).clone() for each in self.tasks]
        if given or kwargs:
            for place, step in enumerate(steps):
                if not is_nothing(step):
                    steps[place] = step.clone(given, kwargs)
                    break
        return copied(self, {"tasks": steps}, options)

    def unchain_tasks(self) -> list[Any]:
        """Return copies of the steps, with all that the options of the chain mean for each.

        What is linked to the chain is linked to the last one; its error callbacks are those of
        all, each with a copy of its own.
        """
        steps = [each.clone() for each in self.tasks]
        options = self.options
        for place, step in enumerate(steps):
            is_first, is_last = place == 0, place == len(steps) - 1
            for name, value in options.items():
                if name == "link_error":
                    for errback in as_list(value):
                        step.link_error(maybe_signature(errback, clone=True))
                elif name == "link":
                    for callback in as_list(value) if is_last else ():
                        step.link(callback)
                elif (is_first or name not in OF_THE_BEGIN) and (
                    is_last or name not in _OF_THE_END
                ):
                    step.options.setdefault(name, value)
        return steps

    def stamp(
        self, visitor: Any = None, append_stamps: bool = False, **headers: Any
    ) -> Signature | None:
        """Stamp every step."""
        said = None if visitor is None else visitor.on_chain_start(self, **headers) or {}
        headers = self._stamped(said, append_stamps, headers)
        self.stamp_links(visitor, append_stamps, **headers)
        for each in self.tasks:
            each.stamp(visitor, append_stamps, **headers)
        if visitor is not None:
            visitor.on_chain_end(self, **headers)
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
        """Give its jobs ids; return the result object of the last, behind those of the others.

        Its own id is then that of the last. Raises ValueError for a chain without steps.
        """
        self._frozen = self.prepare_steps(
            self.args,
            self.kwargs,
            self.tasks,
            root_id,
            parent_id,
            app=self._app,
            last_task_id=_id,
            group_id=group_id,
            chord_body=chord,
            clone=False,
            group_index=group_index,
        )
        _, results = self._frozen
        if not results:
            raise ValueError("an empty chain has no jobs that could be given ids")
        return results[0]

    _freeze = freeze

    def prepare_steps(
        self,
        args: Iterable[Any] | None,
        kwargs: Mapping[str, Any] | None,
        tasks: Iterable[Any],
        root_id: str | None = None,
        parent_id: str | None = None,
        link_error: Any = None,
        app: Any = None,
        last_task_id: str | None = None,
        group_id: str | None = None,
        chord_body: Any = None,
        clone: bool = True,
        from_dict: Any = Signature.from_dict,
        group_index: int | None = None,
    ) -> tuple[list[Any], list[Any]]:
        """Return (the steps, their result objects), both with the last first, with ids.

        Chains among *tasks* are taken apart, what is nothing is left out, and a group with a step
        behind it becomes a chord. Without *clone* ids are written into the signatures themselves.
        *args* and *kwargs* go to the first step, the other arguments to the last, error callbacks
        to all.
        """
        steps = flat_steps((maybe_signature(each) for each in tasks), clone=clone)
        if steps and clone:
            steps[0] = steps[0].clone(args, kwargs)
        elif steps and args:
            steps[0].args = (*args, *steps[0].args)
        prepared: list[Any] = []
        results: list[Any] = []
        for step in reversed(steps):
            before: Any = None
            if prepared and isinstance(step, group):
                body, ended = prepared.pop(), results.pop()
                before = cut_off(results, ended)
                header, step = step, chord((), body, app=app)
                step.tasks = header
            if not prepared:
                last_id = last_task_id
                ids = {"group_id": group_id, "chord": chord_body, "group_index": group_index}
            else:
                last_id, ids = None, {}
            result = step.freeze(last_id, root_id=root_id, **ids)
            follower = before if before is not None else results[-1] if results else None
            if follower is not None:
                first_behind(follower).parent = result
            for errback in as_list(link_error):
                step.link_error(errback)
            prepared.append(step)
            results.append(result)
        self.id = results[0].id if results else last_task_id
        if clone:
            for step in prepared:
                _strip_chord_header_links(step)
        return prepared, results

    # Submitting

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit it with arguments and options added; return the result object of its end.

        None for a chain without steps, which is nothing to be run.
        """
        return submitted(self, args, kwargs, options) if self.tasks else None

    def run(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        app: Any = None,
        **options: Any,
    ) -> Any:
        """Submit it, as `apply_async` does."""
        return self.apply_async(args, kwargs, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Submit it, as Celery does."""
        return self.apply_async(args, kwargs) if self.tasks else None

    # Joining

    @staticmethod
    def joined(left: Signature, right: Any) -> Any:
        """Return what a signature is with another behind it."""
        if isinstance(right, _chain):
            return _chain([left, *right.unchain_tasks()], app=left._app)
        if isinstance(right, group):
            return _chain([left, maybe_unroll_group(right)], app=left._app)
        if isinstance(right, Signature):
            return _chain([left, right], app=left._app)
        return NotImplemented

    def __or__(self, other: Any) -> Any:
        """Return the chain with *other* behind it."""
        if not isinstance(other, Signature):
            return NotImplemented
        if is_empty_group(other):
            return self
        steps = self.unchain_tasks()
        merged = _merge_chain_step(steps, other, clone_other=False)
        if merged is not steps:
            return merged
        led = bool(self.tasks) and isinstance(self.tasks[-1], group)
        if led and len(steps) > 1 and isinstance(steps[-2], chord):
            last = steps.pop()  # which something has just made a chord
            steps[-1].follow_with(last)
        return type(self)(steps, app=self._app)

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<{type(self).__name__}: empty>"
        return shortened(self.tasks, " | ".join(map(repr, self.tasks)))


class chain(_chain):
    """Signatures that run one after another, each with the result of the one before.

    ``chain(a, b)`` and ``chain([a, b])`` are what ``a | b`` is: a group followed by something
    becomes a chord, chains in it are taken apart.
    """

    def __new__(cls, *tasks: Any, **options: Any) -> Any:
        several = len(tasks) > 1 or (
            len(tasks) == 1 and not isinstance(tasks[0], dict) and isinstance(tasks[0], Iterable)
        )
        if options or not several:
            return super().__new__(cls)
        made = _fold_chain(tasks if len(tasks) > 1 else tasks[0])
        if cls is not chain and isinstance(made, _chain) and not isinstance(made, cls):
            return cls(made.tasks, app=made._app, **made.options)
        return made


def _fold_chain(tasks: Iterable[Any]) -> Any:
    """Return what joining *tasks* with ``|`` comes to, without a copy of all for each of them."""
    members = [maybe_signature(each) for each in tasks]
    if not all(isinstance(each, Signature) for each in members):
        return reduce(or_, members, _chain())  # what is none may know how it is joined
    steps: list[Any] = []
    made = _merged(steps, members, clone_last=False)
    if made is not steps:
        return made
    for place in range(len(steps) - 1):
        steps[place] = steps[place].clone()
    return _chain(steps)


def _merge_chain_step(steps: list[Any], other: Any, clone_other: bool = True) -> Any:
    """Put *other* behind *steps* and return them, or what else comes of both.

    NotImplemented where *other* is no signature. What is put there is a copy, where that is asked
    for; a chord among *steps* is changed.
    """
    if not isinstance(other, Signature):
        return NotImplemented
    if is_empty_group(other):
        return steps
    if isinstance(other, _chain):
        return _merged(steps, other.unchain_tasks(), clone_last=clone_other)
    if isinstance(other, group):
        other = maybe_unroll_group(other)
    last = steps[-1] if steps else None
    if isinstance(other, group):
        if last is None:
            return other
        if isinstance(last, chord):
            last.follow_with(other)
            return steps
    elif isinstance(last, group):
        steps[-1] = chord(last, other.clone() if clone_other else other, app=last._app)
        return steps
    elif isinstance(last, chord) and not isinstance(other, chord):
        last.follow_with(other)
        return steps
    steps.append(other.clone() if clone_other else other)
    return steps


def _merged(steps: list[Any], others: Iterable[Signature], *, clone_last: bool) -> Any:
    """Do what `_merge_chain_step` does with one after another, all copied but maybe the last."""
    made: Any = steps
    waiting = deque(others)
    while waiting and made is steps:
        other = waiting.popleft()
        made = _merge_chain_step(steps, other, clone_other=clone_last or len(waiting) > 0)
    return made if made is steps else reduce(or_, waiting, made)
