"""From a signature to a plan: the jobs and edges to be written, and where its results will be.

Pure: a signature is read, never changed, so that one sent twice gives two sets of jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dask_facade.canvas import chain, chord, chunks, group
from dask_facade.exceptions import InvalidTaskId, PayloadTooLarge
from dask_facade.messages import Edge, NewJob, Shape, pack_jobs
from dask_facade.options import (
    Defaults,
    begin_of,
    expiry_of,
    merged,
    option,
    owner_of,
    packed,
    preview_of,
    priority_of,
    queue_of,
    told,
    without,
)
from dask_facade.registry import Runnable
from dask_facade.serialization import (
    Refer,
    as_json,
    dump_referring,
    preview,
    storable,
)
from dask_facade.signatures import Signature, as_list, plain

ID_LIMIT = 255
ERRBACK = "dask_facade.errback"
"""The task that submits an error callback which is not one job."""


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
class Submitter:
    """Who submits: what compiling needs to know beside the signature."""

    task: Callable[[str], Runnable | None]  # by name; None: not known here, which is allowed
    defaults: Defaults
    new_id: Callable[[], str]
    now: float  # seconds since the epoch; what a countdown counts from
    payload_limit: int  # bytes
    parent_id: str | None = None  # the job that submits this, if one does
    root_id: str | None = None
    owner: str = ""  # of what says none
    origin: str = ""  # the process that submits, as people may know it
    refer: Refer = lambda value: None
    rewrite: Callable[[Runnable, Signature], Signature] = lambda task, signature: signature
    """Asks a task what it makes of a call: a class may have its own ``apply_async``."""
    publish: Callable[[Signature, NewJob], Mapping[str, Any]] | None = None
    """Says that a call is about to be submitted, and returns its headers."""


def compile_plan(signature: Signature, submitter: Submitter) -> Plan:
    """Return the plan of *signature*.

    Raises TypeError where a task cannot be called with its arguments, EncodeError or
    PayloadTooLarge where they cannot be stored, ValueError for a time without a zone,
    InvalidTaskId.
    """
    compiler = _Compiler(submitter)
    ending = compiler.visit(signature, None, None, {})
    return Plan(tuple(compiler.jobs), tuple(compiler.edges), ending)


class _Compiler:
    def __init__(self, submitter: Submitter) -> None:
        self.edges: list[Edge] = []
        self.errbacks: dict[str, NewJob] = {}
        self.jobs: list[NewJob] = []
        self.root_id = submitter.root_id
        self.submitter = submitter

    def visit(
        self,
        signature: Signature,
        upstream: Ending | None,
        group_id: str | None,
        said: Mapping[str, Any],
    ) -> Ending:
        """Add the jobs of *signature*, which take the result of *upstream*; return their end.

        *group_id* is that of the group which the end belongs to; *said* are the options of the
        canvas around it, which the signature's own override.
        """
        said = merged(said, signature["options"])
        match signature:
            case chain():
                return self._chain(signature.tasks, upstream, group_id, self._shared(said))
            case group():
                return self._group(signature.tasks, upstream, said)
            case chord(header=header, body=body):
                if body is None:
                    return self.visit(header, upstream, group_id, said)
                return self._chord(header, body, upstream, group_id, self._shared(said))
            case chunks():
                return self._group(signature.group().tasks, upstream, said)
        return self._call(signature, upstream, group_id, said)

    def _chain(
        self,
        steps: list[Signature],
        upstream: Ending | None,
        group_id: str | None,
        said: Mapping[str, Any],
    ) -> Ending:
        if not steps:
            raise ValueError("an empty chain has nothing to run")
        last = len(steps) - 1
        middle = without(said, _OF_THE_BEGIN)
        for place, step in enumerate(steps):
            inner: Mapping[str, Any] = middle if place else said
            if place != last:
                inner = {**without(inner, _OF_THE_END), "chain": steps[place + 1]}
            end = self.visit(step, upstream, group_id if place == last else None, inner)
            upstream = end
        return end

    def _chord(
        self,
        header: Signature,
        body: Signature,
        upstream: Ending | None,
        group_id: str | None,
        said: Mapping[str, Any],
    ) -> Ending:
        body_id = self._id(merged(said, body.options))
        inner = {**without(said, _OF_THE_END), "chord": body_id}
        if not self.submitter.defaults.errors_on_headers:
            inner.pop("link_error", None)
        end = self.visit(header, upstream, None, inner)
        return self.visit(body, end, group_id, {**without(said, _OF_THE_BEGIN), "task_id": body_id})

    def _group(
        self, members: list[Signature], upstream: Ending | None, said: Mapping[str, Any]
    ) -> Ending:
        group_id = self._id(said)
        flat = _flat(members, without(said, _OF_A_GROUP))
        ends = tuple(
            self.visit(member, upstream, group_id, {**inner, "group_index": index})
            for index, (member, inner) in enumerate(flat)
        )
        if len(ends) == 1 and isinstance(ends[0], Many):
            return ends[0]
        return Many(group_id, ends, upstream)

    def _id(self, said: Mapping[str, Any]) -> str:
        given = said.get("task_id")
        if given is None:
            return self.submitter.new_id()
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
        said: Mapping[str, Any],
    ) -> One:
        job_id = self._id(said)
        task = self.submitter.task(signature["task"])
        if task is not None and task.rewrites:
            whole = signature.replace(options={**said, "task_id": job_id})
            signature = self.submitter.rewrite(task, whole)
            said = signature.options
        if self.root_id is None:
            self.root_id = job_id
        shape, place = self._connect(job_id, signature, upstream)
        if task is not None and shape == Shape.NOTHING:
            task.check_arguments(signature["args"], signature["kwargs"])
        payload, parents = self._payload(signature, said, task)
        if parents:
            shape |= Shape.REFERENCES
            self.edges.extend(
                Edge(parent, job_id, behind, takes_result=True)
                for behind, parent in enumerate(parents, place)
            )
        said = self._shared(said)
        links = as_list(said.get("link"))
        self.jobs.append(
            self._job(
                signature,
                said,
                task,
                id=job_id,
                payload=payload,
                shape=shape,
                waits=bool(place or parents),
                parent_id=upstream.id if isinstance(upstream, One) else self.submitter.parent_id,
                group_id=group_id,
            )
        )
        end = One(job_id, upstream)
        for link in links:
            self.visit(_signature(link), end, None, {})
        return end

    def _connect(
        self, job_id: str, signature: Signature, upstream: Ending | None
    ) -> tuple[int, int]:
        """Add the edges to *upstream*; return how its results enter the arguments, and how many."""
        if upstream is None:
            return Shape.NOTHING, 0
        takes = has_results = not signature.immutable
        parents, before = list(leaves(upstream)), upstream.parent
        while not parents and before is not None:  # behind an empty group
            parents, before, has_results = list(leaves(before)), before.parent, False
        self.edges.extend(
            Edge(parent, job_id, position, has_results) for position, parent in enumerate(parents)
        )
        if not takes:
            return Shape.NOTHING, len(parents)
        return (Shape.FIRST if isinstance(upstream, One) else Shape.LIST), len(parents)

    def _payload(
        self, signature: Signature, said: Mapping[str, Any], task: Runnable | None
    ) -> tuple[bytes, list[str]]:
        """Return the arguments as bytes, and the jobs that they refer to."""
        submitter = self.submitter
        strict = option("serializer", said, task, submitter.defaults) == "json"
        payload, parents = dump_referring(
            signature["args"], signature["kwargs"], submitter.refer, as_json if strict else None
        )
        if len(payload) > submitter.payload_limit:
            what = f"the argument list of {signature.task}"
            raise PayloadTooLarge(what, len(payload), submitter.payload_limit)
        return payload, parents

    def _job(
        self,
        signature: Signature,
        said: Mapping[str, Any],
        task: Runnable | None,
        *,
        id: str,
        payload: bytes,
        shape: int,
        waits: bool,
        parent_id: str | None,
        group_id: str | None,
    ) -> NewJob:
        submitter, defaults = self.submitter, self.submitter.defaults
        name, args, kwargs = signature["task"], signature["args"], signature["kwargs"]
        due, delay = begin_of(said, submitter.now, defaults.zone, waits=waits)
        errbacks = [self._errback(each) for each in as_list(said.get("link_error"))]
        job = NewJob(
            id=id,
            task=name,
            queue=queue_of(said, task, defaults, call=(name, args, kwargs)),
            priority=priority_of(option("priority", said, task, defaults)),
            payload=payload,
            preview=preview_of(said, args, kwargs),
            due=due,
            expires=expiry_of(said, task, submitter.now, defaults.zone),
            delay=delay,
            acks_late=bool(option("acks_late", said, task, defaults)),
            ignore_result=bool(option("ignore_result", said, task, defaults)),
            graph=False,
            owner=owner_of(said.get("user") or said.get("owner")) or submitter.owner,
            root_id=self.root_id or id,
            parent_id=parent_id,
            group_id=group_id,
            shape=shape,
            options=packed(told(said, task, defaults), submitter.origin),
            errbacks=pack_jobs(errbacks),
        )
        if submitter.publish is None:
            return job
        headers = submitter.publish(signature, job)
        options = told({**said, "headers": headers}, task, defaults)
        return job._replace(options=packed(options, submitter.origin))

    def _shared(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give ids to error callbacks, so that those of several jobs are one, and run once."""
        if not said.get("link_error"):
            return said
        errbacks = [_signature(each) for each in as_list(said["link_error"])]
        return {
            **said,
            "link_error": [
                each if each.options.get("task_id") else each.clone(task_id=self._id({}))
                for each in errbacks
            ],
        }

    def _errback(self, signature: Signature) -> NewJob:
        """Return the job of an error callback; one that is more than a job submits itself."""
        said = signature.options
        job_id = self._id(said)
        if job_id not in self.errbacks:
            if type(signature) is not Signature or said.get("link"):
                whole = plain(signature.replace(options=without(said, ("task_id",))))
                signature = Signature(ERRBACK, (whole,), task_id=job_id)
                said = signature.options
            task = self.submitter.task(signature.task)
            shared = self._shared(said)
            self.errbacks[job_id] = self._job(
                signature,
                shared,
                task,
                id=job_id,
                payload=self._payload(signature, shared, task)[0],
                shape=Shape.NOTHING if signature.immutable else Shape.ERROR,
                waits=True,
                parent_id=None,
                group_id=None,
            )
        return self.errbacks[job_id]


def leaves(ending: Ending) -> Iterator[str]:
    """Return the ids of the jobs that end *ending*, in order; nested groups are flattened."""
    match ending:
        case One(id):
            yield id
        case Many(members=members):
            for member in members:
                yield from leaves(member)


_OF_THE_BEGIN = ("countdown", "eta")
"""Options of a canvas that are those of what comes first in it."""
_OF_THE_END = ("task_id", "link", "chain", "chord", "group_index")
"""Those of what comes last."""
_OF_A_GROUP = ("task_id", "chain")
"""Those of a group that are not its members'."""


def _flat(
    members: list[Signature], said: Mapping[str, Any]
) -> Iterator[tuple[Signature, Mapping[str, Any]]]:
    """Yield members and what is said of them; those of a group among them are members, too.

    What is linked to a group runs once its first member has ended well, without the result.
    """
    rest = first = without(said, ("link",))
    if said.get("link"):
        links = [_signature(each).clone().set(immutable=True) for each in as_list(said["link"])]
        first = {**rest, "link": links}
    for member in members:
        if isinstance(member, group):
            yield from _flat(member.tasks, without(merged(first, member.options), ("task_id",)))
        else:
            yield member, first
        first = rest


def _signature(value: Any) -> Signature:
    if not isinstance(value, Mapping):
        raise TypeError(f"link and link_error take signatures, such as task.s(), not {value!r}")
    return Signature.from_dict(value)
