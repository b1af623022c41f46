"""The scheduler of periodic tasks."""

from __future__ import annotations

import pickle
import threading
from datetime import UTC, datetime, timedelta

import pytest

from dask_facade import DaskFacade, current, shared_task
from dask_facade.beat import (
    BeatLazyFunc,
    EmbeddedService,
    PersistentScheduler,
    ScheduleEntry,
    Scheduler,
    SchedulingError,
    Service,
    event_t,
    scheduler_named,
)
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.ids import derived_id
from dask_facade.ledger.memory import MemoryStore
from dask_facade.persistence import RETRY_AFTER
from dask_facade.serialization import loads
from dask_facade.task import Task

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
EVERY_MINUTE = {"task": "tests.add", "schedule": 60, "args": (1, 2)}


@shared_task(name="tests.add")
def add(x, y):
    return x + y


class Ledger(MemoryStore):
    """A ledger in memory that tells what it got, and may be away."""

    def __init__(self):
        super().__init__()
        self.away = False
        self.jobs = []

    def submit(self, jobs, edges, after):
        if self.away:
            raise ConnectionError("the database is away")
        super().submit(jobs, edges, after)
        self.jobs += jobs


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def app(ledger):
    before = current.app() if current.has_app() else None
    app = DaskFacade("tests", store=ledger)
    app.clock = START
    app.now = lambda: app.clock
    yield app
    app.close()
    if before is not None:
        current.set_app(before)


def run(scheduler):
    """Do all that is due; return in how many seconds something is again."""
    while (seconds := scheduler.tick()) <= 0:
        pass
    return seconds


def persistent(app, **entries):
    app.conf.beat_schedule = entries
    return PersistentScheduler(app)


# Entries


def test_the_next_entry_counts_the_run(app):
    entry = ScheduleEntry("a", "tests.add", schedule=60, args=(1, 2), app=app)
    app.clock += timedelta(seconds=61)

    following = next(entry)

    assert following == entry
    assert (following.last_run_at, following.total_run_count) == (app.clock, 1)
    assert entry.is_due() == (True, 60)
    assert following.is_due() == (False, 60)


def test_an_entry_is_pickled(app):
    entry = ScheduleEntry("a", "tests.add", START, 3, schedule=60, options={"queue": "q"}, app=app)

    again = pickle.loads(pickle.dumps(entry))

    assert again == entry
    assert (again.name, again.last_run_at, again.total_run_count) == ("a", START, 3)
    assert "tests.add" in repr(again)


# Scheduler


def test_what_is_due_is_submitted_and_then_awaited(app, ledger):
    app.conf.beat_schedule = {"a": {**EVERY_MINUTE, "options": {"queue": "q"}}}
    scheduler = Scheduler(app)
    assert 59 < run(scheduler) < 60
    assert not ledger.jobs

    app.clock += timedelta(seconds=60)

    assert 59 < run(scheduler) < 60
    (job,) = ledger.jobs
    assert (job.task, job.queue) == ("tests.add", "q")
    assert loads(job.options)["headers"] == {"celery_beat_task": True}
    assert scheduler.schedule["a"].total_run_count == 1


def test_an_entry_that_was_added_is_seen_by_the_next_turn(app, ledger):
    scheduler = Scheduler(app, lazy=True)
    assert scheduler.tick() == scheduler.max_interval

    scheduler.add(name="a", last_run_at=START - timedelta(hours=1), **EVERY_MINUTE)
    run(scheduler)

    assert len(ledger.jobs) == 1


def test_an_entry_that_cannot_tell_when_it_is_due_stops_no_other(app, ledger):
    scheduler = Scheduler(app, lazy=True)
    for name in ("broken", "sound"):
        scheduler.add(name=name, last_run_at=START - timedelta(hours=1), **EVERY_MINUTE)
    scheduler.schedule["broken"].schedule.is_due = lambda last_run_at: 1 / 0

    run(scheduler)

    assert len(ledger.jobs) == 1
    assert scheduler.schedule["broken"].total_run_count == 0


def test_an_entry_that_is_earlier_goes_first_though_it_came_while_another_was_asked(app):
    scheduler = Scheduler(app, lazy=True)
    late = scheduler.add(name="late", **EVERY_MINUTE)
    early = ScheduleEntry("early", "tests.add", START, schedule=60, app=app)
    scheduler.populate_heap()
    scheduler.old_schedulers = dict(scheduler.schedule)
    app.clock += timedelta(seconds=70)
    now = app.clock.timestamp()

    def is_due(last_run_at):
        scheduler._heap.insert(0, event_t(now - 100, 5, early))
        return True, 60

    late.schedule.is_due = is_due

    assert scheduler.tick() == pytest.approx(-100)
    assert late.total_run_count == 0


def test_the_schedule_follows_the_settings_and_keeps_last_runs(app):
    scheduler = Scheduler(app, lazy=True)
    kept = scheduler.add(name="kept", last_run_at=START, **EVERY_MINUTE)
    scheduler.add(name="gone", **EVERY_MINUTE)

    scheduler.merge_inplace({"kept": {**EVERY_MINUTE, "schedule": 30}, "new": EVERY_MINUTE})

    assert scheduler.schedule.keys() == {"kept", "new"}
    assert scheduler.schedule["kept"] is kept
    assert kept.schedule.seconds == 30


@pytest.mark.parametrize("fields", [{**EVERY_MINUTE, "schedul": 60}, "tests.add", None])
def test_an_entry_that_cannot_be_made_is_named(app, fields):
    app.conf.beat_schedule = {"good": EVERY_MINUTE, "bad": fields}

    with pytest.raises(ImproperlyConfigured, match="entry 'bad' of the schedule"):
        Scheduler(app)


def test_an_argument_may_be_made_for_each_run(app, ledger):
    numbers = iter([1, 2])
    scheduler = Scheduler(app, lazy=True)
    fields = {**EVERY_MINUTE, "args": (BeatLazyFunc(next, numbers), 5)}
    scheduler.add(name="a", last_run_at=START - timedelta(hours=1), **fields)

    run(scheduler)
    app.clock += timedelta(seconds=61)
    run(scheduler)

    assert [job.preview for job in ledger.jobs] == ["1, 5", "2, 5"]


def test_what_cannot_be_submitted_is_a_scheduling_error(app):
    scheduler = Scheduler(app, lazy=True)
    entry = scheduler.add(name="a", task="tests.add", schedule=60, args=(1,))

    with pytest.raises(SchedulingError, match="entry 'a'") as caught:
        scheduler.apply_async(entry)

    assert isinstance(caught.value.__cause__, TypeError)


def test_a_task_with_an_apply_async_of_its_own_decides_whether_it_is_submitted(app, ledger):
    class Once(Task):
        def apply_async(self, args=None, kwargs=None, **options):
            if not ledger.jobs:
                return super().apply_async(args, kwargs, **options)

    app.task(lambda: None, name="tests.once", base=Once)
    scheduler = Scheduler(app, lazy=True)
    scheduler.add(name="a", task="tests.once", schedule=60, last_run_at=START)

    for _ in range(3):
        app.clock += timedelta(seconds=61)
        run(scheduler)

    assert [job.task for job in ledger.jobs] == ["tests.once"]


def test_nothing_runs_here_though_calls_do(app, ledger):
    app.conf.task_always_eager = True
    scheduler = Scheduler(app, lazy=True)
    scheduler.add(name="a", last_run_at=START - timedelta(hours=1), **EVERY_MINUTE)

    run(scheduler)

    assert len(ledger.jobs) == 1


# PersistentScheduler


def test_the_job_of_a_run_has_the_id_of_its_time(app, ledger):
    scheduler = persistent(app, a=EVERY_MINUTE)
    app.clock += timedelta(seconds=60.4)

    run(scheduler)

    due = START + timedelta(seconds=60)
    assert [job.id for job in ledger.jobs] == [derived_id("schedule a", due.timestamp())]
    assert ledger.schedules()["a"].last_run == due.timestamp()
    assert scheduler.schedule["a"].last_run_at == due  # it does not drift


def test_a_run_that_another_one_submitted_is_not_submitted_again(app, ledger):
    one, other = persistent(app, a=EVERY_MINUTE), persistent(app, a=EVERY_MINUTE)
    app.clock += timedelta(seconds=60)

    run(one)
    app.clock += timedelta(seconds=0.5)
    run(other)

    assert len(ledger.jobs) == 1
    assert ledger.schedules()["a"].runs == 1


def test_a_scheduler_goes_on_where_another_one_ended(app, ledger):
    persistent(app, a=EVERY_MINUTE)
    app.clock += timedelta(seconds=40)

    scheduler = persistent(app, a=EVERY_MINUTE)

    assert run(scheduler) == pytest.approx(20)


@pytest.mark.parametrize(("missed", "jobs"), [("once", 1), ("skip", 0)])
def test_missed_runs_are_made_up_for_by_one_or_skipped(app, ledger, missed, jobs):
    persistent(app, a=EVERY_MINUTE)
    app.clock += timedelta(seconds=250)

    scheduler = persistent(app, a={**EVERY_MINUTE, "missed": missed})

    assert run(scheduler) == pytest.approx(50)
    assert len(ledger.jobs) == jobs


def test_another_way_with_missed_runs_is_refused(app):
    with pytest.raises(ImproperlyConfigured, match="entry 'a' of the schedule"):
        persistent(app, a={**EVERY_MINUTE, "missed": "twice"})


def test_a_run_that_the_ledger_did_not_take_is_tried_again(app, ledger, monkeypatch):
    times = iter(range(0, 1000, int(RETRY_AFTER)))
    monkeypatch.setattr("dask_facade.persistence.time.monotonic", lambda: next(times))
    scheduler = persistent(app, a=EVERY_MINUTE)
    app.clock += timedelta(seconds=60)
    ledger.away = True
    assert scheduler.tick() <= 0
    assert ledger.schedules()["a"].runs == 0

    ledger.away = False
    scheduler.tick()
    scheduler.tick()

    due = START + timedelta(seconds=60)
    assert [job.id for job in ledger.jobs] == [derived_id("schedule a", due.timestamp())]
    assert ledger.schedules()["a"].runs == 1


def test_a_call_that_can_never_be_submitted_waits_for_its_next_time(app, ledger):
    scheduler = persistent(app, a={**EVERY_MINUTE, "args": (1,)})
    app.clock += timedelta(seconds=60)

    assert run(scheduler) == pytest.approx(60)

    assert not ledger.jobs
    assert ledger.schedules()["a"].runs == 1


def test_what_left_the_settings_is_forgotten(app, ledger):
    persistent(app, a=EVERY_MINUTE, b=EVERY_MINUTE)

    persistent(app, b=EVERY_MINUTE)

    assert ledger.schedules().keys() == {"b"}


# Names and services


@pytest.mark.parametrize(
    "name",
    [Scheduler, "celery.beat:Scheduler", "celery.beat.Scheduler", "dask_facade.beat:Scheduler"],
)
def test_a_scheduler_is_found_by_its_name(name):
    assert scheduler_named(name) is Scheduler


@pytest.mark.parametrize("name", ["nowhere.at:All", "celery.beat:Nobody", "plain"])
def test_a_scheduler_that_is_not_there_is_told(name):
    with pytest.raises(ImproperlyConfigured, match="no scheduler"):
        scheduler_named(name)


def test_a_service_runs_in_a_thread_until_it_is_stopped(app, ledger):
    app.conf.beat_schedule = {"a": {**EVERY_MINUTE, "schedule": 0.01}}
    app.now = lambda: datetime.now(UTC)
    ran = threading.Event()
    ledger.note_run = lambda name, last_run, runs: ran.set() if runs >= 3 else None
    service = EmbeddedService(app, thread=True)

    service.start()
    assert ran.wait(10)
    service.stop()
    service.join(10)

    assert not service.is_alive()


def test_a_service_makes_the_scheduler_that_it_is_told(app):
    service = Service(app, max_interval=7, scheduler_cls="celery.beat:Scheduler")

    assert type(service.scheduler) is Scheduler
    assert service.scheduler.max_interval == 7
