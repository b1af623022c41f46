from __future__ import annotations

import pickle
import threading
import time

import pytest

from dask_facade import AsyncResult, GroupResult, group
from dask_facade.canvas import Signature
from dask_facade.exceptions import TaskRevokedError, TimeoutError
from dask_facade.jobs import REVOKE
from dask_facade.messages import Push, Wait
from dask_facade.result import EagerResult, ResultSet, result_from_tuple
from dask_facade.states import FAILURE, REVOKED, SUCCESS
from tests.unit.leading import Leader, outcome_of
from tests.unit.listening import DEADLINE, SECRET


def call(name, *args, **options):
    return Signature(name, args, {}, options)


A, B, C, D = (call(name) for name in "abcd")


class Mine(Exception):
    pass


@pytest.fixture
def leader(app, store):
    return Leader(store)


# Groups


def test_a_group_returns_in_the_order_of_its_members(app, leader):
    results = group(A, B, C).delay()
    for each in (results[2], results[0], results[1]):
        leader.end(each.id, SUCCESS, each.name)

    assert results.get() == results.join() == results.join_native() == ["a", "b", "c"]


def test_a_nested_group_is_one_list(app, leader):
    results = group(group(A, B), C).delay()
    for each in results:
        leader.end(each.id, SUCCESS, each.name)

    assert results.get(timeout=0) == ["a", "b", "c"]


def test_a_member_that_ends_as_a_group_is_a_list_of_its_own(app, leader):
    results = group(A | group(B, C), D).delay()
    inner, last = results
    leader.end(inner.parent.id, SUCCESS, "a")
    for each in (*inner, last):
        leader.end(each.id, SUCCESS, each.name)

    assert results.get(timeout=0) == [["b", "c"], "d"]
    assert results.completed_count() == 2


def test_a_group_raises_the_first_error_without_waiting_for_the_rest(app, leader):
    results = group(A, B, C).delay()
    leader.end(results[1].id, FAILURE, Mine("of b"))

    with pytest.raises(Mine, match="of b"):
        results.get(timeout=DEADLINE)


def test_without_propagation_exceptions_stand_among_the_values(app, leader):
    results = group(A, B, C).delay()
    leader.end(results[0].id, SUCCESS, 1)
    leader.end(results[1].id, FAILURE, Mine("of b"))
    leader.end(results[2].id, REVOKED, "revoked")

    first, second, third = results.get(propagate=False)

    assert first == 1
    assert type(second) is Mine
    assert type(third) is TaskRevokedError


def test_a_group_counts_those_that_ended_well(app, leader):
    results = group(A, B, C).delay()
    assert results.completed_count() == 0

    leader.end(results[0].id, SUCCESS)
    leader.end(results[1].id, FAILURE, Mine())

    assert results.completed_count() == 1


@pytest.mark.parametrize(
    ("states", "ready", "successful", "failed"),
    [
        ([], False, False, False),
        ([SUCCESS], False, False, False),
        ([SUCCESS, SUCCESS], True, True, False),
        ([FAILURE], False, False, True),
        ([SUCCESS, FAILURE], True, False, True),
        ([SUCCESS, REVOKED], True, False, False),
    ],
    ids=str,
)
def test_a_group_is_as_its_members_are(app, leader, states, ready, successful, failed):
    results = group(A, B).delay()
    for each, state in zip(results, states, strict=False):
        leader.end(each.id, state, {FAILURE: Mine(), REVOKED: "revoked"}.get(state))

    assert (results.ready(), results.successful(), results.failed()) == (ready, successful, failed)
    assert results.waiting() is not ready


def test_a_group_of_unknown_jobs_is_not_ready(app):
    results = GroupResult("g", [AsyncResult("a")])

    assert not results.ready()
    assert not results.successful()
    assert not results.failed()


def test_an_empty_group_is_ready_and_empty(app):
    results = GroupResult("g")

    assert results.get(timeout=0) == []
    assert results.ready()
    assert results.successful()
    assert results.completed_count() == 0


def test_a_group_is_a_sequence_of_its_results(app):
    members = [AsyncResult("a"), AsyncResult("b")]
    results = GroupResult("g", members)

    assert list(results) == results.children == results.results == members
    assert (len(results), results[1]) == (2, members[1])
    assert results == GroupResult("g", members) != GroupResult("h", members)
    assert repr(results) == "<GroupResult: g [a, b]>"


def test_the_timeout_of_a_group_is_for_all_together(app):
    results = group(call("a", number) for number in range(50)).delay()

    before = time.monotonic()
    with pytest.raises(TimeoutError):
        results.get(timeout=0.05)

    assert time.monotonic() - before < 1


def test_the_callback_of_a_group_gets_each_as_it_ends(app, leader):
    results, got = group(A, B).delay(), []
    for each in reversed(results):
        leader.end(each.id, SUCCESS, each.id)

    assert results.get(callback=lambda *args: got.append(args)) is None
    assert sorted(got) == sorted((each.id, each.id) for each in results)


def test_a_group_is_iterated_as_its_members_end(app, leader):
    results = group(A, B).delay()
    values = results.iterate(timeout=DEADLINE)

    leader.end(results[1].id, SUCCESS, "b")
    assert next(values) == "b"
    leader.end(results[0].id, SUCCESS, "a")
    assert list(values) == ["a"]


def test_a_group_tells_what_celerys_backends_tell(app, leader):
    results = group(A, group(B, C)).delay()
    leader.end(results[0].id, SUCCESS, 1)
    leader.end(results[1].id, FAILURE, Mine("of b"), "Traceback: ...")
    leader.end(results[2].id, SUCCESS, 3)

    told = dict(results.iter_native())

    assert set(told) == {each.id for each in results}
    failed = told[results[1].id]
    assert (failed["status"], failed["traceback"]) == ("FAILURE", "Traceback: ...")
    assert type(failed["result"]) is Mine
    assert told[results[0].id]["result"] == 1


def test_maybe_throw_raises_what_made_a_member_fail(app, leader):
    results = group(A, B).delay()
    results.maybe_throw()

    leader.end(results[1].id, FAILURE, Mine("of b"))

    with pytest.raises(Mine, match="of b"):
        results.maybe_reraise()


def test_an_ignored_member_is_none_and_not_waited_for(app, leader):
    results = group(A, call("b", ignore_result=True)).delay()
    leader.end(results[0].id, SUCCESS, 1)

    assert results.get(timeout=0) == [1, None]


def test_a_group_of_eager_results_needs_no_ledger(app, store, monkeypatch):
    results = GroupResult("g", [EagerResult("a", 1, SUCCESS), EagerResult("b", 2, SUCCESS)])
    for name in ("count_states", "fetch", "fetch_committed"):
        monkeypatch.setattr(store, name, None)

    assert results.get() == [1, 2]
    assert results.ready()
    assert results.completed_count() == 2


def test_an_eager_member_that_failed_is_raised(app):
    results = GroupResult("g", [EagerResult("a", Mine("eager"), FAILURE)])

    with pytest.raises(Mine, match="eager"):
        results.get()


def test_a_large_group_is_one_query_and_one_wait(app, leader, store, listener, monkeypatch):
    results = group(call("a", number) for number in range(10_000)).delay()
    queries = []
    for name in ("count_states", "fetch", "fetch_committed"):
        ask = getattr(store, name)
        monkeypatch.setattr(
            store, name, lambda ids, ask=ask, name=name: queries.append(name) or ask(ids)
        )

    assert not results.ready()
    assert queries == ["count_states"]
    assert results.completed_count() == 0
    assert queries == ["count_states"] * 2

    leader.epoch = leader.desk.lead("tests", [listener.address], SECRET, store.lease()).epoch
    got = []
    waiting = threading.Thread(target=lambda: got.extend(results.get()))
    waiting.start()
    heard = listener.hears()
    while not isinstance(heard, Wait):
        heard = listener.hears()
    assert len(heard.ids) == 10_000
    for start in range(0, 10_000, 1_000):
        ids = heard.ids[start : start + 1_000]
        listener.says(Push([outcome_of(id, SUCCESS, id) for id in ids]))
    waiting.join(DEADLINE)
    assert got == [each.id for each in results]


# Sets that are put together by hand


def test_a_set_is_changed_by_hand(app):
    a, b, c = (AsyncResult(id) for id in "abc")
    results = ResultSet([a])

    results.add(a)
    results.update([a, b])
    results.add(c)
    assert results.results == [a, b, c]

    results.remove("b")
    results.discard(b)
    results.discard(c)
    assert results.results == [a]
    with pytest.raises(KeyError):
        results.remove(c)

    results.clear()
    assert results.results == []
    assert results == ResultSet() != ResultSet([a])


def test_a_set_is_waited_for_together(app, leader):
    results = ResultSet([A.delay(), B.delay()])
    for each in results:
        leader.end(each.id, SUCCESS, each.id)

    assert results.join(timeout=0) == [each.id for each in results]
    assert (results.ready(), results.successful(), results.completed_count()) == (True, True, 2)


def test_a_group_that_was_changed_is_counted_by_its_members(app, leader):
    results = group(A, B).delay()
    leader.end(results[0].id, SUCCESS)
    results.remove(results[1])
    assert results.ready()

    results.add(C.delay())
    assert not results.ready()
    leader.end(results[1].id, SUCCESS)

    assert results.ready()  # as many as were submitted, but not the same
    assert results.completed_count() == 2


def test_a_group_is_true_though_it_is_empty(app):
    assert GroupResult("g")
    assert GroupResult(None, [AsyncResult("a")])
    assert not GroupResult()
    assert GroupResult("g") == "g" != GroupResult("h")
    assert str(GroupResult("g")) == "g"
    assert len({GroupResult("g"), GroupResult("g")}) == 1


# Kept, forgotten, revoked


def test_a_group_is_saved_and_restored_with_its_shape(app):
    inner = GroupResult("inner", [AsyncResult("b"), AsyncResult("c")])
    results = GroupResult("g", [AsyncResult("a"), inner])

    results.save()

    restored = GroupResult.restore("g")
    assert restored == results
    assert isinstance(restored[1], GroupResult)
    results.delete()
    assert GroupResult.restore("g") is None


def test_a_group_that_was_submitted_is_restored_though_nobody_saved_it(app, leader):
    results = group(A, B).delay()
    leader.end(results[0].id, SUCCESS, 1)

    restored = GroupResult.restore(results.id)

    assert restored == results
    assert restored[0].get(timeout=0) == 1


def test_an_empty_group_that_was_saved_is_restored(app):
    GroupResult("g").save()

    assert GroupResult.restore("g") == GroupResult("g")


def test_an_unknown_group_is_none(app):
    assert GroupResult.restore("nobody's") is None


def test_a_group_is_forgotten_with_all_its_members(app, leader):
    results = group(A, B).delay()
    for each in results:
        leader.end(each.id, SUCCESS)

    results.forget()

    assert {name for _, name, _ in leader.asked()} == {each.id for each in results}
    assert not results[0].ready()


def test_a_group_is_revoked_with_all_its_members(app, leader):
    results = group(A, B).delay()

    results.revoke(terminate=True)

    assert leader.asked() == [(REVOKE, each.id, {"terminate": True}) for each in results]


def test_a_group_goes_through_a_tuple_and_back(app):
    results = (A | group(B, C)).delay()

    again = result_from_tuple(results.as_tuple())

    assert again == results
    assert again.parent == results.parent


def test_a_group_survives_pickling(app):
    results = (A | group(B, C)).delay()

    again = pickle.loads(pickle.dumps(results))

    assert (again, again.parent) == (results, results.parent)


def test_who_waits_for_a_group_is_called_when_the_last_has_ended(app, leader):
    results, called = group(A, B).delay(), []
    results.then(called.append)
    leader.end(results[0].id, SUCCESS, 1)
    assert not results.ready()
    assert called == []
    leader.end(results[1].id, SUCCESS, 2)

    assert results.ready()

    assert called == [results]


def test_a_member_that_is_added_counts_for_who_waits(app, leader):
    first, second, called = A.delay(), B.delay(), []
    results = ResultSet([first])
    results.then(called.append)
    results.add(second)
    leader.end(first.id, SUCCESS, 1)
    assert not results.ready()
    assert called == []
    leader.end(second.id, SUCCESS, 2)

    assert results.ready()

    assert called == [results]


def test_members_with_ways_of_their_own_are_asked_one_by_one(app):
    class Known(AsyncResult):
        forgotten = False

        def get(self, **options):
            return self.id * 2

        def forget(self):
            self.forgotten = True

    results = GroupResult("g", [Known("a"), GroupResult("h", [Known("b")])])

    assert results.join(timeout=0) == ["aa", ["bb"]]
    results.forget()
    assert results[0].forgotten
    assert results[1][0].forgotten


def test_groups_of_different_parents_are_different(app):
    one, other = (GroupResult("g", [AsyncResult("a")], AsyncResult(each)) for each in "xy")

    assert one != other
    other.parent = one.parent
    assert one == other
