"""What workers answer, under Celery's names: ``app.control.inspect()``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Reply = Mapping[str, Any]
"""The name of one worker, and what it answers."""


class DuplicateNodenameWarning(UserWarning):
    """Two workers have one name."""


def flatten_reply(replies: Iterable[Reply]) -> dict[str, Any]:
    """Return replies as one dict, by the names of the workers; warn where two share one."""
    by_node: dict[str, Any] = {}
    twice: set[str] = set()
    for reply in replies:
        twice.update(reply.keys() & by_node.keys())
        by_node.update(reply)
    if twice:
        names = ", ".join(sorted(twice))
        warnings.warn(
            f"more than one worker is called {names}: give each a name of its own",
            DuplicateNodenameWarning,
            stacklevel=2,
        )
    return by_node


class Inspect:
    """Questions to workers; each returns {worker: answer}, or None where nobody answers in time.

    *destination*: the names of those that are asked, or the one whose answer alone is returned.
    *timeout* is in seconds: less, where all have answered before.
    """

    app: Any = None

    def __init__(
        self,
        destination: str | Sequence[str] | None = None,
        timeout: float = 1.0,
        callback: Callable[[Any], Any] | None = None,
        connection: Any = None,
        app: Any = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        self.app = app or self.app
        self.callback = callback
        self.connection = connection
        self.destination = destination
        self.limit = limit
        self.matcher = matcher
        self.pattern = pattern
        self.timeout = timeout

    def _request(self, command: str, **arguments: Any) -> Any:
        replies = self.app.control.broadcast(
            command,
            arguments=arguments,
            destination=self.destination,
            callback=self.callback,
            connection=self.connection,
            limit=self.limit,
            timeout=self.timeout,
            reply=True,
            pattern=self.pattern,
            matcher=self.matcher,
        )
        if not replies:
            return None
        by_node = flatten_reply(replies)
        if isinstance(self.destination, str):
            return by_node.get(self.destination)
        return by_node

    def active(self, safe: bool | None = None) -> Any:
        """Ask for the calls that run."""
        return self._request("active", safe=safe)

    def active_queues(self) -> Any:
        """Ask for the queues that workers take calls of."""
        return self._request("active_queues")

    def clock(self) -> Any:
        """Ask how many calls and commands workers have taken in."""
        return self._request("clock")

    def conf(self, with_defaults: bool = False) -> Any:
        """Ask for the settings, without secrets."""
        return self._request("conf", with_defaults=with_defaults)

    def hello(self, from_node: str, revoked: Any = None) -> Any:
        """Tell ids that are revoked, and ask for those that workers know."""
        return self._request("hello", from_node=from_node, revoked=revoked)

    def memdump(self, samples: int = 10) -> Any:
        """Ask for samples of memory: refused, none are kept."""
        return self._request("memdump", samples=samples)

    def memsample(self) -> Any:
        """Ask how much memory workers have."""
        return self._request("memsample")

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> Any:
        """Ask for a drawing of objects: refused, it would be a file on a worker."""
        return self._request("objgraph", num=n, max_depth=max_depth, type=type)

    def ping(self, destination: Sequence[str] | None = None) -> Any:
        """Ask who lives."""
        if destination:
            self.destination = destination
        return self._request("ping")

    def query_task(self, *ids: Any) -> Any:
        """Ask for calls by their ids: {worker: {id: [what it is doing, the call]}}."""
        if len(ids) == 1 and isinstance(ids[0], list | tuple):
            ids = tuple(ids[0])
        return self._request("query_task", ids=list(ids))

    def registered(self, *taskinfoitems: str) -> Any:
        """Ask for the names of the tasks, with these attributes of each."""
        return self._request("registered", taskinfoitems=list(taskinfoitems))

    registered_tasks = registered

    def report(self) -> Any:
        """Ask for what a report of a bug should say."""
        return self._request("report")

    def reserved(self, safe: bool | None = None) -> Any:
        """Ask for the calls that workers have in hand and that have not begun."""
        return self._request("reserved", safe=safe)

    def revoked(self) -> Any:
        """Ask for the ids of which it was last asked that they are revoked."""
        return self._request("revoked")

    def scheduled(self, safe: bool | None = None) -> Any:
        """Ask for the calls that wait for their time, the thousand that are due first.

        Nobody has them yet: they are told by the first worker that may get them.
        """
        return self._request("scheduled", safe=safe)

    def stats(self) -> Any:
        """Ask what workers have done and used."""
        return self._request("stats")
