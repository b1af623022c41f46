from __future__ import annotations

import dask
import pytest

from dask_facade import Task, chain, chord, group
from dask_facade.exceptions import (
    ChordError,
    EncodeError,
    Ignore,
    MaxRetriesExceededError,
    NotRegistered,
    Reject,
    Retry,
)
from dask_facade.result import EagerResult, GroupResult
from dask_facade.states import FAILURE, PENDING, SUCCESS


class Trouble(Exception):
    pass


@pytest.fixture
def said():
    """What tasks say, in the order in which they say it."""
    return []


@pytest.fixture
def add(app):
    @app.task(name="eager.add")
    def add(x, y):
        return x + y

    return add


@pytest.fixture
def total(app):
    @app.task(name="eager.total")
    def total(numbers):
        return sum(numbers)

    return total


@pytest.fixture
def fail(app):
    @app.task(name="eager.fail")
    def fail(*args):
        raise Trouble("no")

    return fail


@pytest.fixture
def say(app, said):
    @app.task(name="eager.say")
    def say(*args):
        said.append(args)
        return args

    return say


@pytest.fixture
def always(app):
    """The app, where everything runs at once."""
    app.conf.update(task_always_eager=True)
    return app


# apply()


def test_a_call_runs_where_it_is_made(add):
    result = add.apply((1,), {"y": 2})

    assert isinstance(result, EagerResult)
    assert (result.get(), result.state, result.successful(), result.name) == (
        3,
        SUCCESS,
        True,
        "eager.add",
    )


def test_nothing_of_it_is_written(app, add, store):
    result = add.apply((1, 2))

    assert not store.fetch([result.id])


def test_its_id_may_be_given(add):
    assert add.apply((1, 2), task_id="mine").id == "mine"


def test_what_it_raises_is_its_result(fail):
    result = fail.apply()

    assert result.state == FAILURE
    assert isinstance(result.result, Trouble)
    assert "Trouble: no" in result.traceback
    with pytest.raises(Trouble, match="no"):
        result.get()


def test_what_it_raises_is_raised_at_once_where_that_is_wanted(app, fail):
    with pytest.raises(Trouble):
        fail.apply(throw=True)
    app.conf.task_eager_propagates = True
    with pytest.raises(Trouble):
        fail.apply()
    assert fail.apply(throw=False).state == FAILURE


def test_a_result_that_cannot_be_stored_fails_as_on_a_worker(app):
    @app.task(name="eager.unstorable")
    def unstorable():
        return (each for each in ())

    assert isinstance(unstorable.apply().result, EncodeError)


def test_the_task_knows_that_it_runs_here(app):
    @app.task(name="eager.asking", bind=True)
    def asking(self):
        request = self.request
        return [request.id, request.is_eager, request.called_directly, request.retries]

    assert asking.apply(task_id="mine", retries=2).get() == ["mine", True, False, 2]


def test_headers_and_limits_reach_the_request(app):
    @app.task(name="eager.headers", bind=True, time_limit=20, soft_time_limit=10)
    def headers(self):
        return [self.request.headers, self.request.tenant, list(self.request.timelimit)]

    assert headers.apply(headers={"tenant": "a"}).get() == [{"tenant": "a"}, "a", [20, 10]]


def test_ignore_is_no_failure(app):
    @app.task(name="eager.ignoring")
    def ignoring():
        raise Ignore

    assert ignoring.apply().state != FAILURE


def test_a_call_that_is_rejected_for_others_finds_none(app):
    @app.task(name="eager.rejecting")
    def rejecting():
        raise Reject("busy", requeue=True)

    assert isinstance(rejecting.apply().result, Reject)


# task_always_eager


def test_delay_runs_at_once(always, add, store):
    result = add.delay(1, 2)

    assert isinstance(result, EagerResult)
    assert result.get() == 3
    assert not store.fetch([result.id])


def test_arguments_are_those_that_a_worker_would_get(always, app):
    @app.task(name="eager.changing")
    def changing(items):
        items.append(1)

    items = []
    changing.delay(items)

    assert items == []


def test_arguments_that_cannot_be_stored_are_refused(always, say):
    with pytest.raises(EncodeError):
        say.delay(each for each in ())


def test_wrong_arguments_are_a_type_error(always, add):
    with pytest.raises(TypeError, match=r"eager\.add\(x, y\)"):
        add.delay(1)


def test_what_an_eager_call_calls_is_eager_too(always, add):
    @always.task(name="eager.calling")
    def calling():
        return add.delay(1, 2).get()

    assert calling.delay().get() == 3


def test_a_task_that_is_not_known_here_goes_to_a_worker(always, store):
    result = always.send_task("of.another.project")

    assert store.fetch([result.id])


def test_the_result_of_a_call_may_be_an_argument(always, add):
    assert add.delay(add.delay(1, 2), 3).get() == 6
    assert add.delay([add.delay(1, 2)], [add.delay(3, 4)]).get() == [3, 7]


# Retries


@pytest.fixture
def flaky(app, said):
    @app.task(name="eager.flaky", bind=True, max_retries=2, default_retry_delay=1000)
    def flaky(self, failures, *, given=True):
        said.append(self.request.retries)
        if self.request.retries < failures:
            raise self.retry(exc=Trouble("again") if given else None)
        return "done"

    return flaky


def test_retries_run_at_once(flaky, said):
    result = flaky.apply((2,))

    assert result.get() == "done"
    assert said == [0, 1, 2]


def test_once_retries_are_used_up_the_exception_that_was_given_is_the_result(flaky, said):
    assert isinstance(flaky.apply((9,)).result, Trouble)
    assert said == [0, 1, 2]


def test_once_retries_are_used_up_without_an_exception_that_is_said(flaky):
    result = flaky.apply((9,), {"given": False}).result

    assert isinstance(result, MaxRetriesExceededError)
    assert "Can't retry eager.flaky" in str(result)
    assert result.task_args == (9,)


def test_a_retry_may_change_its_arguments(app, said):
    @app.task(name="eager.changing_retry", bind=True)
    def changing_retry(self, x, y=0):
        said.append((x, y))
        if x < 2:
            self.retry(args=(x + 1,))
        if y < 2:
            self.retry(kwargs={"y": y + 1})
        return [x, y]

    assert changing_retry.apply((1,), {"y": 1}).get() == [2, 2]
    assert said == [(1, 1), (2, 1), (2, 2)]


def test_exceptions_of_autoretry_for_are_retried(app, said):
    @app.task(name="eager.auto", bind=True, autoretry_for=(Trouble,), max_retries=2)
    def auto(self, error):
        said.append(self.request.retries)
        if error == "trouble":
            raise Trouble
        raise ValueError(error)

    assert isinstance(auto.apply(("trouble",)).result, Trouble)
    assert said == [0, 1, 2]
    assert isinstance(auto.apply(("other",)).result, ValueError)
    assert said == [0, 1, 2, 0]


# Callbacks


def test_a_link_gets_the_result(add, say, said):
    add.apply((1, 2), link=say.s("linked"))

    assert said == [(3, "linked")]


def test_an_error_callback_of_the_new_style_gets_request_exception_and_traceback(app, fail, said):
    @app.task(name="eager.errback")
    def errback(request, exc, traceback):
        said.append((request.id, request.task, type(exc), "Trouble" in traceback))

    fail.apply(task_id="mine", link_error=errback.s())

    assert said == [("mine", "eager.fail", Trouble, True)]


def test_an_error_callback_of_the_old_style_gets_the_id(app, fail, said):
    @app.task(name="eager.old_errback")
    def errback(task_id):
        said.append(task_id)

    fail.apply(task_id="mine", link_error=errback.s())

    assert said == ["mine"]


def test_an_immutable_error_callback_gets_nothing(fail, say, said):
    fail.apply(link_error=say.si("own"))

    assert said == [("own",)]


def test_an_error_callback_may_be_a_canvas(always, fail, say, said):
    fail.apply_async(link_error=group(say.si(1), say.si(2)))
    fail.apply_async(task_id="mine", link_error=chain(say.s(), say.s(3)))

    assert said == [(1,), (2,), ("mine",), (("mine",), 3)]


def test_the_error_callback_of_a_chain_runs_once(add, fail, say, said):
    (add.s(1, 2) | fail.s() | add.s(1)).on_error(say.si("failed")).apply()

    assert said == [("failed",)]


def test_that_of_a_group_runs_for_each_member_that_fails(always, add, fail, say, said):
    made = group(fail.s(), add.s(1, 2), fail.s())
    made.link_error(say.si("failed"))
    made.delay()

    assert said == [("failed",), ("failed",)]


# Canvas


def test_a_chain_passes_results_on(always, add):
    result = (add.s(1, 2) | add.s(3) | add.si(1, 1)).delay()

    assert result.get() == 2
    assert result.parent.get() == 6
    assert result.parent.parent.get() == 3


def test_the_rest_of_a_failed_chain_fails_alike(always, add, fail):
    result = (add.s(1, 2) | fail.s() | add.s(3)).delay()

    assert result.state == FAILURE
    assert isinstance(result.result, Trouble)


def test_a_chain_can_be_cut(always, add):
    @always.task(name="eager.cutting", bind=True)
    def cutting(self):
        assert self.request.chain[0]["task"] == "eager.add"
        self.request.chain = None
        return 1

    result = (cutting.s() | add.s(3)).delay()

    assert result.parent.get() == 1
    assert not result.successful()


def test_a_group_gives_a_list(always, add):
    result = group(add.s(1, 2), add.s(3, 4)).delay()

    assert isinstance(result, GroupResult)
    assert result.get() == [3, 7]


def test_a_chord_gives_its_body_the_list(always, add, total):
    assert chord([add.s(1, 2), add.s(3, 4)], total.s()).delay().get() == 10
    assert (group(add.s(1, 2), add.s(3, 4)) | total.s() | add.s(1)).delay().get() == 11


def test_a_chord_whose_header_fails_is_a_chord_error(always, add, fail, total):
    result = chord([add.s(1, 2), fail.s()], total.s()).delay()

    assert isinstance(result.get(propagate=False), ChordError)


def test_map_starmap_and_chunks(always, add, total):
    assert total.map([[1, 2], [3]]).delay().get() == [3, 3]
    assert add.starmap([(1, 2), (3, 4)]).delay().get() == [3, 7]
    assert add.chunks([(1, 1), (2, 2), (3, 3)], 2).delay().get() == [[2, 4], [6]]


# Replacing


def test_a_task_may_go_on_as_another(always, add):
    @always.task(name="eager.replacing", bind=True)
    def replacing(self, x):
        raise self.replace(add.s(x, 1))

    result = (replacing.s(1) | add.s(10)).apply_async()

    assert result.get() == 12


def test_a_task_may_go_on_as_a_chain_or_a_group(always, add, total):
    @always.task(name="eager.replacing_by_chain", bind=True)
    def by_chain(self):
        self.replace(add.s(1, 2) | add.s(3))

    @always.task(name="eager.replacing_by_group", bind=True)
    def by_group(self):
        self.replace(group(add.s(1, 2), add.s(3, 4)))

    assert (by_chain.s() | add.s(10)).delay().get() == 16
    assert by_group.delay().get() == [3, 7]
    assert (by_group.s() | total.s()).delay().get() == 10


def test_the_error_callback_of_a_replaced_task_is_kept(always, fail, say, said):
    @always.task(name="eager.replacing_by_failure", bind=True)
    def replacing(self):
        self.replace(fail.s())

    replacing.apply_async(link_error=say.si("failed"))

    assert said == [("failed",)]


# Hooks


def test_hooks_of_the_class_are_called(always, said):
    class Telling(Task):
        def before_start(self, task_id, args, kwargs):
            said.append("before")

        def on_success(self, retval, task_id, args, kwargs):
            said.append(f"success {retval}")

        def on_failure(self, exc, task_id, args, kwargs, einfo):
            said.append(f"failure {exc}")

        def on_retry(self, exc, task_id, args, kwargs, einfo):
            said.append("retry")

        def after_return(self, status, retval, task_id, args, kwargs, einfo):
            said.append(f"after {status}")

    @always.task(name="eager.telling", base=Telling, bind=True, max_retries=1)
    def telling(self, how):
        if how == "fail":
            raise Trouble("no")
        if how == "retry" and not self.request.retries:
            self.retry()
        return how

    telling.delay("well")
    assert said == ["before", "success well", f"after {SUCCESS}"]

    said.clear()
    telling.delay("fail")
    assert said == ["before", "failure no", f"after {FAILURE}"]

    said.clear()
    telling.delay("retry")
    assert said == ["before", "retry", "before", "success retry", f"after {SUCCESS}"]


# Called like a function


def test_a_task_that_is_called_directly_raises_instead_of_retrying(app):
    @app.task(name="eager.direct", bind=True)
    def direct(self, *, given):
        try:
            raise Trouble("cause")
        except Trouble as error:
            raise self.retry(exc=error if given else None) from None

    with pytest.raises(Trouble, match="cause"):
        direct(given=True)
    with pytest.raises(Retry, match="can be retried"):
        direct(given=False)


def test_a_task_called_within_another_one_knows_no_request(app, flaky):
    @app.task(name="eager.inner", bind=True)
    def inner(self):
        return self.request.id

    @app.task(name="eager.outer", bind=True)
    def outer(self):
        return [self.request.id, inner(), self.request.id]

    assert outer.apply(task_id="mine").get() == ["mine", None, "mine"]


def test_an_unknown_task_fails(always):
    made = group(always.signature("eager.nowhere"))

    assert isinstance(made.delay().results[0].result, NotRegistered)


def test_a_dask_graph_may_be_an_argument(always, add):
    with dask.config.set(scheduler="synchronous"):
        assert add.delay(dask.delayed(sum)([1, 2]), 3).get() == 6


def test_a_result_that_is_never_stored_is_there_all_the_same(always, add):
    @always.task(name="eager.keeping", keep="cluster")
    def keeping():
        return 5

    assert keeping.delay().get() == 5
    assert (keeping.s() | add.s(1)).delay().get() == 6


@pytest.mark.parametrize(
    ("ignored", "options", "state"),
    [
        (False, {}, SUCCESS),
        (True, {}, PENDING),
        (False, {"ignore_result": True}, PENDING),
        (True, {"ignore_result": False}, SUCCESS),
    ],
)
def test_the_ledger_may_be_told_of_calls_that_ran_here(app, ignored, options, state):
    app.conf.task_store_eager_result = True
    task = app.task(name="eager.stored", ignore_result=ignored)(lambda: 3)

    result = task.apply(**options)

    assert app.AsyncResult(result.id).state == state


def test_what_a_member_adds_to_its_chord_runs_here_too(app, add, total):
    @app.task(bind=True, name="eager.adds")
    def adds(self, *numbers):
        for number in numbers:
            self.add_to_chord(add.s(number, 10))
        self.add_to_chord(group(add.s(number, 100) for number in numbers) | total.s())
        return 1

    assert chord([adds.s(1, 2), add.s(1, 1)], total.s()).apply().get() == 1 + 2 + 11 + 12 + 203


def test_what_runs_here_waits_for_nothing_that_is_submitted_later(app, add, total):
    @app.task(bind=True, name="eager.adds_lazily")
    def adds(self):
        self.add_to_chord(add.s(1, 1), lazy=True)

    with pytest.raises(ChordError, match="lazy=True"):
        chord([adds.s()], total.s()).apply().get()
