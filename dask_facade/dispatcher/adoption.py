"""Adoption: how graphs, which run as Dask likes, become jobs that end.

To the broker it is one more runner, in the dispatcher's own process. It watches keys, not futures:
an exception that a Dask client hears of is unpickled there, and nothing of the users' is ever
unpickled in a dispatcher. A task on a worker says in bytes how a graph has ended.
"""

from __future__ import annotations

import ast
import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dask.core import validate_key
from distributed import Client, Future, Variable
from distributed.client import ClosedClientError

from dask_facade.cluster.followers import Description, Site, Subject, describe, future_for
from dask_facade.cluster.futures import ANSWER_TIMEOUT, DESCRIBED, NAME_TIMEOUT, rpc, variable_name
from dask_facade.cluster.neighbours import Neighbours
from dask_facade.elsewhere import scheduler_at
from dask_facade.exceptions import (
    DaskFacadeError,
    DecodeError,
    ImproperlyConfigured,
    ResultLost,
    WorkerLostError,
)
from dask_facade.messages import Ack, Call, Hand, Held, Kill, Leave, Message, Outcome, Report
from dask_facade.serialization import dump_exception, load_reference, preview
from dask_facade.states import FAILURE
from dask_facade.verdicts import TERMINATED, revoked

logger = logging.getLogger(__name__)

ADOPT_GRACE = 30.0  # seconds for a graph to reach the scheduler after its row
LOOK_FIRST = 0.02  # seconds between two looks at a young graph
LOOK_MOST = 1.0
LOOK_SHARE = 0.1  # of a graph's age


@dataclass(slots=True, eq=False)
class _Graph:
    call: Call
    key: Any
    scheduler: str  # its address; "": that of the dispatcher
    since: float  # monotonic
    begun: float = field(default_factory=time.time)
    known: bool = False  # the scheduler has had its key
    describing: asyncio.Task[Description] | None = None


@dataclass(slots=True, eq=False)
class _Watch:
    new: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Adoption:
    """Follows graphs whose claims are committed, and reports how they ended.

    *neighbours* are the schedulers that graphs are on. *report* gets what a runner would say. Runs
    on the loop that `receive` is called on.
    """

    def __init__(
        self,
        neighbours: Neighbours,
        report: Callable[[Message], None],
        *,
        inline_limit: int,
        store_limit: int,
        adopt_grace: float = ADOPT_GRACE,
        settings_module: str = "",
        paths: tuple[str, ...] = (),
    ) -> None:
        self._graphs: dict[tuple[str, int], _Graph] = {}
        self._grace = adopt_grace
        self._inline_limit = inline_limit
        self._neighbours = neighbours
        self._report = report
        self._site = Site(settings_module, paths)
        self._store_limit = store_limit
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watches: dict[str, _Watch] = {}  # by the scheduler's address

    def receive(self, message: Message) -> None:
        """Take what the broker says to a runner."""
        match message:
            case Hand(calls):
                for call in calls:
                    self._adopt(call)
            case Kill(id, hand):
                self._kill(id, hand)
            case Leave():
                self.close()
            case Ack():
                pass  # what was reported is the broker's: it cannot be lost on the way
            case _:
                logger.debug("a graph cannot be given back: %s", type(message).__name__)

    def held(self, calls: Iterable[Call]) -> list[Held]:
        """Adopt again what an earlier leader had adopted; return what is held from now on."""
        for call in calls:
            self._adopt(call)
        graphs = [graph.call for graph in self._graphs.values()]
        return [Held(call.id, call.attempt, call.hand, True) for call in graphs]

    def close(self) -> None:
        """Follow nothing any more; the next leader adopts what has not ended."""
        self._graphs.clear()
        for task in list(self._tasks):
            task.cancel()

    def _adopt(self, call: Call) -> None:
        scheduler = scheduler_at(call.queue)
        try:
            key = key_of(call.payload)
            self._neighbours.admit(scheduler)
        except (DecodeError, ImproperlyConfigured) as error:
            self._start(self._name_and_report(None, _failure(call, time.time(), error)))
            return
        self._graphs[call.id, call.hand] = _Graph(call, key, scheduler, time.monotonic())
        watch = self._watches.setdefault(scheduler, _Watch())
        watch.new.set()
        if watch.task is None or watch.task.done():
            watch.task = self._start(self._watch(scheduler, watch.new))

    async def _watch(self, scheduler: str, new: asyncio.Event) -> None:
        """Look at a scheduler's graphs as long as it has any: the younger, the more often."""
        while graphs := [each for each in self._graphs.values() if each.scheduler == scheduler]:
            new.clear()
            await self._look(scheduler, [each for each in graphs if each.describing is None])
            youngest = time.monotonic() - max(each.since for each in graphs)
            pause = min(max(LOOK_FIRST, youngest * LOOK_SHARE), LOOK_MOST)
            try:
                await asyncio.wait_for(new.wait(), pause)
            except TimeoutError:
                continue

    async def _look(self, scheduler: str, graphs: Sequence[_Graph]) -> None:
        client = self._neighbours.client(scheduler)
        if client is None and self._neighbours.is_gone(scheduler):
            for graph in graphs:
                self._lose(None, graph, f"the scheduler at {scheduler} does not answer")
        if not graphs or client is None or client.scheduler is None:
            return
        keys = list({graph.key for graph in graphs})
        asked = rpc(client).get_task_status(keys=keys)
        try:
            states = await asyncio.wait_for(asked, ANSWER_TIMEOUT)
        except OSError as error:
            logger.debug("the scheduler does not tell of graphs: %s", error)
            return
        for graph in graphs:
            if self._graphs.get((graph.call.id, graph.call.hand)) is graph:
                self._saw(client, graph, states[graph.key])

    def _saw(self, client: Client, graph: _Graph, state: str | None) -> None:
        if state is None:
            if graph.known:
                self._lose(client, graph, "the scheduler has lost it")
            elif time.monotonic() - graph.since > self._grace:
                self._lose(client, graph, "the scheduler never heard of it")
            return
        graph.known = True
        if state in ("memory", "erred"):
            graph.describing = self._start(self._describe(client, graph))
            graph.describing.add_done_callback(lambda done: self._described(graph, done))

    def _lose(self, client: Client | None, graph: _Graph, why: str) -> None:
        if (graph.call.id, graph.call.hand) not in self._graphs:
            return  # revoked meanwhile
        error = ResultLost(f"the future of job {graph.call.id!r} is gone: {why}")
        self._end(client, graph, _failure(graph.call, graph.begun, error))

    def _kill(self, id: str, hand: int) -> None:
        graph = self._graphs.get((id, hand))
        if graph is not None:
            if graph.describing is not None:
                graph.describing.cancel()
            client = self._neighbours.client(graph.scheduler)
            self._end(client, graph, revoked(graph.call, TERMINATED, time.time()))

    def _end(self, client: Client | None, graph: _Graph, outcome: Outcome) -> None:
        """Let the Variable name a bad end of our own making, and report it.

        That gives the graph up: what nobody else wants of it, Dask will not run. To cancel it
        by force would break our stream where others compute with it.
        """
        del self._graphs[graph.call.id, graph.call.hand]
        self._start(self._name_and_report(client, outcome))

    async def _name_and_report(self, client: Client | None, outcome: Outcome) -> None:
        try:
            if client is not None:
                future = future_for(client, outcome, self._site)
                variable = Variable(variable_name(outcome.id), client=client)
                await asyncio.wait_for(variable.set(future, timeout=NAME_TIMEOUT), ANSWER_TIMEOUT)
        except (OSError, ClosedClientError) as error:
            logger.debug("the scheduler was gone first: %s", error)
        finally:  # nobody else will say it
            self._report(Report([outcome]))

    async def _describe(self, client: Client, graph: _Graph) -> Description:
        """Have a worker that has the result say what it is."""
        call = graph.call
        asked = rpc(client).who_has(keys=[graph.key])
        holders = (await asyncio.wait_for(asked, ANSWER_TIMEOUT)).get(graph.key, ())
        future: Future[Description] = client.submit(
            describe,
            Subject(
                call.id,
                call.hand,
                self._inline_limit,
                self._store_limit,
                self._site,
                call.ignore_result,
                bool(graph.scheduler),
            ),
            key=(DESCRIBED, call.id, call.attempt, call.hand),
            workers=list(holders) or None,
            allow_other_workers=bool(holders),
            pure=False,
        )
        return Description(*await future)

    def _described(self, graph: _Graph, done: asyncio.Task[Description]) -> None:
        graph.describing = None
        if done.cancelled() or (graph.call.id, graph.call.hand) not in self._graphs:
            return
        error = done.exception()
        if error is None:
            self._say(graph, _outcome(graph, done.result()))
        elif isinstance(error, OSError) or not _is_alive(self._neighbours.client(graph.scheduler)):
            logger.debug("the scheduler went: %s", error)  # it is looked at again
        else:
            logger.error("the result of graph %s could not be described: %s", graph.call.id, error)
            why = WorkerLostError(f"its result could not be described: {preview(error)}")
            self._say(graph, _failure(graph.call, graph.begun, why))

    def _say(self, graph: _Graph, outcome: Outcome) -> None:
        del self._graphs[graph.call.id, graph.call.hand]
        self._report(Report([outcome]))

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def key_of(payload: bytes) -> Any:
    """Return the Dask key that a graph's payload names; raise DecodeError."""
    reference = load_reference(payload)
    if reference is None:
        raise DecodeError("no key of Dask data stands in the payload of a graph")
    try:
        key = ast.literal_eval(reference[1])
        validate_key(key)
    except (ValueError, TypeError, SyntaxError) as error:
        raise DecodeError(f"{reference[1]!r} is no key of Dask's") from error
    return key


def _is_alive(client: Client | None) -> bool:
    return client is not None and client.status == "running"


def _outcome(graph: _Graph, description: Description) -> Outcome:
    now = time.time()
    return Outcome(
        id=graph.call.id,
        attempt=graph.call.attempt,
        hand=graph.call.hand,
        state=description.state,
        result=description.result,
        preview=description.preview,
        traceback=description.traceback,
        started=graph.begun,
        finished=now,
        runtime=now - graph.begun,
        key=description.key,
        size=description.size,
    )


def _failure(call: Call, begun: float, error: DaskFacadeError) -> Outcome:
    now = time.time()
    return Outcome(
        id=call.id,
        attempt=call.attempt,
        hand=call.hand,
        state=FAILURE,
        result=dump_exception(error),
        preview=preview(error),
        traceback=f"{type(error).__module__}.{type(error).__qualname__}: {error}\n",
        started=begun,
        finished=now,
        runtime=now - begun,
    )
