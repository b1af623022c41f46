"""What clients ask workers: passed on to them, or answered for them by what the leader knows."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from dask_facade.backlog import serves
from dask_facade.dispatcher.reader import LedgerReader
from dask_facade.dispatcher.requests import Requests
from dask_facade.dispatcher.switchboard import Switchboard
from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.events import Limited, Wrote
from dask_facade.jobs import Batch
from dask_facade.limits import rate_of
from dask_facade.messages import Answer, Ask, Asked, Call, Hello, Rate
from dask_facade.serialization import plain_arguments, preview
from dask_facade.verdicts import WITHDRAWN
from dask_facade.withdrawals import is_stamped

OPEN = 10_000  # questions that workers may owe an answer to; the oldest are given up
ROWS = 1_000  # calls that are told of, or dropped, at a time
ETA_PRIORITY = 6  # what Celery tells of every call that waits for its time
PING = "ping"

Nodes = Mapping[str, Hello]
"""Workers by name, each with how one of its runners dialled."""
Work = tuple[Call, float | None]
"""A call that a worker has, and when it began in seconds since the epoch; None: it has not."""


class Questions:
    """Asks workers in the name of clients.

    Where the calls are, what is revoked and what waits is known here: that is answered at once, for
    every worker, also for one that is too busy to listen.
    """

    def __init__(
        self,
        writer: LedgerWriter,
        reader: LedgerReader,
        switchboard: Switchboard,
        requests: Requests,
    ) -> None:
        self._asked = 0
        self._open: dict[int, tuple[str, int]] = {}  # questions to workers: who asks, as which
        self._reader = reader
        self._requests = requests
        self._switchboard = switchboard
        self._ways: dict[str, Callable[[Nodes, Any], Awaitable[Mapping[str, Any]]]] = {
            "active": self._active,
            "dump_active": self._active,
            "dump_reserved": self._reserved,
            "dump_revoked": self._revoked,
            "dump_schedule": self._scheduled,
            "purge": self._purge,
            "query_task": self._query,
            "reserved": self._reserved,
            "revoke": self._revoke,
            "revoke_by_stamped_headers": self._revoke_stamps,
            "revoked": self._revoked,
            "scheduled": self._scheduled,
        }
        self._writer = writer
        switchboard.ask_with(self)

    def hear(self, peer: str, message: Ask | Answer) -> None:
        """Take what a client asks, or a worker answers."""
        match message:
            case Ask(number, command) if command in self._ways:
                self._switchboard.start(self._tell(peer, message))
            case Ask():
                self._pass_on(peer, message)
            case Answer(number, node, said):
                who, asked_as = self._open.pop(number, ("", 0))
                if who:
                    self._switchboard.say(who, Answer(asked_as, node, said))

    def peer_gone(self, peer: str) -> None:
        """Forget what a client asked."""
        for number in [number for number, (who, _) in self._open.items() if who == peer]:
            del self._open[number]

    def _nodes(self, ask: Ask) -> Nodes:
        nodes: dict[str, Hello] = {}
        dialled = list(self._switchboard.runners())
        if ask.command == PING:
            dialled.extend(self._switchboard.listeners())
        for hello in dialled:
            name = hello.node
            wanted = not ask.nodes or name in ask.nodes
            if wanted and (not ask.pattern or fnmatchcase(name, ask.pattern)):
                nodes.setdefault(name, hello)
        return dict(sorted(nodes.items()))

    def _pass_on(self, peer: str, ask: Ask) -> None:
        nodes = self._nodes(ask)
        self._note(ask)
        for hello in nodes.values():
            self._asked += 1
            self._open[self._asked] = (peer, ask.number)
            self._switchboard.say(hello.identity, ask._replace(number=self._asked))
        while len(self._open) > OPEN:
            del self._open[next(iter(self._open))]
        self._switchboard.say(peer, Asked(ask.number, list(nodes)))

    def _note(self, ask: Ask) -> None:
        """Do what of a command is the leader's own part."""
        said = _said(ask)
        if ask.command == "rate_limit":
            try:
                rate = Rate(str(said.get("task_name")), rate_of(said.get("rate_limit")))
            except ValueError:
                return  # each worker says so
            self._switchboard.step(Limited([rate]))

    # What is known here

    async def _tell(self, peer: str, ask: Ask) -> None:
        # What was asked for before this was asked is done by now.
        await self._requests.look()
        nodes = self._nodes(ask)
        answers = await self._ways[ask.command](nodes, _said(ask))
        self._switchboard.say(peer, Asked(ask.number, list(answers)))
        for node, answer in answers.items():
            said = json.dumps(answer, default=preview).encode()
            self._switchboard.say(peer, Answer(ask.number, node, said))

    async def _active(self, nodes: Nodes, said: Any) -> Mapping[str, Any]:
        return await self._of_work(nodes, said, lambda began: began is not None)

    async def _reserved(self, nodes: Nodes, said: Any) -> Mapping[str, Any]:
        return await self._of_work(nodes, said, lambda began: began is None)

    async def _of_work(
        self, nodes: Nodes, said: Any, wanted: Callable[[float | None], bool]
    ) -> Mapping[str, Any]:
        told = {}
        safe = bool(said.get("safe"))
        for node, hello in nodes.items():
            work = [each for each in self._work(node) if wanted(each[1])]
            told[node] = await self._described(work, hello, safe=safe)
        return told

    def _work(self, node: str) -> Iterable[Work]:
        for hello in self._switchboard.runners():
            if hello.node == node:
                yield from self._switchboard.held_by(hello.identity)

    async def _scheduled(self, nodes: Nodes, said: Any) -> Mapping[str, Any]:
        told: dict[str, list[Any]] = {node: [] for node in nodes}
        by_node: dict[str, list[Call]] = {}
        for call in await self._later():
            for node, hello in nodes.items():  # the first that may get it; nobody has it yet
                if serves(hello.queues, call.queue):
                    by_node.setdefault(node, []).append(call)
                    break
        for node, calls in by_node.items():
            requests = await self._described([(each, None) for each in calls], nodes[node])
            told[node] = [
                {"eta": _iso(call.due), "priority": ETA_PRIORITY, "request": request}
                for call, request in zip(calls, requests, strict=True)
            ]
        return told

    async def _later(self) -> list[Call]:
        """Return calls that wait for their time; the nearest first, those far off not all."""
        desk = self._writer.desk
        known = {call.id: call for call in self._switchboard.due()}
        found = await self._writer.run(partial(desk.later, ROWS))
        calls = [*known.values(), *(each for each in found if each.id not in known)]
        return sorted(calls, key=lambda call: call.due or 0.0)[:ROWS]

    async def _query(self, nodes: Nodes, said: Any) -> Mapping[str, Any]:
        wanted = set(_names(said.get("ids")))
        told: dict[str, dict[str, Any]] = {}
        for node, hello in nodes.items():
            work = [each for each in self._work(node) if each[0].id in wanted]
            requests = await self._described(work, hello)
            told[node] = {
                call.id: ["reserved" if began is None else "active", request]
                for (call, began), request in zip(work, requests, strict=True)
            }
        for node, entries in (await self._scheduled(nodes, said)).items():
            for request in (each["request"] for each in entries):
                if request["id"] in wanted:
                    told[node][request["id"]] = ["scheduled", request]
        return told

    async def _described(
        self, work: Sequence[Work], hello: Hello, *, safe: bool = False
    ) -> list[dict[str, Any]]:
        """Return calls in Celery's words. Arguments that JSON does not say are told as text."""
        unread = [] if not work else [c.id for c, _ in work if plain_arguments(c.payload) is None]
        texts = await self._reader.arguments(unread) if unread else {}
        return [
            {
                **_arguments(call, texts, safe=safe),
                "id": call.id,
                "name": call.task,
                "type": call.task,
                "hostname": hello.node,
                "time_start": began,
                "acknowledged": began is not None and not call.acks_late,
                "delivery_info": {
                    "exchange": "",
                    "routing_key": call.queue,
                    "priority": call.priority,
                    "redelivered": call.lost > 0,
                },
                "worker_pid": None if began is None else hello.pid,
            }
            for call, began in work
        ]

    async def _revoked(self, nodes: Nodes, said: Any) -> Mapping[str, Any]:
        revoked = list(self._requests.revoked)
        return dict.fromkeys(nodes, revoked)

    async def _revoke(self, nodes: Nodes, said: Any) -> Mapping[str, Any]:
        """Answer what the requests have brought about that were written before."""
        ids = _names(said.get("task_id"))
        told = {}
        for node in nodes:
            if said.get("terminate"):
                here = [call.id for call, _ in self._work(node) if call.id in ids]
                told[node] = {"ok": f"terminate: {', '.join(here) or 'tasks unknown'}"}
            else:
                told[node] = {"ok": f"tasks {set(ids)} flagged as revoked"}
        return told

    async def _revoke_stamps(self, nodes: Nodes, said: Any) -> Mapping[str, Any]:
        """Answer what the requests have brought about; name the calls that run, if it is wanted."""
        headers = said.get("headers")
        headers = headers if isinstance(headers, dict) else {}
        if not said.get("terminate"):
            words = f"headers {headers} flagged as revoked, but not terminated"
            return {node: {"ok": words} for node in nodes}
        told = {}
        for node in nodes:
            running = [call.id for call, _ in self._work(node) if is_stamped(call.options, headers)]
            words = "revoked" if running else "were not terminated"
            told[node] = {"ok": f"headers {headers} {words}", "terminate": running}
        return told

    async def _purge(self, nodes: Nodes, said: Any) -> Mapping[str, Any]:
        """End all calls, or those of some queues, that wait for a runner or their time alone."""
        writer = self._writer
        desk, epoch = writer.desk, writer.epoch
        queues = None if said.get("queues") is None else _names(said["queues"])
        count = 0
        while ids := await writer.run(partial(desk.idle, ROWS, queues)):
            written, _ = await writer.run(partial(desk.revoke, epoch, ids, WITHDRAWN))
            self._switchboard.step(Wrote(Batch(), written))
            count += len(written.outcomes)
            if len(ids) < ROWS or not written.outcomes:
                break
        return {"": count}


def _said(ask: Ask) -> dict[str, Any]:
    try:
        said = json.loads(ask.arguments)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _names(said: Any) -> list[str]:
    """Return the names in what should be one, or a list of them."""
    return [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, str)]


def _arguments(call: Call, texts: Mapping[str, str], *, safe: bool) -> dict[str, Any]:
    plain = plain_arguments(call.payload)
    if plain is None:
        return {"args": texts.get(call.id, ""), "kwargs": {}}
    args, kwargs = plain
    return (
        {"args": preview(args), "kwargs": preview(kwargs)}
        if safe
        else {
            "args": args,
            "kwargs": kwargs,
        }
    )


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
