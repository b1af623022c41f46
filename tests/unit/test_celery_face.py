"""What an app says of its queues, its connection and itself."""

from __future__ import annotations

import pytest

from dask_facade import DaskFacade, states
from dask_facade.amqp import Queue
from dask_facade.ledger.memory import MemoryStore


@pytest.fixture
def app() -> DaskFacade:
    return DaskFacade("face", store=MemoryStore(), set_as_current=False)


def test_without_settings_there_is_one_queue(app):
    assert dict(app.amqp.queues) == {"celery": Queue("celery", "celery", "celery")}


def test_the_default_queue_is_as_the_settings_say_at_the_moment(app):
    app.conf.task_default_queue = "mail"

    assert list(app.amqp.queues) == ["mail"]
    assert app.amqp.default_queue.name == "mail"


@pytest.mark.parametrize(
    "said",
    [
        ["fast", "slow"],
        [Queue("fast"), Queue("slow")],
        {"fast": {"routing_key": "f"}, "slow": {}},
    ],
)
def test_queues_are_named_in_any_of_celerys_ways(app, said):
    app.conf.task_queues = said

    assert list(app.amqp.queues) == ["fast", "slow"]


def test_a_connection_tells_of_the_line_to_the_dispatcher(app):
    with app.connection() as connection:
        assert connection.as_uri() == "dask-facade://"  # nobody leads
        assert not connection.connected

    desk = app.store.open_desk()
    desk.lead("somebody", ["10.0.0.1:8700"], b"secret", None)

    assert app.connection_for_write().as_uri() == "dask-facade://10.0.0.1:8700"
    assert app.connection().info()["port"] == 8700


def test_a_report_tells_what_was_said_and_no_secrets(app):
    app.conf.update(broker_url="redis://:secret@there", task_default_queue="mail")

    report = app.bugreport()

    assert "secret" not in report
    assert "task_default_queue: 'mail'" in report
    assert "worker_pool" not in report  # nobody said it


def test_defaults_of_an_app_hold_for_what_nobody_says(app):
    app.conf.task_default_queue = "mail"

    app.add_defaults({"task_default_queue": "other", "result_backend": "redis://"})

    assert app.conf.task_default_queue == "mail"
    assert app.conf.result_backend == "redis://"


def test_settings_without_a_meaning_have_celerys_values(app):
    assert app.conf.broker_pool_limit == 10
    assert "broker_pool_limit" not in app.conf.said()


def test_a_loader_remembers_the_modules_of_tasks(app):
    app.loader.import_task_module("dask_facade.builtin")

    assert app.loader.task_modules == {"dask_facade.builtin"}


def test_an_app_is_closed_at_the_end_of_a_block(app):
    with app as entered:
        assert entered is app

    app.client.offer([])  # nothing is dialled any more
    assert not app.client.connected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (states.SUCCESS, states.PENDING),
        (states.FAILURE, states.STARTED),
        ("OF_ITS_OWN", states.STARTED),
        (states.SUCCESS, "OF_ITS_OWN"),
    ],
)
def test_states_have_an_order(one, other):
    assert states.state(one) > states.state(other)
    assert states.state(other) < states.state(one)
    assert states.state(one) >= states.state(one) <= states.state(one)
