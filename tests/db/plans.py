"""What the tests submit and report, in as few words as they need."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from dask_facade.ids import new_id
from dask_facade.jobs import Batch, Claim, Job, Release, Written
from dask_facade.ledger.store import Desk, JobStore
from dask_facade.messages import Again, Call, Edge, NewJob, Outcome, Shape
from dask_facade.packing import pack_again
from dask_facade.states import PENDING, RETRY, SUCCESS

AT_ONCE = 0.0
AHEAD = 2.0


def job(id: str = "", **fields: Any) -> NewJob:
    id = id or new_id()
    return NewJob(
        **{
            "id": id,
            "task": "shop.tasks.add",
            "queue": "celery",
            "priority": 0,
            "payload": b"j[[1,2],{}]",
            "preview": "1, 2",
            "due": None,
            "expires": None,
            "delay": 0.0,
            "acks_late": False,
            "ignore_result": False,
            "graph": False,
            "owner": "",
            "root_id": id,
            "parent_id": None,
            "group_id": None,
            "shape": Shape.NOTHING,
            "options": b"",
            "errbacks": b"",
            **fields,
        }
    )


def edge(parent: NewJob, child: NewJob, position: int = 0) -> Edge:
    """A dependency that brings a result to a child with a shape, and none to one without."""
    return Edge(parent.id, child.id, position, child.shape != Shape.NOTHING)


def chain(length: int, shape: int = Shape.FIRST) -> tuple[list[NewJob], list[Edge]]:
    steps = [job(shape=shape if place else Shape.NOTHING) for place in range(length)]
    return steps, [edge(*pair) for pair in pairwise(steps)]


def chord(size: int) -> tuple[list[NewJob], NewJob, list[Edge]]:
    header = [job() for _ in range(size)]
    body = job(shape=Shape.LIST)
    return header, body, [edge(each, body, place) for place, each in enumerate(header)]


def again(
    delay: float = 0.0,
    *,
    options: bytes = b"",
    becomes: Sequence[NewJob] = (),
    jobs: Sequence[NewJob] = (),
    edges: Sequence[Edge] = (),
) -> bytes:
    return pack_again(Again(delay, options, becomes, jobs, edges))


def end(
    of: NewJob, state: str = SUCCESS, *, attempt: int = 1, hand: int = 1, **fields: Any
) -> Outcome:
    now = time.time()
    what = {
        "result": b"j3" if state == SUCCESS else b"cValueError",
        "preview": "3" if state == SUCCESS else "ValueError('no')",
        "traceback": None if state == SUCCESS else "Traceback: ValueError: no",
        "started": now - 0.5,
        "finished": now,
        "runtime": 0.5,
        "again": again() if state in (RETRY, PENDING) else b"",
    }
    return Outcome(id=of.id, attempt=attempt, hand=hand, state=state, **{**what, **fields})


class Led:
    """A ledger, and the desk of the dispatcher that leads it."""

    def __init__(self, store: JobStore, desk: Desk) -> None:
        self.desk = desk
        lease = desk.lead("first", ("tcp://127.0.0.1:1",), b"secret", None)
        assert lease is not None
        self.epoch = lease.epoch
        self.store = store

    def submit(self, *jobs: NewJob, edges: Sequence[Edge] = ()) -> None:
        self.store.submit(jobs, edges, lambda created: None)

    def submitted(self, *jobs: NewJob, edges: Sequence[Edge] = ()) -> None:
        """Submit, and let the leader take all of it up."""
        self.submit(*jobs, edges=edges)
        self.take_up()

    def take_up(self, **options: Any) -> list[str]:
        return [call.id for call in self.calls(**options)]

    def calls(self, **options: Any) -> list[Call]:
        return list(self.taken(**options).ready)

    def taken(
        self,
        *,
        grace: float = AT_ONCE,
        horizon: float = AHEAD,
        limit: int = 1_000,
        without: Sequence[str] = (),
    ) -> Written:
        return self.desk.take_up(self.epoch, grace, horizon, limit, without)

    def write(
        self,
        *,
        outcomes: Sequence[Outcome] = (),
        releases: Sequence[Release] = (),
        claims: Sequence[Claim] = (),
        left: Sequence[str] = (),
    ) -> Written:
        batch = Batch(list(outcomes), list(releases), list(claims), list(left))
        return self.desk.write(self.epoch, batch)

    def claim(self, *jobs: NewJob, attempt: int = 1, hand: int = 1) -> Written:
        return self.write(claims=[claim(each, attempt=attempt, hand=hand) for each in jobs])

    def release(self, *jobs: NewJob, attempt: int = 1, hand: int = 1, lost: int = 0) -> Written:
        return self.write(releases=[Release(each.id, attempt, hand, lost) for each in jobs])

    def end(self, *jobs: NewJob, state: str = SUCCESS, **fields: Any) -> Written:
        return self.write(outcomes=[end(each, state, **fields) for each in jobs])

    def run(self, *jobs: NewJob, state: str = SUCCESS, **fields: Any) -> Written:
        """Claim jobs, then end them."""
        assert len(self.claim(*jobs).claimed) == len(jobs)
        return self.end(*jobs, state=state, **fields)

    def fetch(self, job: NewJob) -> Job:
        return self.store.fetch([job.id])[job.id]

    def states(self, *jobs: NewJob) -> list[str]:
        rows = self.store.fetch([each.id for each in jobs])
        return [rows[each.id].state for each in jobs]


def claim(of: NewJob, *, attempt: int = 1, hand: int = 1) -> Claim:
    return Claim(of.id, attempt, hand, "runner-1", "tcp://127.0.0.1:9")


def ready(written: Written) -> list[str]:
    return [call.id for call in written.ready]


def failed(written: Written) -> list[str]:
    return [outcome.id for outcome in written.failed]


def aware(time: datetime | None) -> bool:
    return time is not None and time.tzinfo is not None
