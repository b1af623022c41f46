"""The ledger in memory and the one in a database do the same, whatever they are told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connections
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from dask_facade.exceptions import LeadershipLost, LedgerRefused
from dask_facade.jobs import Batch, Ending, Job, Release, Saying
from dask_facade.ledger.memory import MemoryStore
from dask_facade.ledger.orm import OrmStore
from dask_facade.messages import Edge, Shape, Spawn, Update
from dask_facade.packing import pack_jobs
from dask_facade.states import ABORTED, FAILURE, PENDING, READY_STATES, RETRY, STARTED, SUCCESS
from tests.db.plans import Led, again, claim, end, job

PAST = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
FUTURE = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
TIMES = st.sampled_from([None, None, None, PAST, FUTURE])
DELAYS = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1_000.0])
SHAPES = st.sampled_from(
    [
        *(Shape.NOTHING, Shape.FIRST, Shape.LIST),
        *(Shape.FIRST | Shape.REFERENCES, Shape.REFERENCES),
    ]
)
ENDS = st.sampled_from([SUCCESS, SUCCESS, SUCCESS, FAILURE, *sorted(READY_STATES), RETRY, PENDING])
KEPT = st.sampled_from([{}, {}, {"key": "k1", "size": 7}, {"key": "k2", "size": 9, "result": None}])
FEW = st.integers(0, 4)


def told(calls):
    """Calls, but for what no two ledgers share: their own times, and which is ready first."""
    return sorted(
        repr(
            call._replace(
                created=0.0, due=call.due if call.due in (PAST, FUTURE) else call.due and 0
            )
        )
        for call in calls
    )


def comparable(written):
    return (
        written.outcomes,
        [outcome._replace(finished=0.0) for outcome in written.failed],
        written.released,
        written.claimed,
        told(written.ready),
    )


def make_machine(alias, desk):
    class Twins(RuleBasedStateMachine):
        @initialize()
        def begin(self):
            with connections[alias].cursor() as cursor:
                for table in ("job", "edge", "request", "lease", "queue"):
                    cursor.execute(f"DELETE FROM dask_facade_{table}")
            memory = MemoryStore()
            self.twins = [Led(memory, memory.open_desk()), Led(OrmStore(alias), desk)]
            self.jobs = []
            self.lives = {}
            self.plans = 0

        def both(self, act):
            """Do the same to both ledgers; return what both say."""
            mine, its = (refused_or(act, twin) for twin in self.twins)
            assert mine == its
            return mine

        @invariant()
        def lives_go_one_way(self):
            """Nothing but its next attempt moves a job that has ended."""
            lives = {}
            for id, row in self.rows().items() if getattr(self, "twins", None) else ():
                lives[id] = now = (row.attempt, row.hand, row.state)
                was = self.lives.get(id, (0, 0, PENDING))
                assert now[:2] >= was[:2]
                assert was[2] not in READY_STATES or now[0] > was[0] or now == was
            self.lives = lives

        def rows(self):
            return self.twins[0].store._tables.rows

        def known(self):
            """The jobs that have a row."""
            return [made for made in self.jobs if made.id in self.rows()]

        def some(self, data):
            jobs = self.known()
            return data.draw(st.lists(st.sampled_from(jobs), max_size=6)) if jobs else []

        def place(self, made):
            """The attempt and hand of a job, as memory has them."""
            row = self.rows()[made.id]
            return row.attempt, row.hand

        def plan(self, data, size, *, parent_id=None):
            """New jobs, and edges to them from each other and from older ones."""
            self.plans += 1
            jobs, edges = [], []
            for number in range(size):
                errbacks = [
                    job(f"errback-{data.draw(FEW)}", shape=Shape.ERROR, delay=data.draw(DELAYS))
                    for _ in range(data.draw(st.sampled_from([0, 0, 1, 2])))
                ]
                made = job(
                    f"{self.plans}-{number}",
                    queue=data.draw(st.sampled_from(["celery", "celery", "mail"])),
                    priority=data.draw(st.integers(0, 2)),
                    due=data.draw(TIMES),
                    expires=data.draw(TIMES),
                    delay=data.draw(DELAYS),
                    shape=data.draw(SHAPES),
                    parent_id=parent_id,
                    group_id=f"group-{self.plans % 2}",
                    ignore_result=data.draw(st.booleans()),
                    errbacks=pack_jobs(errbacks),
                )
                parents = [*self.known(), *jobs]
                for position in range(data.draw(FEW) if parents else 0):
                    parent = data.draw(st.sampled_from(parents))
                    takes = bool(made.shape) and (made.shape != Shape.FIRST or position == 0)
                    edges.append(Edge(parent.id, made.id, position, takes))
                jobs.append(made)
                self.jobs += [each for each in errbacks if each not in self.jobs]
            self.jobs += jobs
            return jobs, edges

        def going_on(self, data):
            """How a job goes on: mostly as it is, else as another with jobs beside it."""
            delay = data.draw(DELAYS)
            if data.draw(st.booleans()):
                return {"again": again(delay, options=b"jagain")}
            jobs, edges = self.plan(data, data.draw(st.integers(0, 2)))
            if self.known() and data.draw(st.sampled_from([False] * 4 + [True])):
                jobs = [*jobs, self.known()[0]]  # its id is taken
            becomes = [job(task="another", shape=Shape.LIST, expires=FUTURE, options=b"jother")]
            return {"again": again(delay, becomes=becomes, jobs=jobs, edges=edges)}

        def end(self, data, made, attempt, hand):
            state = data.draw(ENDS)
            fields = {"attempt": attempt, "hand": hand, "started": 1e9 - 1, "finished": 1e9}
            if state in (RETRY, PENDING):
                return end(made, state, **fields, **self.going_on(data))
            if state == SUCCESS:
                fields |= {
                    **data.draw(KEPT),
                    "cut": data.draw(st.sampled_from([False] * 5 + [True])),
                }
            return end(made, state, **fields)

        @rule(data=st.data(), size=st.integers(1, 4))
        def submit(self, data, size):
            jobs, edges = self.plan(data, size)
            self.both(lambda twin: twin.submit(*jobs, edges=edges))

        @rule(data=st.data(), size=st.integers(1, 2), again=st.booleans())
        def spawn(self, data, size, again):
            if not self.known():
                return
            parent = data.draw(st.sampled_from(self.known()))
            jobs, edges = self.plan(data, size, parent_id=parent.id)
            if data.draw(st.booleans()):
                jobs = [*jobs, *self.some(data)[:1]]
            said = Spawn(1, again, parent.id, *self.place(parent), jobs, edges)
            self.both(
                lambda twin: [
                    answer._replace(created=bool(answer.created))
                    for answer in twin.desk.spawn(twin.epoch, [said, said._replace(again=True)])
                ]
            )

        @rule(data=st.data())
        def update(self, data):
            updates = [
                Update(made.id, *self.place(made), state, b"jmeta" if state else b"", "said")
                for made in self.some(data)
                for state in data.draw(st.lists(st.sampled_from([STARTED, "PROGRESS"]), max_size=2))
            ]
            self.both(lambda twin: twin.desk.update(twin.epoch, updates))

        @rule(without=st.sampled_from([(), (), ("mail",)]))
        def take_up(self, without):
            self.both(lambda twin: comparable(twin.taken(without=without)))

        @rule(data=st.data())
        def leave(self, data):
            ids = [made.id for made in self.some(data)]
            self.both(lambda twin: comparable(twin.write(left=ids)))

        @rule(data=st.data())
        def change_leaders(self, data):
            """The last one writes nothing any more, whatever it has in hand."""
            made = self.some(data)[:1]
            late = Batch(
                outcomes=[end(each, attempt=self.place(each)[0], hand=1) for each in made],
                claims=[claim(each, attempt=1, hand=1) for each in made],
            )

            def act(twin):
                before, seen = twin.epoch, twin.desk.lease()
                twin.epoch = twin.desk.lead("next", (), b"", seen).epoch
                with pytest.raises(LeadershipLost):
                    twin.desk.write(before, late)
                return twin.epoch, twin.desk.forget_taken(twin.epoch)

            self.both(act)

        @rule()
        def forget_taken(self):
            self.both(lambda twin: twin.desk.forget_taken(twin.epoch))

        @rule(data=st.data())
        def revoke(self, data):
            ids = [*(made.id for made in self.some(data)[:2]), "nobody"]

            def act(twin):
                written, unknown = twin.desk.revoke(twin.epoch, ids, "revoked")
                outcomes = tuple(each._replace(finished=0.0) for each in written.outcomes)
                return comparable(written)[1:], outcomes, unknown

            self.both(act)

        @rule(data=st.data())
        def say(self, data):
            states = st.sampled_from([ABORTED, "BEHIND"])
            sayings = [Saying(made.id, data.draw(states), b"j1", "1") for made in self.some(data)]
            self.both(lambda twin: twin.desk.say(twin.epoch, sayings))

        @rule(data=st.data())
        def end_as_others_say(self, data):
            states = st.sampled_from(sorted(READY_STATES))
            endings = [
                Ending(made.id, data.draw(states), b"j5", "5", "why")
                for made in dict.fromkeys(self.some(data)[:2])
            ]

            def act(twin):
                written = twin.desk.end(twin.epoch, endings)
                outcomes = tuple(each._replace(finished=0.0) for each in written.outcomes)
                return comparable(written)[1:], outcomes

            self.both(act)

        @rule(id=st.sampled_from("xyz"), state=st.sampled_from([*sorted(READY_STATES), RETRY]))
        def record(self, id, state):
            made = Job(id, task="shop.tasks.add", state=state, result=b"j7", result_preview="7")
            self.both(lambda twin: twin.store.record(made))
            if id not in {each.id for each in self.jobs}:
                self.jobs.append(job(id))

        @rule()
        def prune(self):
            self.both(lambda twin: twin.desk.prune(twin.epoch, -60.0, 1_000))

        @rule()
        def look(self):
            self.both(lambda twin: sorted(twin.desk.idle(1_000)))
            self.both(lambda twin: sorted(twin.desk.idle(1_000, ["default", "other"])))
            self.both(lambda twin: sorted(twin.desk.revoked(1_000)))
            self.both(lambda twin: told(twin.desk.later(1_000)))

        @rule(data=st.data())
        def reopen(self, data):
            ids = [made.id for made in self.some(data)]
            self.both(lambda twin: twin.desk.reopen(twin.epoch, ids))

        @rule(data=st.data())
        def forget(self, data):
            ids = [made.id for made in self.some(data)[:2]]
            self.both(lambda twin: twin.desk.forget(twin.epoch, ids))

        @rule(data=st.data())
        def write(self, data):
            off = st.sampled_from([0, 0, 0, 1, -1])
            outcomes, releases, claims = [], [], []
            for made in self.some(data):
                attempt, hand = self.place(made)
                outcomes.append(self.end(data, made, attempt, max(hand + data.draw(off), 0)))
            for made in self.some(data):
                attempt, hand = self.place(made)
                releases.append(Release(made.id, attempt, hand, data.draw(FEW)))
            for made in self.some(data):
                attempt, hand = self.place(made)
                hand = hand + 1 + data.draw(off)
                claims.append(claim(made, attempt=attempt, hand=hand))
            self.both(
                lambda twin: comparable(
                    twin.write(outcomes=outcomes, releases=releases, claims=claims)
                )
            )

        @rule(data=st.data())
        def hand_out_and_end(self, data):
            """What a leader does: claim what waits, then end it."""
            jobs = list(dict.fromkeys(self.some(data)))
            places = [self.place(made) for made in jobs]
            claims = [
                claim(made, attempt=attempt, hand=hand + 1)
                for made, (attempt, hand) in zip(jobs, places, strict=True)
            ]
            self.both(lambda twin: comparable(twin.write(claims=claims)))
            ends = [
                self.end(data, made, attempt, hand + 1)
                for made, (attempt, hand) in zip(jobs, places, strict=True)
            ]
            self.both(lambda twin: comparable(twin.write(outcomes=ends)))

        @rule(data=st.data(), start=FEW, limit=st.sampled_from([1, 600, 10_000]))
        def inputs(self, data, start, limit):
            for made in self.some(data):
                self.both(lambda twin, id=made.id: twin.desk.inputs(id, start, limit))

        def teardown(self):
            if not getattr(self, "twins", None):
                return
            ids = [made.id for made in self.jobs]
            self.both(lambda twin: {id: readable(row) for id, row in twin.store.fetch(ids).items()})
            self.both(
                lambda twin: sorted(
                    (told([held.call]), held.runner, held.worker) for held in twin.desk.in_flight()
                )
            )
            for group in ("group-0", "group-1"):
                self.both(lambda twin, group=group: sorted(twin.store.group(group)))
                self.both(lambda twin, group=group: twin.store.count_states(group))
            for id in ids:
                self.both(lambda twin, id=id: sorted(twin.store.children(id)))

    return Twins


def refused_or(act, twin):
    try:
        return act(twin)
    except LedgerRefused:
        return LedgerRefused


def readable(row):
    """A row without the times that each ledger takes from its own clock."""
    return (
        *(row.state, row.task, row.attempt, row.result, row.result_preview, row.traceback),
        *(row.said, row.meta, row.key, row.size, row.worker, row.parent_id, row.group_id),
        *(row.eta is None, row.started, row.finished is None),
    )


def test_the_twins_agree(alias):
    desk = OrmStore(alias).open_desk()

    run_state_machine_as_test(
        make_machine(alias, desk),
        settings=hypothesis_settings(
            max_examples=80, stateful_step_count=25, derandomize=True, deadline=None, database=None
        ),
    )

    desk.close()
