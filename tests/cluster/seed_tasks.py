"""Tasks that run what Dask's users write, and what they use to speak with each other."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import dask
import dask.array
from distributed import get_client

from dask_facade import shared_task
from dask_facade.coordination import Event, Lock, Queue, Semaphore, Variable
from dask_facade.pubsub import Pub, Sub
from tests.cluster import seed_programs as programs


@shared_task
def run(program: str, *args: Any) -> Any:
    return getattr(programs, program)(*args)


@shared_task
async def run_coroutine(program: str, *args: Any) -> Any:
    coroutine: Coroutine[Any, Any, Any] = getattr(programs, program)(*args)
    return await coroutine


@shared_task
def future() -> Any:
    return get_client().submit(programs.inc, 1, pure=False)


@shared_task
def actor() -> Any:
    return get_client().submit(programs.Counter, actor=True, pure=False).result()


@shared_task
def collection() -> Any:
    return dask.array.arange(10, chunks=3)


@shared_task
def take_turns() -> str:
    """Answer what is asked in a queue, once an event has come; what is said stays a variable."""
    Event("asked").wait(20)
    question = Queue("questions").get(timeout=20)
    with Lock("one at a time"), Semaphore(max_leases=1, name="a seat"):
        Variable("answer").set(question.upper())
        return "locked" if Lock("one at a time").locked() else "free"


@shared_task
def echo_topic() -> None:
    """Say what is heard again, until nothing is."""
    heard, said = Sub("to jobs"), Pub("from jobs")
    Event("it listens").set()
    for message in iter(lambda: heard.get(timeout=20), None):
        said.put(message)


@shared_task
def make_named_job(user: str) -> int:
    """Execute a named job, and return its primary key."""
    from dask_facade import job_manager  # which needs Django

    job = job_manager.create_job("made by a task", user)
    job.process_results_function = "tests.cluster.named_functions.convert_to_dollar_sign"
    job.execute([dask.delayed(programs.inc)(1), dask.delayed(programs.inc)(2)])
    return int(job.pk)
