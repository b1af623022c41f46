"""From a signature to a plan: the jobs and edges to be written, and where its results will be.

Pure: a signature is read, never changed, so that one sent twice gives two sets of jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dask_facade.canvas import Signature, chain, chord, group
from dask_facade.exceptions import InvalidTaskId, PayloadTooLarge
from dask_facade.jobs import Edge, NewJob
from dask_facade.messages import Shape
from dask_facade.registry import Runnable
from dask_facade.serialization import dump_arguments, preview, preview_arguments, storable

ID_LIMIT = 255


@dataclass(frozen=True, slots=True)
class One:
    """The end of a signature that is one job."""

    id: str
    parent: Ending | None


@dataclass(frozen=True, slots=True)
class Many:
    """The end of a signature that is a group."""

    group_id: str
    members: tuple[Ending, ...]
    parent: Ending | None


Ending = One | Many


@dataclass(frozen=True, slots=True)
class Plan:
    """What a submission writes."""

    jobs: tuple[NewJob, ...]
    edges: tuple[Edge, ...]
    ending: Ending


@dataclass(frozen=True, slots=True)
class Context:
    """What compiling needs to know beside the signature."""

    task: Callable[[str], Runnable | None]  # by name; None: not known here, which is allowed
    defaults: Mapping[str, Any]  # options for tasks that do not say: queue, priority ...
    new_id: Callable[[], str]
    now: datetime  # aware; what a countdown counts from
    payload_limit: int  # bytes
    parent_id: str | None = None  # the job that submits this, if one does
    root_id: str | None = None


def compile_plan(signature: Signature, context: Context) -> Plan:
    """Return the plan of *signature*.

    Raises TypeError where a task cannot be called with its arguments, EncodeError or
    PayloadTooLarge where they cannot be stored, InvalidTaskId.
    """
    compiler = _Compiler(context)
    ending = compiler.visit(signature, None, None, {})
    return Plan(tuple(compiler.jobs), tuple(compiler.edges), ending)


class _Compiler:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.edges: list[Edge] = []
        self.jobs: list[NewJob] = []
        self.root_id = context.root_id

    def visit(
        self,
        signature: Signature,
        upstream: Ending | None,
        group_id: str | None,
        options: Mapping[str, Any],
    ) -> Ending:
        """Add the jobs of *signature*, which take the result of *upstream*; return their end.

        *group_id* is that of the group which the end belongs to; *options* are those of the
        canvas around it, which the signature's own override.
        """
        options = {**options, **signature.options}
        match signature:
            case chain():
                return self._chain(signature.tasks, upstream, group_id, options)
            case group():
                return self._group(signature.tasks, upstream, options)
            case chord(header=header, body=body):
                if body is None:
                    return self.visit(header, upstream, group_id, options)
                return self._chain([header, body], upstream, group_id, options)
        return self._call(signature, upstream, group_id, options)

    def _chain(
        self,
        steps: list[Signature],
        upstream: Ending | None,
        group_id: str | None,
        options: Mapping[str, Any],
    ) -> Ending:
        if not steps:
            raise ValueError("an empty chain has nothing to run")
        last = len(steps) - 1
        for place, step in enumerate(steps):
            inner = dict(options)
            if place != last:
                inner.pop("task_id", None)
            if place != 0:  # what comes first is delayed, and all else with it
                inner.pop("countdown", None)
                inner.pop("eta", None)
            end = self.visit(step, upstream, group_id if place == last else None, inner)
            upstream = end
        return end

    def _group(
        self, members: list[Signature], upstream: Ending | None, options: Mapping[str, Any]
    ) -> Ending:
        group_id = self._id(options)
        ends = tuple(self._members(members, upstream, group_id, options))
        if len(ends) == 1 and isinstance(ends[0], Many):
            return ends[0]
        return Many(group_id, ends, upstream)

    def _members(
        self,
        members: list[Signature],
        upstream: Ending | None,
        group_id: str,
        options: Mapping[str, Any],
    ) -> Iterator[Ending]:
        """Add the jobs of *members*; those of a group among them become members themselves."""
        inner = {name: value for name, value in options.items() if name != "task_id"}
        for member in members:
            if isinstance(member, group):
                nested = {**inner, **member.options}
                yield from self._members(member.tasks, upstream, group_id, nested)
            else:
                yield self.visit(member, upstream, group_id, inner)

    def _id(self, options: Mapping[str, Any]) -> str:
        given = options.get("task_id")
        if given is None:
            return self.context.new_id()
        if not isinstance(given, str) or not 0 < len(given) <= ID_LIMIT or storable(given) != given:
            raise InvalidTaskId(
                f"task_id must be a string of 1 to {ID_LIMIT} characters that can be stored, "
                f"not {preview(given)}"
            )
        return given

    def _call(
        self,
        signature: Signature,
        upstream: Ending | None,
        group_id: str | None,
        options: Mapping[str, Any],
    ) -> One:
        context = self.context
        job_id = self._id(options)
        task = context.task(signature.task)
        if self.root_id is None:
            self.root_id = job_id
        shape = self._connect(job_id, signature, upstream)
        if task is not None and shape == Shape.NOTHING:
            task.check_arguments(signature.args, signature.kwargs)
        payload = dump_arguments(signature.args, signature.kwargs)
        if len(payload) > context.payload_limit:
            what = f"the argument list of {signature.task}"
            raise PayloadTooLarge(what, len(payload), context.payload_limit)
        self.jobs.append(
            NewJob(
                id=job_id,
                task=signature.task,
                queue=str(_option("queue", options, task, context.defaults)),
                priority=int(_option("priority", options, task, context.defaults)),
                payload=payload,
                preview=preview_arguments(signature.args, signature.kwargs),
                eta=_eta(options, context.now, upstream),
                acks_late=bool(_option("acks_late", options, task, context.defaults)),
                ignore_result=bool(_option("ignore_result", options, task, context.defaults)),
                root_id=self.root_id,
                parent_id=upstream.id if isinstance(upstream, One) else context.parent_id,
                group_id=group_id,
                shape=shape,
            )
        )
        return One(job_id, upstream)

    def _connect(self, job_id: str, signature: Signature, upstream: Ending | None) -> int:
        """Add the edges to *upstream*; return how its results enter the arguments."""
        if upstream is None:
            return Shape.NOTHING
        takes = has_results = not signature.immutable
        parents, before = list(leaves(upstream)), upstream.parent
        while not parents and before is not None:  # behind an empty group
            parents, before, has_results = list(leaves(before)), before.parent, False
        self.edges.extend(
            Edge(parent, job_id, position, has_results) for position, parent in enumerate(parents)
        )
        if not takes:
            return Shape.NOTHING
        return Shape.FIRST if isinstance(upstream, One) else Shape.LIST


def leaves(ending: Ending) -> Iterator[str]:
    """Return the ids of the jobs that end *ending*, in order; nested groups are flattened."""
    match ending:
        case One(id):
            yield id
        case Many(members=members):
            for member in members:
                yield from leaves(member)


def _option(
    name: str, options: Mapping[str, Any], task: Runnable | None, defaults: Mapping[str, Any]
) -> Any:
    value = options.get(name)
    if value is None and task is not None:
        value = getattr(task, name)
    return defaults[name] if value is None else value


def _eta(options: Mapping[str, Any], now: datetime, upstream: Ending | None) -> datetime | None:
    countdown, eta = options.get("countdown"), options.get("eta")
    if countdown is None and eta is None:
        return None
    if upstream is not None:
        raise NotImplementedError(
            "countdown and eta on a step that waits for another job are not supported yet"
        )
    if countdown is not None:
        return now + timedelta(seconds=float(countdown))
    if not isinstance(eta, datetime) or eta.tzinfo is None:
        raise ValueError(f"eta must be a datetime with a time zone, not {eta!r}")
    return eta
