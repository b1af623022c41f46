"""What is said of a call beside its arguments: read from signature, task and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from dask_facade.forms import as_list, plain
from dask_facade.registry import Runnable
from dask_facade.routes import Router, router_of
from dask_facade.serialization import dumps, is_json, preview_arguments, shorten
from dask_facade.stamps import NAMES, stamps_of

NAME_LIMIT = 255
PRIORITIES = 2**31
LONGEST = 6e10  # seconds, 1,900 years: what is no further off has a date


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for calls of which neither signature nor task says it."""

    queue: str = "celery"
    priority: int = 0
    zero_first: bool = False  # of priorities, as with Celery's Redis; else the largest is first
    acks_late: bool = False
    reject_on_worker_lost: bool | None = None
    ignore_result: bool = False
    expires: float | None = None
    keep: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    serializer: str | None = None
    result_serializer: str | None = None
    errors_on_headers: bool = False  # error callbacks of a chord are those of its header, too
    zone: tzinfo | None = None  # of times that say none; None: they are refused
    route: Router | None = None
    always_eager: bool = False  # calls run where they are made
    inherits_priority: bool = False  # what a call submits has its priority, unless it says another


def defaults_of(conf: Any) -> Defaults:
    """Return what an app's settings say."""
    return Defaults(
        queue=conf.task_default_queue,
        priority=conf.task_default_priority or 0,
        zero_first=bool(conf.get("task_priority_zero_first")),
        acks_late=conf.task_acks_late,
        reject_on_worker_lost=conf.task_reject_on_worker_lost,
        ignore_result=conf.task_ignore_result,
        time_limit=conf.task_time_limit,
        soft_time_limit=conf.task_soft_time_limit,
        serializer=conf.task_serializer,
        result_serializer=conf.result_serializer,
        errors_on_headers=bool(conf.task_allow_error_cb_on_chord_header),
        zone=zone_of(conf.timezone),
        route=router_of(conf.task_routes),
        always_eager=bool(conf.task_always_eager),
        inherits_priority=bool(conf.task_inherit_parent_priority),
    )


def zone_of(timezone: Any) -> tzinfo | None:
    """Return the time zone that a setting names."""
    return ZoneInfo(timezone) if isinstance(timezone, str) and timezone else timezone or None


def option(name: str, said: Mapping[str, Any], task: Runnable | None, defaults: Defaults) -> Any:
    """Return what the signature says, or the task, or the settings."""
    value = said.get(name)
    if value is None and task is not None:
        value = getattr(task, name)
    return getattr(defaults, name) if value is None else value


def may_run_again(said: Mapping[str, Any], task: Runnable | None, defaults: Defaults) -> bool:
    """Tell whether a call runs again whose worker dies: with acks_late, unless that is denied."""
    if not option("acks_late", said, task, defaults):
        return False
    return option("reject_on_worker_lost", said, task, defaults) is not False


def queue_of(
    said: Mapping[str, Any],
    task: Runnable | None,
    defaults: Defaults,
    *,
    call: tuple[str, Any, Any],
) -> str:
    """Return the queue of a call, which is (name, args, kwargs).

    The signature's, the task's, that of a route, a routing key, the default: whichever is first.
    """
    queue = said.get("queue")
    if queue is None and task is not None:
        queue = task.queue
    if queue is None and defaults.route is not None:
        name, args, kwargs = call
        name = said.get("route_name") or name
        queue = (defaults.route(name, args, kwargs, said, task=task) or {}).get("queue")
    if queue is None:
        queue = said.get("routing_key") or defaults.queue
    name = queue if isinstance(queue, str) else str(getattr(queue, "name", queue))
    if not 0 < len(name) <= NAME_LIMIT:
        raise ValueError(f"a queue has a name of 1 to {NAME_LIMIT} characters, not {name!r}")
    return name


def priority_of(value: Any, *, zero_first: bool = False) -> int:
    """Return a priority, of which the largest goes first; its negative where 0 should.

    Raises ValueError for one that no database keeps.
    """
    priority = -int(value) if zero_first else int(value)
    if not -PRIORITIES <= priority < PRIORITIES:
        raise ValueError(f"priority must be a number of 32 bits, not {priority}")
    return priority


def begin_of(
    said: Mapping[str, Any], now: Callable[[], float], zone: tzinfo | None, *, waits: bool
) -> tuple[float | None, float]:
    """Return when a call is due (None: at once), and its delay from when it waits for nothing.

    A countdown is a delay of what *waits* for another job. Raises ValueError for a time without
    a zone where *zone* is None, and for a countdown that leads to no date.
    """
    if not said:
        return None, 0.0
    countdown, eta = said.get("countdown"), said.get("eta")
    if countdown is not None:
        seconds = _seconds("countdown", countdown)
        return (None, max(seconds, 0.0)) if waits else (now() + seconds, 0.0)
    return (None if eta is None else _moment("eta", eta, zone)), 0.0


def expiry_of(
    said: Mapping[str, Any], task: Runnable | None, now: Callable[[], float], zone: tzinfo | None
) -> float | None:
    """Return when a call that has not begun is given up: seconds since the epoch, or None."""
    expires = said.get("expires")
    if expires is None and task is not None:
        expires = task.expires
    if expires is None:
        return None
    if isinstance(expires, timedelta):
        return now() + _seconds("expires", expires.total_seconds())
    if isinstance(expires, int | float):
        return now() + _seconds("expires", expires)
    return _moment("expires", expires, zone)


def _seconds(option: str, value: Any) -> float:
    seconds = float(value)
    if not abs(seconds) <= LONGEST:  # nor is NaN
        raise ValueError(
            f"{option} must be a number of seconds that leads to a date, not {value!r}"
        )
    return seconds


def _moment(option: str, value: Any, zone: tzinfo | None) -> float:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, datetime):
        raise ValueError(f"{option} must be a datetime with a time zone, not {value!r}")
    if moment.tzinfo is None:
        if zone is None:
            raise ValueError(
                f"{option} must be a datetime with a time zone, not {value!r}: make one with "
                "django.utils.timezone.now() or datetime.now(UTC), or set `timezone` to say what "
                "times without a zone mean"
            )
        moment = moment.replace(tzinfo=zone)
    return moment.timestamp()


def owner_of(user: Any) -> str:
    """Return the primary key of a user, or what was given in place of one; "" for nobody."""
    return "" if user is None else str(getattr(user, "pk", user))


def iso_of(moment: float | None) -> str | None:
    """Return seconds since the epoch as ISO text in UTC."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()


def merged(outer: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options of a signature within a canvas: its own come first, callbacks are added."""
    if not outer or not own:
        return outer or own
    merged = {**outer, **own}
    for name in ("link", "link_error"):
        if outer.get(name) and name in own:
            merged[name] = [*as_list(own[name]), *as_list(outer[name])]
    return merged


def without(said: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return options but for some."""
    return {name: value for name, value in said.items() if name not in names}


def preview_of(said: Mapping[str, Any], args: Any, kwargs: Any) -> str:
    """Return the arguments of a call for people to read, in its own words where it has some."""
    if said and (said.get("argsrepr") or said.get("kwargsrepr")):
        given = (said.get("argsrepr"), said.get("kwargsrepr"))
        return shorten(", ".join(each for each in given if each))
    return preview_arguments(args, kwargs)


_TOLD = ("group_index", "chord", "argsrepr", "kwargsrepr", "origin", "shadow", "exchange")
_PROPERTIES = frozenset(
    {"app_id", "cluster_id", "content_encoding", "content_type", "delivery_mode", "expiration",
     "message_id", "timestamp", "type", "user_id"}
)  # fmt: skip
"""Properties of a message in AMQP that a caller may say, and a task read."""


def told(
    said: Mapping[str, Any],
    task: Runnable | None,
    defaults: Defaults,
    layout: list[Any] | None = None,
) -> dict[str, Any]:
    """Return what only the runner of a call needs: `messages.NewJob.options` before it is bytes.

    *layout* is how the results that it takes are nested.
    """
    options: dict[str, Any] = {} if layout is None else {"layout": layout}
    for name in ("time_limit", "soft_time_limit", "keep"):
        value = option(name, said, task, defaults)
        if value is not None:
            options[name] = value
    if defaults.result_serializer is not None:
        options["result_serializer"] = defaults.result_serializer
    if not said:
        return options
    if len(said) == 1 and "group_index" in said:  # as most members of groups
        options["group_index"] = said["group_index"]
        return options
    if said.get("headers"):
        options["headers"] = dict(said["headers"])
    for name in _TOLD:
        if said.get(name) is not None:
            options[name] = said[name]
    if said.get(NAMES):
        options[NAMES], options["stamps"] = list(said[NAMES]), stamps_of(said)
    if not _PROPERTIES.isdisjoint(said):
        options["properties"] = {name: said[name] for name in _PROPERTIES if name in said}
    if said.get("retries"):
        options["retries"] = int(said["retries"])
    if said.get("replaced_task_nesting"):
        options["replaced"] = int(said["replaced_task_nesting"])
    for name in ("link", "link_error"):
        if said.get(name):
            options[name] = [plain(each) for each in as_list(said[name])]
    if said.get("chain") is not None:
        options["chain"] = _outline(said["chain"])
    return options


def _outline(signature: Any) -> Any:
    """Return the dict form of a next step, without arguments that JSON cannot say."""
    form = plain(signature)
    return form if is_json(form) else {**form, "args": [], "kwargs": {}, "options": {}}


def packed(options: Mapping[str, Any], origin: str = "", owner: str = "") -> bytes:
    """Return what `told` said as bytes, with the process that submits the call, and whose it is."""
    if not options:
        return _packed_whence(origin, owner)
    return dumps({**_whence(origin, owner), **options})


@lru_cache(maxsize=1024)
def _packed_whence(origin: str, owner: str) -> bytes:
    """Return the bytes that most calls have."""
    said = _whence(origin, owner)
    return dumps(said) if said else b""


def _whence(origin: str, owner: str) -> dict[str, str]:
    said = {"origin": origin, "owner": owner}
    return {name: value for name, value in said.items() if value}
