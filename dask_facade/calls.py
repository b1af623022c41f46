"""A call of a signature, as the job that a submission writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dask_facade.endings import Layout
from dask_facade.exceptions import InvalidTaskId, PayloadTooLarge
from dask_facade.messages import NewJob
from dask_facade.options import (
    begin_of,
    expiry_of,
    may_run_again,
    option,
    owner_of,
    packed,
    preview_of,
    priority_of,
    queue_of,
    told,
)
from dask_facade.packing import pack_jobs
from dask_facade.registry import Runnable
from dask_facade.serialization import as_json, dump_referring, preview, storable
from dask_facade.signatures import Signature
from dask_facade.submitter import Submitter

ID_LIMIT = 255
_PLACING = frozenset({"chord", "group_index"})
"""Options that say where a call stands; those of most members of groups are no others."""


class Place(NamedTuple):
    """Where a call stands in a plan."""

    id: str
    root_id: str
    parent_id: str | None
    group_id: str | None
    shape: int  # how results enter its arguments: Shape
    waits: bool  # for other jobs
    layout: Layout | None = None  # of the results that it takes


class _Terms(NamedTuple):
    """On which terms a call runs, as its signature, its task and the settings say."""

    queue: str
    priority: int
    due: float | None
    delay: float
    expires: float | None
    acks_late: bool
    ignore_result: bool
    owner: str
    told: Mapping[str, Any]  # to its runner


class Calls:
    """Makes jobs of the calls of one submission."""

    __slots__ = ("_submitter", "_usual", "frozen")

    def __init__(self, submitter: Submitter) -> None:
        self.frozen: list[str] = []  # ids that `Signature.freeze` gave
        self._submitter = submitter
        self._usual: dict[str, _Terms] = {}  # of calls of a task of which nothing is said

    def id_of(self, said: Mapping[str, Any]) -> str:
        """Return the id that options say, or a new one."""
        given = said.get("task_id")
        if given is None:
            return self._submitter.new_id()
        if not isinstance(given, str) or not 0 < len(given) <= ID_LIMIT or storable(given) != given:
            raise InvalidTaskId(
                f"task_id must be a string of 1 to {ID_LIMIT} characters that can be stored, "
                f"not {preview(given)}"
            )
        if "frozen" in said:
            self.frozen.append(given)
        return given

    def payload(
        self, signature: Signature, said: Mapping[str, Any], task: Runnable | None
    ) -> tuple[bytes, list[str]]:
        """Return the arguments as bytes, and the jobs that they refer to."""
        submitter = self._submitter
        strict = option("serializer", said, task, submitter.defaults) == "json"
        payload, parents = dump_referring(
            signature["args"], signature["kwargs"], submitter.refer, as_json if strict else None
        )
        if len(payload) > submitter.payload_limit:
            what = f"the argument list of {signature.task}"
            raise PayloadTooLarge(what, len(payload), submitter.payload_limit)
        return payload, parents

    def job(
        self,
        signature: Signature,
        said: Mapping[str, Any],
        task: Runnable | None,
        place: Place,
        *,
        payload: bytes,
        errbacks: Sequence[NewJob] = (),
    ) -> NewJob:
        """Return the job of a call; *said* are its options, and those of the canvas around it."""
        submitter = self._submitter
        terms = self._terms(signature, said, task, place)
        job = NewJob(
            id=place.id,
            task=signature["task"],
            queue=terms.queue,
            priority=terms.priority,
            payload=payload,
            preview=preview_of(said, signature["args"], signature["kwargs"]),
            due=terms.due,
            expires=terms.expires,
            delay=terms.delay,
            acks_late=terms.acks_late,
            ignore_result=terms.ignore_result,
            graph=False,
            owner=terms.owner,
            root_id=place.root_id,
            parent_id=place.parent_id,
            group_id=place.group_id,
            shape=place.shape,
            options=packed(terms.told, submitter.origin, terms.owner),
            errbacks=pack_jobs(errbacks),
        )
        if submitter.publish is not None:
            headers = submitter.publish(signature, job)
            options = told({**said, "headers": headers}, task, submitter.defaults, place.layout)
            job = job._replace(options=packed(options, submitter.origin, terms.owner))
        size, limit = len(payload) + len(job.options), 2 * submitter.payload_limit
        if size > limit:
            raise PayloadTooLarge(f"all that is said of {signature.task}", size, limit)
        return job

    def _terms(
        self, signature: Signature, said: Mapping[str, Any], task: Runnable | None, place: Place
    ) -> _Terms:
        """Return the terms of a call, worked out once for those of which nothing is said."""
        if (said and not said.keys() <= _PLACING) or place.layout is not None:
            return self._said_terms(signature, said, task, place)
        if self._submitter.defaults.route is not None:  # which looks at each
            return self._said_terms(signature, said, task, place)
        name = signature["task"]
        usual = self._usual.get(name)
        if usual is None:
            usual = self._usual[name] = self._said_terms(signature, {}, task, place)
        return usual._replace(told={**usual.told, **said}) if said else usual

    def _said_terms(
        self, signature: Signature, said: Mapping[str, Any], task: Runnable | None, place: Place
    ) -> _Terms:
        submitter, defaults = self._submitter, self._submitter.defaults
        due, delay = begin_of(said, submitter.now, defaults.zone, waits=place.waits)
        call = (signature["task"], signature["args"], signature["kwargs"])
        priority = option("priority", said, task, defaults)
        return _Terms(
            queue=queue_of(said, task, defaults, call=call),
            priority=priority_of(priority, zero_first=defaults.zero_first),
            due=due,
            delay=delay,
            expires=expiry_of(said, task, submitter.now, defaults.zone),
            acks_late=may_run_again(said, task, defaults),
            ignore_result=bool(option("ignore_result", said, task, defaults)),
            owner=owner_of(said.get("user") or said.get("owner")) or submitter.owner,
            told=told(said, task, defaults, place.layout),
        )
