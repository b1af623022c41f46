from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dask_facade.backlog import Backlog
from dask_facade.ledger.store import calls_of
from dask_facade.messages import Call
from tests.unit.stage import new_job


def a_call(id: str, *, queue: str = "celery", priority: int = 0, created: float = 0.0) -> Call:
    (call,) = calls_of([new_job(id, queue=queue, priority=priority)], created, ())
    return call


def order_of(backlog: Backlog, *queues: str, cost: float = 1.0) -> list[str]:
    """Take all that *queues* have, in turns; return the ids."""
    taken = []
    while (queue := backlog.next_queue(queues)) is not None:
        taken.append(backlog.pop(queue, cost).id)
    return taken


def test_a_larger_priority_goes_first() -> None:
    backlog = Backlog()
    backlog.push(a_call("low", priority=-1, created=1))
    backlog.push(a_call("high", priority=9, created=3))
    backlog.push(a_call("middle", priority=0, created=2))

    assert order_of(backlog) == ["high", "middle", "low"]


def test_of_one_priority_the_oldest_goes_first() -> None:
    backlog = Backlog()
    backlog.push(a_call("young", created=2))
    backlog.push(a_call("old", created=1))

    assert order_of(backlog) == ["old", "young"]


def test_of_one_age_the_first_that_came_goes_first() -> None:
    backlog = Backlog()
    for id in ("c", "a", "b"):
        backlog.push(a_call(id))

    assert order_of(backlog) == ["c", "a", "b"]


def test_peek_returns_what_pop_will() -> None:
    backlog = Backlog()
    backlog.push(a_call("second"))
    backlog.push(a_call("first", priority=1))

    assert backlog.peek("celery").id == "first"
    assert backlog.pop("celery", 1.0).id == "first"


def test_queues_take_turns() -> None:
    backlog = Backlog()
    for number in range(3):
        backlog.push(a_call(f"a{number}", queue="a", created=number))
        backlog.push(a_call(f"b{number}", queue="b", created=number))

    assert [id[0] for id in order_of(backlog)] == ["a", "b", "a", "b", "a", "b"]


def test_turns_go_by_time_not_by_number() -> None:
    backlog = Backlog()
    for number in range(20):
        backlog.push(a_call(f"s{number}", queue="slow"))
        backlog.push(a_call(f"q{number}", queue="quick"))

    taken: Counter[str] = Counter()
    for _ in range(11):
        queue = backlog.next_queue(())
        assert queue is not None
        backlog.pop(queue, 1.0 if queue == "slow" else 0.1)
        taken[queue] += 1

    assert taken["slow"] == 1  # ten quick ones cost as much
    assert taken["quick"] == 10


def test_a_queue_that_was_empty_does_not_make_up_for_it() -> None:
    backlog = Backlog()
    for number in range(10):
        backlog.push(a_call(f"a{number}", queue="a", created=number))
    for _ in range(5):
        backlog.pop("a", 1.0)
    for number in range(5):
        backlog.push(a_call(f"b{number}", queue="b", created=number))

    assert {id[0] for id in order_of(backlog)[:2]} == {"a", "b"}


def test_only_queues_that_are_served_are_named() -> None:
    backlog = Backlog()
    backlog.push(a_call("x", queue="mail"))

    assert backlog.next_queue(["video"]) is None
    assert backlog.next_queue(["video", "mail"]) == "mail"
    assert backlog.next_queue([]) == "mail"


def test_a_queue_of_somebodys_own_is_only_taken_by_who_names_it() -> None:
    backlog = Backlog()
    backlog.push(a_call("x", queue="own:pool"))

    assert backlog.next_queue([]) is None
    assert backlog.next_queue(["own:pool"]) == "own:pool"

    backlog.push(a_call("y", queue="mail"))

    assert backlog.next_queue([]) == "mail"
    assert backlog.next_queue(["own:other"]) is None


def test_nothing_is_next_when_nothing_is_there() -> None:
    assert Backlog().next_queue([]) is None


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-2, 2), st.integers(0, 3)), max_size=30),
    st.floats(0.001, 1.0),
)
def test_all_that_is_pushed_comes_out_once_and_in_order(
    calls: list[tuple[str, int, int]], cost: float
) -> None:
    backlog = Backlog()
    for number, (queue, priority, created) in enumerate(calls):
        backlog.push(a_call(str(number), queue=queue, priority=priority, created=created))
    assert len(backlog) == len(calls)

    out = [calls[int(id)] for id in order_of(backlog, cost=cost)]

    assert len(backlog) == 0
    for queue in "abc":
        mine = [(-priority, created) for each, priority, created in out if each == queue]
        assert mine == sorted(mine)
    assert Counter(out) == Counter(calls)
