"""Group commits: what is asked to be written in one turn of the loop, or while a commit lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.exceptions import DaskFacadeError
from dask_facade.jobs import Batch, Written
from dask_facade.messages import Spawn, Spawned, Update
from dask_facade.states import STARTED

REST = 0.001  # seconds between two commits, at most
UPDATE_AFTER = 0.05  # seconds that an update waits at most for a commit that is made anyway
UPDATES = 10_000  # that may wait; what comes beyond is shed
UPDATE_BYTES = 16 * 2**20  # that those may have said


@dataclass(slots=True)
class _Turn:
    """What the next commit writes, in this order."""

    updates: dict[tuple[str, int, bool], Update] = field(default_factory=dict)
    update_bytes: int = 0
    spawns: list[tuple[str, Spawn]] = field(default_factory=list)  # and who asked
    batch: Batch = field(default_factory=Batch)

    def __bool__(self) -> bool:
        return bool(self.batch or self.spawns or self.updates)


class Commits:
    """Collects what is to be written, has it written, and tells what became of it.

    *wrote* gets each batch with the ledger's answer, *spawned* each answer with who asked what;
    *fail* what ends the leadership. *is_quiet* tells whether commits may follow at once.
    """

    def __init__(
        self,
        writer: LedgerWriter,
        wrote: Callable[[Batch, Written], None],
        spawned: Callable[[str, Spawn, Spawned], None],
        *,
        is_quiet: Callable[[], bool],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._closed = False
        self._committing = False
        self._fail = fail
        self._is_quiet = is_quiet
        self._loop = asyncio.get_running_loop()
        self._rested = 0.0  # the loop's time from which the next commit may begin
        self._spawned = spawned
        self._task: asyncio.Task[None] | None = None
        self._turn = _Turn()
        self._update_timer: asyncio.TimerHandle | None = None
        self._writer = writer
        self._wrote = wrote

    def write(self, batch: Batch) -> None:
        """Have *batch* written."""
        self._turn.batch.extend(batch)
        self._want()

    def spawn(self, peer: str, spawn: Spawn) -> None:
        """Have jobs written, before the outcomes that come later."""
        self._turn.spawns.append((peer, spawn))
        self._want()

    def update(self, update: Update) -> None:
        """Have written what a call says, unless it says another thing first, or all say too much.

        That a call has started is another column than what it says besides.
        """
        turn = self._turn
        key = (update.id, update.hand, update.state == STARTED)
        full = len(turn.updates) >= UPDATES and key not in turn.updates
        if full or turn.update_bytes + len(update.meta) > UPDATE_BYTES:
            return
        turn.updates[key] = update
        turn.update_bytes += len(update.meta)
        if self._update_timer is None:
            self._update_timer = self._loop.call_later(UPDATE_AFTER, self._on_update_timer)

    def close(self) -> None:
        """Begin no other commit, and do not wait for the answer to this one."""
        self._closed = True
        if self._update_timer is not None:
            self._update_timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _on_update_timer(self) -> None:
        self._update_timer = None
        if self._turn.updates:
            self._want()

    def _want(self) -> None:
        """Commit in this turn of the loop when it is quiet, after a rest when it is not.

        The rest is as long as the last commit took: so under load commits grow, and leave the
        database to submitters for half of the time.
        """
        if self._committing or self._closed:
            return
        self._committing = True
        if self._loop.time() >= self._rested:
            self._loop.call_soon(self._commit)
        else:
            self._loop.call_at(self._rested, self._commit)

    def _commit(self) -> None:
        """Write what was collected: at once what is small, else in the ledger's thread."""
        if self._closed:
            return
        turn, self._turn = self._turn, _Turn()
        begun = self._loop.time()
        try:
            done = self._write_at_once(turn, begun)
        except DaskFacadeError as error:
            self._fail(error)
            return
        except Exception as error:  # ours: nothing would be written any more, and nobody be told
            self._fail(error)
            raise
        if done:
            self._go_on()
        else:
            self._start(self._write_patiently(turn, begun))

    def _write_at_once(self, turn: _Turn, begun: float) -> bool:
        """Write what can be written now, and take it out of *turn*; tell whether that was all."""
        writer = self._writer
        if turn.updates:
            if not writer.update_at_once(list(turn.updates.values())):
                return False
            turn.updates.clear()
        if turn.spawns:
            answers = writer.spawn_at_once([spawn for _, spawn in turn.spawns])
            if answers is None:
                return False
            self._tell_spawned(turn, answers)
        if turn.batch:
            written = writer.write_at_once(turn.batch)
            if written is None:
                return False
            self._tell_written(turn.batch, written, begun)
        return True

    async def _write_patiently(self, turn: _Turn, begun: float) -> None:
        writer = self._writer
        if turn.updates:
            await writer.update(list(turn.updates.values()))
        if turn.spawns:
            self._tell_spawned(turn, await writer.spawn([spawn for _, spawn in turn.spawns]))
        if turn.batch:
            self._tell_written(turn.batch, await writer.write(turn.batch), begun)
        self._go_on()

    def _tell_spawned(self, turn: _Turn, answers: Sequence[Spawned]) -> None:
        spawns, turn.spawns = turn.spawns, []
        for (peer, spawn), answer in zip(spawns, answers, strict=True):
            self._spawned(peer, spawn, answer)

    def _tell_written(self, batch: Batch, written: Written, begun: float) -> None:
        now = self._loop.time()
        self._rested = now if self._is_quiet() else now + min(now - begun, REST)
        self._wrote(batch, written)

    def _go_on(self) -> None:
        self._committing = False
        if self._turn:
            self._want()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
