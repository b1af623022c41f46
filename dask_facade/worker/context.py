"""The request of a call, as its task sees it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from dask_facade import current
from dask_facade.messages import Call
from dask_facade.serialization import preview
from dask_facade.worker.arguments import Arguments, Channel

_KNOWN = frozenset(dir(current.Context))


class CallContext(current.Context):
    """A Context whose arguments are put into words when somebody asks for them."""

    @cached_property
    def argsrepr(self) -> str:  # type: ignore[override]  # computed, where the class says None
        return preview(tuple(self.args))

    @cached_property
    def kwargsrepr(self) -> str:  # type: ignore[override]  # likewise
        return preview(dict(self.kwargs))


def context_of(
    call: Call,
    options: Mapping[str, Any],
    arguments: Arguments,
    channel: Channel,
    *,
    hostname: str,
    limits: tuple[float | None, float | None],
) -> current.Context:
    """Return the request of *call*, which runs here; *limits*: hard, soft, in seconds."""
    context = CallContext(
        id=call.id,
        task=call.task,
        args=arguments.args,
        kwargs=arguments.kwargs,
        root_id=call.root_id,
        parent_id=call.parent_id,
        group=call.group_id,
        timelimit=limits,
        delivery_info={
            "exchange": "",
            "routing_key": call.queue,
            "priority": call.priority,
            "redelivered": call.lost > 0 or "requeued" in options,
        },
        properties={"correlation_id": call.id, "priority": call.priority, "reply_to": None},
        hostname=hostname,
        correlation_id=call.id,
        called_directly=False,
        ignore_result=call.ignore_result,
        attempt=call.attempt,
        hand=call.hand,
        channel=channel,
    )
    if call.due is not None:
        context.eta = _iso(call.due)
    if call.expires is not None:
        context.expires = _iso(call.expires)
    if options:
        _add_options(context, options)
    return context


def _add_options(context: current.Context, options: Mapping[str, Any]) -> None:
    headers = options.get("headers")
    if headers:
        context.update({name: each for name, each in headers.items() if name not in _KNOWN})
    following = options.get("chain")
    said = {
        "headers": headers,
        "retries": options.get("retries", 0),
        "group_index": options.get("group_index"),
        "chord": options.get("chord"),
        "chain": None if following is None else [following],
        "callbacks": options.get("link"),
        "errbacks": options.get("link_error"),
        "origin": options.get("origin"),
        "replaced_task_nesting": options.get("replaced", 0),
        "stamps": options.get("stamps"),
        "stamped_headers": options.get("stamped_headers"),
        "options": options,
    }
    for name in ("argsrepr", "kwargsrepr"):
        if name in options:
            said[name] = options[name]
    context.update(said)


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat()
