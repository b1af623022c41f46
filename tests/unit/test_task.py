from __future__ import annotations

import inspect

import pytest

from dask_facade import DaskFacade, Task, current, shared_task
from dask_facade.exceptions import EncodeError
from dask_facade.making import make_task, task_name
from dask_facade.registry import tasks
from dask_facade.serialization import load_arguments


def test_a_task_is_called_like_its_function(app):
    @app.task(name="task.add")
    def add(x, y=1):
        return x + y

    assert add(1) == 2
    assert add(1, y=2) == 3


def test_a_task_looks_like_its_function(app):
    @app.task(name="task.documented")
    def documented(x: int) -> int:
        """Say something."""
        return x

    assert documented.__name__ == "documented"
    assert documented.__doc__ == "Say something."
    assert str(inspect.signature(documented)) == "(x: 'int') -> 'int'"
    assert repr(documented).startswith("<@task: task.documented of tests at 0x")


def test_a_task_is_registered_under_its_name(app):
    @app.task(name="task.registered")
    def registered():
        pass

    assert app.tasks["task.registered"] is tasks["task.registered"] is registered


@pytest.mark.parametrize(
    ("module", "main", "name"),
    [
        ("shop.tasks", "", "shop.tasks.order"),
        ("shop.tasks", "script", "shop.tasks.order"),
        ("__main__", "script", "script.order"),
        ("__main__", "", "__main__.order"),
    ],
)
def test_a_task_without_a_name_is_named_as_celery_would(module, main, name):
    def order():
        pass

    order.__module__ = module

    assert task_name(order, main) == make_task(order, main, {}).name == name


def test_a_decorator_may_stand_with_or_without_parentheses(app):
    def one():
        pass

    def two():
        pass

    assert app.task(one).name == f"{__name__}.one"
    assert app.task()(two).name == f"{__name__}.two"


def test_options_of_the_decorator_are_attributes_of_the_task(app):
    @app.task(name="task.options", queue="q", priority=5, acks_late=True, max_retries=7)
    def options():
        pass

    assert (options.queue, options.priority, options.acks_late) == ("q", 5, True)
    assert options.max_retries == 7


def test_a_bound_task_gets_itself(app):
    @app.task(name="task.bound", bind=True)
    def bound(self, x):
        return self, x

    assert bound(1) == (bound, 1)
    bound.check_arguments((1,), {})
    with pytest.raises(TypeError):
        bound.check_arguments((bound, 1), {})


def test_a_base_class_may_wrap_the_call(app):
    class Loud(Task):
        queue = "loud"

        def __call__(self, *args, **kwargs):
            return f"{super().__call__(*args, **kwargs)}!"

    @app.task(name="task.loud", base=Loud)
    def loud(x):
        return x

    assert isinstance(loud, app.Task)
    assert loud("hey") == "hey!"
    assert loud.queue == "loud"


def test_a_shared_task_belongs_to_whichever_app_is_current(app):
    @shared_task(name="task.shared")
    def shared():
        pass

    @shared_task
    def bare():
        pass

    other = DaskFacade("other", store=app.store, set_as_current=False)
    assert shared.app is app
    assert other.tasks["task.shared"] is shared
    assert bare.name == f"{__name__}.bare"


def test_a_task_knows_the_request_of_the_job_that_it_runs(app):
    @app.task(name="task.asking", bind=True)
    def asking(self):
        return self.request.id

    assert asking() is None
    with current.running(current.Context(id="a", task="task.asking")):
        assert asking() == "a"
        assert asking() is None  # now it is a function that is called


# Submitting


def test_delay_submits_a_job_with_its_arguments(app):
    @app.task(name="task.delayed")
    def delayed(x, y):
        pass

    result = delayed.delay(1, y=(2,))

    (call,) = app.store.open_desk().take_up(lead(app), 0, 0, 10).ready
    assert (call.id, call.task) == (result.id, "task.delayed")
    assert load_arguments(call.payload) == ([1], {"y": (2,)})


def test_apply_async_submits_with_options(app):
    @app.task(name="task.optional", queue="q", priority=1)
    def optional(*args):
        pass

    result = optional.apply_async((1,), {}, task_id="mine", priority=9, routing_key="nothing")

    job = app.store.fetch(["mine"])["mine"]
    assert result.id == "mine"
    assert (job.queue, job.priority, job.arguments) == ("q", 9, "1")


def test_apply_async_needs_no_arguments(app):
    @app.task(name="task.bare")
    def bare():
        pass

    for result in (bare.apply_async(), bare.apply_async(None, None), bare.delay()):
        assert app.store.fetch([result.id])


def test_wrong_arguments_are_a_type_error_at_the_call(app):
    @app.task(name="task.strict")
    def strict(x):
        pass

    for call in (strict.delay, lambda: strict.apply_async((1, 2)), lambda: strict.s(1).delay(2)):
        with pytest.raises(TypeError, match=r"task\.strict\(x\)"):
            call()
    with pytest.raises(TypeError):
        strict.delay(x=1, z=2)
    assert not app.store.open_desk().take_up(lead(app), 0, 0, 10).ready


def test_a_task_without_typing_is_checked_by_its_worker_only(app):
    @app.task(name="task.lenient", typing=False)
    def lenient(x):
        pass

    assert app.store.fetch([lenient.delay().id])


def test_what_cannot_be_stored_is_an_encode_error_at_the_call(app):
    @app.task(name="task.eater")
    def eater(x):
        pass

    with pytest.raises(EncodeError):
        eater.delay(each for each in ())


def test_signatures_of_a_task(app):
    @app.task(name="task.signed")
    def signed(*args, **kwargs):
        pass

    assert signed.s(1, x=2) == signed.signature((1,), {"x": 2})
    assert signed.si(1).immutable
    assert signed.signature((1,), queue="q").options == {"queue": "q"}
    assert signed.signature() == signed.s()


def lead(app):
    """Lead, and return the epoch."""
    lease = app.store.open_desk().lead("tests", [], b"secret", app.store.lease())
    assert lease is not None
    return lease.epoch
