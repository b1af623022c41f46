"""What is done with named jobs, and with others doing so meanwhile; no cluster is there."""

from __future__ import annotations

import re
import threading

import pytest
from django.db import transaction
from django.utils import timezone

from dask_facade import job_manager
from dask_facade.exceptions import DaskJobException
from dask_facade.models import DaskJob, Request
from dask_facade.serialization import dumps
from dask_facade.states import PENDING, STARTED, SUCCESS
from tests.cluster import named_functions as functions
from tests.db.conftest import on_postgres
from tests.db.named import (
    Meanwhile,
    elsewhere,
    family,
    in_ledger,
    linked,
    made,
    statements_of,
    wait_until_one_waits_for_a_lock,
)

pytestmark = pytest.mark.usefixtures("app")


def asked(alias):
    requests = Request.objects.using(alias).order_by("id")
    return [(each.kind, each.job_id, each.arguments) for each in requests]


def test_stopping_asks_the_dispatcher(alias):
    job = linked(alias, STARTED)

    job.stop()

    assert asked(alias) == [("revoke", job.ledger_id, {"terminate": True})]
    assert job.status == "Running"  # until the dispatcher has done so


def test_stopping_what_has_ended_does_nothing(alias):
    job = linked(alias, SUCCESS)

    job.stop()

    assert (asked(alias), job.status) == ([], "Complete")


def test_a_job_that_was_not_executed_is_stopped_at_once(alias):
    job = made()

    job.stop()

    assert (job.status, asked(alias)) == ("Aborted", [])


def test_deleting_stops_and_forgets(alias):
    job = linked(alias, STARTED)

    job.delete()

    assert job_manager.get_job(job.pk) is None
    assert [kind for kind, *_ in asked(alias)] == ["revoke", "forget"]


@on_postgres
@pytest.mark.parametrize("done", [DaskJob.delete, DaskJob.pause, DaskJob.stop])
def test_what_somebody_else_is_just_submitting_of_a_job_is_withdrawn(alias, done):
    job = made()
    job.prepare(functions.delayed_job())
    thread = threading.Thread(target=elsewhere, args=(done, job_manager.get_job(job.pk)))

    with transaction.atomic(using=alias):
        in_ledger(alias, "new")
        rows = DaskJob.objects.using(alias).filter(pk=job.pk)
        rows.update(ledger_id="new", execute_time=timezone.now())
        thread.start()
        wait_until_one_waits_for_a_lock(alias)
    thread.join()

    assert ("revoke", "new") in [(kind, id) for kind, id, _ in asked(alias)]


def test_deleting_a_job_that_was_read_before_stops_what_it_does_now(alias):
    job = linked(alias, STARTED)
    stale = job_manager.get_job(job.pk)
    in_ledger(alias, "new", STARTED)
    job.ledger_id = "new"
    job.save()

    stale.delete()

    assert {id for _, id, _ in asked(alias)} == {"new"}
    assert stale.pk is None


def test_deleting_many_stops_each(alias):
    linked(alias, STARTED)
    linked(alias, STARTED)

    count, _ = job_manager.list_jobs().delete()

    assert count == 2
    assert [kind for kind, *_ in asked(alias)].count("revoke") == 2


def test_deleting_a_parent_deletes_its_leaves(alias):
    parent, leaf = made(), linked(alias, STARTED)
    parent.is_parent, leaf.parent = True, parent
    parent.save()
    leaf.save()

    job_manager.list_jobs().delete()

    assert not job_manager.list_jobs().exists()
    assert [kind for kind, *_ in asked(alias)] == ["revoke", "forget"]


@pytest.mark.parametrize(
    ("state", "error"),
    [(STARTED, NotImplementedError), (PENDING, NotImplementedError), (SUCCESS, DaskJobException)],
)
def test_what_cannot_be_paused_says_so(alias, state, error):
    with pytest.raises(error, match="paused"):
        linked(alias, state).pause()


def test_a_job_is_paused_and_resumed_only_where_that_means_something():
    job = made()
    job.pause()
    assert job_manager.get_job(job.pk).status == "Paused"

    job.resume()
    assert job_manager.get_job(job.pk).status == "Pending"
    with pytest.raises(DaskJobException, match="not paused"):
        job.resume()


def test_words_of_the_projects_own_keep_no_job_from_being_paused():
    job = made()
    job.status = "Calibrating"

    job.pause()

    assert job_manager.get_job(job.pk).status == "Paused"


def test_a_job_that_cannot_be_resumed_stays_paused():
    job = made()
    job.prepare(functions.delayed_job())
    job.pause()

    with pytest.raises(DaskJobException, match="no dispatcher"):
        job.resume()

    assert job_manager.get_job(job.pk).status == "Paused"


# What others do meanwhile


def looked_at(job, done):
    """A graph; when *job* is given that, another one does something about the job."""
    return Meanwhile(lambda: done(job_manager.get_job(job.pk)))


@pytest.mark.parametrize("execute", [DaskJob.prepare, DaskJob.execute])
def test_a_job_that_is_stopped_while_it_is_given_a_graph_stays_stopped(execute):
    job = made()

    with pytest.raises(DaskJobException):
        execute(job, looked_at(job, lambda found: found.stop()))

    found = job_manager.get_job(job.pk)
    assert (found.status, found.execute_time, found.has_graph) == ("Aborted", None, False)


def test_a_job_that_was_stopped_is_not_executed_any_more():
    job = made()
    job.stop()

    with pytest.raises(DaskJobException, match="was stopped"):
        job.prepare(functions.delayed_job())


def test_a_job_that_is_paused_while_it_is_given_a_graph_is_paused_with_it():
    job = made()

    job.prepare(looked_at(job, lambda found: found.held or found.pause()))

    found = job_manager.get_job(job.pk)
    assert (found.status, found.has_graph) == ("Paused", True)


def test_a_job_that_is_deleted_while_it_is_given_a_graph_does_not_come_back():
    job = made()

    with pytest.raises(DaskJobException, match="was deleted"):
        job.prepare(looked_at(job, lambda found: found and found.delete()))

    assert job_manager.get_job(job.pk) is None


def test_what_others_say_of_a_job_while_it_is_given_a_graph_stays():
    job = made()

    job.prepare(looked_at(job, lambda found: found.update_status("Calibrating")))

    assert job_manager.get_job(job.pk).status == "Calibrating"


def test_what_was_set_on_a_job_is_kept_when_it_is_given_a_graph():
    job = made()
    job.description, job.status_message = "about it", "soon"

    job.prepare(functions.delayed_job())

    found = job_manager.get_job(job.pk)
    assert (found.description, found.status_message) == ("about it", "soon")


@pytest.mark.parametrize("done", [DaskJob.stop, DaskJob.pause, DaskJob.resume])
def test_what_is_done_about_a_deleted_job_is_an_error_of_ours(done):
    job = made()
    job_manager.get_job(job.pk).delete()

    with pytest.raises(DaskJobException, match="was deleted"):
        done(job)


def test_deleting_a_deleted_job_does_nothing(alias):
    job = linked(alias, STARTED)
    job_manager.get_job(job.pk).delete()
    Request.objects.using(alias).all().delete()

    assert job.delete()[0] == 0
    assert asked(alias) == []


@on_postgres
@pytest.mark.parametrize("done", [DaskJob.delete, DaskJob.pause, DaskJob.stop])
def test_what_somebody_else_is_just_submitting_of_a_leaf_is_withdrawn(alias, done):
    parent = family(alias, 2)
    thread = threading.Thread(target=elsewhere, args=(done, job_manager.get_job(parent.pk)))

    with transaction.atomic(using=alias):
        in_ledger(alias, "new")
        rows = DaskJob.objects.using(alias).filter(name="family 1")
        rows.update(ledger_id="new", execute_time=timezone.now())
        thread.start()
        wait_until_one_waits_for_a_lock(alias)
    thread.join()

    assert ("revoke", "new") in [(kind, id) for kind, id, _ in asked(alias)]


# How much is read and written


@pytest.mark.parametrize(
    "done",
    [
        DaskJob.stop,
        DaskJob.pause,
        DaskJob.delete,
        lambda job: (job.pause(), job.stop()),
        lambda job: job.get_logs(),
        lambda job: job.status,
    ],
    ids=["stop", "pause", "delete", "stop when paused", "logs", "status"],
)
def test_a_parent_of_many_leaves_takes_as_many_statements_as_one_of_few(alias, done):
    few, many = family(alias, 3, name="few"), family(alias, 30, name="many")

    statements = statements_of(alias, lambda: done(many))

    assert len(statements) == len(statements_of(alias, lambda: done(few)))
    assert not [each for each in statements if re.search(r'"work"(?! IS)', each)]  # large ones


def test_results_of_many_leaves_take_as_many_statements_as_those_of_few(alias):
    few, many = (
        family(alias, count, SUCCESS, result=dumps(7), finished=timezone.now()) for count in (3, 30)
    )

    statements = statements_of(alias, lambda: many.result)

    assert many.result == [7] * 30
    assert len(statements) == len(statements_of(alias, lambda: few.result))
    assert not [each for each in statements if re.search(r'"work"(?! IS)', each)]


def test_pausing_a_parent_twice_is_no_error(alias):
    parent = family(alias, 2)

    parent.pause()
    parent.pause()

    assert {leaf.status for leaf in parent.leaves.all()} == {"Paused"}


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [(STARTED, NotImplementedError, "that runs"), (SUCCESS, DaskJobException, "has ended")],
)
def test_a_parent_whose_leaves_have_begun_cannot_be_paused(alias, state, error, words):
    with pytest.raises(error, match=words):
        family(alias, 2, state).pause()


def test_deleting_many_tells_how_many_of_which(alias):
    family(alias, 2)
    made(groups=["3"])

    counts = job_manager.list_jobs().delete()

    assert counts == (5, {"dask_facade.DaskJob": 4, "dask_facade.JobShare": 1})
