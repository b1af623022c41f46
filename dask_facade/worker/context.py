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

_UNLIMITED = (None, None)
_KNOWN = frozenset(dir(current.Context))


class CallContext(current.Context):
    """A Context whose arguments are put into words when somebody asks for them."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    @cached_property
    def argsrepr(self) -> str:  # type: ignore[override]  # computed, where the class says None
        return preview(tuple(self.args or ()))

    @cached_property
    def kwargsrepr(self) -> str:  # type: ignore[override]  # likewise
        return preview(dict(self.kwargs or {}))


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
    eager = getattr(channel, "is_eager", False)
    context = CallContext(
        id=call.id,
        task=call.task,
        args=arguments.args,
        kwargs=arguments.kwargs,
        root_id=call.root_id,
        parent_id=call.parent_id,
        group=call.group_id,
        delivery_info=_delivery_of(call, options, eager=eager),
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
    if limits != _UNLIMITED:
        context.timelimit = context.time_limit, context.soft_time_limit = limits
    elif not eager:
        context.timelimit = limits
    if options:
        _add_options(context, options)
    return context


def _delivery_of(call: Call, options: Mapping[str, Any], *, eager: bool) -> dict[str, Any]:
    if eager:
        return {
            "is_eager": True,
            "exchange": None,
            "routing_key": call.queue,
            "priority": call.priority,
        }
    return {
        "exchange": "",
        "routing_key": call.queue,
        "priority": call.priority,
        "redelivered": call.lost > 0 or "requeued" in options,
    }


def _add_options(context: CallContext, options: Mapping[str, Any]) -> None:
    told = vars(context)
    headers = options.get("headers")
    if headers:
        told.update({name: each for name, each in headers.items() if name not in _KNOWN})
    for name, value in options.items():
        attribute = _ATTRIBUTES.get(name)
        if attribute is not None:
            told[attribute] = value
    if options.get("chain") is not None:
        told["chain"] = [options["chain"]]
    if "exchange" in options:
        told["delivery_info"]["exchange"] = options["exchange"]
    if "properties" in options:
        told["properties"].update(options["properties"])
    told["options"] = options


_ATTRIBUTES: Mapping[str, str] = {
    "argsrepr": "argsrepr",
    "chord": "chord",
    "group_index": "group_index",
    "headers": "headers",
    "kwargsrepr": "kwargsrepr",
    "link": "callbacks",
    "link_error": "errbacks",
    "origin": "origin",
    "owner": "owner",
    "replaced": "replaced_task_nesting",
    "retries": "retries",
    "shadow": "shadow",
    "stamped_headers": "stamped_headers",
    "stamps": "stamps",
}
"""What a request calls what was told of a call."""


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat()
