"""What is asked of the leading dispatcher, under Celery's names."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from dask_facade.exceptions import DispatcherAway, PayloadTooLarge
from dask_facade.inspecting import Inspect, flatten_reply
from dask_facade.jobs import PAUSE, RESUME, REVOKE, REVOKE_STAMPED, SAY
from dask_facade.loops import outside
from dask_facade.messages import Ask
from dask_facade.serialization import dumps, preview
from dask_facade.withdrawals import listed

__all__ = ("Control", "Inspect", "flatten_reply")

STAMPS = "revoke_by_stamped_headers"
PURGE_TIMEOUT = 60.0  # seconds for all that waits to be ended
META_LIMIT = 16 * 2**20  # bytes of what is said of a job's state


def ask(app: Any, kind: str, ids: Iterable[str], **arguments: object) -> None:
    """Ask the leading dispatcher for something, as part of the caller's transaction."""
    store, client, names = app.store, app.client, list(ids)

    def write() -> None:
        store.request(kind, names, arguments)
        store.on_commit(client.nudge)

    outside(write, store.disconnect)


def say(app: Any, id: str, state: str, meta: Any) -> None:
    """Ask the leading dispatcher to let a job that has not ended show *state*, and *meta* with it.

    Raises PayloadTooLarge.
    """
    data = dumps(meta)
    if len(data) > META_LIMIT:
        raise PayloadTooLarge(f"what is said of job {id!r}", len(data), META_LIMIT)
    said = b64encode(data).decode()
    ask(app, SAY, [id], state=state, meta=said, preview=preview(meta))


class Control:
    """``app.control``: what workers are told and asked.

    Of Celery's options *destination* (names of workers), *reply*, *timeout* (seconds), *limit*,
    *callback*, *pattern* and *matcher* mean here what they do there; *connection* and *channel*
    mean nothing. With *reply* a list of {worker: answer} is returned as soon as all have answered,
    without it None once a dispatcher has passed the command on.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    @property
    def app(self) -> Any:
        """The app whose ledger tells where the dispatcher is."""
        return self._app

    @cached_property
    def inspect(self) -> Callable[..., Inspect]:
        """Make an `Inspect` of this app."""
        return partial(Inspect, app=self._app)

    # Jobs

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Any = None,
        terminate: bool = False,
        signal: Any = None,
        **options: Any,
    ) -> Any:
        """Ask that jobs never run; with *terminate* also that calls are ended which run already.

        Part of the caller's transaction. An id that no job has yet is kept in mind for a day. It
        goes for all workers, and what is ended is killed, whatever *destination* and *signal* say.
        """
        ids = [task_id] if isinstance(task_id, str) else list(map(str, task_id))
        ask(self._app, REVOKE, ids, terminate=terminate)
        if not options.get("reply"):
            return None
        return self.broadcast("revoke", {"task_id": ids, "terminate": terminate}, **options)

    def terminate(
        self,
        task_id: str | Iterable[str],
        destination: Any = None,
        signal: Any = None,
        **options: Any,
    ) -> Any:
        """Ask that jobs never run, and that those which run are ended."""
        return self.revoke(task_id, destination, terminate=True, signal=signal, **options)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any] | Sequence[str],
        destination: Any = None,
        terminate: bool = False,
        signal: Any = None,
        **options: Any,
    ) -> Any:
        """Ask that no call begins that was stamped with one of these values.

        Part of the caller's transaction; kept in mind for a day. *headers* may also be a list of
        "name=value". With *terminate* calls are ended that run already.
        """
        if not isinstance(headers, Mapping):
            headers = dict(each.split("=", 1) for each in headers)
        for name, values in headers.items():
            said = json.loads(json.dumps(listed(values), default=_plain))
            ask(self._app, REVOKE_STAMPED, [name], values=said)
        arguments = {"headers": headers, "terminate": terminate}
        wants_reply = options.pop("reply", False)
        replies = self.broadcast(STAMPS, arguments, destination=destination, reply=True, **options)
        running: set[str] = set()
        for reply in replies:
            for answer in reply.values():
                running.update(answer.pop("terminate", ()))
        if running:
            self.revoke(sorted(running), terminate=True)
        return replies if wants_reply else None

    def purge(
        self,
        connection: Any = None,
        *,
        queues: Iterable[str] | None = None,
        timeout: float = PURGE_TIMEOUT,
    ) -> int:
        """End all calls that wait for nothing but a worker, or their time; return how many.

        With *queues* those of these alone. They are revoked. What waits for other jobs, or to be
        tried again, is left. Raises DispatcherAway.
        """
        counts: list[int] = []
        said = json.dumps({"queues": None if queues is None else list(queues)}).encode()
        question = Ask(0, "purge", said, (), "")

        def heard(node: str, said: bytes) -> None:
            counts.append(json.loads(said))

        outside(lambda: self._app.client.ask(question, timeout, heard))
        if not counts:
            raise DispatcherAway(
                "no dispatcher answers, and it alone may end jobs: start one (manage.py "
                "dask_dispatcher)"
            )
        return counts[0]

    discard_all = purge

    # Queues

    def pause_queue(self, queue: str) -> None:
        """Ask that nothing more of *queue* begins, until `resume_queue`; restarts change nothing.

        Part of the caller's transaction, as `revoke`.
        """
        ask(self._app, PAUSE, [queue])

    def resume_queue(self, queue: str) -> None:
        """Ask that the calls of *queue* begin again."""
        ask(self._app, RESUME, [queue])

    def add_consumer(
        self,
        queue: str,
        exchange: Any = None,
        exchange_type: str = "direct",
        routing_key: Any = None,
        options: Any = None,
        destination: Any = None,
        **more: Any,
    ) -> Any:
        """Tell workers to take calls of one more queue; those that take all do so already."""
        return self.broadcast("add_consumer", {"queue": queue}, destination=destination, **more)

    def cancel_consumer(self, queue: str, destination: Any = None, **options: Any) -> Any:
        """Tell workers to take no more calls of a queue; those that take all refuse."""
        return self.broadcast(
            "cancel_consumer", {"queue": queue}, destination=destination, **options
        )

    # Tasks

    def rate_limit(
        self, task_name: str, rate_limit: Any, destination: Any = None, **options: Any
    ) -> Any:
        """Let calls of a task begin so often, as in "10/m", on all workers together; 0: no limit.

        It holds until the workers start anew, and then what their tasks say.
        """
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", arguments, destination=destination, **options)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Any = None,
        **options: Any,
    ) -> Any:
        """Refused: a call has the limits that it was submitted with."""
        arguments = {"task_name": task_name, "soft": soft, "hard": hard}
        return self.broadcast("time_limit", arguments, destination=destination, **options)

    # Workers

    def ping(self, destination: Any = None, timeout: float = 1.0, **options: Any) -> Any:
        """Return ``[{worker: {"ok": "pong"}}, ...]`` of the workers that live."""
        return self.broadcast(
            "ping", destination=destination, timeout=timeout, **{**options, "reply": True}
        )

    def shutdown(self, destination: Any = None, **options: Any) -> Any:
        """Tell workers to end once their calls have ended."""
        return self.broadcast("shutdown", destination=destination, **options)

    def pool_restart(
        self,
        modules: Any = None,
        reload: bool = False,
        reloader: Any = None,
        destination: Any = None,
        **options: Any,
    ) -> Any:
        """Tell workers to start anew once their calls have ended; with worker_pool_restarts."""
        return self.broadcast("pool_restart", destination=destination, **options)

    def pool_grow(self, n: int = 1, destination: Any = None, **options: Any) -> Any:
        """Refused: a worker has as many threads as it was started with."""
        return self.broadcast("pool_grow", {"n": n}, destination=destination, **options)

    def pool_shrink(self, n: int = 1, destination: Any = None, **options: Any) -> Any:
        """Refused, as `pool_grow`."""
        return self.broadcast("pool_shrink", {"n": n}, destination=destination, **options)

    def autoscale(self, max: int, min: int, destination: Any = None, **options: Any) -> Any:
        """Refused, as `pool_grow`: Dask scales workers."""
        arguments = {"max": max, "min": min}
        return self.broadcast("autoscale", arguments, destination=destination, **options)

    def enable_events(self, destination: Any = None, **options: Any) -> Any:
        """Nothing is to be enabled: all that happens is written to the ledger."""
        return self.broadcast("enable_events", destination=destination, **options)

    def disable_events(self, destination: Any = None, **options: Any) -> Any:
        """Nothing is disabled, as `enable_events`."""
        return self.broadcast("disable_events", destination=destination, **options)

    def heartbeat(self, destination: Any = None, **options: Any) -> Any:
        """Nothing is sent, as `enable_events`; `ping` tells who lives."""
        return self.broadcast("heartbeat", destination=destination, **options)

    def election(self, id: str, topic: str, action: Any = None, connection: Any = None) -> None:
        """Nobody is elected: one dispatcher leads already."""
        self.broadcast("election", {"id": id, "topic": topic, "action": action})

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: str | Sequence[str] | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float | None = 1.0,
        limit: int | None = None,
        callback: Callable[[Any], Any] | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **more: Any,
    ) -> Any:
        """Tell workers a command by name, one of ours or of the project's own.

        *arguments* must be what JSON can say. *pattern* is as a shell has it, or with *matcher*
        "pcre" a regular expression, of the names of workers.
        """
        seconds = 1.0 if timeout is None else timeout
        nodes = [destination] if isinstance(destination, str) else list(destination or ())
        if pattern and matcher == "pcre":
            nodes = [name for name in self._names(nodes, seconds) if re.match(pattern, name)]
            pattern = None
            if not nodes:
                return [] if reply else None
        said = json.dumps({**(arguments or {}), **more}, default=_plain).encode()
        question = Ask(0, command, said, nodes, pattern or "")
        client = self._app.client
        if not reply:
            outside(lambda: client.tell(question, seconds))
            return None
        replies: list[dict[str, Any]] = []

        def heard(node: str, said: bytes) -> None:
            replies.append({node: json.loads(said)})
            if callback is not None:
                callback(replies[-1])

        outside(lambda: client.ask(question, seconds, heard, limit))
        return replies

    def _names(self, nodes: Sequence[str], timeout: float) -> list[str]:
        replies = self.broadcast("ping", destination=nodes, reply=True, timeout=timeout)
        return [name for reply in replies for name in reply]


def _plain(value: Any) -> Any:
    """Return what JSON says in place of *value*."""
    return list(value) if isinstance(value, set | frozenset | tuple) else str(value)
