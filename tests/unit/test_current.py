from __future__ import annotations

import asyncio
import threading

import pytest

from dask_facade import DaskFacade, current
from dask_facade.current import Context
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.ledger.memory import MemoryStore


@pytest.fixture
def nothing(monkeypatch):
    """A process in which nobody has made an app or set Django up."""
    monkeypatch.setattr(current, "_apps", [])
    monkeypatch.setattr(current, "_sites", [])


def test_outside_of_a_job_there_is_no_request():
    request = current.request()

    assert request.id is None
    assert request.called_directly


def test_the_request_holds_for_the_time_of_the_block():
    outer, inner = Context(id="outer"), Context(id="inner")

    with current.running(outer):
        with current.running(inner):
            assert current.request() is inner
        assert current.request() is outer
    assert current.request().id is None


def test_the_request_goes_also_when_the_block_raises():
    with pytest.raises(ZeroDivisionError), current.running(Context(id="a")):
        _ = 1 / 0

    assert current.request().id is None


def test_a_thread_of_a_task_has_no_request():
    seen = []
    with current.running(Context(id="a")):
        thread = threading.Thread(target=lambda: seen.append(current.request().id))
        thread.start()
        thread.join()

    assert seen == [None]


def test_coroutines_of_one_loop_each_have_their_own_request():
    async def run(id):
        with current.running(Context(id=id)):
            await asyncio.sleep(0)
            return current.request().id

    async def both():
        return await asyncio.gather(run("a"), run("b"))

    assert asyncio.run(both()) == ["a", "b"]


def test_without_an_app_it_is_told_how_to_make_one(nothing):
    assert not current.has_app()
    with pytest.raises(ImproperlyConfigured, match=r"DaskFacade\('name'\)"):
        current.app()


def test_without_a_ledger_it_is_told_how_to_get_one(nothing):
    app = DaskFacade("alone")

    with pytest.raises(ImproperlyConfigured, match="INSTALLED_APPS"):
        _ = app.store


def test_the_app_made_last_is_the_current_one(nothing):
    DaskFacade("first", store=MemoryStore())
    second = DaskFacade("second", store=MemoryStore())
    DaskFacade("third", store=MemoryStore(), set_as_current=False)

    assert current.app() is second


def test_an_app_without_a_store_uses_that_of_the_site(nothing):
    store, client = object(), object()
    current.set_site(current.Site(store, client, list))

    app = DaskFacade("of a site")

    assert app.store is store
    assert app.client is client
