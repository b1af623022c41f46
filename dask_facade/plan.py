"""From a signature to a plan: the jobs and edges to be written, and where its results will be.

Pure: a signature is read, never changed, so that one sent twice gives two sets of jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dask_facade.chains import OF_THE_BEGIN, _chain
from dask_facade.chords import chord
from dask_facade.endings import Ending, Layout, Many, One, layout_of, leaves, only_group
from dask_facade.exceptions import InvalidTaskId, PayloadTooLarge
from dask_facade.forms import as_list, plain
from dask_facade.groups import group, is_empty_chain
from dask_facade.lazy import LazyList
from dask_facade.maps import chunks
from dask_facade.messages import Edge, NewJob, Shape, pack_jobs
from dask_facade.options import (
    Defaults,
    begin_of,
    expiry_of,
    may_run_again,
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
from dask_facade.signatures import Signature
from dask_facade.steps import steps_of

ID_LIMIT = 255
ERRBACK = "dask_facade.errback"
"""The task that submits an error callback which is not one job."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a submission writes."""

    jobs: tuple[NewJob, ...]
    edges: tuple[Edge, ...]
    ending: Ending
    frozen: frozenset[str] = frozenset()  # ids that `Signature.freeze` gave


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
    early: Callable[[list[NewJob], list[Edge]], bool] | None = None
    """Gets what is compiled each time that a generator has given a member; tells if it took it."""


def compile_plan(signature: Signature, submitter: Submitter) -> Plan:
    """Return the plan of *signature*.

    Raises TypeError where a task cannot be called with its arguments, EncodeError or
    PayloadTooLarge where they cannot be stored, ValueError for a time without a zone or a canvas
    within itself, InvalidTaskId.
    """
    compiler = _Compiler(submitter)
    try:
        ending = compiler.visit(signature, None, None, {})
    except RecursionError:
        raise ValueError(f"{_WITHIN_ITSELF}, or they are nested too deeply") from None
    frozen = frozenset(compiler.frozen)
    return Plan(tuple(compiler.jobs), tuple(compiler.edges), ending, frozen)


class _Compiler:
    def __init__(self, submitter: Submitter) -> None:
        self.edges: list[Edge] = []
        self.errbacks: dict[str, NewJob] = {}
        self.frozen: list[str] = []
        self.jobs: list[NewJob] = []
        self.open: set[int] = set()  # the canvases that are being compiled, one within the other
        self.root_id = submitter.root_id
        self.same: list[tuple[Signature, Signature]] = []
        self.shared: dict[str, Signature] = {}
        self.submitter = submitter

    def visit(
        self,
        signature: Any,
        upstream: Ending | None,
        group_id: str | None,
        said: Mapping[str, Any],
    ) -> Ending:
        """Add the jobs of *signature*, which take the result of *upstream*; return their end.

        *group_id* is that of the group which the end belongs to; *said* are the options of the
        canvas around it, which the signature's own override.
        """
        if not isinstance(signature, Signature):
            signature = _part(signature)
        own = signature["options"]
        if "chord" in own and not isinstance(own["chord"], str):  # as freeze wrote it
            own = without(own, ("chord",))
        said = merged(said, own)
        if not signature.is_canvas:
            return self._call(signature, upstream, group_id, said)
        if id(signature) in self.open:
            raise ValueError(_WITHIN_ITSELF)
        self.open.add(id(signature))
        try:
            return self._canvas(signature, upstream, group_id, said)
        finally:
            self.open.discard(id(signature))

    def _canvas(
        self,
        signature: Any,
        upstream: Ending | None,
        group_id: str | None,
        said: Mapping[str, Any],
    ) -> Ending:
        if signature["args"]:
            signature = signature.clone()  # gives them to its parts
        match signature:
            case _chain():
                return self._chain(signature, upstream, group_id, said)
            case group():
                return only_group(self._group(signature.tasks, upstream, said))
            case chord(body=None, tasks=group() as header):
                return self.visit(header, upstream, group_id, said)
            case chord(body=None):
                return only_group(self._group(signature.tasks, upstream, said))
            case chord():
                return self._chord(signature, upstream, group_id, said)
            case chunks():
                return self._group(signature.group().tasks, upstream, said)
        raise TypeError(f"nobody knows how to run {type(signature).__name__} {signature!r}")

    def _chain(
        self,
        whole: _chain,
        upstream: Ending | None,
        group_id: str | None,
        said: Mapping[str, Any],
    ) -> Ending:
        steps = steps_of(whole)
        if not steps:
            if upstream is None:
                raise ValueError("an empty chain has nothing to run")
            return upstream
        last = len(steps) - 1
        said = self._shared(said)
        middle = without(said, OF_THE_BEGIN)
        for place, step in enumerate(steps):
            inner: Mapping[str, Any] = middle if place else said
            if place != last:
                inner = {**without(inner, _OF_THE_END), "chain": steps[place + 1]}
            end = self.visit(step, upstream, group_id if place == last else None, inner)
            upstream = end
        return end

    def _chord(
        self,
        whole: Any,
        upstream: Ending | None,
        group_id: str | None,
        said: Mapping[str, Any],
    ) -> Ending:
        body = _part(whole.body)
        body_id = self._id(merged(said, body.options))
        inner: Mapping[str, Any] = {
            **without(said, (*_OF_THE_END, "link_error")),
            "chord": body_id,
        }
        if isinstance(whole.tasks, group):
            inner = {**merged(inner, whole.tasks.options), "chord": body_id}
        before = list(self.same)
        if not _is_open(whole.members) and any(isinstance(each, chord) for each in whole.members):
            self._share_with_header(body)
        end = self._group(whole.members, upstream, inner)
        said = {**without(said, OF_THE_BEGIN), "task_id": body_id}
        ending = self.visit(body, end, group_id, said)
        self.same = before
        return ending

    def _group(self, members: list[Any], upstream: Ending | None, said: Mapping[str, Any]) -> Many:
        group_id = self._id(said)
        said = self._parted(said)
        pass_on = self.submitter.early if _is_open(members) else None
        ends: list[Ending] = []
        for member, inner in _flat(members, without(said, _OF_A_GROUP)):
            ends.append(self.visit(member, upstream, group_id, {**inner, "group_index": len(ends)}))
            if pass_on is not None and pass_on(self.jobs, self.edges):
                self.jobs, self.edges = [], []
        return Many(group_id, tuple(ends), upstream)

    def _id(self, said: Mapping[str, Any]) -> str:
        given = said.get("task_id")
        if given is None:
            return self.submitter.new_id()
        if not isinstance(given, str) or not 0 < len(given) <= ID_LIMIT or storable(given) != given:
            raise InvalidTaskId(
                f"task_id must be a string of 1 to {ID_LIMIT} characters that can be stored, "
                f"not {preview(given)}"
            )
        if "frozen" in said:
            self.frozen.append(given)
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
            self.root_id = said.get("root_id") or job_id
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
                parent_id=self._parent_of(upstream, said),
                group_id=group_id or said.get("group_id"),
                follows=isinstance(upstream, One),
                layout=(layout_of(upstream, counted=bool(parents)) if shape & Shape.LIST else None),
            )
        )
        end = One(job_id, upstream)
        for link in links:
            self.visit(_signature(link), end, None, {})
        return end

    def _parent_of(self, upstream: Ending | None, said: Mapping[str, Any]) -> str | None:
        """Return the job that a call comes from: that of a body is the last of the header."""
        while upstream is not None:
            if isinstance(upstream, One):
                return upstream.id
            ids = list(leaves(upstream))
            if ids:
                return ids[-1]
            upstream = upstream.parent
        return said.get("parent_id") or self.submitter.parent_id

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
        follows: bool = False,
        layout: Layout | None = None,
    ) -> NewJob:
        submitter, defaults = self.submitter, self.submitter.defaults
        name, args, kwargs = signature["task"], signature["args"], signature["kwargs"]
        due, delay = begin_of(said, submitter.now, defaults.zone, waits=waits)
        errbacks = self._errbacks(said, follows=follows) if said.get("link_error") else []
        job = NewJob(
            id=id,
            task=name,
            queue=queue_of(said, task, defaults, call=(name, args, kwargs)),
            priority=priority_of(
                option("priority", said, task, defaults), zero_first=defaults.zero_first
            ),
            payload=payload,
            preview=preview_of(said, args, kwargs),
            due=due,
            expires=expiry_of(said, task, submitter.now, defaults.zone),
            delay=delay,
            acks_late=may_run_again(said, task, defaults),
            ignore_result=bool(option("ignore_result", said, task, defaults)),
            graph=False,
            owner=owner_of(said.get("user") or said.get("owner")) or submitter.owner,
            root_id=self.root_id or id,
            parent_id=parent_id,
            group_id=group_id,
            shape=shape,
            options=packed(told(said, task, defaults, layout), submitter.origin),
            errbacks=pack_jobs(errbacks),
        )
        if submitter.publish is None:
            return job
        headers = submitter.publish(signature, job)
        options = told({**said, "headers": headers}, task, defaults, layout)
        return job._replace(options=packed(options, submitter.origin))

    # Error callbacks: of jobs of which one fails because another did, they are one, and run once.

    def _errbacks(self, said: Mapping[str, Any], *, follows: bool) -> list[NewJob]:
        """Return the error callbacks of a job; of one that *follows* another, only of its own."""
        linked = [_signature(each) for each in as_list(said["link_error"])]
        if follows:  # what fails before it has called those of its own
            errbacks = map(self._errback, linked)
            return [each._replace(shape=each.shape | Shape.OWN) for each in errbacks]
        if self.same:
            linked = [next((c for own, c in self.same if own == each), each) for each in linked]
        return [self._errback(each) for each in linked]

    def _shared(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give ids to the error callbacks of a chain: they are those of all steps."""
        if not said.get("link_error"):
            return said
        errbacks = []
        for each in map(_signature, as_list(said["link_error"])):
            if not each.options.get("task_id"):
                self.shared[shared_id := self._id({})] = each
                each = each.clone(task_id=shared_id)
            errbacks.append(each)
        return {**said, "link_error": errbacks}

    def _parted(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take those ids back: members of a group fail one by one."""
        if not said.get("link_error") or not self.shared:
            return said
        errbacks = map(_signature, as_list(said["link_error"]))
        own = [self.shared.get(each.options.get("task_id", ""), each) for each in errbacks]
        return {**said, "link_error": own}

    def _share_with_header(self, body: Signature) -> None:
        """Let the error callbacks of a body be one with equal ones of chords in its header."""
        for each in map(_signature, as_list(body.options.get("link_error"))):
            if not each.options.get("task_id"):
                self.same.append((each, each.clone(task_id=self._id({}))))

    def _errback(self, signature: Signature) -> NewJob:
        """Return the job of an error callback; one that is more than a job submits itself."""
        said = signature.options
        job_id = self._id(said)
        if job_id not in self.errbacks:
            if signature.is_canvas or said.get("link"):
                whole = plain(signature.replace(options=without(said, ("task_id",))))
                signature = Signature(ERRBACK, (whole,), task_id=job_id)
                said = signature.options
            task = self.submitter.task(signature.task)
            self.errbacks[job_id] = self._job(
                signature,
                said,
                task,
                id=job_id,
                payload=self._payload(signature, said, task)[0],
                shape=Shape.NOTHING if signature.immutable else Shape.ERROR,
                waits=True,
                parent_id=None,
                group_id=None,
            )
        return self.errbacks[job_id]


_WITHIN_ITSELF = "the canvas has itself among its parts or callbacks"
_OF_THE_END = ("task_id", "link", "chain", "chord", "group_id", "group_index")
"""Options of a canvas that are those of what comes last in it."""
_OF_A_GROUP = ("task_id", "chain", "group_id")
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
    for each in members:
        member = each if isinstance(each, Signature) else _part(each)
        if not member.is_canvas:
            yield member, first
        elif isinstance(member, group):
            yield from _flat(member.tasks, without(merged(first, member.options), ("task_id",)))
        elif is_empty_chain(member):
            continue
        else:
            yield member, first
        first = rest


def _is_open(members: list[Any]) -> bool:
    """Tell whether there are members that nobody has made yet."""
    return isinstance(members, LazyList) and not members.is_complete


def _part(value: Any) -> Signature:
    if not isinstance(value, Mapping):
        raise TypeError(f"a canvas is made of signatures, such as task.s(), not of {value!r}")
    return Signature.from_dict(value)


def _signature(value: Any) -> Signature:
    if not isinstance(value, Mapping):
        raise TypeError(f"link and link_error take signatures, such as task.s(), not {value!r}")
    return Signature.from_dict(value)
