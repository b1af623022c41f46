"""The ledger in memory and the one in a database do the same, whatever they are told."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connections
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from dask_facade.jobs import Edge, Release
from dask_facade.ledger.memory import MemoryStore
from dask_facade.ledger.orm import OrmStore
from dask_facade.messages import Shape
from dask_facade.states import READY_STATES, RETRY, SUCCESS
from tests.db.plans import Led, claim, end, job

PAST, FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
ETAS = st.sampled_from([None, None, None, PAST, FUTURE])
SHAPES = st.sampled_from([Shape.NOTHING, Shape.FIRST, Shape.LIST])
ENDS = st.sampled_from([SUCCESS, SUCCESS, SUCCESS, *sorted(READY_STATES), RETRY])
FEW = st.integers(0, 4)


def comparable(written):
    """What a batch changed, but for what no two ledgers share: times, and which is ready first."""
    return (
        written.outcomes,
        [outcome._replace(finished=0.0) for outcome in written.failed],
        written.released,
        written.claimed,
        sorted(call._replace(created=0.0) for call in written.ready),
    )


def make_machine(alias, desk):
    class Twins(RuleBasedStateMachine):
        @initialize()
        def begin(self):
            with connections[alias].cursor() as cursor:
                for table in ("job", "edge", "request", "lease"):
                    cursor.execute(f"DELETE FROM dask_facade_{table}")
            memory = MemoryStore()
            self.twins = [Led(memory, memory.open_desk()), Led(OrmStore(alias), desk)]
            self.jobs = []
            self.plans = 0

        def both(self, act):
            """Do the same to both ledgers; return what both say."""
            mine, its = (act(twin) for twin in self.twins)
            assert mine == its
            return mine

        def some(self, data):
            return data.draw(st.lists(st.sampled_from(self.jobs), max_size=6)) if self.jobs else []

        def place(self, made):
            """The attempt and hand of a job, as memory has them."""
            row = self.twins[0].store._tables.rows[made.id]
            return row.attempt, row.hand

        @rule(data=st.data(), size=st.integers(1, 4))
        def submit(self, data, size):
            self.plans += 1
            jobs, edges = [], []
            for number in range(size):
                made = job(
                    f"{self.plans}-{number}",
                    priority=data.draw(st.integers(0, 2)),
                    eta=data.draw(ETAS),
                    shape=data.draw(SHAPES),
                    group_id=f"group-{self.plans % 2}",
                )
                parents = [*self.jobs, *jobs]
                for position in range(data.draw(FEW) if parents else 0):
                    parent = data.draw(st.sampled_from(parents))
                    takes = made.shape == Shape.LIST or (
                        made.shape == Shape.FIRST and position == 0
                    )
                    edges.append(Edge(parent.id, made.id, position, takes))
                jobs.append(made)
            self.both(lambda twin: twin.submit(*jobs, edges=edges))
            self.jobs += jobs

        @rule()
        def take_up(self):
            self.both(lambda twin: sorted(call._replace(created=0.0) for call in twin.calls()))

        @rule()
        def forget(self):
            self.both(lambda twin: twin.desk.forget_taken(twin.epoch))

        @rule(data=st.data())
        def write(self, data):
            off = st.sampled_from([0, 0, 0, 1, -1])
            outcomes, releases, claims = [], [], []
            for made in self.some(data):
                attempt, hand = self.place(made)
                state = data.draw(ENDS)
                hand = max(hand + data.draw(off), 0)
                outcomes.append(end(made, state, attempt=attempt, hand=hand, finished=1e9))
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
                end(made, data.draw(ENDS), attempt=attempt, hand=hand + 1, finished=1e9)
                for made, (attempt, hand) in zip(jobs, places, strict=True)
            ]
            self.both(lambda twin: comparable(twin.write(outcomes=ends)))

        def teardown(self):
            if not getattr(self, "twins", None):
                return
            ids = [made.id for made in self.jobs]
            self.both(lambda twin: {id: readable(row) for id, row in twin.store.fetch(ids).items()})
            self.both(
                lambda twin: sorted(
                    (held.call._replace(created=0.0), held.runner, held.worker)
                    for held in twin.desk.in_flight()
                )
            )
            for group in ("group-0", "group-1"):
                self.both(lambda twin, group=group: twin.store.group(group))
                self.both(lambda twin, group=group: twin.store.count_states(group))

    return Twins


def readable(row):
    """A row without the times that each ledger takes from its own clock."""
    return (row.state, row.attempt, row.result, row.result_preview, row.traceback, row.worker)


def test_the_twins_agree(alias):
    desk = OrmStore(alias).open_desk()

    run_state_machine_as_test(
        make_machine(alias, desk),
        settings=hypothesis_settings(
            max_examples=60, stateful_step_count=25, derandomize=True, deadline=None, database=None
        ),
    )

    desk.close()
