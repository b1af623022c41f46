"""What a worker is told and asked by name: ``control_command`` and ``inspect_command``."""

from __future__ import annotations

import json
import logging
import os
import resource
import time
from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]  # it has no types

from dask_facade.limits import rate_of
from dask_facade.masking import masked_setting
from dask_facade.messages import Ask
from dask_facade.registry import tasks
from dask_facade.serialization import preview
from dask_facade.worker import state as work
from dask_facade.worker.node import CONTROLLER, Node

logger = logging.getLogger(__name__)

DEFAULT_TASK_INFO_ITEMS = ("exchange", "routing_key", "rate_limit")
Command = Callable[..., Any]


class Meta(NamedTuple):
    """What is known of a command beside its function."""

    alias: str | None
    type: str
    visible: bool
    default_timeout: float
    help: str
    signature: str | None
    args: Sequence[Any] | None
    variadic: str | None


class Panel(UserDict[str, Command]):
    """The commands of this process, by name; their first argument is the `Node`."""

    data: dict[str, Command] = {}
    meta: dict[str, Meta] = {}

    @classmethod
    def register(cls, *functions: Command, **options: Any) -> Any:
        """Make a function a command: a decorator, with options or without."""
        return cls._register(**options)(*functions) if functions else cls._register(**options)

    @classmethod
    def _register(
        cls,
        name: str | None = None,
        alias: str | None = None,
        type: str = "control",
        visible: bool = True,
        default_timeout: float = 1.0,
        help: str | None = None,
        signature: str | None = None,
        args: Sequence[Any] | None = None,
        variadic: str | None = None,
    ) -> Callable[[Command], Command]:
        def register(function: Command) -> Command:
            words = help or (function.__doc__ or "").strip().split("\n")[0]
            for each in filter(None, (name or function.__name__, alias)):
                cls.data[each] = function
                cls.meta[each] = Meta(
                    alias, type, visible, default_timeout, words, signature, args, variadic
                )
            return function

        return register


def control_command(**options: Any) -> Callable[[Command], Command]:
    """Register a command that changes something: ``@control_command(...)``."""
    return Panel._register(type="control", **options)


def inspect_command(**options: Any) -> Callable[[Command], Command]:
    """Register a command that only tells something: ``@inspect_command(...)``."""
    return Panel._register(type="inspect", **options)


def ok(value: Any) -> dict[str, Any]:
    """Return the answer of a command that was done."""
    return {"ok": value}


def nok(value: Any) -> dict[str, Any]:
    """Return the answer of a command that was not done, which says why."""
    return {"error": value}


def answer(node: Node, ask: Ask) -> bytes:
    """Do what is asked and return the answer as JSON: ``{"error": ...}`` for what it raised."""
    node.ticks += 1
    try:
        command = Panel.data[ask.command]
    except KeyError:
        return said(nok(f"no command {ask.command!r} is known here"))
    try:
        return said(command(node, **json.loads(ask.arguments)))
    except Exception as error:  # a command may be the user's code
        logger.exception("command %s failed", ask.command)
        return said(nok(repr(error)))


def is_ours(name: str) -> bool:
    """Tell whether a command is one of this module's, which do not take long."""
    return getattr(Panel.data.get(name), "__module__", "") in ("", __name__)


def said(value: Any) -> bytes:
    """Return an answer as JSON; what that cannot say is put into words."""
    return json.dumps(sayable(value), default=preview).encode()


def sayable(value: Any) -> Any:
    """Return a value with keys that JSON can say, and lists for what is like one."""
    if isinstance(value, Mapping):
        return {str(key): sayable(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [sayable(each) for each in value]
    return value


# What is asked


@inspect_command(default_timeout=0.2)
def ping(state: Node, **_: Any) -> Any:
    """Say that the worker lives."""
    return ok("pong")


@inspect_command()
def clock(state: Node, **_: Any) -> Any:
    """Tell how many calls and commands the worker has taken in."""
    return {"clock": _clock(state)}


def _clock(state: Node) -> int:
    return work.all_total_count[0] + state.ticks


@inspect_command()
def report(state: Node, **_: Any) -> Any:
    """Tell what is installed, for a bug report."""
    return ok(state.app.bugreport())


def _truth(word: str) -> bool:
    if word.lower() not in ("false", "no", "true", "yes"):
        raise ValueError("say true or false")
    return word.lower() in ("true", "yes")


@inspect_command(
    alias="dump_conf", signature="[with_defaults=false]", args=[("with_defaults", _truth)]
)
def conf(state: Node, with_defaults: bool = False, **_: Any) -> Any:
    """Tell the settings, without secrets."""
    conf = state.app.conf
    found = dict(conf.items()) if with_defaults else conf.said()
    found.setdefault("include", conf.get("include"))  # what it imports is of interest anyhow
    found.setdefault("deprecated_settings", None)  # Celery's older names are as good here
    return {name: masked_setting(name, value) for name, value in found.items()}


@inspect_command(alias="dump_tasks", variadic="taskinfoitems", signature="[attr1 [attr2 [...]]]")
def registered(
    state: Node, taskinfoitems: Sequence[str] | None = None, builtins: bool = False, **_: Any
) -> Any:
    """Tell the names of the known tasks, with some of their attributes."""
    wanted = [
        item
        for item in taskinfoitems or DEFAULT_TASK_INFO_ITEMS
        if isinstance(item, str) and not item.startswith("_")
    ]
    return [
        _described(tasks[name], wanted)
        for name in sorted(tasks)
        if builtins or not name.startswith("celery.")
    ]


def _described(task: Any, wanted: Sequence[str]) -> str:
    said = [(item, getattr(task, item, None)) for item in wanted]
    words = " ".join(f"{item}={value}" for item, value in said if value is not None)
    return f"{task.name} [{words}]" if words else str(task.name)


@inspect_command()
def active_queues(state: Node, **_: Any) -> Any:
    """Tell the queues that the worker takes calls of; one that takes all: those that are set."""
    named = {queue for runner in state.runners for queue in runner.queues}
    return [_queue(name) for name in sorted(named or _known_queues(state.app.conf))]


def _known_queues(conf: Any) -> list[str]:
    queues = conf.get("task_queues") or ()
    names = [getattr(each, "name", each) for each in queues]
    return [str(name) for name in names] or [conf.task_default_queue]


def _queue(name: str) -> dict[str, Any]:
    """Return a queue in the words of Celery's brokers; here it has a name, and is durable."""
    exchange = {
        "name": name,
        "type": "direct",
        "arguments": None,
        "durable": True,
        "passive": False,
        "auto_delete": False,
        "delivery_mode": None,
        "no_declare": False,
    }
    nothing = (
        *("alias", "binding_arguments", "consumer_arguments", "expires", "max_length"),
        *("max_length_bytes", "max_priority", "message_ttl", "no_declare", "queue_arguments"),
    )
    return {
        **dict.fromkeys(nothing),
        "name": name,
        "exchange": exchange,
        "routing_key": name,
        "durable": True,
        "exclusive": False,
        "auto_delete": False,
        "no_ack": False,
        "bindings": [],
    }


@inspect_command()
def stats(state: Node, **_: Any) -> Any:
    """Tell what the worker has done and used."""
    conf = state.app.conf
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "total": dict(work.total_count),
        "pid": int(os.environ.get(CONTROLLER, state.pid)),
        "clock": str(_clock(state)),
        "uptime": max(1, round(time.monotonic() - state.started)),
        "pool": {
            "implementation": f"{__package__}.runner",
            "max-concurrency": len(state.runners),
            "processes": [state.pid],
            "max-tasks-per-child": "N/A",
            "put-guarded-by-semaphore": False,
            "timeouts": [conf.task_soft_time_limit or 0, conf.task_time_limit or 0],
        },
        "broker": {"transport": "dask_facade", "hostname": state.hostname},
        "prefetch_count": len(state.runners),
        "rusage": {
            name.removeprefix("ru_"): getattr(used, name)
            for name in dir(used)
            if name.startswith("ru_")
        },
    }


@inspect_command(visible=False)
def hello(state: Node, from_node: str, revoked: Any = None, **_: Any) -> Any:
    """Take in the ids that another worker knows to be revoked, and tell those known here."""
    if from_node == state.hostname:
        return None
    work.revoked.update(revoked or ())
    work.revoked.purge()
    return {"revoked": list(work.revoked), "clock": _clock(state)}


@inspect_command()
def memsample(state: Node, **_: Any) -> Any:
    """Tell how much memory the process has."""
    size: int = psutil.Process().memory_info().rss
    return f"{size / 2**20:.2f}MB"


@inspect_command(visible=False)
def memdump(state: Node, samples: int = 10, **_: Any) -> Any:
    """Refuse: no samples are kept."""
    return nok("no samples of memory are kept here: Dask's dashboard shows each worker's")


@inspect_command(visible=False)
def objgraph(state: Node, **_: Any) -> Any:
    """Refuse: nothing is drawn."""
    return nok("objgraph draws a file on the worker, which nobody here reads: use a profiler")


# What is told


@control_command(
    signature="<task> <rate, as in 10/m>", args=[("task_name", str), ("rate_limit", str)]
)
def rate_limit(state: Node, task_name: str, rate_limit: Any, **_: Any) -> Any:
    """Let calls of a task begin so often, on all workers together."""
    try:
        rate_of(rate_limit)
    except ValueError as error:
        return nok(f"Invalid rate limit string: {error!r}")
    task = tasks.known(task_name)
    if task is None:
        return nok("unknown task")
    task.rate_limit = rate_limit
    return ok("new rate limit set successfully" if rate_limit else "rate limit disabled")


@control_command(
    signature="<task> <soft> [hard]",
    args=[("task_name", str), ("soft", float), ("hard", float)],
)
def time_limit(state: Node, task_name: str = "", **_: Any) -> Any:
    """Refuse: a call has the limits that it was submitted with."""
    return nok(
        "a call has the time limits that it was submitted with: change the task or the settings, "
        "or say time_limit and soft_time_limit in apply_async()"
    )


@control_command(
    signature="<queue> [exchange [type [routing_key]]]",
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
)
def add_consumer(state: Node, queue: str, **_: Any) -> Any:
    """Take calls of one more queue."""
    for runner in list(state.runners):
        if runner.queues and queue not in runner.queues:
            runner.serve_queues([*runner.queues, queue])
    return ok(f"add consumer {queue}")


@control_command(signature="<queue>", args=[("queue", str)])
def cancel_consumer(state: Node, queue: str, **_: Any) -> Any:
    """Take no more calls of a queue."""
    if any(not runner.queues for runner in state.runners):
        return nok(
            "this worker takes every queue: pause the queue (control.pause_queue), or start the "
            "worker with the queues that it should take"
        )
    for runner in list(state.runners):
        left = [each for each in runner.queues if each != queue]
        if not left:
            return nok(f"{queue} is all that this worker takes: shut it down instead")
        runner.serve_queues(left)
    return ok(f"no longer consuming from {queue}")


@control_command()
def shutdown(state: Node, **_: Any) -> Any:
    """End the worker once its calls have ended."""
    if state.close is None:
        return nok("this worker is part of another process: end that")
    state.end(anew=False)
    return ok("shutting down")


@control_command()
def pool_restart(state: Node, **_: Any) -> Any:
    """Start the worker anew once its calls have ended, where the settings allow it."""
    if not state.app.conf.get("worker_pool_restarts"):
        raise ValueError("Pool restarts not enabled: set worker_pool_restarts")
    if state.close is None:
        return nok("this worker is part of another process: start that anew")
    state.end(anew=True)
    return ok("reload started")


def _fixed(state: Node, **_: Any) -> Any:
    """Refuse: a worker has as many threads as it was started with."""
    return nok(
        "a worker has as many threads as it was started with: start more workers (manage.py "
        "dask_worker), or let Dask scale them"
    )


for _name in ("pool_grow", "pool_shrink"):
    Panel.register(_fixed, name=_name, signature="[n]", args=[("n", int)])
Panel.register(_fixed, name="autoscale", signature="[max [min]]", args=[("max", int), ("min", int)])


def _nothing(state: Node, **_: Any) -> Any:
    """Do nothing: all that happens stands in the ledger, and nobody needs to be told to tell."""
    return ok("what happens is always written to the ledger")


for _name in ("enable_events", "disable_events", "heartbeat", "election"):
    Panel.register(_nothing, name=_name)
