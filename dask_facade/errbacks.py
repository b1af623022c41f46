"""Error callbacks, as jobs that are made when those fail that they are linked to.

Of jobs of which one fails because another did, they are one, and run once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask_facade.calls import Calls, Place
from dask_facade.forms import as_list, plain
from dask_facade.messages import NewJob, Shape
from dask_facade.options import without
from dask_facade.signatures import Signature
from dask_facade.submitter import Submitter

ERRBACK = "dask_facade.errback"
"""The task that submits an error callback which is not one job."""


class Errbacks:
    """The error callbacks of one submission."""

    __slots__ = ("_calls", "_jobs", "_shared", "_submitter", "same")

    def __init__(self, submitter: Submitter, calls: Calls) -> None:
        self.same: list[tuple[Signature, Signature]] = []
        """Signatures, each with the copy that stands for all that are equal to it."""
        self._calls = calls
        self._jobs: dict[str, NewJob] = {}
        self._shared: dict[str, Signature] = {}
        self._submitter = submitter

    def of(self, said: Mapping[str, Any], root_id: str, *, follows: bool) -> list[NewJob]:
        """Return the error callbacks of a job; of one that *follows* another, only of its own."""
        linked = [linked_signature(each) for each in as_list(said["link_error"])]
        if follows:  # what fails before it has called those of its own
            errbacks = [self._job(each, root_id) for each in linked]
            return [each._replace(shape=each.shape | Shape.OWN) for each in errbacks]
        if self.same:
            linked = [next((c for own, c in self.same if own == each), each) for each in linked]
        return [self._job(each, root_id) for each in linked]

    def shared(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give ids to the error callbacks of a chain: they are those of all steps."""
        if not said.get("link_error"):
            return said
        errbacks = []
        for each in map(linked_signature, as_list(said["link_error"])):
            if not each.options.get("task_id"):
                self._shared[shared_id := self._calls.id_of({})] = each
                each = each.clone(task_id=shared_id)
            errbacks.append(each)
        return {**said, "link_error": errbacks}

    def parted(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take those ids back: members of a group fail one by one."""
        if not said.get("link_error") or not self._shared:
            return said
        errbacks = map(linked_signature, as_list(said["link_error"]))
        own = [self._shared.get(each.options.get("task_id", ""), each) for each in errbacks]
        return {**said, "link_error": own}

    def share_with_header(self, body: Signature) -> None:
        """Let the error callbacks of a body be one with equal ones of chords in its header."""
        for each in map(linked_signature, as_list(body.options.get("link_error"))):
            if not each.options.get("task_id"):
                self.same.append((each, each.clone(task_id=self._calls.id_of({}))))

    def _job(self, signature: Signature, root_id: str) -> NewJob:
        """Return the job of an error callback; one that is more than a job submits itself."""
        said = signature.options
        job_id = self._calls.id_of(said)
        if job_id not in self._jobs:
            if signature.is_canvas or said.get("link"):
                whole = plain(signature.replace(options=without(said, ("task_id",))))
                signature = Signature(ERRBACK, (whole,), task_id=job_id)
                said = signature.options
            task = self._submitter.task(signature.task)
            place = Place(
                job_id,
                root_id,
                parent_id=None,
                group_id=None,
                shape=Shape.NOTHING if signature.immutable else Shape.ERROR,
                waits=True,
            )
            own = self.of(said, root_id, follows=False) if said.get("link_error") else ()
            payload, _ = self._calls.payload(signature, said, task)
            self._jobs[job_id] = self._calls.job(
                signature, said, task, place, payload=payload, errbacks=own
            )
        return self._jobs[job_id]


def linked_signature(value: Any) -> Signature:
    """Return the signature that `link` and `link_error` took; raise TypeError for another value."""
    if not isinstance(value, Mapping):
        raise TypeError(f"link and link_error take signatures, such as task.s(), not {value!r}")
    return Signature.from_dict(value)
