"""What works here, what differs and what is refused: the table behind the answers.

What is not in it works if the name is here, and is refused if it is not. The rows say the same as
docs/celery-features.md and docs/coming-from-celery.md: the tests compare them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dask_facade.commands.elsewhere import WORDS
from dask_facade.porting.uses import Judgement, Kind, Verdict

NO_BROKER = "passed over: there is no message broker"
OUR_COMMAND = "say `python -m dask_facade` in the place of `celery`"
NO_CONSUMER = (
    "there is no consumer, pool or boot step of Celery's to hook into: "
    "use the signals of workers and tasks"
)
NO_EVENTS = (
    "the table has all that happens: ask dask_facade.models.Job, or connect signals of tasks"
)
NO_LIVE_POOL = "a worker has the threads that it was started with: start more workers"
NO_SECOND_STORE = "the table is the only store of results: read it by AsyncResult or app.backend"
LOGGED_BY_DJANGO = "sent by app.log.setup() and beat.Service alone: LOGGING configures workers"
NEVER_SENT = "never sent: it tells of messages, or of Celery's own command"
TABLE_HAS_STATE = "the table has the state all the same, so that AsyncResult(id) shows it"
NOT_NEEDED = "is told, and not needed"
INERT = "means nothing here; it can be read"
LACKING = "has no counterpart here: do without it, or keep what you need of it in the project"

_D, _R, _W = Verdict.DIFFERS, Verdict.REFUSED, Verdict.WORKS
_ROWS: tuple[tuple[Kind, str, Verdict, str], ...] = (
    # Modules that are not here, with all that they hold, and names that are and differ.
    (Kind.IMPORT, "celery.bootsteps celery.concurrency celery.worker", _R, NO_CONSUMER),
    (Kind.IMPORT, "celery.events celery.app.events", _R, NO_EVENTS),
    (Kind.IMPORT, "celery.backends", _R, NO_SECOND_STORE),
    (
        Kind.IMPORT,
        "celery.bin celery.apps celery.__main__",
        _R,
        "there is no celery command: manage.py dask_dispatcher and dask_worker run the jobs",
    ),
    (
        Kind.IMPORT,
        "celery.task celery.decorators celery.five celery.registry djcelery",
        _R,
        "gone since Celery 5: use shared_task, app.task and app.tasks",
    ),
    (
        Kind.IMPORT,
        "celery.security",
        _R,
        "no message has to be signed: TLS guards the lines to the dispatcher",
    ),
    (Kind.IMPORT, "celery.fixups", _R, "workers set Django up by themselves"),
    (
        Kind.IMPORT,
        "celery.signals.task_sent celery.signals.task_rejected "
        "celery.signals.task_internal_error celery.signals.celeryd_init "
        "celery.signals.celeryd_after_setup celery.signals.heartbeat_sent "
        "celery.signals.user_preload_options",
        _D,
        NEVER_SENT,
    ),
    (
        Kind.IMPORT,
        "celery.signals.setup_logging celery.signals.after_setup_logger "
        "celery.signals.after_setup_task_logger celery.signals.beat_init "
        "celery.signals.beat_embedded_init",
        _D,
        LOGGED_BY_DJANGO,
    ),
    # Packages around Celery.
    (
        Kind.IMPORT,
        "kombu.Queue kombu.Exchange kombu.entity",
        _D,
        "read in task_queues with the extra dask_facade[celery]; a queue need not be declared, "
        "and exchanges mean nothing",
    ),
    (
        Kind.IMPORT,
        "kombu.exceptions kombu.utils kombu.serialization billiard",
        _W,
        "with the extra dask_facade[celery]",
    ),
    (
        Kind.IMPORT,
        "kombu",
        _R,
        "there is no message broker: nothing that kombu sends or receives meets a job",
    ),
    (
        Kind.IMPORT,
        "django_celery_results",
        _R,
        "the table of jobs has what it had: take it off INSTALLED_APPS, ask dask_facade.models.Job",
    ),
    (
        Kind.IMPORT,
        "django_celery_beat",
        _D,
        "imports celery itself: call dask_facade.install_as_celery(), and its scheduler works",
    ),
    # The app.
    (Kind.APP, "steps user_options", _R, NO_CONSUMER),
    (Kind.APP, "events", _R, NO_EVENTS),
    (
        Kind.APP,
        "Worker WorkController Beat start worker_main",
        _R,
        "a job is run by manage.py dask_dispatcher; in tests use dask_facade.contrib.testing",
    ),
    (Kind.APP, "pool producer_pool producer_or_acquire", _R, "there is no message broker"),
    (
        Kind.APP,
        "backend.store_result backend.mark_as_done backend.get_task_meta",
        _D,
        "writes and reads the table; a job that has ended stays as it ended",
    ),
    (
        Kind.APP,
        "control.time_limit",
        _R,
        "a call has the limits that it was submitted with: say them at the task or the call",
    ),
    (Kind.APP, "control.pool_grow control.pool_shrink control.autoscale", _R, NO_LIVE_POOL),
    (
        Kind.APP,
        "control.enable_events control.disable_events",
        _D,
        "accepted, nothing happens: the table has all that happens",
    ),
    # Calls.
    (
        Kind.OPTION,
        "priority",
        _D,
        "the larger goes first; where the broker was Redis, set task_priority_zero_first",
    ),
    (
        Kind.OPTION,
        "exchange compression retry retry_policy delivery_mode mandatory connection producer",
        _D,
        NO_BROKER,
    ),
    (Kind.OPTION, "routing_key", _D, "names the queue where none is said"),
    (
        Kind.OPTION,
        "serializer",
        _D,
        '"json" is strict; what is unsaid keeps the types of arguments and results',
    ),
    (Kind.OPTION, "ignore_result", _D, TABLE_HAS_STATE),
    (
        Kind.OPTION,
        "naive_eta",  # known by its value
        _R,
        "ValueError for a time without a zone, unless the setting timezone says what it means: "
        "say django.utils.timezone.now(), or countdown",
    ),
    (Kind.OPTION, "eta_in_zone", _D, "is read in the zone that the setting timezone names"),
    (
        Kind.RETRY,
        "throw=False",
        _D,
        "the call is tried again whatever the task does after it",
    ),
    # Tasks.
    (Kind.TASK, "rate_limit", _D, "counts for all workers together"),
    (
        Kind.TASK,
        "acks_late",
        _D,
        "a call whose worker died runs again, three times in all (MAX_LOST)",
    ),
    (
        Kind.TASK,
        "reject_on_worker_lost",
        _D,
        "with acks_late only False means something: then such a call is FAILURE",
    ),
    (
        Kind.TASK,
        "acks_on_failure_or_timeout acks_on_failure_or_timeout=False",
        _D,
        "passed over: a call that fails is FAILURE, and stays in the table to be run again",
    ),
    (Kind.TASK, "ignore_result store_errors_even_if_ignored", _D, TABLE_HAS_STATE),
    (Kind.TASK, "priority", _D, "the larger goes first; see task_priority_zero_first"),
    (Kind.TASK, "exchange compression delivery_mode", _D, NO_BROKER),
    (Kind.TASK, "routing_key", _D, "names the queue where none is said"),
    (Kind.TASK, "serializer", _D, '"json" is strict; what is unsaid keeps types'),
    (Kind.TASK, "backend", _R, NO_SECOND_STORE),
    (Kind.TASK, "pydantic", _W, "with the extra dask_facade[pydantic]"),
    # Settings that mean something, and not quite what they mean in Celery.
    (Kind.SETTING, "result_expires", _D, "unsaid, results are kept for ever"),
    (
        Kind.SETTING,
        "task_reject_on_worker_lost",
        _D,
        "only False means something, with task_acks_late",
    ),
    (
        Kind.SETTING,
        "task_default_priority",
        _D,
        "the larger goes first, unless task_priority_zero_first is said",
    ),
    (Kind.SETTING, "task_default_rate_limit", _D, "counts for all workers together"),
    (
        Kind.SETTING,
        "task_serializer result_serializer",
        _D,
        '"json" is strict; unsaid, values keep their types',
    ),
    (Kind.SETTING, "timezone", _D, "also says what an eta without a zone means"),
    (
        Kind.SETTING,
        "task_queues task_create_missing_queues broker_url result_backend accept_content "
        "beat_schedule_filename task_publish_retry task_store_errors_even_if_ignored",
        _D,
        NOT_NEEDED,
    ),
    # The program celery.
    (Kind.COMMAND, "status inspect control call result purge report shell", _D, OUR_COMMAND),
)


def _by_name() -> Iterator[tuple[tuple[Kind, str], Judgement]]:
    for kind, names, verdict, says in _ROWS:
        for name in names.split():
            yield (kind, name), Judgement(verdict, says)
    for name, says in WORDS.items():
        yield (Kind.COMMAND, name), Judgement(_R, says)


KNOWLEDGE: Mapping[tuple[Kind, str], Judgement] = dict(_by_name())
