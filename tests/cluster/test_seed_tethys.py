"""What Tethys' users know of Dask jobs, each part from end to end on a cluster."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy
import pytest
from distributed import Client as DaskClient
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from dask_facade import AsyncResult, DaskFacade, job_manager, schedulers
from dask_facade.cluster.connection import close_all
from dask_facade.exceptions import DaskJobException, EncodeError
from dask_facade.job_manager import DaskJob
from dask_facade.named import statuses
from dask_facade.states import FAILURE, PENDING, REVOKED, STARTED, SUCCESS
from tests.cluster import named_functions as functions
from tests.cluster import seed_tasks as tasks
from tests.cluster.portal import DEMO, browser_of, portal
from tests.cluster.processes import ROOT, DispatcherProcess, wait_for

pytestmark = pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")

DEMO_SITE = ROOT / "demo_site"
Make = Callable[..., DaskJob]


@pytest.fixture(scope="module")
def dispatcher(app: DaskFacade, environment: dict[str, str]) -> Iterator[DispatcherProcess]:
    """A cluster of two workers that find the demo's modules."""
    if str(DEMO_SITE) not in sys.path:
        sys.path.append(str(DEMO_SITE))
    dispatcher = DispatcherProcess(["--workers", "2"], PYTHONPATH=str(DEMO_SITE), **environment)
    try:
        dispatcher.wait_until_ready()
        yield dispatcher
    finally:
        close_all()
        dispatcher.stop()


@pytest.fixture(scope="module")
def scheduler(app: DaskFacade, dispatcher: DispatcherProcess) -> Any:
    return schedulers.create_scheduler("dask_primary", host=dispatcher.scheduler)


@pytest.fixture
def client(scheduler: Any) -> DaskClient:
    found: DaskClient = scheduler.client
    return found


@pytest.fixture
def make(scheduler: Any, request: pytest.FixtureRequest) -> Make:
    """Makes jobs of the test's own user."""

    def make(name: str = "job", **said: Any) -> DaskJob:
        words = {"user": request.node.name, "scheduler": scheduler, **said}
        return job_manager.create_job(job_type="DASK", name=name, **words)

    return make


@pytest.fixture
def people(app: DaskFacade) -> Iterator[Callable[..., User]]:
    """Makes users, who are gone after the test."""
    made: list[User] = []

    def person(name: str, **said: Any) -> User:
        made.append(User.objects.create_user(name, **said))
        return made[-1]

    with portal(app, "tests.db.jobs_pages"):
        yield person
        for each in made:
            each.delete()


def ended(job: DaskJob) -> DaskJob:
    """Wait for the end of a job; return it as it is read anew."""
    wait_for(lambda: job_manager.get_job(job.pk).done(), f"the end of {job}", 60)
    found = job_manager.get_job(job.pk)
    assert found is not None
    return found


def long_chain(steps: int = 200) -> Any:
    """Return a graph that takes ten seconds, a short step after the other."""
    chain = dask.delayed(functions.nap, pure=False)(0.05)
    for _ in range(steps):
        chain = dask.delayed(functions.nap, pure=False)(0.05, chain)
    return chain


@contextmanager
def held_queue(app: DaskFacade) -> Iterator[None]:
    """Let the dispatcher begin with nothing meanwhile."""
    app.control.pause_queue("celery")
    try:
        wait_for(lambda: not app.store.asked("pause", "celery"), "the queue's pause")
        yield
    finally:
        app.control.resume_queue("celery")


def test_job(app: DaskFacade, make: Make, people: Callable[..., User], client: DaskClient) -> None:
    user, group = people("ann"), Group.objects.create(name="hydrologists")
    scheduler = schedulers.create_scheduler("short-lived")
    job = make(
        "basin",
        user=user,
        scheduler=scheduler,
        groups=[group],
        description="how much it holds",
        label="hydrology",
        extended_properties={"model": {"version": 3}},
        forget=False,
    )
    assert (job.status, job.result, job.key, job.run_time) == ("Pending", None, "", None)
    assert (job.execute_time, job.start_time, job.completion_time) == (None, None, None)
    future = functions.distributed_job(client)

    job.execute(future)

    found = ended(job)
    assert (found.name, found.description, found.label) == (
        "basin",
        "how much it holds",
        "hydrology",
    )
    assert (found.user, list(found.groups.all())) == (user, [group])
    assert found.extended_properties == {"model": {"version": 3}}
    assert found.creation_time <= found.execute_time <= found.start_time <= found.completion_time
    assert found.run_time == found.completion_time - found.start_time
    assert (found.status, found.status_message, found.result) == ("Complete", "", 15)
    assert (found.key, found.forget, found.scheduler) == (future.key, False, scheduler)
    row = app.store.fetch([found.ledger_id])[found.ledger_id]
    assert (row.owner, row.state, row.finished) == (found.owner, SUCCESS, found.completion_time)
    scheduler.delete()
    assert job_manager.get_job(job.pk).scheduler is None
    group.delete()


def test_calls(make: Make, client: DaskClient, tmp_path: Path) -> None:
    job, ran = make(), tmp_path / "runs"
    job.pause()
    job.execute(dask.delayed(functions.fail_once)(str(ran)))
    assert (job.status, job.done(), ran.exists()) == ("Paused", False, False)

    job.resume()
    assert ended(job).status == "Error"
    assert "the first time" in job.get_logs()["Work: traceback"]
    job.retry()
    assert ended(job).result == "the second time"
    job.resubmit()
    assert ended(job).status == "Complete"
    assert ran.read_text() == 3 * "ran\n"

    other = job_manager.get_job(job.pk)
    job.process_results_function = functions.convert_to_dollar_sign
    job.process_results()
    assert ended(job).result == "$the second time"
    other.update_status()
    assert other.result == "$the second time"
    assert job.future.result(timeout=10) == "the second time"
    assert job.client is client


def test_calls_stop_what_runs_and_pause_it_not(make: Make, client: DaskClient) -> None:
    job = make()
    job.execute(long_chain())
    wait_for(lambda: job.status == "Running", "its start")

    with pytest.raises(NotImplementedError, match="cannot interrupt"):
        job.pause()
    job.stop()

    assert ended(job).status == "Aborted"
    assert job.done()
    wait_for(lambda: client.run_on_scheduler(functions.naps) == 0, "the end of its tasks")


def test_statuses(make: Make, app: DaskFacade) -> None:
    pending, paused, submitted, running, other, complete, error, aborted, large = (
        make(str(number)) for number in range(9)
    )
    parent = make("parent")
    complete.execute(dask.delayed(functions.inc)(1))
    error.execute(dask.delayed(functions.fail)("status"))
    large.execute(dask.delayed(bytes)(20 * 2**20))
    for each in (running, aborted, other):
        each.execute(long_chain())
    parent.execute([dask.delayed(functions.fail)("leaf"), long_chain()])
    wait_for(lambda: {each.status for each in (running, aborted)} == {"Running"}, "their starts")
    aborted.stop()
    other.status = "Calibrating"
    paused.pause()
    for each in (complete, error, aborted, large, parent.leaves.earliest("pk")):
        ended(each)
    with held_queue(app):
        submitted.execute(dask.delayed(functions.inc)(1))
        stands = {
            job.status: statuses.state_of(job.status)
            for job in (pending, paused, submitted, running, other, complete, error, aborted, large)
        }
        assert parent.status == "Various"

    assert stands == {
        "Pending": PENDING,
        "Paused": PENDING,
        "Submitted": PENDING,
        "Running": STARTED,
        "Calibrating": STARTED,
        "Complete": SUCCESS,
        "Error": FAILURE,
        "Aborted": REVOKED,
        "Results-Ready": SUCCESS,
    }
    for job in (submitted, complete, error, aborted, large):
        assert AsyncResult(job.ledger_id, app=app).state == statuses.state_of(job.status)
    assert len(large.result) == 20 * 2**20  # fetched from the cluster
    for each in (running, other, parent):
        each.stop()
    assert ended(parent).status == "Various-Complete"
    assert ended(other).status == "Aborted"  # words of one's own stand until the end
    assert stands.keys() & DaskJob.PRE_RUNNING_STATUSES == {"Pending", "Submitted"}
    assert stands.keys() & DaskJob.RUNNING_STATUSES == {"Running"}
    assert stands.keys() & DaskJob.ACTIVE_STATUSES == {"Submitted", "Running", "Paused"}
    assert stands.keys() & DaskJob.NON_TERMINAL_STATUSES == {
        "Pending",
        "Submitted",
        "Running",
        "Paused",
    }
    terminal = {"Complete", "Error", "Aborted", "Results-Ready"}
    assert stands.keys() & DaskJob.TERMINAL_STATUSES == terminal


def test_job_manager(people: Callable[..., User]) -> None:
    ann, bob = people("ann"), people("bob")
    group = Group.objects.create(name="shared")
    first, second = (job_manager.create_job(name, ann, "DASK") for name in "ba")
    third = job_manager.create_job("c", bob, "DASK", groups=[group], label="of bob's")
    third.execute(functions.delayed_job())
    ended(third)

    assert job_manager.get_job(third.pk) == job_manager.get_job(third.pk, user=bob) == third
    assert job_manager.get_job(third.pk, user=ann) is None
    assert job_manager.get_job(-1) is None
    assert list(job_manager.list_jobs(user=ann)) == [first, second]
    assert list(job_manager.list_jobs(user=ann, order_by="name")) == [second, first]
    assert [job.result for job in job_manager.list_jobs(groups=[group])] == [15]
    assert list(job_manager.list_jobs(filters={"label": "of bob's"})) == [third]
    with pytest.raises(ValueError, match="not both"):
        job_manager.list_jobs(user=ann, groups=[group])
    group.delete()


def test_schedulers(make: Make, scheduler: Any, client: DaskClient) -> None:
    ours = schedulers.create_scheduler("ours", timeout=5, dashboard="http://127.0.0.1:8787/")
    away = schedulers.create_scheduler("away", host="tcp://127.0.0.1:9", timeout=0.5)

    assert schedulers.get_scheduler("away") == away
    assert schedulers.get_scheduler("nobody") is None
    assert [each.name for each in schedulers.list_schedulers()] == ["away", "dask_primary", "ours"]
    assert ours.client.submit(functions.inc, 1).result(timeout=10) == 2
    job = make("away", scheduler=away)
    begun = time.monotonic()
    for connect in (lambda: away.client, lambda: job.execute(functions.delayed_job())):
        with pytest.raises(DaskJobException, match="'away'"):
            connect()
    assert time.monotonic() - begun < 5
    done = make("ours", scheduler=ours)
    done.execute(functions.delayed_job())
    ended(done)
    for each in (ours, away):
        each.delete()
    assert [(each.status, each.result, each.scheduler) for each in (ended(job), ended(done))] == [
        ("Error", None, None),
        ("Complete", 15, None),
    ]


def test_results(make: Make, app: DaskFacade, tmp_path: Path) -> None:
    path = str(tmp_path / "runs")
    plain, array, noted, nothing, forgotten, lock, raises = (
        make("plain"),
        make("array"),
        make("noted", process_results_function=functions.note),
        make("nothing", process_results_function="tests.cluster.named_functions.nothing"),
        make("forgotten", forget=True, process_results_function=functions.note),
        make("lock"),
        make("raises", process_results_function=functions.fail),
    )
    plain.execute(functions.delayed_job())
    array.execute(dask.array.arange(4, chunks=2) * 1.5)
    for job in (noted, nothing, forgotten, raises):
        job.execute(dask.delayed(str)(path))
    lock.execute(dask.delayed(functions.lock)(1))
    found = {
        job.name: ended(job) for job in (plain, array, noted, nothing, forgotten, lock, raises)
    }
    for job in (noted, nothing):
        job.process_results()  # which was done at the end of its work

    assert found["plain"].result == 15
    assert app.store.fetch([plain.ledger_id])[plain.ledger_id].result is not None  # in the table
    assert numpy.array_equal(found["array"].result, numpy.arange(4) * 1.5)
    assert (found["noted"].result, Path(path).read_text()) == (path, "ran\n")
    assert (found["nothing"].status, found["nothing"].result) == ("Complete", None)
    assert (found["forgotten"].status, found["forgotten"].result) == ("Complete", None)
    assert app.store.fetch([forgotten.ledger_id])[forgotten.ledger_id].result is None
    assert (found["lock"].status, type(found["lock"].result)) == ("Error", EncodeError)
    assert (found["raises"].status, "no good" in found["raises"].status_message) == ("Error", True)
    listed = job_manager.list_jobs(user=lock.owner)
    assert [job.status for job in listed].count("Error") == 2  # and the list loads
    with pytest.raises(ValueError, match="lambda"):
        plain.process_results_function = lambda result: result


def test_delayed(make: Make, dispatcher: DispatcherProcess, tmp_path: Path) -> None:
    ran = tmp_path / "runs"
    delayed = dask.delayed(functions.note)(str(ran))
    lazy, begun, again, refused = (make(name) for name in ("lazy", "begun", "again", "refused"))

    with DaskClient(dispatcher.scheduler, set_as_default=False) as another:
        future = another.submit(functions.note, str(tmp_path / "at once"), pure=False)
        wait_for((tmp_path / "at once").exists, "what begins at submit")
        assert not ran.exists()
        for job in (begun, again):  # two jobs adopt one future
            job.execute(future)
    lazy.execute(delayed)
    with pytest.raises(DaskJobException, match="a job executes a Delayed"):
        refused.execute(42)

    assert (ended(lazy).status, ran.read_text()) == ("Complete", "ran\n")
    assert ended(begun).result == ended(again).result == str(tmp_path / "at once")
    assert (tmp_path / "at once").read_text() == "ran\n"
    assert (ended(refused).status, "of type int" in refused.status_message) == ("Error", True)


def test_leaves(make: Make, client: DaskClient, tmp_path: Path) -> None:
    shared = dask.delayed(functions.nap, pure=False)(0.7)
    futures, mixed = make("futures"), make("mixed")

    futures.execute(functions.multiple_leaf_job(client))
    mixed.execute(
        [
            dask.delayed(functions.nap)(30, shared),
            dask.delayed(functions.add)(1, shared),
            dask.delayed(functions.fail)(shared),
        ]
    )
    stopped, sums, fails = mixed.leaves.order_by("id")
    wait_for(lambda: stopped.status == "Running", "its start")
    stopped.stop()
    assert mixed.status == "Various"

    assert ended(futures).status == "Complete"
    assert [leaf.result for leaf in futures.leaves.order_by("id")] == futures.result == [3, 5, 7]
    assert (ended(stopped).status, ended(sums).result) == ("Aborted", 1.7)
    assert ended(fails).status == "Error"
    words = "1 Complete, 1 Error, 1 Aborted"
    assert (ended(mixed).status, mixed.status_message) == ("Various-Complete", words)


def test_jobs_table(make: Make, people: Callable[..., User]) -> None:
    ann, bob = people("ann"), people("bob")
    visitor, other = browser_of(ann), browser_of(bob)
    staff = browser_of(people("staff", is_staff=True))
    job = make("anns", user=ann, extended_properties={"model": {"version": 3}})
    job.prepare(functions.delayed_job())
    address = f"/jobs/jobs/{job.pk}"

    def page(browser: Client, code: str = "{% jobs_table %}", **said: str) -> str:
        return browser.get("/page/", {"code": code, **said}).text

    assert 'data-refresh="10"' in page(visitor)
    assert f'formaction="{address}/run/">Run' in page(visitor)
    assert f'formaction="{address}/resume/" disabled' in page(visitor)
    columns = '{% jobs_table columns="name,extended_properties.model.version,status" %}'
    assert "<td>3</td>" in page(visitor, columns, **{"jobs-sort": "-name"})
    for action in ("run", "pause", "stop", "delete"):
        assert visitor.get(f"{address}/{action}/").status_code == 405
        assert other.post(f"{address}/{action}/", {"confirmed": "1"}).status_code == 404
        assert Client().post(f"{address}/{action}/", {"confirmed": "1"}).status_code == 403
    assert ("anns" in page(other), "anns" in page(staff)) == (False, True)
    bob.user_permissions.add(Permission.objects.get(codename="view_daskjob"))
    assert "anns" in page(browser_of(User.objects.get(pk=bob.pk)))
    assert job.status == "Pending"

    visitor.post(f"{address}/pause/")
    assert job_manager.get_job(job.pk).status == "Paused"
    visitor.post(f"{address}/resume/")
    visitor.post(f"{address}/run/")
    assert ended(job).result == 15
    assert ">Complete</span>" in page(visitor)
    assert f'formaction="{address}/stop/" disabled' in page(visitor)
    assert ">15</pre>" in visitor.get(f"{address}/results/page/").text
    assert "executed" in visitor.get(f"{address}/logs/page/").text
    for name in ("results", "logs"):
        assert Client().get(f"{address}/{name}/page/").status_code == 403
    assert "All of this job runs again" in visitor.post(f"{address}/resubmit/").text
    visitor.post(f"{address}/resubmit/", {"confirmed": "1"})
    assert ended(job).result == 15
    assert "anns is archived" in _archived(visitor, job)

    running = make("runs", user=ann)
    running.execute(long_chain())
    wait_for(lambda: running.status == "Running", "its start")
    visitor.post(f"/jobs/jobs/{running.pk}/stop/", {"confirmed": "1"})
    assert ended(running).status == "Aborted"
    visitor.post(f"{address}/delete/", {"confirmed": "1"})
    assert job_manager.get_job(job.pk) is None


def _archived(visitor: Client, job: DaskJob) -> str:
    """Return what an action of the project's own says, once it is confirmed."""
    address = f"/jobs/models/{job.pk}/archive-it/"
    assert "Into the cellar with it?" in visitor.post(address).text
    visitor.post(address, {"confirmed": "1", "next": "/said/"})
    return visitor.get("/said/").text


def test_demo(app: DaskFacade, scheduler: Any, people: Callable[..., User]) -> None:
    visitor = people("visitor")
    browser = browser_of(visitor)
    with portal(app, *DEMO):
        home = browser.get("/tutorial/").text
        for job_type, label in (
            ("delayed", "Dask Delayed Job"),
            ("distributed", "Dask Distributed Job"),
            ("multiple-leaf", "Dask Multiple Leaf Jobs"),
        ):
            assert f">{label}</button>" in home
            response = browser.post(f"/tutorial/run/{job_type}/")
            assert response["Location"] == "/tutorial/jobs/"
        assert '<a href="/tutorial/jobs/">Show All Jobs</a>' in home
        results = [ended(job).result for job in job_manager.list_jobs(user=visitor)]
        assert results == [15, "$15", [3, 5, 7], 3, 5, 7]
        assert browser.get("/tutorial/jobs/").text.count(">Complete</span>") == 6

        host, scheduler.host, scheduler.timeout = scheduler.host, "tcp://127.0.0.1:9", 0.5
        scheduler.save()
        try:
            response = browser.post("/tutorial/run/delayed/", follow=True)
        finally:
            scheduler.host, scheduler.timeout = host, 0
            scheduler.save()
        assert response.redirect_chain == [("/tutorial/error/", 302)]
        assert "does not answer" in response.text


@pytest.mark.parametrize("options", [{}, {"time_limit": 60}], ids=["thread", "child"])
def test_a_job_that_a_task_makes(make: Make, app: DaskFacade, options: dict[str, Any]) -> None:
    parent = tasks.make_named_job.apply_async(("9",), user=9, **options)

    found = ended(job_manager.get_job(parent.get(timeout=30), user="9"))

    assert (found.status, found.result) == ("Complete", ["$2", "$3"])
    rows = app.store.fetch([leaf.ledger_id for leaf in found.leaves.all()]).values()
    assert {(row.owner, row.parent_id) for row in rows} == {("9", parent.id)}


# What is broken there


def test_a_failed_task_is_not_shown_as_complete(make: Make, client: DaskClient) -> None:
    graph, future, collection = make("graph"), make("future"), make("collection")
    graph.execute(dask.delayed(functions.fail)("graph"))
    future.execute(client.submit(functions.fail, "future", pure=False))
    collection.execute(dask.array.ones(4, chunks=2).map_blocks(functions.fail, meta=numpy.ones(0)))

    assert {ended(job).status for job in (graph, future, collection)} == {"Error"}


def test_the_result_of_a_fast_task_is_not_lost(make: Make, client: DaskClient) -> None:
    futures = client.map(functions.inc, range(10), pure=False)
    client.gather(futures)
    jobs = [make("fast", process_results_function=functions.double) for _ in futures]

    for job, future in zip(jobs, futures, strict=True):
        job.execute(future)
    del futures, future

    assert [ended(job).result for job in jobs] == [number + 3 for number in range(10)]


def test_stop_has_an_effect(make: Make, client: DaskClient, tmp_path: Path) -> None:
    job = make("stopped", process_results_function=functions.note)
    job.execute(dask.delayed(functions.late)(long_chain(20)))
    wait_for(lambda: job.status == "Running", "its start")

    job.stop()

    assert ended(job).status == "Aborted"
    assert AsyncResult(job.results_id).state in (FAILURE, REVOKED)


def test_errors_of_execute_are_raised_and_kept(make: Make) -> None:
    job = make("unsent")

    with pytest.raises(DaskJobException, match="cannot be sent") as raised:
        job.execute(dask.delayed(functions.inc)(threading.Lock()))

    assert (ended(job).status, job.status_message) == ("Error", str(raised.value))
    assert job.execute_time is None
