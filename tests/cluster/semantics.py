"""Tasks written as for Celery, for the tests of what Celery means."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dask_facade import group, shared_task
from dask_facade.contrib.abortable import AbortableTask
from dask_facade.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from dask_facade.result import AsyncResult, allow_join_result
from dask_facade.task import Task

REQUEST = (
    *("id", "root_id", "parent_id", "group", "group_index", "chord", "chain", "callbacks"),
    *("errbacks", "retries", "eta", "expires", "timelimit", "delivery_info", "headers"),
    *("properties", "hostname", "reply_to", "correlation_id", "origin", "called_directly"),
    *("is_eager", "ignore_result", "argsrepr", "kwargsrepr", "replaced_task_nesting"),
)
"""What Celery says of a call."""


class MyErr(Exception):
    """An exception of a project's own."""


class Odd(Exception):
    """Cannot be built again from its arguments."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


@shared_task
def add(x: Any, y: Any) -> Any:
    return x + y


@shared_task
def echo(value: Any = None) -> Any:
    return value


@shared_task
def fail(message: str = "bad") -> None:
    raise MyErr(message)


@shared_task
def fail_oddly() -> None:
    raise Odd(1, 2)


@shared_task
def unsayable() -> Any:
    return object


@shared_task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@shared_task(bind=True, max_retries=2, default_retry_delay=0)
def retry_bare(self: Task) -> None:
    self.retry()


@shared_task(bind=True, max_retries=2, default_retry_delay=0)
def retry_in_except(self: Task) -> None:
    try:
        raise MyErr("inside")
    except MyErr:
        self.retry()


@shared_task(bind=True, max_retries=2, default_retry_delay=0)
def retry_with_exc(self: Task) -> None:
    try:
        raise MyErr("mine")
    except MyErr as error:
        self.retry(exc=error)


@shared_task(autoretry_for=(MyErr,), max_retries=2, default_retry_delay=0)
def retry_automatically() -> None:
    raise MyErr("automatic")


@shared_task(bind=True, max_retries=3)
def retry_slowly(self: Task, countdown: float) -> None:
    self.retry(exc=MyErr("slow"), countdown=countdown)


@shared_task(bind=True, max_retries=5)
def succeed_at(self: Task, attempt: int) -> int:
    if self.request.retries < attempt:
        self.retry(countdown=0)
    return self.request.retries


@shared_task(bind=True, max_retries=2, default_retry_delay=0)
def raise_retry(self: Task, *, path: str = "", eta: datetime | None = None) -> None:
    """Raise a Retry of its own making each time."""
    note(path)
    raise Retry("by hand", MyErr("by hand"), when=eta or 0)


@shared_task(bind=True, max_retries=1)
def retry_in_the_past(self: Task, path: str) -> int:
    note(path)
    if not self.request.retries:
        self.retry(exc=MyErr("late"), eta=datetime(2020, 1, 1, tzinfo=UTC))
    return self.request.retries


@shared_task(bind=True, max_retries=1)
def retry_with_others(self: Task, value: int) -> int:
    if not self.request.retries:
        self.retry(args=(value + 1,), countdown=0)
    return value


@shared_task(bind=True)
def describe(self: Task, *_: Any, **__: Any) -> dict[str, Any]:
    request = self.request
    seen = {name: getattr(request, name) for name in REQUEST}
    seen["delivery_info"] = dict(seen["delivery_info"])
    seen["tenant"] = request.get("tenant")
    return seen


@shared_task(bind=True)
def abort_the_rest(self: Task) -> str:
    self.request.chain = None
    return "aborted"


@shared_task
def get_within(job_id: str) -> Any:
    return AsyncResult(job_id).get(timeout=5)


@shared_task
def get_within_allowed(job_id: str) -> Any:
    with allow_join_result():
        return AsyncResult(job_id).get(timeout=5)


@shared_task
def get_within_enabled(job_id: str) -> Any:
    return AsyncResult(job_id).get(timeout=5, disable_sync_subtasks=False)


@shared_task(bind=True)
def ignore(self: Task) -> None:
    self.update_state(state="LEFT", meta={"by": "the task"})
    raise Ignore


@shared_task
def reject() -> None:
    raise Reject("no reason", requeue=False)


@shared_task(soft_time_limit=0.3)
def run_softly() -> str:
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "tidied"
    return "never"


@shared_task(soft_time_limit=0.3)
def run_beyond_soft() -> None:
    time.sleep(30)


@shared_task(time_limit=0.5)
def run_beyond_hard() -> None:
    while True:
        try:
            time.sleep(30)
        except Exception:
            time.sleep(0.01)


@shared_task
def chatter(lines: int) -> int:
    for number in range(lines):
        print(f"line {number}", "x" * 999)  # noqa: T201
    return lines


@shared_task
def note(path: str) -> None:
    """Leave a line for each time that it runs."""
    with Path(path).open("a") as runs:
        runs.write(f"{os.getpid()}\n")


@shared_task
def exit_hard(path: str) -> None:
    note(path)
    os._exit(1)


@shared_task
def kill_itself(path: str) -> None:
    note(path)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def exit_softly(path: str) -> None:
    note(path)
    raise SystemExit(1)


@shared_task(acks_late=True, reject_on_worker_lost=False)
def exit_unrepeatably(path: str) -> None:
    note(path)
    os._exit(1)


@shared_task(isolate=True)
def exit_isolated(path: str) -> None:
    note(path)
    os._exit(1)


@shared_task(bind=True)
def progress(self: Task, path: str) -> str:
    self.update_state(state="PROGRESS", meta={"current": 3, "total": 10})
    while not Path(path).exists():
        time.sleep(0.01)
    return "done"


@shared_task(track_started=True)
def wait_for_file(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.01)
    return "seen"


@shared_task
def errback_new(request: Any, exc: BaseException, traceback: str, *, path: str) -> None:
    Path(path).write_text(f"{request.id}|{type(exc).__name__}|{exc}|{'raise' in traceback}")


@shared_task
def errback_that_raises(job_id: str) -> None:
    raise MyErr(f"about {job_id}")


@shared_task
def errback_old(job_id: str, path: str = "") -> None:
    Path(path).write_text(job_id)


@shared_task
def errback_immutable(path: str) -> None:
    note(path)


@shared_task(bind=True)
def replace_by_add(self: Task, x: int, y: int) -> Any:
    return self.replace(add.s(x, y))


@shared_task(throws=(MyErr,))
def throws() -> None:
    raise MyErr("expected")


@shared_task(bind=True)
def spawn(self: Task, count: int) -> list[str]:
    return [add.delay(n, n).id for n in range(count)]


@shared_task(bind=True)
def spawn_and_fail(self: Task) -> None:
    add.apply_async((1, 1), task_id=f"child-of-{self.request.id}")
    raise MyErr("after its child")


class Recorder(Task):
    """Leaves a line for each hook."""

    abstract = True

    def _tell(self, hook: str, kwargs: dict[str, Any]) -> None:
        with Path(kwargs["path"]).open("a") as lines:
            lines.write(f"{hook}\n")

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        self._tell("before_start", kwargs)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        self._tell(f"on_success {retval}", kwargs)

    def on_failure(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        self._tell(f"on_failure {exc}", kwargs)

    def on_retry(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        self._tell(f"on_retry {type(exc).__name__}", kwargs)

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        self._tell(f"after_return {status}", kwargs)


@shared_task(base=Recorder, bind=True, max_retries=1)
def recorded(self: Task, how: str, *, path: str) -> str:
    if how == "fail":
        raise MyErr("recorded")
    if how == "retry" and not self.request.retries:
        raise self.retry(exc=MyErr("again"), countdown=0)
    return how


@shared_task(base=AbortableTask, bind=True)
def until_aborted(self: AbortableTask, path: str) -> str:
    """Say that it runs, then look whether it is to end."""
    Path(path).write_text("running")
    while not self.is_aborted():
        time.sleep(0.01)
    return "tidied"


@shared_task(base=AbortableTask, bind=True, isolate=True)
def until_aborted_in_a_process(self: AbortableTask, path: str) -> str:
    Path(path).write_text("running")
    while not self.is_aborted():
        time.sleep(0.01)
    return "tidied"


@shared_task(base=AbortableTask, bind=True, track_started=True)
def aborted_at_its_start(self: AbortableTask) -> bool:
    return self.is_aborted()


@shared_task(bind=True)
def tell_of_another(self: Task, job_id: str) -> None:
    self.update_state(task_id=job_id, state="BEHIND", meta={"by": self.request.id})


@shared_task(bind=True)
def whoami(self: Task) -> str:
    return str(self.request.hostname)


def _add_to_chord(task: Task, numbers: list[int], *, lazy: bool) -> str:
    """Add a member for each of *numbers*, and one that is a canvas."""
    for number in numbers:
        added = task.add_to_chord(add.s(number, 10), lazy=lazy)
        if lazy:
            added.delay()
    task.add_to_chord(group(add.s(number, 100) for number in numbers) | echo.s())
    return "first"


@shared_task(bind=True)
def adds_to_chord(self: Task, numbers: list[int], lazy: bool = False) -> str:
    return _add_to_chord(self, numbers, lazy=lazy)


@shared_task(bind=True, isolate=True)
def adds_to_chord_in_a_process(self: Task, numbers: list[int], lazy: bool = False) -> str:
    return _add_to_chord(self, numbers, lazy=lazy)


@shared_task
def both(results: list[Any], more: Any) -> list[Any]:
    return [results, more]
