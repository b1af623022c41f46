"""What people ask the leader for: rows that it reads, does, and only then removes."""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from dask_facade.dispatcher.pruning import Pruning
from dask_facade.dispatcher.reader import LedgerReader
from dask_facade.dispatcher.stamped import RevokedStamps
from dask_facade.dispatcher.switchboard import Switchboard
from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.events import Aborting, Paused, Revoke, Stamped, Unabort, Unrevoke, Wrote
from dask_facade.exceptions import LedgerRefused
from dask_facade.jobs import (
    ABORT,
    END,
    FORGET,
    PAUSE,
    PRUNE,
    REOPEN,
    RESUME,
    REVOKE,
    REVOKE_STAMPED,
    SAY,
    Asked,
    Batch,
    Ending,
    Saying,
)
from dask_facade.states import ABORTED
from dask_facade.verdicts import WITHDRAWN
from dask_facade.worker.state import LimitedSet

logger = logging.getLogger(__name__)

ROWS = 1_000  # that are read at a time
PATIENCE = 86_400.0  # seconds in which what is revoked may appear, or what is to be forgotten end
UNKNOWN_AGAIN = 60.0  # seconds between two looks for such a job among those that wait
FORGET_AGAIN = 5.0  # seconds between two looks whether a job can be forgotten


@dataclass(slots=True)
class _Revoke:
    """A job that is to be revoked, and has not ended yet as far as is known."""

    id: str
    since: float
    tried: float = 0.0
    unknown: bool = True  # no row had its id when it was tried last
    missed: int = 0  # how often it neither was waiting nor is known to the broker


@dataclass(slots=True)
class _Forget:
    """A job that is to be forgotten once it has ended, and those that depend on it."""

    id: str
    since: float
    tried: float


class Requests:
    """The requests of a ledger, as its leader does them. *clock* is monotonic.

    *forgotten* gets the ids of jobs whose rows are gone, and of those the ones that have a future
    on the cluster. What cannot be done yet stays in the ledger: another leader begins with it.
    *revoked* has the ids of which leaders were last asked that they are revoked.
    """

    def __init__(
        self,
        writer: LedgerWriter,
        reader: LedgerReader,
        switchboard: Switchboard,
        pruning: Pruning,
        forgotten: Callable[[Collection[str], Mapping[str, str]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.revoked = LimitedSet()
        self._aborts: dict[int, str] = {}  # jobs that have not ended as far as is known
        self._clock = clock
        self._forgets: dict[int, _Forget] = {}
        self._forgotten = forgotten
        self._looking = asyncio.Lock()
        self._pruning = pruning
        self._reader = reader
        self._revokes: dict[int, _Revoke] = {}
        self._stamps = RevokedStamps(clock, PATIENCE)
        self._switchboard = switchboard
        self._writer = writer
        self._ways: dict[str, Callable[[Sequence[Asked]], Awaitable[None]]] = {
            ABORT: self._abort,
            END: self._end,
            FORGET: self._forget,
            PAUSE: partial(self._pause, paused=True),
            PRUNE: self._prune,
            REOPEN: self._reopen,
            RESUME: partial(self._pause, paused=False),
            REVOKE: self._revoke,
            REVOKE_STAMPED: self._revoke_stamped,
            SAY: self._say,
        }

    async def begin(self) -> None:
        """Let the broker know what earlier leaders were asked for, before it hands anything out."""
        writer = self._writer
        self._switchboard.step(Paused(await writer.run(writer.desk.paused)))
        self.revoked.update(reversed(await writer.run(partial(writer.desk.revoked, ROWS))))
        await self.look()

    async def look(self) -> None:
        """Do what was asked for since the last look, and what is left of earlier requests."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        writer = self._writer
        while True:
            known = self._revokes.keys() | self._forgets.keys() | self._aborts.keys()
            known |= self._stamps.numbers | set(self._pruning.numbers)
            limit = len(known) + ROWS
            asked = await writer.run(partial(writer.desk.requests, writer.epoch, limit))
            new = [each for each in asked if each.number not in known]
            for kind, requests in groupby(new, lambda each: each.kind):
                await self._do(kind, list(requests))
            if len(asked) < limit:
                break
        if self._revokes:
            await self._look_after_revokes()
        ended = [n for n, id in self._aborts.items() if not self._switchboard.is_aborting(id)]
        ended += self._stamps.expire()
        if ended:
            await self._drop(ended)
        now = self._clock()
        again = {n: each for n, each in self._forgets.items() if now - each.tried > FORGET_AGAIN}
        if again:
            await self._try_to_forget(again)

    async def _do(self, kind: str, requests: Sequence[Asked]) -> None:
        way = self._ways.get(kind)
        if way is None:
            logger.error("nobody knows what %d requests of %r are", len(requests), kind)
            await self._drop([each.number for each in requests])
            return
        try:
            await way(requests)
        except LedgerRefused as error:
            if len(requests) == 1:
                logger.error("%s of %r is refused: %s", kind, requests[0].name, error)
                if kind == REVOKE:
                    self._switchboard.step(Unrevoke([requests[0].name]))
                await self._drop([requests[0].number])
            else:
                for each in requests:
                    await self._do(kind, [each])

    async def _drop(self, numbers: Collection[int]) -> None:
        writer = self._writer
        for number in numbers:
            self._aborts.pop(number, None)
            self._revokes.pop(number, None)
            self._forgets.pop(number, None)
        await writer.run(partial(writer.desk.drop_requests, writer.epoch, numbers))

    # Revocations

    async def _revoke(self, requests: Sequence[Asked]) -> None:
        """Tell the broker first: what begins to wait meanwhile, it ends by itself."""
        now = self._clock()
        revokes = [_Revoke(each.name, now) for each in requests]
        self.revoked.update(each.name for each in requests)
        for terminate in (False, True):
            ids = [each.name for each in requests if _terminates(each) is terminate]
            if ids:
                self._switchboard.step(Revoke(ids, terminate))
        await self._try(revokes)
        self._revokes.update(zip((each.number for each in requests), revokes, strict=True))

    async def _try(self, revokes: Collection[_Revoke]) -> None:
        """End those that wait."""
        writer = self._writer
        ids = {each.id for each in revokes}
        revoke = partial(writer.desk.revoke, writer.epoch, ids, WITHDRAWN)
        written, unknown = await writer.run(revoke)
        self._switchboard.step(Wrote(Batch(), written))
        for each in revokes:
            each.tried, each.unknown = self._clock(), each.id in unknown
            waits_elsewhere = each.unknown or self._switchboard.knows(each.id)
            each.missed = 0 if waits_elsewhere else each.missed + 1

    async def _look_after_revokes(self) -> None:
        """Drop the requests that have come true, or never will; try those again that may."""
        now = self._clock()
        over, again = [], []
        for number, each in self._revokes.items():
            if not self._switchboard.is_revoking(each.id):
                over.append(number)  # it has ended
            elif each.unknown:
                if now - each.since > PATIENCE:
                    over.append(number)
                elif now - each.tried > UNKNOWN_AGAIN:
                    again.append(each)
            elif self._switchboard.knows(each.id):
                each.missed = 0  # in flight: the broker ends it, or it ends by itself
            elif each.missed > 1:
                over.append(number)  # it had ended before
            else:
                again.append(each)  # it had, or it has begun to wait for its retry
        if over:
            others = {each.id for number, each in self._revokes.items() if number not in over}
            self._switchboard.step(Unrevoke({self._revokes[n].id for n in over} - others))
            await self._drop(over)
        if again:
            await self._try(again)

    async def _revoke_stamped(self, requests: Sequence[Asked]) -> None:
        self._stamps.add(requests)
        self._switchboard.step(Stamped())

    # What others say of a job

    async def _abort(self, requests: Sequence[Asked]) -> None:
        """Let tasks know that they are to end, and readers too, until the jobs have ended."""
        ids = {each.name for each in requests}
        self._switchboard.step(Aborting(ids))
        open = await self._write([Saying(id, ABORTED, b"", "") for id in ids])
        self._switchboard.step(Unabort(ids - open))
        self._aborts.update((each.number, each.name) for each in requests if each.name in open)
        await self._drop([each.number for each in requests if each.name not in open])

    async def _end(self, requests: Sequence[Asked]) -> None:
        """End jobs as others say; whoever has them is told what became of what it reports."""
        writer = self._writer
        endings = {each.name: _ending_of(each) for each in requests}
        end = partial(writer.desk.end, writer.epoch, list(endings.values()))
        self._switchboard.step(Wrote(Batch(), await writer.run(end)))
        await self._drop([each.number for each in requests])

    async def _say(self, requests: Sequence[Asked]) -> None:
        await self._write([_saying_of(each) for each in requests])
        await self._drop([each.number for each in requests])

    async def _write(self, sayings: Sequence[Saying]) -> set[str]:
        """Write what is said; return the ids of the jobs that have not ended."""
        writer = self._writer
        return await writer.run(partial(writer.desk.say, writer.epoch, sayings))

    # The others

    async def _reopen(self, requests: Sequence[Asked]) -> None:
        """Let jobs wait again, whatever was asked for before; they are found as all that wait."""
        writer = self._writer
        ids = {each.name: each.number for each in requests}
        withdrawn = [
            number for number, each in self._revokes.items() if number < ids.get(each.id, 0)
        ]
        self._switchboard.step(Unrevoke([self._revokes[number].id for number in withdrawn]))
        self._switchboard.step(Unabort(ids.keys()))
        for id in ids:
            self.revoked.discard(id)
        await writer.run(partial(writer.desk.reopen, writer.epoch, ids.keys()))
        await self._drop([*withdrawn, *(each.number for each in requests)])

    async def _forget(self, requests: Sequence[Asked]) -> None:
        now = self._clock()
        await self._try_to_forget({each.number: _Forget(each.name, now, now) for each in requests})

    async def _try_to_forget(self, forgets: Mapping[int, _Forget]) -> None:
        """Forget jobs that have ended, and those whose rows an earlier leader has deleted."""
        writer, now = self._writer, self._clock()
        ids = list({each.id for each in forgets.values()})
        known = await self._reader.known(ids)
        gone: set[str] = set()
        if known is not None:
            gone = await writer.run(partial(writer.desk.forget, writer.epoch, ids))
            kept = {id: at for id, at in known.items() if id in gone and at is not None}
            gone.update(id for id in ids if id not in known)
            self._forgotten(gone, kept)
        over = []
        for number, each in forgets.items():
            each.tried = now
            self._forgets[number] = each
            if each.id in gone:
                over.append(number)
            elif now - each.since > PATIENCE:
                logger.warning(
                    "job %s is not forgotten: it, or one after it, is unfinished", each.id
                )
                over.append(number)
        if over:
            await self._drop(over)

    async def _prune(self, requests: Sequence[Asked]) -> None:
        self._pruning.add(requests)

    async def _pause(self, requests: Sequence[Asked], *, paused: bool) -> None:
        """Pause queues, or let them go on."""
        writer = self._writer
        desk, epoch = writer.desk, writer.epoch
        for queue in {each.name for each in requests}:
            await writer.run(partial(desk.pause, epoch, queue, paused=paused))
        self._switchboard.step(Paused(await writer.run(desk.paused)))
        await self._drop([each.number for each in requests])


def _ending_of(request: Asked) -> Ending:
    said = request.arguments
    result = said.get("result")
    trace = said.get("traceback")
    return Ending(
        request.name,
        str(said.get("state", "")),
        None if result is None else _bytes_of(result),
        str(said.get("preview", "")),
        None if trace is None else str(trace),
    )


def _saying_of(request: Asked) -> Saying:
    said = request.arguments
    meta = _bytes_of(said.get("meta", ""))
    return Saying(request.name, str(said.get("state", "")), meta, str(said.get("preview", "")))


def _bytes_of(said: object) -> bytes:
    try:
        return b64decode(str(said), validate=True)
    except ValueError as error:
        raise LedgerRefused(f"{str(said)[:40]!r} is not in base64: {error}") from error


def _terminates(request: Asked) -> bool:
    return bool(request.arguments.get("terminate"))
