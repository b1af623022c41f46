"""Messages that are well formed and make no sense: they change nothing, and stop nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dask_facade.exceptions import LineClosed
from dask_facade.ledger.memory import MemoryStore
from dask_facade.messages import (
    Begun,
    Edge,
    Look,
    Message,
    Nudge,
    Offer,
    Pull,
    Report,
    Returned,
    Serve,
    Spawn,
    Unsure,
    Unwait,
    Update,
    Wait,
)
from dask_facade.states import ALL_STATES, STARTED, SUCCESS
from tests.unit.house import House, Peer, job, wait_for
from tests.unit.test_messages import CALLS, NEW_JOBS, NUMBERS, OUTCOMES, TEXT

IDS = st.sampled_from(["a", "b", "nobody", ""]) | TEXT  # of some there are rows
PLACES = st.sampled_from([0, 1, 1, 2]) | NUMBERS
TIMES = st.sampled_from([0.0, 1e9, 4e9]) | st.floats()  # NaN and infinity too
STATES = st.sampled_from(sorted(ALL_STATES)) | TEXT
OFFERED = st.builds(
    lambda call, id, attempt, hand, due, expires: call._replace(
        id=id, attempt=attempt, hand=hand, due=due, expires=expires
    ),
    *(CALLS, IDS, PLACES, PLACES, TIMES, TIMES),
)
REPORTED = st.builds(
    lambda end, id, attempt, hand, state, finished, runtime: end._replace(
        id=id, attempt=attempt, hand=hand, state=state, finished=finished, runtime=runtime
    ),
    *(OUTCOMES, IDS, PLACES, PLACES, STATES, TIMES, TIMES),
)
SPAWNED = st.builds(
    lambda made, id, due, delay: made._replace(id=id, due=due, delay=delay),
    *(NEW_JOBS, IDS, TIMES, TIMES),
)
EDGES = st.builds(Edge, IDS, IDS, PLACES, st.booleans())


def few(of: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(of, max_size=2)


FROM_CLIENTS = st.one_of(
    st.builds(Offer, few(OFFERED)),
    *(st.builds(kind, few(IDS)) for kind in (Wait, Look, Unwait)),
    st.just(Nudge()),
)
FROM_RUNNERS = st.one_of(
    st.builds(Report, few(REPORTED)),
    st.builds(Begun, IDS, PLACES),
    st.builds(Returned, few(st.tuples(IDS, PLACES))),
    st.builds(Pull, IDS, PLACES),
    st.builds(Spawn, PLACES, st.booleans(), IDS, PLACES, PLACES, few(SPAWNED), few(EDGES)),
    st.builds(Update, IDS, PLACES, PLACES, st.just(STARTED) | TEXT, st.binary(), TEXT),
    st.builds(Serve, few(TEXT)),
)


@pytest.fixture
def house(no_thread_stays: None) -> Iterator[House]:
    house = House(MemoryStore())
    yield house
    house.close()


def test_nonsense_stops_nobody(house: House) -> None:
    peers: list[Peer] = []
    house.submit(job("a"), job("b"))

    @settings(
        max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(few(FROM_CLIENTS), few(FROM_RUNNERS))
    def say(by_client: list[Message], by_runner: list[Message]) -> None:
        if not peers or any(peer.ended.is_set() for peer in peers):
            peers[:] = [house.client(), house.runner(f"runner {len(house.peers)}")]
        client, runner = peers
        with suppress(LineClosed):  # of what it asked for last
            runner.says(*by_runner)
        client.says(*by_client, Wait(["last"]))
        client.hears(Unsure)
        assert house.failures == []

    say()
    for peer in peers:
        peer.close()

    house.submit(job("last", priority=10**6))
    runner = house.runner("the last")
    wait_for(lambda: _runs(runner, "last"), "a hand")
    house.wait_for_state("last", SUCCESS)


def _runs(runner: Peer, id: str) -> bool:
    """End all that *runner* is handed; tell whether this job was among it."""
    call = runner.is_handed()
    runner.ends(call, SUCCESS)
    return call.id == id
