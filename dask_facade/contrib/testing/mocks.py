"""Stand-ins for what a message broker delivers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import MagicMock, Mock

from dask_facade.ids import new_id


def TaskMessage(
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] | None = None,
    errbacks: Sequence[Any] | None = None,
    chain: Sequence[Any] | None = None,
    shadow: str | None = None,
    utc: bool | None = None,
    **options: Any,
) -> Any:
    """Return a mock of a task's message, in the second version of Celery's protocol."""
    id = id or new_id()
    follows = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain}
    headers = {"id": id, "task": name, "shadow": shadow, **options}
    return _message(id, headers, (args, kwargs or {}, follows))


def TaskMessage1(
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] | None = None,
    errbacks: Sequence[Any] | None = None,
    chain: Sequence[Any] | None = None,
    **options: Any,
) -> Any:
    """Return a mock of a task's message, in the first version of Celery's protocol."""
    id = id or new_id()
    links = {"callbacks": callbacks, "errbacks": errbacks}
    call = {"task": name, "id": id, "args": args, "kwargs": kwargs or {}}
    return _message(id, {}, {**call, **links, **options})


def _message(id: str, headers: dict[str, Any], payload: Any) -> Any:
    return Mock(
        name=f"TaskMessage-{id}",
        body=json.dumps(payload, default=str),
        content_encoding="utf-8",
        content_type="application/json",
        headers=headers,
        payload=payload,
    )


def task_message_from_sig(
    app: Any, sig: Any, utc: bool = True, TaskMessage: Any = TaskMessage
) -> Any:
    """Return a mock of the message that a signature would be sent as."""
    sig.freeze()
    said = dict.fromkeys(("eta", "expires"))
    said |= {name: each for name, each in sig.options.items() if name not in _SAID_OTHERWISE}
    for name, option in _LINKS.items():
        said[name] = [dict(each) for each in sig.options.get(option) or ()] or None
    for name, option in _TIMES:
        if when := sig.options.get(option):
            said[name] = _in_words(when, app.now())
    return TaskMessage(sig.task, args=sig.args, id=sig.id, kwargs=sig.kwargs, utc=utc, **said)


_LINKS = {"callbacks": "link", "errbacks": "link_error"}
_TIMES = (("eta", "eta"), ("eta", "countdown"), ("expires", "expires"))  # the later counts
_SAID_OTHERWISE = {"countdown", "link", "link_error", "task_id"}


def _in_words(when: Any, now: datetime) -> Any:
    """Return a time, or the one in so many seconds, in ISO 8601; others as they are."""
    if isinstance(when, int | float):
        when = now + timedelta(seconds=when)
    return when.isoformat() if isinstance(when, datetime) else when


def ContextMock(*args: Any, **kwargs: Any) -> Any:
    """Return a mock that can stand in a ``with`` statement, and is what that binds."""
    made = MagicMock(*args, **kwargs)
    made.__enter__.return_value = made
    return made
