"""From a signature to a plan: the jobs and edges to be written, and where its results will be.

Pure: a signature is read, never changed, so that one sent twice gives two sets of jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dask_facade.calls import Calls, Place
from dask_facade.chains import OF_THE_BEGIN, _chain
from dask_facade.chords import chord
from dask_facade.endings import Ending, Many, One, layout_of, leaves, only_group
from dask_facade.errbacks import Errbacks, linked_signature
from dask_facade.forms import as_list
from dask_facade.groups import group, is_empty_chain
from dask_facade.lazy import LazyList
from dask_facade.maps import chunks
from dask_facade.messages import Edge, NewJob, Shape
from dask_facade.options import merged, without
from dask_facade.signatures import Signature
from dask_facade.steps import steps_of
from dask_facade.submitter import Submitter


@dataclass(frozen=True, slots=True)
class Plan:
    """What a submission writes."""

    jobs: tuple[NewJob, ...]
    edges: tuple[Edge, ...]
    ending: Ending
    frozen: frozenset[str] = frozenset()  # ids that `Signature.freeze` gave


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
    frozen = frozenset(compiler.calls.frozen)
    return Plan(tuple(compiler.jobs), tuple(compiler.edges), ending, frozen)


class _Compiler:
    def __init__(self, submitter: Submitter) -> None:
        self.calls = Calls(submitter)
        self.edges: list[Edge] = []
        self.errbacks = Errbacks(submitter, self.calls)
        self.jobs: list[NewJob] = []
        self.open: set[int] = set()  # the canvases that are being compiled, one within the other
        self.root_id = submitter.root_id
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
        said = self.errbacks.shared(said)
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
        body_id = self.calls.id_of(merged(said, body.options))
        inner: Mapping[str, Any] = {
            **without(said, (*_OF_THE_END, "link_error")),
            "chord": body_id,
        }
        if isinstance(whole.tasks, group):
            inner = {**merged(inner, whole.tasks.options), "chord": body_id}
        before = list(self.errbacks.same)
        if not _is_open(whole.members) and any(isinstance(each, chord) for each in whole.members):
            self.errbacks.share_with_header(body)
        end = self._group(whole.members, upstream, inner)
        said = {**without(said, OF_THE_BEGIN), "task_id": body_id}
        ending = self.visit(body, end, group_id, said)
        self.errbacks.same = before
        return ending

    def _group(self, members: list[Any], upstream: Ending | None, said: Mapping[str, Any]) -> Many:
        group_id = self.calls.id_of(said)
        said = self.errbacks.parted(said)
        pass_on = self.submitter.early if _is_open(members) else None
        ends: list[Ending] = []
        for member, inner in _flat(members, without(said, _OF_A_GROUP)):
            ends.append(self.visit(member, upstream, group_id, {**inner, "group_index": len(ends)}))
            if pass_on is not None and pass_on(self.jobs, self.edges):
                self.jobs, self.edges = [], []
        return Many(group_id, tuple(ends), upstream)

    def _call(
        self,
        signature: Signature,
        upstream: Ending | None,
        group_id: str | None,
        said: Mapping[str, Any],
    ) -> One:
        job_id = self.calls.id_of(said)
        task = self.submitter.task(signature["task"])
        if task is not None and task.rewrites:
            whole = signature.replace(options={**said, "task_id": job_id})
            signature = self.submitter.rewrite(task, whole)
            said = signature.options
        if self.root_id is None:
            self.root_id = said.get("root_id") or job_id
        shape, count = self._connect(job_id, signature, upstream)
        if task is not None and shape == Shape.NOTHING:
            task.check_arguments(signature["args"], signature["kwargs"])
        payload, parents = self.calls.payload(signature, said, task)
        if parents:
            shape |= Shape.REFERENCES
            self.edges.extend(
                Edge(parent, job_id, behind, takes_result=True)
                for behind, parent in enumerate(parents, count)
            )
        place = Place(
            job_id,
            self.root_id,
            self._parent_of(upstream, said),
            group_id or said.get("group_id"),
            shape,
            waits=bool(count or parents),
            layout=layout_of(upstream, counted=bool(parents)) if shape & Shape.LIST else None,
        )
        errbacks: Sequence[NewJob] = ()
        if said.get("link_error"):
            errbacks = self.errbacks.of(said, self.root_id, follows=isinstance(upstream, One))
        self.jobs.append(
            self.calls.job(signature, said, task, place, payload=payload, errbacks=errbacks)
        )
        end = One(job_id, upstream)
        for link in as_list(said.get("link")):
            self.visit(linked_signature(link), end, None, {})
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
        links = [linked_signature(each).clone() for each in as_list(said["link"])]
        first = {**rest, "link": [each.set(immutable=True) for each in links]}
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
