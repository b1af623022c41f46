"""Named jobs as rows: made, found, listed, owned, shared, deleted; no cluster is there."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import dask
import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from dask_facade import DaskFacade, job_manager, schedulers
from dask_facade.exceptions import DaskJobException
from dask_facade.ledger.memory import MemoryStore
from dask_facade.ledger.orm import OrmStore
from dask_facade.models import DaskScheduler, Job
from dask_facade.named.reading import logs_of, preview_of, standings
from dask_facade.states import FAILURE, PENDING, SUCCESS
from tests.cluster import named_functions as functions
from tests.db.named import OWNER, in_ledger, linked, made

pytestmark = pytest.mark.usefixtures("app")

# Making and finding


def test_a_new_job_is_pending_and_has_what_was_said_of_it(alias):
    job = made(
        description="about it",
        label="app",
        forget=True,
        extended_properties={"model": {"version": 3}},
        groups=["3", "5"],
    )

    found = job_manager.get_job(job.pk)
    assert found == job
    assert found._state.db == alias
    assert (found.status, found.status_message, found.done()) == ("Pending", "", False)
    assert (found.name, found.description, found.label) == ("a", "about it", "app")
    assert found.extended_properties == {"model": {"version": 3}}
    assert (found.forget, found.groups.keys()) == (True, ["3", "5"])
    assert (found.run_time, found.result, found.key, found.future) == (None, None, "", None)


@pytest.mark.parametrize("job_type", ["CONDOR", "", None])
def test_another_kind_of_job_is_refused(job_type):
    with pytest.raises(ValueError, match="DASK"):
        job_manager.create_job("a", OWNER, job_type)


@pytest.mark.parametrize("user", [None, "", AnonymousUser()])
def test_a_job_of_nobody_is_refused(user):
    with pytest.raises(ValueError, match="user"):
        made(user=user)


def test_a_job_is_found_by_its_id_by_its_owner_alone():
    job = made()

    assert job_manager.get_job(str(job.pk), user=OWNER) == job
    assert job_manager.get_job(job.pk, user="8") is None
    assert job_manager.get_job(job.pk, filters={"label": "other"}) is None


@pytest.mark.parametrize("job_id", [0, -1, "abc", None, "", 2**80])
def test_an_id_that_no_job_has_finds_none(job_id):
    made()

    assert job_manager.get_job(job_id) is None


def test_jobs_are_listed_by_owner_or_by_group_in_an_order():
    first, second, third = made("c"), made("a", groups=["3"]), made("b", "8", groups=["3", "5"])

    assert list(job_manager.list_jobs()) == [first, second, third]
    assert list(job_manager.list_jobs(OWNER)) == [first, second]
    assert list(job_manager.list_jobs(groups=["3", "5"], order_by="-name")) == [third, second]
    assert list(job_manager.list_jobs(groups="5")) == [third]
    assert list(job_manager.list_jobs(OWNER, filters={"name": "a"})) == [second]
    assert list(job_manager.list_jobs(filters={"user": "8"})) == [third]


def test_a_list_of_a_users_jobs_and_of_groups_jobs_is_refused():
    with pytest.raises(ValueError, match="not both"):
        job_manager.list_jobs(user=OWNER, groups=["3"])


def test_groups_are_added_set_and_removed():
    job = made(groups=["1"])

    job.groups.add("2", "2", "1")
    assert job.groups.keys() == ["1", "2"]
    job.groups.set(["2", "3"])
    job.groups.remove("2")
    assert job.groups.keys() == ["3"]


def test_a_store_in_memory_has_no_named_jobs():
    DaskFacade("tests", store=MemoryStore())

    with pytest.raises(Exception, match="one in memory"):
        made()


# Schedulers


def test_schedulers_are_rows_by_name():
    made = schedulers.create_scheduler("b", "tcp://127.0.0.1:9", 1.5, 5000, "http://dash/")
    schedulers.create_scheduler("a")

    assert schedulers.get_scheduler("b") == made
    assert schedulers.get_scheduler("c") is None
    assert [each.name for each in schedulers.list_schedulers()] == ["a", "b"]


def test_two_schedulers_of_one_name_are_refused(alias):
    schedulers.create_scheduler("a")

    with pytest.raises(IntegrityError), transaction.atomic(using=alias):
        schedulers.create_scheduler("a")


def test_deleting_a_scheduler_keeps_its_jobs(alias):
    scheduler = schedulers.create_scheduler("a")
    job = made(scheduler=scheduler)

    DaskScheduler.objects.using(alias).get(name="a").delete()

    assert job_manager.get_job(job.pk).scheduler is None


def test_a_scheduler_without_a_host_says_that_no_dispatcher_runs():
    with pytest.raises(DaskJobException, match="no dispatcher is running"):
        _ = schedulers.create_scheduler("a").client


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:9", "no address", "127.0.0.1:9"])
def test_a_client_is_refused_within_its_timeout(host):
    scheduler = schedulers.create_scheduler("away", host, timeout=0.3)
    begun = time.monotonic()

    with pytest.raises(DaskJobException, match="'away'"):
        _ = scheduler.client
    assert time.monotonic() - begun < 5


def test_a_scheduler_beyond_this_machine_is_connected_to_only_where_that_is_allowed(settings):
    scheduler = schedulers.create_scheduler("far", "tcp://192.0.2.1:8786", timeout=0.3)

    with pytest.raises(DaskJobException, match=r"'far'.*ALLOW_INSECURE_CLUSTER"):
        _ = scheduler.client
    settings.DASK_FACADE = {"ALLOW_INSECURE_CLUSTER": True}
    with pytest.raises(DaskJobException) as told:
        _ = scheduler.client
    assert "ALLOW_INSECURE_CLUSTER" not in str(told.value)


# Executing without a cluster


def test_a_job_that_finds_no_dispatcher_is_an_error_and_may_be_executed_later():
    job = made()

    with pytest.raises(DaskJobException, match="no dispatcher is running"):
        job.execute(functions.delayed_job())

    found = job_manager.get_job(job.pk)
    assert (found.status, found.execute_time) == ("Error", None)
    assert "no dispatcher is running" in found.status_message


def test_errors_reach_who_executes_in_a_transaction_too(alias):
    job = made()
    with transaction.atomic(using=alias), pytest.raises(DaskJobException, match="a job executes"):
        job.execute(42)

    assert job_manager.get_job(job.pk).status == "Error"


def test_a_graph_that_cannot_be_sent_is_refused():
    job = made()

    with pytest.raises(DaskJobException, match="cannot be sent"):
        job.prepare(dask.delayed(functions.inc)(threading.Lock()))


def test_what_is_prepared_is_kept_unexecuted():
    job = made()
    job.prepare(functions.delayed_job())

    found = job_manager.get_job(job.pk)
    assert (found.status, found.work is None) == ("Pending", False)
    assert Job.objects.using(found._state.db).count() == 0


def test_a_results_function_is_read_back_as_such():
    job = made(process_results_function=functions.convert_to_dollar_sign)

    assert job_manager.get_job(job.pk).process_results_function is functions.convert_to_dollar_sign
    with pytest.raises(ValueError, match="cannot be found"):
        job.process_results_function = lambda result: result
    job.process_results_function = None
    assert job.process_results_function is None


# What the ledger says


@pytest.mark.parametrize(
    ("state", "status"), [(PENDING, "Submitted"), (SUCCESS, "Complete"), (FAILURE, "Error")]
)
def test_a_status_is_the_ledgers(alias, state, status):
    assert linked(alias, state, result_preview="ValueError('x')").status == status


def test_reading_a_status_writes_nothing(alias, django_assert_num_queries):
    job = linked(alias, SUCCESS)

    with django_assert_num_queries(1, using=alias):
        assert job.status == "Complete"


def test_many_statuses_are_read_at_once(alias, django_assert_num_queries):
    jobs = [linked(alias, SUCCESS) for _ in range(5)]

    with django_assert_num_queries(1, using=alias):
        assert {each.status for each in standings(jobs).values()} == {"Complete"}


def test_what_is_told_of_a_parent_takes_as_many_queries_for_many_leaves_as_for_one(
    alias, django_assert_max_num_queries
):
    parent = made("all")
    for number in range(4):
        leaf = linked(alias, FAILURE, f"leaf {number}", result_preview="no", traceback="line 1",
                      finished=timezone.now())  # fmt: skip
        leaf.parent = parent
        leaf.save()
    parent.is_parent = True
    parent.save()

    with django_assert_max_num_queries(2, connection=connections[alias]):
        shown = preview_of(parent)
    with django_assert_max_num_queries(4, connection=connections[alias]):
        logs = logs_of(parent)
    assert shown == "leaf 0: no\nleaf 1: no\nleaf 2: no\nleaf 3: no"
    assert len(logs) == 12
    assert logs["leaf 3: Work: traceback"] == "line 1"
    assert logs["leaf 3: Job"].endswith("Error: no")


def test_a_result_on_the_cluster_alone_is_ready(alias):
    assert linked(alias, SUCCESS, key="somewhere").status == "Results-Ready"


def test_a_job_whose_ledger_has_forgotten_it_is_an_error(alias):
    job = linked(alias, SUCCESS)
    Job.objects.using(alias).all().delete()

    assert (job.status, "forgotten" in job.status_message) == ("Error", True)


def test_the_ledger_keeps_the_jobs_of_named_ones(alias):
    store = OrmStore(alias)
    over = {"finished": timezone.now() - timedelta(days=2)}
    over["created"] = over["finished"]
    named = linked(alias, SUCCESS, **over)
    in_ledger(alias, "nobody's", SUCCESS, **over)
    in_ledger(alias, "results", SUCCESS, **over)
    other = linked(alias, SUCCESS, "processed", **over)
    other.results_id = "results"
    other.save()
    desk = store.open_desk()
    lease = desk.lead("test", (), b"secret", None)

    pruned = desk.prune(lease.epoch, 60.0, 100)
    desk.close()

    assert pruned.keys() == {"nobody's"}
    assert named.status == "Complete"
